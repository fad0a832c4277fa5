//! Which names a rule is about.

use std::net::Ipv6Addr;

use enforcer_tests::{Lab, Machine};

use crate::scenario::{Case, enforced, policy, refused};

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
        "exact.test",
        "www.exact.test",
        "evil.test",
        "www.evil.test",
        "a.b.c.evil.test",
        "notevil.test",
        "evil.test.good.test",
        "both.test",
        "www.both.test",
        "x.part.test",
        "ok.part.test",
        "mixed.test",
        "xn--mnchen-3ya.test",
    ];
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            hosts
                .iter()
                .zip(20..)
                .fold(dnsmasq, |dnsmasq, (host, last)| dnsmasq.name(host, [203, 0, 113, last]))
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
        let denied = |host| Case::refused(lab.client(), host, 443, "EPERM").by("ads");
        let cases = [
            denied("ads-7.glob.test"),
            denied("ads-.glob.test"),
            open("bads-7.glob.test"),
            open("ads-7.x.glob.test"),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            refused(lab.client(), "ADS-7.Glob.Test", 443, "EPERM");
            assert_eq!(daemon.counter("lateBinds").unwrap(), 0);
        });
    });
}

#[test]
fn chains_and_both_families_are_judged() {
    const POLICY: &str = r#"
rules:
  - { name: six, action: deny, to: { names: ["six.example"] } }
  - { name: malware, action: deny, to: { names: ["*.evil.example"] } }
  - { name: end, action: deny, to: { names: ["target.example"] } }
  - { name: start, action: deny, to: { names: ["front.test"] } }
"#;
    Machine::each_backend(|backend| {
        let lab = Lab::with(|dnsmasq| {
            dnsmasq
                .name("six.good.test", Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 8))
                .name("back.test", [203, 0, 113, 40])
                .alias("middle.test", "back.test")
                .alias("front.test", "middle.test")
        })
        .unwrap();
        let open = |host| Case::open(lab.client(), host, 443).by_default();
        let denied = |host, rule| Case::refused(lab.client(), host, 443, "EPERM").by(rule);
        let cases = [
            denied("six.example", "six"),
            open("six.good.test"),
            denied("www.evil.example", "malware"),
            // The same address through a socket of version 6.
            denied("::ffff:203.0.113.7", "malware"),
            open("::ffff:203.0.113.99"),
            // Denied at the end of its chain, ..
            denied("alias.example", "end"),
            // .. at its start, after somebody has come by way of no denied name.
            open("middle.test"),
            denied("front.test", "start"),
        ];
        enforced(&lab, backend, &policy(POLICY), &cases, |daemon| {
            let event = daemon.connect_event(0, (Lab::SIX, 443).into()).unwrap();
            assert_eq!(event["results"], serde_json::json!(["six.example"]), "{event}");
        });
    });
}
