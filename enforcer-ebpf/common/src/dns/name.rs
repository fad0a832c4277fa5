//! Names: from the wire into the scratch, and from there to a hash.

use super::*;
use crate::{
    name::{self, ESCAPED_DOT, Form},
    repeat::Step,
};
use core::ops::ControlFlow;

/// Bytes and pointers of the longest name.
const STEPS: u32 = 320;

/// Reads the name at the cursor into `scratch.name`, and moves the cursor behind it.
#[inline(always)]
pub(super) fn read<R: Repeat>(scratch: &mut Scratch) -> Option<()> {
    scratch.name_length = 0;
    scratch.resume = 0;
    scratch.label_left = 0;
    scratch.finished = 0;
    R::repeat(STEPS, &mut Read { scratch });
    if scratch.finished == 0 {
        return None;
    }
    if scratch.resume != 0 {
        scratch.cursor = scratch.resume;
    }
    Some(())
}

/// Hashes `scratch.name` from its end; with `look_up` also collects what the slot says of it and of every suffix.
#[inline(always)]
pub(super) fn hash<R: Repeat, S: Slot>(scratch: &mut Scratch, slot: &S, look_up: bool) -> Option<()> {
    let key = slot.bucket(image::KEY)?;
    scratch.hash = name::START;
    scratch.look_up = look_up as u32;
    if look_up {
        scratch.hit = Vector::EMPTY;
        scratch.hit_except = Vector::EMPTY;
    }
    R::repeat(name::NAME_MAX as u32 + 2, &mut Hash { scratch: &mut *scratch, slot, key });
    if look_up {
        collect(scratch, slot, key, Form::Exact);
    }
    Some(())
}

struct Read<'a> {
    scratch: &'a mut Scratch,
}

impl Step for Read<'_> {
    /// One byte of a label, one length, or one compression pointer.
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let scratch = &mut *self.scratch;
        let at = scratch.cursor;
        let Some(byte) = scratch.u8(at) else { return ControlFlow::Break(()) };
        if scratch.label_left > 0 {
            scratch.label_left -= 1;
            scratch.cursor = at + 1;
            return push(scratch, fold(byte));
        }
        match byte & 0xc0 {
            0 => {
                scratch.cursor = at + 1;
                if byte == 0 {
                    scratch.finished = 1;
                    return ControlFlow::Break(());
                }
                scratch.label_left = u32::from(byte);
                if scratch.name_length > 0 { push(scratch, b'.') } else { ControlFlow::Continue(()) }
            }
            0xc0 => {
                let Some(low) = scratch.u8(at + 1) else { return ControlFlow::Break(()) };
                let target = u32::from(byte & 0x3f) << 8 | u32::from(low);
                if scratch.resume == 0 {
                    scratch.resume = at + 2;
                }
                // Only backwards: a chain of pointers ends (RFC 1035 section 4.1.4, "a prior occurrence").
                if target >= at {
                    return ControlFlow::Break(());
                }
                scratch.cursor = target;
                ControlFlow::Continue(())
            }
            _ => ControlFlow::Break(()),
        }
    }
}

struct Hash<'a, S> {
    scratch: &'a mut Scratch,
    slot: &'a S,
    key: &'a Vector,
}

impl<S: Slot> Step for Hash<'_, S> {
    /// One byte of the name, from its end; at a dot the hash so far is that of the suffix behind it.
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let scratch = &mut *self.scratch;
        if index >= scratch.name_length {
            return ControlFlow::Break(());
        }
        let byte = scratch.name[masked::<255>(u64::from(scratch.name_length - 1 - index))];
        if byte == b'.' && scratch.look_up != 0 {
            collect(scratch, self.slot, self.key, Form::Below);
        }
        scratch.hash = name::push(self.key, scratch.hash, byte);
        ControlFlow::Continue(())
    }
}

/// Adds what the slot says about the hashed name or suffix.
#[inline(always)]
fn collect<S: Slot>(scratch: &mut Scratch, slot: &S, key: &Vector, form: Form) {
    let Some(meta) = Meta::of(slot) else { return };
    let set = image::find(slot, &meta, key, scratch.hash, form);
    if set == 0 {
        return;
    }
    let Some((to, except)) = image::set(slot, &meta, set) else { return };
    for word in Vector::words() {
        scratch.hit.0[word] |= to.0[word];
        scratch.hit_except.0[word] |= except.0[word];
    }
}

#[inline(always)]
fn push(scratch: &mut Scratch, byte: u8) -> ControlFlow<()> {
    let length = scratch.name_length;
    if length > name::NAME_MAX as u32 {
        return ControlFlow::Break(());
    }
    scratch.name[masked::<255>(u64::from(length))] = byte;
    scratch.name_length = length + 1;
    ControlFlow::Continue(())
}

#[inline(always)]
fn fold(byte: u8) -> u8 {
    match byte {
        b'.' => ESCAPED_DOT,
        b'A'..=b'Z' => byte | 0x20,
        _ => byte,
    }
}
