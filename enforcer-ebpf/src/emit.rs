//! Events: written straight into the ring; when it is full they are counted, and the verdict stands all the same.

use crate::{count, task, wake};
use aya_ebpf::{
    btf_maps::RingBuf,
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_comm, bpf_get_current_pid_tgid},
    macros::btf_map,
};
use enforcer_common::{
    Address, Attempt, Decision, Verdict,
    control::Counter,
    event::{ConnectEvent, Kind, flag},
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
    let denied = |verdict| matches!(verdict, Verdict::Deny);
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
    event.rule = decision.rule.0;
    event.effective_rule = decision.effective_rule.0;
    event.flags = if denied(decision.verdict) { flag::DENY } else { 0 }
        | if denied(decision.effective) { flag::BLOCKED } else { 0 }
        | (told >> 16) as u8;
    event.errno = if denied(decision.effective) { decision.errno } else { 0 };
    event.kind = told as u8;
    event.protocol = (told >> 8) as u8;
    event.reserved = [0; 6];
    event.comm = bpf_get_current_comm().unwrap_or_default();
    task::executable(event);
    entry.submit(wake::flags(attempt.now));
}
