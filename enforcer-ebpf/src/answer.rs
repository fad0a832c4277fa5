//! DNS answers: bound here, before their receiver can read them, and handed to user space.

use crate::{
    count,
    maps::{self, PolicySlot},
    queries::{self, Asked},
    repeat::BpfLoop,
    scratch::{self, Claim},
    settings::setting,
    skb::Skb,
    stream,
    transport::{self, DATAGRAMS_MAX, DNS, Datagram, Source},
    trust, wake,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::__sk_buff,
    btf_maps::RingBuf,
    helpers::{
        bpf_ktime_get_boot_ns,
        generated::{bpf_ringbuf_output, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id, bpf_skb_load_bytes},
    },
    macros::btf_map,
    programs::SkBuffContext,
};
use core::ops::ControlFlow;
use enforcer_common::{
    bound::opaque,
    control::{Control, Counter},
    dns::{AnswerHeader, AnswerRecord, Doubt, Scratch},
    image::Meta,
    packet::{Span, UDP},
    repeat::{Repeat as _, Step},
};

#[btf_map]
static ANSWERS: RingBuf<AnswerRecord, { 2 << 20 }> = RingBuf::new();

/// Nanoseconds between two unsolicited answers that are handed over.
const UNSOLICITED_PERIOD: u64 = 100_000_000;

/// What happens to a packet.
pub(crate) enum Delivery {
    Deliver,
    Drop,
}

impl Delivery {
    /// As a number: what passes from one program function to the next.
    #[inline(always)]
    pub(crate) fn pack(self) -> u64 {
        match self {
            Self::Deliver => 0,
            Self::Drop => 1,
        }
    }

    #[inline(always)]
    fn unpack(packed: u64) -> Self {
        if packed == 0 { Self::Deliver } else { Self::Drop }
    }
}

impl Next {
    #[inline(always)]
    fn pack(self) -> u64 {
        match self {
            Self::End(delivery) => delivery.pack(),
            Self::Datagram(place) => DATAGRAM | u64::from(place),
            Self::Segment(place) => SEGMENT | u64::from(place),
        }
    }

    #[inline(always)]
    fn unpack(packed: u64) -> Self {
        match packed & (DATAGRAM | SEGMENT) {
            0 => Self::End(Delivery::unpack(packed)),
            DATAGRAM => Self::Datagram(packed as u8 as u32),
            _ => Self::Segment(packed as u8 as u32),
        }
    }
}

const DATAGRAM: u64 = 1 << 8;
const SEGMENT: u64 = 1 << 9;

/// What is to be done after the first look at a packet.
pub(crate) enum Next {
    /// It is judged.
    End(Delivery),
    /// A datagram's message is in the scratch of this place.
    Datagram(u32),
    /// A segment is to be read by the reader of this place.
    Segment(u32),
}

/// Judges one received packet. Each step is a function of its own, so that their frames share the stack one after the other.
#[inline(always)]
pub(crate) fn judge(ctx: &SkBuffContext) -> Delivery {
    if transport::glance(ctx).is_some_and(|plain| plain.ports.source != DNS) {
        return Delivery::Deliver;
    }
    let skb = ctx.skb.skb;
    let first = look(skb);
    match Next::unpack(first) {
        Next::End(delivery) => delivery,
        Next::Datagram(_) => datagrams(ctx, first),
        Next::Segment(place) => {
            stream::consider_segment(skb, place);
            stream::read(skb, place);
            let delivery = Delivery::unpack(stream::conclude(skb, place));
            Claim(place).release();
            delivery
        }
    }
}

/// Judges the datagrams of a packet, the first of which is in the scratch. They are received together, or not at all. `first`
/// is what [`look`] has returned: a number of which the verifier knows nothing, as of those of later rounds (decision 0004).
#[inline(always)]
fn datagrams(ctx: &SkBuffContext, first: u64) -> Delivery {
    let mut each = Datagrams { skb: ctx.skb.skb, next: opaque(first) };
    BpfLoop::repeat(DATAGRAMS_MAX, &mut each);
    match Next::unpack(each.next) {
        Next::End(delivery) => delivery,
        // More than a sender can put into one packet.
        Next::Datagram(place) | Next::Segment(place) => {
            Claim(place).release();
            count::add(Counter::AnswersUnparsed, 1);
            refuse_if(ctx, denies_something())
        }
    }
}

/// The datagrams of a packet, one after the other.
struct Datagrams {
    skb: *mut __sk_buff,
    /// The one whose turn it is, as [`Next::pack`] packs it.
    next: u64,
}

