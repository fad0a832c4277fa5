//! The name table: which answers led to which address, and until when. Pure; time comes in as nanoseconds of
//! `CLOCK_BOOTTIME`.

use crate::{
    compile::{Compiled, Contribution},
    dns::Answer,
    live::KnownSighting,
    name::Name,
};
use enforcer_common::{Address, Binding, Vector, dns::lifetime};
use std::{collections::BTreeMap, sync::Arc};

/// Sightings kept of one address; further ones are counted, and their kernel bindings carried over without a name.
pub const SIGHTINGS_MAX: usize = 256;
/// Addresses kept.
pub const ADDRESSES_MAX: usize = 500_000;

/// One answer's question and what it led to, as it concerns one address.
#[derive(Clone, Debug)]
struct Sighting {
    /// The question, then its CNAME targets.
    chain: Arc<[Name]>,
    trusted: bool,
    /// When it was answered last.
    seen: u64,
    /// Nanoseconds that the answer is good for.
    ttl: u64,
    /// What the policy in force makes of it.
    said: Contribution,
}

/// All addresses that answers have named.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    addresses: BTreeMap<Address, Vec<Sighting>>,
    /// Bindings that no record explains (it was lost).
    nameless: BTreeMap<Address, Nameless>,
    overflow: u64,
}

