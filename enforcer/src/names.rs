//! The name table: which answers led to which address, and until when. Pure; time comes in as nanoseconds of
//! `CLOCK_BOOTTIME`.

use crate::{compile::Compiled, dns::Answer, name::Name};
use ended::Ended;
use enforcer_common::{Address, Binding, Vector, dns::lifetime};
use nameless::Nameless;
use room::Room;
use serde::Serialize;
use sighting::Sighting;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

mod bindings;
mod ended;
mod known;
mod list;
mod nameless;
mod room;
mod sighting;

pub use room::{ADDRESSES_OF_A_NAME_MAX, DENIED_MAX, NAMELESS_MAX, OTHERS_MAX, Refused, SIGHTINGS_MAX};

/// All addresses that answers, or the hosts file, have named, by the address that is meant ([`Compiled::meant`]).
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    addresses: BTreeMap<Address, Vec<Sighting>>,
    /// Bindings whose names are not known: no record explains them (it was lost), or there was no room for the name.
    nameless: BTreeMap<Address, Nameless>,
    room: Room,
    ended: Ended,
}

/// How much there is of what is bounded.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// Addresses with a name.
    pub addresses: usize,
    /// .. of these, such as some deny rule matches.
    pub denied: usize,
    /// Bindings without a name.
    pub nameless: usize,
    /// What found no room.
    pub refused: Refused,
}

/// What recording an answer showed.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Recorded {
    /// The kernel's binder cannot have bound everything: a message that it did not read whole.
    pub late: bool,
    /// The answer says something to some rule.
    pub matters: bool,
}

impl NameTable {
    /// Adds an answer.
    pub fn record(&mut self, answer: &Answer, policy: &Compiled) -> Recorded {
        let chain: Arc<[Name]> = answer.chain.clone().into();
        let said = policy.judge(&chain, answer.trusted);
        for (address, ttl) in &answer.addresses {
            let sighting = Sighting {
                chain: Arc::clone(&chain),
                trusted: answer.trusted,
                seen: answer.time,
                ttl: lifetime(*ttl),
                lasting: false,
                said,
                asked: Vec::new(),
                answered: *address,
            };
            self.add(sighting, answer.cgroup, policy);
        }
        let matters = !said.any.is_empty() || !said.except.is_empty() || policy.binds_everything();
        let unread = (answer.unparsed_by_kernel || answer.beyond_binder) && matters;
        Recorded { late: unread && !answer.addresses.is_empty(), matters }
    }

    /// Takes in what the hosts file says. What it says no longer ends as if it had been answered now.
    pub fn set_hosts(&mut self, hosts: &BTreeMap<Address, BTreeSet<Name>>, policy: &Compiled, now: u64) {
        let gone = |sighting: &&mut Sighting| {
            let (name, said) = (sighting.question(), hosts.get(&sighting.answered));
            sighting.lasting && !name.is_some_and(|name| said.is_some_and(|said| said.contains(name)))
        };
        for sighting in self.addresses.values_mut().flatten().filter(gone) {
            (sighting.lasting, sighting.seen) = (false, now.max(sighting.seen));
        }
        for (address, names) in hosts {
            for name in names {
                let chain: Arc<[Name]> = [name.clone()].into();
                let said = policy.judge(&chain, true);
                let sighting = Sighting {
                    chain,
                    trusted: true,
                    seen: now,
                    ttl: 0,
                    lasting: true,
                    said,
                    asked: Vec::new(),
                    answered: *address,
                };
                self.add(sighting, 0, policy);
            }
        }
    }

    /// Judges every sighting anew, by another policy. Nameless bindings mean something only to the policy they were made
    /// by; `translate` says what the same rules are called in the new one.
    pub fn rejudge(&mut self, policy: &Compiled, translate: impl Fn(&Vector) -> Vector) {
        self.move_to_meant(policy);
        for sighting in self.addresses.values_mut().flatten() {
            sighting.said = policy.judge(&sighting.chain, sighting.trusted);
        }
        self.room.count(&self.addresses, policy);
        for Nameless { binding, .. } in self.nameless.values_mut() {
            // Doubt only makes stricter: a name that is not known spares no deny, and lets nothing through.
            let any = translate(&binding.any);
            let mut all = any;
            all.union(&policy.deny);
            *binding = Binding { any, all, except: translate(&binding.except), expiry: binding.expiry };
        }
    }

    /// Forgets what is over. Returns whether anything was.
    pub fn expire(&mut self, policy: &Compiled, now: u64) -> bool {
        let longest = policy.longest_hold();
        let Self { addresses, nameless, room, ended } = self;
        let before = nameless.len();
        let mut shrunk = false;
        addresses.retain(|address, sightings| {
            for over in sightings.extract_if(.., |sighting| sighting.end(longest) <= now) {
                room.give_back(&over);
                ended.remember(address, &over);
                shrunk = true;
            }
            !sightings.is_empty()
        });
        nameless.retain(|_, nameless| nameless.until > now);
        if shrunk {
            room.count(addresses, policy);
        }
        shrunk || nameless.len() != before
    }

    /// When the bindings change next by the passing of time alone.
    pub fn next_change(&self, policy: &Compiled, now: u64) -> Option<u64> {
        let sightings = self.addresses.values().flatten();
        let ends = sightings.flat_map(|sighting| {
            let holds = policy.holds.iter().map(|hold| hold.length).chain([0]);
            holds.map(|hold| sighting.end(hold))
        });
        ends.chain(self.nameless.values().flat_map(|nameless| [nameless.binding.expiry, nameless.until]))
            .filter(|end| *end > now)
            .min()
    }

    /// How much there is, and what found no room.
    pub fn usage(&self) -> Usage {
        Usage {
            addresses: self.addresses.len(),
            denied: self.room.denied(),
            nameless: self.nameless.len(),
            refused: self.room.refused,
        }
    }

    /// The sightings of an address.
    fn of(&self, address: &Address) -> &[Sighting] {
        self.addresses.get(address).map_or(&[], Vec::as_slice)
    }

    /// Has every sighting where the policy means it to be: policies translate differently.
    fn move_to_meant(&mut self, policy: &Compiled) {
        let mut moved = Vec::new();
        self.addresses.retain(|address, sightings| {
            moved.extend(sightings.extract_if(.., |sighting| policy.meant(&sighting.answered) != *address));
            !sightings.is_empty()
        });
        for sighting in moved {
            self.addresses.entry(policy.meant(&sighting.answered)).or_default().push(sighting);
        }
    }

    /// Adds a sighting, or renews it; without room for it, what it says is kept without the name.
    fn add(&mut self, mut sighting: Sighting, cgroup: u64, policy: &Compiled) {
        let address = &policy.meant(&sighting.answered);
        let known = self.addresses.get_mut(address);
        let same = |known: &&mut Sighting| {
            known.chain == sighting.chain
                && known.trusted == sighting.trusted
                && known.answered == sighting.answered
        };
        if let Some(known) = known.and_then(|known| known.iter_mut().find(same)) {
            known.renew(sighting.seen, sighting.ttl);
            known.lasting |= sighting.lasting;
            known.asked_by(cgroup);
            return;
        }
        let there = self.addresses.get(address).map(Vec::as_slice);
        if self.room.take(self.addresses.len(), there, &sighting, policy) {
            sighting.asked_by(cgroup);
            self.addresses.entry(*address).or_default().push(sighting);
        } else {
            self.keep_nameless(address, &sighting, policy);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
