//! Packets that say something else than the socket does: routing headers, source routes, headers and frames of one's
//! own.

use std::ffi::CString;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use enforcer_tests::{PAYLOAD, Target};

use crate::datagram::{udp4, udp6};
use crate::namespace::ip;
use crate::scene::Scene;
use crate::socket::{Address, Message, Socket};
use crate::stream::{at, converse, tcp};

/// `IPV6_RTHDR` of `linux/in6.h`, as an option and as a control message.
const IPV6_RTHDR: i32 = 57;
/// `IP_OPTIONS` and `IP_RETOPTS` of `linux/in.h`: the option and the control message.
const IP_OPTIONS: i32 = 4;
const IP_RETOPTS: i32 = 7;
const LOOSE: u8 = 0x83;
const STRICT: u8 = 0x89;
const UDP: u8 = libc::IPPROTO_UDP as u8;

/// A segment routing header (RFC 8754 section 2) that goes by way of `first`: the kernel puts the socket's destination
/// into the segment that is left free, and sends the packet to the other one.
fn segments(first: Ipv6Addr) -> Vec<u8> {
    [&[0, 4, 4, 1, 1, 0, 0, 0][..], &[0; 16], &first.octets()].concat()
}

/// The routing header of Mobile IPv6 (RFC 6275 section 6.4).
fn mobile(first: Ipv6Addr) -> Vec<u8> {
    [&[0, 2, 2, 1, 0, 0, 0, 0][..], &first.octets()].concat()
}

/// A source route of one stop (RFC 791 section 3.1), behind an option that does nothing.
fn route(kind: u8, first: Ipv4Addr) -> Vec<u8> {
    [&[1, kind, 7, 4][..], &first.octets()].concat()
}

fn udp_with_header(header: &[u8], to: Ipv6Addr) -> io::Result<()> {
    let socket = udp6()?;
    socket.set(libc::IPPROTO_IPV6, IPV6_RTHDR, header)?;
    socket.send_to(PAYLOAD, 0, &at(to))
}

fn tcp_with_header(header: &[u8], to: Ipv6Addr) -> io::Result<()> {
    let socket = tcp(libc::AF_INET6)?;
    socket.set(libc::IPPROTO_IPV6, IPV6_RTHDR, header)?;
    converse(&socket, &at(to))
}

pub fn segments_udp(scene: &Scene) -> io::Result<()> {
    udp_with_header(&segments(scene.target.denied6()), scene.target.allowed6())
}

pub fn segments_tcp(scene: &Scene) -> io::Result<()> {
    tcp_with_header(&segments(scene.target.denied6()), scene.target.allowed6())
}

/// The other way round: by way of the allowed address to the denied one.
pub fn segments_beyond(scene: &Scene) -> io::Result<()> {
    udp_with_header(&segments(scene.target.allowed6()), scene.target.denied6())
}

pub fn mobile_udp(scene: &Scene) -> io::Result<()> {
    udp_with_header(&mobile(scene.target.denied6()), scene.target.allowed6())
}

pub fn mobile_message(scene: &Scene) -> io::Result<()> {
    let header = mobile(scene.target.denied6());
    let control = (libc::IPPROTO_IPV6, IPV6_RTHDR, &header[..]);
    udp6()?.send_message(&Message::new(PAYLOAD, Some(at(scene.target.allowed6())), &[control]), 0)
}

pub fn mobile_tcp(scene: &Scene) -> io::Result<()> {
    tcp_with_header(&mobile(scene.target.denied6()), scene.target.allowed6())
}

fn routed_udp(kind: u8, target: Target) -> io::Result<()> {
    let socket = udp4()?;
    socket.set(libc::IPPROTO_IP, IP_OPTIONS, &route(kind, target.denied4()))?;
    socket.send_to(PAYLOAD, 0, &at(target.allowed4()))
}

pub fn loose_udp(scene: &Scene) -> io::Result<()> {
    routed_udp(LOOSE, scene.target)
}

