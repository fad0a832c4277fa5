//! One bit for each rule of a policy.

use crate::bound::{masked, opaque};

/// 64-bit words of a [`Vector`].
pub const WORDS: usize = crate::CLASSES / 64;

/// A set of rule classes: bit `n` stands for the rule with class number `n`. Deny rules come first, so the lowest set
/// bit is the rule that decides.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Vector(pub [u64; WORDS]);

impl Vector {
    /// No rule.
    pub const EMPTY: Self = Self([0; WORDS]);
    /// Every rule, the unused classes included.
    pub const FULL: Self = Self([u64::MAX; WORDS]);

    /// Whether `class` is in the set; `false` past [`crate::CLASSES`].
    pub fn contains(&self, class: u16) -> bool {
        self.0.get(usize::from(class) / 64).is_some_and(|word| word >> (class % 64) & 1 == 1)
    }

    /// Adds `class`; a class past [`crate::CLASSES`] is ignored.
    pub fn insert(&mut self, class: u16) {
        if let Some(word) = self.0.get_mut(usize::from(class) / 64) {
            *word |= 1 << (class % 64);
        }
    }

    /// Whether no rule is in the set.
    pub fn is_empty(&self) -> bool {
        self.0.iter().fold(0, |all, word| all | word) == 0
    }

    /// The numbers of the words, in a loop that stays a loop in the kernel programs: unrolled, it needs more than their 512
    /// bytes of stack.
    #[inline(always)]
    pub fn words() -> impl Iterator<Item = Word> {
        let mut next = opaque(0);
        core::iter::from_fn(move || {
            let word = Word::of(next);
            let more = next < WORDS as u64;
            next += 1;
            more.then_some(word)
        })
    }

    /// Adds every rule of `other`.
    pub fn union(&mut self, other: &Self) {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
    }

    /// Keeps only the rules that are in `other` too.
    pub fn intersect(&mut self, other: &Self) {
        for (word, keep) in self.0.iter_mut().zip(other.0) {
            *word &= keep;
        }
    }

    /// The rules of `self` that are not in `other`.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        let mut rest = *self;
        for (word, drop) in rest.0.iter_mut().zip(other.0) {
            *word &= !drop;
        }
        rest
    }

    /// Whether some rule is in both.
    pub fn meets(&self, other: &Self) -> bool {
        self.without(other) != *self
    }

    /// The rules in the set, lowest class first.
    pub fn classes(&self) -> impl Iterator<Item = u16> + '_ {
        (0..crate::CLASSES as u16).filter(|class| self.contains(*class))
    }
}

/// The number of a word of a vector: in range by construction, in a form that the verifier remembers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Word(usize);

impl Word {
    /// The word with this number; a number out of range wraps around.
    #[inline(always)]
    pub fn of(number: u64) -> Self {
        Self(masked::<{ WORDS as u64 - 1 }>(number))
    }

    /// Its number, below [`WORDS`].
    #[inline(always)]
    pub fn index(self) -> usize {
        self.0
    }
}

#[expect(clippy::indexing_slicing, reason = "a `Word` is in range")]
impl core::ops::Index<Word> for Vector {
    type Output = u64;

    #[inline(always)]
    fn index(&self, word: Word) -> &u64 {
        &self.0[word.0]
    }
}

#[expect(clippy::indexing_slicing, reason = "a `Word` is in range")]
impl core::ops::IndexMut<Word> for Vector {
    #[inline(always)]
    fn index_mut(&mut self, word: Word) -> &mut u64 {
        &mut self.0[word.0]
    }
}

impl Default for Vector {
    fn default() -> Self {
        Self::EMPTY
    }
}

const _: () = assert!(size_of::<Vector>() == 64, "one vector is one bucket of the policy image");
