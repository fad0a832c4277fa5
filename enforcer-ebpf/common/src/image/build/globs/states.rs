//! From the parts of globs to the states of the automaton: subset construction.
//!
//! Below one name all states of many globs have the same parts that end in a `*`, and those are most of what a state
//! has. They are kept once, with where each byte leads from behind their `*`; a state adds what it has read meanwhile.

use super::{Globs, Part, Takes};
use crate::{
    Vector,
    image::{
        ACCEPTS, LANES,
        build::{
            ImageError,
            sets::{Meant, Sets},
        },
        lane,
    },
    name::Form,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    rc::Rc,
};

/// Most states: their numbers have 16 bits. A state takes 128 bytes of kernel memory, so these are 8 MiB.
const STATES_MAX: usize = 0x1_0000;
/// Most parts that are looked at until the automaton is done. They bound the time that it takes, to about a second, and
/// the memory meanwhile, to four bytes for each.
const PARTS_MAX: usize = 64 << 20;

/// The automaton: two buckets a state, first that from which nothing matches, then that in front of a name.
pub(super) fn rows(globs: &Globs, sets: &mut Sets) -> Result<Vec<Vector>, ImageError> {
    let mut states = States::new(globs, sets);
    let nothing = State { staying: states.number_staying(Vec::new())?, passing: Rc::default() };
    states.number(&nothing)?;
    let first = states.join(&nothing, globs.whole.clone())?;
    states.number(&first)?;
    let mut rows = Vec::new();
    while let Some(state) = states.list.get(rows.len() / 2).cloned() {
        let lanes = states.lanes(&state)?;
        rows.extend(packed(with(lanes, ACCEPTS, states.accepts(&state)?)));
    }
    Ok(rows)
}

/// The parts that may match.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
struct State {
    /// Number of the set of those that stay: a byte of a label leaves them as they are.
    staying: u32,
    /// The others, in order.
    passing: Rc<[u32]>,
}

/// Parts that stay.
struct Staying {
    /// In order.
    parts: Rc<[u32]>,
    /// The set of what they match where the name ends.
    accepts: u16,
    /// Where they lead, once that is asked for.
    leads: Option<Rc<Leads>>,
}

/// Where parts that stay lead, with what is behind their `*`.
struct Leads {
    /// By byte. The dot is always among them.
    bytes: BTreeMap<u8, State>,
    /// Any other.
    others: State,
}

/// The states so far.
struct States<'a> {
    globs: &'a Globs,
    sets: &'a mut Sets,
    numbers: HashMap<State, u16>,
    list: Vec<State>,
    staying_numbers: HashMap<Rc<[u32]>, u32>,
    staying: Vec<Staying>,
    /// Parts looked at.
    parts: usize,
}

impl<'a> States<'a> {
    fn new(globs: &'a Globs, sets: &'a mut Sets) -> Self {
        Self {
            globs,
            sets,
            numbers: HashMap::new(),
            list: Vec::new(),
            staying_numbers: HashMap::new(),
            staying: Vec::new(),
            parts: 0,
        }
    }

    /// The number of a state.
    fn number(&mut self, state: &State) -> Result<u16, ImageError> {
        if let Some(known) = self.numbers.get(state) {
            return Ok(*known);
        }
        if self.list.len() >= STATES_MAX {
            return Err(self.too_many());
        }
        let number = self.list.len() as u16;
        self.list.push(state.clone());
        self.numbers.insert(state.clone(), number);
        Ok(number)
    }

    /// Where each byte leads.
    fn lanes(&mut self, state: &State) -> Result<[u16; LANES], ImageError> {
        let leads = self.leads(state.staying)?;
        let mut passed: BTreeMap<u8, Vec<u32>> = BTreeMap::new();
        for part in state.passing.iter().map(|at| self.globs.part(*at)) {
            if let Takes::Byte(byte) = part.takes {
                passed.entry(byte).or_default().push(part.rest);
            }
        }
        let mut lanes = [self.number(&leads.others)?; LANES];
        let bytes: BTreeSet<u8> = leads.bytes.keys().chain(passed.keys()).copied().collect();
        for byte in bytes {
            let lead = leads.bytes.get(&byte).unwrap_or(&leads.others);
            let next = self.join(lead, passed.remove(&byte).unwrap_or_default())?;
            lanes = with(lanes, lane(byte), self.number(&next)?);
        }
        Ok(lanes)
    }

    /// Where parts that stay lead.
    fn leads(&mut self, number: u32) -> Result<Rc<Leads>, ImageError> {
        let Some(Staying { parts, leads, .. }) = self.staying.get(number as usize) else {
            return Err(self.too_many());
        };
        if let Some(leads) = leads {
            return Ok(Rc::clone(leads));
        }
        let parts = Rc::clone(parts);
        let mut behind: BTreeMap<u8, Vec<u32>> = BTreeMap::from([(b'.', Vec::new())]);
        for part in parts.iter().filter_map(|at| self.globs.behind(*at)) {
            if let Takes::Byte(byte) = part.takes {
                behind.entry(byte).or_default().push(part.rest);
            }
        }
        // No `*` reaches beyond its label.
        let all = parts.iter().copied().filter(|at| self.globs.part(*at).takes == Takes::All);
        let below = State { staying: self.number_staying(all.collect())?, passing: Rc::default() };
        let others = State { staying: number, passing: Rc::default() };
        let mut bytes = BTreeMap::new();
        for (byte, found) in behind {
            let from = if byte == b'.' { &below } else { &others };
            bytes.insert(byte, self.join(from, found)?);
        }
        let leads = Rc::new(Leads { bytes, others });
        if let Some(staying) = self.staying.get_mut(number as usize) {
            staying.leads = Some(Rc::clone(&leads));
        }
        Ok(leads)
    }

