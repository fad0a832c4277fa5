//! What is told about an attempt.

use std::net::SocketAddr;

use enforcer_tests::{Attempt, Daemon, Lab, Machine, sibling};

use crate::scenario::{Case, SOON, connects, enforced, policy, refused};

const POLICY: &str = r#"
name: ci-guard
rules:
  - name: malware
    action: deny
    to: { names: ["*.evil.example"] }
"#;

#[test]
fn a_refused_attempt_is_told_with_everything_about_it() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let evil = SocketAddr::from((Lab::EVIL, 443));
        let cases = [Case::refused(lab.client(), "www.evil.example", 443, "EPERM").by("malware")];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            let mark = daemon.mark().unwrap();
            let held = lab.client().uid(1000).hold("www.evil.example", 443).unwrap();
            let (pid, attempt) = (held.pid(), held.attempt(SOON).unwrap());
            let expected = Attempt::Error { errno: "EPERM".to_owned(), address: evil };
            assert_eq!(attempt, expected);
            // Gone before anybody can ask who it was.
            drop(held);
            let event = daemon.connect_event(mark, evil).unwrap();
            assert_eq!(event["results"], serde_json::json!(["www.evil.example"]), "{event}");
            for (key, expected) in [
                ("dstIP", "203.0.113.7"),
                ("proto", "tcp"),
                ("verdict", "deny"),
                ("mode", "enforce"),
                ("policy", "ci-guard"),
                ("rule", "malware"),
                ("effectiveRule", "malware"),
                ("comm", "peer"),
                ("exe", sibling("peer").unwrap().to_str().unwrap()),
                ("cgroup", &lab.cgroup.name()),
                ("backend", backend.as_str()),
            ] {
                assert_eq!(event[key], expected, "{key}: {event}");
            }
            for (key, expected) in [
                ("dstPort", 443),
                ("policyVersion", 1),
                ("pid", pid),
                ("tid", pid),
                ("ppid", std::process::id()),
                ("uid", 1000),
            ] {
                assert_eq!(event[key], expected, "{key}: {event}");
            }
            assert_eq!((&event["wouldDeny"], &event["blocked"]), (&true.into(), &true.into()), "{event}");
            let time = event["time"].as_str().unwrap();
            assert!(time.len() == "2026-01-01T00:00:00.123456789Z".len() && time.ends_with('Z'), "{time}");
        });
    });
}

#[test]
fn allowed_attempts_are_told_too_with_every_name() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let cases = [
            Case::open(lab.client(), "www.good.example", 443).by_default(),
            Case::open(lab.client(), "198.51.100.99", 443).by_default(),
            Case::open(lab.client(), "shared.good.example", 443).by_default(),
            Case::refused(lab.client(), "shared.evil.example", 443, "EPERM").by("malware"),
            Case::open(lab.client(), "alias.example", 443).by_default(),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            let event = daemon.connect_event(0, (Lab::GOOD, 443).into()).unwrap();
            assert_eq!(event["results"], serde_json::json!(["www.good.example"]), "{event}");
            assert_eq!(event["verdict"], "allow", "{event}");
            assert_eq!((&event["wouldDeny"], &event["blocked"]), (&false.into(), &false.into()), "{event}");
            assert!(event["rule"].is_null() && event["effectiveRule"].is_null(), "{event}");
            // An address that no lookup preceded has no names.
            let event = daemon.connect_event(0, "198.51.100.99:443".parse().unwrap()).unwrap();
            assert_eq!(event["results"], serde_json::json!([]), "{event}");
            // One that was answered for two names has both.
            let mark = daemon.mark().unwrap();
            let address = refused(lab.client(), "shared.good.example", 443, "EPERM");
            let event = daemon.connect_event(mark, address).unwrap();
            let names = event["results"].as_array().unwrap();
            let mut names: Vec<&str> = names.iter().filter_map(|name| name.as_str()).collect();
            names.sort_unstable();
            assert_eq!(names, ["shared.evil.example", "shared.good.example"], "{event}");
            // Nearest to the question first.
            let event = daemon.connect_event(0, (Lab::TARGET, 443).into()).unwrap();
            assert_eq!(event["results"], serde_json::json!(["alias.example", "target.example"]), "{event}");
        });
    });
}

#[test]
fn an_attempt_outside_the_scope_is_neither_judged_nor_told() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let evil = SocketAddr::from((Lab::EVIL, 443));
        connects(lab.outsider(), "www.evil.example", 443);
        // In the cgroup even where the machine is the test's own.
        let mut daemon = Daemon::builder(backend)
            .cgroup(Some(&lab.cgroup))
            .policy("policy", &policy(POLICY))
            .start()
            .unwrap();
        let mark = daemon.mark().unwrap();
        connects(lab.outsider(), "www.evil.example", 443);
        // The next event is the insider's: the outsider has none.
        refused(lab.client(), "www.evil.example", 443, "EPERM");
        let event = daemon.connect_event(mark, evil).unwrap();
        assert_eq!(event["cgroup"], lab.cgroup.name(), "{event}");
        daemon.stop().unwrap();
        connects(lab.client(), "www.evil.example", 443);
    });
}
