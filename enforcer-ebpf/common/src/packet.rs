//! The headers of an IP packet, from the IP header on: who sends to whom, and where the payload lies.
//!
//! The kernel program reads them from a `__sk_buff`, user space from a slice. Formats: RFC 791 (IPv4), RFC 8200 (IPv6),
//! RFC 4302 (AH), RFC 768 (UDP), RFC 9293 (TCP).
//!
//! A packet is one that the receiving socket gets: `cgroup_skb/ingress` runs after the fragments were put together
//! (`net/ipv4/ip_input.c` `ip_local_deliver`, `net/ipv6/reassembly.c` `ip6_frag_reasm`). A fragment of a larger packet has
//! no ports that could be relied on, and is not read.

use crate::{
    Address,
    repeat::{Repeat, Step},
};
use core::ops::ControlFlow;

mod plain;

pub use plain::Plain;

/// Protocol number of TCP.
pub const TCP: u8 = 6;
/// Protocol number of UDP.
pub const UDP: u8 = 17;

/// A packet that can be read byte by byte.
pub trait Bytes {
    /// How to loop.
    type Loop: Repeat;

    /// The bytes at an offset; `None` if the packet has less.
    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]>;
    /// Bytes of the packet.
    fn length(&self) -> u32;

    /// [`skip_extensions`]: the joint at which the kernel program puts a function that the verifier looks at once.
    #[inline(always)]
    fn skip_extensions(&self, protocol: u8, at: u32) -> u64
    where
        Self: Sized,
    {
        skip_extensions(self, protocol, at)
    }
}

/// A packet in memory.
#[cfg(feature = "user")]
impl Bytes for &[u8] {
    type Loop = crate::repeat::HostLoop;

    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.get(at as usize..)?.first_chunk().copied()
    }

    fn length(&self) -> u32 {
        self.len() as u32
    }
}

/// Part of a packet. Offsets count from the IP header.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Span {
    /// The first byte.
    pub start: u32,
    /// The byte behind the last one.
    pub end: u32,
}

/// The network layer: IPv4 or IPv6 with its extension headers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Network {
    /// Number of the protocol that the payload is of.
    pub protocol: u8,
    /// The payload. It ends where the header says, which leaves out the padding of a short frame; a length of 0 means the
    /// packet's own (RFC 2675, and what Linux puts together beyond 64 KiB: `include/linux/ip.h` `iph_totlen`).
    pub payload: Span,
    v6: bool,
}

/// Ports of UDP or TCP, machine byte order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ports {
    /// Who sent.
    pub source: u16,
    /// Who receives.
    pub destination: u16,
}

/// A TCP segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Segment {
    /// Number of the first byte of the payload in the stream; of the SYN, if it is set.
    pub sequence: u32,
    /// Bits of [`flag`].
    pub flags: u8,
    /// What it carries.
    pub payload: Span,
}

/// Bits of [`Segment::flags`] (RFC 9293 section 3.1).
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronize sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// The acknowledgment field is significant.
    pub const ACK: u8 = 16;

    /// Whether it is the first segment of a connection.
    #[inline(always)]
    pub const fn opens(flags: u8) -> bool {
        flags & (SYN | ACK) == SYN
    }
}

impl Ports {
    /// From the first bytes of a header of UDP or TCP.
    #[inline(always)]
    pub(crate) const fn of([s0, s1, d0, d1]: [u8; 4]) -> Self {
        Self { source: u16::from_be_bytes([s0, s1]), destination: u16::from_be_bytes([d0, d1]) }
    }
}

impl Network {
    /// Reads the header and its extensions. `None` for what is no IP packet, is cut off, or is a fragment.
    #[inline(always)]
    pub fn of(packet: &impl Bytes) -> Option<Self> {
        // Enough of either header, and no header is shorter.
        let [first, _, a, b, c, d, e, f, _, protocol] = packet.load(0)?;
        match first >> 4 {
            4 => {
                let start = u32::from(first & 0x0f) * 4;
                if start < HEADER_V4 || u16::from_be_bytes([e, f]) & (MORE_V4 | OFFSET_V4) != 0 {
                    return None;
                }
                let end = ending(packet, u16::from_be_bytes([a, b]).into(), 0)?;
                Self { protocol, payload: Span { start, end }, v6: false }.upper(packet)
            }
            6 => {
                let end = ending(packet, u16::from_be_bytes([c, d]).into(), HEADER_V6)?;
                Self { protocol: e, payload: Span { start: HEADER_V6, end }, v6: true }.upper(packet)
            }
            _ => None,
        }
    }

    /// Who sent the packet.
    #[inline(always)]
    pub fn source(&self, packet: &impl Bytes) -> Option<Address> {
        self.address(packet, 12, 8)
    }

    /// To whom it is addressed.
    #[inline(always)]
    pub fn destination(&self, packet: &impl Bytes) -> Option<Address> {
        self.address(packet, 16, 24)
    }

    /// The ports, which are where both UDP and TCP have them. `None` for other protocols.
    #[inline(always)]
    pub fn ports(&self, packet: &impl Bytes) -> Option<Ports> {
        if !matches!(self.protocol, TCP | UDP) || !self.has(4) {
            return None;
        }
        packet.load(self.payload.start).map(Ports::of)
    }

    /// What a UDP datagram carries. Its length field may leave out bytes at the end of the packet, as the receiver does
    /// (`net/ipv4/udp.c` `__udp4_lib_rcv`); 0 means all of them (RFC 2675).
    #[inline(always)]
    pub fn datagram(&self, packet: &impl Bytes) -> Option<Span> {
        if self.protocol != UDP || !self.has(HEADER_UDP) {
            return None;
        }
        let Span { start, end } = self.payload;
        let [l0, l1] = packet.load(start + 4)?;
        let length = u32::from(u16::from_be_bytes([l0, l1]));
        let stop = start + length;
        match length {
            0 => Some(Span { start: start + HEADER_UDP, end }),
            HEADER_UDP.. if stop <= end => Some(Span { start: start + HEADER_UDP, end: stop }),
            _ => None,
        }
    }

