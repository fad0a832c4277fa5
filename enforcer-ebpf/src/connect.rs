//! The hooks' arguments: which address, which kind of socket.

use crate::{Error, Outcome, attempt, settings::setting};
use aya_ebpf::{
    helpers::bpf_probe_read_kernel,
    programs::{LsmContext, SockAddrContext},
};
use enforcer_common::Address;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u32 = 1;

/// `lsm/socket_connect`: `address` is the kernel's copy, so the caller cannot change it under us.
#[inline(always)]
pub(crate) fn by_lsm(ctx: &LsmContext) -> Result<Outcome, Error> {
    let socket: *const u8 = ctx.arg(0);
    let address: *const u8 = ctx.arg(1);
    let length: i32 = ctx.arg(2);
    if length < 8 || !attempt::in_scope() {
        return Ok(Outcome::Allow);
    }
    let kind = socket.wrapping_add(setting!(socket_type) as usize).cast::<i16>();
    // SAFETY: the helper checks the address it reads; the offset is that of the running kernel's BTF.
    let kind = unsafe { bpf_probe_read_kernel(kind) }.map_err(|_| Error::Unreadable)?;
    if u32::from(kind as u16) != SOCK_STREAM {
        return Ok(Outcome::Allow);
    }
    // SAFETY: the helper checks the address it reads; at least 8 bytes are there.
    let head: [u8; 8] = unsafe { bpf_probe_read_kernel(address.cast()) }.map_err(|_| Error::Unreadable)?;
    let [f0, f1, p0, p1, a, b, c, d] = head;
    let port = u16::from_be_bytes([p0, p1]);
    match u16::from_ne_bytes([f0, f1]) {
        AF_INET => attempt::judge(Address::from_v4([a, b, c, d]), port, false),
        AF_INET6 if length >= 24 => {
            // SAFETY: as above; `struct sockaddr_in6` has its address at offset 8.
            let octets: [u8; 16] = unsafe { bpf_probe_read_kernel(address.wrapping_add(8).cast()) }
                .map_err(|_| Error::Unreadable)?;
            attempt::judge(Address::from_v6(octets), port, true)
        }
        // AF_UNSPEC takes a connection back; the rest has no IP address.
        _ => Ok(Outcome::Allow),
    }
}

/// `cgroup/connect4`.
#[inline(always)]
pub(crate) fn by_cgroup4(ctx: &SockAddrContext) -> Result<Outcome, Error> {
    if kind(ctx) != SOCK_STREAM {
        return Ok(Outcome::Allow);
    }
    let (address, port) = named4(ctx);
    attempt::judge(address, port, false)
}

/// `cgroup/connect6`.
#[inline(always)]
pub(crate) fn by_cgroup6(ctx: &SockAddrContext) -> Result<Outcome, Error> {
    if kind(ctx) != SOCK_STREAM {
        return Ok(Outcome::Allow);
    }
    let (address, port) = named6(ctx);
    attempt::judge(address, port, true)
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

/// `SOCK_STREAM`, `SOCK_DGRAM`, ..
#[inline(always)]
fn kind(ctx: &SockAddrContext) -> u32 {
    // SAFETY: the kernel passes a valid context.
    unsafe { (*ctx.sock_addr).type_ }
}
