//! The policy image: one immutable array of 64-byte buckets that says everything about a policy but its CIDRs and
//! subjects. User space builds it, copies it into the inner map of a slot, and never changes it again.
//!
//! | buckets | what |
//! |---|---|
//! | 0 | [`Meta`] |
//! | 1..9 | the vectors over the classes ([`ClassVector`]), word by word |
//! | 9 | key of the name hash ([`crate::name`]) |
//! | 10..18 | errno of each class, one byte each |
//! | 18 | stash: entries that found no room in the name table |
//! | 19 | every class |
//! | 20..24 | prefixes of translators to IPv4, one each ([`translation`]) |
//! | 24.. | name table: 8 entries a bucket, each a 48-bit fingerprint and a 16-bit set number |
//! | sets | four vectors a set: rules that match the name itself, that except it, that match what is below it, that except that |
//! | ports | optional: 65,536 16-bit numbers of port vectors for TCP, then for UDP; then the port vectors |
//! | globs | optional: the automaton of the in-label globs, 64 16-bit numbers a state: the next state by [`lane`] of a byte, and the set of what has matched at [`ACCEPTS`] |

use crate::{
    Vector,
    name::{self, Form, Place},
    vector::Word,
};

#[cfg(feature = "user")]
mod build;
mod translation;

#[cfg(feature = "user")]
pub use build::{ImageBuilder, ImageError, renumber};
pub use translation::{TRANSLATORS_MAX, translated};

/// Bucket of [`Meta`].
pub const META: u32 = 0;
/// First bucket of the class words: bucket `CLASS_WORDS + w` holds word `w` of each vector over the classes, at the place
/// of a [`ClassVector`]. One lookup gives all that is known about 64 rules.
pub const CLASS_WORDS: u32 = 1;
/// Bucket of the hash key.
pub const KEY: u32 = 9;
/// First bucket of the errnos.
pub const ERRNOS: u32 = 10;
/// Bucket of the stash.
pub const STASH: u32 = 18;
/// Bucket with every class: the ports of a policy in which no rule names a port.
pub const FULL: u32 = 19;
/// First bucket of the prefixes of translators.
const TRANSLATORS: u32 = 20;
/// First bucket of the name table.
#[cfg(feature = "user")]
const HEADER: u32 = TRANSLATORS + TRANSLATORS_MAX;

/// Numbers in a row of the glob automaton.
pub const LANES: usize = 64;
/// Where a row has its set, at a lane that no byte has.
pub const ACCEPTS: u32 = 1;
/// The state of the glob automaton in front of a name.
const GLOB_START: u32 = 1;

/// A vector over the classes, by its place in a class word.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClassVector {
    /// Rules whose action is deny.
    Deny = 0,
    /// Rules that are enforced, not only audited.
    Enforced = 1,
    /// Rules that hold for every destination (`to: any`).
    AnyDestination = 2,
    /// Rules with `sharedAddress: all`.
    AllSightings = 3,
    /// Rules without subjects.
    Everyone = 4,
    /// Rules with a cgroup or unit among their subjects.
    ByCgroup = 5,
    /// Deny rules that refuse lookups of the names they name, too.
    RefusesLookup = 6,
}

/// What is known about the 64 rules of one word.
#[derive(Clone, Copy, Debug)]
pub struct ClassWord<'a>(&'a Vector);

impl<'a> ClassWord<'a> {
    /// Word `word` of `image`.
    #[inline(always)]
    pub fn of(image: &'a impl Buckets, word: Word) -> Option<Self> {
        image.bucket(CLASS_WORDS + word.index() as u32).map(Self)
    }

    /// The word of one vector.
    #[inline(always)]
    pub fn bits(&self, vector: ClassVector) -> u64 {
        self.0[Word::of(vector as u64)]
    }
}

/// Says that a bucket array is an image of this layout; changes with it.
pub const MAGIC: u64 = 0x656e_666f_7263_0005;

/// Read access to the buckets of one image.
pub trait Buckets {
    /// Bucket `index`, `None` past the end.
    fn bucket(&self, index: u32) -> Option<&Vector>;
}

#[cfg(feature = "user")]
impl Buckets for Vec<Vector> {
    fn bucket(&self, index: u32) -> Option<&Vector> {
        self.get(index as usize)
    }
}

/// The numbers of an image, read from bucket 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Meta<'a>(&'a Vector);

