//! The kernel's binder and the daemon's reader, which rests on hickory-proto, agree about every answer.

use std::collections::{BTreeMap, BTreeSet};

use enforcer::dns::{self, Answer};
use enforcer::name::Name;
use enforcer::replay::{Binder, Reading, image_of_everything};
use enforcer_common::Address;
use enforcer_common::dns::{ADDRESSES_MAX, ALIASES_MAX, AnswerHeader, CHAIN_MAX, MESSAGE_MAX, lifetime};

const NOW: u64 = 1_000_000_000_000;

/// Reads the bytes as an answer, by both.
///
/// The binder binds nothing that the daemon does not, under the same names and as long. What both can read they read alike,
/// unless one of the binder's limits is passed. Neither case nor what stands behind the message changes anything; a cut
/// answer binds part of what the whole one does.
pub fn check(message: &[u8]) {
    let reading = read(message);
    assert!(reading.bindings.len() <= reading.outcome.bound as usize && reading.outcome.unbound == 0);

    let header =
        AnswerHeader { time: NOW, length: message.len() as u32, trusted: 1, ..AnswerHeader::default() };
    match dns::decode_message(&header, message) {
        Ok(answer) => compare(message, &reading, &answer),
        Err(error) => {
            let nothing = !reading.outcome.parsed && reading.bindings.is_empty();
            assert!(nothing || message.len() > usize::from(u16::MAX), "{error}: {reading:?}");
        }
    }

    let shouted = read(&shouted(message));
    assert_eq!((shouted.outcome, &shouted.bindings), (reading.outcome, &reading.bindings), "in upper case");
    let longer = read_of(&[message, &[0xff; 64]].concat(), message.len());
    assert_eq!(
        (longer.outcome, &longer.bindings),
        (reading.outcome, &reading.bindings),
        "with bytes behind it"
    );
    // A place that the message itself chooses.
    let place =
        message.iter().fold(message.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
    let cut = read(&message[..place % (message.len() + 1)]);
    let addresses = reading.bindings.iter().map(|(address, binding)| (*address, binding.expiry)).collect();
    // Of a chain that is too long, which names find room depends on the others.
    let fits = reading.chain.len() <= CHAIN_MAX;
    assert!(!fits || is_part(&cut, &reading.chain, &addresses), "cut: {cut:?} of {reading:?}");
}

fn compare(message: &[u8], reading: &Reading, answer: &Answer) {
    let outcome = &reading.outcome;
    let expected: BTreeMap<Address, u64> =
        answer.addresses.iter().map(|(address, ttl)| (*address, NOW + lifetime(*ttl))).collect();
    // Of a service record hickory-proto reads more, and so finds more fault with it.
    let has_service = message.windows(2).any(|kind| matches!(kind, [0, 64 | 65]));
    if answer.complete || !has_service {
        assert!(is_part(reading, &answer.chain, &expected), "{reading:?} is no part of {answer:?}");
    }
    if !answer.complete {
        return;
    }
    if !outcome.parsed {
        let records = usize::from(u16::from_be_bytes([message[6], message[7]]));
        let passed = message.len() > MESSAGE_MAX
            || records > ALIASES_MAX
            || answer.chain.len() > CHAIN_MAX
            || message.len() / 4 > ADDRESSES_MAX;
        return assert!(passed, "the binder reads {reading:?} of {answer:?}");
    }
    if answer.beyond_binder {
        return;
    }
    let bound: BTreeMap<Address, u64> =
        reading.bindings.iter().map(|(address, binding)| (*address, binding.expiry)).collect();
    assert_eq!(bound, expected);
    assert_eq!(names(&reading.chain), names(&answer.chain));
    assert_eq!(outcome.unrelated, answer.unrelated);
}

/// Whether a reading has no other names and addresses than these, none longer.
fn is_part(reading: &Reading, chain: &[Name], addresses: &BTreeMap<Address, u64>) -> bool {
    let longest = |address| addresses.get(address).copied();
    names(&reading.chain).is_subset(&names(chain))
        && reading
            .bindings
            .iter()
            .all(|(address, binding)| longest(address).is_some_and(|expiry| binding.expiry <= expiry))
}

fn names(chain: &[Name]) -> BTreeSet<&Name> {
    chain.iter().collect()
}

fn read(message: &[u8]) -> Reading {
    read_of(message, message.len())
}

/// Reads the first bytes, while the others stand behind them.
fn read_of(bytes: &[u8], length: usize) -> Reading {
    let image = image_of_everything().expect("an image without rules is small");
    let mut binder = Binder::of_everything(&image);
    // What an earlier answer left behind.
    binder.read(bytes, true, NOW);
    binder.read(&bytes[..length], true, NOW)
}

/// The message with the letters of its question in upper case, if it begins with labels.
fn shouted(message: &[u8]) -> Vec<u8> {
    let mut shouted = message.to_vec();
    let mut at = 12;
    while let Some(length @ 1..=63) = shouted.get(at).copied() {
        let label = at + 1..(at + 1 + usize::from(length)).min(shouted.len());
        shouted[label.clone()].make_ascii_uppercase();
        at = label.end;
    }
    shouted
}
