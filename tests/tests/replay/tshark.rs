//! What tshark extracts from a capture, and what it comes to.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Bindings;

/// The addresses that each answer gives its question, through the records that lead there.
pub fn bindings(path: &Path) -> Bindings {
    let output = Command::new("tshark")
        .args(["-T", "json", "--no-duplicate-keys", "-J", "frame dns", "-r"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let frames: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let mut bindings = Bindings::new();
    for frame in &frames {
        let layers = &frame["_source"]["layers"];
        let number = layers["frame"]["frame.number"].as_str().unwrap().parse().unwrap();
        // Several messages in one segment are a list.
        for message in each(&layers["dns"]) {
            bindings
                .extend(of_message(message).map(|(question, address, ttl)| (number, question, address, ttl)));
        }
    }
    bindings
}

fn of_message(message: &Value) -> impl Iterator<Item = (String, String, u64)> + use<> {
    let is_answer =
        message["dns.flags_tree"]["dns.flags.response"] == "1" && message["dns.count.queries"] == "1";
    let mut questions = Vec::new();
    strings(&message["Queries"], &["dns.qry.name"], &mut questions);
    let question = questions.pop().filter(|_| is_answer).unwrap_or_default();
    let records: Vec<&Value> = match &message["Answers"] {
        // Of the internet's class, which tshark does not ask for.
        Value::Object(records) => {
            records.values().flat_map(each).filter(|record| record["dns.resp.class"] == "0x0001").collect()
        }
        _ => Vec::new(),
    };
    let text = |record: &Value, keys: &[&str]| {
        let mut found = Vec::new();
        strings(record, keys, &mut found);
        found
    };
    let ttl =
        |record: &Value| record["dns.resp.ttl"].as_str().unwrap_or_default().parse::<u64>().unwrap_or(0);
    let owner = |record: &Value| record["dns.resp.name"].as_str().unwrap_or_default().to_lowercase();
    // As often as there are records, each name is reached whatever their order.
    let mut reached = BTreeMap::from([(question.clone(), u64::MAX)]);
    for _ in 0..records.len() {
        for record in &records {
            if let Some(before) = reached.get(&owner(record)).copied() {
                for target in text(record, &["dns.cname", "dns.svcb.targetname"]) {
                    reached.entry(target).or_insert(before.min(ttl(record)));
                }
            }
            for target in text(record, &["dns.dname"]) {
                let suffix = format!(".{}", owner(record));
                let below =
                    reached.iter().filter_map(|(name, before)| Some((name.strip_suffix(&suffix)?, *before)));
                let moved: Vec<_> =
                    below.map(|(front, before)| (format!("{front}.{target}"), before)).collect();
                for (name, before) in moved {
                    reached.entry(name).or_insert(before.min(ttl(record)));
                }
            }
        }
    }
    let mut found = Vec::new();
    for record in records {
        let Some(before) = reached.get(&owner(record)) else { continue };
        let keys = ["dns.a", "dns.aaaa", "dns.svcb.svcparam.ipv4hint.ip", "dns.svcb.svcparam.ipv6hint.ip"];
        for address in text(record, &keys) {
            found.push((question.clone(), address, ttl(record).min(*before)));
        }
    }
    found.into_iter()
}

/// The elements of a list, or the value itself; nothing for what is not there.
fn each(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Null => Vec::new(),
        value => vec![value],
    }
}

/// The texts with one of these keys, however deep, in lower case.
fn strings(value: &Value, keys: &[&str], found: &mut Vec<String>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| strings(value, keys, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if keys.contains(&key.as_str()) {
                    found.extend(each(value).iter().filter_map(|text| Some(text.as_str()?.to_lowercase())));
                } else {
                    strings(value, keys, found);
                }
            }
        }
        _ => {}
    }
}