const DEFAULT_DENY: u64 = 1;
const DEFAULT_ENFORCED: u64 = 2;
const BY_CGROUP: u64 = 4;
const ALL_SIGHTINGS: u64 = 8;
const ENFORCED_DENY: u64 = 16;
const LITERAL: u64 = 32;
const LITERAL_ENFORCED: u64 = 64;
const INBOUND_JUDGED: u64 = 128;
const REFUSES_LOOKUPS: u64 = 256;
const TRANSLATES: u64 = 512;

impl<'a> Meta<'a> {
    /// The numbers of `image`; `None` if it is not an image of this layout.
    #[inline(always)]
    pub fn of(image: &'a impl Buckets) -> Option<Self> {
        let bucket = image.bucket(META)?;
        let [magic, ..] = bucket.0;
        (magic == MAGIC).then_some(Self(bucket))
    }

    /// Number of the policy.
    #[inline(always)]
    pub fn version(&self) -> u64 {
        self.0.0[1]
    }

    /// Whether a connection that no rule matches is denied.
    #[inline(always)]
    pub fn default_deny(&self) -> bool {
        self.0.0[2] & DEFAULT_DENY != 0
    }

    /// Whether the default is enforced, not only audited.
    #[inline(always)]
    pub fn default_enforced(&self) -> bool {
        self.0.0[2] & DEFAULT_ENFORCED != 0
    }

    /// Whether some rule has a cgroup or unit among its subjects.
    #[inline(always)]
    pub fn by_cgroup(&self) -> bool {
        self.0.0[2] & BY_CGROUP != 0
    }

    /// Whether answers that no rule matches are bound too: some rule asks for all sightings of an address, or for
    /// addresses without any.
    #[inline(always)]
    pub fn binds_everything(&self) -> bool {
        self.0.0[2] & (ALL_SIGHTINGS | LITERAL) != 0
    }

    /// Whether an address that no lookup preceded and no rule matches is denied.
    #[inline(always)]
    pub fn literal_deny(&self) -> bool {
        self.0.0[2] & LITERAL != 0
    }

    /// Whether that is enforced, not only audited.
    #[inline(always)]
    pub fn literal_enforced(&self) -> bool {
        self.0.0[2] & LITERAL_ENFORCED != 0
    }

    /// Whether what a peer opened is judged as if this machine had opened it.
    #[inline(always)]
    pub fn inbound_judged(&self) -> bool {
        self.0.0[2] & INBOUND_JUDGED != 0
    }

    /// Whether some deny rule is enforced.
    #[inline(always)]
    pub fn enforced_deny(&self) -> bool {
        self.0.0[2] & ENFORCED_DENY != 0
    }

    /// Whether some rule refuses lookups, enforced or not.
    #[inline(always)]
    pub fn refuses_lookups(&self) -> bool {
        self.0.0[2] & REFUSES_LOOKUPS != 0
    }

    /// Whether there is a prefix of a translator.
    #[inline(always)]
    fn translates(&self) -> bool {
        self.0.0[2] & TRANSLATES != 0
    }

    /// Words of a vector that the classes of this policy reach.
    #[inline(always)]
    pub fn words(&self) -> u32 {
        self.0.0[7] as u32
    }

    /// The automaton of the in-label globs.
    #[inline(always)]
    pub fn globs(&self) -> Automaton {
        Automaton((self.0.0[7] >> 32) as u32)
    }

    /// First bucket of the sets.
    #[inline(always)]
    fn sets(&self) -> u32 {
        self.0.0[3] as u32
    }

    /// First bucket of the name table.
    #[inline(always)]
    fn names(&self) -> u32 {
        self.0.0[4] as u32
    }

    /// Buckets of the name table.
    #[inline(always)]
    fn name_buckets(&self) -> u64 {
        self.0.0[4] >> 32
    }

    /// First bucket of the port numbers, 0 if no rule names a port.
    #[inline(always)]
    fn ports(&self) -> u32 {
        self.0.0[5] as u32
    }

    /// First bucket of the port vectors.
    #[inline(always)]
    fn port_vectors(&self) -> u32 {
        (self.0.0[5] >> 32) as u32
    }

    /// Nanoseconds that an allow binding lives at least.
    #[inline(always)]
    pub fn hold_allow(&self) -> u64 {
        self.0.0[6]
    }
}

/// Transport protocol of an attempt.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Protocol {
    /// Anything with `SOCK_STREAM` semantics.
    Tcp,
    /// Anything with datagrams.
    Udp,
}