    /// A TCP segment, behind its options.
    #[inline(always)]
    pub fn segment(&self, packet: &impl Bytes) -> Option<Segment> {
        if self.protocol != TCP || !self.has(HEADER_TCP) {
            return None;
        }
        let Span { start, end } = self.payload;
        let [a, b, c, d, _, _, _, _, offset, flags] = packet.load(start + 4)?;
        let data = u32::from(offset >> 4) * 4;
        if data < HEADER_TCP || !self.has(data) {
            return None;
        }
        let payload = Span { start: start + data, end };
        Some(Segment { sequence: u32::from_be_bytes([a, b, c, d]), flags, payload })
    }

    /// The same behind its extension headers.
    #[inline(always)]
    fn upper(self, packet: &impl Bytes) -> Option<Self> {
        let Self { mut protocol, payload: Span { mut start, end }, v6 } = self;
        if is_extension(protocol, v6) {
            let found = packet.skip_extensions(protocol, start);
            (protocol, start) = ((found >> 32) as u8, found as u32);
            if start == 0 {
                return None;
            }
        }
        (start <= end).then_some(Self { protocol, payload: Span { start, end }, v6 })
    }

    #[inline(always)]
    fn has(&self, count: u32) -> bool {
        let Span { start, end } = self.payload;
        end - start >= count
    }

    #[inline(always)]
    fn address(&self, packet: &impl Bytes, v4: u32, v6: u32) -> Option<Address> {
        if self.v6 { packet.load(v6).map(Address::from_v6) } else { packet.load(v4).map(Address::from_v4) }
    }
}

/// What stands behind the extension headers of which the first is of this number and at this offset: the protocol's number
/// in the upper half, its offset in the lower one. 0 if the packet ends before, or is a fragment.
#[inline(always)]
pub fn skip_extensions<P: Bytes>(packet: &P, protocol: u8, at: u32) -> u64 {
    let mut walk = Walk { packet, protocol, at, lost: true };
    P::Loop::repeat(EXTENSIONS_MAX, &mut walk);
    if walk.lost { 0 } else { u64::from(walk.protocol) << 32 | u64::from(walk.at) }
}

impl Span {
    /// Its number of bytes.
    #[inline(always)]
    pub fn length(&self) -> u32 {
        self.end - self.start
    }

    /// The part of this number, from 0 on, of what is cut into parts of `size` bytes each, the last of which may be
    /// shorter. With a size of 0 it is not cut: there is one part, which is all of it.
    #[inline(always)]
    pub fn part(&self, size: u16, index: u16) -> Option<Self> {
        let Self { start, end } = *self;
        if size == 0 {
            return (index == 0).then_some(*self);
        }
        let start = start + u32::from(size) * u32::from(index);
        let stop = start + u32::from(size);
        (start < end).then_some(Self { start, end: if stop < end { stop } else { end } })
    }
}

/// Bytes of the IPv4 header without options.
const HEADER_V4: u32 = 20;
/// Bytes of the IPv6 header.
const HEADER_V6: u32 = 40;
/// Bytes of the UDP header.
const HEADER_UDP: u32 = 8;
/// Bytes of the TCP header without options.
const HEADER_TCP: u32 = 20;
/// More fragments follow, and the fragment's offset (RFC 791 section 3.1).
const MORE_V4: u16 = 0x2000;
const OFFSET_V4: u16 = 0x1fff;
/// The same in a fragment header (RFC 8200 section 4.5). Without both the fragment is the whole packet (RFC 6946), and Linux
/// leaves the header where it is.
const FRAGMENTED_V6: u16 = 0xfff9;

/// Extension headers (RFC 8200 section 4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// More extension headers than a packet of 64 KiB has room for: Linux delivers as many as there are.
const EXTENSIONS_MAX: u32 = 65_536 / 8;

/// Where the payload ends if it begins behind `header` bytes that `length` does not count.
#[inline(always)]
fn ending(packet: &impl Bytes, length: u32, header: u32) -> Option<u32> {
    let whole = packet.length();
    match length {
        0 => Some(whole),
        _ => Some(header + length).filter(|end| *end <= whole),
    }
}

/// Whether this is an extension header: what a receiver skips or has dealt with when the packet reaches a socket. IPv4 has AH
/// alone.
#[inline(always)]
fn is_extension(protocol: u8, v6: bool) -> bool {
    match protocol {
        AUTHENTICATION => true,
        HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION => v6,
        _ => false,
    }
}

/// On the way through the extension headers.
struct Walk<'a, P> {
    packet: &'a P,
    protocol: u8,
    at: u32,
    /// There is no end yet.
    lost: bool,
}

impl<P: Bytes> Step for Walk<'_, P> {
    /// Skips one header.
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let Some([next, units, o0, o1]) = self.packet.load(self.at) else {
            return ControlFlow::Break(());
        };
        let bytes = match self.protocol {
            AUTHENTICATION => (u32::from(units) + 2) * 4,
            FRAGMENT if u16::from_be_bytes([o0, o1]) & FRAGMENTED_V6 != 0 => return ControlFlow::Break(()),
            FRAGMENT => 8,
            _ => (u32::from(units) + 1) * 8,
        };
        self.protocol = next;
        self.at += bytes;
        // In IPv4 nothing but AH leads here, and what stands behind it is no IPv6.
        if is_extension(next, true) {
            return ControlFlow::Continue(());
        }
        self.lost = false;
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests;
