//! The same over TCP: a segment leaves once everything in it was judged.
//!
//! What is not sent stays in the socket's queue, and what the application writes next joins it there
//! (`net/ipv4/tcp.c` `tcp_sendmsg_locked`): a message that comes in pieces is judged when it is whole, and nothing has to be
//! kept for that. A refused query stays in front of everything behind it: nothing more is sent on the connection.

use super::{DELIVERED, DROPPED, END, HELD, NOWHERE, conclude, decide_lookup, message, take};
use crate::{answer::Delivery, count, repeat::BpfLoop, skb::Skb, stream::socket, transport::DNS};
use aya_ebpf::{
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE},
    btf_maps::SkStorage,
    helpers::generated::bpf_sk_storage_get,
    macros::btf_map,
    programs::SkBuffContext,
};
use core::ops::ControlFlow;
use enforcer_common::{
    Decision, Verdict,
    control::Counter,
    packet::{Bytes as _, Network, Segment, Span, flag},
    repeat::{Repeat as _, Step},
    sent::{Progress, Sent},
};

/// One for each connection to a server, as long as its socket lives.
#[btf_map]
static SENT: SkStorage<Sent> = SkStorage::new();

const SOCK_STREAM: u32 = 1;
/// Most messages of one segment: nobody asks so much at once, and each costs time.
const MESSAGES_MAX: u32 = 512;

/// Where the message ends before the segment does not.
const INCOMPLETE: u64 = END + 1;
/// It is not known where messages begin.
const UNKNOWN: u64 = END + 2;

/// Whether a connection is to the port of DNS, before its addresses are translated.
#[inline(always)]
pub(super) fn asks(ctx: &SkBuffContext) -> bool {
    // SAFETY: the helper has checked the socket; the field is read with its own width.
    socket(ctx.skb.skb).is_some_and(|socket| unsafe { (*socket).dst_port } == DNS.to_be())
}

/// Judges a segment.
#[inline(always)]
pub(super) fn segment(skb: *mut __sk_buff, version: u64) -> Delivery {
    let at = open_sent(skb);
    match at {
        END => return Delivery::Deliver,
        UNKNOWN => return conclude(skb, version, NOWHERE),
        _ => {}
    }
    let mut each = Messages { skb, version, at, end: 0 };
    BpfLoop::repeat(MESSAGES_MAX, &mut each);
    match each.end {
        DELIVERED => {
            advance(skb, 1);
            Delivery::Deliver
        }
        DROPPED => Delivery::Drop,
        _ => hold(skb, version),
    }
}

/// The messages of a segment, one after the other.
struct Messages {
    skb: *mut __sk_buff,
    version: u64,
    /// Where the next one begins.
    at: u64,
    end: u64,
}

impl Step for Messages {
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let taken = take_message(self.skb, self.at as u32);
        match taken {
            END => self.end = DELIVERED,
            INCOMPLETE => self.end = HELD,
            _ => {
                if let Delivery::Drop = message(self.skb, self.version, taken as u8 as u32) {
                    self.end = DROPPED;
                }
            }
        }
        self.at = taken >> 8;
        if self.end == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Holds a message back that is not whole, from whom some lookup is refused. Whoever else sends it gets it through, and what
/// follows is not read.
#[inline(always)]
fn hold(skb: *mut __sk_buff, version: u64) -> Delivery {
    let decision = Decision::unpack(decide_lookup(skb, NOWHERE, version));
    if decision.is_some_and(|decision| matches!(decision.effective, Verdict::Deny)) {
        count::add(Counter::SegmentsHeld, 1);
        return Delivery::Drop;
    }
    advance(skb, 0);
    Delivery::Deliver
}

/// Where in a segment reading goes on; [`END`] if nothing in it is new, else [`UNKNOWN`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn open_sent(skb: *mut __sk_buff) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let Some(segment) = segment_of(ctx) else { return UNKNOWN };
    let begins = segment.flags & flag::SYN != 0;
    let sent = sent_of(skb, begins);
    if let Some(sent) = sent
        && begins
    {
        // SAFETY: a value of the storage; segments of one connection leave one after the other.
        unsafe { *sent = Sent::through(segment.sequence) };
    }
    let length = segment.payload.length();
    if length == 0 {
        return END;
    }
    let Some(sent) = sent else { return UNKNOWN };
    // SAFETY: as above.
    match unsafe { &*sent }.progress(first(&segment), length) {
        Progress::Old => END,
        Progress::New(skip) => u64::from(segment.payload.start + skip),
        Progress::Unknown => UNKNOWN,
    }
}

/// Takes the message that begins there into a scratch: its place, or [`NOWHERE`], and above that where the next one begins;
/// [`END`] or [`INCOMPLETE`] if there is none.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_message(skb: *mut __sk_buff, at: u32) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let Some(Segment { payload: Span { end, .. }, .. }) = segment_of(ctx) else { return INCOMPLETE };
    if at >= end {
        return END;
    }
    let Some(length) = Skb(ctx).load(at).map(u16::from_be_bytes) else { return INCOMPLETE };
    let start = at + 2;
    let next = start + u32::from(length);
    if next > end {
        return INCOMPLETE;
    }
    u64::from(take(ctx, Span { start, end: next })) | u64::from(next) << 8
}

/// Moves past a segment that is sent, with all that was read of it; or, with 0, gives its stream up.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn advance(skb: *mut __sk_buff, read: u64) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    if let (Some(segment), Some(sent)) = (segment_of(ctx), sent_of(skb, false)) {
        // SAFETY: as in `open_sent`.
        unsafe {
            *sent = match read {
                0 => Sent::default(),
                _ => Sent::through(first(&segment).wrapping_add(segment.payload.length()).wrapping_sub(1)),
            };
        }
    }
    0
}

/// The number of the first byte of a segment's payload: behind that of the SYN, if it is set.
#[inline(always)]
fn first(segment: &Segment) -> u32 {
    segment.sequence.wrapping_add(u32::from(segment.flags & flag::SYN != 0))
}

#[inline(always)]
fn segment_of(ctx: &SkBuffContext) -> Option<Segment> {
    let packet = Skb(ctx);
    Network::of(&packet)?.segment(&packet)
}

/// What is known of the connection. Only the kernel's own numbers say what was sent before.
#[inline(always)]
fn sent_of(skb: *mut __sk_buff, create: bool) -> Option<*mut Sent> {
    let socket = socket(skb)?;
    // SAFETY: a whole socket; the field is read with its own width.
    if unsafe { (*socket).type_ } != SOCK_STREAM {
        return None;
    }
    let flags = if create { BPF_SK_STORAGE_GET_F_CREATE.into() } else { 0 };
    let map = (&raw const SENT).cast_mut().cast();
    // SAFETY: the map is one of socket storage; new storage is zero.
    let sent = unsafe { bpf_sk_storage_get(map, socket.cast(), core::ptr::null_mut(), flags) };
    (!sent.is_null()).then_some(sent.cast())
}
