//! What cannot work is refused with one clear error, and nothing is left attached.

use std::fs;
use std::path::Path;

use enforcer_tests::{Backend, Cgroup, Client, Lab, Machine, Outcome, enforcer};

use crate::scenario::connects;

const POLICY: &str = "version: 1\nrules:\n  - { name: a, action: deny, to: { names: [\"a.test\"] } }\n";

/// A policy file with this text, alone in a directory.
fn file(directory: &Path, text: &str) -> String {
    let path = directory.join("policy.yaml");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// `enforcer run` in a cgroup of its own, so that nothing is cut off should it start after all.
fn run(cgroup: &Cgroup, policy: &str, arguments: &[&str]) -> Outcome {
    let scope = cgroup.path().to_str().unwrap();
    let start =
        ["run", "--policy", policy, "--backend", "cgroup", "--cgroup", scope, "--instance", "bad-input"];
    // Ends what starts against expectation; 124 is no status of ours.
    let program = ["15", enforcer().unwrap().to_str().unwrap()].map(str::to_owned);
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    let arguments = [&program[..], &start, arguments].concat();
    Client::in_initial_netns().run("timeout", &arguments).unwrap()
}

/// One error, in words, and no panic.
#[track_caller]
fn complains(outcome: &Outcome, status: i32, texts: &[&str]) {
    assert_eq!(outcome.status.code(), Some(status), "{outcome:?}");
    assert!(!outcome.stderr.contains("panicked"), "{outcome:?}");
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{outcome:?}");
    for text in texts {
        assert!(outcome.stderr.contains(text), "`{text}` in {}", outcome.stderr);
    }
    assert!(!outcome.stderr.contains("enforcer is ready"), "{outcome:?}");
}

#[test]
fn a_policy_with_errors_is_refused_at_its_place() {
    let cgroup = Cgroup::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    for (text, expected) in [
        (POLICY.replace("action", "acton"), &["unknown-key", "policy.yaml:3:16", "hint: ", "`action`"][..]),
        (POLICY.replace("deny", "[deny]"), &["wrong-type", "policy.yaml:3:", "hint: "]),
        (format!("{POLICY}  - {{ name: a, action: deny, to: any }}\n"), &["policy.yaml:4:", "`a`"]),
        (String::new(), &["policy.yaml:1:1"]),
        (POLICY.replace("version: 1\n", ""), &["version"]),
        (POLICY.replace("version: 1", "version: 99"), &["version", "policy.yaml:1:"]),
        (POLICY.replace("{ name: a", "{ name: [a"), &["policy.yaml:"]),
        (POLICY.replace("a.test", "*.com"), &["allowBroad", "policy.yaml:3:"]),
        (POLICY.replace("a.test", "a..test"), &["policy.yaml:3:", "hint: "]),
        (POLICY.replace("names: [\"a.test\"]", "lists: [\"missing.txt\"]"), &["missing.txt"]),
    ] {
        let path = file(directory.path(), &text);
        complains(&run(&cgroup, &path, &[]), 2, expected);
        let check =
            Client::in_initial_netns().run(enforcer().unwrap().to_str().unwrap(), &["check", &path]).unwrap();
        assert_eq!(check.status.code(), Some(2), "{check:?}");
    }
}

#[test]
fn a_policy_that_is_not_there_is_named() {
    let cgroup = Cgroup::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    complains(
        &run(&cgroup, "/nonexistent/policy.yaml", &[]),
        2,
        &["/nonexistent/policy.yaml", "No such file"],
    );
    complains(&run(&cgroup, path, &[]), 2, &["has no policy file", path]);
    let binary = directory.path().join("binary.yaml");
    fs::write(&binary, b"\xff\xfe\0\0rules").unwrap();
    complains(&run(&cgroup, binary.to_str().unwrap(), &[]), 2, &["binary.yaml"]);
}

#[test]
fn a_missing_capability_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), POLICY);
    // Readable for everybody, as the executable need not be: it is a copy.
    let binary = directory.path().join("enforcer");
    fs::copy(enforcer().unwrap(), &binary).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(directory.path(), open).unwrap();
    let arguments = ["run", "--policy", &path, "--instance", "bad-input"];
    let outcome = Client::in_initial_netns().uid(65534).run(binary.to_str().unwrap(), &arguments).unwrap();
    complains(&outcome, 1, &["CAP_BPF", "CAP_NET_ADMIN", "help: ", "root"]);
    let arguments = ["exec", "--policy", &path, "--", "true"];
    let outcome = Client::in_initial_netns().uid(65534).run(binary.to_str().unwrap(), &arguments).unwrap();
    complains(&outcome, 125, &["CAP_BPF"]);
}

