//! From a sighting to bindings.

use super::*;
use crate::{binding::SightingWord, image::translated, repeat::Step};
use core::ops::ControlFlow;

impl Scratch {
    /// Second half of [`Scratch::read`]: binds the collected addresses. Returns whether an enforced deny rule matches the
    /// sighting.
    #[inline(always)]
    pub fn bind<S: Slot>(&mut self, slot: &S, now: u64) -> bool {
        let Some(meta) = Meta::of(slot) else { return false };
        let trusted = self.record.header.trusted != 0;
        let (mut denied, mut denies_any, mut says) = (0, 0, 0);
        for word in Vector::words() {
            let Some(classes) = ClassWord::of(slot, word) else { return false };
            let denies = classes.bits(ClassVector::Deny);
            let word_of_sighting = SightingWord {
                question: self.sighting.question[word],
                chain: self.sighting.chain[word],
                question_except: self.sighting.question_except[word],
                chain_except: self.sighting.chain_except[word],
            };
            let (any, all, except) = word_of_sighting.says(denies, trusted);
            self.binding.any[word] = any;
            self.binding.all[word] = all;
            self.binding.except[word] = except;
            denied |= any & denies & classes.bits(ClassVector::Enforced);
            denies_any |= any & denies;
            says |= any | except;
        }
        // While some rule asks for all sightings, or for addresses without any, every answer counts.
        if says != 0 || meta.binds_everything() {
            self.pass = 0;
            let hold = meta.hold_allow();
            S::Loop::repeat(
                self.address_count,
                &mut Bind { scratch: &mut *self, slot, now: &now, hold: &hold },
            );
        }
        if denies_any != 0 && self.unrelated != 0 {
            // Some callers of resolvers do not look at owners: a denied question denies these addresses too, and says
            // nothing else about them.
            for word in Vector::words() {
                let denies = ClassWord::of(slot, word).map_or(0, |classes| classes.bits(ClassVector::Deny));
                self.binding.any[word] &= denies;
                self.binding.all[word] = u64::MAX;
                self.binding.except[word] = 0;
            }
            self.pass = UNRELATED;
            S::Loop::repeat(self.address_count, &mut Bind { scratch: &mut *self, slot, now: &now, hold: &0 });
        }
        denied != 0
    }
}

struct Bind<'a, S> {
    scratch: &'a mut Scratch,
    slot: &'a S,
    now: &'a u64,
    hold: &'a u64,
}

impl<S: Slot> Step for Bind<'_, S> {
    /// Binds one address, if it is for this pass.
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let scratch = &mut *self.scratch;
        let Found { ttl, place, .. } = scratch.addresses[masked::<255>(u64::from(index))];
        if place & UNRELATED != scratch.pass {
            return ControlFlow::Continue(());
        }
        let data = u32::from(place & OFFSET);
        let address = address(scratch, data, place & V6 != 0);
        let ttl = lifetime(ttl);
        // An untrusted answer is nothing that an allow rule could lean on, nor the lookup that an address needs.
        let life = if ttl > *self.hold { ttl } else { *self.hold };
        let believed = scratch.record.header.trusted != 0 && scratch.pass == 0;
        scratch.binding.expiry = if believed { *self.now + life } else { 0 };
        let address = translated(self.slot, &address).unwrap_or(address);
        scratch.address = address;
        let bound = if address.is_special_use() {
            let may = self.slot.cidr(&scratch.address);
            // The sighting is kept for the next address; only this one loses its allow bits.
            for word in Vector::words() {
                let denies =
                    ClassWord::of(self.slot, word).map_or(0, |classes| classes.bits(ClassVector::Deny));
                let kept = denies | may.map_or(0, |entry| entry.may_resolve[word]);
                let saved = scratch.binding.any[word];
                scratch.hit[word] = saved;
                scratch.binding.any[word] = saved & kept;
            }
            let bound = self.slot.bind(&scratch.address, &scratch.binding);
            scratch.binding.any = scratch.hit;
            bound
        } else {
            self.slot.bind(&scratch.address, &scratch.binding)
        };
        if bound {
            scratch.bound += 1;
        } else {
            scratch.unbound += 1;
        }
        ControlFlow::Continue(())
    }
}

/// The address whose place was kept; it was checked then to lie in the message.
#[inline(always)]
fn address(scratch: &Scratch, data: u32, v6: bool) -> Address {
    let word = |offset| scratch.u32(data + offset).to_be();
    if v6 {
        Address::from_words([word(0), word(4), word(8), word(12)])
    } else {
        Address::from_words([0, 0, 0xffff_u32.to_be(), word(0)])
    }
}
