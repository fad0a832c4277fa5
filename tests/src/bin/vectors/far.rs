//! The far side of the link: takes connections, and opens some when it is told to.

use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream, UdpSocket};
use std::slice;
use std::thread;

use enforcer_tests::Target;

use crate::datagram::{udp4, udp6};
use crate::scene::say;
use crate::socket::{Address, Socket};
use crate::stream::{at, tcp};
use crate::table;

/// Where a peer of several addresses listens, by SCTP.
pub const MULTIHOMED: u16 = 444;
/// Where it is told what to open, by datagrams.
const INVITATIONS: u16 = 7000;
const SCTP_SOCKOPT_BINDX_ADD: i32 = 100;
const MPTCP: i32 = 262;

/// Has the far side open a connection, or send a datagram, from the target's denied address to this port.
pub fn invite(target: Target, protocol: &str, port: u16) -> io::Result<()> {
    let invitation = format!("{protocol} {} {port}", target.denied4());
    let to = Address::inet((target.allowed4(), INVITATIONS).into());
    udp4()?.send_to(invitation.as_bytes(), 0, &to)
}

/// Serves until its input ends. By SCTP it listens at the denied addresses only of those who speak it: a socket that is
/// bound to no address would announce to each what the others want to reach.
pub fn serve() -> io::Result<()> {
    let any = Address::inet((Ipv6Addr::UNSPECIFIED, Target::PORT).into());
    listen(MPTCP, slice::from_ref(&any))?;
    for target in table::targets("sctp-") {
        for denied in [at(target.denied4()), at(target.denied6())] {
            listen(libc::IPPROTO_SCTP, &[denied]).or_else(unless_unknown)?;
        }
    }
    for target in table::targets("sctp-announced") {
        let both = [target.allowed4(), target.denied4()];
        let both = both.map(|address| Address::inet((address, MULTIHOMED).into()));
        listen(libc::IPPROTO_SCTP, &both).or_else(unless_unknown)?;
    }
    // Nobody is told that a datagram was not wanted: the next one would be refused for it.
    let sink = udp6()?;
    sink.set_number(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    sink.bind(&any)?;
    thread::spawn(move || drain(&sink));
    let invitations = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, INVITATIONS))?;
    thread::spawn(move || take_invitations(&invitations));
    say("ready")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// Not every kernel has every protocol.
fn unless_unknown(error: io::Error) -> io::Result<()> {
    match error.raw_os_error() {
        Some(libc::EPROTONOSUPPORT | libc::ESOCKTNOSUPPORT) => Ok(()),
        _ => Err(error),
    }
}

fn listen(protocol: i32, addresses: &[Address]) -> io::Result<()> {
    let [first, others @ ..] = addresses else { return Ok(()) };
    let listener = Socket::new(first.family(), libc::SOCK_STREAM, protocol)?;
    listener.set_number(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
    listener.bind(first)?;
    for address in others {
        listener.set(libc::IPPROTO_SCTP, SCTP_SOCKOPT_BINDX_ADD, address.as_bytes())?;
    }
    listener.listen()?;
    thread::spawn(move || {
        while let Ok(socket) = listener.accept() {
            thread::spawn(move || drain(&socket));
        }
    });
    Ok(())
}

/// Takes what comes until the other side has no more.
fn drain(socket: &Socket) {
    let mut buffer = [0; 4096];
    while socket.receive(&mut buffer).is_ok_and(|length| length > 0) {}
}

fn take_invitations(invitations: &UdpSocket) {
    let mut buffer = [0; 64];
    while let Ok((length, from)) = invitations.recv_from(&mut buffer) {
        let invitation = String::from_utf8_lossy(buffer.get(..length).unwrap_or_default()).into_owned();
        thread::spawn(move || {
            if let Err(error) = accept(&invitation, from.ip()) {
                // Where the policy is in force, that is how it should be.
                eprintln!("vectors: {invitation}: {error}");
            }
        });
    }
}

fn accept(invitation: &str, guest: IpAddr) -> io::Result<()> {
    let words: Vec<&str> = invitation.split(' ').collect();
    let [protocol, own, port] = *words else { return Err(io::ErrorKind::InvalidData.into()) };
    let own: IpAddr = own.parse().map_err(io::Error::other)?;
    let to = Address::inet((guest, port.parse().map_err(io::Error::other)?).into());
    if protocol == "udp" {
        let socket = udp4()?;
        socket.set_number(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        socket.bind(&at(own))?;
        return socket.send_to(b"hello", 0, &to);
    }
    let socket = tcp(libc::AF_INET)?;
    socket.bind(&Address::inet((own, 0).into()))?;
    socket.connect(&to)?;
    TcpStream::from(socket.into_inner()).read_to_end(&mut Vec::new())?;
    Ok(())
}