#[test]
fn a_kernel_without_what_is_needed_is_refused() {
    let lab = Lab::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), POLICY);
    let enforcer = enforcer().unwrap();
    // A client in a network namespace has a mount namespace of its own.
    let without = |prepare: &str| {
        let script = format!(
            "{prepare} && exec timeout 15 {} run --policy {path} --backend cgroup --instance bad-input",
            enforcer.display()
        );
        lab.client().run("sh", &["-c", &script]).unwrap()
    };
    complains(&without("mount -t tmpfs none /sys/kernel/btf"), 1, &["BTF", "help: "]);
    let root = Machine::current().cgroup_root().display();
    complains(&without(&format!("umount -l {root}")), 1, &["cgroup v2", "help: "]);
}

#[test]
fn an_impossible_command_line_is_refused() {
    let cgroup = Cgroup::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), POLICY);
    let unknown = Client::in_initial_netns()
        .run(enforcer().unwrap().to_str().unwrap(), &["run", "--policy", &path, "--backend", "iptables"])
        .unwrap();
    complains(&unknown, 2, &["iptables", "lsm", "cgroup"]);
    let nowhere = Client::in_initial_netns()
        .run(
            enforcer().unwrap().to_str().unwrap(),
            &[
                "run",
                "--policy",
                &path,
                "--backend",
                "cgroup",
                "--cgroup",
                "/no/such/cgroup",
                "--instance",
                "bad-input",
            ],
        )
        .unwrap();
    complains(&nowhere, 1, &["/no/such/cgroup", "help: "]);
    let events = run(&cgroup, &path, &["--events", "json=/nonexistent/events"]);
    complains(&events, 1, &["/nonexistent/events"]);
    complains(&run(&cgroup, &path, &["--events", "xml=/dev/null"]), 2, &["xml"]);
    complains(&run(&cgroup, &path, &["--confirm", "soon"]), 2, &["soon"]);
}

#[test]
fn a_second_daemon_of_the_same_name_is_refused() {
    let lab = Lab::new().unwrap();
    let backend = Machine::current().backends()[0];
    let first = lab.daemon(backend).policy("policy", POLICY).start().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), POLICY);
    let scope = lab.cgroup.path().to_str().unwrap();
    let arguments =
        ["run", "--policy", &path, "--backend", "cgroup", "--cgroup", scope, "--instance", first.instance()];
    let second = Client::in_initial_netns().run(enforcer().unwrap().to_str().unwrap(), &arguments).unwrap();
    complains(&second, 1, &["is running already", "help: "]);
    assert!(first.ask(&["status"]).unwrap().success());
}

#[test]
fn a_backend_that_this_kernel_refuses_is_refused_with_a_way_out() {
    if Machine::current().backends().contains(&Backend::Lsm) {
        // Nothing is refused here.
        return;
    }
    let lab = Lab::new().unwrap();
    let failure = lab.daemon(Backend::Lsm).policy("policy", POLICY).start_failing().unwrap();
    assert_eq!(failure.status.code(), Some(1), "{failure:?}");
    assert!(failure.stderr.contains("help: ") && failure.stderr.contains("--backend"), "{failure:?}");
    assert!(!failure.stderr.contains("panicked"), "{failure:?}");
    connects(lab.client(), "www.evil.example", 443);
}
