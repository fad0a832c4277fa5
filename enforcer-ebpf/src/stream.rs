//! DNS answers over TCP: segments are read in the order of their stream, before the socket takes them.

use crate::{
    answer::{self, Delivery, Next},
    atomic, count,
    repeat::BpfLoop,
    scratch::{self, Claim, PLACES},
    skb::Skb,
    transport::Source,
    trust,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{__sk_buff, BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    btf_maps::{PerCpuArray, SkStorage},
    helpers::{
        bpf_probe_read_kernel_buf,
        generated::{
            bpf_sk_fullsock, bpf_sk_storage_delete, bpf_sk_storage_get, bpf_skb_load_bytes, bpf_tcp_sock,
        },
    },
    macros::btf_map,
    programs::SkBuffContext,
};
use core::{ffi::c_void, ops::ControlFlow, ptr};
use enforcer_common::{
    bound::masked,
    control::Counter,
    dns::{Doubt, Scratch},
    packet::{Bytes, Segment, flag},
    repeat::{Repeat as _, Step},
    stream::{End, Messages, Order, PIECE_MAX, PIECES_MAX, Partial, Reader, Stream},
};

/// One for each connection from port 53 that has brought data, as long as its socket lives.
#[btf_map]
static STREAMS: SkStorage<Stream> = SkStorage::new();

/// Only while the beginning of a message waits for the rest.
#[btf_map]
static PARTIALS: SkStorage<Partial> = SkStorage::new();

/// Beside the [`Scratch`] of the same place, and claimed with it.
#[btf_map]
static READERS: PerCpuArray<Reader, PLACES> = PerCpuArray::new();

/// States of a socket (`include/net/tcp_states.h`).
const SYN_SENT: u32 = 2;
const LISTEN: u32 = 10;

/// Takes a first look at a segment from port 53, and lays it ready for [`read`] if there is something to read.
#[inline(always)]
pub(crate) fn open(ctx: &SkBuffContext, source: &Source, segment: &Segment) -> Next {
    let Some(socket) = socket(ctx.skb.skb) else { return Next::End(Delivery::Deliver) };
    // SAFETY: the helper has checked the socket; the field is read with its own width.
    let state = unsafe { (&raw const (*socket).state).read_volatile() };
    if state == SYN_SENT && segment.flags & flag::SYN != 0 {
        // A socket may connect again.
        forget(socket);
    }
    if segment.payload.length() == 0 || state == LISTEN {
        return Next::End(Delivery::Deliver);
    }
    if state == SYN_SENT {
        // The socket's own numbers are not there yet. TCP sends it again.
        return Next::End(hold(ctx, None));
    }
    let Some((expected, received)) = numbers(socket) else { return Next::End(hold(ctx, None)) };
    let Some(stream) = stream_of(socket, received, expected) else {
        return Next::End(unread(ctx));
    };
    if !claim(stream) {
        return Next::End(hold(ctx, None));
    }
    // SAFETY: a value of the map, claimed by us; the reference ends before it is released.
    let next = prepare(ctx, source, segment, expected, unsafe { &mut *stream });
    if !matches!(next, Next::Segment(_)) {
        release(stream);
    }
    next
}

/// Lays a segment ready, if it is what is next in its stream.
#[inline(always)]
fn prepare(
    ctx: &SkBuffContext,
    source: &Source,
    segment: &Segment,
    expected: u32,
    stream: &mut Stream,
) -> Next {
    let payload = segment.payload;
    let head = || Skb(ctx).load(payload.start);
    let skip = match stream.order(segment.sequence, payload.length(), expected, head) {
        Order::Old => return Next::End(Delivery::Deliver),
        Order::Next(skip) => skip,
        Order::Out => return Next::End(hold(ctx, Some(stream))),
        Order::Unknown => return Next::End(unread(ctx)),
    };
    let Some(claim) = Claim::take() else {
        count::add(Counter::NoScratch, 1);
        return Next::End(hold(ctx, Some(stream)));
    };
    let (Some(scratch), Some(reader)) = (scratch::of(claim.0), reader_of(claim.0)) else {
        claim.release();
        return Next::End(hold(ctx, Some(stream)));
    };
    answer::describe(ctx, source, scratch);
    answer::believe(Err(Doubt::Unsolicited), scratch);
    let next = segment.sequence.wrapping_add(payload.length());
    *reader = stream.reader(payload.start + skip, payload.end, next);
    Next::Segment(claim.0)
}

/// Writes down how far what lies ready at a place is believed; the connection itself was asked for. Where somebody else than
/// the resolver has put in a word, what follows may belong to it. A function of its own, for its frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn consider_segment(skb: *mut __sk_buff, place: u32) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let (Some(scratch), Some(stream)) = (scratch::of(place), socket(skb).and_then(known_stream)) else {
        return 0;
    };
    let server = scratch.record.header.server;
    let mut believed = trust::of(ctx, &server);
    if believed.is_ok() {
        // SAFETY: a value of the map, claimed by `open`; the reference ends before it is released.
        let stream = unsafe { &mut *stream };
        if trust::of_peer(ctx, &server).is_err() {
            stream.doubt();
        }
        if stream.is_doubted() {
            believed = Err(Doubt::Process);
        }
    }
    answer::believe(believed, scratch);
    0
}

