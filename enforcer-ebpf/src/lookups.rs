//! Lookups that a rule refuses (`refuseLookup`): the query is judged before it leaves, and not sent.
//!
//! A program of its own, because of the stack, and attached where decisions are made. A chain of functions that hand
//! numbers on, as at the wire.

use crate::{
    answer::{self, Delivery},
    count, emit,
    maps::{self, PolicySlot, Sender},
    queries, recent,
    repeat::BpfLoop,
    scratch::{self, Claim},
    skb::Skb,
    transport::{self, DATAGRAMS_MAX, DNS},
    wire,
};
use aya_ebpf::{bindings::__sk_buff, btf_maps::Array, macros::btf_map, programs::SkBuffContext};
use core::ops::ControlFlow;
use enforcer_common::{
    Decision, Verdict,
    bound::masked,
    control::{self, CANARY_AT_LOOKUPS, Control, Counter},
    dns::{Question, judge_lookup},
    image::{Buckets as _, FULL, Meta},
    name::mix,
    packet::{Network, Span, TCP, UDP},
    repeat::{Repeat as _, Step},
    wire::Route,
};

mod stream;

/// Which refusals were told lately, by the hash of name and sender, as [`recent`] says.
#[btf_map]
static TOLD: Array<u64, TOLD_PLACES> = Array::new();

const TOLD_PLACES: usize = 4_096;
/// Units of [`recent`] until the same is told again.
const SILENT: u64 = 10;

/// Judges one packet that is about to be sent.
#[inline(always)]
pub(crate) fn judge(ctx: &SkBuffContext) -> Delivery {
    if is_canary(ctx) {
        count::add(Counter::Canaries, 1);
        return Delivery::Drop;
    }
    let version = maps::control(Control::Version);
    if version == 0 || asks_nothing(ctx) || !is_wanted(version) {
        return Delivery::Deliver;
    }
    let skb = ctx.skb.skb;
    match Found::unpack(look_for_query(skb)) {
        Found::Nothing => Delivery::Deliver,
        Found::Unreadable => conclude(skb, version, NOWHERE),
        Found::Datagrams => datagrams(skb, version),
        Found::Segment => stream::segment(skb, version),
    }
}

/// Judges the datagrams of a packet: they are sent together, or not at all.
#[inline(always)]
fn datagrams(skb: *mut __sk_buff, version: u64) -> Delivery {
    let mut each = Datagrams { skb, version, end: 0 };
    BpfLoop::repeat(DATAGRAMS_MAX, &mut each);
    match each.end {
        DELIVERED => Delivery::Deliver,
        DROPPED => Delivery::Drop,
        // More than a sender can put into one packet.
        _ => conclude(skb, version, NOWHERE),
    }
}

/// How reading a packet ended; 0 = it has not.
const DELIVERED: u64 = 1;
const DROPPED: u64 = 2;
/// The last message of a segment does not end in it.
const HELD: u64 = 3;

/// The datagrams of a packet, one after the other.
struct Datagrams {
    skb: *mut __sk_buff,
    version: u64,
    end: u64,
}

impl Step for Datagrams {
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let taken = take_query(self.skb, index);
        if taken == END {
            self.end = DELIVERED;
        } else if let Delivery::Drop = message(self.skb, self.version, taken as u32) {
            self.end = DROPPED;
        }
        if self.end == 0 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Judges the message in the scratch of a place, and gives the place back.
#[inline(always)]
fn message(skb: *mut __sk_buff, version: u64, place: u32) -> Delivery {
    const NAME: u64 = Question::Name as u64;
    const NOTHING: u64 = Question::Nothing as u64;
    let delivery = match read_question(place, version) {
        NAME => conclude(skb, version, place),
        NOTHING => Delivery::Deliver,
        _ => conclude(skb, version, NOWHERE),
    };
    if place != NOWHERE {
        Claim(place).release();
    }
    delivery
}

/// Judges the lookup of what [`read_question`] has read.
#[inline(always)]
fn conclude(skb: *mut __sk_buff, version: u64, place: u32) -> Delivery {
    let packed = decide_lookup(skb, place, version);
    if conclude_lookup(skb, place, version, packed) == 0 { Delivery::Deliver } else { Delivery::Drop }
}

/// Whether the packet is the canary that this program refuses. The wire lets it pass, and nothing else.
#[inline(always)]
pub(crate) fn is_canary(ctx: &SkBuffContext) -> bool {
    let canary = maps::control(Control::Canary);
    canary != 0
        && transport::glance(ctx).is_some_and(|plain| {
            plain.protocol == UDP
                && control::canary(&plain.destination, plain.ports.destination)
                    == Some(canary ^ CANARY_AT_LOOKUPS)
        })
}

/// Whether it is known at a glance that the packet is for no server of DNS.
#[inline(always)]
fn asks_nothing(ctx: &SkBuffContext) -> bool {
    transport::glance(ctx).is_some_and(|plain| {
        let asks = || if plain.protocol == UDP { queries::asks(ctx) } else { stream::asks(ctx) };
        plain.ports.destination != DNS && !asks()
    })
}

/// Whether the policy of this version refuses any lookup. One that cannot be read says so later.
#[inline(always)]
fn is_wanted(version: u64) -> bool {
    PolicySlot::new((version & 1) as u32)
        .is_none_or(|slot| Meta::of(&slot).is_none_or(|meta| meta.refuses_lookups()))
}

/// What a packet brings.
enum Found {
    /// Nothing that is judged here.
    Nothing,
    /// Something for a server that cannot be read.
    Unreadable,
    Datagrams,
    Segment,
}

impl Found {
    #[inline(always)]
    fn unpack(packed: u64) -> Self {
        match packed {
            0 => Self::Nothing,
            1 => Self::Unreadable,
            2 => Self::Datagrams,
            _ => Self::Segment,
        }
    }
}

/// The first look, as the number of a [`Found`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_for_query(skb: *mut __sk_buff) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let found = match Network::of(&packet) {
        Some(network) => match network.ports(&packet) {
            Some(ports) => match network.protocol {
                UDP if ports.destination == DNS || queries::asks(ctx) => Found::Datagrams,
                TCP if ports.destination == DNS || stream::asks(ctx) => Found::Segment,
                _ => Found::Nothing,
            },
            None => Found::Nothing,
        },
        None => fragment(skb),
    };
    found as u64
}

