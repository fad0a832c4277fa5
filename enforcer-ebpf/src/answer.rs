//! DNS answers: bound here, before their receiver can read them, and handed to user space.

use crate::{
    count,
    maps::{self, PolicySlot},
    queries::{self, Asked},
    scratch::{self, Claim},
    settings::setting,
    skb::Skb,
    trust, wake,
};
use aya_ebpf::{
    EbpfContext as _,
    btf_maps::RingBuf,
    helpers::{
        bpf_ktime_get_boot_ns,
        generated::{bpf_ringbuf_output, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id, bpf_skb_load_bytes},
    },
    macros::btf_map,
    programs::SkBuffContext,
};
use enforcer_common::{
    Address,
    control::{Control, Counter},
    dns::{AnswerHeader, AnswerRecord, Doubt, Scratch},
    image::Meta,
    packet::{Network, Ports, Span, UDP},
};

#[btf_map]
static ANSWERS: RingBuf<AnswerRecord, { 2 << 20 }> = RingBuf::new();

const DNS: u16 = 53;
/// Nanoseconds between two unsolicited answers that are handed over.
const UNSOLICITED_PERIOD: u64 = 100_000_000;

/// What happens to a packet.
pub(crate) enum Delivery {
    Deliver,
    Drop,
}

/// A UDP datagram inside a packet.
pub(crate) struct Datagram {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) ports: Ports,
    /// The payload.
    pub(crate) message: Span,
}

/// Judges one received packet.
#[inline(always)]
pub(crate) fn judge(ctx: &SkBuffContext) -> Delivery {
    if !ports(ctx).is_some_and(|ports| ports.source == DNS) {
        return Delivery::Deliver;
    }
    count::add(Counter::Answers, 1);
    let Some(claim) = Claim::take() else {
        count::add(Counter::NoScratch, 1);
        return refuse_if(ctx, denies_something());
    };
    let at_risk = read(ctx, claim.0);
    claim.release();
    refuse_if(ctx, at_risk)
}

/// Looks at one packet that is about to be sent.
#[inline(always)]
pub(crate) fn observe(ctx: &SkBuffContext) -> Delivery {
    let wanted = |ports: &Ports| ports.source == DNS || ports.destination == DNS || queries::asks(ctx);
    match datagram(ctx, wanted) {
        Some(datagram) => {
            if datagram.ports.source == DNS {
                trust::vouch(ctx, &datagram);
            }
            queries::record(ctx, &datagram)
        }
        None => Delivery::Deliver,
    }
}

/// Binds an answer and hands it over; returns whether a denied address may have been left unbound.
#[inline(always)]
fn read(ctx: &SkBuffContext, place: u32) -> bool {
    // SAFETY: plain helper call.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let length = admit(ctx, place, now);
    if length == 0 {
        count::add(Counter::AnswersUnparsed, 1);
        return denies_something();
    }
    if scratch::of(place).is_none_or(|scratch| scratch.record.header.doubt == Doubt::Unsolicited as u8) {
        return false;
    }
    let slots = maps::control(Control::Slots);
    let mut at_risk = 0;
    if setting!(no_binder) == 0 {
        for slot in [0, 1] {
            if slots >> slot & 1 != 0 {
                parse_answer(place, slot);
                at_risk |= bind_answer(place, slot, now);
            }
        }
    }
    if let Some(scratch) = scratch::of(place) {
        hand_over(scratch, length, now);
    }
    at_risk != 0
}

