//! The glob automaton of an image: all in-label globs of a policy at once, over names read from the last byte to the
//! first.
//!
//! What is left of a glob while a name is read is a *part* of it: `ads-*.example.com` has the parts `ads-*.example.co`,
//! `ads-*.example.c` and so on. Those of one rule are a trie from their first bytes. A state of the automaton is the set
//! of parts that may still match (subset construction).

use super::{ImageError, Meant, sets::Sets};
use crate::{Vector, name::Form};
use std::{
    collections::{BTreeMap, HashMap},
    iter,
};

mod states;

/// The globs of a policy.
#[derive(Debug, Default)]
pub(super) struct Globs {
    parts: Vec<Part>,
    /// Parts by what is left in front of their last byte, and that byte.
    known: HashMap<(u32, u8), u32>,
    /// By class, and whether the class excepts what matches.
    ends: BTreeMap<(u16, bool), Ends>,
    /// Whole globs.
    whole: Vec<u32>,
}

/// What is left of a glob.
#[derive(Clone, Copy, Debug)]
struct Part {
    takes: Takes,
    /// What is left in front of what it takes.
    rest: u32,
    /// The next part that matches all that this one does: where both may match, this one can be left out.
    wider: Option<u32>,
    class: u16,
    except: bool,
}

impl Part {
    /// Whether a name that has come to this part may end here.
    fn matches(&self) -> bool {
        matches!(self.takes, Takes::All | Takes::Nothing)
    }
}

/// What the last character of a part stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Takes {
    /// Any bytes: the name is below one that has matched.
    All,
    /// One byte.
    Byte(u8),
    /// A `*`: any bytes of one label.
    Label,
    /// No byte: the glob is over.
    Nothing,
}

/// The parts that are left of the globs of one meaning when they have matched.
#[derive(Clone, Copy, Debug)]
struct Ends {
    exact: u32,
    below: u32,
}

impl Globs {
    /// Adds a normalised glob, such as `ads-*.example.com`.
    pub(super) fn insert(&mut self, text: &[u8], meant: Meant) {
        let ends = self.ends(meant);
        for form in meant.forms {
            let end = match form {
                Form::Exact => ends.exact,
                // No name starts with a dot, so behind this one there is more.
                Form::Below => self.longer(ends.below, b'.', ends),
            };
            let whole = text.iter().fold(end, |rest, byte| self.longer(rest, *byte, ends));
            self.whole.push(whole);
        }
    }

    /// The automaton: two buckets a state, first that from which nothing matches, then that in front of a name. Empty
    /// without globs.
    pub(super) fn rows(&self, sets: &mut Sets) -> Result<Vec<Vector>, ImageError> {
        if self.whole.is_empty() {
            return Ok(Vec::new());
        }
        states::rows(self, sets)
    }

    /// Whether a byte of a label leaves the part as it is.
    fn stays(&self, at: u32) -> bool {
        matches!(self.part(at).takes, Takes::All | Takes::Label)
    }

    /// What is left of a part that ends in a `*`, which stands for no byte as well.
    fn behind(&self, at: u32) -> Option<Part> {
        let part = self.part(at);
        (part.takes == Takes::Label).then(|| self.part(part.rest))
    }

    /// The parts that match all that this one does, and more.
    fn wider(&self, at: u32) -> impl Iterator<Item = u32> {
        iter::successors(self.part(at).wider, |at| self.part(*at).wider)
    }

    fn ends(&mut self, Meant { class, except, .. }: Meant) -> Ends {
        if let Some(ends) = self.ends.get(&(class, except)) {
            return *ends;
        }
        let end = |takes, wider| Part { takes, rest: 0, wider, class, except };
        let below = self.add(end(Takes::All, None));
        let exact = self.add(end(Takes::Nothing, Some(below)));
        let ends = Ends { exact, below };
        self.ends.insert((class, except), ends);
        ends
    }

    /// The part that has `byte` behind `rest`.
    fn longer(&mut self, rest: u32, byte: u8, ends: Ends) -> u32 {
        let part = self.part(rest);
        let takes = if byte == b'*' { Takes::Label } else { Takes::Byte(byte) };
        if (part.takes, takes) == (Takes::Label, Takes::Label) {
            return rest;
        }
        if let Some(known) = self.known.get(&(rest, byte)) {
            return *known;
        }
        let wider = match part.takes {
            _ if byte == b'.' => Some(ends.below),
            // Whatever leads to the `*` is a run of bytes of its label, for which it stands too.
            Takes::Label => Some(rest),
            Takes::All | Takes::Byte(_) | Takes::Nothing => part.wider,
        };
        let longer = self.add(Part { takes, rest, wider, ..part });
        self.known.insert((rest, byte), longer);
        longer
    }

    fn add(&mut self, part: Part) -> u32 {
        self.parts.push(part);
        self.parts.len() as u32 - 1
    }

    fn part(&self, at: u32) -> Part {
        let nothing = Part { takes: Takes::Nothing, rest: 0, wider: None, class: 0, except: false };
        self.parts.get(at as usize).copied().unwrap_or(nothing)
    }
}
