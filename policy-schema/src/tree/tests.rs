use super::*;

fn parse(text: &str) -> Node {
    Node::parse(text).unwrap().unwrap()
}

fn place(node: &Node) -> (usize, usize, usize) {
    (node.spot.line, node.spot.column, node.spot.length)
}

#[test]
fn scalars_by_the_core_schema() {
    let cases = [
        ("~", Value::Null),
        ("null", Value::Null),
        ("true", Value::Boolean(true)),
        ("FALSE", Value::Boolean(false)),
        ("yes", Value::Text("yes".into())),
        ("on", Value::Text("on".into())),
        ("17", Value::Integer(17)),
        ("-17", Value::Integer(-17)),
        ("0x1F", Value::Integer(31)),
        ("0o17", Value::Integer(15)),
        ("017", Value::Text("017".into())),
        ("1.5", Value::Float(1.5)),
        ("1e3", Value::Float(1000.0)),
        ("inf", Value::Text("inf".into())),
        ("nan", Value::Text("nan".into())),
        ("10.0.0.1", Value::Text("10.0.0.1".into())),
        ("53/udp", Value::Text("53/udp".into())),
        ("8000-8100", Value::Text("8000-8100".into())),
        ("\"17\"", Value::Text("17".into())),
        ("'true'", Value::Text("true".into())),
    ];
    for (text, expected) in cases {
        assert_eq!(parse(text).value, expected, "{text}");
    }
}

#[test]
fn values_know_their_place() {
    let root = parse("a: 1\nlist:\n  - x\n  - { ä: \"zwei\", b: drei }\n");
    assert_eq!(place(root.get("a").unwrap()), (1, 4, 1));
    let list = root.get("list").unwrap();
    assert_eq!(place(list.item(0).unwrap()), (3, 5, 1));
    let map = list.item(1).unwrap();
    assert_eq!(place(map.get("ä").unwrap()), (4, 10, 6));
    assert_eq!(place(map.get("b").unwrap()), (4, 21, 4));
    assert_eq!(map.index, 1);
    assert!(root.get("c").is_none() && list.item(2).is_none() && root.item(0).is_none());
}

#[test]
fn what_is_no_part_of_the_language() {
    let code = |text: &str| Node::parse(text).unwrap_err().code;
    assert_eq!(code("a: &x 1"), "yaml-alias");
    assert_eq!(code("a: *x"), "yaml-alias");
    assert_eq!(code("a: &x [1]\nb: *x"), "yaml-alias");
    assert_eq!(code("a: !t 1"), "yaml-tag");
    assert_eq!(code("a: [!t [1]]"), "yaml-tag");
    assert_eq!(code("a: [1"), "syntax");
    assert_eq!(code("a\n---\nb"), "several-documents");
    assert_eq!(code(&format!("{}1{}", "[".repeat(40), "]".repeat(40))), "too-deep");
    assert!(Node::parse("").unwrap().is_none());
    assert!(Node::parse("# only\n# comments").unwrap().is_none());
}

#[test]
fn a_character_that_cannot_be_seen_has_a_place() {
    for (text, place) in [("a: 1\r\nb:\t\u{7}", (2, 4)), ("ä\u{feff}", (1, 2)), ("\u{9f}", (1, 1))] {
        let error = Node::parse(text).unwrap_err();
        assert_eq!((error.code, (error.spot.line, error.spot.column)), ("syntax", place), "{text:?}");
    }
    assert!(Node::parse("a: \"\\u0007\u{85}ü\u{1f600}\"").is_ok());
}
