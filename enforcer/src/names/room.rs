//! How much the name table keeps. Nothing that is there is ever pushed out: what finds no room keeps its bits without a
//! name. Denied addresses have room of their own, so that no flood of others takes theirs.

use super::sighting::Sighting;
use crate::{compile::Compiled, name::Name};
use enforcer_common::Address;
use serde::Serialize;
use std::collections::BTreeMap;

/// Addresses kept that some deny rule matches.
pub const DENIED_MAX: usize = 250_000;
/// Addresses kept that none matches.
pub const OTHERS_MAX: usize = 250_000;
/// Sightings kept of one address.
pub const SIGHTINGS_MAX: usize = 256;
/// .. of these, such as no deny rule matches.
const OTHER_SIGHTINGS_MAX: usize = SIGHTINGS_MAX * 3 / 4;
/// Addresses kept of one name.
pub const ADDRESSES_OF_A_NAME_MAX: u32 = 1024;
/// Bindings kept without a name; at this bound the epoch is not turned any more, and the kernel refuses what it cannot
/// bind.
pub const NAMELESS_MAX: usize = 250_000;

/// What found no room with its name, since the start.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// Because there are [`DENIED_MAX`] or [`OTHERS_MAX`] addresses.
    pub addresses: u64,
    /// Because the name has [`ADDRESSES_OF_A_NAME_MAX`].
    pub of_a_name: u64,
    /// Because the address has [`SIGHTINGS_MAX`].
    pub of_an_address: u64,
    /// Not even without a name: there are [`NAMELESS_MAX`] such.
    pub nameless: u64,
}

impl Refused {
    /// How many there were.
    pub fn total(&self) -> u64 {
        let Self { addresses, of_a_name, of_an_address, nameless } = self;
        addresses + of_a_name + of_an_address + nameless
    }
}

/// What there is of each thing that is bounded.
#[derive(Clone, Debug, Default)]
pub(super) struct Room {
    /// Addresses that some deny rule matches.
    denied: usize,
    /// Addresses of each name that was asked for.
    of_a_name: BTreeMap<Name, u32>,
    pub refused: Refused,
}

impl Room {
    /// Takes room for another sighting of an address that has `there`, one of `addresses`. False if there is none; what
    /// the hosts file says was bounded when it was read.
    pub fn take(
        &mut self,
        addresses: usize,
        there: Option<&[Sighting]>,
        sighting: &Sighting,
        policy: &Compiled,
    ) -> bool {
        let Some(question) = sighting.question() else { return false };
        let denying = sighting.denies(policy);
        let newly_denied =
            denying && !there.is_some_and(|there| there.iter().any(|known| known.denies(policy)));
        let others = addresses.saturating_sub(self.denied);
        let address_fits = match there {
            _ if newly_denied => self.denied < DENIED_MAX,
            None => others < OTHERS_MAX,
            Some(_) => true,
        };
        let sightings = if denying { SIGHTINGS_MAX } else { OTHER_SIGHTINGS_MAX };
        let of_the_name = self.of_a_name.get(question).copied().unwrap_or_default();
        let refused = if sighting.lasting {
            None
        } else if !address_fits {
            Some(&mut self.refused.addresses)
        } else if there.is_some_and(|there| there.len() >= sightings) {
            Some(&mut self.refused.of_an_address)
        } else if of_the_name >= ADDRESSES_OF_A_NAME_MAX {
            Some(&mut self.refused.of_a_name)
        } else {
            None
        };
        if let Some(count) = refused {
            *count += 1;
            return false;
        }
        self.of_a_name.insert(question.clone(), of_the_name + 1);
        self.denied += usize::from(newly_denied);
        true
    }

    /// Gives the room of a sighting back, apart from that of its address: see [`Room::count`].
    pub fn give_back(&mut self, sighting: &Sighting) {
        let Some(question) = sighting.question() else { return };
        if let Some(count) = self.of_a_name.get_mut(question) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.of_a_name.remove(question);
            }
        }
    }

    /// Counts the denied addresses anew.
    pub fn count(&mut self, addresses: &BTreeMap<Address, Vec<Sighting>>, policy: &Compiled) {
        let denied = |sightings: &&Vec<Sighting>| sightings.iter().any(|sighting| sighting.denies(policy));
        self.denied = addresses.values().filter(denied).count();
    }

    /// Addresses that some deny rule matches.
    pub fn denied(&self) -> usize {
        self.denied
    }
}
