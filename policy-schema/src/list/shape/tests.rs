use proptest::prelude::*;

use super::super::{Outcome, read_with};
use super::*;
use crate::domain::Breadth;
use crate::names::NameSetBuilder;

fn run(shapes: Shapes, text: &str) -> (Outcome, Vec<String>) {
    let mut names = NameSetBuilder::default();
    names.names.add_list(std::sync::Arc::new(text.to_owned()), 0);
    let outcome = read_with(shapes, text.as_bytes(), Breadth::PrivateSuffix, &mut names);
    let found = names.names.iter().map(|name| name.to_string()).collect();
    (outcome, found)
}

/// Lines as lists have them, and lines that look like them and mean something else.
fn line() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        4 => "[a-c]{1,2}(\\.[a-c]{1,2}){0,2}\\.(test|example|com)",
        1 => "[A-C]{1,2}\\.(test|TEST)\\.?",
        1 => Just("localhost".to_owned()),
        1 => Just("localhost.localdomain".to_owned()),
        1 => Just("com".to_owned()),
        1 => Just("b\u{fc}cher.test".to_owned()),
        1 => Just("32.1.2.0.192.rpz-ip".to_owned()),
        1 => Just("a.rpz.local.".to_owned()),
        1 => Just("a..test".to_owned()),
        1 => Just("a.b1".to_owned()),
        1 => Just("10.0.0.1".to_owned()),
        1 => Just("ad*.a.test".to_owned()),
    ];
    let head = prop_oneof![
        Just(""),
        Just("."),
        Just("*."),
        Just("0.0.0.0 "),
        Just("::1\t"),
        Just("||"),
        Just("||*."),
        Just(" "),
        Just("@@||"),
        Just("aa::1 "),
        Just("a.test "),
    ];
    let tail = prop_oneof![
        Just(""),
        Just("\r"),
        Just("^"),
        Just("^$all"),
        Just("^$script"),
        Just(" CNAME ."),
        Just(" IN CNAME *.\r"),
        Just(" CNAME rpz-passthru."),
        Just(" A 10.0.0.1"),
        Just(" # c"),
        Just(" b.test"),
        Just(" ("),
        Just(" )"),
        Just("."),
        Just(" SOA a. b. 1 2 3 4 5"),
        Just(" "),
    ];
    prop_oneof![
        8 => (head, name, tail).prop_map(|(head, name, tail)| format!("{head}{name}{tail}")),
        1 => select_line(),
    ]
}

fn select_line() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("# c"),
        Just("! c"),
        Just("; c"),
        Just(""),
        Just("$ORIGIN rpz.local."),
        Just("$TTL 60"),
        Just("@ SOA a. b. 1 2 3 4 5"),
        Just("[Adblock]"),
    ]
    .prop_map(str::to_owned)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn a_shape_gives_what_a_careful_reading_gives(
        first in prop_oneof![Just(""), Just("||a.test^\n"), Just("0.0.0.0 a.test\n"), Just("a.test CNAME .\n"), Just("a.test\n")],
        lines in prop::collection::vec(line(), 0..30),
        repeated in prop::collection::vec(any::<prop::sample::Index>(), 0..30),
        end in any::<bool>(),
    ) {
        let mut text = first.to_owned();
        let again = repeated.iter().filter(|_| !lines.is_empty()).map(|index| &lines[index.index(lines.len())]);
        for line in lines.iter().chain(again) {
            text.push_str(line);
            text.push('\n');
        }
        if end {
            text.pop();
        }
        prop_assert_eq!(run(Shapes::default(), &text), run(Shapes { known: Vec::new(), kept: 0 }, &text), "{}", text);
    }
}

#[test]
fn lines_alike_are_read_once() {
    let mut shapes = Shapes::default();
    let seen = Seen { form: Form::Both, start: 102, length: 6 };
    shapes.learn(b"||a.test^", 100, Some(seen));
    let known = shapes.find(b"||b.c.test^\n||d.test^").unwrap();
    assert_eq!(known, Known { form: Form::Both, name: b"b.c.test", start: 2, line: 11 });
    assert!(shapes.find(b"||b.c.test^").is_some(), "the last line needs no end");
    for other in ["||b.test^$script", "|b.test^", "||b.test", "||B.test^", "||b.test.^", "||b.7^", "", "||^"]
    {
        assert_eq!(shapes.find(other.as_bytes()), None, "{other}");
    }
    let long = format!("||{}.test^", "a".repeat(64));
    assert_eq!(shapes.find(long.as_bytes()), None);
}