/// What is no whole packet. Somebody has cut it himself: the kernel cuts later.
#[inline(always)]
fn fragment(skb: *mut __sk_buff) -> Found {
    let packet = Skb(&SkBuffContext::new(skb));
    match Route::unpack(wire::read_route(skb)) {
        Some(route)
            if matches!(route.protocol, TCP | UDP)
                && route.ports(&packet).is_some_and(|(_, port)| port == DNS) =>
        {
            Found::Unreadable
        }
        // The wire has judged what cannot be read at all, and a later fragment says nothing without the first.
        _ => Found::Nothing,
    }
}

/// The place of a datagram that cannot be read, or of one for which there is no scratch.
const NOWHERE: u32 = 0xff;
/// There is no datagram of this number.
const END: u64 = 1 << 32;

/// Takes the datagram of this number into a scratch, and returns its place, [`NOWHERE`] or [`END`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn take_query(skb: *mut __sk_buff, index: u32) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let size = packet.datagram_size();
    if index != 0 && size == 0 {
        return END;
    }
    let Some(whole) = Network::of(&packet).and_then(|network| network.datagram(&packet)) else {
        return NOWHERE.into();
    };
    match whole.part(size, index as u16) {
        Some(message) if message.length() != 0 => take(ctx, message).into(),
        _ => END,
    }
}

/// Takes a message into a scratch, and returns its place.
#[inline(always)]
fn take(ctx: &SkBuffContext, message: Span) -> u32 {
    let Some(claim) = Claim::take() else {
        count::add(Counter::NoScratch, 1);
        return NOWHERE;
    };
    if answer::copy(ctx, message, claim.0).is_none() {
        claim.release();
        return NOWHERE;
    }
    claim.0
}

/// [`Scratch::query`](enforcer_common::dns::Scratch::query) at a place, by the policy of a version, as the number of a
/// [`Question`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn read_question(place: u32, version: u64) -> u64 {
    match (PolicySlot::new((version & 1) as u32), scratch::of(place)) {
        (Some(slot), Some(scratch)) => scratch.query(&slot) as u64,
        _ => Question::Unreadable as u64,
    }
}

/// [`judge_lookup`] for whoever sends the packet and for the name at a place, or for any name, packed; 0 if the maps cannot
/// answer.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decide_lookup(skb: *mut __sk_buff, place: u32, version: u64) -> u64 {
    let (_, uid, cgroup) = wire::sender(&SkBuffContext::new(skb));
    let slot = PolicySlot::of((version & 1) as u32, maps::moment(), Sender { skb, cgroup });
    let Some(slot) = slot else { return 0 };
    let named = match scratch::of(place) {
        Some(scratch) => scratch.named(),
        None => match slot.bucket(FULL) {
            Some(all) => all,
            None => return 0,
        },
    };
    judge_lookup(&slot, named, uid).map_or(0, Decision::pack)
}

/// What becomes of a query by a packed decision; 1 = it is not sent. Counts it, and tells.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn conclude_lookup(skb: *mut __sk_buff, place: u32, version: u64, packed: u64) -> u64 {
    let Some(decision) = Decision::unpack(packed) else {
        count::add(Counter::Errors, 1);
        return maps::errors_deny().into();
    };
    let refused = matches!(decision.effective, Verdict::Deny);
    if refused {
        count::add(Counter::LookupsRefused, 1);
    }
    if matches!(decision.verdict, Verdict::Deny) && is_news(skb, place, version) {
        emit::lookup(skb, version, place, packed);
    }
    refused.into()
}

/// Whether a refusal was not told lately, for this name, user and cgroup.
#[inline(always)]
fn is_news(skb: *mut __sk_buff, place: u32, version: u64) -> bool {
    const MASK: u64 = TOLD_PLACES as u64 - 1;
    let (_, uid, cgroup) = wire::sender(&SkBuffContext::new(skb));
    let name = scratch::of(place).map_or(0, |scratch| scratch.name_hash());
    let hash = mix(mix(name ^ version.rotate_left(48)) ^ cgroup.rotate_left(32) ^ u64::from(uid));
    let stamp = recent::stamp(hash);
    let Some(told) = TOLD.get_ptr_mut(masked::<MASK>(hash) as u32) else { return true };
    // SAFETY: a value of the map; whole words.
    if recent::is_within(SILENT, unsafe { told.read_volatile() }, stamp) {
        return false;
    }
    // SAFETY: as above.
    unsafe { told.write_volatile(stamp) };
    true
}
