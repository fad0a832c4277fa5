//! From the question to the names it leads to, whatever the order of the records.

use super::*;
use crate::repeat::Step;
use core::ops::ControlFlow;

/// Each round looks at every alias. It reaches at least one more step of each way, and the longest way has
/// [`CHAIN_MAX`] names; one round more finds that nothing changes.
const STEPS: u32 = (CHAIN_MAX as u32 + 1) * (ALIASES_MAX as u32 + 1);

impl Scratch {
    /// Follows the aliases from the question, and settles which addresses belong to the chain. `None` if some of it
    /// cannot be read, or is too long.
    #[inline(always)]
    pub(super) fn follow<S: Slot>(&mut self, slot: &S) -> Option<()> {
        self.next_alias = 0;
        self.grown = 0;
        self.followed = 0;
        self.broken = 0;
        self.unrelated = 0;
        S::Loop::repeat(STEPS, &mut Follow { scratch: &mut *self, slot });
        S::Loop::repeat(self.address_count, &mut Settle { scratch: &mut *self });
        (self.followed != 0 && self.broken == 0).then_some(())
    }

    /// Looks at the next alias; `None` once a whole round has found nothing new.
    #[inline(always)]
    pub fn follow_alias<S: Slot>(&mut self, slot: &S) -> Option<()> {
        let index = self.next_alias;
        if index >= self.alias_count {
            if self.grown == 0 {
                self.followed = 1;
                return None;
            }
            self.next_alias = 0;
            self.grown = 0;
            self.unrelated = 0;
            return Some(());
        }
        self.next_alias = index + 1;
        let index = masked::<31>(u64::from(index));
        let owner = self.place_in_chain(self.aliases[index].owner);
        if owner >= CHAIN_MAX as u32 {
            self.unrelated += 1;
            return Some(());
        }
        let place = self.aliases[index].place;
        if place == 0 {
            return Some(());
        }
        if self.aliases[index].target == 0 {
            self.cursor = place;
            if slot.read_name(self).is_none() || slot.hash_name(self, true).is_none() {
                self.broken = 1;
                self.aliases[index].place = 0;
                return Some(());
            }
            self.aliases[index].target = self.hash;
            for word in Vector::words() {
                self.sighting.chain[word] |= self.hit[word] & !self.hit_except[word];
                self.sighting.chain_except[word] |= self.hit_except[word];
            }
        }
        let (own, before) = (self.aliases[index].ttl, self.chain_ttl[masked::<15>(u64::from(owner))]);
        self.reach(self.aliases[index].target, if own < before { own } else { before });
        Some(())
    }

    /// Adds a name to the chain, or a longer-lived way to it.
    #[inline(always)]
    fn reach(&mut self, name: u64, ttl: u32) {
        let place = self.place_in_chain(name);
        if place < CHAIN_MAX as u32 {
            let place = masked::<15>(u64::from(place));
            if ttl > self.chain_ttl[place] {
                self.chain_ttl[place] = ttl;
                self.grown = 1;
            }
            return;
        }
        let count = self.chain_count;
        if count >= CHAIN_MAX as u32 {
            self.broken = 1;
            return;
        }
        let place = masked::<15>(u64::from(count));
        self.chain[place] = name;
        self.chain_ttl[place] = ttl;
        self.chain_count = count + 1;
        self.grown = 1;
    }

    /// Where a name stands in the chain; [`CHAIN_MAX`] if it does not.
    #[inline(always)]
    fn place_in_chain(&self, name: u64) -> u32 {
        // The verifier is not to follow each place on a path of its own.
        let zero = unknown_zero(name) as u32;
        let mut found = CHAIN_MAX as u32 + zero;
        for (place, known) in (0..).zip(&self.chain) {
            if *known == name {
                found = place + zero;
            }
        }
        found
    }
}

struct Follow<'a, S> {
    scratch: &'a mut Scratch,
    slot: &'a S,
}

impl<S: Slot> Step for Follow<'_, S> {
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        match self.slot.follow_alias(self.scratch) {
            Some(()) => ControlFlow::Continue(()),
            None => ControlFlow::Break(()),
        }
    }
}

struct Settle<'a> {
    scratch: &'a mut Scratch,
}

impl Step for Settle<'_> {
    /// One address: how long it is good for, or that it belongs to no name of the chain.
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let scratch = &mut *self.scratch;
        let index = masked::<255>(u64::from(index));
        let Found { owner, ttl, place, .. } = scratch.addresses[index];
        let owner = scratch.place_in_chain(owner);
        if owner < CHAIN_MAX as u32 {
            let before = scratch.chain_ttl[masked::<15>(u64::from(owner))];
            scratch.addresses[index].ttl = if ttl < before { ttl } else { before };
        } else {
            scratch.addresses[index].place = place | UNRELATED;
            scratch.unrelated += u32::from(place & HINT == 0);
        }
        ControlFlow::Continue(())
    }
}
