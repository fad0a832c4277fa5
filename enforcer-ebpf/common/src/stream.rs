//! DNS over TCP: messages out of segments. Each message has its length in front, two bytes in network order (RFC 1035
//! section 4.2.2); segments begin and end anywhere (RFC 7766 section 8).
//!
//! A segment is read when it arrives, before the socket takes it, and only in the order of the stream. So what the socket
//! takes is what was read: a segment that comes too early is not delivered, and TCP sends it again.
//!
//! INVARIANT (in order): a [`Stream`] moves past bytes only when their segment is delivered. What is sent again is read
//! again, since it may say something else this time; only what the socket has taken already is skipped.

use crate::{
    dns::MESSAGE_MAX,
    packet::Bytes,
    repeat::{Repeat, Step},
};
use core::ops::ControlFlow;

/// Bytes of a message that are moved at once at most.
pub const PIECE_MAX: usize = 2048;
/// Most pieces read of one segment: one for each answer with a record in 64 KiB.
pub const PIECES_MAX: u32 = 2048;

/// What is known of one TCP connection from port 53.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Stream {
    /// 1 while a program reads it.
    pub claim: u64,
    /// Sequence number of the first byte that is not read.
    next: u32,
    /// Bytes read of the message under way, with those of its length.
    read: u32,
    /// Its length, as far as it is read.
    length: u32,
    /// 1 = it is known where messages begin.
    known: u32,
    /// 1 = a zone transfer was answered; messages without a question belong to it.
    transfer: u32,
    /// 1 = somebody else than the server has put in a word.
    doubted: u32,
}

/// Where a segment stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Order {
    /// The socket has taken all of it already.
    Old,
    /// It is to be read from this byte on.
    Next(u32),
    /// It comes too early, or again although the socket may not have taken it.
    Out,
    /// It is not known where messages begin, and none begins here.
    Unknown,
}

/// Beginning of a message that is kept until the rest arrives.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Partial {
    /// As long as a message, and a piece, so that no sum of two bounds reaches behind it.
    pub message: [u8; MESSAGE_MAX + PIECE_MAX],
}

/// Why reading a segment came to its end.
#[repr(u32)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// It did not: there are more pieces than [`PIECES_MAX`].
    Limit,
    /// All of it was read.
    Done,
    /// A message is not to be delivered.
    Refused,
    /// Something could not be read or kept.
    Unreadable,
}

/// Reading of one segment.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug)]
pub struct Reader {
    /// Next byte, as an offset in the packet.
    at: u32,
    stop: u32,
    read: u32,
    length: u32,
    /// Bytes of the message under way that were kept before this segment.
    kept: u32,
    /// 1 = they have made room for those of another message.
    overwritten: u32,
    end: End,
    /// Sequence number behind the segment.
    next: u32,
    transfer: u32,
    /// Where the next label of the question is.
    label: u32,
}

/// Whoever has the segment, keeps beginnings of messages, and judges whole ones.
pub trait Messages: Bytes {
    /// Takes a message of which this many bytes lie in the segment at `at`. `false` if they cannot be read.
    fn take(&mut self, at: u32, length: u32) -> bool;
    /// Keeps `length` bytes at `at`, at most [`PIECE_MAX`], as those of a message from `offset` on. `false` if there is no
    /// room.
    fn keep(&mut self, at: u32, offset: u32, length: u32) -> bool;
    /// Takes the message of which this many bytes are kept. `false` if they are not there.
    fn assemble(&mut self, length: u32) -> bool;
    /// Judges the message taken last, of which this many bytes are there. `false` if it is not to be delivered.
    fn judge(&mut self, length: u32) -> bool;
    /// Two bytes of the message taken last, a number in network order.
    fn number(&self, at: u32) -> u16;
}

impl Stream {
    /// The stream of a socket that has taken `received` bytes and expects the sequence number `expected`.
    #[inline(always)]
    pub fn new(received: u64, expected: u32) -> Self {
        Self { next: expected, known: (received == 0).into(), ..Self::default() }
    }

