use super::*;
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
