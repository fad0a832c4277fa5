//! Where a packet that is about to be sent goes, by its own headers: the destination, and the stations of a source route.
//!
//! At `cgroup_skb/egress` (`net/ipv4/ip_output.c` `ip_finish_output`, `net/ipv6/ip6_output.c` `ip6_finish_output`) a packet
//! stands as it goes out, after address translation, before it is cut into fragments. A fragment there was made by whoever
//! writes headers himself. Formats: RFC 791 (IPv4, its source routes), RFC 8200 (IPv6), RFC 5095 and RFC 6275 section 6.4
//! (routing headers of types 0 and 2), RFC 8754 section 2 (type 4, segment routing).

use crate::{
    Address,
    image::Protocol,
    packet::{Bytes, TCP, UDP},
    repeat::{Repeat, Step},
};
use core::ops::ControlFlow;

/// Stations that are judged: as many as an IPv4 header has room for.
pub const STATIONS_MAX: u32 = 9;
/// Extension headers and options that are read. Linux sends a handful; who writes his own headers gets no further.
const HEADERS_MAX: u32 = 64;

/// Protocol number of ICMP.
pub const ICMP: u8 = 1;
/// Protocol number of IGMP.
pub const IGMP: u8 = 2;
/// Protocol number of ICMPv6.
pub const ICMPV6: u8 = 58;
/// Protocol number of DCCP.
pub const DCCP: u8 = 33;
/// Protocol number of SCTP.
pub const SCTP: u8 = 132;
/// Protocol number of UDP-Lite.
pub const UDP_LITE: u8 = 136;

const HEADER_V4: u32 = 20;
const HEADER_V6: u32 = 40;
const OFFSET_V4: u16 = 0x1fff;
const OFFSET_V6: u16 = 0xfff8;

/// Extension headers (RFC 8200 section 4.1).
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

/// IPv4 options (RFC 791 section 3.1): end, nothing, loose and strict source route.
const END: u8 = 0;
const NOTHING: u8 = 1;
const LOOSE: u8 = 131;
const STRICT: u8 = 137;

/// What the network layer of a packet says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Route {
    /// Number of the protocol that the payload is of.
    pub protocol: u8,
    /// Where the payload begins.
    pub payload: u32,
    /// Where the first station of a source route stands.
    pub stations_at: u32,
    /// How many there are; at most [`STATIONS_MAX`].
    pub stations: u32,
    /// IPv6.
    pub v6: bool,
    /// A fragment behind the first: it has no ports.
    pub later_fragment: bool,
    /// It has a source route, though no station may be left: somebody has asked for another way than the usual.
    pub steered: bool,
}

impl Route {
    /// Reads the network layer. `None` for what is no IP packet, is cut off, also by a first fragment that ends before the
    /// ports, or has a source route that cannot be judged whole: of an unknown kind, too long, or a second one.
    #[inline(always)]
    pub fn of<P: Bytes>(packet: &P) -> Option<Self> {
        let [first, _, _, _, _, _, o0, o1, _, protocol] = packet.load(0)?;
        let mut walk = Walk {
            packet,
            protocol,
            at: 0,
            end: u32::from(first & 0x0f) * 4,
            stations_at: 0,
            stations: 0,
            later_fragment: 0,
            steered: 0,
            done: 0,
        };
        match first >> 4 {
            4 if walk.end < HEADER_V4 => return None,
            4 => {
                walk.later_fragment = (u16::from_be_bytes([o0, o1]) & OFFSET_V4).into();
                walk.at = HEADER_V4;
                if walk.end > HEADER_V4 {
                    P::Loop::repeat(HEADERS_MAX, &mut Options(&mut walk));
                } else {
                    walk.done = 1;
                }
                walk.at = walk.end;
            }
            6 => {
                walk.protocol = o0;
                walk.at = HEADER_V6;
                if is_extension(o0) {
                    P::Loop::repeat(HEADERS_MAX, &mut Extensions(&mut walk));
                } else {
                    walk.done = 1;
                }
            }
            _ => return None,
        }
        let Walk { protocol, at, stations_at, stations, later_fragment, steered, done, .. } = walk;
        let route = Self {
            protocol,
            payload: at,
            stations_at,
            stations,
            v6: first >> 4 == 6,
            later_fragment: later_fragment != 0,
            steered: steered != 0,
        };
        (done != 0 && stations <= STATIONS_MAX && route.is_whole(packet)).then_some(route)
    }