    /// Where a segment of `length` bytes stands, if the socket expects the sequence number `expected`. `head` are the first
    /// bytes of the segment, if it has so many. A stream that was not seen from its start is known from the first segment on
    /// that begins as an answer does.
    #[inline(always)]
    pub fn order(
        &mut self,
        sequence: u32,
        length: u32,
        expected: u32,
        head: impl FnOnce() -> Option<[u8; HEAD]>,
    ) -> Order {
        let end = sequence.wrapping_add(length);
        if !is_before(expected, end) {
            return Order::Old;
        }
        if self.known == 0 || is_before(self.next, expected) {
            if sequence != expected || !head().is_some_and(begins_answer) {
                self.known = 0;
                return Order::Unknown;
            }
            let Self { claim, doubted, .. } = *self;
            *self = Self { claim, next: sequence, known: 1, doubted, ..Self::default() };
        }
        let start = if is_before(sequence, expected) { expected } else { sequence };
        if start == self.next { Order::Next(start.wrapping_sub(sequence)) } else { Order::Out }
    }

    /// Begins to read a segment whose unread bytes lie at `at` in its packet, up to `stop`; `next` is the sequence number
    /// behind it.
    #[inline(always)]
    pub fn reader(&self, at: u32, stop: u32, next: u32) -> Reader {
        let Self { claim: _, next: _, read, length, known: _, transfer, doubted: _ } = *self;
        let kept = read.saturating_sub(PREFIX);
        Reader { at, stop, read, length, kept, overwritten: 0, end: End::Limit, next, transfer, label: 0 }
    }

    /// The segment was read and is delivered. Returns whether what was kept is of no more use.
    #[inline(always)]
    pub fn advance(&mut self, reader: &Reader) -> bool {
        let (kept, keeps) = (is_partial(self.read, self.length), is_partial(reader.read, reader.length));
        (self.next, self.read, self.length) = (reader.next, reader.read, reader.length);
        self.transfer = reader.transfer;
        kept && !keeps
    }

    /// The segment is not delivered.
    #[inline(always)]
    pub fn stay(&mut self, reader: &Reader) {
        if reader.overwritten != 0 {
            self.known = 0;
        }
    }

    /// Something is read that somebody else has sent than the server.
    #[inline(always)]
    pub fn doubt(&mut self) {
        self.doubted = 1;
    }

    /// Whether [`Stream::doubt`] was ever called.
    #[inline(always)]
    pub fn is_doubted(&self) -> bool {
        self.doubted != 0
    }

    /// Something is delivered that was not read.
    #[inline(always)]
    pub fn lose(&mut self) {
        self.known = 0;
    }
}

impl Reader {
    /// Why it ended.
    #[inline(always)]
    pub fn end(&self) -> End {
        self.end
    }

    /// Reads all of the segment.
    #[cfg(feature = "user")]
    pub fn read(&mut self, messages: &mut impl Messages) -> End {
        for _ in 0..PIECES_MAX {
            if self.step(messages).is_break() {
                break;
            }
        }
        self.end
    }

    /// Reads one piece. `Break` says that [`Reader::end`] is known.
    #[inline(always)]
    pub fn step(&mut self, messages: &mut impl Messages) -> ControlFlow<()> {
        if self.at >= self.stop {
            return self.finish(End::Done);
        }
        if self.read < PREFIX {
            if self.read_length(messages).is_none() {
                return self.finish(End::Unreadable);
            }
            if self.at >= self.stop {
                return ControlFlow::Continue(());
            }
        }
        let (left, had) = (self.stop - self.at, self.read - PREFIX);
        let wanted = wanted(self.length);
        let piece = if had < wanted {
            let piece = smaller(left, wanted - had);
            let piece = if had == 0 && piece == wanted { piece } else { smaller(piece, PIECE_MAX as u32) };
            if !self.collect(messages, had, piece, wanted) {
                return self.finish(End::Unreadable);
            }
            if had + piece == wanted && !self.judge(messages, wanted) {
                return self.finish(End::Refused);
            }
            piece
        } else {
            // What is longer than can be read, or shorter than a header.
            smaller(left, self.length - had)
        };
        self.at += piece;
        self.read += piece;
        if self.read - PREFIX >= self.length {
            (self.read, self.length) = (0, 0);
        }
        ControlFlow::Continue(())
    }

