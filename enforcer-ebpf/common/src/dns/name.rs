//! Names: from the wire into the scratch, and from there to a hash.

use super::*;
use crate::{
    image::Automaton,
    name::{self, ESCAPED_DOT, Form},
    repeat::Step,
};
use core::ops::ControlFlow;

/// Bytes and pointers of the longest name.
const STEPS: u32 = 255 + 127;

impl Scratch {
    /// Reads the name at the cursor into `name`, and moves the cursor behind it.
    #[inline(always)]
    pub fn read_name<R: Repeat>(&mut self) -> Option<()> {
        self.name_length = 0;
        self.resume = 0;
        self.label_left = 0;
        self.part_start = self.cursor;
        self.part_end = MESSAGE_MAX as u32;
        self.finished = 0;
        R::repeat(STEPS, &mut Read { scratch: &mut *self });
        if self.finished == 0 {
            return None;
        }
        if self.resume != 0 {
            self.cursor = self.resume;
        }
        Some(())
    }

    /// Hashes `name` from its end; with `look_up` also collects what the slot says of it and of every suffix.
    #[inline(always)]
    pub fn hash_name<S: Slot>(&mut self, slot: &S, look_up: bool) -> Option<()> {
        let key = slot.bucket(image::KEY)?;
        self.hash = name::START;
        self.look_up = look_up as u32;
        self.glob = 0;
        if look_up {
            let globs = Meta::of(slot).map_or(Automaton::at(0), |meta| meta.globs());
            (self.globs, self.glob) = (globs.bucket(), globs.start());
            self.hit = Vector::EMPTY;
            self.hit_except = Vector::EMPTY;
            // Every name is below the root.
            collect(self, slot, key, Form::Below);
        }
        S::Loop::repeat(name::NAME_MAX as u32 + 2, &mut Hash { scratch: &mut *self, slot, key });
        if look_up {
            collect(self, slot, key, Form::Exact);
        }
        if self.glob != 0 {
            let set = Automaton::at(self.globs).set(slot, self.glob);
            add(self, slot, set, Form::Exact);
        }
        Some(())
    }
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
        if !scratch.has(at, 1) {
            return ControlFlow::Break(());
        }
        let byte = scratch.u8(at);
        if scratch.label_left > 0 {
            scratch.label_left -= 1;
            scratch.cursor = at + 1;
            return push(scratch, fold(byte));
        }
        if at >= scratch.part_end {
            return ControlFlow::Break(());
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
                let target = u32::from(scratch.u16(at)) & 0x3fff;
                // Only in front of the part that points: a chain of pointers ends (RFC 1035 section 4.1.4, "a prior
                // occurrence").
                if !scratch.has(at, 2) || target >= scratch.part_start {
                    return ControlFlow::Break(());
                }
                scratch.part_end = scratch.part_start;
                scratch.part_start = target;
                if scratch.resume == 0 {
                    scratch.resume = at + 2;
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
        if scratch.glob != 0 {
            scratch.glob = Automaton::at(scratch.globs).step(self.slot, scratch.glob, byte);
        }
        ControlFlow::Continue(())
    }
}

/// Adds what the slot says about the hashed name or suffix.
#[inline(always)]
fn collect<S: Slot>(scratch: &mut Scratch, slot: &S, key: &Vector, form: Form) {
    let Some(meta) = Meta::of(slot) else { return };
    let set = image::find(slot, &meta, key, scratch.hash);
    add(scratch, slot, set, form);
}

/// Adds what a set of the slot says.
#[inline(always)]
fn add<S: Slot>(scratch: &mut Scratch, slot: &S, set: u32, form: Form) {
    if set == 0 {
        return;
    }
    let Some(meta) = Meta::of(slot) else { return };
    let Some((to, except)) = image::set(slot, &meta, set, form) else { return };
    for word in Vector::words() {
        scratch.hit[word] |= to[word];
        scratch.hit_except[word] |= except[word];
    }
}

#[inline(always)]
fn push(scratch: &mut Scratch, byte: u8) -> ControlFlow<()> {
    let length = scratch.name_length;
    if length >= name::NAME_MAX as u32 {
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
