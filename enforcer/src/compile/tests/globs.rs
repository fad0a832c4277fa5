//! The glob automaton against globset: the same random globs and names through the image and through the reference.

use super::slot;
use crate::compile::{CompileError, Compiled};
use crate::name::Name;
use policy_schema::{DomainName, DomainPattern, NoLists, Policy, PolicySet, Source};
use proptest::{collection::vec, prelude::*};

fn policy(rules: &[(Vec<String>, Vec<String>)]) -> PolicySet {
    let rule = |(number, (names, except)): (usize, &(Vec<String>, Vec<String>))| {
        let except =
            if except.is_empty() { String::new() } else { format!(", except: {{ names: {except:?} }}") };
        format!(
            "  - {{ name: r{number}, action: deny, allowBroad: true, to: {{ names: {names:?}{except} }} }}\n"
        )
    };
    let rules: String = rules.iter().enumerate().map(rule).collect();
    let source = Source { path: "p.yaml".into(), text: format!("version: 1\nrules:\n{rules}") };
    let (policy, _) =
        Policy::parse(&source, &NoLists).unwrap_or_else(|error| panic!("{error}: {}", source.text));
    PolicySet::new(vec![policy], None).unwrap().0
}

fn compiled(rules: &[(Vec<String>, Vec<String>)]) -> Result<Compiled, CompileError> {
    Compiled::new(policy(rules), [1; 8], |_| None)
}

/// Few letters, so that much matches; the digits are those of escapes.
fn pattern() -> impl Strategy<Value = String> {
    "(\\*\\.|\\.)?([ab*]{1,4}\\.){0,2}[ab01-]{0,2}\\*{1,2}[ab_*]{0,2}(\\.[ab*]{1,3}){0,2}"
        .prop_filter("a glob", |text| matches!(DomainPattern::parse(text), Ok(DomainPattern::Glob(_))))
}

fn label() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        12 => "[abAB]{1,4}".prop_map(String::into_bytes),
        2 => "[ab01_-]{1,6}".prop_map(String::into_bytes),
        // A dot, a star, the escape of a dot in the hash, zero, one, and bytes beyond ASCII.
        2 => vec(prop::sample::select(b"ab.*A\\\x00\x01\xe1\xff".as_slice()), 1..5),
        1 => "[ab]{60,63}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_automaton_means_what_globset_says(
        rules in vec((vec(pattern(), 1..4), vec(pattern(), 0..2)), 1..5),
        names in vec(vec(label(), 1..4), 1..30),
    ) {
        let compiled = compiled(&rules).unwrap();
        for labels in names {
            let text = DomainName::from_labels(labels.iter().map(Vec::as_slice)).unwrap();
            let matching = compiled.policy.rules().iter().enumerate().filter(|(_, rule)| {
                rule.globs().is_match(text.as_str()) && !rule.except_globs().is_match(text.as_str())
            });
            let expected: Vec<u16> = matching.map(|(class, _)| class as u16).collect();
            let name = Name::from_labels(labels.iter().map(Vec::as_slice));
            let judged = compiled.judge(&[name], true);
            prop_assert_eq!(judged.any.classes().collect::<Vec<_>>(), expected.clone(), "{} by {:?}", text, rules);
            let excepting = compiled.policy.rules().iter().enumerate();
            let excepting = excepting.filter(|(_, rule)| rule.except_globs().is_match(text.as_str()));
            let excepting: Vec<u16> = excepting.map(|(class, _)| class as u16).collect();
            prop_assert_eq!(judged.except.classes().collect::<Vec<_>>(), excepting, "{} by {:?}", text, rules);
            let bound = slot::bound(&compiled, &labels);
            prop_assert_eq!(bound.any.classes().collect::<Vec<_>>(), expected, "{} by {:?}", text, rules);
            prop_assert_eq!(bound.except, judged.except, "{} by {:?}", text, rules);
        }
    }
}

