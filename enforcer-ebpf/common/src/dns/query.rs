//! What ties an answer to its query: the id, the question and the server, as one keyed hash.

use super::*;
use crate::{name, repeat::Step};
use core::ops::ControlFlow;

/// Queries remembered for each socket. Most sockets ask one thing at a time; a resolver that asks for many clients from one
/// socket has dozens under way.
pub const QUERIES_MAX: usize = 64;

/// What a socket has asked and nobody has answered yet: the value of its storage. Programs change it on several CPUs at
/// once: `pending` and `next` by atomic instructions, the rest by whole words.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Queries {
    /// The server as the application named it last, before any translation of addresses.
    pub server: Address,
    /// 1 if `server` says something.
    pub named: u64,
    /// Number of the next query; its place is this modulo [`QUERIES_MAX`].
    pub next: u64,
    /// 1 once a query was forgotten or could not be read: an answer that matches none may be the answer to that one.
    pub forgot: u64,
    /// A [`Scratch::transaction`] each, 0 = free.
    pub pending: [u64; QUERIES_MAX],
}

impl Scratch {
    /// Whether the message is a response (RFC 1035 section 4.1.1).
    #[inline(always)]
    pub fn is_response(&self) -> bool {
        self.has(0, HEADER) && self.u16(2) & 0x8000 != 0
    }

    /// What a query has in common with its answer, and with nothing else: a hash of the id, the question with case folded,
    /// and the server. 0 if the message has no single question, or one that cannot be read. `key` is secret: who does not
    /// know it cannot craft two questions of one hash.
    #[inline(always)]
    pub fn transaction<R: Repeat>(&mut self, key: [u64; 2], server: &Address) -> u64 {
        if !self.has(0, HEADER) || self.u16(4) != 1 {
            return 0;
        }
        let [start, multiplier] = key;
        // An even number would forget bits.
        let multiplier = multiplier | 1;
        self.cursor = HEADER;
        self.label_left = 0;
        self.finished = 0;
        self.hash = start;
        R::repeat(name::NAME_MAX as u32 + 2, &mut Question { scratch: &mut *self, multiplier: &multiplier });
        if self.finished == 0 || !self.has(self.cursor, 4) {
            return 0;
        }
        let rest = u64::from(self.u16(0)) << 32 | u64::from(self.u32(self.cursor));
        let hash = name::mix((self.hash ^ rest).wrapping_mul(multiplier));
        let (high, low) = server.halves();
        name::mix(name::mix(hash ^ high) ^ low).max(1)
    }
}

/// A hash of both ends of a connection between a server at port 53 and a client: their addresses in this order, and the
/// client's port. `key` as in [`Scratch::transaction`].
#[inline(always)]
pub fn connection(key: [u64; 2], ends: &[Address; 2], client_port: u16) -> u64 {
    let [start, multiplier] = key;
    let [(a, b), (c, d)] = [ends[0].halves(), ends[1].halves()];
    let hash = [a, b, c, d].into_iter().fold(start, |hash, half| name::mix(hash ^ half));
    name::mix((hash ^ u64::from(client_port)).wrapping_mul(multiplier | 1))
}

struct Question<'a> {
    scratch: &'a mut Scratch,
    multiplier: &'a u64,
}

impl Step for Question<'_> {
    /// One byte of the name on the wire: of a label, or a length. A question has no compression pointer, there is nothing
    /// to point to.
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let scratch = &mut *self.scratch;
        if !scratch.has(scratch.cursor, 1) {
            return ControlFlow::Break(());
        }
        let byte = scratch.u8(scratch.cursor);
        scratch.cursor += 1;
        // A length is below every letter.
        let folded = byte.to_ascii_lowercase();
        scratch.hash = (scratch.hash ^ u64::from(folded)).wrapping_mul(*self.multiplier);
        if scratch.label_left > 0 {
            scratch.label_left -= 1;
            return ControlFlow::Continue(());
        }
        match byte {
            0 => {
                scratch.finished = 1;
                ControlFlow::Break(())
            }
            1..=63 => {
                scratch.label_left = u32::from(byte);
                ControlFlow::Continue(())
            }
            64.. => ControlFlow::Break(()),
        }
    }
}

const _: () = assert!(size_of::<Queries>() == 16 + 24 + 8 * QUERIES_MAX, "no padding");

#[cfg(test)]
mod tests;