    /// Whether the ports and the last station are there, if it has any.
    #[inline(always)]
    fn is_whole(&self, packet: &impl Bytes) -> bool {
        let last = self.station_at(self.stations.wrapping_sub(1));
        (self.stations == 0 || self.address(packet, last).is_some())
            && (!self.has_ports() || self.ports(packet).is_some())
    }

    /// Whether its payload begins with ports.
    #[inline(always)]
    fn has_ports(&self) -> bool {
        !self.later_fragment && matches!(self.protocol, TCP | UDP | UDP_LITE | SCTP | DCCP)
    }

    /// All of it in one register, never 0.
    #[inline(always)]
    pub fn pack(self) -> u64 {
        let Self { protocol, payload, stations_at, stations, v6, later_fragment, steered } = self;
        1 << 63
            | u64::from(protocol)
            | u64::from(payload & 0xffff) << 8
            | u64::from(stations_at & 0xffff) << 24
            | u64::from(stations & 0xff) << 40
            | u64::from(v6) << 48
            | u64::from(later_fragment) << 49
            | u64::from(steered) << 50
    }

    /// What [`Route::pack`] packed; `None` for 0.
    #[inline(always)]
    pub fn unpack(packed: u64) -> Option<Self> {
        (packed != 0).then_some(Self {
            protocol: packed as u8,
            payload: (packed >> 8) as u32 & 0xffff,
            stations_at: (packed >> 24) as u32 & 0xffff,
            stations: (packed >> 40) as u32 & 0xff,
            v6: packed >> 48 & 1 != 0,
            later_fragment: packed >> 49 & 1 != 0,
            steered: packed >> 50 & 1 != 0,
        })
    }

    /// Where the destination stands.
    #[inline(always)]
    pub fn destination_at(&self) -> u32 {
        if self.v6 { 24 } else { 16 }
    }

    /// Where the source stands.
    #[inline(always)]
    pub fn source_at(&self) -> u32 {
        if self.v6 { 8 } else { 12 }
    }

    /// Where a station of the source route stands.
    #[inline(always)]
    pub fn station_at(&self, index: u32) -> u32 {
        self.stations_at.wrapping_add(index.wrapping_mul(if self.v6 { 16 } else { 4 }))
    }

    /// The address that stands somewhere in the packet.
    #[inline(always)]
    pub fn address(&self, packet: &impl Bytes, at: u32) -> Option<Address> {
        if self.v6 { packet.load(at).map(Address::from_v6) } else { packet.load(at).map(Address::from_v4) }
    }

    /// The ports of source and destination. `None` if the packet has none: another protocol, or a later fragment.
    #[inline(always)]
    pub fn ports(&self, packet: &impl Bytes) -> Option<(u16, u16)> {
        if !self.has_ports() {
            return None;
        }
        let [s0, s1, d0, d1] = packet.load(self.payload)?;
        Some((u16::from_be_bytes([s0, s1]), u16::from_be_bytes([d0, d1])))
    }

    /// By which ports of a rule it is judged.
    #[inline(always)]
    pub fn transport(&self) -> Protocol {
        transport(self.protocol)
    }
}

/// By which ports of a rule a protocol is judged: those of TCP for what opens connections, those of UDP for the rest.
/// Protocols without ports have port 0 there, which rules without `ports` match.
#[inline(always)]
pub fn transport(protocol: u8) -> Protocol {
    if matches!(protocol, TCP | SCTP | DCCP) { Protocol::Tcp } else { Protocol::Udp }
}

/// Whether a protocol and a destination are those of membership of groups (IGMP, MLD) or of neighbour discovery: a group of
/// this link (RFC 5771 section 4, RFC 4291 section 2.7).
#[inline(always)]
pub fn is_upkeep(protocol: u8, address: &Address) -> bool {
    match protocol {
        ICMPV6 => address.halves().0 >> 48 == 0xff02,
        IGMP => address.v4().is_some_and(|v4| v4 >> 8 == 0xe0_0000),
        _ => false,
    }
}