impl Step for Datagrams {
    #[inline(always)]
    fn step(&mut self, index: u32) -> ControlFlow<()> {
        let Next::Datagram(place) = Next::unpack(self.next) else { return ControlFlow::Break(()) };
        let at_risk = consider(self.skb, place) == 0 && bind(place);
        Claim(place).release();
        self.next = match refuse_if(&SkBuffContext::new(self.skb), at_risk) {
            Delivery::Drop => Next::End(Delivery::Drop).pack(),
            Delivery::Deliver => look_at(self.skb, index + 1),
        };
        ControlFlow::Continue(())
    }
}

/// The first look, as [`Next::pack`] packs it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look(skb: *mut __sk_buff) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let next = match transport::headers(&packet, |ports| ports.source == DNS) {
        Some((network, ports)) if network.protocol == UDP => {
            Datagram::of(&packet, &network, ports, 0).map(|datagram| open(ctx, &datagram))
        }
        Some((network, ports)) => transport::segment(&packet, &network, ports)
            .map(|(source, segment)| stream::open(ctx, &source, &segment)),
        None => None,
    };
    next.unwrap_or(Next::End(Delivery::Deliver)).pack()
}

/// A look at another datagram of a packet that is known to have come from the port of DNS: its number counts from 0.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn look_at(skb: *mut __sk_buff, index: u32) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let packet = Skb(ctx);
    let next = if packet.datagram_size() == 0 { None } else { transport::headers(&packet, |_| true) }
        .and_then(|(network, ports)| Datagram::of(&packet, &network, ports, index as u16))
        .map(|datagram| open(ctx, &datagram));
    next.unwrap_or(Next::End(Delivery::Deliver)).pack()
}

/// Looks at one packet that is about to be sent.
#[inline(always)]
pub(crate) fn observe(ctx: &SkBuffContext) -> Delivery {
    if transport::glance(ctx)
        .is_some_and(|plain| plain.protocol != UDP || plain.ports.destination != DNS && !queries::asks(ctx))
    {
        return Delivery::Deliver;
    }
    let packet = Skb(ctx);
    let datagram = transport::headers(&packet, |ports| ports.destination == DNS || queries::asks(ctx))
        .and_then(|(network, ports)| Datagram::whole(&packet, &network, ports));
    datagram.map_or(Delivery::Deliver, |datagram| queries::record(ctx, &datagram))
}

/// Copies a datagram's message into a scratch.
#[inline(always)]
fn open(ctx: &SkBuffContext, datagram: &Datagram) -> Next {
    count::add(Counter::Answers, 1);
    let Some(claim) = Claim::take() else {
        count::add(Counter::NoScratch, 1);
        return Next::End(refuse_if(ctx, denies_something()));
    };
    let place = claim.0;
    if prepare(ctx, datagram, place).is_none() {
        claim.release();
        count::add(Counter::AnswersUnparsed, 1);
        return Next::End(refuse_if(ctx, denies_something()));
    }
    Next::Datagram(place)
}

/// Writes down how far the answer in the scratch is believed; 1 if nobody has asked for it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn consider(skb: *mut __sk_buff, place: u32) -> u64 {
    let ctx = &SkBuffContext::new(skb);
    let Some(scratch) = scratch::of(place) else { return 0 };
    let AnswerHeader { server, client_port, .. } = scratch.record.header;
    let believed = believed(ctx, &Source { server, client_port }, place);
    believe(believed, scratch);
    let unsolicited = matches!(believed, Err(Doubt::Unsolicited));
    if unsolicited {
        tell_unsolicited(scratch);
    }
    unsolicited.into()
}

/// Hands an answer over that nobody asked for, now and then: whoever floods does not fill the ring.
#[inline(always)]
fn tell_unsolicited(scratch: &mut Scratch) {
    let AnswerHeader { time, length, doubt, .. } = scratch.record.header;
    count_doubt(doubt);
    if time.wrapping_sub(maps::control(Control::LastUnsolicited)) > UNSOLICITED_PERIOD {
        maps::set_time(Control::LastUnsolicited, time);
        hand_over(scratch, length, time);
    }
}

/// Binds the answer in the scratch and hands it over; returns whether a denied address may have been left unbound.
#[inline(always)]
pub(crate) fn bind(place: u32) -> bool {
    let Some(scratch) = scratch::of(place) else { return true };
    let (length, now) = (scratch.record.header.length, scratch.record.header.time);
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
        count_doubt(scratch.record.header.doubt);
        hand_over(scratch, length, now);
    }
    at_risk != 0
}