/// Copies the answer into the scratch, with what is thought of it; its length, 0 if it cannot be copied. A subprogram: its
/// frame is gone when the answer is parsed.
#[inline(never)]
fn admit(ctx: &SkBuffContext, place: u32, now: u64) -> u32 {
    let Some(datagram) = datagram(ctx, |_| true) else { return 0 };
    let Some(length) = prepare(ctx, &datagram, place, now) else { return 0 };
    let doubt = doubt(ctx, &datagram, place);
    if let Some(scratch) = scratch::of(place) {
        scratch.record.header.trusted = doubt.is_none().into();
        scratch.record.header.doubt = doubt.map_or(0, |doubt| doubt as u8);
        // Told now and then: whoever floods does not fill the ring.
        if matches!(doubt, Some(Doubt::Unsolicited))
            && now.wrapping_sub(maps::control(Control::LastUnsolicited)) > UNSOLICITED_PERIOD
        {
            maps::set_time(Control::LastUnsolicited, now);
            hand_over(scratch, length, now);
        }
    }
    length
}

/// Copies the message and its circumstances into the scratch.
#[inline(always)]
fn prepare(ctx: &SkBuffContext, datagram: &Datagram, place: u32, now: u64) -> Option<u32> {
    let length = copy(ctx, datagram.message, place)?;
    let header = &mut scratch::of(place)?.record.header;
    header.time = now;
    // SAFETY: the context is the packet that the helper wants.
    header.cgroup = unsafe { bpf_skb_cgroup_id(ctx.as_ptr().cast()) };
    header.server = datagram.source;
    header.client_port = datagram.ports.destination;
    header.trusted = 0;
    header.unparsed = 0;
    header.doubt = 0;
    header.reserved = [0; 7];
    Some(length)
}

/// Why the answer is not believed, if it is not; counted.
#[inline(always)]
fn doubt(ctx: &SkBuffContext, answer: &Datagram, place: u32) -> Option<Doubt> {
    let solicited = match queries::asked(ctx, place, &answer.source) {
        Asked::Yes => Ok(()),
        _ if setting!(trust_by_address) != 0 => Ok(()),
        Asked::Perhaps => Err(Doubt::Forgotten),
        Asked::No => Err(Doubt::Unsolicited),
    };
    let doubt = solicited
        .and_then(|()| trust::of(ctx, &answer.source))
        .and_then(|()| trust::of_sender(ctx, place, answer))
        .err()?;
    count::add(
        match doubt {
            Doubt::Server => Counter::AnswersUntrusted,
            Doubt::Namespace => Counter::AnswersForeign,
            Doubt::Forgotten => Counter::AnswersUnmatched,
            Doubt::Unsolicited => Counter::AnswersUnsolicited,
            Doubt::Process => Counter::AnswersImpersonated,
        },
        1,
    );
    Some(doubt)
}

/// Copies a message into the scratch, and its length.
#[inline(always)]
pub(crate) fn copy(ctx: &SkBuffContext, message: Span, place: u32) -> Option<u32> {
    let scratch = scratch::of(place)?;
    scratch.reset();
    let length = load(ctx, message, scratch)?;
    scratch.record.header.length = length;
    Some(length)
}

/// Reads the answer for one slot; 1 if it could be read to its end. Global, like the joints of [`PolicySlot`]: verified
/// once, whatever the paths that lead here, and its stack is free again for [`bind_answer`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn parse_answer(place: u32, slot: u32) -> u64 {
    let (Some(slot), Some(scratch)) = (PolicySlot::new(slot & 1), scratch::of(place)) else { return 0 };
    let parsed = scratch.parse(&slot);
    if !parsed {
        scratch.record.header.unparsed = 1;
        count::add(Counter::AnswersUnparsed, 1);
    }
    parsed.into()
}

/// Binds what was read for one slot; 1 if a denied address may have been left unbound.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn bind_answer(place: u32, slot: u32, now: u64) -> u64 {
    let (Some(slot), Some(scratch)) = (PolicySlot::new(slot & 1), scratch::of(place)) else { return 1 };
    let denied = scratch.bind(&slot, now);
    let (bound, unbound, unrelated) = scratch.counts();
    count::add(Counter::Bound, u64::from(bound));
    count::add(Counter::BindingsFull, u64::from(unbound));
    count::add(Counter::RecordsUnrelated, u64::from(unrelated));
    if !scratch.has_question() {
        let denies = Meta::of(&slot).is_none_or(|meta| meta.enforced_deny());
        return (denies && scratch.looks_like_answer()).into();
    }
    (denied && (scratch.record.header.unparsed != 0 || unbound != 0)).into()
}

