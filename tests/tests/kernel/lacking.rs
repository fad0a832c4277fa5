//! What a kernel lacks decides what can be enforced: the backend that works, or a refusal that says why, and never
//! "Enforced" by hooks that are not called. `scripts/test-vms` boots a kernel whose `lsm=` has no `bpf` for this.

use std::fs;
use std::process;

use enforcer_tests::{Backend, Client, Lab, Machine, Outcome, enforcer, wait_for};

use crate::scenario::{SOON, connects, refused};

const POLICY: &str =
    "version: 1\nrules:\n  - { name: malware, action: deny, to: { cidrs: [\"203.0.113.0/24\"] } }\n";

/// The backend that works here: a kernel calls BPF programs of the LSM only if `bpf` is in its list, and this project's
/// development machine does not let them be loaded at all.
fn works() -> Backend {
    let lsm = fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    let listed = lsm.trim().split(',').any(|name| name == "bpf");
    if listed && Machine::current().is_guest() { Backend::Lsm } else { Backend::Cgroup }
}

/// Runs `enforcer run` in a mount namespace of its own, after something has been done there. It has to end by itself.
fn run(lab: &Lab, backend: &str, before: &str) -> Outcome {
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    fs::write(&policy, POLICY).unwrap();
    let (enforcer, policy, cgroup) = (enforcer().unwrap(), policy.display(), lab.cgroup.name());
    let instance = format!("lacking-{}", process::id());
    let script = format!(
        "{before} timeout 60 {} run --policy {policy} --backend {backend} --cgroup {cgroup} --instance {instance}",
        enforcer.display()
    );
    Client::in_initial_netns().run("unshare", &["--mount", "sh", "-c", &script]).unwrap()
}

#[test]
fn auto_takes_the_backend_that_works() {
    let lab = Lab::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let policy = directory.path().join("policy.yaml");
    fs::write(&policy, POLICY).unwrap();
    let instance = format!("lacking-{}", process::id());
    connects(lab.client(), "203.0.113.7", 443);
    let arguments = ["run", "--policy", policy.to_str().unwrap(), "--events", "json=/dev/null"];
    let cgroup = lab.cgroup.name();
    let named = ["--backend", "auto", "--instance", &instance, "--cgroup", &cgroup];
    let running =
        Client::in_initial_netns().spawn(enforcer().unwrap(), &[&arguments[..], &named].concat()).unwrap();
    let status = wait_for(SOON * 6, || {
        let arguments = ["status", "--format", "json", "--instance", &instance];
        let outcome = Client::in_initial_netns().run(enforcer().unwrap().to_str().unwrap(), &arguments);
        serde_json::from_str::<serde_json::Value>(&outcome.unwrap().stdout)
            .ok()
            .filter(|status| status["status"]["state"] == "Enforced")
    });
    let status = status.unwrap();
    assert_eq!(status["backend"], works().as_str(), "{status}");
    refused(lab.client(), "203.0.113.7", 443, "EPERM");
    // SAFETY: takes numbers only. The child has not been waited for, so the id is still its own.
    unsafe { libc::kill(libc::pid_t::try_from(running.pid()).unwrap(), libc::SIGTERM) };
    assert!(running.finish(SOON).unwrap().success());
    connects(lab.client(), "203.0.113.7", 443);
}

#[test]
fn a_backend_that_does_not_work_is_not_taken() {
    if works() == Backend::Lsm {
        // Then both work, which the other tests show.
        return;
    }
    let lab = Lab::new().unwrap();
    let outcome = run(&lab, "lsm", "");
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("`--backend cgroup`"), "{outcome:?}");
    connects(lab.client(), "203.0.113.7", 443);
}

#[test]
fn without_type_information_it_does_not_start() {
    let lab = Lab::new().unwrap();
    let outcome = run(&lab, "auto", "mount -t tmpfs none /sys/kernel/btf &&");
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("BTF"), "{outcome:?}");
    connects(lab.client(), "203.0.113.7", 443);
}

#[test]
fn without_version_2_of_cgroups_it_does_not_start() {
    let lab = Lab::new().unwrap();
    let root = Machine::current().cgroup_root().display();
    let outcome = run(&lab, "auto", &format!("umount -l {root} &&"));
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    assert!(outcome.stderr.contains("cgroup v2"), "{outcome:?}");
    connects(lab.client(), "203.0.113.7", 443);
}
