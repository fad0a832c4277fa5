//! The other protocols: ICMP by "ping" sockets, L2TP, SCTP, DCCP, SMC, RDS.

use std::io;
use std::net::Ipv6Addr;

use enforcer_tests::{PAYLOAD, Target};

use crate::datagram::IPV6_FREEBIND;
use crate::scene::{PATIENCE, Scene};
use crate::socket::{Address, Message, Socket};
use crate::stream::{at, converse};
use crate::wire::echo;

/// Constants of `linux/sctp.h`, which the C library does not have.
const SCTP_RTOINFO: i32 = 0;
const SCTP_PEER_ADDR_PARAMS: i32 = 9;
const SCTP_SOCKOPT_CONNECTX_OLD: i32 = 107;
const SCTP_SOCKOPT_CONNECTX: i32 = 110;
const SCTP_SNDINFO: i32 = 2;
const SCTP_DSTADDRV4: i32 = 7;
const IPPROTO_L2TP: i32 = 115;
const AF_SMC: i32 = 43;

fn ping(family: i32, protocol: i32) -> io::Result<Socket> {
    Socket::new(family, libc::SOCK_DGRAM, protocol)
}

pub fn ping_v4(scene: &Scene) -> io::Result<()> {
    ping(libc::AF_INET, libc::IPPROTO_ICMP)?.send_to(&echo(8), 0, &at(scene.target.denied4()))
}

pub fn ping_connected(scene: &Scene) -> io::Result<()> {
    let socket = ping(libc::AF_INET, libc::IPPROTO_ICMP)?;
    socket.connect(&at(scene.target.denied4()))?;
    socket.send(&echo(8), 0)
}

pub fn ping_v6(scene: &Scene) -> io::Result<()> {
    ping(libc::AF_INET6, libc::IPPROTO_ICMPV6)?.send_to(&echo(128), 0, &at(scene.target.denied6()))
}

/// Asks this machine as if from the denied address (`IPV6_FREEBIND`): the kernel answers there, with what it was sent.
pub fn ping_spoofed(scene: &Scene) -> io::Result<()> {
    let socket = ping(libc::AF_INET6, libc::IPPROTO_ICMPV6)?;
    socket.set_number(libc::IPPROTO_IPV6, IPV6_FREEBIND, 1)?;
    socket.bind(&at(scene.target.denied6()))?;
    socket.send_to(&echo(128), 0, &at(Ipv6Addr::LOCALHOST))
}

/// `struct sockaddr_l2tpip`: the connection's number stands behind the address.
pub fn l2tp_v4(scene: &Scene) -> io::Result<()> {
    let bytes = [&[0; 2][..], &scene.target.denied4().octets(), &1_u32.to_ne_bytes(), &[0; 4]].concat();
    let socket = Socket::new(libc::AF_INET, libc::SOCK_DGRAM, IPPROTO_L2TP)?;
    socket.send_to(PAYLOAD, 0, &Address::new(libc::AF_INET, &bytes))
}

pub fn l2tp_v6(scene: &Scene) -> io::Result<()> {
    let bytes = [&[0; 6][..], &scene.target.denied6().octets(), &[0; 4], &1_u32.to_ne_bytes()].concat();
    let socket = Socket::new(libc::AF_INET6, libc::SOCK_DGRAM, IPPROTO_L2TP)?;
    socket.send_to(PAYLOAD, 0, &Address::new(libc::AF_INET6, &bytes))
}

fn sctp(family: i32, kind: i32) -> io::Result<Socket> {
    let socket = Socket::new(family, kind, libc::IPPROTO_SCTP)?;
    // struct sctp_rtoinfo: association, then milliseconds: the first time-out, the longest, the shortest.
    let times = [0_u32, 200, 500, 100].map(u32::to_ne_bytes).concat();
    socket.set(libc::IPPROTO_SCTP, SCTP_RTOINFO, &times)?;
    socket.set_patience(PATIENCE)?;
    Ok(socket)
}

pub fn sctp_connect(scene: &Scene) -> io::Result<()> {
    converse(&sctp(libc::AF_INET, libc::SOCK_STREAM)?, &at(scene.target.denied4()))
}

pub fn sctp_connect_v6(scene: &Scene) -> io::Result<()> {
    converse(&sctp(libc::AF_INET6, libc::SOCK_STREAM)?, &at(scene.target.denied6()))
}

pub fn sctp_connect_mapped(scene: &Scene) -> io::Result<()> {
    converse(&sctp(libc::AF_INET6, libc::SOCK_STREAM)?, &at(scene.target.denied4().to_ipv6_mapped()))
}

