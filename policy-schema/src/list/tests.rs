use super::*;

fn run(text: &[u8]) -> (Outcome, Vec<String>) {
    let mut names = NameSetBuilder::default();
    names.names.add_list(std::sync::Arc::new(text.to_vec()), names_in(text));
    let outcome = read(text, Breadth::PrivateSuffix, &mut names);
    (outcome, names.names.iter().map(|name| name.to_string()).collect())
}

#[test]
fn the_first_telling_line_says_the_format() {
    let cases: [(&str, Option<ListFormat>); 9] = [
        ("# c\n\n0.0.0.0 a.test", Some(ListFormat::Hosts)),
        ("::1 a.test", Some(ListFormat::Hosts)),
        ("a.test", Some(ListFormat::Plain)),
        ("! c\na.test", Some(ListFormat::AdBlock)),
        ("# c\n||a.test^", Some(ListFormat::AdBlock)),
        ("; c\n$TTL 1\n", Some(ListFormat::Rpz)),
        ("a.test CNAME .", Some(ListFormat::Rpz)),
        ("# c\n; c\n", None),
        ("", None),
    ];
    for (text, expected) in cases {
        assert_eq!(run(text.as_bytes()).0.format, expected, "{text:?}");
    }
}

#[test]
fn bytes_that_are_no_text_spoil_one_line() {
    let (outcome, names) = run(b"\xef\xbb\xbfa.test\r\n\xff\xfe.test\nb.test");
    assert_eq!(names, ["a.test", "b.test"]);
    assert_eq!(outcome.bad, [BadLine { line: 2, reason: "the line is not UTF-8".to_owned() }]);
}

#[test]
fn many_bad_lines_are_counted() {
    let text = "a b\n".repeat(1000);
    let (outcome, _) = run(text.as_bytes());
    assert_eq!((outcome.bad.len(), outcome.bad_count, outcome.names), (MAX_BAD, 1000, 0));
    assert_eq!(outcome.bad[9].line, 10);
}

#[test]
fn duplicates_are_counted_across_spellings() {
    let (outcome, names) =
        run("a.test\nA.test.\n.a.test\n*.a.test\nxn--bcher-kva.test\nbücher.test\n".as_bytes());
    assert_eq!((outcome.names, outcome.duplicates), (4, 2));
    assert_eq!(names, ["a.test", ".a.test", "*.a.test", "xn--bcher-kva.test"]);
}

#[test]
fn a_hosts_file_names_the_machine_itself_in_any_case() {
    let (outcome, names) = run(b"127.0.0.1 localhost LOCALHOST a.test\n::1 IP6-Loopback\n");
    assert_eq!(names, ["a.test"]);
    assert_eq!((outcome.names, outcome.bad_count), (1, 0));
}

#[test]
fn globs_of_a_list_are_few() {
    let text: String = (0..MAX_GLOBS + 2).map(|number| format!("a{number}*.x.test\n")).collect();
    let mut names = NameSetBuilder::default();
    let outcome = read(text.as_bytes(), Breadth::Narrow, &mut names);
    assert_eq!((names.globs.len(), outcome.bad_count), (MAX_GLOBS, 2));
}

#[test]
fn zones_keep_to_their_origin() {
    let text = "$TTL 60\nrpz.local. IN SOA a. b. 1 2 3 4 5\nx.test.rpz.local. CNAME .\ny.test. CNAME .\n  NS z.\n*.w.test.rpz.local. 5 IN CNAME *.\nrpz.local. CNAME .\n";
    let (outcome, names) = run(text.as_bytes());
    assert_eq!(names, ["x.test", "y.test", "*.w.test"]);
    assert_eq!(outcome.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [7]);
}

#[test]
fn adblock_options_may_not_narrow() {
    let (outcome, names) = run(b"||a.test^\n||b.test^$all\n||c.test^$important,document\n||d.test^$script\n||*.e.test^\n||f.test\n||1.2.3.4^\n");
    assert_eq!(names, [".a.test", ".b.test", ".c.test", "*.e.test"]);
    assert_eq!(outcome.bad.iter().map(|bad| bad.line).collect::<Vec<_>>(), [4, 6, 7]);
}
