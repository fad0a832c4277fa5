use proptest::prelude::*;

use super::*;
use crate::domain::DomainPattern;

fn glob(text: &str) -> NameGlob {
    let DomainPattern::Glob(glob) = DomainPattern::parse(text).unwrap() else { panic!("{text} is no glob") };
    glob
}

/// What the language says, by brute force: labels one by one, characters one by one.
fn matches_naively(glob: &NameGlob, name: &str) -> bool {
    let shape: Vec<&str> = glob.text().split('.').collect();
    let labels: Vec<&str> = name.split('.').collect();
    let Some(extra) = labels.len().checked_sub(shape.len()) else { return false };
    let depth = match glob.form() {
        Form::Below => extra > 0,
        Form::Both => true,
        Form::Exact => extra == 0,
    };
    depth
        && shape
            .iter()
            .zip(&labels[extra..])
            .all(|(shape, label)| label_matches(shape.as_bytes(), label.as_bytes()))
}

fn label_matches(shape: &[u8], label: &[u8]) -> bool {
    match shape.split_first() {
        None => label.is_empty(),
        Some((b'*', rest)) => (0..=label.len()).any(|skip| label_matches(rest, &label[skip..])),
        Some((byte, rest)) => label.first() == Some(byte) && label_matches(rest, &label[1..]),
    }
}

proptest! {
    #[test]
    fn globs_mean_what_brute_force_says(
        patterns in prop::collection::vec("(\\*\\.|\\.)?([ab*]{1,4}\\.){0,2}[ab]{0,2}\\*[ab*]{0,2}(\\.[ab*]{1,3}){0,2}", 1..4),
        names in prop::collection::vec("[ab]{1,4}(\\.[ab]{1,4}){0,4}", 1..20),
    ) {
        let globs: Vec<NameGlob> = patterns.iter().filter_map(|text| match DomainPattern::parse(text) {
            Ok(DomainPattern::Glob(glob)) => Some(glob),
            _ => None,
        }).collect();
        let set = GlobSet::new(globs.clone()).unwrap();
        for name in names {
            let expected = globs.iter().any(|glob| matches_naively(glob, &name));
            prop_assert_eq!(set.is_match(&name), expected, "{} against {:?}", name, patterns);
        }
    }

    #[test]
    fn path_globs_mean_what_brute_force_says(
        pattern in "(/(\\*\\*|[ab*]|a\\*b|\\[)){1,4}",
        paths in prop::collection::vec("(/[ab]{1,3}|/\\[){0,5}", 1..20),
    ) {
        let Ok(glob) = PathGlob::parse(&pattern) else { return Ok(()) };
        for path in paths {
            let segments: Vec<&str> = path.split('/').skip(1).collect();
            let shape: Vec<&str> = pattern.split('/').skip(1).collect();
            let path = if path.is_empty() { "/" } else { &path };
            prop_assert_eq!(glob.is_match(path), path_matches(&shape, &segments), "{} against {}", path, pattern);
        }
    }
}

fn path_matches(shape: &[&str], segments: &[&str]) -> bool {
    match shape.split_first() {
        None => segments.is_empty(),
        // At the end `**` is what lies below, so there has to be something.
        Some((&"**", [])) => !segments.is_empty(),
        Some((&"**", rest)) => (0..=segments.len()).any(|skip| path_matches(rest, &segments[skip..])),
        Some((own, rest)) => segments.split_first().is_some_and(|(segment, others)| {
            label_matches(own.as_bytes(), segment.as_bytes()) && path_matches(rest, others)
        }),
    }
}

#[test]
fn names_from_the_wire_cannot_fake_a_boundary() {
    let set = GlobSet::new(vec![glob("ads-*.example.com")]).unwrap();
    assert!(set.is_match("ads-a\\046b.example.com"));
    assert!(set.is_match("ads-\\047x.example.com"));
    assert!(!set.is_match("ads-x\\046example\\046com"));
}

#[test]
fn the_digits_of_an_escaped_byte_are_not_part_of_the_name() {
    let set = GlobSet::new(vec![glob("a*1.test"), glob("b1*.test"), glob("c*.test")]).unwrap();
    assert!(set.is_match("a\\0011.test") && set.is_match("b1\\001.test") && set.is_match("c\\001.test"));
    assert!(!set.is_match("a\\001.test") && !set.is_match("b\\001.test"));
}

#[test]
fn patterns_are_sorted_and_unique() {
    let set = GlobSet::new(vec![glob("b*.test"), glob("a*.test"), glob("b*.test")]).unwrap();
    assert_eq!(set.patterns().iter().map(ToString::to_string).collect::<Vec<_>>(), ["a*.test", "b*.test"]);
    assert_eq!(set.find("bx.test").unwrap().text(), "b*.test");
    assert_eq!((set.len(), set.is_empty()), (2, false));
    assert!(!GlobSet::default().is_match("a.test"));
}

#[test]
fn path_globs_are_absolute_and_plain() {
    assert_eq!(PathGlob::parse("ci/**"), Err(GlobError::Relative));
    assert_eq!(PathGlob::parse(""), Err(GlobError::Relative));
    assert_eq!(PathGlob::parse("/ci//x"), Err(GlobError::Segment));
    assert_eq!(PathGlob::parse("/ci/../x"), Err(GlobError::Segment));
    assert_eq!(PathGlob::parse("/ci/a**"), Err(GlobError::DoubleStar));
    assert_eq!(PathGlob::parse("/ci/").unwrap().as_str(), "/ci");
    assert!(PathGlob::parse("/").unwrap().is_match("/"));
    assert!(!PathGlob::parse("/**").unwrap().is_match("/"));
    assert!(PathGlob::parse("/**").unwrap().is_match("/a/b"));
    assert!(PathGlob::parse("/a-[x]{1,2}?!\\x2d").unwrap().is_match("/a-[x]{1,2}?!\\x2d"));
    assert!(PathGlob::parse("/ci/job").unwrap().is_match("/ci/job/"));
}
