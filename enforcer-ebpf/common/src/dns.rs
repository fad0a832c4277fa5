//! Reading a DNS answer and binding its addresses: the code that runs before the application can read the answer.
//!
//! The state lives in one [`Scratch`], because a kernel program's stack has 512 bytes. Formats: RFC 1035 section 4.
#![expect(clippy::indexing_slicing, reason = "indices are masked to the size of what they index")]

use crate::{
    Address, Binding, CidrEntry, Vector,
    bound::masked,
    image::{self, Buckets, ClassVector, ClassWord, Meta},
    repeat::Repeat,
};

mod bind;
mod name;
mod records;

/// Longest message read: what EDNS resolvers offer at most in practice (RFC 9715 recommends 1,232).
pub const MESSAGE_MAX: usize = 4096;
/// Most addresses bound from one answer.
pub const ADDRESSES_MAX: usize = 256;

/// What stands in front of a message in the DNS ring.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct AnswerHeader {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Id of the receiving socket's cgroup (v2).
    pub cgroup: u64,
    /// Who sent the answer.
    pub server: Address,
    /// Bytes of the message.
    pub length: u32,
    /// Port of the receiving socket.
    pub client_port: u16,
    /// 1 if the server is a trusted resolver.
    pub trusted: u8,
    /// 1 if the binder was not able to read the message.
    pub unparsed: u8,
}

/// A DNS answer on its way to user space.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct AnswerRecord {
    /// Circumstances.
    pub header: AnswerHeader,
    /// The message as received, without transport headers.
    pub message: [u8; MESSAGE_MAX],
}

/// What one answer says, seen by one policy.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(8))]
struct Sighting {
    /// Rules that the question matches.
    question: Vector,
    /// Rules that the question or a CNAME target matches.
    chain: Vector,
    /// Rules that except the question.
    question_except: Vector,
    /// Rules that except the question or a CNAME target.
    chain_except: Vector,
}

/// Memory for reading one answer.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Scratch {
    /// The message; filled by the caller.
    pub record: AnswerRecord,
    /// The name read last: lower case, dots between labels.
    name: [u8; 256],
    name_length: u32,
    /// Next byte to read.
    cursor: u32,
    /// Where reading goes on after a compression pointer; 0 = no pointer was followed.
    resume: u32,
    /// Bytes left of the current label.
    label_left: u32,
    /// 1 when a loop ended because the name, or the records, ended.
    finished: u32,
    /// 1 while the name that is hashed is also looked up.
    look_up: u32,
    /// First bucket of the glob automaton of the slot.
    globs: u32,
    /// Its state while a name is looked up; 0 = no glob can match.
    glob: u32,
    /// Owner as a compression pointer, and its hash: most records repeat the one before.
    owner_pointer: u32,
    address_count: u32,
    owner_hash: u64,
    /// Hash of the name read last.
    hash: u64,
    /// Hash of the name whose records count: the question, then each CNAME target.
    chain_hash: u64,
    unrelated: u32,
    /// Which addresses are bound: those of the chain (0), or [`UNRELATED`] ones.
    pass: u16,
    reserved: u16,
    hit: Vector,
    hit_except: Vector,
    sighting: Sighting,
    binding: Binding,
    address: Address,
    bound: u32,
    unbound: u32,
    /// Offset of the data of each address record, with the bits [`V6`] and [`UNRELATED`].
    addresses: [u16; ADDRESSES_MAX],
}

/// One policy slot, as the binder needs it.
pub trait Slot: Buckets + Sized {
    /// How to loop.
    type Loop: Repeat;

    /// The longest policy prefix that holds the address.
    fn cidr(&self, address: &Address) -> Option<&CidrEntry>;
    /// Joins a binding into what is known of the address; `false` if there is no room.
    fn bind(&self, address: &Address, binding: &Binding) -> bool;

    /// Reads the name at the cursor. This and the next two are the joints at which the kernel programs put functions that
    /// the verifier looks at once, instead of once for every path that leads there.
    #[inline(always)]
    fn read_name(&self, scratch: &mut Scratch) -> Option<()> {
        scratch.read_name::<Self::Loop>()
    }

    /// Hashes the name read last, and with `look_up` collects what the slot says of it.
    #[inline(always)]
    fn hash_name(&self, scratch: &mut Scratch, look_up: bool) -> Option<()> {
        scratch.hash_name(self, look_up)
    }

    /// Reads the record at the cursor.
    #[inline(always)]
    fn read_record(&self, scratch: &mut Scratch) -> Option<()> {
        scratch.read_record(self)
    }
}

/// What became of an answer in one slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// The message could be read to its end.
    pub parsed: bool,
    /// An enforced deny rule matches the question or a CNAME target.
    pub denied: bool,
    /// Addresses bound.
    pub bound: u32,
    /// Addresses for which there was no room.
    pub unbound: u32,
    /// Records that belong to no name of the chain.
    pub unrelated: u32,
}

