use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::Duration;

use crate::resolver::query_of;

/// Room for the answer of a resolver that makes up neither aliases nor further records.
const LONGEST: usize = 1024;

/// The strictest of clients: asks for the IPv4 address of a name by a socket of its own, and connects to it by the next
/// system call. Between the two there is neither a library nor an allocation. Returns the address and what became of
/// the connection.
///
/// # Errors
///
/// When no answer comes within `timeout`: `WouldBlock`. When it has no address, or there is no socket.
pub fn race(
    resolver: SocketAddr,
    name: &str,
    port: u16,
    timeout: Duration,
) -> io::Result<(SocketAddr, io::Result<()>)> {
    let query = query_of(name, Ipv4Addr::UNSPECIFIED.into()).ok_or(io::ErrorKind::InvalidInput)?;
    let stream = stream_socket()?;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(timeout))?;
    socket.connect(resolver)?;
    socket.send(&query)?;
    let mut buffer = [0; LONGEST];
    let length = socket.recv(&mut buffer)?;
    // A message whose only record is an address ends with it.
    let end = buffer.get(query.len()..length).and_then(<[u8]>::last_chunk::<4>);
    let address = Ipv4Addr::from(*end.ok_or(io::ErrorKind::InvalidData)?);
    let outcome = connect(&stream, address, port);
    Ok(((IpAddr::from(address), port).into(), outcome))
}

/// One that is there before the answer is: `std` would make it afterwards.
fn stream_socket() -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only.
    let descriptor = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn connect(stream: &OwnedFd, address: Ipv4Addr, port: u16) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(address).to_be() },
        sin_zero: [0; 8],
    };
    let length = size_of_val(&address) as libc::socklen_t;
    // SAFETY: the pointer is to an address of `length` bytes, and `stream` keeps the descriptor open.
    let failed = unsafe { libc::connect(stream.as_raw_fd(), (&raw const address).cast(), length) };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
