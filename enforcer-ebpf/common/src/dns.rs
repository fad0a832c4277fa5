//! Reading a DNS answer and binding its addresses: the code that runs before the application can read the answer.
//!
//! First every record is read, in whatever order they come; then the chain is followed from the question through the
//! records that lead somewhere (CNAME, HTTPS, SVCB); what belongs to no name of it can only be denied.
//!
//! The state lives in one [`Scratch`], because a kernel program's stack has 512 bytes. Formats: RFC 1035 section 4, RFC
//! 9460 section 2.2.
#![expect(clippy::indexing_slicing, reason = "indices are masked to the size of what they index")]

use crate::{
    Address, Binding, CidrEntry, Vector,
    bound::{masked, unknown_zero},
    image::{self, Buckets, ClassVector, ClassWord, Meta},
    repeat::Repeat,
};

mod bind;
mod chain;
mod lookup;
mod name;
mod query;
mod records;
mod service;

pub use lookup::{Question, judge_lookup};
pub use query::{QUERIES_MAX, Queries, connection};

/// Longest message read: what EDNS resolvers offer at most in practice (RFC 9715 recommends 1,232).
pub const MESSAGE_MAX: usize = 4096;
/// Most addresses bound from one answer.
pub const ADDRESSES_MAX: usize = 256;
/// Most names in one answer's chain, the question among them. Resolvers give up earlier: unbound after 11 aliases, BIND
/// after 11 restarts.
pub const CHAIN_MAX: usize = 16;
/// Most records read from one answer that lead to another name: CNAME, HTTPS, SVCB.
pub const ALIASES_MAX: usize = 32;

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
    /// Why the answer is not trusted, as [`Doubt`]; 0 = it is.
    pub doubt: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

/// Why what an answer says is not believed.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Doubt {
    /// The server is no trusted resolver.
    Server = 1,
    /// The receiver's network namespace belongs to a user, who is its root.
    Namespace = 2,
    /// It matches no query, but some query of the socket was forgotten.
    Forgotten = 3,
    /// Nobody asked.
    Unsolicited = 4,
    /// It was sent on this machine, by another process than the one that holds the resolver.
    Process = 5,
}

/// Who may answer from the address of a resolver on this machine: a key of the map `HOLDERS`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[cfg_attr(feature = "user", derive(Ord, PartialOrd))]
pub struct Holder {
    /// Of the resolver.
    pub address: Address,
    /// Id of the sender's cgroup (v2). An entry with 0, which is no cgroup, says that not just anybody may answer.
    pub cgroup: u64,
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
    /// Rules that the question or a name it leads to matches.
    chain: Vector,
    /// Rules that except the question.
    question_except: Vector,
    /// Rules that except the question or a name it leads to.
    chain_except: Vector,
}

/// A record that leads to another name.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Alias {
    /// Hash of the owner.
    owner: u64,
    /// Hash of the target; 0 = not read yet.
    target: u64,
    /// Seconds to live.
    ttl: u32,
    /// Offset of the target; 0 = there is none.
    place: u32,
}

/// An address that some record names.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(8))]
struct Found {
    /// Hash of the record's owner.
    owner: u64,
    /// Seconds to live: first the record's own, then the least on the way from the question.
    ttl: u32,
    /// Offset of the address, with the bits [`V6`], [`UNRELATED`] and [`HINT`].
    place: u16,
    reserved: u16,
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
    /// Where the part of the name begins that is being read; a pointer leads in front of it.
    part_start: u32,
    /// Where the part ends at the latest: no part overlaps the one that pointed to it.
    part_end: u32,
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
    owner_hash: u64,
    /// Hash of the name read last.
    hash: u64,
    /// Seconds that the current record lives.
    ttl: u32,
    /// Where the parameters of the current service record end.
    parameters_end: u32,
    /// The least key that the next parameter may have.
    next_key: u32,
    /// Bytes left of the current hint.
    hint_left: u32,
    /// The bits of the addresses in the current hint.
    hint: u32,
    alias_count: u32,
    address_count: u32,
    chain_count: u32,
    /// The alias to follow next.
    next_alias: u32,
    /// 1 if the chain has changed since the first alias was looked at.
    grown: u32,
    /// 1 once nothing more can be reached.
    followed: u32,
    /// 1 if some target cannot be read, or the chain is too long.
    broken: u32,
    unrelated: u32,
    /// Which addresses are bound: those of the chain (0), or [`UNRELATED`] ones.
    pass: u16,
    reserved: u16,
    /// Hashes of the names whose records count: the question, then what it leads to; 0 past the last.
    chain: [u64; CHAIN_MAX],
    /// Seconds that each is good for: the least on the way there, the most of several ways.
    chain_ttl: [u32; CHAIN_MAX],
    hit: Vector,
    hit_except: Vector,
    sighting: Sighting,
    binding: Binding,
    address: Address,
    bound: u32,
    unbound: u32,
    aliases: [Alias; ALIASES_MAX],
    addresses: [Found; ADDRESSES_MAX],
}

