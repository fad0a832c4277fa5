//! From an address to a decision.

use crate::{
    Error, Outcome, count, emit,
    maps::{self, PolicySlot},
    settings::setting,
    task,
};
use aya_ebpf::helpers::{bpf_get_current_ancestor_cgroup_id, bpf_ktime_get_boot_ns};
use enforcer_common::{
    Address, Attempt, Decision, Verdict,
    control::{Control, Counter},
    decide::{self, DNS, EPERM},
    image::Protocol,
};

/// Judges a TCP connect of the current task to an address as the application named it, and emits the event.
#[inline(always)]
pub(crate) fn judge(address: Address, port: u16, v6: bool) -> Result<Outcome, Error> {
    if is_canary(&address, port) {
        count::add(Counter::Canaries, 1);
        return Ok(Outcome::Refuse(EPERM));
    }
    // SAFETY: plain helper call.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let attempt =
        Attempt { address: address.destination(), port, protocol: Protocol::Tcp, uid: task::uid(), now };
    let version = maps::control(Control::Version);
    if version == 0 {
        // No policy was ever in force: nothing to judge by, and the status says NotEnforced.
        return Ok(Outcome::Allow);
    }
    let packed = refuse_others(decide(version, &attempt), &attempt);
    let Some(Decision { effective, errno, .. }) = Decision::unpack(packed) else {
        return Err(Error::Undecidable);
    };
    count::add(Counter::Judged, 1);
    emit::connect(version, &attempt, &address, packed, v6);
    match effective {
        Verdict::Allow => Ok(Outcome::Allow),
        Verdict::Deny => {
            count::add(Counter::Refused, 1);
            Ok(Outcome::Refuse(errno))
        }
    }
}

/// The packed decision, 0 if the maps cannot answer. A subprogram of its own: the stack of a program has 512 bytes, and
/// this frame is gone when the event is written.
#[inline(never)]
fn decide(version: u64, attempt: &Attempt) -> u64 {
    let Some(slot) = PolicySlot::new((version & 1) as u32) else { return 0 };
    match enforcer_common::decide(&slot, attempt) {
        Ok(decision) => decision.pack(),
        Err(decide::Error::NoImage | decide::Error::NoMap) => 0,
    }
}

/// What `otherResolvers` makes of a packed decision. A subprogram of its own for the same reason.
#[inline(never)]
fn refuse_others(packed: u64, attempt: &Attempt) -> u64 {
    if attempt.port != DNS {
        return packed;
    }
    let Some(decision) = Decision::unpack(packed) else { return 0 };
    maps::other_resolvers().judge(decision, attempt.port, maps::is_resolver(&attempt.address)).pack()
}

/// Whether the current task is in the cgroup to which decisions are limited.
#[inline(always)]
pub(crate) fn in_scope() -> bool {
    let (scope, level) = (setting!(scope), setting!(scope_level));
    // SAFETY: plain helper call.
    scope == 0 || unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) } == scope
}

/// The canary goes to one random loopback address and port that only user space and this word know.
#[inline(always)]
fn is_canary(address: &Address, port: u16) -> bool {
    let canary = maps::control(Control::Canary);
    canary != 0 && address.v4().is_some_and(|v4| u64::from(v4) << 16 | u64::from(port) == canary)
}