/// The first stop of a strict route has to be on the link.
pub fn strict_udp(scene: &Scene) -> io::Result<()> {
    ip(&["route", "add", &scene.target.denied4().to_string(), "dev", Target::LINK])?;
    routed_udp(STRICT, scene.target)
}

pub fn loose_message(scene: &Scene) -> io::Result<()> {
    let route = route(LOOSE, scene.target.denied4());
    let control = (libc::IPPROTO_IP, IP_RETOPTS, &route[..]);
    udp4()?.send_message(&Message::new(PAYLOAD, Some(at(scene.target.allowed4())), &[control]), 0)
}

pub fn loose_tcp(scene: &Scene) -> io::Result<()> {
    let socket = tcp(libc::AF_INET)?;
    socket.set(libc::IPPROTO_IP, IP_OPTIONS, &route(LOOSE, scene.target.denied4()))?;
    converse(&socket, &at(scene.target.allowed4()))
}

fn raw(family: i32, protocol: i32) -> io::Result<Socket> {
    Socket::new(family, libc::SOCK_RAW, protocol)
}

pub fn raw_icmp(scene: &Scene) -> io::Result<()> {
    raw(libc::AF_INET, libc::IPPROTO_ICMP)?.send_to(&echo(8), 0, &at(scene.target.denied4()))
}

pub fn raw_icmp_v6(scene: &Scene) -> io::Result<()> {
    let to = Address::inet((scene.target.denied6(), 0).into());
    raw(libc::AF_INET6, libc::IPPROTO_ICMPV6)?.send_to(&echo(128), 0, &to)
}

pub fn raw_connected(scene: &Scene) -> io::Result<()> {
    let socket = raw(libc::AF_INET, libc::IPPROTO_ICMP)?;
    socket.connect(&at(scene.target.denied4()))?;
    socket.send(&echo(8), 0)
}

pub fn raw_udp(scene: &Scene) -> io::Result<()> {
    raw(libc::AF_INET, libc::IPPROTO_UDP)?.send_to(&udp_packet(), 0, &at(scene.target.denied4()))
}

pub fn raw_udp_v6(scene: &Scene) -> io::Result<()> {
    let to = Address::inet((scene.target.denied6(), 0).into());
    raw(libc::AF_INET6, libc::IPPROTO_UDP)?.send_to(&udp_packet(), 0, &to)
}

