//! One message of the monitor. Pure.

use super::Heard;
use crate::name::Name;
use enforcer_common::Address;
use serde::Deserialize;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const DNAME: u16 = 39;

/// Why a message is none.
#[derive(Debug, thiserror::Error)]
pub(super) enum MessageError {
    /// Not what it should be.
    #[error("a message is not understood: {0}")]
    Json(#[from] serde_json::Error),
    /// The subscription was refused.
    #[error("it refused: {0}")]
    Refused(String),
}

#[derive(Deserialize)]
struct Message {
    error: Option<String>,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Parameters {
    state: String,
    question: Vec<Key>,
    /// The questions before an alias was followed, the first one first.
    collected_questions: Vec<Key>,
    answer: Vec<Answer>,
}

#[derive(Deserialize)]
struct Key {
    #[serde(rename = "type", default)]
    kind: u16,
    name: String,
}

#[derive(Deserialize)]
struct Answer {
    rr: Option<Record>,
}

#[derive(Deserialize)]
struct Record {
    key: Key,
    /// A, AAAA.
    address: Option<Vec<u8>>,
    /// CNAME, DNAME.
    name: Option<String>,
}

/// What a message tells; `None` for a lookup that has no address. The JSON form of a record has no time to live.
pub(super) fn read(bytes: &[u8]) -> Result<Option<Heard>, MessageError> {
    let Message { error, parameters } = serde_json::from_slice(bytes)?;
    if let Some(error) = error {
        return Err(MessageError::Refused(error));
    }
    let Parameters { state, question, collected_questions, answer } = parameters;
    if state != "success" {
        return Ok(None);
    }
    let mut chain: Vec<Name> = Vec::new();
    let add = |chain: &mut Vec<Name>, name: &str| {
        let name = Name::from_policy(name);
        let new = !chain.contains(&name);
        if new {
            chain.push(name);
        }
        new
    };
    for Key { name, .. } in collected_questions.iter().chain(&question) {
        add(&mut chain, name);
    }
    let records: Vec<&Record> = answer.iter().filter_map(|answer| answer.rr.as_ref()).collect();
    // Aliases come in any order.
    let mut grown = true;
    while grown {
        grown = false;
        for Record { key, name, .. } in &records {
            let owned = chain.contains(&Name::from_policy(&key.name));
            if let (CNAME | DNAME, true, Some(name)) = (key.kind, owned, name) {
                grown |= add(&mut chain, name);
            }
        }
    }
    let mut addresses = Vec::new();
    for Record { key, address, .. } in &records {
        let address = match (key.kind, address.as_deref()) {
            (A, Some(octets)) => octets.try_into().ok().map(Address::from_v4),
            (AAAA, Some(octets)) => octets.try_into().ok().map(Address::from_v6),
            _ => None,
        };
        addresses.extend(address.filter(|_| chain.contains(&Name::from_policy(&key.name))));
    }
    Ok((!chain.is_empty() && !addresses.is_empty()).then_some(Heard { chain, addresses }))
}
