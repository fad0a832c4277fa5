//! What `doctor` says of a machine is what `run` does there.

use enforcer_tests::{Backend, Client, Machine, Outcome, enforcer};

fn doctor(arguments: &[&str]) -> Outcome {
    let arguments = [&["doctor"], arguments].concat();
    Client::in_initial_netns().run(enforcer().unwrap().to_str().unwrap(), &arguments).unwrap()
}

#[test]
fn the_backend_that_fires_is_the_one_that_is_taken() {
    let outcome = doctor(&["--format", "json"]);
    assert!(outcome.success(), "{outcome:?}");
    let report: serde_json::Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(report["kernel"], Machine::current().release(), "{report}");
    let state = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == name).map(|check| check["state"].clone()).unwrap()
    };
    assert_eq!(state("backend cgroup"), "good", "{report}");
    Machine::each_backend(|backend| {
        let name = format!("backend {backend}");
        assert_eq!(state(&name), "good", "{report}");
        if backend == Backend::Lsm {
            assert_eq!(
                (&report["backend"], state("bpf in lsm=")),
                (&"lsm".into(), "good".into()),
                "{report}"
            );
        }
    });
    for name in ["kernel", "privileges", "cgroup v2", "lockdown"] {
        assert_eq!(state(name), "good", "{report}");
    }
    let text = doctor(&[]);
    let backend = report["backend"].as_str().unwrap();
    assert!(text.stdout.ends_with(&format!("with the backend `{backend}`.\n")), "{text:?}");
}

#[test]
fn without_privileges_it_says_what_is_missing() {
    let client = Client::in_initial_netns().uid(65_534);
    let outcome = client.run(enforcer().unwrap().to_str().unwrap(), &["doctor"]).unwrap();
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
    for text in ["CAP_BPF", "fix: run as root", "not tried", "cannot be enforced"] {
        assert!(outcome.stdout.contains(text), "{text}: {outcome:?}");
    }
}
