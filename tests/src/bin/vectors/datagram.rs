//! Datagrams: UDP and UDP-Lite.

use std::fs::File;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd as _;
use std::ptr;

use enforcer_tests::{PAYLOAD, Target};

use crate::namespace::ip;
use crate::scene::{PATIENCE, Scene};
use crate::socket::{Address, Message, Socket};
use crate::stream::at;

/// `UDP_CORK` of `linux/udp.h`.
const UDP_CORK: i32 = 1;
/// A port that everybody may bind.
pub const UNPRIVILEGED: u16 = 4443;
/// `linux/in6.h`, Linux 4.15.
pub const IPV6_FREEBIND: i32 = 78;

pub fn udp(family: i32) -> io::Result<Socket> {
    Socket::new(family, libc::SOCK_DGRAM, 0)
}

pub fn udp4() -> io::Result<Socket> {
    udp(libc::AF_INET)
}

pub fn udp6() -> io::Result<Socket> {
    udp(libc::AF_INET6)
}

fn udplite(family: i32) -> io::Result<Socket> {
    Socket::new(family, libc::SOCK_DGRAM, libc::IPPROTO_UDPLITE)
}

fn connected(socket: &Socket, address: &Address) -> io::Result<()> {
    socket.connect(address)?;
    socket.send(PAYLOAD, 0)
}

pub fn connect_send(scene: &Scene) -> io::Result<()> {
    connected(&udp4()?, &at(scene.target.denied4()))
}

pub fn connect_send_v6(scene: &Scene) -> io::Result<()> {
    connected(&udp6()?, &at(scene.target.denied6()))
}

/// `ip6_datagram_connect` takes the address of the other family as it is.
pub fn connect_v4_of_v6(scene: &Scene) -> io::Result<()> {
    connected(&udp6()?, &at(scene.target.denied4()))
}

