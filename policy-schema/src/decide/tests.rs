use super::*;
use crate::domain::DomainName;
use crate::policy::Policy;
use crate::source::{NoLists, Source};
use crate::terms::Protocol;

fn set(text: &str) -> PolicySet {
    let source = Source { path: "a.yaml".into(), text: text.to_owned() };
    let (policy, _) = Policy::parse(&source, &NoLists).unwrap();
    PolicySet::new(vec![policy], None).unwrap().0
}

fn connection(address: &str, sightings: &[&[&str]]) -> Connection {
    let mut connection = Connection::new(address.parse().unwrap(), 443, Protocol::Tcp);
    for names in sightings {
        let mut names = names.iter().map(|name| DomainName::parse(name).unwrap());
        connection.sightings.push(Sighting::new(names.next().unwrap(), names.collect()));
    }
    connection
}

#[test]
fn the_reason_is_what_matched() {
    let set = set(
        "version: 1\ndefault: deny\nrules:\n  - { name: n, action: deny, to: { names: [\"*.evil.test\", \"x*.glob.test\"] } }\n  - { name: c, action: deny, to: { cidrs: [192.0.2.0/24] } }\n  - { name: a, action: allow, ports: [1], to: any }\n",
    );
    let why = |address: &str, sightings: &[&[&str]]| set.decide(&connection(address, sightings)).why;
    assert_eq!(
        why("203.0.113.1", &[&["a.test"], &["b.test", "c.evil.test"]]),
        Why::Name { question: "b.test".into(), member: "c.evil.test".into(), pattern: "*.evil.test".into() }
    );
    assert_eq!(
        why("203.0.113.1", &[&["xy.glob.test"]]),
        Why::Name {
            question: "xy.glob.test".into(),
            member: "xy.glob.test".into(),
            pattern: "x*.glob.test".into(),
        }
    );
    assert_eq!(why("192.0.2.9", &[]), Why::Cidr { cidr: "192.0.2.0/24".parse().unwrap() });
    assert_eq!(why("203.0.113.1", &[]), Why::Default);
    assert_eq!(why("127.0.0.1", &[]), Why::Loopback);
    let mut resolver = connection("203.0.113.1", &[]);
    (resolver.resolver, resolver.port) = (true, 53);
    assert_eq!(set.decide(&resolver).why, Why::Resolver);
    let mut any = connection("203.0.113.1", &[]);
    any.port = 1;
    assert_eq!(set.decide(&any).why, Why::Any);
}

#[test]
fn a_decision_is_data() {
    let set =
        set("version: 1\nrules: [{ name: c, action: deny, errno: EACCES, to: { cidrs: [192.0.2.0/24] } }]\n");
    let json = serde_json::to_value(set.decide(&connection("192.0.2.9", &[]))).unwrap();
    let expected = serde_json::json!({
        "verdict": "deny", "rule": {"rule": 0}, "effective": "deny", "effectiveRule": {"rule": 0},
        "wouldDeny": true, "blocked": true, "errno": "EACCES", "why": {"because": "cidr", "cidr": "192.0.2.0/24"}
    });
    assert_eq!(json, expected);
}