    /// The state with further parts, each once, without those that another one makes needless.
    fn join(&mut self, state: &State, found: Vec<u32>) -> Result<State, ImageError> {
        if found.is_empty() {
            return Ok(state.clone());
        }
        let globs = self.globs;
        let staying = self.parts_staying(state.staying);
        let (more, passing): (Vec<u32>, Vec<u32>) = found.into_iter().partition(|at| globs.stays(*at));
        let more = ordered(more.into_iter().filter(|at| staying.binary_search(at).is_err()));
        self.spend(state.passing.len() + passing.len())?;
        // What is there was held against all that is there when it came.
        if more.is_empty() {
            let passing = self.needed(passing, &staying)?;
            let passing = ordered(state.passing.iter().copied().chain(passing));
            return Ok(State { staying: state.staying, passing: passing.into() });
        }
        let all = ordered(staying.iter().chain(&more).copied());
        let before = self.needed(state.passing.to_vec(), &more)?;
        let passing = ordered(before.into_iter().chain(self.needed(passing, &all)?));
        let before = self.needed(staying.to_vec(), &more)?;
        let staying = ordered(before.into_iter().chain(self.needed(more, &all)?));
        Ok(State { staying: self.number_staying(staying)?, passing: passing.into() })
    }

    /// Those of the parts of which none that stays, in order, matches all that they do.
    fn needed(&mut self, mut parts: Vec<u32>, staying: &[u32]) -> Result<Vec<u32>, ImageError> {
        let globs = self.globs;
        let mut looked_at = parts.len();
        parts.retain(|at| {
            let mut wider = globs.wider(*at).inspect(|_| looked_at += 1);
            !wider.any(|wider| staying.binary_search(&wider).is_ok())
        });
        self.spend(looked_at)?;
        Ok(parts)
    }

    /// The number of a set of parts that stay, in order.
    fn number_staying(&mut self, parts: Vec<u32>) -> Result<u32, ImageError> {
        self.spend(parts.len())?;
        if let Some(known) = self.staying_numbers.get(parts.as_slice()) {
            return Ok(*known);
        }
        let globs = self.globs;
        // A `*` stands for no byte as well.
        let matched = parts.iter().flat_map(|at| [Some(globs.part(*at)), globs.behind(*at)]).flatten();
        let accepts =
            matched.filter(|part| part.matches()).try_fold(0, |set, part| self.with_part(set, part))?;
        let number = self.staying.len() as u32;
        let parts: Rc<[u32]> = parts.into();
        self.staying.push(Staying { parts: Rc::clone(&parts), accepts, leads: None });
        self.staying_numbers.insert(parts, number);
        Ok(number)
    }

    /// The set of what has matched when the name ends here.
    fn accepts(&mut self, state: &State) -> Result<u16, ImageError> {
        let set = self.staying.get(state.staying as usize).map_or(0, |staying| staying.accepts);
        self.sets.enter(set);
        let parts = state.passing.iter().map(|at| self.globs.part(*at));
        parts.filter(Part::matches).try_fold(set, |set, part| self.with_part(set, part))
    }

    fn with_part(&mut self, set: u16, Part { class, except, .. }: Part) -> Result<u16, ImageError> {
        self.sets.change(set, Meant { class, except, forms: &[Form::Exact] })
    }

    fn parts_staying(&self, number: u32) -> Rc<[u32]> {
        self.staying.get(number as usize).map_or_else(Rc::default, |staying| Rc::clone(&staying.parts))
    }

    fn spend(&mut self, parts: usize) -> Result<(), ImageError> {
        self.parts += parts;
        if self.parts > PARTS_MAX { Err(self.too_many()) } else { Ok(()) }
    }

    /// Names the class with the most parts in all states.
    fn too_many(&self) -> ImageError {
        let mut parts: BTreeMap<u16, usize> = BTreeMap::new();
        let mut with_staying = vec![0; self.staying.len()];
        for state in &self.list {
            if let Some(states) = with_staying.get_mut(state.staying as usize) {
                *states += 1;
            }
            for at in state.passing.iter() {
                *parts.entry(self.globs.part(*at).class).or_default() += 1;
            }
        }
        for (staying, states) in self.staying.iter().zip(with_staying) {
            for at in staying.parts.iter() {
                *parts.entry(self.globs.part(*at).class).or_default() += states;
            }
        }
        let class = parts.into_iter().max_by_key(|(_, count)| *count).map_or(0, |(class, _)| class);
        ImageError::TooManyGlobs { class }
    }
}

fn ordered(parts: impl Iterator<Item = u32>) -> Vec<u32> {
    // Two runs that are mostly in order.
    let mut parts: Vec<u32> = parts.collect();
    parts.sort();
    parts.dedup();
    parts
}

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
