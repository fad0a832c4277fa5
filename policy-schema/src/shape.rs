//! Finds every fault of a file's shape in one run: unknown, duplicate and missing keys, wrong types and words.
//!
//! What is right is read from the JSON Schema of [`crate::document::Document`], so a key exists in one place.
//! What is wrong is cut out of the tree, so that the rest can be examined for its meaning.

use serde_json::Value as Schema;

use crate::tree::{Node, Spot, Value};

/// One fault of shape.
#[derive(Debug)]
pub(crate) struct Fault {
    pub code: &'static str,
    pub message: String,
    pub hint: Option<String>,
    pub spot: Spot,
    pub field: String,
}

/// Examines a tree and cuts out what is wrong; true if the root can stay.
pub(crate) fn examine(schema: &Schema, root: &mut Node) -> (bool, Vec<Fault>) {
    let mut examiner = Examiner { schema, faults: Vec::new() };
    let keep = examiner.value(schema, root, "");
    (keep, examiner.faults)
}

struct Examiner<'a> {
    schema: &'a Schema,
    faults: Vec<Fault>,
}

impl<'a> Examiner<'a> {
    /// Whether the value can stay.
    fn value(&mut self, schema: &'a Schema, node: &mut Node, field: &str) -> bool {
        let alternatives = self.alternatives(schema);
        let spot = node.spot;
        match &mut node.value {
            Value::Map(entries) => match alternatives.iter().find(|schema| is_type(schema, "object")) {
                Some(schema) => self.map(schema, entries, spot, field),
                None => self.wrong_type(&alternatives, node, field),
            },
            Value::List(items) => match alternatives.iter().find_map(|schema| schema.get("items")) {
                Some(item) => {
                    items.retain_mut(|node| {
                        let field = format!("{field}[{}]", node.index);
                        self.value(item, node, &field)
                    });
                    true
                }
                None => self.wrong_type(&alternatives, node, field),
            },
            Value::Integer(number) => match alternatives.iter().find(|schema| is_type(schema, "integer")) {
                Some(schema) => {
                    let number = *number;
                    self.number(schema, number, spot, field)
                }
                None => self.wrong_type(&alternatives, node, field),
            },
            Value::Text(text) => {
                if alternatives.iter().any(|schema| is_type(schema, "string") && words(schema).is_empty()) {
                    return true;
                }
                let known: Vec<&str> = alternatives.iter().flat_map(|schema| words(schema)).collect();
                if known.contains(&text.as_str()) {
                    return true;
                }
                if known.is_empty() {
                    return self.wrong_type(&alternatives, node, field);
                }
                let message = format!("`{text}` is not a value of `{}`", last_key(field));
                let hint =
                    nearest(text, &known).map(did_you_mean).unwrap_or_else(|| one_of(&alternatives, &known));
                self.fault("unknown-value", message, Some(hint), spot, field)
            }
            Value::Boolean(_) if alternatives.iter().any(|schema| is_type(schema, "boolean")) => true,
            Value::Null if alternatives.iter().any(|schema| is_type(schema, "null")) => true,
            Value::Boolean(_) | Value::Float(_) | Value::Null => self.wrong_type(&alternatives, node, field),
        }
    }

