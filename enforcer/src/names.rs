//! The name table: which answers led to which address, and until when. Pure; time comes in as nanoseconds of
//! `CLOCK_BOOTTIME`.

use crate::{
    compile::{Compiled, Contribution},
    dns::Answer,
    live::KnownSighting,
    name::Name,
};
use ended::Ended;
use enforcer_common::{Address, Binding, Vector, dns::lifetime};
use room::Room;
use serde::Serialize;
use sighting::Sighting;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

mod ended;
mod list;
mod room;
mod sighting;

pub use room::{ADDRESSES_OF_A_NAME_MAX, DENIED_MAX, NAMELESS_MAX, OTHERS_MAX, Refused, SIGHTINGS_MAX};

/// All addresses that answers, or the hosts file, have named.
#[derive(Clone, Debug, Default)]
pub struct NameTable {
    addresses: BTreeMap<Address, Vec<Sighting>>,
    /// Bindings whose names are not known: no record explains them (it was lost), or there was no room for the name.
    nameless: BTreeMap<Address, Nameless>,
    room: Room,
    ended: Ended,
}

/// A binding whose names are not known.
#[derive(Clone, Copy, Debug)]
struct Nameless {
    /// With the expiry that the kernel gave it, none for untrusted answers alone: how long it allows.
    binding: Binding,
    /// How long it denies.
    until: u64,
}

impl Nameless {
    const NOTHING: Self = Self { binding: Binding::IDENTITY, until: 0 };

    fn join(&mut self, binding: &Binding, until: u64) {
        join(&mut self.binding, binding);
        self.until = self.until.max(until);
    }

