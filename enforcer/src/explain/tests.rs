use super::*;
use policy_schema::{Endpoint, NoLists, Policy, PolicySet, Protocol, Source};
use serde_json::{Value, json};

const SECOND: u64 = 1_000_000_000;

fn compiled(text: &str) -> Compiled {
    let source = Source { path: "guard.yaml".into(), text: format!("version: 1\n{text}") };
    let (policy, _) = Policy::parse(&source, &NoLists).unwrap_or_else(|report| panic!("{}", report.render()));
    compile(PolicySet::new(vec![policy], None).unwrap().0, |name| (name == "web").then_some(33)).unwrap()
}

fn ask(compiled: &Compiled, to: &str, change: impl FnOnce(&mut Connection)) -> Report {
    let Endpoint { host, port } = Endpoint::parse(to).unwrap();
    let neutral = compiled.policy.neutral_address();
    let mut connection = Connection::to(&host, neutral, port.unwrap_or(443), Protocol::Tcp);
    change(&mut connection);
    let explanation = explain(compiled, &connection).unwrap();
    Report::new(&host, &connection, compiled, &explanation)
}

fn decided(report: &Report) -> (Verdict, Option<&str>, bool) {
    (report.outcome.verdict, report.outcome.rule.as_deref(), report.outcome.blocked)
}

fn others(report: &Report) -> Vec<(&str, bool, &str)> {
    report.others.iter().map(|other| (other.rule.as_str(), other.matches, other.why.text())).collect()
}

const GUARD: &str = r#"
name: guard
rules:
  - { name: site, action: allow, to: { names: [".example"] } }
  - { name: watch, action: deny, mode: audit, to: { names: ["www.evil.example"] } }
  - { name: evil, action: deny, errno: EACCES, to: { names: [".evil.example"], except: { names: ["ok.evil.example"] } } }
  - { name: again, action: deny, to: { names: ["*.evil.example"] } }
  - { name: web, action: deny, to: { names: [".evil.example"] }, ports: [80, "8000-8100/tcp", "53/udp"] }
  - { name: mine, action: deny, to: { names: [".evil.example"] }, subjects: { users: [web, 7], cgroups: ["/ci/**"] } }
  - { name: net, action: deny, to: { cidrs: ["198.51.100.0/24"] } }
"#;

#[test]
fn every_rule_that_has_to_do_with_it_says_why_it_does_not_decide() {
    let guard = compiled(GUARD);
    let report = ask(&guard, "https://www.evil.example/", |_| ());
    assert_eq!(decided(&report), (Verdict::Deny, Some("watch"), true));
    assert_eq!(report.outcome.effective_rule.as_deref(), Some("evil"));
    assert_eq!(
        others(&report),
        [
            (
                "evil",
                true,
                "`www.evil.example` matches `.evil.example`; it decides what happens, being the first that is enforced"
            ),
            (
                "again",
                true,
                "`www.evil.example` matches `*.evil.example`; it comes later in the order of the files"
            ),
            ("site", true, "`www.evil.example` matches `.example`; deny beats allow"),
            (
                "web",
                false,
                "`www.evil.example` matches `.evil.example`, but port 443/tcp is not among 80, 8000-8100/tcp, 53/udp"
            ),
            (
                "mine",
                false,
                "`www.evil.example` matches `.evil.example`, but who connects is not among user `web`, user `7`, cgroup `/ci/**`"
            ),
        ]
    );
    let spared = ask(&guard, "ok.evil.example:1", |_| ());
    assert_eq!(decided(&spared), (Verdict::Deny, Some("again"), true));
    let why = "`except.names` carves `ok.evil.example` out by `ok.evil.example`";
    assert!(others(&spared).contains(&("evil", false, why)), "{spared}");
}

#[test]
fn a_report_has_the_words_of_events() {
    let report = ask(&compiled(GUARD), "www.evil.example:8443", |_| ());
    let report = serde_json::to_value(&report).unwrap();
    let expected = json!({
        "name": "www.evil.example", "dstIP": null, "dstPort": 8443, "proto": "tcp",
        "verdict": "deny", "wouldDeny": true, "policy": "guard", "rule": "watch", "effective": "deny",
        "blocked": true, "effectivePolicy": "guard", "effectiveRule": "evil", "errno": "EACCES",
        "why": {
            "text": "`www.evil.example` matches `www.evil.example`", "because": "name", "question": "www.evil.example",
            "member": "www.evil.example", "pattern": "www.evil.example",
        },
        "location": "guard.yaml:6", "live": null, "notes": [],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&report[key], value, "{key}");
    }
    let miss = report["others"].as_array().unwrap().iter().find(|other| other["rule"] == "web").unwrap();
    assert_eq!((&miss["matches"], &miss["why"]["because"]), (&Value::Bool(false), &"port".into()), "{miss}");
    let default = ask(&compiled("default: deny\nrules: []\n"), "203.0.113.1", |_| ());
    assert_eq!(serde_json::to_value(&default).unwrap()["rule"], Value::Null);
}

