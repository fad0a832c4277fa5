//! The name table of an image, filled in place: a name costs its 8 bytes and nothing on the way there.

use super::{
    ImageError,
    sets::{Meant, Sets},
};
use crate::{
    Vector,
    name::{self, Hasher, Place},
    vector::WORDS,
};
use std::thread::{self, ScopedJoinHandle};

/// A name table in the making, behind room for what stands in front of it.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) key: Vector,
    /// Entries that found no room in the table.
    pub(super) stash: Vector,
    hasher: Hasher,
    header: usize,
    image: Vec<Vector>,
    sets: Sets,
    /// Names in the table and the stash.
    pub(super) count: usize,
}

/// Where a name may stand.
#[derive(Clone, Copy)]
struct Seat {
    fingerprint: u64,
    first: usize,
    second: usize,
}

/// What it takes to find a name's seat.
#[derive(Clone, Copy)]
struct Seating {
    key: Vector,
    hasher: Hasher,
    header: usize,
    buckets: u64,
}

impl Seating {
    fn seat(&self, name: &[u8]) -> Seat {
        let Place { fingerprint, first, second } = name::place(&self.key, self.hasher.hash(name));
        let at = |fraction: u64| self.header + ((fraction * self.buckets) >> 32) as usize;
        Seat { fingerprint, first: at(first), second: at(second) }
    }
}

/// Names that are put in their places together.
const BATCH: usize = 16;
/// Names that are hashed together. A thread costs as much as a few hundred of them.
const CHUNK: usize = 0x4000;

impl Names {
    /// A table for at most so many names, behind `header` buckets.
    pub(super) fn new(header: usize, names: usize, key: Vector) -> Result<Self, ImageError> {
        // Two thirds full, 12 bytes a name. At three quarters the stash overflowed in most tables of a million names, and
        // the table was filled twice.
        let buckets = (names * 3).div_ceil(16).max(1);
        u32::try_from(header + buckets).map_err(|_| ImageError::TooManyNames)?;
        // Room for sets and ports, so that no larger copy has to be made at the end.
        let mut image = Vec::with_capacity(header + buckets + ROOM);
        image.resize(header + buckets, Vector::EMPTY);
        Ok(Self {
            key,
            stash: Vector::EMPTY,
            hasher: Hasher::new(&key),
            header,
            image,
            sets: Sets::new(),
            count: 0,
        })
    }

    /// Buckets of the table.
    pub(super) fn buckets(&self) -> u64 {
        (self.image.len() - self.header) as u64
    }

    /// Adds names to a rule, or to what it excepts. Where they are many, the next are hashed by another processor while this
    /// one puts the last in their places.
    pub(super) fn insert<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a [u8], IntoIter: Send>,
        meant: Meant,
    ) -> Result<(), ImageError> {
        let seating = self.seating();
        let mut seats = names.into_iter().map(|name| seating.seat(name));
        let mut next = move || -> Vec<Seat> { seats.by_ref().take(CHUNK).collect() };
        // The set of a name that is new, once there is one.
        let mut new = None;
        let mut chunk = next();
        while chunk.len() == CHUNK {
            let hashed = thread::scope(|scope| {
                let hashing = thread::Builder::new().spawn_scoped(scope, &mut next);
                self.put_all(&chunk, meant, &mut new)?;
                Ok(hashing.ok().map(ScopedJoinHandle::join))
            })?;
            chunk = match hashed {
                Some(Ok(seats)) => seats,
                Some(Err(panic)) => std::panic::resume_unwind(panic),
                // There is no other thread to be had.
                None => next(),
            };
        }
        self.put_all(&chunk, meant, &mut new)
    }

    fn seating(&self) -> Seating {
        Seating { key: self.key, hasher: self.hasher, header: self.header, buckets: self.buckets() }
    }

    fn put_all(&mut self, seats: &[Seat], meant: Meant, new: &mut Option<u16>) -> Result<(), ImageError> {
        for batch in seats.chunks(BATCH) {
            // All buckets of a batch are asked for before the first is needed: most are not in the cache.
            let touched = batch.iter().fold(0, |sum, seat| {
                let first = |at: usize| self.image.get(at).map_or(0, |bucket| bucket.0[0]);
                sum ^ first(seat.first) ^ first(seat.second)
            });
            std::hint::black_box(touched);
            for seat in batch {
                self.put(*seat, meant, new)?;
            }
        }
        Ok(())
    }

    fn put(&mut self, seat: Seat, meant: Meant, new: &mut Option<u16>) -> Result<(), ImageError> {
        let Seat { fingerprint, first, second } = seat;
        let look_at =
            |at: usize| self.image.get(at).map_or((false, WORDS), |bucket| look(bucket, fingerprint));
        let ((in_first, first_taken), (in_second, second_taken)) = (look_at(first), look_at(second));
        let (in_stash, stash_taken) = look(&self.stash, fingerprint);
        // Where a name with this fingerprint is found, there it is looked for.
        let (bucket, known, taken) = match (in_first, in_second, in_stash) {
            (true, _, _) => (self.image.get_mut(first), true, first_taken),
            (_, true, _) => (self.image.get_mut(second), true, second_taken),
            (_, _, true) => (Some(&mut self.stash), true, stash_taken),
            _ if first_taken.min(second_taken) == WORDS => (Some(&mut self.stash), false, stash_taken),
            _ if first_taken <= second_taken => (self.image.get_mut(first), false, first_taken),
            _ => (self.image.get_mut(second), false, second_taken),
        };
        let bucket = bucket.ok_or(ImageError::NoRoom)?;
        if known {
            let entry = bucket.0.iter_mut().find(|entry| **entry >> 16 == fingerprint && **entry != 0);
            let entry = entry.ok_or(ImageError::NoRoom)?;
            *entry = fingerprint << 16 | u64::from(self.sets.change(*entry as u16, meant)?);
            // Its number may have been given back.
            *new = None;
            return Ok(());
        }
        let place = bucket.0.get_mut(taken).ok_or(ImageError::NoRoom)?;
        let set = match *new {
            Some(set) => {
                self.sets.enter(set);
                set
            }
            None => self.sets.change(0, meant)?,
        };
        *new = Some(set);
        *place = fingerprint << 16 | u64::from(set);
        self.count += 1;
        Ok(())
    }

    /// The sets of the names.
    pub(super) fn sets(&mut self) -> &mut Sets {
        &mut self.sets
    }

    /// The image so far, and the vectors of the sets.
    pub(super) fn finish(self) -> (Vec<Vector>, impl Iterator<Item = Vector>) {
        (self.image, self.sets.vectors())
    }
}

/// Buckets that sets and ports take in most policies; pages that are not used cost nothing.
const ROOM: usize = 0x4000;

/// Whether a bucket has an entry with this fingerprint, and how many places are taken: from the front, and for good.
#[inline(always)]
fn look(bucket: &Vector, fingerprint: u64) -> (bool, usize) {
    let mut found = false;
    for (taken, entry) in bucket.0.iter().enumerate() {
        if *entry == 0 {
            return (found, taken);
        }
        found |= entry >> 16 == fingerprint;
    }
    (found, WORDS)
}
