//! `explain` beside a running daemon: the names that addresses have, and until when.

use enforcer_tests::{Daemon, Lab, Machine};
use serde_json::{Value, json};

use crate::scenario::{SOON, connects, policy, refused};

const POLICY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
  - { name: web, action: deny, to: { names: ["*.evil.example"] }, ports: [80] }
  - { name: fine, action: allow, to: { names: [".good.example"] } }
"#;
const HOST: &str = "www.evil.example";

fn explain(daemon: &Daemon, to: &str) -> Value {
    let outcome = daemon.ask(&["explain", to, "--format", "json"]).unwrap();
    assert!(outcome.success(), "{outcome:?}");
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn a_running_daemon_tells_live_names_and_how_long_they_count() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let address = Lab::EVIL.to_string();
        let mut daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();

        // Nobody has looked the name up: it would be denied, and its address is like any other.
        let name = explain(&daemon, HOST);
        assert_eq!((&name["verdict"], &name["rule"]), (&"deny".into(), &"malware".into()), "{name}");
        assert_eq!((&name["live"], &name["notes"]), (&json!([]), &json!([])), "{name}");
        assert_eq!(name["others"][0]["rule"], "web", "{name}");
        let bare = explain(&daemon, &address);
        assert_eq!((&bare["verdict"], &bare["rule"]), (&"allow".into(), &Value::Null), "{bare}");
        assert_eq!(bare["live"], json!([]), "{bare}");

        refused(lab.client(), HOST, 443, "EPERM");
        for answer in [explain(&daemon, HOST), explain(&daemon, &address)] {
            assert_eq!((&answer["rule"], &answer["blocked"]), (&"malware".into(), &true.into()), "{answer}");
            let live = &answer["live"][0];
            assert_eq!((&live["dstIP"], &live["rule"]), (&(*address).into(), &"malware".into()), "{answer}");
            let sighting = &live["sightings"][0];
            assert_eq!(
                (&sighting["names"], &sighting["trusted"]),
                (&json!([HOST]), &true.into()),
                "{answer}"
            );
            // The `hold` of a policy that says nothing about it: an hour to deny, ten minutes to allow.
            let left = |key: &str| sighting[key].as_u64().unwrap();
            assert!((3500..=3600).contains(&left("denySecondsLeft")), "{answer}");
            assert!((500..=600).contains(&left("allowSecondsLeft")), "{answer}");
        }
        let text = daemon.ask(&["explain", HOST]).unwrap();
        assert!(
            text.success() && text.stdout.contains(&format!("  {address}: deny, by rule `malware`")),
            "{text:?}"
        );

        // What another policy would make of what is known.
        let other = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
        std::fs::write(other.path(), "version: 1\nrules: []\n").unwrap();
        let other = daemon
            .ask(&["explain", &address, "--policy", other.path().to_str().unwrap(), "--format", "json"])
            .unwrap();
        let other: Value = serde_json::from_str(&other.stdout).unwrap();
        assert_eq!(
            (&other["verdict"], &other["live"][0]["blocked"]),
            (&"allow".into(), &false.into()),
            "{other}"
        );

        assert!(daemon.ask(&["detach"]).unwrap().success());
        assert!(daemon.wait(SOON).unwrap().success());
        connects(lab.client(), HOST, 443);
        let gone = daemon.ask(&["explain", HOST]).unwrap();
        assert_eq!(gone.status.code(), Some(1), "{gone:?}");
        assert!(gone.stderr.contains("--policy"), "{gone:?}");
    });
}
