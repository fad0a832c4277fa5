use super::*;
use policy_schema::{Cases, NoLists, Policy, Source};

const POLICY: &str = r#"
version: 1
name: guard
mode: enforce
default: deny
rules:
  - { name: site, action: allow, to: { names: [".good.example"] } }
  - { name: evil, action: deny, mode: audit, to: { names: ["evil.good.example"] } }
  - { name: who, action: deny, errno: EACCES, to: { cidrs: ["203.0.113.0/24"] }, subjects: { users: [web, 7], units: [x.service] } }
  - { name: odd, action: allow, to: { names: [odd.example] } }
"#;

fn judged(cases: &str) -> Judged {
    let source = |path: &str, text: &str| Source { path: path.into(), text: text.to_owned() };
    let (policy, _) = Policy::parse(&source("guard.yaml", POLICY), &NoLists).unwrap();
    let cases = Cases::parse(&source("guard.test.yaml", &format!("cases:\n{cases}"))).unwrap();
    judge(&cases.cases, PolicySet::new(vec![policy], None).unwrap().0).unwrap()
}

fn lines(judged: &Judged) -> Vec<String> {
    judged.failures.iter().map(ToString::to_string).collect()
}

#[test]
fn cases_that_say_what_becomes_of_them_pass() {
    let judged = judged(
        "  - { to: www.good.example, verdict: allow, rule: site }
  - { to: www.good.example, verdict: allow, rule: guard/site, effective: allow, effectiveRule: site }
  - { to: evil.good.example, verdict: deny, rule: evil, effective: allow, effectiveRule: site }
  - { to: 198.51.100.1, verdict: deny, rule: default, errno: EPERM }
  - { to: odd.example, verdict: allow, rule: guard/odd }
  - { to: 127.0.0.1, verdict: allow, rule: builtin }
  - { to: 192.0.2.53, port: 53, resolver: true, verdict: allow, rule: builtin }
  - { to: 203.0.113.9, user: web, verdict: deny, rule: who, errno: EACCES }
  - { to: 203.0.113.9, uid: 7, verdict: deny, rule: who }
  - { to: 203.0.113.9, unit: x.service, verdict: deny, rule: who }
  - { to: 203.0.113.9, seen: [a.good.example], verdict: allow, rule: site }
  - { to: 203.0.113.9, seen: [a.test > a.good.example], verdict: deny, rule: default }
",
    );
    assert_eq!((judged.passed, lines(&judged)), (12, vec![]));
    assert_eq!(judged.uncovered().count(), 0);
}

#[test]
fn a_case_that_fails_says_where_what_and_why() {
    let judged = judged(
        "  - { to: www.good.example, verdict: deny, rule: sight, about: typo }
  - { to: evil.good.example, verdict: deny, effective: deny, effectiveRule: evil, errno: EPERM }
  - { to: odd.example, verdict: allow, rule: default }
",
    );
    assert_eq!(judged.passed, 0);
    assert_eq!(
        lines(&judged),
        [
            "guard.test.yaml:2: www.good.example port 443/tcp, verdict is allow, expected deny, rule is `site`, expected `sight`, which is no rule of the policies (typo)\n  why: `www.good.example` matches `.good.example`",
            "guard.test.yaml:3: evil.good.example port 443/tcp, effective is allow, expected deny, effectiveRule is `site`, expected `evil`, errno is none, expected EPERM\n  why: `evil.good.example` matches `evil.good.example`\n  rule `site`: `evil.good.example` matches `.good.example`; it decides what happens, being the first that is enforced",
            "guard.test.yaml:4: odd.example port 443/tcp, rule is `odd`, expected `default`\n  why: `odd.example` matches `odd.example`",
        ]
    );
    let uncovered: Vec<&str> = judged.uncovered().map(|place| place.rule.as_str()).collect();
    assert_eq!(uncovered, ["who"]);
}
