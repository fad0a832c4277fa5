use super::*;

fn place(bytes: &[u8]) -> (usize, usize, &'static str) {
    let report = Source::from_bytes("p.yaml".into(), bytes.to_vec()).unwrap_err();
    let found = &report.diagnostics()[0];
    (found.line, found.column, found.code)
}

#[test]
fn the_first_byte_that_is_no_text_is_found() {
    let source = Source::from_bytes("p.yaml".into(), "name: \u{fc}".into()).unwrap();
    assert_eq!(source.text, "name: \u{fc}");
    assert_eq!(place(b"\xff\xfev\0"), (1, 1, "not-utf8"));
    assert_eq!(place(b"a: \xc3\xbc\nb: \xc3\xbc\xfcy\n"), (2, 5, "not-utf8"));
    assert_eq!(place(b"\xef\xbb\xbfa: \xe9"), (1, 4, "not-utf8"));
    assert_eq!(place(b"a: 1\rb:\r\n\xe9"), (3, 1, "not-utf8"), "lines are those of YAML");
}
