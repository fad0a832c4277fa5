use super::*;
use policy_text::{PolicyText, RuleText};
use std::net::IpAddr;

mod agreement;
mod features;
mod globs;
mod policy_text;
mod reference;
mod slot;
mod world;

fn compiled(rules: Vec<RuleText>) -> Compiled {
    let number = |(number, rule)| RuleText { name: format!("r{number}"), ..rule };
    let rules = rules.into_iter().enumerate().map(number).collect();
    let text = PolicyText { default_deny: false, audit: false, literal: "allow", rules, filler: (0, 0) };
    Compiled::new(text.parse(), [1; 8], |_| None).unwrap()
}

#[test]
fn both_crates_call_the_same_addresses_special() {
    let mut state = 7_u64;
    for round in 0..300_000_u64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let v6 = u128::from(state) << 64 | u128::from(state.rotate_left(17) ^ round);
        let edges = policy_schema::SPECIAL_USE[(state >> 40) as usize % policy_schema::SPECIAL_USE.len()];
        for ip in [
            IpAddr::from(((v6 >> 64) as u32).to_be_bytes()),
            IpAddr::from(v6.to_be_bytes()),
            edges.network(),
            edges.broadcast(),
        ] {
            assert_eq!(Address::from(ip).is_special_use(), policy_schema::is_special_use(ip), "{ip}");
        }
    }
}

#[test]
fn a_prefix_holds_what_the_prefixes_around_it_say() {
    let to = |cidr| RuleText { cidrs: vec![cidr], ..RuleText::default() };
    let compiled = compiled(vec![to("203.0.113.0/24"), to("203.0.113.7/32")]);
    let classes = |text: &str| {
        let address = text.parse::<IpAddr>().unwrap().into();
        cidrs::longest(&compiled.cidrs, &address).map(|entry| entry.to.classes().collect::<Vec<_>>())
    };
    assert_eq!(classes("203.0.113.7"), Some(vec![0, 1]));
    assert_eq!(classes("203.0.113.8"), Some(vec![0]));
    assert_eq!(classes("203.0.114.8"), None);
}

#[test]
fn a_subject_that_holds_for_everything_below_is_known_as_such() {
    let compiled = compiled(vec![
        RuleText { cgroups: vec!["/ci/**"], ..RuleText::default() },
        RuleText { cgroups: vec!["/ci/*"], ..RuleText::default() },
        RuleText { units: vec!["nginx.service"], ..RuleText::default() },
    ]);
    let subjects = |path| {
        let CgroupSubjects { own, below, exempt: _ } = compiled.cgroup(path);
        (own.classes().collect::<Vec<_>>(), below.classes().collect::<Vec<_>>())
    };
    assert_eq!(subjects("/ci"), (vec![], vec![0]));
    assert_eq!(subjects("/ci/job"), (vec![0, 1], vec![0]));
    assert_eq!(subjects("/system.slice/nginx.service"), (vec![2], vec![2]));
    assert_eq!(subjects("/other"), (vec![], vec![]));
}

#[test]
fn users_without_an_account_are_told() {
    let compiled = compiled(vec![RuleText { users: vec!["nobody-here", "7"], ..RuleText::default() }]);
    assert_eq!(compiled.unknown_users, ["nobody-here"]);
    assert_eq!(compiled.users.keys().copied().collect::<Vec<_>>(), [7]);
}

#[test]
fn names_that_rules_share_take_room_once() {
    let shared: String = (0..3000).map(|number| format!("n{number}.test, ")).collect();
    let rule = |number: usize| {
        format!(
            "  - {{ name: r{number}, action: deny, ports: [{number}], to: {{ names: [{shared}own{number}.test] }} }}\n"
        )
    };
    let image = |rules: usize| {
        let text = format!("version: 1\nrules:\n{}", (1..=rules).map(rule).collect::<String>());
        let source = policy_schema::Source { path: "a.yaml".into(), text };
        let (policy, _) = policy_schema::Policy::parse(&source, &policy_schema::NoLists).unwrap();
        let (set, _) = PolicySet::new(vec![policy], None).unwrap();
        Compiled::new(set, [1; 8], |_| None).unwrap().image.len()
    };
    let (one, ten) = (image(1), image(10));
    assert!(ten < one + 200, "{one} buckets for one rule, {ten} for ten");
}