#[test]
fn names_of_full_length_are_matched_to_their_first_byte() {
    let label = "a".repeat(63);
    let short = "a".repeat(60);
    let longest = [label.as_str(), &label, &label, &"b".repeat(61)].join(".");
    let pattern = format!("a*a.{label}.{label}.*b");
    let compiled =
        compiled(&[(vec![pattern], vec![]), (vec![format!("*{short}b*.{label}.{label}.*b")], vec![])]);
    let labels: Vec<Vec<u8>> = longest.split('.').map(|label| label.as_bytes().to_vec()).collect();
    assert_eq!(longest.len(), 253);
    assert_eq!(slot::bound(compiled.as_ref().unwrap(), &labels).any.classes().collect::<Vec<_>>(), [0]);
}

/// What lists of words and of advertising hosts look like.
#[test]
fn a_thousand_globs_fit() {
    type Shape = (&'static str, usize, fn(u32) -> String);
    let shapes: [Shape; 3] = [
        ("prefixes below one name", 1 << 20, |word| format!("{word:x}*.ads.example")),
        ("words anywhere below one name", 1 << 20, |word| format!("*{word:x}*.ads.example")),
        ("prefixes of many names", 4 << 20, |word| format!("ads-*.{word:x}.example")),
    ];
    // Numbers in a row would be few states: their digits repeat.
    let words = (0..1000_u32).map(|number| number.wrapping_mul(2_654_435_761) >> 8);
    for (what, most, pattern) in shapes {
        let began = std::time::Instant::now();
        let image = compiled(&[(words.clone().map(pattern).collect(), vec![])]).unwrap().image;
        println!("{what}: {} bytes in {:?}", image.len() * 64, began.elapsed());
        assert!(image.len() * 64 < most, "{what}: {} bytes", image.len() * 64);
        // Some 0.4 s on a busy machine, 5 s and 9 s when each step copies whole states.
        assert!(began.elapsed().as_secs() < 5, "{what}: {:?}", began.elapsed());
    }
}

/// What no automaton can tell apart in reason, and what would only take long.
#[test]
fn what_would_take_forever_is_refused_soon() {
    type Shape = (&'static str, u32, fn(u32) -> String);
    let shapes: [Shape; 3] = [
        ("many prefixes below one name", 10_000, |word| format!("{word:x}*.ads.example")),
        ("pairs of words anywhere", 100, |word| format!("*{word:x}*{:x}*.ads.example", word ^ 0xff_ffff)),
        ("many stars", 100, |word| {
            let starred: String = format!("{word:024b}").chars().flat_map(|digit| ['*', digit]).collect();
            format!("{starred}.ads.example")
        }),
    ];
    for (what, count, pattern) in shapes {
        // Zero would be in every other word.
        let words = (1..=count).map(|number| number.wrapping_mul(2_654_435_761) >> 8);
        let rules = [(vec!["ads-*.example.com".to_owned()], vec![]), (words.map(pattern).collect(), vec![])];
        let began = std::time::Instant::now();
        let error = compiled(&rules).err().unwrap();
        println!("{what}: refused in {:?}", began.elapsed());
        let CompileError::TooManyGlobs { rule, location } = &error else { panic!("{error}") };
        assert_eq!((rule.as_str(), location.line), ("r1", 4), "{what}");
        // A second where it is installed.
        assert!(began.elapsed().as_secs() < 60, "{what}: {:?}", began.elapsed());
    }
}

#[test]
fn too_many_globs_are_an_error_that_names_the_rule() {
    let few = (vec!["ads-*.example.com".to_owned()], vec![]);
    // Which of the words came by has to be remembered, since each is another rule.
    let word = |number: u8| (vec![format!("*{0}{0}{0}*.example.com", char::from(b'a' + number))], vec![]);
    let rules: Vec<_> = std::iter::once(few).chain((0..20).map(word)).collect();
    let error = compiled(&rules).err().unwrap();
    let CompileError::TooManyGlobs { rule, location } = &error else { panic!("{error}") };
    assert_ne!(rule, "r0");
    assert!(location.line > 3, "{location}");
    assert!(error.help().unwrap().contains("merge"), "{error}");
    assert!(compiled(&rules[..10]).is_ok());
}
