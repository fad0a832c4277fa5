use super::*;
use crate::tree::Node;

/// The tree decides what is a fault, serde_yaml what the policy says: they have to read alike.
#[test]
fn both_readers_read_alike() {
    let texts = [
        "~",
        "null",
        "Null",
        "true",
        "True",
        "TRUE",
        "false",
        "yes",
        "no",
        "on",
        "off",
        "y",
        "0",
        "1",
        "-1",
        "+1",
        "0x1f",
        "0o17",
        "0b11",
        "017",
        "00",
        "-017",
        "01.5",
        "00.5",
        "1_000",
        "1.5",
        "1e3",
        "-1.5e-3",
        ".5",
        "5.",
        "1.2.3",
        "10.0.0.1",
        "::1",
        "2001:db8::",
        "53/udp",
        "8000-8100",
        "2026-01-01",
        "12:30",
        "\"17\"",
        "'true'",
        "\"\"",
        "a b",
        "=",
        "<<",
        "*x",
        "&x 1",
        "[a, b]",
        "{a: 1, b: [c]}",
        "- a\n- b\n",
        "a: |\n  x\n  y\n",
        "a: >-\n  x\n  y\n",
        "\"a\\nb\"",
        "a: # nothing\nb: 1",
        "? a\n: b\n",
        "[1, 2,]",
        "inf",
        "nan",
        "-",
        "--- a",
        "a # b",
        "a#b",
        "99999999999",
    ];
    for text in texts {
        let tree = Node::parse(text).ok().flatten().map(|node| node.to_json());
        let typed: Option<serde_json::Value> = serde_yaml::from_str(text).ok();
        if let Some(tree) = tree {
            assert_eq!(Some(tree), typed, "{text:?}");
        }
    }
}

#[test]
fn the_schema_describes_the_file() {
    let schema: serde_json::Value = serde_json::from_str(&json_schema()).unwrap();
    assert_eq!(schema["additionalProperties"], false);
    assert_eq!(schema["required"], serde_json::json!(["version", "rules"]));
    for key in ["default", "dns", "hold", "inbound", "literalAddresses", "mode", "name", "onError", "sockets"]
    {
        assert!(schema["properties"][key].is_object(), "{key}");
    }
    let rule = &schema["$defs"]["RuleDocument"];
    assert_eq!(rule["required"], serde_json::json!(["name", "action", "to"]));
    assert_eq!(rule["properties"].as_object().unwrap().len(), 15);
}
