//! HTTPS and SVCB records: the target, and the addresses in their hints. Their form is that of RFC 9460 section 2.2.

use super::*;
use crate::repeat::Step;
use core::ops::ControlFlow;

const IPV4HINT: u32 = 4;
const IPV6HINT: u32 = 6;

/// Bytes of a parameter's key and length.
const FIXED: u32 = 4;
/// Bytes of the priority in front of the target.
const PRIORITY: u32 = 2;
/// A parameter has four bytes at least, and so has an address.
const STEPS: u32 = MESSAGE_MAX as u32 / 4 + 1;

impl Scratch {
    /// Reads the service record whose data lies between `data` and `end`. Of a damaged one nothing is kept: its readers
    /// must reject it too.
    ///
    /// The hints count whatever the priority: the alias form has none (section 2.4.2), and who writes them there anyway
    /// could as well give the owner an address record.
    #[inline(always)]
    pub(super) fn read_service<S: Slot>(&mut self, slot: &S, data: u32, end: u32) -> Option<()> {
        let target = data + PRIORITY;
        self.cursor = target;
        slot.read_name(self)?;
        // The root stands for the owner, or for no service at all (section 2.5).
        let place = if self.name_length == 0 { 0 } else { target };
        let (aliases, addresses) = (self.alias_count, self.address_count);
        self.remember_alias(place)?;
        self.parameters_end = end;
        self.next_key = 0;
        self.hint_left = 0;
        self.finished = 0;
        S::Loop::repeat(STEPS, &mut Parameters { scratch: &mut *self });
        if self.finished == 0 {
            self.alias_count = aliases;
            self.address_count = addresses;
            return None;
        }
        Some(())
    }
}

struct Parameters<'a> {
    scratch: &'a mut Scratch,
}

impl Step for Parameters<'_> {
    /// One parameter's head, or one address of a hint; damage ends the loop with `finished` 0.
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let scratch = &mut *self.scratch;
        let (at, end) = (scratch.cursor, scratch.parameters_end);
        if scratch.hint_left > 0 {
            let hint = scratch.hint as u16;
            let size = if hint & V6 == 0 { 4 } else { 16 };
            if scratch.hint_left < size || scratch.remember(at as u16 & OFFSET | hint).is_none() {
                return ControlFlow::Break(());
            }
            scratch.hint_left -= size;
            scratch.cursor = at + size;
            return ControlFlow::Continue(());
        }
        if at == end {
            scratch.finished = 1;
            return ControlFlow::Break(());
        }
        if at + FIXED > end || !scratch.has(at, FIXED) {
            return ControlFlow::Break(());
        }
        let (key, length) = (u32::from(scratch.u16(at)), u32::from(scratch.u16(at + 2)));
        let value = at + FIXED;
        // Strictly increasing keys: none comes twice.
        if value + length > end || key < scratch.next_key {
            return ControlFlow::Break(());
        }
        scratch.next_key = key + 1;
        if key == IPV4HINT || key == IPV6HINT {
            scratch.hint = u32::from(if key == IPV6HINT { HINT | V6 } else { HINT });
            scratch.hint_left = length;
            scratch.cursor = value;
        } else {
            scratch.cursor = value + length;
        }
        ControlFlow::Continue(())
    }
}
