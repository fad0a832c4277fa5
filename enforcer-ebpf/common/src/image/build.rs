//! Building an image from what a policy says.

use super::*;
use crate::{CLASSES, vector::WORDS};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::RangeInclusive,
};

/// Why an image cannot be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ImageError {
    /// More different combinations of rules over names than a 16-bit number can tell apart.
    TooManySets,
    /// The name table found no arrangement; with random keys this does not happen twice.
    NoArrangement,
    /// More names than the 32-bit bucket numbers reach.
    TooManyNames,
}

impl std::fmt::Display for ImageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooManySets => {
                "the names of the policy fall into more than 65,535 different combinations of rules"
            }
            Self::NoArrangement => "the name table found no arrangement for this key",
            Self::TooManyNames => "the policy has more names than the name table can number",
        })
    }
}

impl std::error::Error for ImageError {}

/// Collects what a policy says, then lays it out.
#[derive(Debug)]
pub struct ImageBuilder {
    version: u64,
    key: Vector,
    flags: u64,
    hold_allow: u64,
    classes: u16,
    vectors: [Vector; 6],
    errnos: [Vector; 8],
    /// Sets by number, with how many names have them; numbers are given anew in [`ImageBuilder::build`].
    sets: HashMap<(Vector, Vector), u32>,
    set_list: Vec<((Vector, Vector), u64)>,
    names: HashMap<(u64, bool), u32>,
    ports: BTreeMap<u16, [Vec<RangeInclusive<u16>>; 2]>,
}

impl ImageBuilder {
    /// An image for policy `version` with rules of class 0 to `classes - 1`; `random` keys its name hash.
    pub fn new(version: u64, classes: u16, random: [u64; 8]) -> Self {
        Self {
            version,
            key: name::key(random),
            flags: 0,
            hold_allow: 0,
            classes,
            vectors: [Vector::EMPTY; 6],
            errnos: [Vector::EMPTY; 8],
            sets: HashMap::from([((Vector::EMPTY, Vector::EMPTY), 0)]),
            set_list: vec![((Vector::EMPTY, Vector::EMPTY), 1)],
            names: HashMap::new(),
            ports: BTreeMap::new(),
        }
    }

    /// What happens to a connection that no rule matches.
    pub fn default(&mut self, deny: bool, enforced: bool) {
        self.flags |= (u64::from(deny) * DEFAULT_DENY) | (u64::from(enforced) * DEFAULT_ENFORCED);
    }

    /// What happens to an address that no lookup preceded and no rule matches.
    pub fn literal(&mut self, deny: bool, enforced: bool) {
        self.flags |= (u64::from(deny) * LITERAL) | (u64::from(enforced) * LITERAL_ENFORCED);
    }

    /// Nanoseconds that an allow binding lives at least.
    pub fn hold_allow(&mut self, nanoseconds: u64) {
        self.hold_allow = nanoseconds;
    }

    /// Adds `class` to a vector over the classes.
    pub fn mark(&mut self, vector: ClassVector, class: u16) {
        if let Some(vector) = self.vectors.get_mut(vector as usize) {
            vector.insert(class);
        }
    }

    /// The errno with which `class` refuses.
    pub fn errno(&mut self, class: u16, errno: u8) {
        let word = self
            .errnos
            .get_mut(usize::from(class) / 64)
            .and_then(|v| v.0.get_mut(usize::from(class) / 8 % WORDS));
        if let Some(word) = word {
            let shift = class % 8 * 8;
            *word = *word & !(0xff << shift) | u64::from(errno) << shift;
        }
    }

    /// Restricts `class` to ports; without a call it has every port.
    pub fn port(&mut self, class: u16, protocol: Protocol, ports: RangeInclusive<u16>) {
        let [tcp, udp] = self.ports.entry(class).or_default();
        match protocol {
            Protocol::Tcp => tcp.push(ports),
            Protocol::Udp => udp.push(ports),
        }
    }

