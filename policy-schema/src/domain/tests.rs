use super::*;

fn name(text: &str) -> DomainName {
    DomainName::parse(text).unwrap()
}

fn pattern(text: &str) -> DomainPattern {
    DomainPattern::parse(text).unwrap()
}

#[test]
fn one_spelling() {
    let cases = [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("  example.com ", "example.com"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bücher。example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("-odd-.example", "-odd-.example"),
        ("localhost", "localhost"),
        ("1e100.net", "1e100.net"),
    ];
    for (text, expected) in cases {
        assert_eq!(name(text).as_str(), expected, "{text}");
        assert_eq!(name(expected), name(text), "{text}: a name is its own spelling");
    }
}

#[test]
fn refuses_what_is_no_name() {
    let long_label = format!("{}.example", "a".repeat(64));
    let long_name = vec!["a".repeat(63); 4].join(".");
    let cases = [
        ("", NameError::Empty),
        (".", NameError::Empty),
        ("a..b", NameError::EmptyLabel),
        (".a", NameError::EmptyLabel),
        ("a..", NameError::EmptyLabel),
        ("*", NameError::Character('*')),
        ("*.example.com", NameError::Character('*')),
        ("a b", NameError::Character(' ')),
        ("a\\b", NameError::Character('\\')),
        ("a/b", NameError::Character('/')),
        ("a:1", NameError::Character(':')),
        ("192.0.2.1", NameError::Address("192.0.2.1".into())),
        ("192.0.2.1.", NameError::Address("192.0.2.1.".into())),
        ("\u{ff11}92.0.2.\u{ad}1", NameError::Address("\u{ff11}92.0.2.\u{ad}1".into())),
        ("2001:db8::/32", NameError::Address("2001:db8::/32".into())),
        ("http://a.example", NameError::Url("http://a.example".into())),
        (&long_label, NameError::LongLabel),
        (&long_name, NameError::LongName),
        ("a\u{200d}b.example", NameError::International),
    ];
    for (text, expected) in cases {
        assert_eq!(DomainName::parse(text), Err(expected), "{text}");
    }
}

#[test]
fn the_longest_name_fits() {
    let text = format!("{}.{}", vec!["a".repeat(63); 3].join("."), "b".repeat(61));
    assert_eq!(text.len(), 253);
    assert_eq!(name(&text).as_str(), text);
    let labels: Vec<&[u8]> = text.split('.').map(str::as_bytes).collect();
    assert_eq!(DomainName::from_labels(labels).unwrap(), name(&text));
    assert_eq!(DomainName::parse(&format!("{text}c")), Err(NameError::LongName));
}

#[test]
fn labels_from_the_wire_keep_every_byte() {
    let seen = |labels: &[&[u8]]| DomainName::from_labels(labels.iter().copied());
    assert_eq!(seen(&[b"WWW", b"Example", b"com"]).unwrap(), name("www.example.com"));
    assert_eq!(seen(&[b"a.b", b"com"]).unwrap().as_str(), "a\\046b.com");
    assert_eq!(seen(&[b"a b\xff\0", b"com"]).unwrap().as_str(), "a\\032b\\255\\000.com");
    assert_eq!(seen(&[b"a.b", b"com"]).unwrap().ancestors().collect::<Vec<_>>(), ["com"]);
    assert_eq!(seen(&[]), Err(NameError::Empty));
    assert_eq!(seen(&[b"a", b"", b"com"]), Err(NameError::EmptyLabel));
    assert_eq!(seen(&[&[b'a'; 64]]), Err(NameError::LongLabel));
    assert_eq!(seen(&[[b'a'; 63].as_slice(); 4]), Err(NameError::LongName));
    assert!(seen(&[&[0xff; 63], &[0xff; 63], &[0xff; 63], &[0xff; 61]]).is_ok(), "escapes do not count");
}

#[test]
fn ancestors_come_nearest_first() {
    assert_eq!(
        name("a.b.example.com").ancestors().collect::<Vec<_>>(),
        ["b.example.com", "example.com", "com"]
    );
    assert_eq!(name("com").ancestors().count(), 0);
    assert_eq!(name("a.b.c").labels().rev().collect::<Vec<_>>(), ["c", "b", "a"]);
}

#[test]
fn three_forms_and_globs() {
    assert_eq!(pattern("Example.com."), DomainPattern::Exact(name("example.com")));
    assert_eq!(pattern("*.Example.com"), DomainPattern::Below(name("example.com")));
    assert_eq!(pattern(".example.com"), DomainPattern::Both(name("example.com")));
    assert_eq!(pattern("*").base(), "");
    let DomainPattern::Glob(glob) = pattern("*.ADS-*.bücher.example") else { panic!("not a glob") };
    assert_eq!((glob.form(), glob.text()), (Form::Below, "ads-*.xn--bcher-kva.example"));
    assert!(matches!(pattern("a.*.example"), DomainPattern::Glob(_)));
    assert_eq!(DomainPattern::parse("*b\u{fc}*.example"), Err(NameError::International));
    assert_eq!(DomainPattern::parse("*."), Err(NameError::Empty));
    assert_eq!(DomainPattern::parse("**..a"), Err(NameError::EmptyLabel));
}

#[test]
fn a_pattern_is_written_as_it_is_read() {
    for text in [
        "*",
        "a.example",
        "*.a.example",
        ".a.example",
        "ads-*.a.example",
        "*.ads-*.a.example",
        ".x*y.a.example",
    ] {
        assert_eq!(pattern(text).to_string(), text);
    }
}

#[test]
fn order_is_specificity() {
    let sorted = [
        "*",
        "*.com",
        ".com",
        "com",
        "*.example.com",
        ".example.com",
        "e*.com",
        "ex*.com",
        "example.com",
        "*.www.example.com",
        ".www.example.com",
        "w*.example.com",
        "www.example.com",
    ];
    let patterns: Vec<DomainPattern> = sorted.iter().map(|text| pattern(text)).collect();
    assert!(patterns.is_sorted(), "{patterns:?}");
    assert!(patterns.windows(2).all(|pair| pair[0] != pair[1] && pair[0].cmp(&pair[1]) == Ordering::Less));
}

#[test]
fn breadth_follows_the_public_suffix_list() {
    use Breadth::{Narrow, PrivateSuffix, PublicSuffix};
    let cases = [
        ("*", PublicSuffix),
        ("*.com", PublicSuffix),
        (".co.uk", PublicSuffix),
        ("*.example.co.uk", Narrow),
        ("*.github.io", PrivateSuffix),
        ("*.me.github.io", Narrow),
        ("com", Narrow),
        ("*.internal", Narrow),
        ("*.test", Narrow),
        ("ads*.com", PublicSuffix),
        ("*.ads*.example.com", Narrow),
        ("a.*.example.com", Narrow),
        ("a.example.*", PublicSuffix),
        ("b*.github.io", PrivateSuffix),
    ];
    for (text, expected) in cases {
        assert_eq!(pattern(text).breadth(), expected, "{text}");
    }
}