#[inline(always)]
pub(crate) fn refuse_if(ctx: &SkBuffContext, at_risk: bool) -> Delivery {
    if !at_risk || !in_scope(ctx) {
        return Delivery::Deliver;
    }
    count::add(Counter::AnswersRefused, 1);
    Delivery::Drop
}

/// Whether the policy in force has an enforced deny rule at all.
#[inline(always)]
pub(crate) fn denies_something() -> bool {
    let version = maps::control(Control::Version);
    version != 0
        && PolicySlot::new((version & 1) as u32)
            .is_none_or(|slot| Meta::of(&slot).is_none_or(|meta| meta.enforced_deny()))
}

/// Whether the socket that sends or receives the packet is in the cgroup to which decisions are limited.
#[inline(always)]
pub(crate) fn in_scope(ctx: &SkBuffContext) -> bool {
    let (scope, level) = (setting!(scope), setting!(scope_level));
    // SAFETY: the context is the packet that the helper wants.
    scope == 0 || unsafe { bpf_skb_ancestor_cgroup_id(ctx.as_ptr().cast(), level as i32) } == scope
}

/// The ports of a packet, if it is a datagram.
#[inline(always)]
fn ports(ctx: &SkBuffContext) -> Option<Ports> {
    let packet = Skb(ctx);
    Network::of(&packet).filter(|network| network.protocol == UDP)?.ports(&packet)
}

/// The datagram in a packet, if its ports are wanted.
#[inline(always)]
fn datagram(ctx: &SkBuffContext, wanted: impl FnOnce(&Ports) -> bool) -> Option<Datagram> {
    let packet = Skb(ctx);
    let network = Network::of(&packet)?;
    if network.protocol != UDP {
        return None;
    }
    let ports = network.ports(&packet).filter(wanted)?;
    let (source, destination) = (network.source(&packet)?, network.destination(&packet)?);
    Some(Datagram { source, destination, ports, message: network.datagram(&packet)? })
}

/// Copies the message into the scratch; a longer one than fits is cut, and then does not parse.
#[inline(always)]
fn load(ctx: &SkBuffContext, message: Span, scratch: &mut Scratch) -> Option<u32> {
    let length = message.length();
    if length == 0 {
        return None;
    }
    let length = bounded(length.min(scratch.record.message.len() as u32));
    // SAFETY: the destination has 4,096 bytes, and `bounded` is at most that.
    let failed = unsafe {
        bpf_skb_load_bytes(
            ctx.as_ptr().cast(),
            message.start,
            scratch.record.message.as_mut_ptr().cast(),
            length as u32,
        )
    };
    (failed == 0).then_some(length as u32)
}

/// Hands the record to user space, as long as its message is.
#[inline(always)]
fn hand_over(scratch: &mut Scratch, length: u32, now: u64) {
    let size = size_of::<AnswerHeader>() as u64 + bounded(length);
    // SAFETY: `size` is at most that of the record.
    let failed = unsafe {
        bpf_ringbuf_output(
            (&raw const ANSWERS).cast_mut().cast(),
            (&raw mut scratch.record).cast(),
            size,
            wake::flags(now),
        )
    };
    if failed != 0 {
        count::add(Counter::AnswersLost, 1);
    }
}

/// A length between 1 and 4,096, in a form that the verifier remembers.
#[inline(always)]
fn bounded(length: u32) -> u64 {
    let mut value = u64::from(length).wrapping_sub(1);
    // SAFETY: arithmetic on one register.
    unsafe {
        core::arch::asm!("{v} &= 4095", "{v} += 1", v = inout(reg) value, options(pure, nomem, nostack));
    }
    value
}