    /// Has the whole message judged. The first message of a zone transfer has the question, the others need not (RFC 5936
    /// section 2.2): no lookup ends with one of those, and nothing is bound by them.
    #[inline(always)]
    fn judge<M: Messages>(&mut self, messages: &mut M, length: u32) -> bool {
        let questions = messages.number(QUESTIONS);
        if questions == 0 && self.transfer != 0 {
            return true;
        }
        if !messages.judge(length) {
            return false;
        }
        self.label = HEADER;
        M::Loop::repeat(LABELS_MAX, &mut Labels { reader: &mut *self, messages });
        if questions == 1 && matches!(messages.number(self.label + 1), IXFR | AXFR) {
            self.transfer = 1;
        }
        true
    }

    /// Reads the length, or the one byte of it that is there.
    #[inline(always)]
    fn read_length(&mut self, messages: &impl Messages) -> Option<()> {
        if self.read == 0 && self.stop - self.at >= PREFIX {
            let [high, low] = messages.load(self.at)?;
            self.length = u16::from_be_bytes([high, low]).into();
            self.at += PREFIX;
            self.read = PREFIX;
        } else {
            let [byte] = messages.load(self.at)?;
            self.length = (self.length << 8 | u32::from(byte)) & 0xffff;
            self.at += 1;
            self.read += 1;
        }
        Some(())
    }

    /// Puts a piece to those that are kept, and the whole message where it is judged.
    #[inline(always)]
    fn collect(&mut self, messages: &mut impl Messages, had: u32, piece: u32, wanted: u32) -> bool {
        if had == 0 && piece == wanted {
            return messages.take(self.at, wanted);
        }
        if had == 0 && self.kept != 0 {
            self.overwritten = 1;
        }
        messages.keep(self.at, had, piece) && (had + piece < wanted || messages.assemble(wanted))
    }

    #[inline(always)]
    fn finish(&mut self, end: End) -> ControlFlow<()> {
        self.end = end;
        ControlFlow::Break(())
    }
}

/// Bytes of a segment's beginning that tell whether an answer begins there: length, id, flags, four counts.
pub const HEAD: usize = 14;

/// Bytes of a message's length.
const PREFIX: u32 = 2;
/// Bytes of a message's header: less is no message.
const HEADER: u32 = 12;

/// Where a message has its number of questions.
const QUESTIONS: u32 = 4;
/// Most labels of a name, with the one that ends it.
const LABELS_MAX: u32 = 128;
/// Types of a question that asks for a zone (RFC 1995, RFC 5936).
const IXFR: u16 = 251;
const AXFR: u16 = 252;

/// On the way to the end of the question's name; the state is the reader's.
struct Labels<'a, M> {
    reader: &'a mut Reader,
    messages: &'a M,
}

impl<M: Messages> Step for Labels<'_, M> {
    /// Skips one label; a pointer ends the walk too, and no question has one.
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let length = u32::from(self.messages.number(self.reader.label) >> 8);
        if length == 0 || length > 63 {
            return ControlFlow::Break(());
        }
        self.reader.label += length + 1;
        ControlFlow::Continue(())
    }
}

/// How many bytes of a message are read.
#[inline(always)]
fn wanted(length: u32) -> u32 {
    if length < HEADER { 0 } else { smaller(length, MESSAGE_MAX as u32) }
}

/// Whether the beginning of a message is kept.
#[inline(always)]
fn is_partial(read: u32, length: u32) -> bool {
    read > PREFIX && read - PREFIX < wanted(length)
}

/// Whether a length and the header of an answer (RFC 1035 section 4.1.1) stand here; other bytes practically never look like
/// that.
#[inline(always)]
fn begins_answer(head: [u8; HEAD]) -> bool {
    let [l0, l1, _, _, flags, code, q0, q1, a0, _, n0, _, r0, _] = head;
    u32::from(u16::from_be_bytes([l0, l1])) >= HEADER
        && flags & 0xf8 == 0x80
        && code & 0x40 == 0
        && q0 == 0
        && q1 == 1
        && a0 | n0 | r0 == 0
}

/// Whether `a` comes before `b` in the stream (RFC 9293 section 3.4).
#[inline(always)]
fn is_before(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[inline(always)]
fn smaller(a: u32, b: u32) -> u32 {
    if a < b { a } else { b }
}

#[cfg(test)]
mod tests;
