//! Socket addresses, as system calls bring them: bytes, a length, and a socket that makes of them what it likes.
//!
//! Everything that names a destination goes through [`Named::of`], so that no spelling of an address is judged as another
//! address than the one that the kernel goes to. What the kernel itself refuses (`EINVAL`, `EAFNOSUPPORT`) names nothing.

use crate::Address;

/// `struct sockaddr` says no family.
pub const AF_UNSPEC: u16 = 0;
/// `struct sockaddr_in`.
pub const AF_INET: u16 = 2;
/// `struct sockaddr_in6`.
pub const AF_INET6: u16 = 10;

/// `sizeof(struct sockaddr_in)`.
const LENGTH_V4: u32 = 16;
/// `SIN6_LEN_RFC2133` (`include/net/ipv6.h`): without the zone.
const LENGTH_V6: u32 = 24;

/// What the address is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Call {
    /// `connect`: `AF_UNSPEC` takes a connection back.
    Connect,
    /// `sendmsg`: `AF_UNSPEC` is the socket's own family.
    Send,
}

/// Memory that holds a socket address.
pub trait Memory {
    /// Why it cannot be read.
    type Error;

    /// The bytes at an offset.
    ///
    /// # Errors
    /// It cannot be read there.
    fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], Self::Error>;
}

/// Where a socket address leads.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Named {
    /// As the application named it; [`Address::destination`] is where that is.
    pub address: Address,
    /// Machine byte order.
    pub port: u16,
    /// It is a `struct sockaddr_in6`, v4-mapped ones included.
    pub v6: bool,
}

impl Named {
    /// Reads a socket address of `length` bytes that was given to a socket of `family`. `None` if it has no IP address, or
    /// none that the kernel goes to.
    ///
    /// A zone (`sin6_scope_id`) is no part of the address: rules know none. The bytes behind the address are not read.
    ///
    /// # Errors
    /// The memory's.
    #[inline(always)]
    pub fn of<M: Memory>(memory: &M, length: u32, family: u16, call: Call) -> Result<Option<Self>, M::Error> {
        // An address is not read before it is known to be there.
        if length < LENGTH_V4 {
            return Ok(None);
        }
        let [f0, f1, p0, p1, a, b, c, d] = memory.load(0)?;
        let port = u16::from_be_bytes([p0, p1]);
        match spelling(u16::from_ne_bytes([f0, f1]), family, call) {
            AF_INET => Ok(Some(Self { address: Address::from_v4([a, b, c, d]), port, v6: false })),
            AF_INET6 if length >= LENGTH_V6 => {
                Ok(Some(Self { address: Address::from_v6(memory.load(8)?), port, v6: true }))
            }
            _ => Ok(None),
        }
    }
}

/// The family that an address is read as. The socket's own family does not decide: an IPv6 socket takes IPv4 addresses
/// (`net/ipv6/udp.c` `udpv6_sendmsg`, `net/ipv6/datagram.c` `__ip6_datagram_connect`), and others take either (`AF_SMC`).
/// It does where a message names none: IPv4 sockets send to it all the same (`net/ipv4/udp.c` `udp_sendmsg`,
/// `net/ipv4/raw.c`, `net/l2tp/l2tp_ip.c`), and so do raw IPv6 ones (`net/ipv6/raw.c` `rawv6_sendmsg`).
#[inline(always)]
fn spelling(named: u16, socket: u16, call: Call) -> u16 {
    match (named, call) {
        (AF_UNSPEC, Call::Connect) => AF_UNSPEC,
        (AF_UNSPEC, Call::Send) => socket,
        (named, _) => named,
    }
}

#[cfg(test)]
mod tests;
