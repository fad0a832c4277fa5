//! Sockets as they are made: which are refused, because no rule knows addresses like theirs.

use crate::{
    Error, Outcome, attempt, count, flow,
    kernel_memory::KernelMemory,
    maps::{self, PolicySlot},
};
use aya_ebpf::programs::{LsmContext, SockContext};
use enforcer_common::{
    Decision, Lookup as _, Verdict,
    control::{Control, Counter},
    decide::EPERM,
    image::{Meta, Protocol},
    packet::TCP,
    sockaddr::{AF_INET, AF_INET6, AF_UNSPEC, Call, Named},
    wire::SCTP,
};

/// They send what they are given, headers and all.
const AF_PACKET: u16 = 17;
const AF_XDP: u16 = 44;
/// `AF_UNIX`, `AF_KEY`, `AF_NETLINK`, `AF_ALG`: they reach nobody but the kernel, or another process here.
const AF_UNIX: u16 = 1;
const AF_KEY: u16 = 15;
const AF_NETLINK: u16 = 16;
const AF_ALG: u16 = 38;
/// Its addresses are those of IP, and its connects are judged.
const AF_SMC: u16 = 43;

/// `lsm/socket_create`: families whose destinations no rule can name, under an enforced `default: deny`.
#[inline(always)]
pub(crate) fn by_lsm(ctx: &LsmContext) -> Result<Outcome, Error> {
    let family: i32 = ctx.arg(0);
    let protocol: i32 = ctx.arg(2);
    let kernel: i32 = ctx.arg(3);
    if is_canary(family, protocol) {
        return Ok(Outcome::Refuse(EPERM));
    }
    let judged = matches!(
        family as u16,
        AF_UNSPEC | AF_UNIX | AF_INET | AF_INET6 | AF_KEY | AF_NETLINK | AF_ALG | AF_SMC
    );
    if judged || kernel != 0 {
        return Ok(Outcome::Allow);
    }
    unjudged()
}

/// The canary of this hook is a packet socket with its word in the place of the protocol, where the kernel reads 16 bits.
#[inline(always)]
fn is_canary(family: i32, protocol: i32) -> bool {
    let word = maps::control(Control::Canary);
    let found =
        word != 0 && family as u16 == AF_PACKET && protocol as u32 == word as u32 && attempt::in_scope();
    if found {
        count::add(Counter::Canaries, 1);
    }
    found
}

/// Whether sockets of a family write packets themselves. The kernel makes none of them.
pub(crate) fn writes_packets(family: u16) -> bool {
    matches!(family, AF_PACKET | AF_XDP)
}

/// What happens to a socket whose destinations no rule can name, as it is made or, if it is older than the policy, used.
#[inline(always)]
pub(crate) fn unjudged() -> Result<Outcome, Error> {
    let version = maps::control(Control::Version);
    if version == 0 || !attempt::in_scope() {
        return Ok(Outcome::Allow);
    }
    let slot = PolicySlot::new((version & 1) as u32).ok_or(Error::Undecidable)?;
    let meta = Meta::of(&slot).ok_or(Error::Undecidable)?;
    if !(meta.default_deny() && meta.default_enforced()) || is_exempt(&slot)? {
        return Ok(Outcome::Allow);
    }
    count::add(Counter::SocketsRefused, 1);
    Ok(Outcome::Refuse(EPERM))
}

/// Whether the current task's cgroup may open any socket (`sockets.exempt`).
#[inline(always)]
fn is_exempt(slot: &PolicySlot) -> Result<bool, Error> {
    let classified = slot.cgroup().map_err(|_| Error::Undecidable)?;
    Ok(classified.is_some_and(|classified| classified.exempt != 0))
}

/// Addresses of one call that are judged.
const ADDRESSES_MAX: u32 = 4;
/// Options of `security_sctp_bind_connect` that name addresses of this machine, or of a peer that is known already
/// (`include/uapi/linux/sctp.h`).
const SCTP_SET_PEER_PRIMARY_ADDR: i32 = 5;
const SCTP_PRIMARY_ADDR: i32 = 6;
const SCTP_SOCKOPT_BINDX_ADD: i32 = 100;

/// `lsm/sctp_bind_connect`: one address after the other, each as long as its family says.
#[inline(always)]
pub(crate) fn by_sctp(ctx: &LsmContext) -> Result<Outcome, Error> {
    let option: i32 = ctx.arg(1);
    let list = KernelMemory(ctx.arg(2));
    let length: i32 = ctx.arg(3);
    let version = maps::control(Control::Version);
    let local = matches!(option, SCTP_SET_PEER_PRIMARY_ADDR | SCTP_PRIMARY_ADDR | SCTP_SOCKOPT_BINDX_ADD);
    if local || length <= 0 || !attempt::in_scope() {
        return Ok(Outcome::Allow);
    }
    let (mut at, length) = (0, length as u32);
    for _ in 0..ADDRESSES_MAX {
        if at >= length {
            return Ok(Outcome::Allow);
        }
        let rest = KernelMemory(list.0.wrapping_add(at as usize));
        let family: u16 = rest.at(0)?;
        let own = if family == AF_INET6 { 28 } else { 16 };
        let Some(named) = Named::of(&rest, own, AF_UNSPEC, Call::Connect)? else {
            // Neither does SCTP go there.
            return Ok(Outcome::Allow);
        };
        if attempt::is_canary(&named.address, named.port) {
            return Ok(Outcome::Refuse(EPERM));
        }
        if version == 0 {
            return Ok(Outcome::Allow);
        }
        let judged = attempt::of_task(&named, Protocol::Tcp);
        let packed = attempt::decide(version, maps::moment(), &judged);
        if Decision::unpack(packed).is_none_or(|decision| matches!(decision.effective, Verdict::Deny)) {
            attempt::tell_denied(version, &judged, &named, packed, SCTP);
            return attempt::outcome(packed);
        }
        at += own;
    }
    // More than are judged: as if one of them were denied.
    Ok(if crate::answer::enforces_something() { Outcome::Refuse(EPERM) } else { Outcome::Allow })
}

/// `cgroup/sock_create`: whose a socket is of which no later hook tells, or which names a peer that need not be its last.
#[inline(always)]
pub(crate) fn made(ctx: &SockContext) {
    // SAFETY: the kernel passes a valid context.
    let (kind, protocol) = unsafe { ((*ctx.sock).type_, (*ctx.sock).protocol) };
    let told = matches!((kind, protocol), (1, 0)) || matches!((kind, protocol as u8), (1, TCP));
    if !told && let Some(flow) = flow::of(ctx.sock.cast()) {
        flow::own(flow);
        // SAFETY: a value of the storage; a whole word.
        unsafe { (&raw mut (*flow.as_ptr()).translatable).write_volatile(1) };
    }
}
