//! What the daemon knows beyond packets: the hosts file, names looked up in advance, and why an address has no name.

use enforcer_tests::{Daemon, Lab, Machine, wait_for};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::time::Duration;

use crate::scenario::{SOON, attempt, connects, policy, refused, state_of_default_deny};

const POLICY: &str = r#"
hold: { deny: 1s, allow: 1s }
rules:
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
  - { name: fine, action: allow, to: { names: [".good.example"] } }
"#;

fn names(daemon: &Daemon, arguments: &[&str]) -> Vec<Value> {
    let outcome = daemon.ask(&[&["names", "--format", "json"], arguments].concat()).unwrap();
    assert!(outcome.success(), "{outcome:?}");
    outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn names_are_listed_with_who_asked_and_what_matches() {
    // The daemon sees every answer of the machine: these names are this test's alone.
    const POLICY: &str = r#"
rules:
  - { name: malware, action: deny, to: { names: ["bad.listed.test"] } }
  - { name: fine, action: allow, to: { names: ["good.listed.test"] } }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            dnsmasq
                .name("bad.listed.test", [203, 0, 113, 121])
                .name("good.listed.test", [198, 51, 100, 121])
                .name("end.listed.test", [203, 0, 113, 122])
                .alias("also.listed.test", "end.listed.test")
        })
        .unwrap();
        let daemon = lab.daemon(backend).policy("policy", &policy(POLICY)).start().unwrap();
        assert_eq!(names(&daemon, &[".listed.test"]), [json!(null); 0]);
        refused(lab.client(), "bad.listed.test", 443, "EPERM");
        connects(lab.outsider(), "good.listed.test", 443);
        connects(lab.client(), "also.listed.test", 443);

        let listed = names(&daemon, &[".listed.test"]);
        let pairs: Vec<_> = listed
            .iter()
            .map(|row| (row["name"].as_str().unwrap(), row["address"].as_str().unwrap()))
            .collect();
        // In the order of their addresses.
        let expected = [
            ("good.listed.test", "198.51.100.121"),
            ("bad.listed.test", "203.0.113.121"),
            ("also.listed.test", "203.0.113.122"),
        ];
        assert_eq!(pairs, expected, "{listed:?}");
        let [denied] = names(&daemon, &["--denied", ".listed.test"]).try_into().unwrap();
        assert_eq!(denied["name"], "bad.listed.test", "{denied}");
        assert_eq!((&denied["trusted"], &denied["hostsFile"]), (&true.into(), &false.into()), "{denied}");
        let cgroup = lab.cgroup.path().to_string_lossy().into_owned();
        let asked_by = denied["askedBy"][0].as_str().unwrap();
        assert!(asked_by.len() > 1 && cgroup.ends_with(asked_by), "{asked_by}: {cgroup}");
        let rule = &denied["rules"][0];
        let found = (&rule["policy"], &rule["rule"], &rule["action"]);
        assert_eq!(found, (&"policy".into(), &"malware".into(), &"deny".into()), "{denied}");
        assert!((3500..=3600).contains(&rule["secondsLeft"].as_u64().unwrap()), "{denied}");
        // Aliases count as names.
        assert_eq!(names(&daemon, &["end.listed.test"])[0]["name"], "also.listed.test");
        let narrowed =
            names(&daemon, &["--address", "203.0.113.120/30", "--rule", "malware", "*.listed.test"]);
        assert_eq!(narrowed.len(), 1, "{narrowed:?}");

        let text = daemon.ask(&["names", "*.listed.test"]).unwrap();
        assert!(text.success() && text.stdout.starts_with("NAME "), "{text:?}");
        assert!(text.stdout.contains("deny policy/malware"), "{text:?}");
        let unknown = daemon.ask(&["names", "--rule", "nobody"]).unwrap();
        assert_eq!(unknown.status.code(), Some(2), "{unknown:?}");
        let instance = daemon.instance().to_owned();
        drop(daemon);
        let binary = enforcer_tests::enforcer().unwrap();
        let client = enforcer_tests::Client::in_initial_netns();
        let gone = client.run(binary.to_str().unwrap(), &["names", "--instance", &instance]).unwrap();
        assert_eq!(gone.status.code(), Some(1), "{gone:?}");
        assert!(gone.stderr.contains("enforcer run"), "{gone:?}");
    });
}