pub fn sendto_v4(scene: &Scene) -> io::Result<()> {
    udp4()?.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

pub fn sendto_v6(scene: &Scene) -> io::Result<()> {
    udp6()?.send_to(PAYLOAD, 0, &at(scene.target.denied6()))
}

pub fn sendto_mapped(scene: &Scene) -> io::Result<()> {
    udp6()?.send_to(PAYLOAD, 0, &at(scene.target.denied4().to_ipv6_mapped()))
}

/// `udpv6_sendmsg` hands an address of IPv4 on to `udp_sendmsg`.
pub fn sendto_v4_of_v6(scene: &Scene) -> io::Result<()> {
    udp6()?.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

/// `udp_sendmsg` takes an address without a family for one of IPv4.
pub fn sendto_unspecified(scene: &Scene) -> io::Result<()> {
    udp4()?.send_to(PAYLOAD, 0, &at(scene.target.denied4()).called(libc::AF_UNSPEC))
}

pub fn sendto_padded(scene: &Scene) -> io::Result<()> {
    udp4()?.send_to(PAYLOAD, 0, &at(scene.target.denied4()).padded(128))
}

pub fn sendto_nat64(scene: &Scene) -> io::Result<()> {
    udp6()?.send_to(PAYLOAD, 0, &at(scene.target.nat64()))
}

pub fn sendto_six_to_four(scene: &Scene) -> io::Result<()> {
    udp6()?.send_to(PAYLOAD, 0, &at(scene.target.six_to_four()))
}

pub fn sendmsg(scene: &Scene) -> io::Result<()> {
    udp4()?.send_message(&Message::new(PAYLOAD, Some(at(scene.target.denied4())), &[]), 0)
}

/// Only the second message of the two is for the denied address.
pub fn sendmmsg_second(scene: &Scene) -> io::Result<()> {
    let to = |address| Message::new(PAYLOAD, Some(address), &[]);
    udp4()?.send_messages(&[to(at(scene.target.allowed4())), to(at(scene.target.denied4()))], 0)
}

/// A datagram's own address goes before the connected one.
pub fn connected_elsewhere(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.connect(&at(scene.target.allowed4()))?;
    socket.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

/// A connected socket may be connected again.
pub fn connect_again(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.connect(&at(scene.target.allowed4()))?;
    socket.send(PAYLOAD, 0)?;
    connected(&socket, &at(scene.target.denied4()))
}

pub fn disconnect_sendto(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.connect(&at(scene.target.allowed4()))?;
    socket.connect(&Address::none())?;
    socket.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

/// One buffer that the kernel cuts into datagrams.
pub fn segmented(scene: &Scene) -> io::Result<()> {
    let size = (PAYLOAD.len() as u16).to_ne_bytes();
    let payload: &'static [u8] = [PAYLOAD, PAYLOAD].concat().leak();
    let control = (libc::SOL_UDP, libc::UDP_SEGMENT, &size[..]);
    udp4()?.send_message(&Message::new(payload, Some(at(scene.target.denied4())), &[control]), 0)
}

pub fn sendfile(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.connect(&at(scene.target.denied4()))?;
    let mut file = tempfile::tempfile()?;
    file.write_all(PAYLOAD)?;
    let mut offset = 0;
    // SAFETY: both descriptors are open, and the pointer is to a number that lives here.
    let sent =
        unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut offset, PAYLOAD.len()) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

pub fn splice(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.connect(&at(scene.target.denied4()))?;
    let (reader, mut writer) = io::pipe()?;
    writer.write_all(PAYLOAD)?;
    // SAFETY: both descriptors are open; neither end has an offset, which is what the null pointers say.
    let sent = unsafe {
        libc::splice(
            reader.as_raw_fd(),
            ptr::null_mut(),
            socket.as_raw_fd(),
            ptr::null_mut(),
            PAYLOAD.len(),
            0,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `write` has no address and no flags, and neither has what libraries do with a file.
pub fn write(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.connect(&at(scene.target.denied4()))?;
    File::from(socket.into_inner()).write_all(PAYLOAD)
}

/// What was held back when the policy came leaves by a call that sends nothing.
pub fn corked_before(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.set_number(libc::IPPROTO_UDP, UDP_CORK, 1)?;
    socket.send_to(PAYLOAD, 0, &at(scene.target.denied4()))?;
    scene.policy_comes()?;
    socket.set_number(libc::IPPROTO_UDP, UDP_CORK, 0)
}

/// Held back for the allowed address, let go when the socket is connected to the denied one: `ip4_datagram_connect` writes
/// over where the data are for.
pub fn corked_connect(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.send_to(PAYLOAD, libc::MSG_MORE, &at(scene.target.allowed4()))?;
    socket.connect(&at(scene.target.denied4()))?;
    socket.send(&[], 0)
}

/// Held back while the socket is connected to the denied address, let go when it is connected to the allowed one: over
/// IPv6, the kernel has remembered where the data are for.
pub fn corked_reconnect(scene: &Scene) -> io::Result<()> {
    let socket = udp6()?;
    socket.connect(&at(scene.target.denied6()))?;
    socket.send(PAYLOAD, libc::MSG_MORE)?;
    socket.connect(&at(scene.target.allowed6()))?;
    socket.send(&[], 0)
}

/// Who sends a datagram may say that it comes from anywhere, over IPv6 (`IPV6_FREEBIND`): this one seems to come from the
/// denied address, and is answered.
pub fn spoofed(scene: &Scene) -> io::Result<()> {
    let socket = udp6()?;
    socket.bind(&Address::inet((Ipv6Addr::UNSPECIFIED, 0).into()))?;
    socket.set_patience(PATIENCE)?;
    let peer = udp6()?;
    peer.set_number(libc::IPPROTO_IPV6, IPV6_FREEBIND, 1)?;
    let denied = Address::inet((scene.target.denied6(), UNPRIVILEGED).into());
    peer.bind(&denied)?;
    peer.send_to(b"hello", 0, &Address::inet((Ipv6Addr::LOCALHOST, socket.port()?).into()))?;
    socket.receive(&mut [0; 64])?;
    drop(peer);
    socket.send_to(PAYLOAD, 0, &denied)
}

/// The same where an address is had for the asking, in a namespace of one's own.
pub fn spoofed_inside(target: Target) -> io::Result<()> {
    let (denied, socket) = (target.denied4(), udp4()?);
    socket.bind(&Address::inet((Ipv4Addr::UNSPECIFIED, 0).into()))?;
    socket.set_patience(PATIENCE)?;
    ip(&["address", "add", &denied.to_string(), "dev", "lo"])?;
    ip(&["link", "set", "lo", "up"])?;
    let peer = udp4()?;
    peer.bind(&at(denied))?;
    peer.send_to(b"hello", 0, &Address::inet((Ipv4Addr::LOCALHOST, socket.port()?).into()))?;
    socket.receive(&mut [0; 64])?;
    drop(peer);
    ip(&["address", "delete", &denied.to_string(), "dev", "lo"])?;
    socket.send_to(PAYLOAD, 0, &at(denied))
}

/// From the port of a DHCP client to that of a server.
pub fn as_dhcp(target: Target) -> io::Result<()> {
    let socket = udp4()?;
    socket.bind(&Address::inet((Ipv4Addr::UNSPECIFIED, 68).into()))?;
    socket.send_to(PAYLOAD, 0, &Address::inet((target.denied4(), 67).into()))
}

pub fn connected_before(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.connect(&at(scene.target.denied4()))?;
    scene.policy_comes()?;
    socket.send(PAYLOAD, 0)
}

pub fn udplite_connect_send(scene: &Scene) -> io::Result<()> {
    connected(&udplite(libc::AF_INET)?, &at(scene.target.denied4()))
}

pub fn udplite_sendto(scene: &Scene) -> io::Result<()> {
    udplite(libc::AF_INET)?.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

pub fn udplite_v6(scene: &Scene) -> io::Result<()> {
    connected(&udplite(libc::AF_INET6)?, &at(scene.target.denied6()))
}

/// Where it has sent is seen by another hook than where it connects to.
pub fn udplite_sendto_connect(scene: &Scene) -> io::Result<()> {
    let socket = udplite(libc::AF_INET)?;
    socket.send_to(PAYLOAD, 0, &at(scene.target.allowed4()))?;
    connected(&socket, &at(scene.target.denied4()))
}