/// One policy slot, as the binder needs it.
pub trait Slot: Buckets + Sized {
    /// How to loop.
    type Loop: Repeat;

    /// The longest policy prefix that holds the address.
    fn cidr(&self, address: &Address) -> Option<&CidrEntry>;
    /// Joins a binding into what is known of the address; `false` if there is no room.
    fn bind(&self, address: &Address, binding: &Binding) -> bool;

    /// Reads the name at the cursor. This and the next three are the joints at which the kernel programs put functions that
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

    /// Follows the next alias; `None` when the chain grows no more.
    #[inline(always)]
    fn follow_alias(&self, scratch: &mut Scratch) -> Option<()> {
        scratch.follow_alias(self)
    }
}

/// What became of an answer in one slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Outcome {
    /// The message could be read to its end.
    pub parsed: bool,
    /// An enforced deny rule matches the question or a name it leads to.
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
            part_start: 0,
            part_end: 0,
            finished: 0,
            look_up: 0,
            globs: 0,
            glob: 0,
            owner_pointer: 0,
            owner_hash: 0,
            hash: 0,
            ttl: 0,
            parameters_end: 0,
            next_key: 0,
            hint_left: 0,
            hint: 0,
            alias_count: 0,
            address_count: 0,
            chain_count: 0,
            next_alias: 0,
            grown: 0,
            followed: 0,
            broken: 0,
            unrelated: 0,
            pass: 0,
            reserved: 0,
            chain: [0; CHAIN_MAX],
            chain_ttl: [0; CHAIN_MAX],
            hit: Vector::EMPTY,
            hit_except: Vector::EMPTY,
            sighting: Sighting::default(),
            binding: Binding::IDENTITY,
            address: Address::default(),
            bound: 0,
            unbound: 0,
            aliases: [Alias { owner: 0, target: 0, ttl: 0, place: 0 }; ALIASES_MAX],
            addresses: [Found { owner: 0, ttl: 0, place: 0, reserved: 0 }; ADDRESSES_MAX],
        })
    }

    /// The name read last, as it is hashed: lower case, dots between labels, none at the end, and a dot inside a label as
    /// [`crate::name::ESCAPED_DOT`].
    #[cfg(feature = "user")]
    pub fn name(&self) -> &[u8] {
        self.name.get(..self.name_length as usize).unwrap_or_default()
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
        if self.question(slot).is_none() {
            return false;
        }
        let whole = self.read_records(slot).is_some();
        // What was read before the damage still leads somewhere.
        self.follow(slot).is_some() && whole
    }

    /// Forgets the last answer.
    #[inline(always)]
    pub fn reset(&mut self) {
        self.sighting = Sighting::default();
        self.chain = [0; CHAIN_MAX];
        self.chain_count = 0;
        self.alias_count = 0;
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
        self.chain_count != 0
    }

    /// Addresses bound, addresses for which there was no room, and records of no name of the chain, in the last answer.
    #[inline(always)]
    pub fn counts(&self) -> (u32, u32, u32) {
        (self.bound, self.unbound, self.unrelated)
    }

    /// Reads the question into the sighting. `None` leaves an empty sighting.
    #[inline(always)]
    fn question(&mut self, slot: &impl Slot) -> Option<()> {
        // Response, standard query (RFC 1035 section 4.1.1), one question.
        if !self.has(0, HEADER) || self.u16(2) & 0xf800 != 0x8000 || self.u16(4) != 1 {
            return None;
        }
        self.read_question(slot)?;
        self.chain[0] = self.hash;
        self.chain_ttl[0] = u32::MAX;
        self.chain_count = 1;
        for word in Vector::words() {
            let to = self.hit[word] & !self.hit_except[word];
            self.sighting.question[word] = to;
            self.sighting.chain[word] = to;
            self.sighting.question_except[word] = self.hit_except[word];
            self.sighting.chain_except[word] = self.hit_except[word];
        }
        Some(())
    }

    /// Reads the first question, and collects what the slot says of its name.
    #[inline(always)]
    fn read_question(&mut self, slot: &impl Slot) -> Option<()> {
        self.cursor = HEADER;
        slot.read_name(self)?;
        slot.hash_name(self, true)?;
        if !self.has(self.cursor, 4) {
            return None;
        }
        self.cursor += 4;
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

/// In [`Found::place`]: the offset itself.
const OFFSET: u16 = 0x0fff;
/// In [`Found::place`]: an IPv6 address.
const V6: u16 = 0x8000;
/// In [`Found::place`]: the record belongs to no name of the chain; it can be denied, never allowed.
const UNRELATED: u16 = 0x4000;
/// In [`Found::place`]: one of the addresses in a service record, which is counted as such.
const HINT: u16 = 0x2000;

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

const _: () = assert!(
    MESSAGE_MAX == 4096 && ADDRESSES_MAX == 256 && CHAIN_MAX == 16 && ALIASES_MAX == 32,
    "the masks of this module"
);

#[cfg(test)]
mod tests;
