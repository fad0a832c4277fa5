use super::*;
use crate::source::{NoLists, Source};
use crate::terms::Errno;

fn policy(name: &str, text: &str) -> Policy {
    let source = Source { path: format!("{name}.yaml").into(), text: text.to_owned() };
    match Policy::parse(&source, &NoLists) {
        Ok((policy, _)) => policy,
        Err(report) => panic!("{}", report.render()),
    }
}

fn rules(range: std::ops::Range<usize>) -> String {
    let rules: String = range
        .map(|n| format!("  - {{ name: r{n}, action: deny, to: {{ names: [n{n}.test] }} }}\n"))
        .collect();
    format!("version: 1\nrules:\n{rules}")
}

#[test]
fn classes_are_deny_then_allow_in_the_order_of_the_files() {
    let text = |a: &str, b: &str| {
        format!(
            "version: 1\nrules:\n  - {{ name: {a}, action: allow, to: {{ names: [{a}.test] }} }}\n  - {{ name: {b}, action: deny, to: {{ names: [{b}.test] }} }}\n"
        )
    };
    let policies = vec![policy("one", &text("a", "b")), policy("two", &text("c", "d"))];
    let (set, warnings) = PolicySet::new(policies, None).unwrap();
    assert!(warnings.is_empty());
    assert_eq!(set.rules().iter().map(Rule::name).collect::<Vec<_>>(), ["b", "d", "a", "c"]);
    for (class, rule) in set.classes() {
        assert_eq!(set.rules()[class.index()].name(), rule.name());
        assert_eq!(set.label(Decider::Rule(class)), Some(rule.name()));
    }
    assert_eq!((set.label(Decider::Builtin), set.label(Decider::Default)), (Some("builtin"), None));
}

#[test]
fn the_kernel_has_room_for_512_rules() {
    let (set, _) = PolicySet::new(vec![policy("a", &rules(0..512))], None).unwrap();
    assert_eq!(set.classes().count(), MAX_RULES);
    assert_eq!(ClassId::new(511).map(ClassId::index), Some(511));
    assert_eq!(ClassId::new(512), None);

    let report =
        PolicySet::new(vec![policy("a", &rules(0..300)), policy("b", &rules(300..513))], None).unwrap_err();
    let [found] = report.diagnostics() else { panic!("{}", report.render()) };
    assert_eq!((found.code, found.line), ("too-many-rules", 215));
    assert_eq!(found.message, "there are 513 rules in all, the kernel has room for 512");
    assert_eq!(
        found.hint.as_deref(),
        Some(
            "merge rules that differ only in `to`, such as `r0` (a.yaml:3) and `r1` (a.yaml:4); names in one rule are not limited"
        )
    );
}

#[test]
fn nothing_in_force_allows_everything() {
    let (set, _) = PolicySet::new(Vec::new(), None).unwrap();
    assert_eq!((set.default().action, set.mode()), (Action::Allow, Mode::Audit));
    assert_eq!(Errno::default().number(), 1);
}

#[test]
fn the_mode_says_whether_anything_can_be_refused() {
    let audit = "version: 1\nmode: audit\ndefault: deny\nrules: []\n";
    let enforce = "version: 1\ndefault: deny\nrules: []\n";
    let mode = |texts: &[&str], mode| {
        let policies = texts.iter().enumerate().map(|(n, text)| policy(&n.to_string(), text)).collect();
        let (set, _) = PolicySet::new(policies, mode).unwrap();
        (set.mode(), set.default().mode)
    };
    assert_eq!(mode(&[audit], None), (Mode::Audit, Mode::Audit));
    assert_eq!(mode(&[enforce], None), (Mode::Enforce, Mode::Enforce));
    assert_eq!(mode(&[audit, enforce], None), (Mode::Enforce, Mode::Enforce));
    assert_eq!(mode(&[enforce, audit], None), (Mode::Enforce, Mode::Enforce));
    assert_eq!(mode(&[enforce, audit], Some(Mode::Audit)), (Mode::Audit, Mode::Audit));
    assert_eq!(mode(&[audit], Some(Mode::Enforce)), (Mode::Enforce, Mode::Enforce));
    let rule = "version: 1\nmode: audit\nrules: [{ name: a, action: deny, mode: enforce, to: any }]\n";
    assert_eq!(mode(&[rule], None).0, Mode::Enforce);
    assert_eq!(mode(&[rule], Some(Mode::Audit)).0, Mode::Audit);
}
