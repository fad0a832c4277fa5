use proptest::prelude::*;

use super::*;

fn form(text: &str) -> (Form, &str) {
    match (text.strip_prefix("*."), text.strip_prefix('.')) {
        (Some(base), _) => (Form::Below, base),
        (None, Some(base)) => (Form::Both, base),
        (None, None) => (Form::Exact, text),
    }
}

fn matches_naively((form, base): (Form, &str), name: &str) -> bool {
    let below = name.strip_suffix(base).is_some_and(|rest| rest.ends_with('.'));
    match form {
        Form::Below => below,
        Form::Both => below || name == base,
        Form::Exact => name == base,
    }
}

proptest! {
    #[test]
    fn a_set_matches_what_one_of_its_entries_matches(
        entries in prop::collection::vec("(\\*\\.|\\.)?[ab]{1,2}(\\.[ab]{1,2}){0,2}", 0..12),
        wanted in prop::collection::vec("[ab]{1,2}(\\.[ab]{1,2}){0,3}", 1..20),
    ) {
        let mut names = Names::default();
        let new = entries.iter().filter(|text| { let (form, base) = form(text); names.insert(form, base) }).count();
        let mut unique: Vec<&String> = entries.iter().collect();
        unique.sort();
        unique.dedup();
        prop_assert_eq!((new, names.len()), (unique.len(), unique.len()));
        for name in &wanted {
            let expected = entries.iter().any(|entry| matches_naively(form(entry), name));
            let found = names.find(name);
            prop_assert_eq!(found.is_some(), expected, "{} in {:?}", name, entries);
            if let Some(found) = found {
                prop_assert!(matches_naively((found.form, found.name), name), "{} is said to match {}", found, name);
                prop_assert!(entries.contains(&found.to_string()));
            }
            let below = names.covers_below(name);
            let child = format!("q.{name}");
            prop_assert_eq!(below, names.find(&child).is_some(), "what covers below {}", name);
        }
    }
}

#[test]
fn a_bare_star_matches_every_name() {
    let mut names = Names::default();
    assert!(names.insert(Form::Below, ""));
    assert!(names.find("com").is_some() && names.find("a.b.c").is_some());
    assert!(names.covers_below("com") && names.covers_below(""));
    assert_eq!(names.iter().map(|name| name.to_string()).collect::<Vec<_>>(), ["*"]);
}

#[test]
fn entries_keep_their_order() {
    let mut names = Names::default();
    names.reserve(100);
    for name in ["b.test", "a.test", "c.test", "a.test"] {
        names.insert(Form::Exact, name);
    }
    assert_eq!(names.iter().map(|entry| entry.name).collect::<Vec<_>>(), ["b.test", "a.test", "c.test"]);
    assert!(names.find("").is_none());
}

#[test]
fn many_names_stay_apart() {
    let mut names = Names::default();
    for number in 0..100_000 {
        assert!(names.insert(Form::Both, &format!("host{number}.example")));
    }
    assert_eq!(names.len(), 100_000);
    assert_eq!(names.find("a.host99999.example").map(|entry| entry.name), Some("host99999.example"));
    assert!(names.find("host100000.example").is_none());
}
