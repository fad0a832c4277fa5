//! What holds for whatever is found in a file.

use miette::Diagnostic as _;
use policy_schema::{Diagnostic, Report};

/// A finding points into its file, and can be shown.
pub fn check(found: &Diagnostic, text: &[u8]) {
    let lines = lines(text);
    let line = found.line.checked_sub(1).and_then(|index| lines.get(index));
    let Some(line) = line else { panic!("{found:?} is outside of {} lines", lines.len()) };
    let columns = line.chars().count();
    assert!((1..=columns + 1).contains(&found.column), "{found:?} is outside of {columns} columns");
    for text in [Some(&found.message), found.hint.as_ref()].into_iter().flatten() {
        assert!(!text.is_empty() && !text.contains(char::is_control), "{found:?} is not one line");
    }
    let shown = found.render();
    assert!(shown.contains(&found.message) && shown.contains(found.code), "{shown}");
    if found.source_code().is_some() {
        let quotable = !line.trim().is_empty() && !line.contains(char::is_control);
        assert!(!quotable || shown.contains(line), "{shown}");
        // What is no UTF-8 is shown with a mark in its place.
        let text = String::from_utf8_lossy(text);
        for label in found.labels().into_iter().flatten() {
            let span = label.offset()..label.offset() + label.len();
            assert!(text.get(span.clone()).is_some(), "{found:?} at {span:?} of {} bytes", text.len());
        }
    }
}

/// A report holds an error, and can be shown.
pub fn check_report(report: &Report, has_error: bool) {
    let found = report.diagnostics();
    assert_eq!(found.iter().any(is_error), has_error, "{report}");
    let places: Vec<_> = found.iter().map(|found| (&found.file, found.line, found.column)).collect();
    assert!(places.is_sorted(), "{places:?}");
    assert!(!report.to_string().is_empty() && report.render().len() >= found.len());
}

/// The lines of a file as YAML counts them; an empty one after the last line break.
fn lines(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text).replace("\r\n", "\n");
    text.split(['\n', '\r']).map(str::to_owned).collect()
}

fn is_error(found: &Diagnostic) -> bool {
    found.severity == policy_schema::Severity::Error
}
