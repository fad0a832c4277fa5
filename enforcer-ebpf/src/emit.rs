//! Events: written straight into the ring; when it is full they are counted, and the verdict stands all the same.

use crate::{count, scratch, skb::Skb, task, wake, wire};
use aya_ebpf::{
    bindings::__sk_buff,
    btf_maps::RingBuf,
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_ktime_get_boot_ns,
        bpf_probe_read_kernel_buf,
    },
    macros::btf_map,
    programs::SkBuffContext,
};
use core::ptr::NonNull;
use enforcer_common::{
    Address, Attempt, Decision, Verdict,
    control::Counter,
    event::{ConnectEvent, Kind, flag},
    flow::Flow,
    wire::Route,
};

#[btf_map]
static EVENTS: RingBuf<ConnectEvent, { 4 << 20 }> = RingBuf::new();

/// What an event tells besides the decision.
#[derive(Clone, Copy)]
pub(crate) struct Told {
    pub(crate) kind: Kind,
    /// Number of the IP protocol.
    pub(crate) protocol: u8,
    pub(crate) v6: bool,
}

impl Told {
    /// In one register.
    #[inline(always)]
    pub(crate) fn pack(self) -> u64 {
        let Self { kind, protocol, v6 } = self;
        kind as u64 | u64::from(protocol) << 8 | u64::from(if v6 { flag::V6 } else { 0 }) << 16
    }
}

/// Emits the event of an attempt of the current task. `named` is the address as the application gave it, `packed` the
/// decision, `told` a [`Told`]. A subprogram: its frame and that of `decide` share the stack one after the other.
#[inline(never)]
pub(crate) fn attempt(version: u64, attempt: &Attempt, named: &Address, packed: u64, told: u64) {
    let Some(decision) = Decision::unpack(packed) else { return };
    let Some(mut entry) = EVENTS.reserve(0) else { return count::add(Counter::EventsLost, 1) };
    // SAFETY: the ring's memory is sized and aligned for the event, every bit pattern of which is valid; all fields are
    // written below or in `executable`, except the tail of `exe` past `exe_length`.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    let ids = bpf_get_current_pid_tgid();
    event.time = attempt.now;
    event.version = version;
    // SAFETY: plain helper call.
    event.cgroup = unsafe { bpf_get_current_cgroup_id() };
    event.address = *named;
    event.pid = (ids >> 32) as u32;
    event.tid = ids as u32;
    event.ppid = task::parent();
    event.uid = attempt.uid;
    event.port = attempt.port;
    judged(event, &decision, told);
    event.comm = bpf_get_current_comm().unwrap_or_default();
    task::executable(event);
    entry.submit(wake::flags(attempt.now));
}

/// Emits the event of a packet, whose owner is whoever used the socket last. `told` is a [`Told`], with the offset of the
/// address and the port in the upper half. A subprogram, as above.
#[inline(never)]
pub(crate) fn packet(skb: *mut __sk_buff, version: u64, told: u64, packed: u64) {
    of_packet(skb, version, told, packed, |_| ());
}

/// Emits the event of a query that is not sent, or would not be, with the name in the scratch of a place, if it is one. A
/// subprogram, as above.
#[inline(never)]
pub(crate) fn lookup(skb: *mut __sk_buff, version: u64, place: u32, packed: u64) {
    let Some(route) = Route::unpack(wire::read_route(skb)) else { return };
    let (_, port) = route.ports(&Skb(&SkBuffContext::new(skb))).unwrap_or_default();
    let told = Told { kind: Kind::QueryRefused, protocol: route.protocol, v6: route.v6 };
    let told = told.pack() | u64::from(route.destination_at()) << 32 | u64::from(port) << 48;
    of_packet(skb, version, told, packed, |event| {
        let Some(scratch) = scratch::of(place) else { return };
        let (name, length) = scratch.name_memory();
        // SAFETY: the source is a value of a map, as long as the destination.
        if unsafe { bpf_probe_read_kernel_buf(name.as_ptr(), &mut event.exe) }.is_ok() {
            (event.exe_length, event.exe_whole) = (length, 1);
        }
    });
}

/// Emits the event of a packet, to which `name` adds what it asks for.
#[inline(always)]
fn of_packet(
    skb: *mut __sk_buff,
    version: u64,
    told: u64,
    packed: u64,
    name: impl FnOnce(&mut ConnectEvent),
) {
    let ctx = &SkBuffContext::new(skb);
    let Some(decision) = Decision::unpack(packed) else { return };
    let v6 = (told >> 16) as u8 & flag::V6 != 0;
    let Some(address) = wire::address_at(ctx, v6, (told >> 32) as u32 & 0xffff) else { return };
    let sender = wire::sender(ctx);
    // SAFETY: plain helper call.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let Some(mut entry) = EVENTS.reserve(0) else { return count::add(Counter::EventsLost, 1) };
    // SAFETY: as above, but that no byte of `exe` is said to be used unless `name` has written it.
    let event = unsafe { &mut *entry.as_mut_ptr() };
    event.time = now;
    event.version = version;
    event.address = address;
    event.port = (told >> 48) as u16;
    judged(event, &decision, told);
    sent(event, sender);
    event.exe_length = 0;
    name(event);
    entry.submit(wake::flags(now));
}

/// Writes down whose a packet is.
#[inline(always)]
fn sent(event: &mut ConnectEvent, (flow, uid, cgroup): (Option<NonNull<Flow>>, u32, u64)) {
    event.uid = uid;
    event.cgroup = cgroup;
    (event.pid, event.tid, event.ppid, event.comm) = (0, 0, 0, [0; 16]);
    if let Some(flow) = flow {
        // SAFETY: a value of the storage.
        unsafe {
            let flow = flow.as_ptr();
            event.pid = (*flow).pid;
            event.tid = (*flow).tid;
            event.ppid = (*flow).ppid;
            event.comm = (*flow).comm;
        }
    }
    event.walk = [0; 3];
    event.exe_whole = 0;
}

/// Writes down what was decided, and what the event tells.
#[inline(always)]
fn judged(event: &mut ConnectEvent, decision: &Decision, told: u64) {
    let denied = |verdict| matches!(verdict, Verdict::Deny);
    event.rule = decision.rule.0;
    event.effective_rule = decision.effective_rule.0;
    event.flags = if denied(decision.verdict) { flag::DENY } else { 0 }
        | if denied(decision.effective) { flag::BLOCKED } else { 0 }
        | (told >> 16) as u8;
    event.errno = if denied(decision.effective) { decision.errno } else { 0 };
    event.kind = told as u8;
    event.protocol = (told >> 8) as u8;
    event.reserved = [0; 6];
}