/// Copies a datagram's message and its circumstances into the scratch.
#[inline(always)]
fn prepare(ctx: &SkBuffContext, datagram: &Datagram, place: u32) -> Option<()> {
    copy(ctx, datagram.message, place)?;
    let scratch = scratch::of(place)?;
    describe(ctx, &Source { server: datagram.source, client_port: datagram.ports.destination }, scratch);
    scratch.record.header.unparsed = 0;
    Some(())
}

/// Writes down the circumstances of what a packet brings, but for how far it is believed.
#[inline(always)]
pub(crate) fn describe(ctx: &SkBuffContext, source: &Source, scratch: &mut Scratch) {
    let header = &mut scratch.record.header;
    // SAFETY: plain helper call.
    header.time = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: the context is the packet that the helper wants.
    header.cgroup = unsafe { bpf_skb_cgroup_id(ctx.as_ptr().cast()) };
    header.server = source.server;
    header.client_port = source.client_port;
    header.reserved = [0; 7];
}

/// Writes down how far what a packet brings is believed.
#[inline(always)]
pub(crate) fn believe(believed: Result<(), Doubt>, scratch: &mut Scratch) {
    let header = &mut scratch.record.header;
    header.trusted = believed.is_ok().into();
    header.doubt = believed.err().map_or(0, |doubt| doubt as u8);
}

/// Why the answer in the scratch is not believed, if it is not.
#[inline(always)]
fn believed(ctx: &SkBuffContext, answer: &Source, place: u32) -> Result<(), Doubt> {
    match queries::asked(ctx, place, &answer.server) {
        Asked::Yes => {}
        _ if setting!(trust_by_address) != 0 => {}
        Asked::Perhaps => return Err(Doubt::Forgotten),
        Asked::No => return Err(Doubt::Unsolicited),
    }
    trust::of(ctx, &answer.server)?;
    trust::of_sender(ctx, place, answer)
}

/// Counts an answer that is not believed.
#[inline(always)]
fn count_doubt(doubt: u8) {
    const SERVER: u8 = Doubt::Server as u8;
    const NAMESPACE: u8 = Doubt::Namespace as u8;
    const FORGOTTEN: u8 = Doubt::Forgotten as u8;
    const UNSOLICITED: u8 = Doubt::Unsolicited as u8;
    const PROCESS: u8 = Doubt::Process as u8;
    let counter = match doubt {
        SERVER => Counter::AnswersUntrusted,
        NAMESPACE => Counter::AnswersForeign,
        FORGOTTEN => Counter::AnswersUnmatched,
        UNSOLICITED => Counter::AnswersUnsolicited,
        PROCESS => Counter::AnswersImpersonated,
        _ => return,
    };
    count::add(counter, 1);
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
    if denied {
        maps::learned();
    }
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

/// Does not deliver what may bring a denied address that is not bound, to a receiver in scope.
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
    in_force(|meta| meta.enforced_deny())
}

/// Whether the policy in force refuses any connection.
#[inline(always)]
pub(crate) fn enforces_something() -> bool {
    in_force(|meta| {
        meta.enforced_deny()
            || (meta.default_deny() && meta.default_enforced())
            || (meta.literal_deny() && meta.literal_enforced())
    })
}

/// What the policy in force says; yes if it cannot be read.
#[inline(always)]
fn in_force(says: impl FnOnce(Meta<'_>) -> bool) -> bool {
    let version = maps::control(Control::Version);
    version != 0 && PolicySlot::new((version & 1) as u32).is_none_or(|slot| Meta::of(&slot).is_none_or(says))
}

/// Whether the socket that sends or receives the packet is in the cgroup to which decisions are limited.
#[inline(always)]
pub(crate) fn in_scope(ctx: &SkBuffContext) -> bool {
    let (scope, level) = (setting!(scope), setting!(scope_level));
    // SAFETY: the context is the packet that the helper wants.
    scope == 0 || unsafe { bpf_skb_ancestor_cgroup_id(ctx.as_ptr().cast(), level as i32) } == scope
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
pub(crate) fn bounded(length: u32) -> u64 {
    let mut value = u64::from(length).wrapping_sub(1);
    // SAFETY: arithmetic on one register.
    unsafe {
        core::arch::asm!("{v} &= 4095", "{v} += 1", v = inout(reg) value, options(pure, nomem, nostack));
    }
    value
}