/// Addresses that nothing but a hosts file names.
const IN_FILE: &str =
    "203.0.113.41 host.evil.example\n198.51.100.41 host.good.example\n127.0.0.1 local.evil.example\n";

#[test]
fn the_hosts_file_is_judged_while_it_says_so() {
    Machine::each_backend(|backend| {
        let lab = Lab::new().unwrap();
        let hosts = |lines: &str| lab.netns.set_hosts(lines).unwrap();
        let path = hosts(IN_FILE);
        let getent = lab.client().run("getent", &["ahosts", "host.evil.example"]).unwrap();
        assert!(getent.stdout.contains("203.0.113.41"), "{getent:?}");
        let open = || {
            for name in ["host.evil.example", "host.good.example"] {
                connects(lab.client(), name, 443);
            }
        };
        open();
        let text = policy(&format!("default: deny\n{POLICY}"));
        let builder = lab.daemon(backend).policy("policy", &text).argument("--hosts").argument(&path);
        let mut daemon = builder.start().unwrap();
        refused(lab.client(), "host.evil.example", 443, "EPERM");
        refused(lab.client(), "203.0.113.41", 443, "EPERM");
        connects(lab.client(), "host.good.example", 443);
        let event = daemon.connect_event(0, (IpAddr::from([203, 0, 113, 41]), 443).into()).unwrap();
        assert_eq!(
            (&event["rule"], &event["results"]),
            (&"malware".into(), &json!(["host.evil.example"])),
            "{event}"
        );
        // No name denies loopback.
        let local = attempt(lab.client(), "local.evil.example", 443);
        assert_ne!(local.errno(), Some("EPERM"), "{local}");
        let listed = names(&daemon, &["host.good.example"]);
        assert_eq!(
            (&listed[0]["hostsFile"], &listed[0]["secondsLeft"]),
            (&true.into(), &Value::Null),
            "{listed:?}"
        );
        // It has no end, whatever the `hold`.
        std::thread::sleep(Duration::from_millis(2200));
        connects(lab.client(), "host.good.example", 443);

        // The file now says it of another address; the old one ends as if it had been answered just now.
        hosts("203.0.113.42 host.evil.example\n198.51.100.42 host.good.example\n");
        let moved = wait_for(SOON, || attempt(lab.client(), "host.good.example", 443).is_ok().then_some(()));
        assert!(moved.is_some(), "{:?}", names(&daemon, &[]));
        refused(lab.client(), "host.evil.example", 443, "EPERM");
        let over = wait_for(SOON, || {
            let attempt = attempt(lab.client(), "198.51.100.41", 443);
            (attempt.errno() == Some("EPERM")).then_some(())
        });
        assert!(over.is_some(), "{:?}", names(&daemon, &[]));
        let event = daemon.connect_event(0, (IpAddr::from([198, 51, 100, 41]), 443).into()).unwrap();
        assert_eq!(event["results"], json!(["host.good.example"]), "{event}");
        let counted = wait_for(SOON, || (daemon.counter("namelessExpired").unwrap() > 0).then_some(()));
        assert!(counted.is_some(), "{}", daemon.status().unwrap());

        assert!(daemon.stop().unwrap().success());
        open();
    });
}

