//! What is asked of the name table.

use super::{NameTable, sighting::Sighting};
use crate::{compile::Compiled, live::KnownSighting, name::Name};
use enforcer_common::Address;
use std::collections::BTreeSet;

impl NameTable {
    /// The live names of an address, nearest to the question first.
    pub fn names(&self, address: &Address) -> Vec<Name> {
        let mut names = Vec::new();
        let sightings = self.of(address);
        let depth = sightings.iter().map(|sighting| sighting.chain.len()).max().unwrap_or(0);
        for position in 0..depth {
            for name in sightings.iter().filter_map(|sighting| sighting.chain.get(position)) {
                if !names.contains(name) {
                    names.push(name.clone());
                }
            }
        }
        names
    }

    /// The addresses that have a name, as the question of an answer or as an alias, as they were answered.
    pub fn addresses(&self, name: &Name) -> Vec<Address> {
        let with = self.addresses.values().flatten().filter(|sighting| sighting.chain.contains(name));
        let addresses: BTreeSet<Address> = with.map(|sighting| sighting.answered).collect();
        addresses.into_iter().collect()
    }

    /// The sightings of an address that are live for some rule.
    pub fn sightings(&self, address: &Address, policy: &Compiled, now: u64) -> Vec<KnownSighting> {
        let longest = policy.longest_hold();
        let live = self.of(address).iter().filter(|sighting| sighting.end(longest) > now);
        live.map(|Sighting { chain, trusted, seen, ttl, lasting, said: _, asked: _, answered: _ }| {
            KnownSighting {
                chain: chain.iter().map(ToString::to_string).collect(),
                trusted: *trusted,
                // What has no end is as good as said just now.
                seen: if *lasting { now } else { *seen },
                ttl: *ttl,
            }
        })
        .collect()
    }

    /// Whether a sighting of the address is over and forgotten.
    pub fn has_ended(&self, address: &Address) -> bool {
        self.ended.of(address).is_some()
    }
}