/// Reads the segment that lies ready at a place.
#[inline(always)]
pub(crate) fn read(skb: *mut __sk_buff, place: u32) {
    BpfLoop::repeat(PIECES_MAX, &mut Pieces { skb, place });
}

/// The pieces of a segment, one after the other.
struct Pieces {
    skb: *mut __sk_buff,
    place: u32,
}

impl Step for Pieces {
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        if read_piece(self.skb, self.place) == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// What becomes of the segment that was read, as [`Delivery::pack`] packs it.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn conclude(skb: *mut __sk_buff, place: u32) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let Some(stream) = socket(skb).and_then(known_stream) else { return hold(ctx, None).pack() };
    // SAFETY: a value of the map, claimed by `open`; the reference ends before it is released.
    let delivery = match reader_of(place) {
        Some(reader) => end(ctx, unsafe { &mut *stream }, reader),
        None => hold(ctx, None),
    };
    release(stream);
    delivery.pack()
}

#[inline(always)]
fn end(ctx: &SkBuffContext, stream: &mut Stream, reader: &Reader) -> Delivery {
    match reader.end() {
        End::Done => {
            if stream.advance(reader) {
                drop_partial(ctx.skb.skb);
            }
            Delivery::Deliver
        }
        End::Refused => {
            stream.stay(reader);
            count::add(Counter::AnswersRefused, 1);
            Delivery::Drop
        }
        End::Limit | End::Unreadable => {
            stream.stay(reader);
            hold(ctx, Some(stream))
        }
    }
}

/// Reads one piece of the segment at a place; 1 if there is no more to read. Global: verified once for all rounds.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_piece(skb: *mut __sk_buff, place: u32) -> u64 {
    let (Some(scratch), Some(reader)) = (scratch::of(place), reader_of(place)) else { return 1 };
    let ctx = SkBuffContext::new(skb);
    reader.step(&mut Place { skb: Skb(&ctx), place, scratch }).is_break().into()
}

/// A segment, and where its messages go.
struct Place<'a> {
    skb: Skb<'a>,
    place: u32,
    scratch: &'a mut Scratch,
}

impl Bytes for Place<'_> {
    type Loop = BpfLoop;

    #[inline(always)]
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.skb.load(at)
    }

    #[inline(always)]
    fn length(&self) -> u32 {
        self.skb.length()
    }
}

impl Messages for Place<'_> {
    #[inline(always)]
    fn take(&mut self, at: u32, length: u32) -> bool {
        let to = self.scratch.record.message.as_mut_ptr();
        // SAFETY: the destination has 4,096 bytes, and `bounded` is at most that.
        unsafe {
            bpf_skb_load_bytes(self.skb.0.as_ptr().cast(), at, to.cast(), answer::bounded(length) as u32) == 0
        }
    }

    #[inline(always)]
    fn keep(&mut self, at: u32, offset: u32, length: u32) -> bool {
        let Some(partial) = partial_of(self.skb.0.skb.skb, true) else { return false };
        let length = masked::<{ PIECE_MAX as u64 - 1 }>(u64::from(length).wrapping_sub(1)) as u32 + 1;
        // SAFETY: at most 4,095 and 2,048 bytes of 6,144.
        unsafe {
            let to = (&raw mut (*partial).message).cast::<u8>().add(masked::<4095>(offset.into()));
            bpf_skb_load_bytes(self.skb.0.as_ptr().cast(), at, to.cast(), length) == 0
        }
    }

    #[inline(always)]
    fn assemble(&mut self, _: u32) -> bool {
        let Some(partial) = partial_of(self.skb.0.skb.skb, false) else { return false };
        // SAFETY: the source is a value of the map that has more bytes than the message.
        unsafe { bpf_probe_read_kernel_buf(partial.cast(), &mut self.scratch.record.message) }.is_ok()
    }

    #[inline(always)]
    fn judge(&mut self, length: u32) -> bool {
        count::add(Counter::Answers, 1);
        let header = &mut self.scratch.record.header;
        header.length = length;
        header.unparsed = 0;
        !(answer::bind(self.place) && answer::in_scope(self.skb.0))
    }

    #[inline(always)]
    fn number(&self, at: u32) -> u16 {
        let message = &self.scratch.record.message;
        let byte = |at: u32| message.get(masked::<4095>(at.into())).copied().unwrap_or(0);
        u16::from_be_bytes([byte(at), byte(at + 1)])
    }
}

