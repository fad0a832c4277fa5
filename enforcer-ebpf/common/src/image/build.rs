//! Building an image from what a policy says.

use super::*;
use crate::{Address, CLASSES, vector::WORDS};
use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

mod globs;
mod names;
mod sets;

use globs::Globs;
use names::Names;
use sets::Meant;

/// Why an image cannot be built.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ImageError {
    /// More states than the glob automaton may have.
    TooManyGlobs {
        /// The class whose globs take the most of them.
        class: u16,
    },
    /// More different combinations of rules over names than a 16-bit number can tell apart.
    TooManySets,
    /// More names than the table was made for.
    NoRoom,
    /// More names than the 32-bit bucket numbers reach.
    TooManyNames,
}

impl std::fmt::Display for ImageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooManyGlobs { .. } => "the names with a `*` inside a label are too many to be told apart",
            Self::TooManySets => {
                "the names of the policy fall into more than 65,535 different combinations of rules"
            }
            Self::NoRoom => "the name table has no room for the names",
            Self::TooManyNames => "the policy has more names than the name table can number",
        })
    }
}

impl std::error::Error for ImageError {}

/// Collects what a policy says, then lays it out.
#[derive(Debug)]
pub struct ImageBuilder {
    version: u64,
    flags: u64,
    hold_allow: u64,
    classes: u16,
    vectors: [Vector; 7],
    errnos: [Vector; 8],
    translators: Vec<Vector>,
    names: Names,
    globs: Globs,
    ports: BTreeMap<u16, [Vec<RangeInclusive<u16>>; 2]>,
}

impl ImageBuilder {
    /// An image for policy `version` with rules of class 0 to `classes - 1` and at most so many names; `random` keys their
    /// hash.
    ///
    /// # Errors
    /// [`ImageError::TooManyNames`].
    pub fn new(version: u64, classes: u16, names: usize, random: [u64; 8]) -> Result<Self, ImageError> {
        Ok(Self {
            version,
            flags: 0,
            hold_allow: 0,
            classes,
            vectors: [Vector::EMPTY; 7],
            errnos: [Vector::EMPTY; 8],
            translators: Vec::new(),
            names: Names::new(HEADER as usize, names, name::key(random))?,
            globs: Globs::default(),
            ports: BTreeMap::new(),
        })
    }

    /// What happens to a connection that no rule matches.
    pub fn default(&mut self, deny: bool, enforced: bool) {
        self.flags |= (u64::from(deny) * DEFAULT_DENY) | (u64::from(enforced) * DEFAULT_ENFORCED);
    }

    /// What happens to an address that no lookup preceded and no rule matches.
    pub fn literal(&mut self, deny: bool, enforced: bool) {
        self.flags |= (u64::from(deny) * LITERAL) | (u64::from(enforced) * LITERAL_ENFORCED);
    }

    /// What a peer opened is judged as if this machine had opened it.
    pub fn judge_inbound(&mut self) {
        self.flags |= INBOUND_JUDGED;
    }

    /// Nanoseconds that an allow binding lives at least.
    pub fn hold_allow(&mut self, nanoseconds: u64) {
        self.hold_allow = nanoseconds;
    }

    /// Addresses of this prefix stand for the IPv4 address inside: one of the lengths of RFC 6052 section 2.2, at most
    /// [`TRANSLATORS_MAX`] of them.
    pub fn translator(&mut self, prefix: Address, length: u8) {
        self.flags |= TRANSLATES;
        self.translators.push(translation::bucket(&prefix, length));
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

    /// Adds normalised names to `class`, or to what the class excepts: themselves, what is below them, or both.
    ///
    /// # Errors
    /// [`ImageError::NoRoom`]: start again with more. [`ImageError::TooManySets`].
    pub fn names<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a [u8], IntoIter: Send>,
        forms: &'static [Form],
        class: u16,
        except: bool,
    ) -> Result<(), ImageError> {
        self.names.insert(names, Meant { class, except, forms })
    }

    /// Adds a normalised glob, such as `ads-*.example.com`, to `class`, or to what the class excepts: names of its shape,
    /// what is below them, or both.
    pub fn glob(&mut self, text: &[u8], forms: &'static [Form], class: u16, except: bool) {
        self.globs.insert(text, Meant { class, except, forms });
    }

    /// How many names there are so far, each once.
    pub fn name_count(&self) -> usize {
        self.names.count
    }

    /// The buckets of the image.
    ///
    /// # Errors
    /// [`ImageError::TooManyNames`], [`ImageError::TooManyGlobs`], [`ImageError::TooManySets`].
    pub fn build(mut self) -> Result<Vec<Vector>, ImageError> {
        let globs = self.globs.rows(self.names.sets())?;
        let ports = (!self.ports.is_empty()).then(|| self.port_tables());
        let [deny, enforced, _, all_sightings, _, by_cgroup, refuses_lookup] = self.vectors;
        let mut enforced_deny = deny;
        enforced_deny.intersect(&enforced);
        let flag = |vector: Vector, flag| if vector.is_empty() { 0 } else { flag };
        let flags = self.flags
            | flag(by_cgroup, BY_CGROUP)
            | flag(all_sightings, ALL_SIGHTINGS)
            | flag(enforced_deny, ENFORCED_DENY)
            | flag(refuses_lookup, REFUSES_LOOKUPS);
        // One at least: the loop over the words is also where bindings are looked at.
        let class_words = u64::from(self.classes.max(1)).div_ceil(64);
        let (key, stash, table) = (self.names.key, self.names.stash, self.names.buckets());
        let (mut image, sets) = self.names.finish();
        let (sets_start, names) = (image.len() as u64, table << 32 | u64::from(HEADER));
        let mut words = [MAGIC, self.version, flags, sets_start, names, 0, self.hold_allow, class_words];
        image.extend(sets);
        if let Some((numbers, vectors)) = ports {
            let start = image.len() as u64;
            image.extend(numbers);
            words[5] = (image.len() as u64) << 32 | start;
            image.extend(vectors);
        }
        if !globs.is_empty() {
            words[7] |= (image.len() as u64) << 32;
            image.extend(globs);
        }
        u32::try_from(image.len()).map_err(|_| ImageError::TooManyNames)?;
        for (word, bucket) in image.iter_mut().skip(CLASS_WORDS as usize).take(WORDS).enumerate() {
            for (place, vector) in bucket.0.iter_mut().zip(self.vectors) {
                *place = vector.0.get(word).copied().unwrap_or_default();
            }
        }
        for (bucket, vector) in image.iter_mut().skip(ERRNOS as usize).zip(self.errnos) {
            *bucket = vector;
        }
        for (bucket, translator) in image.iter_mut().skip(TRANSLATORS as usize).zip(self.translators) {
            *bucket = translator;
        }
        for (at, bucket) in [(META, Vector(words)), (KEY, key), (STASH, stash), (FULL, Vector::FULL)] {
            if let Some(place) = image.get_mut(at as usize) {
                *place = bucket;
            }
        }
        Ok(image)
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
}

/// Gives an image another policy number.
pub fn renumber(image: &mut [Vector], version: u64) {
    if let Some(Vector([_, number, ..])) = image.get_mut(META as usize) {
        *number = version;
    }
}

fn clear(vector: &mut Vector, class: u16) {
    if let Some(word) = vector.0.get_mut(usize::from(class) / 64) {
        *word &= !(1 << (class % 64));
    }
}

const _: () = assert!(CLASSES == 512, "the errnos take eight buckets");
