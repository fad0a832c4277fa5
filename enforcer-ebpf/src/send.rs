//! Messages that name their destination: judged before they are sent.

use crate::{
    Error, Outcome, attempt, emit, flow, kernel_memory::KernelMemory, maps, peers, settings::setting,
};
use aya_ebpf::programs::{LsmContext, SockAddrContext};
use enforcer_common::{
    Attempt, Decision, Reach, Verdict,
    control::Control,
    event::Kind,
    flow::{Flow, Pass, Seals, Standing},
    image::Protocol,
    packet::{TCP, UDP},
    sockaddr::{Call, Named},
    wire::{DCCP, SCTP, UDP_LITE, transport},
};

const SOCK_STREAM: u16 = 1;
const SOCK_RAW: u16 = 3;
/// Send data with the SYN, and with that connect (`include/linux/socket.h`).
const MSG_FASTOPEN: u32 = 0x2000_0000;
/// Multipath TCP (`include/uapi/linux/in.h`).
const MPTCP: u16 = 262;

/// `cgroup/sendmsg4` and `sendmsg6`: a datagram of UDP or UDP-Lite to an address.
#[inline(always)]
pub(crate) fn by_cgroup(ctx: &SockAddrContext, named: &Named) -> Result<Outcome, Error> {
    let version = maps::control(Control::Version);
    if version == 0 {
        return Ok(Outcome::Allow);
    }
    let protocol = flow::protocol_of(ctx);
    let seals = flow::seals(&named.address, named.port, protocol);
    let flow = flow::of(flow::socket_of(ctx).cast());
    // SAFETY: a value of the storage; whole words.
    let standing = flow.map_or(Standing::Unknown, |flow| {
        unsafe { (&raw const (*flow).sent).read_volatile() }.standing(&seals)
    });
    let mut attempt = attempt::of_task(named, Protocol::Udp);
    match standing {
        Standing::Allowed => return Ok(Outcome::Allow),
        Standing::Established => attempt.reach = Reach::Named,
        Standing::Unknown => {}
    }
    let mut packed = attempt::decide(version, &attempt);
    let mut lasts = true;
    if standing == Standing::Unknown && is_denied(packed) && is_awaited(ctx, named) {
        // A peer waits for it: the default does not hold.
        attempt.reach = Reach::Named;
        packed = attempt::decide(version, &attempt);
        lasts = false;
    }
    remember(flow, &seals, packed, lasts);
    let refused =
        Decision::unpack(packed).is_some_and(|decision| matches!(decision.effective, Verdict::Deny));
    if flow.is_none_or(|flow| flow::tells(flow, seals.place, refused, attempt.now)) {
        tell(version, &attempt, named, packed, Kind::UdpSend, protocol);
    }
    attempt::outcome(packed)
}

/// `lsm/socket_sendmsg`: what the cgroup hooks do not see, in any protocol that is not UDP's.
#[inline(always)]
pub(crate) fn by_lsm(ctx: &LsmContext) -> Result<Outcome, Error> {
    let socket = KernelMemory(ctx.arg(0));
    let message = KernelMemory(ctx.arg(1));
    let name = message.follow(setting!(msghdr_name))?;
    let length: i32 = message.at(setting!(msghdr_namelen))?;
    if name.0.is_null() || length <= 0 || !attempt::in_scope() {
        return Ok(Outcome::Allow);
    }
    let kind: u16 = socket.at(setting!(socket_type))?;
    let sock = socket.follow(setting!(socket_sk))?;
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
    let family: u16 = sock.at(setting!(sock_family))?;
    let Some(mut named) = Named::of(&name, length as u32, family, Call::Send)? else {
        return Ok(Outcome::Allow);
    };
    let version = maps::control(Control::Version);
    if version == 0 {
        return Ok(Outcome::Allow);
    }
    let number = if protocol == MPTCP { TCP } else { protocol as u8 };
    if kind == SOCK_RAW || !matches!(number, TCP | SCTP | DCCP) {
        // What stands there is no port.
        named.port = 0;
    }
    let attempt = attempt::of_task(&named, if kind == SOCK_RAW { Protocol::Udp } else { transport(number) });
    let packed = attempt::decide(version, &attempt);
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

/// Remembers where the current task sends to, and that it may.
#[inline(always)]
fn remember(flow: Option<*mut Flow>, seals: &Seals, packed: u64, lasts: bool) {
    let Some(flow) = flow else { return };
    let allowed =
        Decision::unpack(packed).is_some_and(|decision| matches!(decision.effective, Verdict::Allow));
    if !allowed {
        return;
    }
    // SAFETY: a value of the storage, which lives as long as the socket does; whole words.
    unsafe {
        (&raw mut (*flow).addressed).write_volatile(seals.place);
        if lasts {
            (&raw mut (*flow).sent).write_volatile(Pass::of(seals));
        }
    }
    flow::own(flow);
}

/// Whether the rules deny it, enforced or not.
#[inline(always)]
fn is_denied(packed: u64) -> bool {
    Decision::unpack(packed).is_some_and(|Decision { verdict, effective, .. }| {
        matches!(verdict, Verdict::Deny) || matches!(effective, Verdict::Deny)
    })
}

/// Whether somebody there waits for the datagram: a peer that has sent one, or a DHCP server.
#[inline(always)]
fn is_awaited(ctx: &SockAddrContext, named: &Named) -> bool {
    // SAFETY: the socket is the context's own.
    let local = unsafe { (*flow::socket_of(ctx)).src_port } as u16;
    peers::has_heard(ctx, &named.address, named.port)
        || matches!((named.v6, local, named.port), (false, 68, 67) | (true, 546, 547))
}
