//! Bindings without a name: doubt only makes stricter.

use super::{
    NAMELESS_MAX, NameTable,
    bindings::{combined, join, says},
    sighting::Sighting,
};
use crate::compile::{Compiled, Contribution};
use enforcer_common::{Address, Binding};

/// A binding whose names are not known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nameless {
    /// With the expiry that the kernel gave it, none for untrusted answers alone: how long it allows.
    pub binding: Binding,
    /// How long it denies.
    pub until: u64,
}

impl Nameless {
    const NOTHING: Self = Self { binding: Binding::IDENTITY, until: 0 };

    fn join(&mut self, binding: &Binding, until: u64) {
        join(&mut self.binding, binding);
        self.until = self.until.max(until);
    }

    /// What of it counts: once the allowance is over, what denies.
    pub fn live(&self, policy: &Compiled, now: u64) -> Binding {
        let mut binding = self.binding;
        if binding.expiry <= now {
            binding.any.intersect(&policy.deny);
            binding.all.union(&policy.deny);
            binding.except = binding.except.without(&policy.deny);
        }
        binding
    }
}

impl NameTable {
    /// Keeps bindings of the kernel that no sighting explains.
    pub fn adopt(&mut self, fresh: &[(Address, Binding)], policy: &Compiled, now: u64) -> usize {
        let mut adopted = 0;
        for (address, binding) in fresh {
            let Some(lost) = self.unexplained(address, binding, policy, now) else { continue };
            adopted += 1;
            // What denies is held as long as any deny; an untrusted answer leaves no expiry, and can only deny.
            let held = now.saturating_add(policy.longest_hold());
            let denies = lost.any.meets(&policy.deny);
            let until = if denies || lost.expiry == 0 { held.max(lost.expiry) } else { lost.expiry };
            self.nameless.entry(*address).or_insert(Nameless::NOTHING).join(&lost, until);
        }
        adopted
    }

    /// Whether nothing more can be taken over from the kernel.
    pub fn is_full(&self) -> bool {
        self.nameless.len() >= NAMELESS_MAX
    }

    /// Whether the address has a binding whose names are not known.
    pub fn is_nameless(&self, address: &Address) -> bool {
        self.nameless.contains_key(address)
    }

    /// Keeps what a sighting says without its name.
    pub(super) fn keep_nameless(&mut self, address: &Address, sighting: &Sighting, policy: &Compiled) {
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
}
