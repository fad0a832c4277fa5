//! The kernel's binder, run on the host: the same code over the same image, with its maps in memory.

use crate::{compile::Compiled, name::Name};
use enforcer_common::{
    Address, Binding, CidrEntry, Vector,
    dns::{MESSAGE_MAX, Outcome, Scratch, Slot},
    image::{Buckets, ImageBuilder, ImageError},
    repeat::HostLoop,
};
use std::{cell::RefCell, collections::BTreeMap};

/// The binder with memory of its own, and a policy.
pub struct Binder<'a> {
    scratch: Box<Scratch>,
    image: &'a Vec<Vector>,
    compiled: Option<&'a Compiled>,
}

/// What the binder made of an answer.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// As the binder reports it.
    pub outcome: Outcome,
    /// The question, and the names that it leads to, as they were looked up.
    pub chain: Vec<Name>,
    /// The bindings that it made.
    pub bindings: BTreeMap<Address, Binding>,
}

/// An image of no rule, under which every answer is bound.
///
/// # Errors
/// [`ImageError`].
pub fn image_of_everything() -> Result<Vec<Vector>, ImageError> {
    // The key of the name hash: nothing is looked up.
    let mut image = ImageBuilder::new(Compiled::FIRST, 0, 0, [3, 5, 7, 11, 13, 17, 19, 23])?;
    image.literal(true, false);
    image.build()
}

impl<'a> Binder<'a> {
    /// A binder that binds every answer by this image ([`image_of_everything`]).
    pub fn of_everything(image: &'a Vec<Vector>) -> Self {
        Self { scratch: Scratch::new(), image, compiled: None }
    }

    /// A binder that binds by a policy.
    pub fn of(compiled: &'a Compiled) -> Self {
        Self { scratch: Scratch::new(), image: &compiled.image, compiled: Some(compiled) }
    }

    /// Reads a message. `now` in nanoseconds of any clock. A longer message than there is room for is cut, as in the
    /// kernel.
    pub fn read(&mut self, message: &[u8], trusted: bool, now: u64) -> Reading {
        let kept = message.get(..MESSAGE_MAX).unwrap_or(message);
        for (to, from) in self.scratch.record.message.iter_mut().zip(kept) {
            *to = *from;
        }
        self.scratch.record.header.length = kept.len() as u32;
        self.scratch.record.header.trusted = trusted.into();
        let slot = Memory { image: self.image, compiled: self.compiled, reading: RefCell::default() };
        let mut outcome = self.scratch.read(&slot, now);
        outcome.parsed &= kept.len() == message.len();
        Reading { outcome, ..slot.reading.into_inner() }
    }
}

/// A policy slot in memory.
struct Memory<'a> {
    image: &'a Vec<Vector>,
    compiled: Option<&'a Compiled>,
    reading: RefCell<Reading>,
}

impl Buckets for Memory<'_> {
    fn bucket(&self, index: u32) -> Option<&Vector> {
        self.image.bucket(index)
    }
}

impl Slot for Memory<'_> {
    type Loop = HostLoop;

    fn cidr(&self, address: &Address) -> Option<&CidrEntry> {
        self.compiled.and_then(|compiled| compiled.cidr(address))
    }

    fn bind(&self, address: &Address, binding: &Binding) -> bool {
        let known = &mut self.reading.borrow_mut().bindings;
        let known = known.entry(*address).or_insert(Binding::IDENTITY);
        known.any.union(&binding.any);
        known.all.intersect(&binding.all);
        known.except.union(&binding.except);
        known.expiry = known.expiry.max(binding.expiry);
        true
    }

    fn hash_name(&self, scratch: &mut Scratch, look_up: bool) -> Option<()> {
        scratch.hash_name(self, look_up)?;
        let chain = &mut self.reading.borrow_mut().chain;
        let name = Name::from_hashed(scratch.name());
        if look_up && !chain.contains(&name) {
            chain.push(name);
        }
        Some(())
    }
}