    fn map(&mut self, schema: &'a Schema, entries: &mut Vec<(Node, Node)>, spot: Spot, field: &str) -> bool {
        let properties = schema.get("properties").and_then(Schema::as_object);
        let known: Vec<&str> = properties.iter().flat_map(|map| map.keys().map(String::as_str)).collect();
        let written: Vec<String> =
            entries.iter().filter_map(|(key, _)| key.text().map(str::to_owned)).collect();
        let mut seen: Vec<(String, Spot)> = Vec::new();
        entries.retain_mut(|(key, value)| {
            let Some(name) = key.text().map(str::to_owned) else {
                let message = format!("a key is {}, not a word", describe(&key.value));
                return self.fault("unknown-key", message, Some(list_keys(&known)), key.spot, field);
            };
            let field = join(field, &name);
            if let Some((_, first)) = seen.iter().find(|(other, _)| *other == name) {
                let message = format!("the key `{name}` stands here twice, first in line {}", first.line);
                let hint = Some("keep one of the two".to_owned());
                return self.fault("duplicate-key", message, hint, key.spot, &field);
            }
            seen.push((name.clone(), key.spot));
            let Some(schema) = properties.and_then(|map| map.get(&name)) else {
                let message = format!("unknown key `{name}`");
                let below = self.below(properties, &name);
                let meant = if below.is_none() { nearest(&name, &known) } else { None };
                let hint = below.or_else(|| meant.map(did_you_mean)).unwrap_or_else(|| list_keys(&known));
                self.fault("unknown-key", message, Some(hint), key.spot, &field);
                // It is read as what was probably meant, so that nothing seems to be missing for it.
                let meant = meant.filter(|meant| !written.iter().any(|other| other == meant));
                let schema = meant.and_then(|meant| properties?.get(meant));
                let (Some(meant), Some(schema)) = (meant, schema) else { return false };
                key.value = Value::Text(meant.to_owned());
                seen.push((meant.to_owned(), key.spot));
                return self.value(schema, value, &field);
            };
            self.value(schema, value, &field)
        });
        let required = schema.get("required").and_then(Schema::as_array).into_iter().flatten();
        let mut complete = true;
        for key in required.filter_map(Schema::as_str) {
            if !seen.iter().any(|(name, _)| name == key) {
                let description = properties.and_then(|map| map.get(key)).and_then(description);
                let hint = match key {
                    "version" => "write `version: 1` at the top of the file".to_owned(),
                    _ => format!(
                        "add `{key}:`{}",
                        description.map(|text| format!(" ({text})")).unwrap_or_default()
                    ),
                };
                self.fault("missing-key", format!("the key `{key}` is missing"), Some(hint), spot, field);
            }
            complete &= entries.iter().any(|(name, _)| name.text() == Some(key));
        }
        complete
    }

    fn number(&mut self, schema: &Schema, number: i128, spot: Spot, field: &str) -> bool {
        let bound = |key, otherwise| schema.get(key).and_then(Schema::as_u64).unwrap_or(otherwise);
        // schemars writes no maximum where it is the type's own.
        let most = if schema.get("format").and_then(Schema::as_str) == Some("uint32") {
            u64::from(u32::MAX)
        } else {
            u64::MAX
        };
        let (least, most) = (bound("minimum", 0), bound("maximum", most));
        if (i128::from(least)..=i128::from(most)).contains(&number) {
            return true;
        }
        let message = format!("{number} is out of range for `{}`", last_key(field));
        self.fault(
            "out-of-range",
            message,
            Some(format!("write a number from {least} to {most}")),
            spot,
            field,
        )
    }

    fn wrong_type(&mut self, alternatives: &[&Schema], node: &Node, field: &str) -> bool {
        let mut expected: Vec<String> =
            alternatives.iter().filter_map(|schema| expectation(schema)).collect();
        expected.dedup();
        let found = describe(&node.value);
        let place = match field {
            "" => "the file".to_owned(),
            _ if field.ends_with(']') => format!("an entry of `{}`", last_key(field)),
            _ => format!("`{}`", last_key(field)),
        };
        let expected = expected.join(" or ");
        let message = format!("{place} has to be {expected}, found {found}");
        let hint = match &node.value {
            Value::Null => "write a value, or leave the key out".to_owned(),
            Value::Text(text) if expected.starts_with("a list") => format!("write `[\"{text}\"]`"),
            Value::Integer(_) | Value::Float(_) | Value::Boolean(_) if expected.contains("a text") => {
                "put it into quotes".to_owned()
            }
            _ => format!("write {expected}"),
        };
        self.fault("wrong-type", message, Some(hint), node.spot, field)
    }

    /// Records a fault; false, so that the caller can drop what is wrong.
    fn fault(
        &mut self,
        code: &'static str,
        message: String,
        hint: Option<String>,
        spot: Spot,
        field: &str,
    ) -> bool {
        self.faults.push(Fault { code, message, hint, spot, field: field.to_owned() });
        false
    }

    /// The schemas a value may follow, without references and unions.
    fn alternatives(&self, schema: &'a Schema) -> Vec<&'a Schema> {
        if let Some(reference) = schema.get("$ref").and_then(Schema::as_str) {
            let target = reference.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
            return target.map(|schema| self.alternatives(schema)).unwrap_or_default();
        }
        let union = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Schema::as_array);
        match union {
            Some(schemas) => schemas.iter().flat_map(|schema| self.alternatives(schema)).collect(),
            None => vec![schema],
        }
    }

