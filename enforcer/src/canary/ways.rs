//! The ways of the canaries: one to each program that judges, where no other refuses it before.

use enforcer_common::control::{CANARY_AT_LOOKUPS, CANARY_AT_WIRE};
use rustix::net::{AddressFamily, Protocol, SendFlags, SocketType, ipproto, sendto, socket};
use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, TcpStream, UdpSocket},
    num::NonZeroU32,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
    str::FromStr,
    time::Duration,
};

/// `MSG_FASTOPEN` (`include/linux/socket.h`): connects with the first data, and without a call of `connect`.
const FAST_OPEN: SendFlags = SendFlags::from_bits_retain(0x2000_0000);
/// `SCTP_SOCKOPT_CONNECTX` (`include/uapi/linux/sctp.h`).
const CONNECTX: libc::c_int = 110;

/// What became of a canary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Flight {
    /// With `EPERM`.
    Refused,
    /// Not refused: the hook does not fire.
    Passed,
    /// This machine has no IPv6 or no SCTP: nobody can pass here.
    Absent,
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Passed => "passed",
            Self::Absent => "absent",
        })
    }
}

impl FromStr for Flight {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let all = [Self::Refused, Self::Passed, Self::Absent];
        all.into_iter().find(|flight| flight.to_string() == text).ok_or(())
    }
}

/// Goes to where this program refuses a canary.
pub(super) fn fly(program: &str, to: SocketAddrV4) -> Flight {
    let (attempted, may_lack) = match program {
        "socket_connect" | "connect4" => (connect(to.into()), false),
        "connect6" => (connect((to.ip().to_ipv6_mapped(), to.port()).into()), true),
        "sendmsg4" => (send(Ipv4Addr::UNSPECIFIED.into(), to.into()), false),
        "sendmsg6" => (send(Ipv6Addr::UNSPECIFIED.into(), (group(*to.ip()), to.port()).into()), true),
        "wire_egress" => (send_connected(to, CANARY_AT_WIRE), false),
        "refuse_lookup" => (send_connected(to, CANARY_AT_LOOKUPS), false),
        "socket_sendmsg" => (fast_open(to), false),
        "socket_create" => (create(to), false),
        "sctp_bind_connect" => (associate(to), true),
        _ => (Ok(()), false),
    };
    match attempted.map_err(|error| error.raw_os_error()) {
        Err(Some(libc::EPERM)) => Flight::Refused,
        Err(Some(libc::EAFNOSUPPORT | libc::EPROTONOSUPPORT)) if may_lack => Flight::Absent,
        Ok(()) | Err(_) => Flight::Passed,
    }
}

fn connect(to: SocketAddr) -> io::Result<()> {
    TcpStream::connect_timeout(&to, Duration::from_secs(1)).map(drop)
}

fn send(from: IpAddr, to: SocketAddr) -> io::Result<()> {
    UdpSocket::bind((from, 0))?.send_to(&[], to).map(drop)
}

/// [`enforcer_common::control::canary`]: where IPv6 has no range of addresses that stay here.
fn group(v4: Ipv4Addr) -> Ipv6Addr {
    let [a, b, c, d] = v4.octets();
    Ipv6Addr::from([0xff, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, a, b, c, d])
}

/// No hook before the wire judges what is connected and sends without an address.
fn send_connected(to: SocketAddrV4, place: u64) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect((*to.ip(), to.port() ^ place as u16))?;
    socket.send(&[]).map(drop)
}

fn fast_open(to: SocketAddrV4) -> io::Result<()> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    Ok(sendto(socket, &[], FAST_OPEN, &to).map(drop)?)
}

/// The word in the place of the protocol, where the kernel looks at 16 bits.
fn create(to: SocketAddrV4) -> io::Result<()> {
    let protocol = NonZeroU32::new(super::word(to) as u32).map(Protocol::from_raw);
    Ok(socket(AddressFamily::PACKET, SocketType::RAW, protocol).map(drop)?)
}

/// The addresses of a new association, where SCTP is there: the kernel is not made to load it.
fn associate(to: SocketAddrV4) -> io::Result<()> {
    if !Path::new("/proc/net/sctp").exists() {
        return Err(io::Error::from_raw_os_error(libc::EPROTONOSUPPORT));
    }
    let socket = socket(AddressFamily::INET, SocketType::SEQPACKET, Some(ipproto::SCTP))?;
    set_addresses(&socket, to)
}

#[expect(unsafe_code, reason = "no library has this option of SCTP")]
fn set_addresses(socket: &OwnedFd, to: SocketAddrV4) -> io::Result<()> {
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(to.ip().octets()) },
        sin_zero: [0; 8],
    };
    // SAFETY: the option is as long as said, and lives until the call returns.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_SCTP,
            CONNECTX,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    } < 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}