/// Does not deliver what cannot be read in this order or at this moment, where anything is enforced on the receiver: TCP
/// sends it again. Elsewhere it is delivered, and the stream is lost until an answer begins with a segment.
#[inline(always)]
fn hold(ctx: &SkBuffContext, stream: Option<&mut Stream>) -> Delivery {
    if answer::enforces_something() && answer::in_scope(ctx) {
        count::add(Counter::SegmentsHeld, 1);
        return Delivery::Drop;
    }
    count::add(Counter::SegmentsUnread, 1);
    if let Some(stream) = stream {
        stream.lose();
    }
    Delivery::Deliver
}

/// What cannot be read, now or later, is not delivered where a deny is enforced on the receiver.
#[inline(always)]
fn unread(ctx: &SkBuffContext) -> Delivery {
    count::add(Counter::SegmentsUnread, 1);
    answer::refuse_if(ctx, answer::denies_something())
}

/// The socket that receives. Not a request to connect, and not one that waits for its last segments.
#[inline(always)]
pub(crate) fn socket(skb: *mut __sk_buff) -> Option<*mut bpf_sock> {
    // SAFETY: the context's field, read with its own width.
    let socket = unsafe { (&raw const (*skb).__bindgen_anon_2.sk).read_volatile() };
    if socket.is_null() {
        return None;
    }
    // SAFETY: the helper takes any socket of a context.
    let socket = unsafe { bpf_sk_fullsock(socket) };
    (!socket.is_null()).then_some(socket)
}

/// The sequence number that a socket expects next, and how many bytes it has taken. In this order: the kernel counts the
/// bytes first (`net/ipv4/tcp_input.c` `tcp_rcv_nxt_update`).
#[inline(always)]
fn numbers(socket: *mut bpf_sock) -> Option<(u32, u64)> {
    // SAFETY: the helper takes a full socket; the fields are read with their own width.
    unsafe {
        let tcp = bpf_tcp_sock(socket);
        if tcp.is_null() {
            return None;
        }
        let expected = (&raw const (*tcp).rcv_nxt).read_volatile();
        Some((expected, (&raw const (*tcp).bytes_received).read_volatile()))
    }
}

/// What is known of a socket's stream.
#[inline(always)]
fn stream_of(socket: *mut bpf_sock, received: u64, expected: u32) -> Option<*mut Stream> {
    let mut new = Stream::new(received, expected);
    storage(map_of(&raw const STREAMS), socket, (&raw mut new).cast(), true).map(<*mut c_void>::cast)
}

#[inline(always)]
fn known_stream(socket: *mut bpf_sock) -> Option<*mut Stream> {
    storage(map_of(&raw const STREAMS), socket, ptr::null_mut(), false).map(<*mut c_void>::cast)
}

#[inline(always)]
fn partial_of(skb: *mut __sk_buff, create: bool) -> Option<*mut Partial> {
    storage(map_of(&raw const PARTIALS), socket(skb)?, ptr::null_mut(), create).map(<*mut c_void>::cast)
}

#[inline(always)]
fn drop_partial(skb: *mut __sk_buff) {
    if let Some(socket) = socket(skb) {
        // SAFETY: the map is one of socket storage.
        unsafe { bpf_sk_storage_delete(map_of(&raw const PARTIALS), socket.cast()) };
    }
}

#[inline(always)]
fn forget(socket: *mut bpf_sock) {
    // SAFETY: the map is one of socket storage.
    unsafe { bpf_sk_storage_delete(map_of(&raw const STREAMS), socket.cast()) };
}

#[inline(always)]
fn storage(map: *mut c_void, socket: *mut bpf_sock, new: *mut c_void, create: bool) -> Option<*mut c_void> {
    let flags = if create { BPF_SK_STORAGE_GET_F_CREATE.into() } else { 0 };
    // SAFETY: the map is one of socket storage, and `new` is null or a value of it.
    let found = unsafe { bpf_sk_storage_get(map, socket.cast(), new, flags) };
    (!found.is_null()).then_some(found)
}

#[inline(always)]
fn map_of<T>(map: *const SkStorage<T>) -> *mut c_void {
    map.cast_mut().cast()
}

#[inline(always)]
fn reader_of<'a>(place: u32) -> Option<&'a mut Reader> {
    // SAFETY: the caller holds the claim of this place, and makes no second reference while this one is in use.
    READERS.get_ptr_mut(place).map(|reader| unsafe { &mut *reader })
}

/// Segments of one connection may be read on two CPUs at once.
#[inline(always)]
fn claim(stream: *mut Stream) -> bool {
    // SAFETY: a value of the map.
    unsafe { atomic::compare_exchange(&raw mut (*stream).claim, 0, 1) == 0 }
}

#[inline(always)]
fn release(stream: *mut Stream) {
    // SAFETY: a value of the map.
    unsafe { atomic::compare_exchange(&raw mut (*stream).claim, 1, 0) };
}