impl Scratch {
    /// Empty memory.
    #[cfg(feature = "user")]
    pub fn new() -> Box<Self> {
        Box::new(Self {
            record: AnswerRecord { header: AnswerHeader::default(), message: [0; MESSAGE_MAX] },
            name: [0; 256],
            name_length: 0,
            cursor: 0,
            resume: 0,
            label_left: 0,
            finished: 0,
            look_up: 0,
            globs: 0,
            glob: 0,
            owner_pointer: 0,
            address_count: 0,
            owner_hash: 0,
            hash: 0,
            chain_hash: 0,
            unrelated: 0,
            pass: 0,
            reserved: 0,
            hit: Vector::EMPTY,
            hit_except: Vector::EMPTY,
            sighting: Sighting::default(),
            binding: Binding::IDENTITY,
            address: Address::default(),
            bound: 0,
            unbound: 0,
            addresses: [0; ADDRESSES_MAX],
        })
    }

    /// Reads the answer in `record` for one slot, and binds its addresses there. `now` in nanoseconds of
    /// `CLOCK_BOOTTIME`.
    pub fn read(&mut self, slot: &impl Slot, now: u64) -> Outcome {
        let parsed = self.parse(slot);
        // What was read before the damage still counts.
        let denied = self.bind(slot, now);
        Outcome { parsed, denied, bound: self.bound, unbound: self.unbound, unrelated: self.unrelated }
    }

    /// First half of [`Scratch::read`]: the message, as one slot sees it. Returns whether it could be read to its end.
    #[inline(always)]
    pub fn parse(&mut self, slot: &impl Slot) -> bool {
        self.reset();
        self.question(slot).is_some() && self.read_records(slot).is_some()
    }

    /// Forgets the last answer.
    #[inline(always)]
    pub fn reset(&mut self) {
        self.sighting = Sighting::default();
        self.address_count = 0;
        self.owner_pointer = 0;
        self.unrelated = 0;
        self.bound = 0;
        self.unbound = 0;
    }

    /// Whether the message claims to be an answer with records, as DNS has them: what cannot be read of it may still be
    /// read by a more patient resolver. Other datagrams from port 53 practically never look like that.
    #[inline(always)]
    pub fn looks_like_answer(&self) -> bool {
        self.has(0, HEADER)
            && self.u16(2) & 0xf840 == 0x8000
            && self.u16(4) <= 1
            && matches!(self.u16(6), 1..=255)
            && self.u16(8) <= 255
            && self.u16(10) <= 255
    }

    /// Whether the question could be read in the last [`Scratch::parse`].
    #[inline(always)]
    pub fn has_question(&self) -> bool {
        self.chain_hash != 0
    }

    /// Addresses bound, addresses for which there was no room, and records of no name of the chain, in the last answer.
    #[inline(always)]
    pub fn counts(&self) -> (u32, u32, u32) {
        (self.bound, self.unbound, self.unrelated)
    }

    /// Reads the question into the sighting. `None` leaves an empty sighting.
    #[inline(always)]
    fn question(&mut self, slot: &impl Slot) -> Option<()> {
        self.chain_hash = 0;
        // Response, standard query (RFC 1035 section 4.1.1), one question.
        if !self.has(0, HEADER) || self.u16(2) & 0xf800 != 0x8000 || self.u16(4) != 1 {
            return None;
        }
        self.cursor = HEADER;
        slot.read_name(self)?;
        slot.hash_name(self, true)?;
        self.cursor += 4;
        self.chain_hash = self.hash;
        for word in Vector::words() {
            let to = self.hit[word] & !self.hit_except[word];
            self.sighting.question[word] = to;
            self.sighting.chain[word] = to;
            self.sighting.question_except[word] = self.hit_except[word];
            self.sighting.chain_except[word] = self.hit_except[word];
        }
        Some(())
    }

    /// Whether the message has `count` bytes at `at`. Every read is behind such a check; past the end they wrap around.
    #[inline(always)]
    fn has(&self, at: u32, count: u32) -> bool {
        at < MESSAGE_MAX as u32 && at + count <= self.record.header.length
    }

    #[inline(always)]
    fn u8(&self, at: u32) -> u8 {
        self.record.message[masked::<4095>(u64::from(at))]
    }

    #[inline(always)]
    fn u16(&self, at: u32) -> u16 {
        u16::from(self.u8(at)) << 8 | u16::from(self.u8(at + 1))
    }

    #[inline(always)]
    fn u32(&self, at: u32) -> u32 {
        u32::from(self.u16(at)) << 16 | u32::from(self.u16(at + 2))
    }
}

/// Bytes of a message's header.
const HEADER: u32 = 12;

/// In `addresses`: the offset itself.
const OFFSET: u16 = 0x0fff;
/// In `addresses`: an AAAA record.
const V6: u16 = 0x8000;
/// In `addresses`: the record belongs to no name of the chain; it can be denied, never allowed.
const UNRELATED: u16 = 0x4000;

/// Longest time to live that is believed, in seconds; RFC 8767 section 4 suggests seven days.
const TTL_MAX: u32 = 7 * 86_400;

/// Nanoseconds that a record with this TTL is good for. A TTL with the top bit set is zero (RFC 2181 section 8).
#[inline(always)]
pub const fn lifetime(ttl: u32) -> u64 {
    let seconds = match ttl {
        0..=TTL_MAX => ttl,
        0x8000_0000.. => 0,
        _ => TTL_MAX,
    };
    seconds as u64 * 1_000_000_000
}

const _: () = assert!(MESSAGE_MAX == 4096 && ADDRESSES_MAX == 256, "the masks of this module");

#[cfg(test)]
mod tests;
