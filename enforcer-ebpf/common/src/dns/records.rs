//! The answer section: remember the addresses, and what leads to other names.

use super::*;
use crate::repeat::Step;
use core::ops::ControlFlow;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
const IN: u16 = 1;

impl Scratch {
    /// Reads the answer section that starts at the cursor.
    #[inline(always)]
    pub(super) fn read_records<S: Slot>(&mut self, slot: &S) -> Option<()> {
        let count = u32::from(self.u16(6));
        self.finished = 1;
        S::Loop::repeat(count, &mut Records { scratch: &mut *self, slot });
        (self.finished != 0).then_some(())
    }

    /// Reads the record at the cursor, and moves the cursor behind it.
    #[inline(always)]
    pub fn read_record<S: Slot>(&mut self, slot: &S) -> Option<()> {
        self.read_owner(slot)?;
        let at = self.cursor;
        if !self.has(at, FIXED) {
            return None;
        }
        let (kind, class, length) = (self.u16(at), self.u16(at + 2), u32::from(self.u16(at + 8)));
        let data = at + FIXED;
        if !self.has(data, length) && length != 0 {
            return None;
        }
        if class == IN {
            // A time to live with the top bit set is zero (RFC 2181 section 8).
            let ttl = self.u32(at + 4);
            self.ttl = if ttl >> 31 == 0 { ttl } else { 0 };
            if kind == A || kind == AAAA {
                if length != if kind == A { 4 } else { 16 } {
                    return None;
                }
                self.remember(data as u16 | if kind == AAAA { V6 } else { 0 })?;
            } else if kind == CNAME {
                self.remember_alias(data)?;
            } else if kind == HTTPS || kind == SVCB {
                self.read_service(slot, data, data + length)?;
            }
        }
        self.cursor = data + length;
        Some(())
    }

    /// Moves the cursor behind the owner name and leaves its hash in `owner_hash`.
    #[inline(always)]
    fn read_owner<S: Slot>(&mut self, slot: &S) -> Option<()> {
        if !self.has(self.cursor, 2) {
            return None;
        }
        let pointer = u32::from(self.u16(self.cursor));
        if pointer & 0xc000 == 0xc000 && pointer == self.owner_pointer {
            self.cursor += 2;
            return Some(());
        }
        slot.read_name(self)?;
        slot.hash_name(self, false)?;
        self.owner_hash = self.hash;
        self.owner_pointer = if pointer & 0xc000 == 0xc000 { pointer } else { 0 };
        Some(())
    }

    /// Keeps an address of the current record for binding.
    #[inline(always)]
    pub(super) fn remember(&mut self, place: u16) -> Option<()> {
        let count = self.address_count;
        if count >= ADDRESSES_MAX as u32 {
            return None;
        }
        self.addresses[masked::<255>(u64::from(count))] =
            Found { owner: self.owner_hash, ttl: self.ttl, place, reserved: 0 };
        self.address_count = count + 1;
        Some(())
    }

    /// Keeps the place of the name that the current record leads to.
    #[inline(always)]
    pub(super) fn remember_alias(&mut self, place: u32) -> Option<()> {
        let count = self.alias_count;
        if count >= ALIASES_MAX as u32 {
            return None;
        }
        self.aliases[masked::<31>(u64::from(count))] =
            Alias { owner: self.owner_hash, target: 0, ttl: self.ttl, place };
        self.alias_count = count + 1;
        Some(())
    }
}

/// Bytes of a record between its owner and its data: type, class, TTL, length.
const FIXED: u32 = 10;

struct Records<'a, S> {
    scratch: &'a mut Scratch,
    slot: &'a S,
}

impl<S: Slot> Step for Records<'_, S> {
    /// One record; damage ends the loop with `finished` 0.
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        if self.slot.read_record(self.scratch).is_none() {
            self.scratch.finished = 0;
            return ControlFlow::Break(());
        }
        self.scratch.finished = 1;
        ControlFlow::Continue(())
    }
}
