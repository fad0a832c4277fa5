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
        let new = entries.iter().filter(|text| { let (form, base) = form(text); names.insert(form, base).unwrap() }).count();
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
    assert_eq!(names.insert(Form::Below, ""), Ok(true));
    assert!(names.find("com").is_some() && names.find("a.b.c").is_some());
    assert!(names.covers_below("com") && names.covers_below(""));
    assert_eq!(names.iter().map(|name| name.to_string()).collect::<Vec<_>>(), ["*"]);
}

#[test]
fn entries_keep_their_order() {
    let mut names = Names::default();
    let list = "b.test a.test";
    names.add_list(std::sync::Arc::new(list.to_owned()), 2);
    assert_eq!(names.insert_listed(Form::Exact, b"b.test", 0), Ok(true));
    assert_eq!(names.insert_listed(Form::Exact, b"a.test", 7), Ok(true));
    let taken = ["c.test", "a.test"].map(|name| names.insert(Form::Exact, name).unwrap());
    assert_eq!(taken, [true, false]);
    assert_eq!(names.iter().map(|entry| entry.name).collect::<Vec<_>>(), ["b.test", "a.test", "c.test"]);
    assert!(names.find("").is_none());
}

#[test]
fn many_names_stay_apart() {
    let mut names = Names::default();
    for number in 0..100_000 {
        assert_eq!(names.insert(Form::Both, &format!("host{number}.example")), Ok(true));
    }
    assert_eq!(names.len(), 100_000);
    assert_eq!(names.find("a.host99999.example").map(|entry| entry.name), Some("host99999.example"));
    assert!(names.find("host100000.example").is_none());
}

#[test]
fn the_digest_is_that_of_the_set() {
    let digest = |names: &[(Form, &str)]| {
        let mut set = Names::default();
        for (form, name) in names {
            set.insert(*form, name).unwrap();
        }
        set.digest()
    };
    let one = digest(&[(Form::Exact, "a.test"), (Form::Both, "b.test")]);
    assert_eq!(one, digest(&[(Form::Both, "b.test"), (Form::Exact, "a.test"), (Form::Both, "b.test")]));
    assert_ne!(one, digest(&[(Form::Exact, "a.test"), (Form::Exact, "b.test")]));
    assert_ne!(one, digest(&[(Form::Exact, "a.test")]));
}
