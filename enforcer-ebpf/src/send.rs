//! Messages that name their destination: judged before they are sent.

use crate::{
    Error, Outcome, attempt, emit, flow,
    kernel_memory::KernelMemory,
    maps,
    peers::{self, Way},
    settings::setting,
    sockets, task,
};
use aya_ebpf::{
    helpers::bpf_get_current_cgroup_id,
    programs::{LsmContext, SockAddrContext},
};
use enforcer_common::{
    Attempt, Decision, Reach, Verdict,
    control::Control,
    decide::EPERM,
    event::Kind,
    flow::{Pass, Standing},
    image::Protocol,
    name::mix,
    packet::{TCP, UDP},
    sockaddr::{Call, Named},
    wire::{DCCP, SCTP, UDP_LITE, is_dhcp, is_upkeep, serves_link, transport},
};

const SOCK_STREAM: u16 = 1;
const SOCK_RAW: u16 = 3;
/// Send data with the SYN, and with that connect (`include/linux/socket.h`).
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// `cgroup/sendmsg4` and `sendmsg6`: a datagram of UDP or UDP-Lite to an address. What is remembered is read and written by
/// functions of their own, so that their frames are gone while the rules are asked.
#[inline(always)]
pub(crate) fn by_cgroup(ctx: &SockAddrContext, named: &Named) -> Result<Outcome, Error> {
    if attempt::is_canary(&named.address, named.port) {
        return Ok(Outcome::Refuse(EPERM));
    }
    let version = maps::control(Control::Version);
    if version == 0 {
        return Ok(Outcome::Allow);
    }
    let moment = maps::moment();
    let standing = standing(ctx, named, version, moment);
    if standing == ALLOWED {
        return Ok(Outcome::Allow);
    }
    let mut attempt = attempt::of_task(named, Protocol::Udp);
    if standing == ESTABLISHED {
        attempt.reach = Reach::Named;
    }
    let mut packed = attempt::decide(version, moment, &attempt);
    if attempt.reach == Reach::All && is_denied(packed) && is_awaited(ctx, &attempt, version) {
        // A peer waits for it: the default does not hold, and for a while only.
        attempt.reach = Reach::Named;
        packed = attempt::decide(version, moment, &attempt) | FOR_A_WHILE;
    }
    if remember(ctx, &attempt, version, moment, packed) {
        let told = emit::Told { kind: Kind::UdpSend, protocol: flow::protocol_of(ctx), v6: named.v6 };
        emit::attempt(version, &attempt, &named.address, packed, told.pack());
    }
    attempt::outcome(packed)
}

/// How [`standing`] packs a [`Standing`].
const ALLOWED: u64 = 0;
const ESTABLISHED: u64 = 1;
const UNKNOWN: u64 = 2;
/// Beside a packed decision: it holds for this datagram alone.
const FOR_A_WHILE: u64 = 1 << 62;

/// The version and the moment, for the current task's user and cgroup: what one was allowed to send, another was not.
#[inline(always)]
fn by_task(version: u64, moment: u64) -> [u64; 2] {
    // SAFETY: plain helper call.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    [version ^ mix(cgroup.rotate_left(32) ^ u64::from(task::uid())), moment]
}

/// How far what was allowed last still holds.
#[inline(never)]
fn standing(ctx: &SockAddrContext, named: &Named, version: u64, moment: u64) -> u64 {
    let Some(flow) = flow::known(flow::socket_of(ctx).cast()) else { return UNKNOWN };
    let seals = flow::seals(&named.address, named.port, flow::protocol_of(ctx), by_task(version, moment));
    // SAFETY: a value of the storage; whole words.
    match unsafe { (&raw const (*flow.as_ptr()).sent).read_volatile() }.standing(&seals) {
        Standing::Allowed => ALLOWED,
        Standing::Established => ESTABLISHED,
        Standing::Unknown => UNKNOWN,
    }
}

/// Remembers where the current task sends to, if it may. Returns whether an event is due.
#[inline(never)]
fn remember(ctx: &SockAddrContext, attempt: &Attempt, version: u64, moment: u64, packed: u64) -> bool {
    let Some(flow) = flow::of(flow::socket_of(ctx).cast()) else { return true };
    let Some(decision) = Decision::unpack(packed) else { return false };
    let seals = flow::seals(&attempt.address, attempt.port, flow::protocol_of(ctx), by_task(version, moment));
    let refused = matches!(decision.effective, Verdict::Deny);
    if !refused {
        // SAFETY: a value of the storage, which lives as long as the socket does; whole words.
        unsafe {
            let flow = flow.as_ptr();
            (&raw mut (*flow).addressed).write_volatile(seals.place);
            if packed & FOR_A_WHILE == 0 {
                (&raw mut (*flow).sent).write_volatile(Pass::of(&seals));
            }
        }
        flow::own(flow);
    }
    flow::tells(flow, seals.place, refused, attempt.now)
}

