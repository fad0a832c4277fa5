use super::Name;
use policy_schema::DomainName;
use proptest::prelude::*;

fn name(labels: &[&[u8]]) -> Name {
    Name::from_labels(labels.iter().copied())
}

#[test]
fn a_name_of_a_message_and_of_a_policy_are_one() {
    let seen = name(&[b"WWW", b"Example", b"com"]);
    assert_eq!(seen, Name::from_policy("www.example.com"));
    assert_eq!(seen, Name::from_policy("www.example.com."));
    assert_eq!(seen, Name::from(&DomainName::parse("www.EXAMPLE.com").unwrap()));
    assert_eq!(seen.as_bytes(), b"www.example.com");
    assert_eq!(seen.as_str(), Some("www.example.com"));
    assert_eq!(seen.to_policy().unwrap().as_str(), "www.example.com");
}

#[test]
fn a_dot_inside_a_label_is_no_boundary() {
    let odd = name(&[b"evil.example", b"com"]);
    assert_ne!(odd, Name::from_policy("evil.example.com"));
    assert_eq!(odd.as_bytes(), b"evilAexample.com");
    assert_eq!(odd.to_string(), "evil\\046example.com");
    assert_eq!(odd.as_str(), None);
    assert_eq!(
        odd.labels().map(|label| label.into_owned()).collect::<Vec<_>>(),
        [&b"evil.example"[..], b"com"]
    );
}

#[test]
fn nothing_that_steers_a_terminal_is_displayed() {
    assert_eq!(name(&[b"\x1b[2J\xff\\", b"test"]).to_string(), "\\027\\0912j\\255\\092.test");
    assert_eq!(name(&[]).to_string(), ".");
}

#[test]
fn a_subtree_moves() {
    let moved = |text: &str, from: &str, to: &str| {
        let [text, from, to] = [text, from, to].map(Name::from_policy);
        text.moved(&from, &to).map(|name| name.to_string())
    };
    assert_eq!(moved("a.b.old.test", "old.test", "new.example").as_deref(), Some("a.b.new.example"));
    assert_eq!(moved("a.old.test", "old.test", "").as_deref(), Some("a"));
    assert_eq!(moved("a.test", "", "new.example").as_deref(), Some("a.test.new.example"));
    assert_eq!(moved("old.test", "old.test", "new.example"), None);
    assert_eq!(moved("notold.test", "old.test", "new.example"), None);
    assert_eq!(moved(&"a".repeat(60), "", &"b.".repeat(100)), None);
}

proptest! {
    #[test]
    fn display_and_from_policy_are_inverse(labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 1..8)) {
        let name = Name::from_labels(labels.iter().map(Vec::as_slice));
        prop_assert_eq!(Name::from_policy(&name.to_string()), name.clone());
        prop_assert!(name.to_string().bytes().all(|byte| byte.is_ascii_graphic()));
        let policy = name.to_policy().unwrap();
        prop_assert_eq!(policy.as_str(), name.to_string());
    }
}
