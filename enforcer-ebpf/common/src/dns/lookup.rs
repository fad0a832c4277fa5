//! Queries, judged before they leave: whether a rule refuses to look the name up (`refuseLookup`).

use super::*;
use crate::{
    decide::{Decision, EPERM, Error, Found, Lookup, RuleId, Verdict},
    repeat::Step,
    vector::Word,
};
use core::ops::ControlFlow;

/// What a message to a server asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Question {
    /// The name in the scratch.
    Name,
    /// Nothing: it is a response, or has no question (RFC 7873 section 5.4).
    Nothing,
    /// It is no message, its question cannot be read, or it has several (RFC 9619): a more patient server may see any name
    /// in it.
    Unreadable,
}

impl Scratch {
    /// Reads the question of a query for one slot, whatever its opcode.
    #[inline(always)]
    pub fn query(&mut self, slot: &impl Slot) -> Question {
        if !self.has(0, HEADER) {
            return Question::Unreadable;
        }
        match self.u16(4) {
            _ if self.is_response() => Question::Nothing,
            0 => Question::Nothing,
            1 if self.read_question(slot).is_some() => {
                for word in Vector::words() {
                    self.hit[word] &= !self.hit_except[word];
                }
                Question::Name
            }
            _ => Question::Unreadable,
        }
    }

    /// The rules that name what [`Scratch::query`] has read, [`Question::Name`].
    #[inline(always)]
    pub fn named(&self) -> &Vector {
        &self.hit
    }

    /// The hash of the name read last.
    #[inline(always)]
    pub fn name_hash(&self) -> u64 {
        self.hash
    }

    /// Memory of the name read last, and how many bytes of it are used.
    #[inline(always)]
    pub fn name_memory(&self) -> (&[u8; 256], u32) {
        (&self.name, self.name_length)
    }
}

/// Judges the lookup of a name by a user, which these rules name: [`Scratch::named`], or all of them where it is not known
/// what is asked for. Only deny rules that say so refuse one; ports do not matter. Without any, it is allowed by default.
///
/// # Errors
/// [`Error`] when the maps cannot answer; the caller has a verdict for it.
#[inline(always)]
pub fn judge_lookup<L: Lookup>(lookup: &L, named: &Vector, uid: u32) -> Result<Decision, Error> {
    let image = lookup.image();
    let meta = Meta::of(image).ok_or(Error::NoImage)?;
    let zero = unknown_zero(u64::from(uid));
    let mut words = Words::<L> {
        image,
        named,
        user: lookup.user(uid)?,
        cgroup: None,
        unclassified: zero,
        damaged: zero,
        verdict: Found::nothing(zero),
        effective: Found::nothing(zero),
    };
    if meta.by_cgroup() {
        match lookup.cgroup()? {
            Some(classified) => words.cgroup = Some(&classified.own),
            None => {
                words.cgroup = lookup.ancestor()?;
                words.unclassified = u64::MAX;
            }
        }
    }
    L::Loop::repeat(meta.words(), &mut words);
    if words.damaged != 0 {
        return Err(Error::NoImage);
    }
    let resolve = |found: Found| match found.lowest() {
        Some(rule) => (Verdict::Deny, rule),
        None => (Verdict::Allow, RuleId::DEFAULT),
    };
    let (verdict, rule) = resolve(words.verdict);
    let (effective, effective_rule) = resolve(words.effective);
    Ok(Decision { verdict, rule, effective, effective_rule, errno: EPERM })
}

/// The bit vectors of one lookup, word by word, as in [`crate::decide()`].
struct Words<'a, L: Lookup> {
    image: &'a L::Image,
    named: &'a Vector,
    user: Option<&'a Vector>,
    cgroup: Option<&'a Vector>,
    /// All ones if user space has not classified the cgroup yet: it has every deny subject.
    unclassified: u64,
    /// The image lacks a word.
    damaged: u64,
    verdict: Found,
    effective: Found,
}

impl<L: Lookup> Step for Words<'_, L> {
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let word = Word::of(index.into());
        let Some(classes) = ClassWord::of(self.image, word) else {
            self.damaged = 1;
            return ControlFlow::Break(());
        };
        let subjects = classes.bits(ClassVector::Everyone)
            | L::vector_word(self.user, word)
            | L::vector_word(self.cgroup, word)
            | classes.bits(ClassVector::ByCgroup) & self.unclassified;
        let refuses = classes.bits(ClassVector::Deny) & classes.bits(ClassVector::RefusesLookup);
        let matched = self.named[word] & refuses & subjects;
        self.verdict.keep(word, matched, matched);
        self.effective.keep(word, matched & classes.bits(ClassVector::Enforced), matched);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests;