/// The addresses are an option's value.
pub fn sctp_connectx(scene: &Scene) -> io::Result<()> {
    let socket = sctp(libc::AF_INET, libc::SOCK_SEQPACKET)?;
    let addresses = at(scene.target.denied4());
    socket.set(libc::IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, addresses.as_bytes())?;
    scene.linger()
}

pub fn sctp_connectx_old(scene: &Scene) -> io::Result<()> {
    let socket = sctp(libc::AF_INET, libc::SOCK_SEQPACKET)?;
    let addresses = at(scene.target.denied4());
    socket.set(libc::IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX_OLD, addresses.as_bytes())?;
    scene.linger()
}

/// Only the second address is the denied one: what the first does not answer is sent to it.
pub fn sctp_connectx_second(scene: &Scene) -> io::Result<()> {
    let socket = sctp(libc::AF_INET, libc::SOCK_SEQPACKET)?;
    let (first, second) = (at(Target::SILENT4), at(scene.target.denied4()));
    let addresses = [first.as_bytes(), second.as_bytes()].concat();
    socket.set(libc::IPPROTO_SCTP, SCTP_SOCKOPT_CONNECTX, &addresses)?;
    scene.linger()
}

pub fn sctp_sendto(scene: &Scene) -> io::Result<()> {
    let socket = sctp(libc::AF_INET, libc::SOCK_SEQPACKET)?;
    socket.send_to(PAYLOAD, 0, &at(scene.target.denied4()))?;
    scene.linger()
}

pub fn sctp_sendmsg(scene: &Scene) -> io::Result<()> {
    let socket = sctp(libc::AF_INET, libc::SOCK_SEQPACKET)?;
    // struct sctp_sndinfo: stream, flags, protocol, context, association.
    let control = (libc::IPPROTO_SCTP, SCTP_SNDINFO, &[0; 16][..]);
    socket.send_message(&Message::new(PAYLOAD, Some(at(scene.target.denied4())), &[control]), 0)?;
    scene.linger()
}

/// RFC 6458 section 5.3.9: further addresses of the peer as control messages. What the first does not answer is sent
/// there.
pub fn sctp_sendv(scene: &Scene) -> io::Result<()> {
    let socket = sctp(libc::AF_INET, libc::SOCK_SEQPACKET)?;
    let denied = scene.target.denied4().octets();
    let control = (libc::IPPROTO_SCTP, SCTP_DSTADDRV4, &denied[..]);
    socket.send_message(&Message::new(PAYLOAD, Some(at(Target::SILENT4)), &[control]), 0)?;
    scene.linger()
}

/// The far side says that the denied address is another one of its own; the kernel tries whether it can be reached.
pub fn sctp_announced(scene: &Scene) -> io::Result<()> {
    let socket = sctp(libc::AF_INET, libc::SOCK_STREAM)?;
    heartbeats(&socket)?;
    let (address, port) = (scene.target.allowed4(), crate::far::MULTIHOMED);
    converse(&socket, &Address::inet((address, port).into()))?;
    scene.linger()
}

/// `struct sctp_paddrparams`, packed: association, address, milliseconds between heartbeats, tries, path MTU, delay of
/// acknowledgements, flags, flow label, DSCP.
fn heartbeats(socket: &Socket) -> io::Result<()> {
    const SPP_HB_ENABLE: u32 = 1;
    let every = 100_u32.to_ne_bytes();
    let value = [
        &[0; 4][..],
        &[0; 128],
        &every,
        &[0; 2],
        &[0; 4],
        &[0; 4],
        &SPP_HB_ENABLE.to_ne_bytes(),
        &[0; 4],
        &[0; 2],
    ];
    socket.set(libc::IPPROTO_SCTP, SCTP_PEER_ADDR_PARAMS, &value.concat())
}

pub fn dccp(scene: &Scene) -> io::Result<()> {
    Socket::new(libc::AF_INET, libc::SOCK_DCCP, libc::IPPROTO_DCCP)?.connect(&at(scene.target.denied4()))
}

pub fn dccp_v6(scene: &Scene) -> io::Result<()> {
    Socket::new(libc::AF_INET6, libc::SOCK_DCCP, libc::IPPROTO_DCCP)?.connect(&at(scene.target.denied6()))
}

/// A socket of another family that connects by TCP.
pub fn smc(scene: &Scene) -> io::Result<()> {
    converse(&Socket::new(AF_SMC, libc::SOCK_STREAM, 0)?, &at(scene.target.denied4()))
}

/// The kernel connects, by TCP, for all sockets that send there.
pub fn rds(scene: &Scene) -> io::Result<()> {
    let socket = Socket::new(libc::AF_RDS, libc::SOCK_SEQPACKET, 0)?;
    socket.bind(&Address::inet((Target::NEAR4, 4000).into()))?;
    socket.send_to(PAYLOAD, 0, &at(scene.target.denied4()))?;
    scene.linger()
}