/// An experimental protocol (RFC 3692), which no port rule knows.
pub fn raw_other(scene: &Scene) -> io::Result<()> {
    raw(libc::AF_INET, 253)?.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

/// The socket's address is the allowed one, that of the header the denied one.
pub fn header_v4(scene: &Scene) -> io::Result<()> {
    let packet = packet4(Target::NEAR4, scene.target.denied4());
    raw(libc::AF_INET, libc::IPPROTO_RAW)?.send_to(&packet, 0, &at(scene.target.allowed4()))
}

pub fn header_v6(scene: &Scene) -> io::Result<()> {
    let packet = packet6(scene.target.denied6(), UDP, &udp_packet());
    let to = Address::inet((scene.target.allowed6(), 0).into());
    raw(libc::AF_INET6, libc::IPPROTO_RAW)?.send_to(&packet, 0, &to)
}

/// Both addresses are the allowed one; where the packet goes from there is in its routing header.
pub fn header_segments(scene: &Scene) -> io::Result<()> {
    let (denied, allowed) = (scene.target.denied6().octets(), scene.target.allowed6().octets());
    let extension = [&[UDP, 4, 4, 1, 1, 0, 0, 0][..], &denied, &allowed, &udp_packet()].concat();
    let packet = packet6(scene.target.allowed6(), 43, &extension);
    let to = Address::inet((scene.target.allowed6(), 0).into());
    raw(libc::AF_INET6, libc::IPPROTO_RAW)?.send_to(&packet, 0, &to)
}

/// The address of everybody on a link.
const EVERYBODY: [u8; 6] = [0xff; 6];

/// A frame whose header is the kernel's; the rest is ours.
pub fn frame(scene: &Scene) -> io::Result<()> {
    send_frame(Target::LINK, EVERYBODY, Target::NEAR4, scene.target.denied4())
}

pub fn send_frame(link: &str, neighbour: [u8; 6], from: Ipv4Addr, to: Ipv4Addr) -> io::Result<()> {
    let socket = Socket::new(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    socket.send_to(&packet4(from, to), 0, &neighbour_on(link, libc::ETH_P_IP, neighbour)?)
}

pub fn frame_v6(scene: &Scene) -> io::Result<()> {
    let socket = Socket::new(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    let packet = packet6(scene.target.denied6(), UDP, &udp_packet());
    socket.send_to(&packet, 0, &neighbour_on(Target::LINK, libc::ETH_P_IPV6, EVERYBODY)?)
}

pub fn raw_frame(scene: &Scene) -> io::Result<()> {
    let socket = Socket::new(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    socket.send_to(
        &ethernet(scene.target.denied4()),
        0,
        &neighbour_on(Target::LINK, libc::ETH_P_IP, EVERYBODY)?,
    )
}

/// What refuses such sockets where they are made is too late for this one.
pub fn frame_before(scene: &Scene) -> io::Result<()> {
    let socket = Socket::new(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    scene.policy_comes()?;
    socket.send_to(
        &packet4(Target::NEAR4, scene.target.denied4()),
        0,
        &neighbour_on(Target::LINK, libc::ETH_P_IP, EVERYBODY)?,
    )
}

/// The number of a link.
pub fn interface(name: &str) -> io::Result<u32> {
    let name = CString::new(name)?;
    // SAFETY: the pointer is to a C string that lives until the call returns.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// A `sockaddr_ll`: protocol, link, two fields that only matter to a receiver, and a neighbour's address.
fn neighbour_on(link: &str, protocol: i32, neighbour: [u8; 6]) -> io::Result<Address> {
    let protocol = (protocol as u16).to_be_bytes();
    let index = interface(link)?.to_ne_bytes();
    Ok(Address::new(libc::AF_PACKET, &[&protocol[..], &index, &[0, 0, 0, 6], &neighbour, &[0; 2]].concat()))
}

/// A frame with the packet that [`packet4`] makes.
pub fn ethernet(to: Ipv4Addr) -> Vec<u8> {
    [&[0xff; 6][..], &[2, 0, 0, 0, 0, 1, 8, 0], &packet4(Target::NEAR4, to)].concat()
}

/// A datagram over IPv4.
pub fn packet4(from: Ipv4Addr, to: Ipv4Addr) -> Vec<u8> {
    let datagram = udp_packet();
    let length = (20 + datagram.len() as u16).to_be_bytes();
    let header = |sum: [u8; 2]| {
        let [high, low] = length;
        let fixed = [0x45, 0, high, low, 0, 1, 0, 0, 64, UDP];
        [&fixed[..], &sum, &from.octets(), &to.octets()].concat()
    };
    let sum = checksum(&header([0; 2])).to_be_bytes();
    [header(sum), datagram].concat()
}

/// A packet over IPv6.
fn packet6(to: Ipv6Addr, next: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    let fixed = [0x60, 0, 0, 0, high, low, next, 64];
    [&fixed[..], &Target::NEAR6.octets(), &to.octets(), payload].concat()
}

/// The header of UDP, without a checksum, and the payload.
fn udp_packet() -> Vec<u8> {
    let length = (8 + PAYLOAD.len() as u16).to_be_bytes();
    [&4000_u16.to_be_bytes()[..], &Target::PORT.to_be_bytes(), &length, &[0; 2], PAYLOAD].concat()
}

/// An echo request: type 8 in ICMP, 128 in ICMPv6, where the kernel computes the checksum.
pub fn echo(kind: u8) -> Vec<u8> {
    let request = |[high, low]: [u8; 2]| [&[kind, 0, high, low, 0, 1, 0, 1][..], PAYLOAD].concat();
    request(checksum(&request([0; 2])).to_be_bytes())
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
