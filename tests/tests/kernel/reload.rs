//! Policies that change while they are enforced.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use enforcer_tests::{Backend, Daemon, Lab, Machine, wait_for};

use crate::scenario::{SOON, attempt, connects, policy, refused, reload};

const HOST: &str = "www.evil.example";
/// Denies the host, by this error number.
fn denying(errno: &str) -> String {
    policy(&format!(
        "rules:\n  - {{ name: malware, action: deny, to: {{ names: [\"*.evil.example\"] }}, errno: {errno} }}\n"
    ))
}

/// Says nothing about the host.
fn harmless() -> String {
    policy("rules:\n  - { name: other, action: deny, to: { names: [\"other.test\"] } }\n")
}

fn start(lab: &Lab, backend: Backend, text: &str) -> Daemon {
    connects(lab.client(), HOST, 443);
    lab.daemon(backend).policy("policy", text).start().unwrap()
}

#[test]
fn an_edit_decides_the_next_connect() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let mut daemon = start(&lab, backend, &denying("EPERM"));
        refused(client, HOST, 443, "EPERM");

        let event = reload(&daemon, || daemon.write_policy("policy", &harmless()).unwrap());
        connects(client, HOST, 443);
        assert_eq!(event["policyVersion"], 2, "{event}");
        assert_eq!(event["added"], serde_json::json!(["policy/other"]), "{event}");
        assert_eq!(event["removed"], serde_json::json!(["policy/malware"]), "{event}");

        reload(&daemon, || daemon.write_policy("policy", &denying("EPERM")).unwrap());
        let mark = daemon.mark().unwrap();
        let address = refused(client, HOST, 443, "EPERM");
        assert_eq!(daemon.connect_event(mark, address).unwrap()["policyVersion"], 3);

        let event = reload(&daemon, || daemon.write_policy("policy", &denying("EACCES")).unwrap());
        refused(client, HOST, 443, "EACCES");
        assert_eq!(event["changed"], serde_json::json!(["policy/malware"]), "{event}");

        daemon.stop().unwrap();
        connects(client, HOST, 443);
    });
}

#[test]
fn a_reload_is_told_at_once() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let daemon = start(&lab, backend, &denying("EPERM"));
        // No connect and no answer follows that would bring the event along.
        reload(&daemon, || daemon.write_policy("policy", &harmless()).unwrap());
    });
}

#[test]
fn names_known_before_are_judged_anew() {
    const ALLOWING: &str =
        "default: deny\nrules:\n  - { name: good, action: allow, to: { names: [\".good.example\"] } }\n";
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let (evil, good) = (Lab::EVIL.to_string(), Lab::GOOD.to_string());
        let mut daemon = start(&lab, backend, &harmless());
        connects(client, HOST, 443);
        connects(client, "www.good.example", 443);

        // From here on nobody asks for a name any more.
        reload(&daemon, || daemon.write_policy("policy", &denying("EPERM")).unwrap());
        let mark = daemon.mark().unwrap();
        let address = refused(client, &evil, 443, "EPERM");
        let event = daemon.connect_event(mark, address).unwrap();
        assert_eq!(event["results"], serde_json::json!([HOST]), "{event}");
        assert_eq!(event["rule"], "malware", "{event}");
        connects(client, &good, 443);

        reload(&daemon, || daemon.write_policy("policy", &policy(ALLOWING)).unwrap());
        connects(client, &good, 443);
        refused(client, &evil, 443, "EPERM");

        reload(&daemon, || daemon.write_policy("policy", &harmless()).unwrap());
        connects(client, &evil, 443);
        daemon.stop().unwrap();
    });
}

/// The directories of a Kubernetes volume: `policy.yaml` -> `..data/policy.yaml`, `..data` -> `..VERSION`.
fn publish(volume: &Path, version: &str, text: &str) {
    let directory = volume.join(format!("..{version}"));
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("policy.yaml"), text).unwrap();
    let next = volume.join("..data_tmp");
    symlink(format!("..{version}"), &next).unwrap();
    fs::rename(next, volume.join("..data")).unwrap();
}

#[test]
fn every_way_of_editing_is_noticed() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let volume = tempfile::tempdir().unwrap();
        publish(volume.path(), "1", &denying("EPERM"));
        symlink("..data/policy.yaml", volume.path().join("policy.yaml")).unwrap();
        let daemon =
            lab.daemon(backend).policy("other", &harmless()).argument("--policy").argument(volume.path());
        let daemon = daemon.start().unwrap();
        let file = daemon.policy_directory().join("more.yaml");
        refused(client, HOST, 443, "EPERM");

        reload(&daemon, || publish(volume.path(), "2", &denying("EACCES")));
        refused(client, HOST, 443, "EACCES");
        fs::remove_dir_all(volume.path().join("..1")).unwrap();
        reload(&daemon, || publish(volume.path(), "3", &harmless().replace("other", "another")));
        connects(client, HOST, 443);

        // A file appears, as `cp` writes it, ..
        reload(&daemon, || fs::write(&file, denying("EPERM")).unwrap());
        refused(client, HOST, 443, "EPERM");
        // .. is written over in place, ..
        reload(&daemon, || fs::write(&file, denying("ECONNREFUSED")).unwrap());
        refused(client, HOST, 443, "ECONNREFUSED");
        // .. is replaced as editors do, with a copy of the old one, ..
        reload(&daemon, || {
            fs::rename(&file, file.with_extension("yaml~")).unwrap();
            fs::write(&file, denying("ENETUNREACH")).unwrap();
        });
        refused(client, HOST, 443, "ENETUNREACH");
        // .. and at once, ..
        reload(&daemon, || daemon.write_policy("more", &denying("EACCES")).unwrap());
        refused(client, HOST, 443, "EACCES");
        // .. and goes.
        reload(&daemon, || fs::remove_file(&file).unwrap());
        connects(client, HOST, 443);
    });
}

