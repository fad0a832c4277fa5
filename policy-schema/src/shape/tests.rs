use super::*;
use crate::document::json_schema;

fn faults(text: &str) -> Vec<(String, String, String)> {
    let schema: Schema = serde_json::from_str(&json_schema()).unwrap();
    let mut root = Node::parse(text).unwrap().unwrap();
    let (_, faults) = examine(&schema, &mut root);
    faults.into_iter().map(|fault| (fault.field, fault.message, fault.hint.unwrap_or_default())).collect()
}

fn hints(text: &str) -> Vec<String> {
    faults(text).into_iter().map(|(_, _, hint)| hint).collect()
}

#[test]
fn distances() {
    let cases =
        [("", "", 0), ("a", "", 1), ("names", "name", 1), ("defualt", "default", 1), ("prots", "ports", 1)];
    for (a, b, expected) in cases {
        assert_eq!(distance(a, b), expected, "{a} {b}");
        assert_eq!(distance(b, a), expected, "{b} {a}");
    }
    assert_eq!(distance("kitten", "sitting"), 3);
}

#[test]
fn suggests_the_key_that_was_meant() {
    let top = |key: &str| hints(&format!("version: 1\nrules: []\n{key}: 1\n")).remove(0);
    assert_eq!(top("defualt"), "did you mean `default`?");
    assert_eq!(top("on_error"), "did you mean `onError`?");
    assert_eq!(top("on-error"), "did you mean `onError`?");
    assert_eq!(top("rule"), "did you mean `rules`?");
    assert_eq!(top("nat64"), "`nat64` belongs under `dns`");
    assert_eq!(top("action"), "`action` belongs under `rules`");
    assert!(top("frobnicate").starts_with("the keys here are `default`"), "{}", top("frobnicate"));
}

#[test]
fn a_rule_key_in_the_wrong_place() {
    let found = hints("version: 1\nrules: [{ name: a, action: deny, to: any, cidrs: [], cgroups: [] }]\n");
    assert_eq!(found, ["`cidrs` belongs under `to`", "`cgroups` belongs under `subjects`"]);
}

#[test]
fn fields_name_the_entry_of_the_file() {
    let text = "version: 1\nrules:\n  - text\n  - { name: a, action: deny, to: { names: [1, b, 2] } }\n";
    let fields: Vec<String> = faults(text).into_iter().map(|(field, _, _)| field).collect();
    assert_eq!(fields, ["rules[0]", "rules[1].to.names[0]", "rules[1].to.names[2]"]);
}

#[test]
fn keys_are_words_and_stand_once() {
    let found = faults("version: 1\nrules: []\n? [a]\n: 1\n17: x\nmode: audit\nmode: audit\n");
    let messages: Vec<&str> = found.iter().map(|(_, message, _)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "a key is a list, not a word",
            "a key is the number 17, not a word",
            "the key `mode` stands here twice, first in line 6"
        ]
    );
}

#[test]
fn numbers_have_bounds() {
    let found = faults(
        "version: -1\nrules: [{ name: a, action: deny, to: any, ports: [65536], subjects: { users: [4294967296] } }]\n",
    );
    let hints: Vec<&str> = found.iter().map(|(_, _, hint)| hint.as_str()).collect();
    assert_eq!(
        hints,
        [
            "write a number from 0 to 4294967295",
            "write a number from 0 to 65535",
            "write a number from 0 to 4294967295"
        ]
    );
}