    /// What of it counts: once the allowance is over, what denies.
    fn live(&self, policy: &Compiled, now: u64) -> Binding {
        let mut binding = self.binding;
        if binding.expiry <= now {
            binding.any.intersect(&policy.deny);
            binding.all.union(&policy.deny);
            binding.except = binding.except.without(&policy.deny);
        }
        binding
    }
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
            };
            self.add(address, sighting, answer.cgroup, policy);
        }
        let matters = !said.any.is_empty() || !said.except.is_empty() || policy.binds_everything();
        let unread = (answer.unparsed_by_kernel || answer.beyond_binder) && matters;
        Recorded { late: unread && !answer.addresses.is_empty(), matters }
    }

    /// Takes in what the hosts file says. What it says no longer ends as if it had been answered now.
    pub fn set_hosts(&mut self, hosts: &BTreeMap<Address, BTreeSet<Name>>, policy: &Compiled, now: u64) {
        for (address, sightings) in &mut self.addresses {
            let said = hosts.get(address);
            let gone = |sighting: &&mut Sighting| {
                let name = sighting.question();
                sighting.lasting && !name.is_some_and(|name| said.is_some_and(|said| said.contains(name)))
            };
            for sighting in sightings.iter_mut().filter(gone) {
                (sighting.lasting, sighting.seen) = (false, now.max(sighting.seen));
            }
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
                };
                self.add(address, sighting, 0, policy);
            }
        }
    }

    /// Judges every sighting anew, by another policy. Nameless bindings mean something only to the policy they were made
    /// by; `translate` says what the same rules are called in the new one.
    pub fn rejudge(&mut self, policy: &Compiled, translate: impl Fn(&Vector) -> Vector) {
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

    /// Keeps bindings of the kernel that no sighting explains.
    pub fn adopt(&mut self, fresh: &[(Address, Binding)], policy: &Compiled, now: u64) -> usize {
        let mut adopted = 0;
        for (address, binding) in fresh {
            let Some(lost) = self.unexplained(address, binding, policy, now) else { continue };
            adopted += 1;
            // What denies is held as long as any deny; an untrusted answer leaves no expiry, and can only deny.
            let held = now.saturating_add(policy.longest_hold());
            let denies = lost.any.without(&policy.deny) != lost.any;
            let until = if denies || lost.expiry == 0 { held.max(lost.expiry) } else { lost.expiry };
            self.nameless.entry(*address).or_insert(Nameless::NOTHING).join(&lost, until);
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

    /// The addresses that have a name, as the question of an answer or as an alias.
    pub fn addresses(&self, name: &Name) -> Vec<Address> {
        let has = |sightings: &[Sighting]| sightings.iter().any(|sighting| sighting.chain.contains(name));
        let with = self.addresses.iter().filter(|(_, sightings)| has(sightings));
        with.map(|(address, _)| *address).collect()
    }

    /// The sightings of an address that are live for some rule.
    pub fn sightings(&self, address: &Address, policy: &Compiled, now: u64) -> Vec<KnownSighting> {
        let longest = policy.longest_hold();
        let live = self.of(address).iter().filter(|sighting| sighting.end(longest) > now);
        live.map(|Sighting { chain, trusted, seen, ttl, lasting, said: _, asked: _ }| KnownSighting {
            chain: chain.iter().map(ToString::to_string).collect(),
            trusted: *trusted,
            // What has no end is as good as said just now.
            seen: if *lasting { now } else { *seen },
            ttl: *ttl,
        })
        .collect()
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

    /// Whether nothing more can be taken over from the kernel.
    pub fn is_full(&self) -> bool {
        self.nameless.len() >= NAMELESS_MAX
    }

    /// Whether the address has a binding whose names are not known.
    pub fn is_nameless(&self, address: &Address) -> bool {
        self.nameless.contains_key(address)
    }

    /// Whether a sighting of the address is over and forgotten.
    pub fn has_ended(&self, address: &Address) -> bool {
        self.ended.of(address).is_some()
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

    /// The sightings of an address.
    fn of(&self, address: &Address) -> &[Sighting] {
        self.addresses.get(address).map_or(&[], Vec::as_slice)
    }

    /// Adds a sighting, or renews it; without room for it, what it says is kept without the name.
    fn add(&mut self, address: &Address, mut sighting: Sighting, cgroup: u64, policy: &Compiled) {
        let known = self.addresses.get_mut(address);
        let same = |known: &&mut Sighting| known.chain == sighting.chain && known.trusted == sighting.trusted;
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

    /// Keeps what a sighting says without its name.
    fn keep_nameless(&mut self, address: &Address, sighting: &Sighting, policy: &Compiled) {
        let said = combined(address, [sighting], policy, |_, _| true);
        if !says(&said, policy) {
            return;
        }
        if self.is_full() && !self.is_nameless(address) {
            self.room.refused.nameless += 1;
            return;
        }
        let until = if sighting.denies(policy) { sighting.end(policy.longest_hold()) } else { said.expiry };
        self.nameless.entry(*address).or_insert(Nameless::NOTHING).join(&said, until);
    }

    /// What of a binding of the kernel no sighting explains; `None` if nothing.
    fn unexplained(
        &self,
        address: &Address,
        binding: &Binding,
        policy: &Compiled,
        now: u64,
    ) -> Option<Binding> {
        let sighted = self.sighted(address, policy, now);
        let (mut any, mut all, mut except) = (sighted.any, sighted.all, sighted.except);
        for sighting in self.of(address) {
            let Contribution { any: own_any, all: own_all, except: own_except } = &sighting.said;
            // What a sighting has said is no riddle once it is over.
            any.union(own_any);
            all.intersect(own_all);
            except.union(own_except);
        }
        if !binding.any.without(&any).is_empty() {
            return Some(*binding);
        }
        let narrowed = all.without(&binding.all).without(&policy.deny);
        let excepted = binding.except.without(&except).without(&policy.deny);
        if narrowed.is_empty() && excepted.is_empty() {
            return None;
        }
        // Doubt only makes stricter: a name that is not known spares no deny.
        let mut spared = binding.all;
        spared.union(&policy.deny);
        Some(Binding { all: spared, except: excepted, ..*binding })
    }

    /// The binding that the kernel shall have of an address.
    pub fn binding(&self, address: &Address, policy: &Compiled, now: u64) -> Option<Binding> {
        let mut binding = self.sighted(address, policy, now);
        if let Some(nameless) = self.nameless.get(address).filter(|kept| kept.until > now) {
            join(&mut binding, &nameless.live(policy, now));
        }
        says(&binding, policy).then_some(binding)
    }

    /// What the live sightings of an address say.
    fn sighted(&self, address: &Address, policy: &Compiled, now: u64) -> Binding {
        combined(address, self.of(address), policy, |sighting, hold| sighting.end(hold) > now)
    }
}

/// What sightings of an address say, each for the rules that hold it; `live` tells whether one is, for rules with a hold.
fn combined<'a>(
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
fn says(binding: &Binding, policy: &Compiled) -> bool {
    !binding.any.is_empty()
        || !binding.except.is_empty()
        || (policy.binds_everything() && *binding != Binding::IDENTITY)
}

fn join(binding: &mut Binding, more: &Binding) {
    binding.any.union(&more.any);
    binding.all.intersect(&more.all);
    binding.except.union(&more.except);
    binding.expiry = binding.expiry.max(more.expiry);
}

#[cfg(test)]
pub(crate) mod tests;
