//! The keyed hash of names.
//!
//! A name is hashed from its last byte to its first, so the state at each label boundary is the hash of that suffix: one
//! pass looks up a name and everything above it. Two polynomials modulo 2^31-1 with secret multipliers give 62 bits; an
//! attacker who does not know them cannot craft a name that collides with an allowed one.

use crate::Vector;

/// Longest name in its text form; the wire form of RFC 1035 section 2.3.4 has 255 bytes with lengths and root.
pub const NAME_MAX: usize = 253;

/// A label byte that is itself a dot is hashed as this; case folding leaves upper-case letters unused.
pub const ESCAPED_DOT: u8 = b'A';

const PRIME: u64 = (1 << 31) - 1;

/// What of a name is meant; the number is where the vectors about it start in a set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// The whole name.
    Exact = 0,
    /// Every name with more labels in front.
    Below = 2,
}

/// Where an entry of the name table may stand, and how it is recognised there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// 48 bits.
    pub fingerprint: u64,
    /// First candidate, as a 32-bit fraction of the table.
    pub first: u64,
    /// Second candidate, likewise.
    pub second: u64,
}

/// Start of a hash.
pub const START: u64 = 1 << 32 | 1;

/// Adds the byte in front of what is hashed. `key` is the image's key bucket.
#[inline(always)]
pub fn push(key: &Vector, hash: u64, byte: u8) -> u64 {
    let [low_key, high_key, ..] = key.0;
    let low = reduce((hash & 0xffff_ffff).wrapping_mul(low_key).wrapping_add(u64::from(byte) + 1));
    let high = reduce((hash >> 32).wrapping_mul(high_key).wrapping_add(u64::from(byte) + 1));
    high << 32 | low
}

/// The place of a finished hash.
#[inline(always)]
pub fn place(key: &Vector, hash: u64) -> Place {
    let [_, _, one, two, ..] = key.0;
    let hash = least(hash >> 32) << 32 | least(hash & 0xffff_ffff);
    let one = mix(hash ^ one);
    let two = mix(one ^ two);
    Place { fingerprint: (two & 0xffff) << 32 | one & 0xffff_ffff, first: one >> 32, second: two >> 32 }
}

/// Hashes many names under one key, eight bytes in one step of what [`push`] does byte by byte.
#[cfg(feature = "user")]
#[derive(Clone, Copy, Debug)]
pub struct Hasher {
    low: Powers,
    high: Powers,
}

/// The powers of a multiplier modulo 2^31-1, from 0 to [`STEP`].
#[cfg(feature = "user")]
type Powers = [u64; STEP + 1];

/// Bytes in a step. Their products fit into 64 bits: 2^31 * 2^31 + 8 * 2^31 * 2^9.
#[cfg(feature = "user")]
const STEP: usize = 8;

#[cfg(feature = "user")]
impl Hasher {
    /// A hasher for the names of an image with this key bucket.
    pub fn new(key: &Vector) -> Self {
        let powers = |multiplier: u64| {
            let mut next = 1;
            core::array::from_fn(|_| {
                let power = next;
                next = power * multiplier % PRIME;
                power
            })
        };
        let [low, high, ..] = key.0;
        Self { low: powers(low), high: powers(high) }
    }

    /// Hashes a normalised name: lower case, dots between labels, none at the end.
    pub fn hash(&self, name: &[u8]) -> u64 {
        let (front, steps) = name.as_rchunks::<STEP>();
        let (mut low, mut high) = (1, 1);
        for step in steps.iter().rev() {
            (low, high) = (add(&self.low, low, step), add(&self.high, high, step));
        }
        add(&self.high, high, front) << 32 | add(&self.low, low, front)
    }
}

/// Adds the bytes in front of what is hashed, [`STEP`] at most.
#[cfg(feature = "user")]
#[inline(always)]
fn add(powers: &Powers, half: u64, bytes: &[u8]) -> u64 {
    let products = bytes.iter().zip(powers).map(|(byte, power)| (u64::from(*byte) + 1) * power).sum::<u64>();
    reduce(half * powers.get(bytes.len()).copied().unwrap_or_default() + products)
}

/// A key bucket from random words.
#[cfg(feature = "user")]
pub fn key(random: [u64; 8]) -> Vector {
    let [low, high, rest @ ..] = random;
    let [a, b, c, d, e, f] = rest;
    // A multiplier of 0 or 1 would forget the position of a byte.
    Vector([low % (PRIME - 2) + 2, high % (PRIME - 2) + 2, a, b, c, d, e, f])
}

/// `value` modulo 2^31-1, up to a representative below 2^31 + 4.
#[inline(always)]
fn reduce(value: u64) -> u64 {
    let once = (value & PRIME).wrapping_add(value >> 31);
    (once & PRIME).wrapping_add(once >> 31)
}

/// The one representative below 2^31-1 of what [`reduce`] leaves.
#[inline(always)]
fn least(half: u64) -> u64 {
    half.wrapping_sub(PRIME.wrapping_mul(half.wrapping_add(1) >> 31))
}

/// The finaliser of MurmurHash3 (fmix64): a bijection that spreads every input bit.
#[inline(always)]
pub fn mix(mut value: u64) -> u64 {
    value ^= value >> 33;
    value = value.wrapping_mul(0xff51_afd7_ed55_8ccd);
    value ^= value >> 33;
    value = value.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    value ^ value >> 33
}

#[cfg(test)]
mod tests;
