//! The hooks' arguments: which address, which kind of socket.

use crate::{Error, Outcome, attempt, kernel_memory::KernelMemory, settings::setting};
use aya_ebpf::programs::{LsmContext, SockAddrContext};
use enforcer_common::{
    Address,
    sockaddr::{AF_UNSPEC, Call, Named},
};

const SOCK_DGRAM: u32 = 2;
const SOCK_RAW: u32 = 3;

/// `lsm/socket_connect`: `address` is the kernel's copy, so the caller cannot change it under us.
#[inline(always)]
pub(crate) fn by_lsm(ctx: &LsmContext) -> Result<Outcome, Error> {
    let socket: *const u8 = ctx.arg(0);
    let address: *const u8 = ctx.arg(1);
    let length: i32 = ctx.arg(2);
    if length < 0 || !attempt::in_scope() {
        return Ok(Outcome::Allow);
    }
    let kind: i16 = KernelMemory(socket).at(setting!(socket_type))?;
    if !opens_connection(u32::from(kind as u16)) {
        return Ok(Outcome::Allow);
    }
    // No family takes a connection back, whatever the socket.
    match Named::of(&KernelMemory(address), length as u32, AF_UNSPEC, Call::Connect)? {
        Some(named) => attempt::connect(&named),
        None => Ok(Outcome::Allow),
    }
}

/// `cgroup/connect4`.
#[inline(always)]
pub(crate) fn by_cgroup4(ctx: &SockAddrContext) -> Result<Outcome, Error> {
    if !opens_connection(kind(ctx)) {
        return Ok(Outcome::Allow);
    }
    let (address, port) = named4(ctx);
    attempt::connect(&Named { address, port, v6: false })
}

/// `cgroup/connect6`.
#[inline(always)]
pub(crate) fn by_cgroup6(ctx: &SockAddrContext) -> Result<Outcome, Error> {
    if !opens_connection(kind(ctx)) {
        return Ok(Outcome::Allow);
    }
    let (address, port) = named6(ctx);
    attempt::connect(&Named { address, port, v6: true })
}

/// The IPv4 address and the port that the application names.
#[inline(always)]
pub(crate) fn named4(ctx: &SockAddrContext) -> (Address, u16) {
    // SAFETY: the kernel passes a valid context; each field is read with its own width.
    let (address, port) = unsafe { ((*ctx.sock_addr).user_ip4, (*ctx.sock_addr).user_port) };
    (Address::from_v4(address.to_ne_bytes()), u16::from_be(port as u16))
}

/// The IPv6 address and the port that the application names.
#[inline(always)]
pub(crate) fn named6(ctx: &SockAddrContext) -> (Address, u16) {
    // SAFETY: as above; volatile keeps the four loads apart, as the verifier wants them.
    let (words, port) = unsafe {
        let words = (&raw const (*ctx.sock_addr).user_ip6).cast::<u32>();
        let word = |index| words.add(index).read_volatile();
        ([word(0), word(1), word(2), word(3)], (*ctx.sock_addr).user_port)
    };
    (Address::from_words(words), u16::from_be(port as u16))
}

/// Whether connecting a socket of this kind sends something: `SOCK_STREAM` (TCP, MPTCP, SCTP, SMC), `SOCK_SEQPACKET` (SCTP)
/// and `SOCK_DCCP` do. A datagram or raw socket only remembers where its messages go, which are judged themselves.
#[inline(always)]
pub(crate) fn opens_connection(kind: u32) -> bool {
    !matches!(kind, SOCK_DGRAM | SOCK_RAW)
}

/// `SOCK_STREAM`, `SOCK_DGRAM`, ..
#[inline(always)]
pub(crate) fn kind(ctx: &SockAddrContext) -> u32 {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx.sock_addr).type_ }
}