#[test]
fn a_rule_that_does_not_match_says_what_is_missing() {
    const EVIL: &str = "to: { names: [\".evil.test\"]";
    let name = |question: &str, member: &str| Why::Name {
        question: question.into(),
        member: member.into(),
        pattern: ".evil.test".into(),
    };
    let evil = || name("evil.test", "evil.test");
    let network: IpNet = "192.0.2.0/24".parse().unwrap();
    let cases: [(String, &str, &[&[&str]], Miss); 14] = [
        ("to: any, action: deny".into(), "127.0.0.1", &[], Miss::Builtin),
        (format!("{EVIL} }}, action: deny"), "192.0.2.9", &[], Miss::Destination),
        (format!("{EVIL} }}, action: deny"), "192.0.2.9", &[&["a.test", "b.test"]], Miss::Destination),
        (
            format!("{EVIL} }}, ports: [80], action: deny"),
            "192.0.2.9",
            &[&["evil.test"]],
            Miss::Port { why: evil() },
        ),
        (format!("{EVIL} }}, ports: [80], action: deny"), "192.0.2.9", &[], Miss::Destination),
        (
            format!("{EVIL} }}, subjects: {{ users: [7] }}, action: deny"),
            "192.0.2.9",
            &[&["evil.test"]],
            Miss::Subject { why: evil() },
        ),
        (
            format!("{EVIL}, except: {{ names: [ok.evil.test] }} }}, action: deny"),
            "192.0.2.9",
            &[&["ok.evil.test"]],
            Miss::ExceptName { name: "ok.evil.test".into(), pattern: "ok.evil.test".into() },
        ),
        (
            format!("{EVIL}, except: {{ cidrs: [192.0.2.0/24] }} }}, action: deny"),
            "192.0.2.9",
            &[&["evil.test"]],
            Miss::ExceptCidr { cidr: network, why: evil() },
        ),
        (
            "to: { cidrs: [192.0.2.0/24], except: { names: [\"*.ok.test\"] } }, action: deny".into(),
            "192.0.2.9",
            &[&["a.test"], &["a.ok.test"]],
            Miss::ExceptName { name: "a.ok.test".into(), pattern: "*.ok.test".into() },
        ),
        (
            format!("{EVIL} }}, sharedAddress: all, action: deny"),
            "192.0.2.9",
            &[&["evil.test"], &["good.test"]],
            Miss::SharedAddress { question: "good.test".into(), why: evil() },
        ),
        (format!("{EVIL} }}, action: deny"), "127.0.0.1", &[&["evil.test"]], Miss::Protected { why: evil() }),
        (
            format!("{EVIL} }}, action: allow"),
            "10.0.0.1",
            &[&["evil.test"]],
            Miss::SpecialUse { why: evil() },
        ),
        (
            format!("{EVIL} }}, action: allow"),
            "192.0.2.9",
            &[&["a.test", "b.evil.test"]],
            Miss::Alias {
                question: "a.test".into(),
                member: "b.evil.test".into(),
                pattern: ".evil.test".into(),
            },
        ),
        // What is nearer to a match is told, whichever sighting it is about.
        (
            format!("{EVIL} }}, action: allow"),
            "192.0.2.9",
            &[&["x.test"], &["a.test", "evil.test"]],
            Miss::Alias {
                question: "a.test".into(),
                member: "evil.test".into(),
                pattern: ".evil.test".into(),
            },
        ),
    ];
    for (rule, address, sightings, miss) in cases {
        let set = set(&format!("version: 1\nrules: [{{ name: r, {rule} }}]\n"));
        let Explanation { decision, rules } = set.explain(&connection(address, sightings));
        let [(class, found)] = rules.as_slice() else { panic!("one rule: {rules:?}") };
        assert_eq!((class.index(), found), (0, &Err(miss)), "{rule} {address} {sightings:?}");
        assert_ne!(decision.rule, Decider::Rule(*class));
    }
}

#[test]
fn every_rule_is_explained_whoever_decides() {
    let set = set(
        "version: 1\nrules:\n  - { name: a, action: allow, to: any }\n  - { name: d, action: deny, to: { cidrs: [192.0.2.9] } }\n  - { name: e, action: deny, mode: audit, to: { cidrs: [192.0.2.0/24] } }\n",
    );
    let Explanation { decision, rules } = set.explain(&connection("192.0.2.9", &[]));
    assert_eq!(set.label(decision.rule), Some("d"));
    let found: Vec<(&str, bool)> =
        rules.iter().map(|(class, why)| (set.rule(*class).unwrap().name(), why.is_ok())).collect();
    assert_eq!(found, [("d", true), ("e", true), ("a", true)]);
}
