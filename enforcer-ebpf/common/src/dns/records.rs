//! The answer section: follow the chain, remember the addresses.

use super::*;
use crate::repeat::Step;
use core::ops::ControlFlow;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const IN: u16 = 1;

/// Reads the answer section that starts at the cursor.
#[inline(always)]
pub(super) fn read<R: Repeat>(scratch: &mut Scratch, slot: &impl Slot) -> Option<()> {
    let count = u32::from(scratch.u16(6)?);
    scratch.finished = 1;
    R::repeat(count, &mut Records { scratch: &mut *scratch, slot, repeat: core::marker::PhantomData::<R> });
    (scratch.finished != 0 && count <= RECORDS_MAX).then_some(())
}

/// More records than fit in the longest message: 12 bytes of header and a root owner are the least.
const RECORDS_MAX: u32 = (MESSAGE_MAX / 11) as u32;

struct Records<'a, R, S> {
    scratch: &'a mut Scratch,
    slot: &'a S,
    repeat: core::marker::PhantomData<R>,
}

impl<R: Repeat, S: Slot> Step for Records<'_, R, S> {
    /// One record; damage ends the loop with `finished` 0.
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        self.scratch.finished = 0;
        if record::<R, S>(self.scratch, self.slot).is_none() {
            self.scratch.finished = 0;
            return ControlFlow::Break(());
        }
        self.scratch.finished = 1;
        ControlFlow::Continue(())
    }
}

#[inline(always)]
fn record<R: Repeat, S: Slot>(scratch: &mut Scratch, slot: &S) -> Option<()> {
    owner::<R, S>(scratch, slot)?;
    let at = scratch.cursor;
    let (kind, class) = (scratch.u16(at)?, scratch.u16(at + 2)?);
    let data = at + 10;
    let length = u32::from(scratch.u16(at + 8)?);
    let end = data + length;
    if end > scratch.record.header.length {
        return None;
    }
    if class == IN && matches!(kind, A | AAAA | CNAME) {
        if scratch.owner_hash != scratch.chain_hash {
            scratch.unrelated += 1;
        } else if kind == CNAME {
            scratch.cursor = data;
            name::read::<R>(scratch)?;
            name::hash::<R, S>(scratch, slot, true)?;
            scratch.chain_hash = scratch.hash;
            for word in Vector::words() {
                scratch.sighting.chain.0[word] |= scratch.hit.0[word] & !scratch.hit_except.0[word];
                scratch.sighting.chain_except.0[word] |= scratch.hit_except.0[word];
            }
        } else if (kind == A && length == 4) || (kind == AAAA && length == 16) {
            let count = scratch.address_count;
            if count >= ADDRESSES_MAX as u32 {
                return None;
            }
            scratch.addresses[masked::<255>(u64::from(count))] = data as u16 | if kind == AAAA { 0x8000 } else { 0 };
            scratch.address_count = count + 1;
        } else {
            return None;
        }
    }
    scratch.cursor = end;
    Some(())
}

/// Moves the cursor behind the owner name and leaves its hash in `owner_hash`.
#[inline(always)]
fn owner<R: Repeat, S: Slot>(scratch: &mut Scratch, slot: &S) -> Option<()> {
    let pointer = u32::from(scratch.u16(scratch.cursor)?);
    if pointer & 0xc000 == 0xc000 && pointer == scratch.owner_pointer {
        scratch.cursor += 2;
        return Some(());
    }
    name::read::<R>(scratch)?;
    name::hash::<R, S>(scratch, slot, false)?;
    scratch.owner_hash = scratch.hash;
    scratch.owner_pointer = if pointer & 0xc000 == 0xc000 { pointer } else { 0 };
    Some(())
}
