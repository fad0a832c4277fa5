//! The glob automaton of an image: all in-label globs of a policy at once, over names read from the last byte to the
//! first.
//!
//! What is left of a glob while a name is read is a *part* of it: `ads-*.example.com` has the parts `ads-*.example.co`,
//! `ads-*.example.c` and so on. Those of one rule are a trie from their first bytes. A state of the automaton is the set
//! of parts that may still match (subset construction).

use super::{ImageError, Meant, sets::Sets};
use crate::{
    Vector,
    image::{ACCEPTS, LANES, lane},
    name::Form,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter,
    rc::Rc,
};

/// Most states: their numbers have 16 bits. A state takes 128 bytes of kernel memory, so these are 8 MiB.
const STATES_MAX: usize = 0x1_0000;
/// Most parts in all states together: 64 MiB while the automaton is made. They bound the time that it takes, too.
const PARTS_MAX: usize = 16 << 20;

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
        let mut states = States::default();
        let mut rows = Vec::new();
        if self.whole.is_empty() {
            return Ok(rows);
        }
        states.number(Vec::new());
        states.number(self.settled(self.whole.clone()));
        while let Some(state) = states.list.get(rows.len() / 2).map(Rc::clone) {
            let too_many = |states: &States| ImageError::TooManyGlobs { class: self.heaviest(states) };
            let lanes = self.lanes(&state, &mut states).ok_or_else(|| too_many(&states))?;
            rows.extend(packed(with(lanes, ACCEPTS, self.set(&state, sets)?)));
        }
        Ok(rows)
    }

    /// Where each byte leads.
    fn lanes(&self, state: &[u32], states: &mut States) -> Option<[u16; LANES]> {
        let takes =
            |(_, part): (u32, Part)| if let Takes::Byte(byte) = part.takes { Some(byte) } else { None };
        let apart: BTreeSet<u8> = self.each(state).filter_map(takes).chain([b'.']).collect();
        let others = states.number(self.after(state, OTHER))?;
        apart.into_iter().try_fold([others; LANES], |lanes, byte| {
            Some(with(lanes, lane(byte), states.number(self.after(state, byte))?))
        })
    }

    /// What may match after `byte`.
    fn after(&self, state: &[u32], byte: u8) -> Vec<u32> {
        let next = |(at, part): (u32, Part)| match part.takes {
            Takes::All => Some(at),
            Takes::Byte(own) => (own == byte).then_some(part.rest),
            Takes::Label => (byte != b'.').then_some(at),
            Takes::Nothing => None,
        };
        self.settled(self.each(state).filter_map(next).collect())
    }

    /// The parts that may match: those of a state, and since a `*` stands for no byte as well, what is left of it.
    fn each<'a>(&'a self, state: &'a [u32]) -> impl Iterator<Item = (u32, Part)> + 'a {
        let skipped = |part: Part| (part.takes == Takes::Label).then_some(part.rest);
        let with_rest = move |at: &u32| [Some(*at), skipped(self.part(*at))];
        state.iter().flat_map(with_rest).flatten().map(|at| (at, self.part(at)))
    }

    /// The same parts, each once, without those that another one makes needless.
    fn settled(&self, mut state: Vec<u32>) -> Vec<u32> {
        // Most of it is in order: what stays keeps its place.
        state.sort();
        state.dedup();
        let takes_any = |at: &u32| matches!(self.part(*at).takes, Takes::All | Takes::Label);
        let loops: Vec<u32> = state.iter().copied().filter(takes_any).collect();
        let between = loops.first().copied().zip(loops.last().copied());
        state.retain(|at| {
            let mut wider = iter::successors(self.part(*at).wider, |at| self.part(*at).wider);
            let known = |wider: u32| {
                between.is_some_and(|(first, last)| (first..=last).contains(&wider))
                    && loops.binary_search(&wider).is_ok()
            };
            !wider.any(known)
        });
        state
    }

    /// The set of what has matched when the name ends here.
    fn set(&self, state: &[u32], sets: &mut Sets) -> Result<u16, ImageError> {
        let parts = self.each(state).map(|(_, part)| part);
        parts.filter(|part| matches!(part.takes, Takes::All | Takes::Nothing)).try_fold(0, |set, part| {
            let Part { class, except, .. } = part;
            sets.change(set, Meant { class, except, forms: &[Form::Exact] })
        })
    }

    /// The class with the most parts in all states.
    fn heaviest(&self, states: &States) -> u16 {
        let mut parts: BTreeMap<u16, usize> = BTreeMap::new();
        for at in states.list.iter().flat_map(|state| state.iter()) {
            *parts.entry(self.part(*at).class).or_default() += 1;
        }
        parts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(class, _)| class)
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

/// The states so far, by number.
#[derive(Default)]
struct States {
    numbers: HashMap<Rc<[u32]>, u16>,
    list: Vec<Rc<[u32]>>,
    /// Parts in all of them.
    parts: usize,
}

impl States {
    /// The number of a state; `None` if it is one too many.
    fn number(&mut self, state: Vec<u32>) -> Option<u16> {
        if let Some(known) = self.numbers.get(state.as_slice()) {
            return Some(*known);
        }
        self.parts += state.len();
        if self.list.len() >= STATES_MAX || self.parts > PARTS_MAX {
            return None;
        }
        let (number, state): (u16, Rc<[u32]>) = (self.list.len() as u16, state.into());
        self.list.push(Rc::clone(&state));
        self.numbers.insert(state, number);
        Some(number)
    }
}

/// A byte that no glob has, for all of them.
const OTHER: u8 = 0;

fn with(mut lanes: [u16; LANES], lane: u32, value: u16) -> [u16; LANES] {
    if let Some(place) = lanes.get_mut(lane as usize) {
        *place = value;
    }
    lanes
}

fn packed(lanes: [u16; LANES]) -> [Vector; 2] {
    let mut words = lanes.as_chunks::<4>().0.iter().map(|lanes| {
        let [a, b, c, d] = lanes.map(u64::from);
        d << 48 | c << 32 | b << 16 | a
    });
    let mut bucket = || Vector(std::array::from_fn(|_| words.next().unwrap_or_default()));
    [bucket(), bucket()]
}
