//! Who on this machine sends answers.
//!
//! An answer that was sent on this machine comes over a loopback interface. Where it is sent it is known by whom: egress
//! *vouches* for what the resolver's own process says. Whoever else says something in its place takes the word back: what
//! is vouched for when it arrives, nobody but the resolver has said since. A datagram is vouched for by itself, and once; a
//! segment with its connection.

use crate::{
    answer, atomic, queries,
    repeat::BpfLoop,
    scratch::{self, Claim},
    settings::setting,
    skb::{Skb, is_loopback},
    transport::{self, DATAGRAMS_MAX, DNS, Datagram, Source},
    trust,
};
use aya_ebpf::{bindings::__sk_buff, btf_maps::Array, macros::btf_map, programs::SkBuffContext};
use core::ops::ControlFlow;
use enforcer_common::{
    Address,
    bound::masked,
    dns,
    packet::{Segment, UDP, flag},
    repeat::{Repeat as _, Step},
};

/// What is on its way over loopback, at the place that its [`Token`] has. A token with the lowest bit set is one that
/// somebody else has sent, too.
#[btf_map]
static VOUCHED: Array<u64, TOKENS> = Array::new();

const TOKENS: usize = 16_384;

/// Notes who sends answers to somebody on this machine.
#[inline(always)]
pub(crate) fn observe(ctx: &SkBuffContext) {
    if !is_loopback(ctx) || transport::glance(ctx).is_some_and(|plain| plain.ports.source != DNS) {
        return;
    }
    BpfLoop::repeat(DATAGRAMS_MAX, &mut Notes { skb: ctx.skb.skb });
}

/// What a packet brings, one after the other.
struct Notes {
    skb: *mut __sk_buff,
}

impl Step for Notes {
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        if note(self.skb, index) == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

/// Whether somebody vouches for the answer in the scratch, which has arrived over loopback. It counts once.
#[inline(always)]
pub(crate) fn redeem(ctx: &SkBuffContext, place: u32, answer: &Source) -> bool {
    Token::of_answer(ctx, place, &answer.server, answer.client_port).is_some_and(Token::redeem)
}

/// 1 if somebody vouches for the segment from port 53 that has arrived over loopback. Global, for its frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn vouches(skb: *mut __sk_buff) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let vouched = transport::headers(&packet, |_| true)
        .and_then(|(network, ports)| {
            let ends = [network.source(&packet)?, network.destination(&packet)?];
            Token::of_connection(ctx, &ends, ports.destination)
        })
        .is_some_and(Token::is_there);
    vouched.into()
}

/// Notes who sends the datagram of this number, or the segment; 1 if another may follow. Global: verified once for all
/// rounds.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn note(skb: *mut __sk_buff, index: u32) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let Some((network, ports)) = transport::headers(&packet, |ports| ports.source == DNS) else { return 0 };
    if network.protocol == UDP {
        let Some(datagram) = Datagram::of(&packet, &network, ports, index as u16) else { return 0 };
        if trust::is_held(&datagram.source) {
            note_datagram(ctx, &datagram);
        }
        return (packet.datagram_size() != 0).into();
    }
    if let (Some(source), Some(destination)) = (network.source(&packet), network.destination(&packet))
        && trust::is_held(&source)
        && let Some(segment) = network.segment(&packet)
        && let Some(token) = Token::of_connection(ctx, &[source, destination], ports.destination)
    {
        note_segment(ctx, token, &source, &segment);
    }
    0
}

#[inline(always)]
fn note_datagram(ctx: &SkBuffContext, answer: &Datagram) {
    let Some(claim) = Claim::take() else { return };
    let place = claim.0;
    if answer::copy(ctx, answer.message, place).is_some()
        && scratch::of(place).is_some_and(|scratch| scratch.is_response())
        && let Some(token) = Token::of_answer(ctx, place, &answer.source, answer.ports.destination)
    {
        token.issue(trust::is_of_holder(ctx, &answer.source));
    }
    claim.release();
}

/// What carries nothing says nothing, whoever sent it: the kernel itself acknowledges and resets. When the resolver accepts
/// a connection, nothing has been said on it.
#[inline(always)]
fn note_segment(ctx: &SkBuffContext, token: Token, server: &Address, segment: &Segment) {
    let begins = segment.flags & flag::SYN != 0;
    if !begins && segment.payload.length() == 0 {
        return;
    }
    match trust::is_of_holder(ctx, server) {
        true if begins => token.begin(),
        own => token.issue(own),
    }
}

/// The same for what is sent where it is sent and where it arrives, and for nothing else.
#[derive(Clone, Copy)]
struct Token(u64);

impl Token {
    /// Of the answer in the scratch: of its network namespace, both ends, the id and the question.
    #[inline(always)]
    fn of_answer(ctx: &SkBuffContext, place: u32, server: &Address, client_port: u16) -> Option<Self> {
        let transaction = queries::transaction(place, server);
        let token = Self::of(ctx, transaction ^ u64::from(client_port) << 48)?;
        (transaction != 0).then_some(token)
    }

    /// Of a connection of a server at port 53 and a client, at these addresses: of its network namespace and both ends.
    #[inline(always)]
    fn of_connection(ctx: &SkBuffContext, ends: &[Address; 2], client_port: u16) -> Option<Self> {
        let key = [setting!(query_key_start), setting!(query_key_multiplier)];
        Self::of(ctx, dns::connection(key, ends, client_port))
    }

    #[inline(always)]
    fn of(ctx: &SkBuffContext, hash: u64) -> Option<Self> {
        // 0 is an empty place, and the lowest bit has its own meaning.
        Some(Self((hash ^ trust::namespace(ctx)?) & !1 | 2))
    }

    /// Where it is kept.
    #[inline(always)]
    fn place(self) -> Option<*mut u64> {
        const MASK: u64 = TOKENS as u64 - 1;
        VOUCHED.get_ptr_mut(masked::<MASK>(self.0 >> 2) as u32)
    }

    /// Vouches, whatever was there.
    #[inline(always)]
    fn begin(self) {
        if let Some(place) = self.place() {
            // SAFETY: a value of the map.
            unsafe { atomic::exchange(place, self.0) };
        }
    }

    /// Vouches for what the resolver itself has sent; takes the word back for what somebody else has.
    #[inline(always)]
    fn issue(self, own: bool) {
        let Some(place) = self.place() else { return };
        let taken_back = self.0 | 1;
        for _ in 0..4 {
            // SAFETY: a value of the map.
            let there = unsafe { place.read_volatile() };
            if own && there == taken_back {
                return;
            }
            let new = if own { self.0 } else { taken_back };
            // SAFETY: a value of the map.
            if unsafe { atomic::compare_exchange(place, there, new) } == there {
                return;
            }
        }
        // Somebody is in the way all the time: better nobody is believed.
        // SAFETY: a value of the map.
        unsafe { atomic::exchange(place, taken_back) };
    }

    /// Whether somebody vouches for it.
    #[inline(always)]
    fn is_there(self) -> bool {
        // SAFETY: a value of the map.
        self.place().is_some_and(|place| unsafe { place.read_volatile() } == self.0)
    }

    /// Whether somebody vouches for it, once.
    #[inline(always)]
    fn redeem(self) -> bool {
        // SAFETY: a value of the map.
        self.place().is_some_and(|place| unsafe { atomic::compare_exchange(place, self.0, 0) } == self.0)
    }
}