/// Rules whose ports hold `port`; `None` means the image is damaged.
#[inline(always)]
pub fn ports<'a>(
    image: &'a impl Buckets,
    meta: &Meta<'_>,
    protocol: Protocol,
    port: u16,
) -> Option<&'a Vector> {
    if meta.ports() == 0 {
        return image.bucket(FULL);
    }
    let port = u32::from(port) + if matches!(protocol, Protocol::Udp) { 0x1_0000 } else { 0 };
    image.bucket(meta.port_vectors() + number(image, meta.ports(), port)?)
}

/// The number of the set that a hashed name has in the table, 0 if it has none.
#[inline(always)]
pub fn find(image: &impl Buckets, meta: &Meta<'_>, key: &Vector, hash: u64) -> u32 {
    let Place { fingerprint, first, second } = name::place(key, hash);
    let first = meta.names() + ((first * meta.name_buckets()) >> 32) as u32;
    let second = meta.names() + ((second * meta.name_buckets()) >> 32) as u32;
    match find_in(image.bucket(first), fingerprint) {
        0 => match find_in(image.bucket(second), fingerprint) {
            0 => find_in(image.bucket(STASH), fingerprint),
            set => set,
        },
        set => set,
    }
}

/// Two vectors of a set: rules that match the name itself or what is below it, and rules that except that.
#[inline(always)]
pub fn set<'a>(
    image: &'a impl Buckets,
    meta: &Meta<'_>,
    number: u32,
    form: Form,
) -> Option<(&'a Vector, &'a Vector)> {
    let at = meta.sets() + number * 4 + form as u32;
    Some((image.bucket(at)?, image.bucket(at + 1)?))
}

/// The automaton that matches all in-label globs of a policy at once, over a name from its last byte to its first.
/// State 0 is that from which nothing matches any more, and without globs the only one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Automaton(u32);

impl Automaton {
    /// The rows at this bucket, see [`Automaton::bucket`].
    #[inline(always)]
    pub fn at(bucket: u32) -> Self {
        Self(bucket)
    }

    /// First bucket of the rows, 0 without globs.
    #[inline(always)]
    pub fn bucket(&self) -> u32 {
        self.0
    }

    /// The state in front of a name.
    #[inline(always)]
    pub fn start(&self) -> u32 {
        if self.0 == 0 { 0 } else { GLOB_START }
    }

    /// The state after a further byte of the name.
    #[inline(always)]
    pub fn step(&self, image: &impl Buckets, state: u32, byte: u8) -> u32 {
        number(image, self.0, state * LANES as u32 + lane(byte)).unwrap_or(0)
    }

    /// The set of what matches a name that ends in this state, 0 if nothing does; for [`set`] with [`Form::Exact`].
    #[inline(always)]
    pub fn set(&self, image: &impl Buckets, state: u32) -> u32 {
        number(image, self.0, state * LANES as u32 + ACCEPTS).unwrap_or(0)
    }
}

/// Where a row of the glob automaton has the next state: the bytes of which names in a policy are made have lanes of their
/// own, all others have lane 0.
#[inline(always)]
pub fn lane(byte: u8) -> u32 {
    let low = u32::from(byte & 0x1f);
    match byte {
        b'-' | b'.' | b'0'..=b'9' => low,
        b'_' | b'a'..=b'z' => low | 0x20,
        _ => 0,
    }
}

/// The errno of a class.
#[inline(always)]
pub fn errno(image: &impl Buckets, class: u16) -> Option<u8> {
    let bucket = image.bucket(ERRNOS + u32::from(class) / 64)?;
    let word = bucket[Word::of(u64::from(class) / 8)];
    Some((word >> (class % 8 * 8)) as u8)
}

/// The 16-bit number at `index` of the table that starts at bucket `start`.
#[inline(always)]
fn number(image: &impl Buckets, start: u32, index: u32) -> Option<u32> {
    let bucket = image.bucket(start + index / 32)?;
    let word = bucket[Word::of(u64::from(index / 4))];
    Some((word >> (index % 4 * 16)) as u32 & 0xffff)
}

/// Set number of the entry with this fingerprint, 0 if the bucket has none; a set number is never 0.
#[inline(always)]
fn find_in(bucket: Option<&Vector>, fingerprint: u64) -> u32 {
    let Some(bucket) = bucket else { return 0 };
    let mut found = 0;
    for entry in bucket.0 {
        if entry >> 16 == fingerprint {
            found |= entry as u32 & 0xffff;
        }
    }
    found
}

#[cfg(test)]
mod tests;