/// The ports of a DHCP client and its server (RFC 2131 section 4.1, RFC 8415 section 7.2).
#[inline(always)]
pub fn is_dhcp(local: u16, port: u16) -> bool {
    matches!((local, port), (68, 67) | (546, 547))
}

/// Whether everybody at an address who serves DHCP is on this link: broadcast, `ff02::1:2`, `fe80::/10`.
#[inline(always)]
pub fn serves_link(address: &Address) -> bool {
    let (high, low) = address.halves();
    address.v4() == Some(u32::MAX) || high >> 54 == 0xfe80 >> 6 || high == 0xff02 << 48 && low == 0x0001_0002
}

/// On the way through options or extension headers.
struct Walk<'a, P> {
    packet: &'a P,
    protocol: u8,
    at: u32,
    /// Where IPv4's header ends.
    end: u32,
    stations_at: u32,
    stations: u32,
    later_fragment: u32,
    steered: u32,
    /// 1 once the payload is found.
    done: u32,
}

/// One IPv4 option.
struct Options<'a, 'b, P>(&'a mut Walk<'b, P>);

impl<P: Bytes> Step for Options<'_, '_, P> {
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let walk = &mut *self.0;
        if walk.at >= walk.end {
            walk.done = 1;
            return ControlFlow::Break(());
        }
        let Some([kind]) = walk.packet.load(walk.at) else { return ControlFlow::Break(()) };
        let length = match kind {
            END => {
                walk.done = 1;
                return ControlFlow::Break(());
            }
            NOTHING => 1,
            _ => {
                let Some([length]) = walk.packet.load(walk.at + 1) else { return ControlFlow::Break(()) };
                let length = u32::from(length);
                if length < 3 && (length < 2 || matches!(kind, LOOSE | STRICT)) {
                    return ControlFlow::Break(());
                }
                if matches!(kind, LOOSE | STRICT) {
                    if walk.stations_at != 0 {
                        return ControlFlow::Break(());
                    }
                    walk.steered = 1;
                    walk.stations_at = walk.at + 3;
                    walk.stations = (length - 3) / 4;
                }
                length
            }
        };
        walk.at += length;
        ControlFlow::Continue(())
    }
}

/// One IPv6 extension header.
struct Extensions<'a, 'b, P>(&'a mut Walk<'b, P>);

impl<P: Bytes> Step for Extensions<'_, '_, P> {
    #[inline(always)]
    fn step(&mut self, _: u32) -> ControlFlow<()> {
        let walk = &mut *self.0;
        let Some([next, units, two, three, four]) = walk.packet.load(walk.at) else {
            return ControlFlow::Break(());
        };
        let mut bytes = (u32::from(units) + 1) * 8;
        match walk.protocol {
            AUTHENTICATION => bytes = (u32::from(units) + 2) * 4,
            FRAGMENT => {
                bytes = 8;
                walk.later_fragment |= u32::from(u16::from_be_bytes([two, three]) & OFFSET_V6);
            }
            ROUTING => {
                walk.steered = 1;
                let (kind, left) = (two, u32::from(three));
                // With no segments left, receivers pay no attention to it.
                if left != 0 {
                    let stations = match kind {
                        0 | 2 => u32::from(units) / 2,
                        4 => u32::from(four).max(left) + 1,
                        _ => return ControlFlow::Break(()),
                    };
                    if walk.stations_at != 0 {
                        return ControlFlow::Break(());
                    }
                    walk.stations_at = walk.at + 8;
                    walk.stations = stations;
                }
            }
            _ => {}
        }
        walk.protocol = next;
        walk.at += bytes;
        // What stands behind a later fragment's header is no header.
        if is_extension(next) && walk.later_fragment == 0 {
            return ControlFlow::Continue(());
        }
        walk.done = 1;
        ControlFlow::Break(())
    }
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(protocol, HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION)
}

#[cfg(test)]
mod tests;