#[test]
fn names_looked_up_in_advance_need_no_lookup_of_the_client() {
    let rules = |key: &str| {
        policy(&format!(
            "default: deny\nrules:\n  - {{ name: registry, action: allow, to: {{ names: [\"registry.test\"] }}{key} }}\n"
        ))
    };
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| dnsmasq.name("registry.test", [203, 0, 113, 77])).unwrap();
        const ADDRESS: &str = "203.0.113.77";
        connects(lab.client(), ADDRESS, 443);

        // Nobody looks it up.
        let mut daemon = lab.daemon(backend).netns(&lab.netns).policy("policy", &rules("")).start().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        refused(lab.client(), ADDRESS, 443, "EPERM");
        let event = daemon.connect_event(0, (ADDRESS.parse::<IpAddr>().unwrap(), 443).into()).unwrap();
        assert_eq!((&event["results"], &event["cause"]), (&json!([]), &"literal".into()), "{event}");

        daemon.write_policy("policy", &rules(", preResolve: true")).unwrap();
        let passes = wait_for(SOON, || attempt(lab.client(), ADDRESS, 443).is_ok().then_some(()));
        assert!(passes.is_some(), "{} {}", daemon.status().unwrap(), daemon.stderr().unwrap());
        assert_eq!(daemon.counter("preResolved").unwrap(), 1);
        assert_eq!(daemon.status().unwrap()["status"]["state"], state_of_default_deny(backend));
        let listed = names(&daemon, &["registry.test"]);
        assert_eq!(
            (&listed[0]["address"], &listed[0]["trusted"]),
            (&ADDRESS.into(), &true.into()),
            "{listed:?}"
        );
        refused(lab.client(), "203.0.113.78", 443, "EPERM");
        assert!(daemon.stop().unwrap().success());

        // From the start.
        let daemon = lab
            .daemon(backend)
            .netns(&lab.netns)
            .policy("policy", &rules(", preResolve: true"))
            .start()
            .unwrap();
        let passes = wait_for(SOON, || attempt(lab.client(), ADDRESS, 443).is_ok().then_some(()));
        assert!(passes.is_some(), "{} {}", daemon.status().unwrap(), daemon.stderr().unwrap());
        drop(daemon);
        connects(lab.client(), "203.0.113.78", 443);
    });
}

#[test]
fn a_connect_without_a_name_has_a_cause() {
    Machine::one_backend(|backend| {
        let lab = Lab::with(|dnsmasq| dnsmasq.ttl(0).name("over.caused.test", [198, 51, 100, 131])).unwrap();
        let mut old = lab.client().visit("198.18.0.53:53".parse().unwrap()).unwrap();
        let text = policy("literalAddresses: audit\nhold: { deny: 1s, allow: 1s }\nrules: []\n");
        let daemon = lab.daemon(backend).policy("policy", &text).start().unwrap();
        let cause = |to: &str, port: u16, mark: usize| {
            let event = daemon.connect_event(mark, (to.parse::<IpAddr>().unwrap(), port).into()).unwrap();
            event["cause"].clone()
        };
        connects(lab.client(), "203.0.113.131", 443);
        assert_eq!(cause("203.0.113.131", 443, 0), "literal");
        old.say("connect 203.0.113.132 443").unwrap();
        assert!(old.attempt(SOON).unwrap().is_ok());
        assert_eq!(cause("203.0.113.132", 443, 0), "beforeStart");

        // A name that is over: its answer has no time to live, and is held for a second.
        let mark = daemon.mark().unwrap();
        connects(lab.client(), "over.caused.test", 443);
        assert_eq!(cause("198.51.100.131", 443, mark), Value::Null);
        let ended = wait_for(SOON, || names(&daemon, &["over.caused.test"]).is_empty().then_some(()));
        assert!(ended.is_some());
        std::thread::sleep(Duration::from_millis(1500));
        let mark = daemon.mark().unwrap();
        connects(lab.client(), "198.51.100.131", 443);
        assert_eq!(cause("198.51.100.131", 443, mark), "expired");
        for counter in ["namelessLiteral", "namelessBeforeStart", "namelessExpired"] {
            assert!(daemon.counter(counter).unwrap() > 0, "{counter}: {}", daemon.status().unwrap());
        }
    });
}