#[test]
fn an_invalid_edit_keeps_the_policy_and_says_why() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let client = lab.client();
        let mut daemon = start(&lab, backend, &denying("EPERM"));
        let mark = daemon.mark().unwrap();
        let misspelt = harmless().replace("rules:", "rulez:");

        daemon.write_policy("policy", &misspelt).unwrap();
        let event =
            daemon.wait_for_event_since(mark, SOON, |event| event["event"] == "PolicyRejected").unwrap();
        refused(client, HOST, 443, "EPERM");
        let file = daemon.policy_directory().join("policy.yaml");
        let findings = event["diagnostics"].as_array().unwrap();
        let finding = findings.iter().find(|finding| finding["code"] == "unknown-key").unwrap();
        assert_eq!(finding["file"], file.to_str().unwrap(), "{event}");
        assert_eq!((&finding["line"], &finding["column"]), (&3.into(), &1.into()), "{event}");
        assert!(finding["hint"].as_str().unwrap().contains("`rules`"), "{event}");
        for text in [&format!("{}:3:1", file.display()), "hint: ", "the policy was not changed"] {
            daemon.wait_for_stderr(SOON, text).unwrap();
        }

        // Even without a policy file, what was in force stays so.
        let mark = daemon.mark().unwrap();
        fs::remove_file(&file).unwrap();
        daemon.wait_for_event_since(mark, SOON, |event| event["event"] == "PolicyRejected").unwrap();
        refused(client, HOST, 443, "EPERM");

        reload(&daemon, || daemon.write_policy("policy", &harmless()).unwrap());
        connects(client, HOST, 443);
        daemon.stop().unwrap();
    });
}

#[test]
fn what_was_learned_survives_the_turns_of_the_epoch() {
    const POLICY: &str = r#"
default: deny
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example"] }, errno: EACCES }
  - { name: rest, action: allow, to: { names: ["www.good.example", "*.more.test"] } }
"#;
    Machine::one_backend(|backend| {
        let lab = Lab::with(|dnsmasq| dnsmasq.domain("more.test", std::net::IpAddr::from([203, 0, 113, 70])))
            .unwrap();
        let client = lab.client();
        let daemon = start(&lab, backend, &policy(POLICY));
        refused(client, HOST, 443, "EACCES");
        connects(client, "www.good.example", 443);
        for turn in 0..3 {
            let turns = daemon.counter("turns").unwrap();
            connects(client, &format!("t{turn}.more.test"), 443);
            let turned = wait_for(SOON, || (daemon.counter("turns").unwrap() > turns).then_some(()));
            assert!(turned.is_some(), "the epoch turns when something was learned");
            refused(client, &Lab::EVIL.to_string(), 443, "EACCES");
            connects(client, &Lab::GOOD.to_string(), 443);
        }
        assert_eq!(daemon.counter("nameless").unwrap(), 0);
    });
}

#[test]
fn what_was_learned_ends() {
    const POLICY: &str = r#"
default: deny
hold: { deny: 2s, allow: 2s }
rules:
  - { name: registry, action: allow, to: { names: ["www.good.example"] } }
  - { name: keeper, action: allow, to: { names: ["kept.test"] }, hold: { allow: 1h } }
"#;
    Machine::one_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            dnsmasq.ttl(1).name("www.good.example", Lab::GOOD).name("kept.test", [203, 0, 113, 71])
        })
        .unwrap();
        let client = lab.client();
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        connects(client, "www.good.example", 443);
        connects(client, "kept.test", 443);
        let ended = wait_for(Duration::from_secs(15), || {
            (attempt(client, &Lab::GOOD.to_string(), 443).errno() == Some("EPERM")).then_some(())
        });
        assert!(ended.is_some(), "the binding ends");
        connects(client, "203.0.113.71", 443);
        connects(client, "www.good.example", 443);
        drop(daemon);
    });
}

#[test]
fn an_edit_during_the_start_is_noticed() {
    Machine::one_backend(|backend| {
        let lab = Lab::new().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("policy.yaml");
        fs::write(&file, harmless()).unwrap();
        let daemon = lab.daemon(backend).policy("other", &harmless().replace("other", "another"));
        let daemon = daemon.instance("edited-at-start").argument("--policy").argument(&file);
        // Between reading the policy, which comes right after the socket, and being ready lies the verifier's work.
        let pause = Duration::from_millis(if Machine::current().is_guest() { 1000 } else { 300 });
        let daemon = std::thread::scope(|scope| {
            scope.spawn(|| {
                let socket = Path::new("/run/enforcer/edited-at-start.sock");
                let there = wait_for(SOON, || socket.exists().then_some(()));
                assert!(there.is_some(), "the daemon starts");
                std::thread::sleep(pause);
                fs::write(&file, denying("EPERM")).unwrap();
            });
            daemon.start().unwrap()
        });
        let denied = wait_for(Duration::from_secs(10), || {
            (attempt(lab.client(), HOST, 443).errno() == Some("EPERM")).then_some(())
        });
        assert!(denied.is_some(), "the edit is in force");
        drop(daemon);
    });
}