/// A binding whose names are not known.
#[derive(Clone, Copy, Debug)]
struct Nameless {
    /// With the expiry that the kernel gave it, none for untrusted answers alone: how long it allows.
    binding: Binding,
    /// How long it denies.
    until: u64,
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
            let ttl = lifetime(*ttl);
            let room = self.addresses.len() < ADDRESSES_MAX || self.addresses.contains_key(address);
            let sightings = if room { self.addresses.entry(*address).or_default() } else { &mut Vec::new() };
            let full = !room || sightings.len() >= SIGHTINGS_MAX;
            match sightings.iter_mut().find(|known| known.chain == chain && known.trusted == answer.trusted) {
                Some(known) => {
                    // Answers of several processors can come in any order.
                    let end = (known.seen + known.ttl).max(answer.time + ttl);
                    known.seen = known.seen.max(answer.time);
                    known.ttl = end - known.seen;
                }
                None if !full => {
                    let chain = Arc::clone(&chain);
                    sightings.push(Sighting { chain, trusted: answer.trusted, seen: answer.time, ttl, said });
                }
                None => self.overflow += 1,
            }
        }
        let matters = !said.any.is_empty() || !said.except.is_empty() || policy.binds_everything();
        let unread = (answer.unparsed_by_kernel || answer.beyond_binder) && matters;
        Recorded { late: unread && !answer.addresses.is_empty(), matters }
    }

    /// Judges every sighting anew, by another policy. Nameless bindings mean something only to the policy they were made
    /// by; `translate` says what the same rules are called in the new one.
    pub fn rejudge(&mut self, policy: &Compiled, translate: impl Fn(&Vector) -> Vector) {
        for sighting in self.addresses.values_mut().flatten() {
            sighting.said = policy.judge(&sighting.chain, sighting.trusted);
        }
        for Nameless { binding, .. } in self.nameless.values_mut() {
            // Doubt only makes stricter: a name that is not known spares no deny, and lets nothing through.
            let any = translate(&binding.any);
            let mut all = any;
            all.union(&policy.deny);
            *binding = Binding { any, all, except: translate(&binding.except), expiry: binding.expiry };
        }
    }

    /// Keeps bindings of the kernel that no sighting explains.
    pub fn adopt(&mut self, fresh: &[(Address, Binding)], policy: &Compiled, now: u64) -> usize {
        let mut adopted = 0;
        for (address, binding) in fresh {
            let mut explained = self.sighted(address, policy, now).any;
            // What a sighting has said is no riddle once it is over.
            for sighting in self.addresses.get(address).map_or(&[][..], Vec::as_slice) {
                explained.union(&sighting.said.any);
            }
            if binding.any.without(&explained).is_empty() {
                continue;
            }
            adopted += 1;
            let kept =
                self.nameless.entry(*address).or_insert(Nameless { binding: Binding::IDENTITY, until: 0 });
            kept.binding.any.union(&binding.any);
            kept.binding.all.intersect(&binding.all);
            kept.binding.except.union(&binding.except);
            kept.binding.expiry = kept.binding.expiry.max(binding.expiry);
            // Untrusted answers leave no expiry; what they deny is held as long as any deny.
            let held = now.saturating_add(policy.holds.last().map_or(0, |hold| hold.length));
            kept.until = kept.until.max(if binding.expiry == 0 { held } else { binding.expiry });
        }
        adopted
    }

    /// The bindings that the kernel shall have, by the policy that judged last.
    pub fn truth(&self, policy: &Compiled, now: u64) -> BTreeMap<Address, Binding> {
        let addresses = self.addresses.keys().chain(self.nameless.keys());
        addresses.filter_map(|address| Some((*address, self.binding(address, policy, now)?))).collect()
    }

    /// Forgets what is over. Returns whether anything was.
    pub fn expire(&mut self, policy: &Compiled, now: u64) -> bool {
        let longest = policy.holds.last().map_or(0, |hold| hold.length);
        let before = self.addresses.len() + self.nameless.len();
        let mut shrunk = false;
        self.addresses.retain(|_, sightings| {
            let count = sightings.len();
            sightings.retain(|sighting| end(sighting, longest) > now);
            shrunk |= sightings.len() != count;
            !sightings.is_empty()
        });
        self.nameless.retain(|_, nameless| nameless.until > now);
        shrunk || self.addresses.len() + self.nameless.len() != before
    }

    /// When the bindings change next by the passing of time alone.
    pub fn next_change(&self, policy: &Compiled, now: u64) -> Option<u64> {
        let sightings = self.addresses.values().flatten();
        let ends = sightings.flat_map(|sighting| {
            let holds = policy.holds.iter().map(|hold| hold.length).chain([0]);
            holds.map(|hold| end(sighting, hold))
        });
        ends.chain(self.nameless.values().flat_map(|nameless| [nameless.binding.expiry, nameless.until]))
            .filter(|end| *end > now)
            .min()
    }

    /// The live names of an address, nearest to the question first.
    pub fn names(&self, address: &Address) -> Vec<Name> {
        let mut names = Vec::new();
        let sightings = self.addresses.get(address).map_or(&[][..], Vec::as_slice);
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

    /// The addresses that have a name, as the question of an answer or as an alias.
    pub fn addresses(&self, name: &Name) -> Vec<Address> {
        let has = |sightings: &[Sighting]| sightings.iter().any(|sighting| sighting.chain.contains(name));
        let with = self.addresses.iter().filter(|(_, sightings)| has(sightings));
        with.map(|(address, _)| *address).collect()
    }

    /// The sightings of an address that are live for some rule.
    pub fn sightings(&self, address: &Address, policy: &Compiled, now: u64) -> Vec<KnownSighting> {
        let longest = policy.holds.last().map_or(0, |hold| hold.length);
        let sightings = self.addresses.get(address).map_or(&[][..], Vec::as_slice);
        let live = sightings.iter().filter(|sighting| end(sighting, longest) > now);
        live.map(|Sighting { chain, trusted, seen, ttl, said: _ }| KnownSighting {
            chain: chain.iter().map(ToString::to_string).collect(),
            trusted: *trusted,
            seen: *seen,
            ttl: *ttl,
        })
        .collect()
    }

    /// Addresses known, and sightings for which there was no room.
    pub fn size(&self) -> (usize, u64) {
        (self.addresses.len(), self.overflow)
    }

    fn binding(&self, address: &Address, policy: &Compiled, now: u64) -> Option<Binding> {
        let mut binding = self.sighted(address, policy, now);
        if let Some(Nameless { binding: nameless, .. }) =
            self.nameless.get(address).filter(|kept| kept.until > now)
        {
            binding.any.union(&nameless.any);
            binding.all.intersect(&nameless.all);
            binding.except.union(&nameless.except);
            binding.expiry = binding.expiry.max(nameless.expiry);
        }
        let says = !binding.any.is_empty() || !binding.except.is_empty();
        (says || (policy.binds_everything() && binding != Binding::IDENTITY)).then_some(binding)
    }

    /// What the live sightings of an address say.
    fn sighted(&self, address: &Address, policy: &Compiled, now: u64) -> Binding {
        let mut binding = Binding::IDENTITY;
        let allowed = if address.is_special_use() { policy.may_resolve(address) } else { Vector::FULL };
        for sighting in self.addresses.get(address).map_or(&[][..], Vec::as_slice) {
            let (mut matches, mut narrows) = (Vector::EMPTY, Vector::EMPTY);
            for hold in policy.holds.iter().filter(|hold| end(sighting, hold.length) > now) {
                matches.union(&hold.matches);
                narrows.union(&hold.narrows);
            }
            // An untrusted answer is nothing that an allow rule could lean on, nor the lookup that an address needs.
            let end_of_trust = end(sighting, policy.hold_allow);
            if sighting.trusted && end_of_trust > now {
                binding.expiry = binding.expiry.max(end_of_trust);
            }
            let Contribution { any, all, except } = &sighting.said;
            let mut any = *any;
            any.intersect(&matches);
            any.intersect(&allowed);
            binding.any.union(&any);
            let mut except = *except;
            except.intersect(&narrows);
            binding.except.union(&except);
            let mut all = *all;
            all.union(&Vector::FULL.without(&narrows));
            binding.all.intersect(&all);
        }
        binding
    }
}

/// When a sighting ends for rules with this hold.
fn end(sighting: &Sighting, hold: u64) -> u64 {
    sighting.seen.saturating_add(sighting.ttl.max(hold))
}

#[cfg(test)]
pub(crate) mod tests;