    /// Adds a normalised name to `class`, or to what the class excepts.
    ///
    /// # Errors
    /// [`ImageError::TooManySets`], if there are more than 32 bits can number.
    pub fn name(
        &mut self,
        name: impl AsRef<[u8]>,
        form: Form,
        class: u16,
        except: bool,
    ) -> Result<(), ImageError> {
        let entry = (name::hash(&self.key, name.as_ref()), form == Form::Exact);
        let current = self.names.get(&entry).copied().unwrap_or(0);
        let Some(((mut to, mut excepted), _)) = self.set_list.get(current as usize).copied() else {
            return Ok(());
        };
        if except {
            excepted.insert(class);
        } else {
            to.insert(class);
        }
        let set = match self.sets.get(&(to, excepted)) {
            Some(set) => *set,
            None => {
                let set = u32::try_from(self.set_list.len()).map_err(|_| ImageError::TooManySets)?;
                self.set_list.push(((to, excepted), 0));
                self.sets.insert((to, excepted), set);
                set
            }
        };
        for (number, change) in [(set, 1), (current, -1)] {
            if let Some((_, names)) = self.set_list.get_mut(number as usize).filter(|_| number != 0) {
                *names = names.saturating_add_signed(change);
            }
        }
        self.names.insert(entry, set);
        Ok(())
    }

    /// The buckets of the image.
    ///
    /// # Errors
    /// [`ImageError::NoArrangement`]: try another key. [`ImageError::TooManyNames`], [`ImageError::TooManySets`].
    pub fn build(&self) -> Result<Vec<Vector>, ImageError> {
        let mut image = vec![Vector::EMPTY; FULL as usize + 1];
        for (word, bucket) in image.iter_mut().skip(CLASS_WORDS as usize).take(WORDS).enumerate() {
            for (place, vector) in bucket.0.iter_mut().zip(self.vectors) {
                *place = vector.0.get(word).copied().unwrap_or_default();
            }
        }
        for (bucket, vector) in image.iter_mut().skip(ERRNOS as usize).zip(self.errnos) {
            *bucket = vector;
        }
        let sets = image.len() as u64;
        let [deny, enforced, _, all_sightings, _, by_cgroup] = self.vectors;
        let mut enforced_deny = deny;
        enforced_deny.intersect(&enforced);
        let flag = |vector: Vector, flag| if vector.is_empty() { 0 } else { flag };
        let flags = self.flags
            | flag(by_cgroup, BY_CGROUP)
            | flag(all_sightings, ALL_SIGHTINGS)
            | flag(enforced_deny, ENFORCED_DENY);
        // One at least: the loop over the words is also where bindings are looked at.
        let class_words = u64::from(self.classes.max(1)).div_ceil(64);
        let mut words = [MAGIC, self.version, flags, sets, 0, 0, self.hold_allow, class_words];
        if let Some(full) = image.get_mut(FULL as usize) {
            *full = Vector::FULL;
        }
        let numbers = self.set_numbers()?;
        let used = self.set_list.iter().filter(|(_, names)| *names > 0);
        image.extend(used.flat_map(|((to, except), _)| [*to, *except]));
        if !self.ports.is_empty() {
            let (numbers, vectors) = self.port_tables();
            let start = image.len() as u64;
            image.extend(numbers);
            words[5] = (image.len() as u64) << 32 | start;
            image.extend(vectors);
        }
        let (table, stash) = self.name_table(&numbers)?;
        words[4] = (table.len() as u64) << 32 | image.len() as u64;
        u32::try_from(image.len() + table.len()).map_err(|_| ImageError::TooManyNames)?;
        image.extend(table);
        for (at, bucket) in [(META, Vector(words)), (KEY, self.key), (STASH, stash)] {
            if let Some(place) = image.get_mut(at as usize) {
                *place = bucket;
            }
        }
        Ok(image)
    }

