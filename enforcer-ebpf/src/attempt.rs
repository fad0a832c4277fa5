//! From an address to a decision.

use crate::{
    Error, Outcome, count, emit,
    maps::{self, PolicySlot, Task},
    settings::setting,
    task,
};
use aya_ebpf::helpers::{bpf_get_current_ancestor_cgroup_id, bpf_ktime_get_boot_ns};
use enforcer_common::{
    Address, Attempt, Decision, Reach, RuleId, Verdict,
    control::{self, CANARY_AT_WIRE, Control, Counter},
    decide::{self, DNS, EPERM, Part},
    event::Kind,
    image::Protocol,
    packet::TCP,
    sockaddr::Named,
};

/// Judges a connect of the current task, and emits the event.
#[inline(always)]
pub(crate) fn connect(named: &Named) -> Result<Outcome, Error> {
    if is_canary(&named.address, named.port) {
        return Ok(Outcome::Refuse(EPERM));
    }
    let version = maps::control(Control::Version);
    if version == 0 {
        // No policy was ever in force: nothing to judge by, and the status says NotEnforced.
        return Ok(Outcome::Allow);
    }
    let attempt = of_task(named, Protocol::Tcp);
    let packed = decide(version, maps::moment(), &attempt);
    let told = emit::Told { kind: Kind::TcpConnect, protocol: TCP, v6: named.v6 };
    emit::attempt(version, &attempt, &named.address, packed, told.pack());
    outcome(packed)
}

/// Emits the event of what was refused and is no connect of TCP.
#[inline(always)]
pub(crate) fn tell_denied(version: u64, attempt: &Attempt, named: &Named, packed: u64, protocol: u8) {
    let told = emit::Told { kind: Kind::PacketDenied, protocol, v6: named.v6 };
    emit::attempt(version, attempt, &named.address, packed, told.pack());
}

/// What the current task attempts.
#[inline(always)]
pub(crate) fn of_task(named: &Named, protocol: Protocol) -> Attempt {
    // SAFETY: plain helper call.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    Attempt {
        address: named.address.destination(),
        port: named.port,
        protocol,
        uid: task::uid(),
        now,
        reach: Reach::All,
    }
}

/// What happens by a packed decision. Counts it.
#[inline(always)]
pub(crate) fn outcome(packed: u64) -> Result<Outcome, Error> {
    let Some(Decision { effective, errno, .. }) = Decision::unpack(packed) else {
        return Err(Error::Undecidable);
    };
    count::add(Counter::Judged, 1);
    match effective {
        Verdict::Allow => Ok(Outcome::Allow),
        Verdict::Deny => {
            count::add(Counter::Refused, 1);
            Ok(Outcome::Refuse(errno))
        }
    }
}

/// The packed decision about an attempt of the current task at a [`maps::moment`], 0 if the maps cannot answer.
#[inline(always)]
pub(crate) fn decide(version: u64, moment: u64, attempt: &Attempt) -> u64 {
    let mut packed = decide_task(version, moment, attempt, 0);
    if attempt.address.v4().is_none() {
        packed = join(packed, decide_task(version, moment, attempt, 1));
    }
    refuse_others(packed, attempt)
}

/// Two packed decisions as one: about an address, and about the one beside it. Global, for its frame.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) extern "C" fn join(meant: u64, beside: u64) -> u64 {
    match (Decision::unpack(meant), Decision::unpack(beside)) {
        (Some(meant), Some(beside)) => meant.join(beside).pack(),
        _ => 0,
    }
}

/// What `otherResolvers` makes of a packed decision. A subprogram of its own, for its frame.
#[inline(never)]
fn refuse_others(packed: u64, attempt: &Attempt) -> u64 {
    if attempt.port != DNS {
        return packed;
    }
    let Some(decision) = Decision::unpack(packed) else { return 0 };
    maps::other_resolvers().judge(decision, attempt.port, maps::is_resolver(&attempt.address)).pack()
}

/// [`enforcer_common::decide()`] for the current task, packed; with `beside`, about [`Part::Beside`]. Global:
/// verified once, for any attempt, and its frame, the largest of all, is gone when the event is written.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn decide_task(version: u64, moment: u64, attempt: *const Attempt, beside: u64) -> u64 {
    // SAFETY: the verifier checks that a pointer that is not null has a whole `Attempt` behind it.
    let Some(attempt) = (unsafe { attempt.as_ref() }) else { return 0 };
    // A copy on this stack: older kernels take no other memory as a key.
    let mut attempt = *attempt;
    if attempt.address.v4().is_none() && turn(version, &mut attempt, beside) != 0 {
        return NOTHING_BESIDE.pack();
    }
    packed(PolicySlot::of((version & 1) as u32, moment, Task), &attempt)
}

/// [`Attempt::turn`]; 1 if there is no such part. A subprogram, for its frame.
#[inline(never)]
pub(crate) fn turn(version: u64, attempt: &mut Attempt, beside: u64) -> u64 {
    let Some(slot) = PolicySlot::new((version & 1) as u32) else { return 0 };
    let part = if beside == 0 { Part::Meant } else { Part::Beside };
    u64::from(!attempt.turn(&slot, part))
}

/// What a slot says; 0 if it cannot.
#[inline(always)]
pub(crate) fn packed(slot: Option<impl decide::Lookup>, attempt: &Attempt) -> u64 {
    let Some(slot) = slot else { return 0 };
    match enforcer_common::decide(&slot, attempt) {
        Ok(decision) => decision.pack(),
        Err(decide::Error::NoImage | decide::Error::NoMap) => 0,
    }
}

/// What is decided about the address beside one that has none.
pub(crate) const NOTHING_BESIDE: Decision = Decision {
    verdict: Verdict::Allow,
    rule: RuleId::BUILTIN,
    effective: Verdict::Allow,
    effective_rule: RuleId::BUILTIN,
    errno: 0,
};

/// Whether the current task is in the cgroup to which decisions are limited.
#[inline(always)]
pub(crate) fn in_scope() -> bool {
    let (scope, level) = (setting!(scope), setting!(scope_level));
    // SAFETY: plain helper call.
    scope == 0 || unsafe { bpf_get_current_ancestor_cgroup_id(level as i32) } == scope
}

/// The canary goes to one random address and port that only user space and a word know. Counts it: every hook refuses it.
#[inline(always)]
pub(crate) fn is_canary(address: &Address, port: u16) -> bool {
    let word = maps::control(Control::Canary);
    word != 0 && is_canary_of(word, address, port)
}

/// The same at the wire.
#[inline(always)]
pub(crate) fn is_canary_at_wire(address: &Address, port: u16) -> bool {
    is_canary_of(maps::control(Control::Canary) ^ CANARY_AT_WIRE, address, port)
}

/// A subprogram, for its frame.
#[inline(never)]
fn is_canary_of(word: u64, address: &Address, port: u16) -> bool {
    let found = control::canary(address, port) == Some(word);
    if found {
        count::add(Counter::Canaries, 1);
    }
    found
}
