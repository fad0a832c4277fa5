//! docs/POLICY.md names every key of the JSON Schema, and each key's section shows what the key does.

#![expect(clippy::unwrap_used, reason = "helpers of tests may stop at the first surprise")]

use std::collections::BTreeSet;

use policy_schema::json_schema;
use serde_json::Value as Schema;
use serde_yaml::Value;

use crate::corpus::case::Case;
use crate::examples::check;
use crate::page::{Example, Page, Section, code_spans};

/// Keys that change no verdict of the examples: what they are about is not part of a connection.
const SILENT: [&str; 18] = [
    "dns.nat64",
    "dns.trustedResolvers",
    "dns.trustedResolvers.unit",
    "hold",
    "hold.allow",
    "hold.deny",
    "inbound",
    "name",
    "onError",
    "rules.hold",
    "rules.hold.allow",
    "rules.hold.deny",
    "rules.onBadLine",
    "rules.onDeny",
    "rules.preResolve",
    "rules.refuseLookup",
    "sockets",
    "sockets.exempt",
];

#[test]
fn every_key_has_a_row() {
    let page = Page::read("POLICY.md");
    let mut rows = BTreeSet::new();
    for (section, prefix) in key_sections(&page) {
        rows.extend(section.keys.iter().map(|key| format!("{prefix}{key}")));
    }
    let keys = schema_keys();
    let differences: Vec<&String> = rows.symmetric_difference(&keys).collect();
    assert!(differences.is_empty(), "these keys have no row, or are no keys: {differences:?}");
}

#[test]
fn every_key_has_an_example_that_shows_what_it_does() {
    let page = Page::read("POLICY.md");
    let mut faults = Vec::new();
    for key in schema_keys() {
        let home: Vec<&Section> = homes(&page, &key);
        let examples: Vec<&Example> = home
            .iter()
            .flat_map(|section| &section.examples)
            .filter(|example| sets(&example.case, &key))
            .collect();
        if examples.is_empty() {
            faults.push(format!("no section about `{key}` has an example that sets it"));
            continue;
        }
        let seen =
            examples.iter().any(|example| !check(&without(&example.case, &key), example, "").is_empty());
        match (seen, SILENT.contains(&key.as_str())) {
            (true, true) => faults.push(format!("`{key}` shows: it is not one of the silent keys")),
            (false, false) => faults.push(format!("the examples of `{key}` say the same without it")),
            (true, false) | (false, true) => {}
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The paths of all keys; entries of lists stand under their list.
fn schema_keys() -> BTreeSet<String> {
    let schema: Schema = serde_json::from_str(&json_schema()).unwrap();
    let mut keys = BTreeSet::new();
    collect(&schema, &schema, "", &mut keys);
    keys
}

fn collect(root: &Schema, schema: &Schema, prefix: &str, keys: &mut BTreeSet<String>) {
    if let Some(reference) = schema.get("$ref").and_then(Schema::as_str) {
        collect(root, root.pointer(reference.trim_start_matches('#')).unwrap(), prefix, keys);
    }
    let unions = ["anyOf", "oneOf"].iter().filter_map(|key| schema.get(key)?.as_array());
    for below in unions.flatten().chain(schema.get("items")) {
        collect(root, below, prefix, keys);
    }
    for (key, below) in schema.get("properties").and_then(Schema::as_object).into_iter().flatten() {
        keys.insert(format!("{prefix}{key}"));
        collect(root, below, &format!("{prefix}{key}."), keys);
    }
}

/// The sections about keys, with what the paths of the keys in their tables start with.
fn key_sections(page: &Page) -> Vec<(&Section, String)> {
    let mut found = Vec::new();
    let mut base = None;
    for section in &page.sections {
        if section.level == 2 {
            base = match section.title.as_str() {
                "Keys of the file" => Some(""),
                "Keys of a rule" => Some("rules."),
                _ => None,
            };
        }
        let Some(base) = base else { continue };
        let prefix =
            code_spans(&section.title).first().map(|key| format!("{base}{key}.")).unwrap_or_default();
        found.push((section, if section.level == 2 { base.to_owned() } else { prefix }));
    }
    found
}

/// The sections whose heading names the key, or the key above it.
fn homes<'a>(page: &'a Page, key: &str) -> Vec<&'a Section> {
    let (base, rest) = match key.strip_prefix("rules") {
        Some(rest) => ("Keys of a rule", rest.trim_start_matches('.')),
        None => ("Keys of the file", key),
    };
    let first = rest.split('.').next().unwrap_or_default();
    let below = page.sections.iter().skip_while(|section| section.title != base);
    let level_two = below.clone().take(1).filter(|_| rest.is_empty());
    let named = below.skip(1).take_while(|section| section.level > 2);
    level_two
        .chain(named.filter(|section| code_spans(&section.title).iter().any(|name| name == first)))
        .collect()
}

fn sets(case: &Case, key: &str) -> bool {
    without(case, key).policies != case.policies
}

/// The same policies without a key, wherever it stands.
fn without(case: &Case, key: &str) -> Case {
    let path: Vec<&str> = key.split('.').collect();
    let policies = case.policies.iter().map(|(file, text)| {
        let mut value: Value = serde_yaml::from_str(text).unwrap();
        let changed = remove(&mut value, &path);
        (file.clone(), if changed { serde_yaml::to_string(&value).unwrap() } else { text.clone() })
    });
    Case { policies: policies.collect(), lists: case.lists.clone(), ..Case::default() }
}

fn remove(value: &mut Value, path: &[&str]) -> bool {
    match (value, path) {
        (Value::Sequence(items), _) => {
            items.iter_mut().fold(false, |changed, item| remove(item, path) | changed)
        }
        (Value::Mapping(map), [last]) => map.remove(*last).is_some(),
        (Value::Mapping(map), [first, rest @ ..]) => {
            map.get_mut(*first).is_some_and(|below| remove(below, rest))
        }
        _ => false,
    }
}
