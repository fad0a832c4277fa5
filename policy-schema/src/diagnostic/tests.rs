use miette::Diagnostic as _;

use super::*;

fn diagnostic(text: &str, line: usize, column: usize, length: usize) -> Diagnostic {
    let at = Location { file: "a.yaml".into(), line, column };
    let source = Arc::new(NamedSource::new("a.yaml", text.to_owned()));
    Diagnostic::new(Severity::Error, "bad-name", "`x` is wrong", at)
        .length(length)
        .hint("write `y`")
        .source(&source)
}

#[test]
fn renders_the_line_with_a_caret() {
    let text = "version: 1\nä: [xyz]\n";
    let expected = "error[bad-name]: `x` is wrong\n  --> a.yaml:2:5\n   |\n 2 | ä: [xyz]\n   |     ^^^\n   = hint: write `y`\n";
    assert_eq!(diagnostic(text, 2, 5, 3).render(), expected);
}

#[test]
fn a_caret_stays_within_its_line() {
    assert!(diagnostic("ab: cd\n", 1, 5, 90).render().contains("\n   |     ^^\n"));
    assert!(diagnostic("ab", 1, 90, 3).render().contains('^'));
    assert!(diagnostic("\tab", 1, 2, 1).render().contains("\n   | \t^\n"), "tabs stay tabs");
}

#[test]
fn a_place_outside_of_the_text_has_no_excerpt() {
    for (text, line) in [("", 1), ("a", 7), ("\n\n", 2)] {
        assert_eq!(diagnostic(text, line, 1, 1).render().lines().count(), 3, "{text:?}");
    }
}

#[test]
fn nothing_speaks_to_the_terminal() {
    let at = Location::line("a.txt".as_ref(), 1);
    let found = Diagnostic::new(Severity::Error, "bad-name", "`a\nb\u{1b}[2J` is\tü", at).hint("\u{85}");
    assert_eq!((&*found.message, found.hint.as_deref()), ("`a\\nb\\u{1b}[2J` is\\tü", Some("\\u{85}")));
    let shown = diagnostic("\ta\u{1b}[2J: x\n", 1, 8, 1).render();
    assert!(shown.contains("\ta\u{fffd}[2J: x\n   | \t      ^\n"), "{shown}");
}

#[test]
fn lines_are_those_of_yaml() {
    let found = |text| lines(text).collect::<Vec<_>>();
    assert_eq!(found(""), [(0, "")]);
    assert_eq!(found("a\r\nb\rü\n\nc"), [(0, "a"), (3, "b"), (5, "ü"), (8, ""), (9, "c")]);
    assert_eq!(found("a\n"), [(0, "a"), (2, "")]);
    assert!(diagnostic("a: 1\rb: x", 2, 4, 1).render().contains(" 2 | b: x\n"));
}

#[test]
fn json_has_what_a_tool_needs() {
    let json = serde_json::to_value(diagnostic("a: x\n", 1, 4, 1).field("a")).unwrap();
    let expected = serde_json::json!({
        "severity": "error", "code": "bad-name", "message": "`x` is wrong", "file": "a.yaml",
        "line": 1, "column": 4, "field": "a", "hint": "write `y`"
    });
    assert_eq!(json, expected);
}

#[test]
fn miette_points_to_the_same_bytes() {
    let found = diagnostic("ä: 1\nö: ü\n", 2, 4, 1);
    let label = found.labels().unwrap().next().unwrap();
    // Three letters of the text take two bytes each.
    assert_eq!((label.offset(), label.len()), (10, 2));
    assert_eq!(found.help().unwrap().to_string(), "write `y`");
    assert_eq!(found.code().unwrap().to_string(), "bad-name");
    assert!(found.source_code().is_some());
}

#[test]
fn a_report_is_sorted_and_counts_errors() {
    let mut warning = diagnostic("a", 1, 1, 1);
    warning.severity = Severity::Warning;
    let report = Report::new(vec![diagnostic("a", 3, 1, 1), diagnostic("a", 2, 9, 1), warning]);
    assert_eq!(report.diagnostics().iter().map(|found| found.line).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(report.to_string(), "a.yaml:2: `x` is wrong (and 1 more)");
    assert_eq!(report.related().unwrap().count(), 3);
}
