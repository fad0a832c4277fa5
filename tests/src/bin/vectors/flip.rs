//! A race for the address itself: one thread connects and sends, another writes the allowed and the denied address by
//! turns to where the kernel reads it. Who judges what is there at some other moment than the one who uses it loses.

use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use enforcer_tests::{PAYLOAD, Target};

use crate::datagram::udp4;
use crate::scene::say;
use crate::socket::Socket;

/// Nobody listens there: what gets out is refused by the far side, and costs no more than what does not.
const PORT: u16 = 4443;

/// A `sockaddr_in`: family and port, address, zeros.
type Shared = [AtomicU32; 4];

/// What became of the calls.
#[derive(Debug, Default)]
struct Tally {
    refused: u32,
    passed: u32,
}

/// Says how many of so many calls of each kind were refused, and how many were not.
pub fn run(target: Target, count: u32) -> io::Result<()> {
    let word = |address: Ipv4Addr| u32::from_ne_bytes(address.octets());
    let (denied, allowed) = (word(target.denied4()), word(target.allowed4()));
    let [low, high] = (libc::AF_INET as u16).to_ne_bytes();
    let [first, second] = PORT.to_be_bytes();
    let address: Shared = [u32::from_ne_bytes([low, high, first, second]), allowed, 0, 0].map(AtomicU32::new);
    let over = AtomicBool::new(false);
    let [_, changing, ..] = &address;
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                changing.store(denied, Ordering::Relaxed);
                std::hint::spin_loop();
                changing.store(allowed, Ordering::Relaxed);
                std::hint::spin_loop();
            }
        });
        let tallies = tally(count, || connect(&address))
            .and_then(|connects| Ok((connects, tally(count, || send(&address))?)));
        over.store(true, Ordering::Relaxed);
        let (connects, sends) = tallies?;
        say(&format!("connect {} {}", connects.refused, connects.passed))?;
        say(&format!("send {} {}", sends.refused, sends.passed))
    })
}

fn tally(count: u32, mut call: impl FnMut() -> io::Result<()>) -> io::Result<Tally> {
    let mut tally = Tally::default();
    for _ in 0..count {
        match call() {
            Ok(()) => tally.passed += 1,
            Err(error) => match error.raw_os_error() {
                Some(libc::EPERM) => tally.refused += 1,
                Some(libc::EINPROGRESS | libc::ECONNREFUSED | libc::EAGAIN) => tally.passed += 1,
                _ => return Err(error),
            },
        }
    }
    Ok(tally)
}

fn connect(address: &Shared) -> io::Result<()> {
    let socket = Socket::new(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_NONBLOCK, 0)?;
    // Closed, it is gone at once: a port is free for the next.
    socket.set(libc::SOL_SOCKET, libc::SO_LINGER, &[1_i32, 0].map(i32::to_ne_bytes).concat())?;
    // SAFETY: the pointer is to 16 bytes that live until the call returns; that they change meanwhile is the point.
    let result = unsafe { libc::connect(socket.as_raw_fd(), address.as_ptr().cast(), 16) };
    crate::socket::check(result)?;
    Ok(())
}

fn send(address: &Shared) -> io::Result<()> {
    let socket = udp4()?;
    // SAFETY: as above; the payload is static.
    let sent = unsafe {
        libc::sendto(
            socket.as_raw_fd(),
            PAYLOAD.as_ptr().cast(),
            PAYLOAD.len(),
            libc::MSG_DONTWAIT,
            address.as_ptr().cast(),
            16,
        )
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
