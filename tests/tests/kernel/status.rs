//! What is said about how much is enforced, and what is left when the daemon has gone.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use enforcer_tests::{Daemon, Lab, Machine, Outcome, enforcer, wait_for};

use crate::scenario::{SOON, connects, policy, refused};

const POLICY: &str = "rules:\n  - { name: malware, action: deny, to: { names: [\"*.evil.example\"] } }\n";
const HOST: &str = "www.evil.example";

fn state(daemon: &Daemon) -> String {
    daemon.status().unwrap()["status"]["state"].as_str().unwrap().to_lowercase()
}

/// `enforcer` with these arguments, in no scenario.
fn ask(arguments: &[&str]) -> Outcome {
    enforcer_tests::Client::in_initial_netns().run(enforcer().unwrap().to_str().unwrap(), arguments).unwrap()
}

#[test]
fn an_enforcing_daemon_says_so_and_counts() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        let before = daemon.counter("refused").unwrap();
        refused(lab.client(), HOST, 443, "EPERM");

        let status = daemon.status().unwrap();
        assert_eq!(status["status"]["state"], "Enforced", "{status}");
        assert_eq!(
            (&status["backend"], &status["mode"]),
            (&backend.as_str().into(), &"enforce".into()),
            "{status}"
        );
        assert_eq!((&status["policyVersion"], &status["rules"]), (&1.into(), &1.into()), "{status}");
        assert_eq!(status["resolvers"], serde_json::json!(["198.18.0.53"]), "{status}");
        let hooks: Vec<&str> =
            status["hooks"].as_array().unwrap().iter().filter_map(|hook| hook["program"].as_str()).collect();
        let expected: &[&str] = match backend {
            enforcer_tests::Backend::Cgroup => &["ingress", "connect4", "connect6"],
            enforcer_tests::Backend::Lsm => &["ingress", "socket_connect"],
        };
        assert!(expected.iter().all(|hook| hooks.contains(hook)), "{status}");
        assert_eq!(daemon.counter("refused").unwrap(), before + 1);
        for counter in ["answers", "bound", "judged", "canaries"] {
            assert!(daemon.counter(counter).unwrap() > 0, "{counter}: {status}");
        }
        for counter in ["eventsLost", "answersLost", "errors", "noScratch", "undecoded", "bindingsFull"] {
            assert_eq!(daemon.counter(counter).unwrap(), 0, "{counter}: {status}");
        }
        let text = daemon.ask(&["status"]).unwrap();
        assert!(text.success(), "{text:?}");
        for line in ["Enforced", "policy:    version 1, 1 rules", "mode:      enforce"] {
            assert!(text.stdout.contains(line), "{line}: {text:?}");
        }
    });
}

#[test]
fn an_auditing_daemon_says_so() {
    let backend = Machine::current().backends()[0];
    let lab = Lab::new().unwrap();
    let text = policy(&format!("mode: audit\n{POLICY}"));
    let daemon = lab.daemon(backend).policy("policy", &text).start().unwrap();
    assert_eq!(state(&daemon), "auditonly");
    let text = daemon.ask(&["status"]).unwrap();
    assert!(text.success() && text.stdout.contains("AuditOnly"), "{text:?}");
    // .. and when the next policy enforces, that.
    daemon.write_policy("policy", &policy(POLICY)).unwrap();
    let enforced = wait_for(SOON, || (state(&daemon) == "enforced").then_some(()));
    assert!(enforced.is_some(), "{}", daemon.status().unwrap());
    refused(lab.client(), HOST, 443, "EPERM");
}

#[test]
fn without_a_daemon_nothing_is_enforced() {
    for format in ["text", "json"] {
        let outcome = ask(&["status", "--instance", "nobody-runs-this", "--format", format]);
        assert_eq!(outcome.status.code(), Some(3), "{outcome:?}");
        assert!(outcome.stdout.contains("NotEnforced"), "{outcome:?}");
        assert!(outcome.stdout.contains("nobody-runs-this"), "{outcome:?}");
    }
    assert!(ask(&["detach", "--instance", "nobody-runs-this"]).success());
    let outcome = ask(&["confirm", "--instance", "nobody-runs-this"]);
    assert_eq!(outcome.status.code(), Some(1), "{outcome:?}");
}

#[test]
fn a_killed_daemon_leaves_nothing_attached() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let mut daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        refused(lab.client(), HOST, 443, "EPERM");
        daemon.kill().unwrap();
        // The kernel takes a moment to let go of programs that nobody holds.
        let open = wait_for(SOON, || {
            lab.client()
                .connect(HOST, 443)
                .unwrap()
                .first()
                .is_some_and(|attempt| attempt.is_ok())
                .then_some(())
        });
        assert!(open.is_some());
        assert_eq!(daemon.ask(&["status"]).unwrap().status.code(), Some(3));
        // The socket that it left is in nobody's way.
        let instance = daemon.instance().to_owned();
        let next = lab.daemon(backend).instance(&instance).policy("policy", &policy(POLICY)).start().unwrap();
        refused(lab.client(), HOST, 443, "EPERM");
        drop(next);
        connects(lab.client(), HOST, 443);
    });
}

#[test]
fn detach_ends_the_daemon() {
    let backend = Machine::current().backends()[0];
    let lab = Lab::new().unwrap();
    let mut daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
    refused(lab.client(), HOST, 443, "EPERM");
    assert!(daemon.ask(&["detach"]).unwrap().success());
    connects(lab.client(), HOST, 443);
    assert!(daemon.wait(SOON).unwrap().success());
}

#[test]
fn two_instances_enforce_side_by_side() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let other =
            policy("rules:\n  - { name: target, action: deny, to: { names: [\"target.example\"] } }\n");
        let one = lab.daemon(backend).policy("one", &policy(POLICY)).start().unwrap();
        let two = lab.daemon(backend).policy("two", &other).start().unwrap();
        refused(lab.client(), HOST, 443, "EPERM");
        refused(lab.client(), "target.example", 443, "EPERM");
        connects(lab.client(), "www.good.example", 443);
        one.connect_event(0, (Lab::EVIL, 443).into()).unwrap();
        two.connect_event(0, (Lab::TARGET, 443).into()).unwrap();
        assert_eq!((state(&one), state(&two)), ("enforced".to_owned(), "enforced".to_owned()));

        drop(one);
        connects(lab.client(), HOST, 443);
        refused(lab.client(), "target.example", 443, "EPERM");
        std::thread::sleep(Duration::from_millis(50));
        drop(two);
        connects(lab.client(), "target.example", 443);
    });
}

#[test]
fn who_asks_slowly_is_answered_too() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        let mut socket = UnixStream::connect(format!("/run/enforcer/{}.sock", daemon.instance())).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        // Meanwhile the daemon has other things to do, at least once a second.
        std::thread::sleep(Duration::from_millis(1500));
        socket.write_all(b"\"status\"\n").unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("policyVersion"), "{answer}");
    });
}
