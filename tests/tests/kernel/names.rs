//! Which names a rule is about.

use std::time::Duration;

use enforcer_tests::{Lab, Machine, wait_for};

use crate::scenario::{Case, attempt, connects, enforced, policy, refused};

#[test]
fn a_name_is_matched_by_whole_labels() {
    const POLICY: &str = r#"
rules:
  - { name: exact, action: deny, to: { names: ["exact.test"] } }
  - { name: below, action: deny, to: { names: ["*.evil.test"] } }
  - { name: both, action: deny, to: { names: [".both.test"] } }
  - { name: except, action: deny, to: { names: ["*.part.test"], except: { names: ["ok.part.test"] } } }
  - { name: case, action: deny, to: { names: ["MiXed.Test", "münchen.test"] } }
"#;
    let hosts = [
        "exact.test", "www.exact.test", "evil.test", "www.evil.test", "a.b.c.evil.test", "notevil.test",
        "evil.test.good.test", "both.test", "www.both.test", "x.part.test", "ok.part.test", "mixed.test",
        "xn--mnchen-3ya.test",
    ];
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            hosts.iter().zip(20..).fold(dnsmasq, |dnsmasq, (host, last)| dnsmasq.name(host, [203, 0, 113, last]))
        })
        .unwrap();
        let open = |host| Case::open(lab.client(), host, 443).by_default();
        let denied = |host, rule| Case::refused(lab.client(), host, 443, "EPERM").by(rule);
        let cases = [
            denied("exact.test", "exact"),
            open("www.exact.test"),
            open("evil.test"),
            denied("www.evil.test", "below"),
            denied("a.b.c.evil.test", "below"),
            open("notevil.test"),
            open("evil.test.good.test"),
            denied("both.test", "both"),
            denied("www.both.test", "both"),
            denied("x.part.test", "except"),
            open("ok.part.test"),
            denied("mixed.test", "case"),
            denied("xn--mnchen-3ya.test", "case"),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |_| {
            refused(lab.client(), "WWW.Evil.TEST", 443, "EPERM");
        });
    });
}

#[test]
fn every_name_of_a_chain_counts() {
    const POLICY: &str = r#"
rules:
  - { name: end, action: deny, to: { names: ["target.example"] } }
  - { name: start, action: deny, to: { names: ["front.test"] } }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            dnsmasq
                .name("back.test", [203, 0, 113, 40])
                .alias("middle.test", "back.test")
                .alias("front.test", "middle.test")
        })
        .unwrap();
        let cases = [
            Case::refused(lab.client(), "alias.example", 443, "EPERM").by("end"),
            // Nobody has come by way of the denied name yet.
            Case::open(lab.client(), "middle.test", 443).by_default(),
            Case::refused(lab.client(), "front.test", 443, "EPERM").by("start"),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |_| ());
    });
}

#[test]
fn a_glob_within_a_label_is_matched() {
    const POLICY: &str = r#"
rules:
  - { name: ads, action: deny, to: { names: ["ads-*.glob.test"] } }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            dnsmasq
                .name("ads-7.glob.test", [203, 0, 113, 50])
                .name("ads-.glob.test", [203, 0, 113, 51])
                .name("bads-7.glob.test", [203, 0, 113, 52])
                .name("ads-7.x.glob.test", [203, 0, 113, 53])
        })
        .unwrap();
        let open = |host| Case::open(lab.client(), host, 443).by_default();
        let cases = [open("bads-7.glob.test"), open("ads-7.x.glob.test")];
        for host in ["ads-7.glob.test", "ads-.glob.test"] {
            connects(lab.client(), host, 443);
        }
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            for host in ["ads-7.glob.test", "ads-.glob.test"] {
                // User space binds what only a glob matches: late, but not much.
                let refusal = wait_for(Duration::from_secs(3), || {
                    let attempt = attempt(lab.client(), host, 443);
                    (attempt.errno() == Some("EPERM")).then(|| attempt.address().unwrap())
                });
                let address = refusal.unwrap_or_else(|| panic!("{host} is refused within 3 s"));
                let is_refusal = |event: &serde_json::Value| {
                    event["blocked"] == true && event["dstIP"] == *address.ip().to_string()
                };
                let event = daemon.wait_for_event(Duration::from_secs(20), is_refusal).unwrap();
                assert_eq!(event["rule"], "ads", "{event}");
            }
            connects(lab.client(), "bads-7.glob.test", 443);
        });
        connects(lab.client(), "ads-7.glob.test", 443);
    });
}

#[test]
fn both_families_are_judged() {
    const POLICY: &str = r#"
rules:
  - { name: six, action: deny, to: { names: ["six.example"] } }
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
"#;
    Machine::each_backend(|backend| {
        let lab =
            Lab::with(|dnsmasq| dnsmasq.name("six.good.test", "2001:db8::8".parse::<std::net::Ipv6Addr>().unwrap()))
                .unwrap();
        let cases = [
            Case::refused(lab.client(), "six.example", 443, "EPERM").by("six"),
            Case::open(lab.client(), "six.good.test", 443).by_default(),
            Case::refused(lab.client(), "www.evil.example", 443, "EPERM").by("malware"),
            // The same address through a socket of version 6.
            Case::refused(lab.client(), "::ffff:203.0.113.7", 443, "EPERM").by("malware"),
            Case::open(lab.client(), "::ffff:203.0.113.99", 443).by_default(),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            let event = daemon.connect_event(0, (Lab::SIX, 443).into()).unwrap();
            assert_eq!(event["results"], serde_json::json!(["six.example"]), "{event}");
        });
    });
}