/// `lsm/socket_sendmsg`: what the cgroup hooks do not see, in any protocol that is not UDP's, and packet sockets that are
/// older than the policy.
#[inline(always)]
pub(crate) fn by_lsm(ctx: &LsmContext) -> Result<Outcome, Error> {
    let socket = KernelMemory(ctx.arg(0));
    let message = KernelMemory(ctx.arg(1));
    let name = message.follow(setting!(msghdr_name))?;
    let length: i32 = message.at(setting!(msghdr_namelen))?;
    let named = !name.0.is_null() && length > 0;
    let kind: u16 = socket.at(setting!(socket_type))?;
    if !named && kind == SOCK_STREAM || !attempt::in_scope() {
        return Ok(Outcome::Allow);
    }
    let sock = socket.follow(setting!(socket_sk))?;
    let family: u16 = sock.at(setting!(sock_family))?;
    if sockets::writes_packets(family) {
        return sockets::unjudged();
    }
    if !named {
        return Ok(Outcome::Allow);
    }
    let protocol: u16 = sock.at(setting!(sock_protocol))?;
    let opens = kind == SOCK_STREAM;
    if opens {
        // A stream goes where it is connected to, whatever the message says; unless that connects it.
        let flags: u32 = message.at(setting!(msghdr_flags))?;
        if flags & MSG_FASTOPEN == 0 && protocol != u16::from(SCTP) {
            return Ok(Outcome::Allow);
        }
    } else if kind != SOCK_RAW && (protocol == u16::from(UDP) || protocol == u16::from(UDP_LITE)) {
        return Ok(Outcome::Allow);
    }
    let Some(mut named) = Named::of(&name, length as u32, family, Call::Send)? else {
        return Ok(Outcome::Allow);
    };
    if attempt::is_canary(&named.address, named.port) {
        return Ok(Outcome::Refuse(EPERM));
    }
    let version = maps::control(Control::Version);
    if version == 0 {
        return Ok(Outcome::Allow);
    }
    // Streams are those of TCP, MPTCP and SMC, but for SCTP's.
    let number = if opens && protocol != u16::from(SCTP) { TCP } else { protocol as u8 };
    if kind == SOCK_RAW || !matches!(number, TCP | SCTP | DCCP) {
        // What stands there is no port.
        named.port = 0;
    }
    let mut attempt =
        attempt::of_task(&named, if kind == SOCK_RAW { Protocol::Udp } else { transport(number) });
    if kind == SOCK_RAW && is_upkeep(number, &attempt.address) {
        // The wire sees what it is: no default holds for a solicitation.
        attempt.reach = Reach::Named;
    }
    let packed = attempt::decide(version, maps::moment(), &attempt);
    let told = if number == TCP && opens { Kind::TcpConnect } else { Kind::PacketDenied };
    // What passes is told where it connects something.
    if told == Kind::TcpConnect || is_denied(packed) {
        tell(version, &attempt, &named, packed, told, number);
    }
    attempt::outcome(packed)
}

#[inline(always)]
fn tell(version: u64, attempt: &Attempt, named: &Named, packed: u64, kind: Kind, protocol: u8) {
    let told = emit::Told { kind, protocol, v6: named.v6 };
    emit::attempt(version, attempt, &named.address, packed, told.pack());
}

/// Whether the rules deny it, enforced or not.
#[inline(always)]
fn is_denied(packed: u64) -> bool {
    Decision::unpack(packed).is_some_and(|Decision { verdict, effective, .. }| {
        matches!(verdict, Verdict::Deny) || matches!(effective, Verdict::Deny)
    })
}

/// Whether somebody there waits for the datagram: a peer that has sent one, or a DHCP server. The wire asks once more, when
/// it is known where it leaves.
#[inline(never)]
fn is_awaited(ctx: &SockAddrContext, attempt: &Attempt, version: u64) -> bool {
    // SAFETY: the socket is the context's own.
    let local = unsafe { (*flow::socket_of(ctx)).src_port } as u16;
    let Attempt { address, port, .. } = attempt;
    // SAFETY: plain helper call.
    let cgroup = unsafe { bpf_get_current_cgroup_id() };
    if setting!(no_excuses) != 0 {
        return false;
    }
    let heard =
        [false, true].iter().any(|loopback| peers::has_heard(ctx, address, *port, Way::by(*loopback)));
    heard && maps::answers_peers(version)
        || is_dhcp(local, *port) && (serves_link(address) || maps::is_exempt(version, cgroup))
}