    /// The key of this map under which an unknown key would be known.
    fn below(&self, properties: Option<&'a serde_json::Map<String, Schema>>, key: &str) -> Option<String> {
        let home = |schema: &'a Schema| {
            let own = self.alternatives(schema);
            let items = own.iter().filter_map(|schema| schema.get("items"));
            let below: Vec<&Schema> = items.flat_map(|schema| self.alternatives(schema)).collect();
            own.iter()
                .chain(&below)
                .any(|schema| schema.pointer("/properties").is_some_and(|map| map.get(key).is_some()))
        };
        let (home, _) = properties?.iter().find(|(_, schema)| home(schema))?;
        Some(format!("`{key}` belongs under `{home}`"))
    }
}

fn is_type(schema: &Schema, name: &str) -> bool {
    match schema.get("type") {
        Some(Schema::String(own)) => own == name,
        Some(Schema::Array(types)) => types.iter().any(|own| own == name),
        Some(_) | None => false,
    }
}

/// The words of an enumeration; none if the schema is not one.
fn words(schema: &Schema) -> Vec<&str> {
    let constant = schema.get("const").and_then(Schema::as_str);
    let listed = schema.get("enum").and_then(Schema::as_array).into_iter().flatten();
    constant.into_iter().chain(listed.filter_map(Schema::as_str)).collect()
}

fn description(schema: &Schema) -> Option<&str> {
    schema.get("description").and_then(Schema::as_str).map(|text| text.trim_end_matches('.'))
}

fn expectation(schema: &Schema) -> Option<String> {
    let words = words(schema);
    if !words.is_empty() {
        return Some(words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "));
    }
    let kinds = [
        ("object", "a map"),
        ("array", "a list"),
        ("string", "a text"),
        ("integer", "a number"),
        ("boolean", "true or false"),
    ];
    kinds.iter().find(|(name, _)| is_type(schema, name)).map(|(_, text)| (*text).to_owned())
}

fn describe(value: &Value) -> String {
    match value {
        Value::Boolean(value) => format!("`{value}`"),
        Value::Float(value) => format!("the number {value}"),
        Value::Integer(value) => format!("the number {value}"),
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Null => "nothing".to_owned(),
        Value::Text(text) => format!("the text `{text}`"),
    }
}

fn one_of(alternatives: &[&Schema], words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    let mut text = format!("write {}", words.join(" or "));
    if alternatives.iter().any(|schema| is_type(schema, "object")) {
        text.push_str(", or a map");
    } else if alternatives.iter().any(|schema| is_type(schema, "array")) {
        text.push_str(", or a list");
    }
    text
}

fn list_keys(known: &[&str]) -> String {
    let keys: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
    format!("the keys here are {}", keys.join(", "))
}

fn did_you_mean(word: &str) -> String {
    format!("did you mean `{word}`?")
}

/// The known word that was probably meant.
fn nearest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let plain = |text: &str| text.to_ascii_lowercase().replace(['-', '_'], "");
    let allowed = (word.chars().count() / 3).clamp(1, 3);
    let distances = known.iter().map(|other| (distance(&plain(word), &plain(other)), *other));
    let (_, nearest) = distances.filter(|(distance, _)| *distance <= allowed).min()?;
    Some(nearest)
}

/// How many characters have to be inserted, removed, replaced or swapped with their neighbour.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, from) in a.chars().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in b.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX - 1);
            let replaced = at(&row, j) + usize::from(from != *to);
            let mut best = replaced.min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = j > 0 && last == Some(*to) && b.get(j - 1) == Some(&from);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
        last = Some(from);
    }
    row.last().copied().unwrap_or_default()
}

fn join(field: &str, key: &str) -> String {
    if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") }
}

/// The key a field path ends in, its index left out.
fn last_key(field: &str) -> &str {
    let key = field.rsplit_once('.').map_or(field, |(_, key)| key);
    key.split_once('[').map_or(key, |(key, _)| key)
}

#[cfg(test)]
mod tests;
