//! Sockets that were not connected by who uses them, or not by now: handed over by a process outside, opened before the
//! policy, opened by the far side.

use std::fs::{self, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use enforcer_tests::PAYLOAD;

use crate::datagram::{IPV6_FREEBIND, UNPRIVILEGED, udp4};
use crate::far;
use crate::scene::{PATIENCE, Scene, say};
use crate::socket::{Address, Message, Socket, check};
use crate::stream::{at, converse, tcp};

pub fn tcp_before(scene: &Scene) -> io::Result<()> {
    let socket = tcp(libc::AF_INET)?;
    socket.connect(&at(scene.target.denied4()))?;
    scene.policy_comes()?;
    socket.send(PAYLOAD, 0)?;
    scene.linger()
}

/// The same by a port at which somebody listens, as if the far side had connected.
pub fn tcp_before_listening(scene: &Scene) -> io::Result<()> {
    let reusing = || {
        let socket = tcp(libc::AF_INET)?;
        socket.set_number(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)?;
        socket.set_number(libc::SOL_SOCKET, libc::SO_REUSEPORT, 1)?;
        Ok::<_, io::Error>(socket)
    };
    let socket = reusing()?;
    socket.bind(&Address::inet((Ipv4Addr::UNSPECIFIED, 0).into()))?;
    socket.connect(&at(scene.target.denied4()))?;
    let listener = reusing()?;
    listener.bind(&Address::inet((Ipv4Addr::UNSPECIFIED, socket.port()?).into()))?;
    listener.listen()?;
    scene.policy_comes()?;
    socket.send(PAYLOAD, 0)?;
    scene.linger()
}

/// Who connects to this machine may say that it comes from anywhere, over IPv6 (`IPV6_FREEBIND`): the kernel answers the
/// denied address.
pub fn spoofed(scene: &Scene) -> io::Result<()> {
    let listener = tcp(libc::AF_INET6)?;
    listener.bind(&Address::inet((Ipv6Addr::UNSPECIFIED, 0).into()))?;
    listener.listen()?;
    let peer = Socket::new(libc::AF_INET6, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    peer.set_number(libc::IPPROTO_IPV6, IPV6_FREEBIND, 1)?;
    peer.bind(&Address::inet((scene.target.denied6(), UNPRIVILEGED).into()))?;
    match peer.connect(&Address::inet((Ipv6Addr::LOCALHOST, listener.port()?).into())) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => scene.linger(),
        outcome => outcome,
    }
}

pub fn tcp_passed(scene: &Scene) -> io::Result<()> {
    converse(&received(scene, "tcp")?, &at(scene.target.denied4()))
}

pub fn udp_passed(scene: &Scene) -> io::Result<()> {
    received(scene, "udp")?.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

pub fn connected_passed(scene: &Scene) -> io::Result<()> {
    let donor = ask(scene, "connected")?;
    scene.policy_comes()?;
    take(&donor)?.send(PAYLOAD, 0)?;
    scene.linger()
}

/// Another process connects, and passes on what it is told.
pub fn relayed(scene: &Scene) -> io::Result<()> {
    let mut number = [0; 4];
    ask(scene, "relay")?.read_exact(&mut number)?;
    match i32::from_ne_bytes(number) {
        0 => Ok(()),
        number => Err(io::Error::from_raw_os_error(number)),
    }
}

/// The far side connects, and is answered.
pub fn accepted(scene: &Scene) -> io::Result<()> {
    let listener = tcp(libc::AF_INET)?;
    // For longer than the far side tries: a reset of the kernel's own, for a listener that is gone, is no answer.
    listener.set_patience(PATIENCE * 2)?;
    listener.listen()?;
    far::invite(scene.target, "tcp", listener.port()?)?;
    let socket = listener.accept()?;
    socket.send(PAYLOAD, 0)?;
    scene.linger()
}

/// The far side sends a datagram, and is answered.
pub fn replied(scene: &Scene) -> io::Result<()> {
    let socket = udp4()?;
    socket.bind(&Address::inet((Ipv4Addr::UNSPECIFIED, 0).into()))?;
    socket.set_patience(PATIENCE)?;
    far::invite(scene.target, "udp", socket.port()?)?;
    socket.receive(&mut [0; 64])?;
    socket.send_to(PAYLOAD, 0, &at(scene.target.denied4()))
}

fn received(scene: &Scene, what: &str) -> io::Result<Socket> {
    take(&ask(scene, what)?)
}

fn ask(scene: &Scene, what: &str) -> io::Result<UnixStream> {
    let mut donor = UnixStream::connect(&scene.donor)?;
    writeln!(donor, "{what} {}", scene.target.denied4())?;
    Ok(donor)
}

/// The socket that comes along with a byte.
fn take(donor: &UnixStream) -> io::Result<Socket> {
    let mut byte = [0_u8; 1];
    let mut control = [0_u64; 3];
    let mut vector = libc::iovec { iov_base: byte.as_mut_ptr().cast(), iov_len: 1 };
    // SAFETY: plain data, for which zeros are a value.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut vector;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    header.msg_controllen = size_of_val(&control);
    // SAFETY: the header points to values that live here, with their sizes.
    let received = unsafe { libc::recvmsg(donor.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    if received < 0 {
        return Err(io::Error::last_os_error());
    }
    // A control message of 16 bytes and one descriptor.
    let [20, _, descriptor] = control else { return Err(io::ErrorKind::InvalidData.into()) };
    // SAFETY: the kernel has made the descriptor for this process, and nobody else here knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor as i32) }.into())
}

/// Serves the vectors above from a process of its own, until its input ends.
pub fn donate(path: &Path) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o777))?;
    thread::spawn(move || {
        for client in listener.incoming().filter_map(io::Result::ok) {
            // Who asks for what cannot be had gets nothing, and says so.
            thread::spawn(move || serve(client));
        }
    });
    say("ready")?;
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

fn serve(mut client: UnixStream) -> io::Result<()> {
    let mut line = String::new();
    BufReader::new(&client).read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (what, address) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let address = at(address.parse::<IpAddr>().map_err(io::Error::other)?);
    let socket = match what {
        "udp" => udp4()?,
        "relay" => {
            let outcome = converse(&tcp(libc::AF_INET)?, &address);
            let number = outcome.err().and_then(|error| error.raw_os_error()).unwrap_or(0);
            return client.write_all(&number.to_ne_bytes());
        }
        _ => tcp(libc::AF_INET)?,
    };
    if what == "connected" {
        socket.connect(&address)?;
    }
    let descriptor = socket.as_raw_fd().to_ne_bytes();
    let message = Message::new(b"!", None, &[(libc::SOL_SOCKET, libc::SCM_RIGHTS, &descriptor)]);
    // SAFETY: a message keeps what its header points to, and the descriptors are open.
    check(unsafe { libc::sendmsg(client.as_raw_fd(), message.header(), 0) } as i32)?;
    Ok(())
}