#[test]
fn for_people_it_is_one_fact_a_line() {
    let text = ask(&compiled(GUARD), "198.51.100.7", |_| ()).to_string();
    assert_eq!(
        text,
        "198.51.100.7 port 443/tcp\nverdict:  deny, by rule `net` of policy `guard`\nwhy:      `198.51.100.0/24` holds the address\nrule at:  guard.yaml:11\nhappens:  refused with EPERM\n"
    );
    let text = ask(&compiled("mode: audit\ndefault: deny\nrules: []\n"), "a.example", |_| ()).to_string();
    assert!(text.contains("verdict:  deny, by default\n") && text.contains("happens:  allowed"), "{text}");
}

#[test]
fn who_connects_counts_as_far_as_it_is_known() {
    let guard = compiled(
        "rules:\n  - { name: who, action: deny, to: any, subjects: { users: [web], units: [x.service] } }\n",
    );
    let by = |change: fn(&mut Connection)| ask(&guard, "203.0.113.1", change).outcome.blocked;
    assert!(!by(|_| ()));
    assert!(!by(|connection| connection.uid = Some(34)));
    assert!(by(|connection| (connection.uid, connection.user) = (Some(33), Some("web".into()))));
    assert!(by(|connection| connection.cgroup = Some("/system.slice/x.service".into())));
    assert!(!by(|connection| connection.cgroup = Some("/system.slice".into())));
}

fn known(chain: &[&str], trusted: bool, age: u64, ttl: u64) -> KnownSighting {
    let chain = chain.iter().map(|name| (*name).to_owned()).collect();
    KnownSighting { chain, trusted, seen: 100_000 * SECOND - age * SECOND, ttl: ttl * SECOND }
}

fn live(compiled: &Compiled, known: &[KnownSighting]) -> (Verdict, Option<String>) {
    let connection = Connection::new("203.0.113.7".parse().unwrap(), 443, Protocol::Tcp);
    let explanation = explain_live(compiled, &connection, known, 100_000 * SECOND).unwrap();
    let outcome = Outcome::new(compiled, &explanation);
    (outcome.verdict, outcome.rule)
}

#[test]
fn a_sighting_counts_as_long_as_its_rule_holds_it_and_as_far_as_its_server_is_trusted() {
    let guard = compiled(
        "default: deny\nhold: { deny: 1h, allow: 10m }\nrules:\n  - { name: good, action: allow, to: { names: [good.example] } }\n  - { name: bad, action: deny, to: { names: [bad.example] } }\n",
    );
    let rule = |verdict, name: &str| (verdict, (!name.is_empty()).then(|| name.to_owned()));
    let cases = [
        (known(&["good.example"], true, 0, 60), rule(Verdict::Allow, "good")),
        (known(&["good.example"], true, 599, 60), rule(Verdict::Allow, "good")),
        (known(&["good.example"], true, 601, 60), rule(Verdict::Deny, "")),
        (known(&["good.example"], true, 601, 900), rule(Verdict::Allow, "good")),
        (known(&["good.example"], false, 0, 60), rule(Verdict::Deny, "")),
        (known(&["bad.example"], true, 3599, 60), rule(Verdict::Deny, "bad")),
        (known(&["bad.example"], true, 3601, 60), rule(Verdict::Deny, "")),
        (known(&["bad.example"], false, 60, 1), rule(Verdict::Deny, "bad")),
        (known(&["x.example", "bad.example"], true, 60, 1), rule(Verdict::Deny, "bad")),
    ];
    for (sighting, expected) in cases {
        assert_eq!(live(&guard, std::slice::from_ref(&sighting)), expected, "{sighting:?}");
    }
    let both = [known(&["good.example"], true, 0, 60), known(&["bad.example"], false, 0, 60)];
    assert_eq!(live(&guard, &both), rule(Verdict::Deny, "bad"));
    assert_eq!(live(&guard, &[]), rule(Verdict::Deny, ""));
}

#[test]
fn the_root_is_a_name_that_no_pattern_of_a_policy_is() {
    let text = |rules: &str| format!("literalAddresses: deny\nrules:\n{rules}");
    let none = compiled(&text("  - { name: other, action: deny, to: { names: [other.example] } }\n"));
    let bad = compiled(&text("  - { name: bad, action: deny, to: { names: [bad.example] } }\n"));
    let good = compiled(&text("  - { name: good, action: allow, to: { names: [bad.example] } }\n"));
    // It was looked up, so it is no literal address; its alias denies, and allows nothing.
    let root = [known(&[".", "bad.example"], true, 0, 60)];
    assert_eq!(live(&none, &root), (Verdict::Allow, None));
    assert_eq!(live(&bad, &root), (Verdict::Deny, Some("bad".to_owned())));
    assert_eq!(live(&good, &root), (Verdict::Allow, None));
    let every =
        compiled(&text("  - { name: all, action: deny, allowBroad: true, to: { names: [\"*\"] } }\n"));
    live(&every, &root);
}
