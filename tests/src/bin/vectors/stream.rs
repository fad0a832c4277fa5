//! Connections: TCP and MPTCP.

use std::io;
use std::net::IpAddr;

use enforcer_tests::{PAYLOAD, Target};

use crate::scene::{PATIENCE, Scene};
use crate::socket::{Address, Message, Socket};

/// `IPPROTO_MPTCP`, Linux 5.6.
const MPTCP: i32 = 262;

pub fn tcp(family: i32) -> io::Result<Socket> {
    let socket = Socket::new(family, libc::SOCK_STREAM, 0)?;
    socket.set_patience(PATIENCE)?;
    Ok(socket)
}

fn tcp4() -> io::Result<Socket> {
    tcp(libc::AF_INET)
}

fn tcp6() -> io::Result<Socket> {
    tcp(libc::AF_INET6)
}

pub fn at(address: impl Into<IpAddr>) -> Address {
    Address::inet(Target::at(address))
}

/// Connects and says the payload: where the connection is refused, nothing is said.
pub fn converse(socket: &Socket, address: &Address) -> io::Result<()> {
    socket.connect(address)?;
    socket.send(PAYLOAD, 0)
}

pub fn connect_v4(scene: &Scene) -> io::Result<()> {
    converse(&tcp4()?, &at(scene.target.denied4()))
}

pub fn connect_v6(scene: &Scene) -> io::Result<()> {
    converse(&tcp6()?, &at(scene.target.denied6()))
}

pub fn connect_mapped(scene: &Scene) -> io::Result<()> {
    converse(&tcp6()?, &at(scene.target.denied4().to_ipv6_mapped()))
}

/// The kernel reads as much as the family needs of the 128 bytes that an address may have.
pub fn connect_padded(scene: &Scene) -> io::Result<()> {
    converse(&tcp4()?, &at(scene.target.denied4()).padded(128))
}

/// A `sockaddr_in6` without its last field, the zone, as RFC 2133 had it.
pub fn connect_short(scene: &Scene) -> io::Result<()> {
    converse(&tcp6()?, &at(scene.target.denied6()).padded(24))
}

/// The address of an interface's link is only meant where the address is of a link.
pub fn connect_zone(scene: &Scene) -> io::Result<()> {
    let mut bytes = at(scene.target.denied6()).as_bytes().get(2..24).unwrap_or_default().to_vec();
    bytes.extend(1_u32.to_ne_bytes());
    converse(&tcp6()?, &Address::new(libc::AF_INET6, &bytes))
}

pub fn connect_nonblocking(scene: &Scene) -> io::Result<()> {
    let socket = Socket::new(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    match socket.connect(&at(scene.target.denied4())) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => scene.linger(),
        outcome => outcome,
    }
}

/// A socket that has been somewhere else before.
pub fn connect_again(scene: &Scene) -> io::Result<()> {
    let socket = tcp4()?;
    socket.connect(&at(scene.target.allowed4()))?;
    socket.connect(&Address::none())?;
    converse(&socket, &at(scene.target.denied4()))
}

pub fn connect_nat64(scene: &Scene) -> io::Result<()> {
    converse(&tcp6()?, &at(scene.target.nat64()))
}

pub fn connect_six_to_four(scene: &Scene) -> io::Result<()> {
    converse(&tcp6()?, &at(scene.target.six_to_four()))
}

pub fn connect_teredo(scene: &Scene) -> io::Result<()> {
    converse(&tcp6()?, &at(scene.target.teredo()))
}

pub fn connect_compatible(scene: &Scene) -> io::Result<()> {
    converse(&tcp6()?, &at(scene.target.compatible()))
}

pub fn fastopen_v4(scene: &Scene) -> io::Result<()> {
    tcp4()?.send_to(PAYLOAD, libc::MSG_FASTOPEN, &at(scene.target.denied4()))
}

pub fn fastopen_v6(scene: &Scene) -> io::Result<()> {
    tcp6()?.send_to(PAYLOAD, libc::MSG_FASTOPEN, &at(scene.target.denied6()))
}

pub fn fastopen_mapped(scene: &Scene) -> io::Result<()> {
    tcp6()?.send_to(PAYLOAD, libc::MSG_FASTOPEN, &at(scene.target.denied4().to_ipv6_mapped()))
}

pub fn fastopen_message(scene: &Scene) -> io::Result<()> {
    let message = Message::new(PAYLOAD, Some(at(scene.target.denied4())), &[]);
    tcp4()?.send_message(&message, libc::MSG_FASTOPEN)
}

pub fn fastopen_messages(scene: &Scene) -> io::Result<()> {
    let message = Message::new(PAYLOAD, Some(at(scene.target.denied4())), &[]);
    tcp4()?.send_messages(&[message], libc::MSG_FASTOPEN)
}

pub fn fastopen_connect(scene: &Scene) -> io::Result<()> {
    let socket = tcp4()?;
    socket.set_number(libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, 1)?;
    converse(&socket, &at(scene.target.denied4()))
}

/// A connection that is declared to be established (`CAP_NET_ADMIN`): nothing is sent to open it.
pub fn repaired(scene: &Scene) -> io::Result<()> {
    let socket = tcp4()?;
    socket.set_number(libc::IPPROTO_TCP, libc::TCP_REPAIR, 1)?;
    socket.connect(&at(scene.target.denied4()))?;
    socket.set_number(libc::IPPROTO_TCP, libc::TCP_REPAIR, 0)?;
    socket.send(PAYLOAD, 0)?;
    scene.linger()
}

fn mptcp(family: i32) -> io::Result<Socket> {
    let socket = Socket::new(family, libc::SOCK_STREAM, MPTCP)?;
    socket.set_patience(PATIENCE)?;
    Ok(socket)
}

pub fn mptcp_v4(scene: &Scene) -> io::Result<()> {
    converse(&mptcp(libc::AF_INET)?, &at(scene.target.denied4()))
}

pub fn mptcp_v6(scene: &Scene) -> io::Result<()> {
    converse(&mptcp(libc::AF_INET6)?, &at(scene.target.denied6()))
}

pub fn mptcp_mapped(scene: &Scene) -> io::Result<()> {
    converse(&mptcp(libc::AF_INET6)?, &at(scene.target.denied4().to_ipv6_mapped()))
}

/// Linux 6.2.
pub fn mptcp_fastopen(scene: &Scene) -> io::Result<()> {
    mptcp(libc::AF_INET)?.send_to(PAYLOAD, libc::MSG_FASTOPEN, &at(scene.target.denied4()))
}

/// The far side announces the denied address as another one of its own, and the kernel connects there by itself.
pub fn mptcp_announced(scene: &Scene) -> io::Result<()> {
    let socket = mptcp(libc::AF_INET)?;
    converse(&socket, &at(scene.target.allowed4()))?;
    scene.linger()
}
