//! From what is known of an address to the binding that the kernel shall have.

use super::{NameTable, sighting::Sighting};
use crate::compile::{Compiled, Contribution};
use enforcer_common::{Address, Binding, Vector};
use std::collections::BTreeMap;

impl NameTable {
    /// The bindings that the kernel shall have, by the policy that judged last.
    pub fn truth(&self, policy: &Compiled, now: u64) -> BTreeMap<Address, Binding> {
        let addresses = self.addresses.keys().chain(self.nameless.keys());
        addresses.filter_map(|address| Some((*address, self.binding(address, policy, now)?))).collect()
    }

    /// The binding that the kernel shall have of an address that is meant.
    pub fn binding(&self, address: &Address, policy: &Compiled, now: u64) -> Option<Binding> {
        let mut binding = self.sighted(address, policy, now);
        if let Some(nameless) = self.nameless.get(address).filter(|kept| kept.until > now) {
            join(&mut binding, &nameless.live(policy, now));
        }
        says(&binding, policy).then_some(binding)
    }

    /// What the address's binding would be if nothing had ended; `None` if nothing has.
    pub fn if_nothing_had_ended(&self, address: &Address, policy: &Compiled, now: u64) -> Option<Binding> {
        let holds = || policy.holds.iter().map(|hold| hold.length).chain([policy.hold_allow]);
        let over = |sighting: &Sighting| holds().any(|hold| sighting.end(hold) <= now);
        let ended = self.ended.of(address);
        if ended.is_none() && !self.of(address).iter().any(over) {
            return None;
        }
        let ended = ended.map(|(chain, trusted)| Sighting {
            chain: chain.into(),
            trusted,
            seen: now,
            ttl: 0,
            lasting: true,
            said: policy.judge(chain, trusted),
            asked: Vec::new(),
            answered: *address,
        });
        let mut binding = combined(address, self.of(address).iter().chain(&ended), policy, |_, _| true);
        if binding.expiry != 0 {
            binding.expiry = u64::MAX;
        }
        if let Some(nameless) = self.nameless.get(address) {
            join(&mut binding, &nameless.live(policy, now));
        }
        Some(binding)
    }

    /// What the live sightings of an address say.
    pub(super) fn sighted(&self, address: &Address, policy: &Compiled, now: u64) -> Binding {
        combined(address, self.of(address), policy, |sighting, hold| sighting.end(hold) > now)
    }
}

/// What sightings of an address say, each for the rules that hold it; `live` tells whether one is, for rules with a hold.
pub(super) fn combined<'a>(
    address: &Address,
    sightings: impl IntoIterator<Item = &'a Sighting>,
    policy: &Compiled,
    live: impl Fn(&Sighting, u64) -> bool,
) -> Binding {
    let mut binding = Binding::IDENTITY;
    let allowed = policy.allowed(address);
    for sighting in sightings {
        let (mut matches, mut narrows) = (Vector::EMPTY, Vector::EMPTY);
        for hold in policy.holds.iter().filter(|hold| live(sighting, hold.length)) {
            matches.union(&hold.matches);
            narrows.union(&hold.narrows);
        }
        // An untrusted answer is nothing that an allow rule could lean on, nor the lookup that an address needs.
        if sighting.trusted && live(sighting, policy.hold_allow) {
            binding.expiry = binding.expiry.max(sighting.end(policy.hold_allow));
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

/// Whether a binding says anything to a policy.
pub(super) fn says(binding: &Binding, policy: &Compiled) -> bool {
    !binding.any.is_empty()
        || !binding.except.is_empty()
        || (policy.binds_everything() && *binding != Binding::IDENTITY)
}

pub(super) fn join(binding: &mut Binding, more: &Binding) {
    binding.any.union(&more.any);
    binding.all.intersect(&more.all);
    binding.except.union(&more.except);
    binding.expiry = binding.expiry.max(more.expiry);
}
