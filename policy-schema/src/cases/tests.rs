use super::*;
use crate::domain::DomainName;

fn source(path: &str, text: &str) -> Source {
    Source { path: path.into(), text: text.to_owned() }
}

fn parse(text: &str) -> Cases {
    Cases::parse(&source("policies/a.test.yaml", text)).unwrap_or_else(|report| panic!("{}", report.render()))
}

/// `code line:column` of everything that is wrong.
fn faults(path: &str, text: &str) -> Vec<String> {
    let report = Cases::parse(&source(path, text)).unwrap_err();
    let found = report.diagnostics().iter();
    found.map(|found| format!("{} {}:{}", found.code, found.line, found.column)).collect()
}

#[test]
fn a_case_is_a_connection_and_what_has_to_become_of_it() {
    let cases = parse(
        "policies: [a.yaml, ../b]\nmode: audit\ncases:\n  - { to: 'https://WWW.a.example/', uid: 7, verdict: allow }\n  - to: 203.0.113.7:8443\n    seen: ['a.example > b.example']\n    udp: true\n    unit: nginx.service\n    resolver: true\n    verdict: deny\n    rule: malware\n    effective: allow\n    effectiveRule: default\n    errno: EPERM\n    about: the alias is denied\n",
    );
    assert_eq!(cases.policies, [PathBuf::from("policies/a.yaml"), PathBuf::from("policies/../b")]);
    assert_eq!(cases.mode, Some(Mode::Audit));
    let [one, two] = cases.cases.as_slice() else { panic!("{cases:?}") };
    assert_eq!((one.location.line, two.location.line), (4, 5));
    let neutral = "192.0.2.1".parse().unwrap();
    let connection = one.connection(neutral);
    assert_eq!((connection.address, connection.port, connection.uid), (neutral, 443, Some(7)));
    let name = |text: &str| DomainName::parse(text).unwrap();
    assert_eq!(connection.sightings, [Sighting::new(name("www.a.example"), vec![])]);
    assert_eq!(one.expected.rule, None);

    let connection = two.connection(neutral);
    assert_eq!((connection.address.to_string().as_str(), connection.port), ("203.0.113.7", 8443));
    assert_eq!(connection.protocol, Protocol::Udp);
    assert_eq!(connection.cgroup.as_deref(), Some("/system.slice/nginx.service"));
    assert!(connection.resolver);
    let Expected { verdict, rule, effective, effective_rule, errno } = &two.expected;
    assert_eq!((*verdict, *effective, *errno), (Verdict::Deny, Some(Verdict::Allow), Some(Errno::EPERM)));
    assert_eq!((rule.as_deref(), effective_rule.as_deref()), (Some("malware"), Some("default")));
}

#[test]
fn what_was_seen_stands_for_the_name_it_is_about() {
    let cases = parse(
        "cases:\n  - { to: a.test, seen: ['a.test > b.test'], verdict: deny }\n  - { to: a.test, seen: [c.test], verdict: deny }\n",
    );
    assert_eq!(cases.policies, [PathBuf::from("policies/a.yaml")]);
    let names = |index: usize| {
        let connection = cases.cases[index].connection("192.0.2.1".parse().unwrap());
        connection.sightings.iter().map(|seen| seen.members().count()).collect::<Vec<_>>()
    };
    assert_eq!((names(0), names(1)), (vec![2], vec![1, 1]));
}

#[test]
fn what_one_case_says_about_a_user_holds_in_all() {
    let cases = parse(
        "cases:\n  - { to: a.test, user: web, verdict: deny }\n  - { to: a.test, uid: 33, verdict: deny }\n  - { to: a.test, uid: 33, user: web, verdict: deny }\n  - { to: a.test, user: '12', verdict: deny }\n",
    );
    let users: Vec<_> = cases.cases.iter().map(|case| (case.uid, case.user.as_deref())).collect();
    let web = (Some(33), Some("web"));
    assert_eq!(users, [web, web, web, (Some(12), None)]);
}

#[test]
fn faults_have_a_place_and_a_hint() {
    const A: &str = "a.test.yaml";
    assert_eq!(faults(A, ""), ["empty-file 1:1"]);
    assert_eq!(faults(A, "cases: []\n"), ["empty-match 1:8"]);
    assert_eq!(faults("cases.yaml", "cases: [{ to: a.test, verdict: deny }]\n"), ["missing-key 1:1"]);
    assert_eq!(
        faults(A, "cases:\n  - { to: a.test, verdict: denied, rul: x }\n  - { verdict: deny }\n"),
        ["unknown-value 2:28", "unknown-key 2:36", "missing-key 3:5"]
    );
    assert_eq!(
        faults(
            A,
            "cases:\n  - { to: '*.a.test', verdict: deny }\n  - { to: 'a.test:80', port: 81, verdict: deny }\n  - { to: a.test, port: 0, verdict: deny }\n  - { to: a.test, seen: [b.test, a b], verdict: deny }\n  - { to: a.test, cgroup: ci, unit: x.service, verdict: deny }\n  - { to: a.test, unit: nginx, verdict: deny }\n"
        ),
        [
            "bad-destination 2:11",
            "bad-port 3:30",
            "bad-port 4:25",
            "bad-name 5:34",
            "bad-path 6:27",
            "misplaced-key 6:31",
            "bad-unit 7:25"
        ]
    );
    assert_eq!(
        faults(
            A,
            "cases:\n  - { to: a.test, uid: 1, user: web, verdict: deny }\n  - { to: a.test, uid: 2, user: web, verdict: deny }\n  - { to: a.test, uid: 1, user: other, verdict: deny }\n"
        ),
        ["bad-user 3:33", "bad-user 4:33"]
    );
}