    /// The final number of each set: only those that a name has are laid out, because adding a name to a second rule leaves
    /// the set of the first behind.
    fn set_numbers(&self) -> Result<Vec<u64>, ImageError> {
        let mut next = 0;
        let numbers: Vec<u64> = self
            .set_list
            .iter()
            .map(|(_, names)| {
                next += u64::from(*names > 0);
                next.saturating_sub(1)
            })
            .collect();
        if next > 0x1_0000 { Err(ImageError::TooManySets) } else { Ok(numbers) }
    }

    /// One vector number for each port, and the vectors. Few ports start or end a range, so few vectors differ.
    fn port_tables(&self) -> (Vec<Vector>, Vec<Vector>) {
        let mut vectors: Vec<Vector> = Vec::new();
        let mut numbers = vec![Vector::EMPTY; 2 * 0x1_0000 / 32];
        for protocol in [0_usize, 1] {
            let ranges = || {
                self.ports.iter().flat_map(move |(class, both)| {
                    both.iter().skip(protocol).take(1).flatten().map(move |range| (*class, range))
                })
            };
            let edges: BTreeSet<u32> = ranges()
                .flat_map(|(_, range)| [u32::from(*range.start()), u32::from(*range.end()) + 1])
                .chain([0, 0x1_0000])
                .collect();
            for (first, end) in edges.iter().zip(edges.iter().skip(1)) {
                let mut vector = Vector::FULL;
                for class in self.ports.keys() {
                    clear(&mut vector, *class);
                }
                for (class, range) in ranges() {
                    if (u32::from(*range.start())..=u32::from(*range.end())).contains(first) {
                        vector.insert(class);
                    }
                }
                let number = vectors.iter().position(|known| *known == vector).unwrap_or_else(|| {
                    vectors.push(vector);
                    vectors.len() - 1
                });
                for port in *first..*end {
                    let at = port as usize + protocol * 0x1_0000;
                    if let Some(word) =
                        numbers.get_mut(at / 32).and_then(|bucket| bucket.0.get_mut(at / 4 % WORDS))
                    {
                        *word |= (number as u64) << (at % 4 * 16);
                    }
                }
            }
        }
        (numbers, vectors)
    }

    /// Two candidate buckets for each name; what finds room in neither stands in the stash.
    fn name_table(&self, numbers: &[u64]) -> Result<(Vec<Vector>, Vector), ImageError> {
        let mut count = self.names.len().div_ceil(6).max(1);
        for _ in 0..8 {
            if let Some(table) = self.try_name_table(count, numbers) {
                return Ok(table);
            }
            count += count / 8 + 1;
        }
        Err(ImageError::NoArrangement)
    }

    fn try_name_table(&self, count: usize, numbers: &[u64]) -> Option<(Vec<Vector>, Vector)> {
        let mut table = vec![Vector::EMPTY; count];
        let mut stash = Vector::EMPTY;
        for ((hash, exact), set) in &self.names {
            let Place { fingerprint, first, second } =
                name::place(&self.key, *hash, if *exact { Form::Exact } else { Form::Below });
            let entry = fingerprint << 16 | numbers.get(*set as usize)?;
            let free = |at: u64| {
                let at = ((at * count as u64) >> 32) as usize;
                (at, table.get(at).map_or(0, |bucket| bucket.0.iter().filter(|entry| **entry == 0).count()))
            };
            let ((first, first_free), (second, second_free)) = (free(first), free(second));
            let at = if first_free >= second_free { first } else { second };
            let bucket = if first_free.max(second_free) == 0 { &mut stash } else { table.get_mut(at)? };
            *bucket.0.iter_mut().find(|entry| **entry == 0)? = entry;
        }
        Some((table, stash))
    }
}

fn clear(vector: &mut Vector, class: u16) {
    if let Some(word) = vector.0.get_mut(usize::from(class) / 64) {
        *word &= !(1 << (class % 64));
    }
}

const _: () = assert!(CLASSES == 512, "the errnos take eight buckets");
