use std::collections::BTreeMap;
use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use crate::{HarnessError, Netns, Result, Target};

/// What every vector that can choose its payload sends.
pub const PAYLOAD: &[u8] = b"enforcer-vector";

/// How long the thread waits for a packet before it looks whether it is still wanted.
const GLANCE: libc::timeval = libc::timeval { tv_sec: 0, tv_usec: 100_000 };

/// `PACKET_OUTGOING` of `linux/if_packet.h`: what this machine sent.
const OUTGOING: u8 = 4;

/// What has arrived for one vector's denied addresses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Arrived {
    /// Packets, whatever they say.
    pub packets: u64,
    /// Those among them that carry [`PAYLOAD`].
    pub payloads: u64,
}

/// Counts what reaches a network namespace by the denied address that it is for. It sits on the far side of the link,
/// behind everything that could hold a packet back: what it sees has got through.
#[derive(Debug)]
pub struct Sniffer {
    shared: Arc<Shared>,
    socket: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    arrived: Mutex<BTreeMap<Target, Arrived>>,
}

impl Sniffer {
    /// Listens to every interface of a namespace.
    ///
    /// # Errors
    ///
    /// When packet sockets are not to be had.
    pub fn start(netns: &Netns) -> Result<Self> {
        let socket = netns.run(open)?.map_err(HarnessError::system("open a packet socket"))?;
        let socket = Arc::new(socket);
        let shared = Arc::new(Shared::default());
        let thread = thread::spawn({
            let (socket, shared) = (Arc::clone(&socket), Arc::clone(&shared));
            move || listen(&socket, &shared)
        });
        Ok(Self { shared, socket, thread: Some(thread) })
    }

    /// Forgets what has arrived so far.
    pub fn forget(&self) {
        self.shared.arrived().clear();
    }

    /// What has arrived since.
    ///
    /// # Errors
    ///
    /// When there was more than the kernel could keep: the counts mean nothing then.
    pub fn arrived(&self) -> Result<BTreeMap<Target, Arrived>> {
        let lost = lost(&self.socket).map_err(HarnessError::system("ask for lost packets"))?;
        if lost > 0 {
            let text = format!("{lost} packets lost");
            return Err(HarnessError::Unexpected { what: "the sniffer", text });
        }
        Ok(self.shared.arrived().clone())
    }
}

impl Drop for Sniffer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn arrived(&self) -> MutexGuard<'_, BTreeMap<Target, Arrived>> {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A socket that gets every packet from its network header on.
fn open() -> io::Result<OwnedFd> {
    let protocol = u16::try_from(libc::ETH_P_ALL).unwrap_or_default().to_be();
    let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    let socket = unsafe { libc::socket(libc::AF_PACKET, kind, protocol.into()) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just opened, and is nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    let room: libc::c_int = 64 << 20;
    set(&socket, libc::SO_RCVBUFFORCE, &room)?;
    set(&socket, libc::SO_RCVTIMEO, &GLANCE)?;
    Ok(socket)
}

fn set<T>(socket: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    let size = size_of::<T>() as libc::socklen_t;
    let value = (&raw const *value).cast();
    // SAFETY: the descriptor is open, and the pointer is to `size` bytes that live until the call returns.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value, size) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many packets the kernel had no room for, since it was asked last.
fn lost(socket: &OwnedFd) -> io::Result<u32> {
    let mut statistics = [0_u32; 2];
    let mut size = size_of_val(&statistics) as libc::socklen_t;
    // SAFETY: the descriptor is open, and both pointers are to values that live until the call returns.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_STATISTICS,
            statistics.as_mut_ptr().cast(),
            &raw mut size,
        )
    };
    let [_, lost] = statistics;
    if result == 0 { Ok(lost) } else { Err(io::Error::last_os_error()) }
}

fn listen(socket: &OwnedFd, shared: &Shared) {
    let mut packet = vec![0; 1 << 16];
    while !shared.stopped.load(Ordering::Acquire) {
        // SAFETY: plain data, for which zeros are a value.
        let mut from: libc::sockaddr_ll = unsafe { mem::zeroed() };
        let mut size = size_of_val(&from) as libc::socklen_t;
        // SAFETY: the descriptor is open, and the pointers are to `packet` and `from`, with their sizes.
        let length = unsafe {
            libc::recvfrom(
                socket.as_raw_fd(),
                packet.as_mut_ptr().cast(),
                packet.len(),
                0,
                (&raw mut from).cast(),
                &raw mut size,
            )
        };
        let Some(packet) = usize::try_from(length).ok().and_then(|length| packet.get(..length)) else {
            continue;
        };
        if from.sll_pkttype == OUTGOING {
            continue;
        }
        let payload = packet.windows(PAYLOAD.len()).any(|window| window == PAYLOAD);
        let mut arrived = shared.arrived();
        let mut targets: Vec<Target> = destinations(packet).into_iter().filter_map(Target::of).collect();
        targets.dedup();
        for target in targets {
            let arrived = arrived.entry(target).or_default();
            arrived.packets += 1;
            arrived.payloads += u64::from(payload);
        }
    }
}

/// Where a packet goes: its destination, and where it is to be sent on from there.
fn destinations(packet: &[u8]) -> Vec<IpAddr> {
    match packet.first().map(|byte| byte >> 4) {
        Some(4) => destinations4(packet).unwrap_or_default(),
        Some(6) => destinations6(packet).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn destinations4(packet: &[u8]) -> Option<Vec<IpAddr>> {
    let mut destinations = vec![address4(packet.get(16..20)?)?];
    let end = usize::from(packet.first()? & 0xf) * 4;
    let mut options = packet.get(20..end)?;
    while let Some((&kind, rest)) = options.split_first() {
        // End of the list, or an option of one byte.
        if kind <= 1 {
            options = if kind == 0 { &[] } else { rest };
            continue;
        }
        let length = usize::from(*rest.first()?);
        let option = options.get(..length)?;
        // Source routes, loose and strict: type, length, pointer, addresses (RFC 791 section 3.1).
        if matches!(kind, 0x83 | 0x89) {
            destinations.extend(option.get(3..)?.chunks_exact(4).filter_map(address4));
        }
        options = options.get(length.max(2)..)?;
    }
    Some(destinations)
}

fn destinations6(packet: &[u8]) -> Option<Vec<IpAddr>> {
    const ROUTING: u8 = 43;
    let mut destinations = vec![address6(packet.get(24..40)?)?];
    let mut next = *packet.get(6)?;
    let mut rest = packet.get(40..)?;
    // Hop-by-hop, routing, fragment and destination headers (RFC 8200 section 4).
    while matches!(next, 0 | ROUTING | 44 | 60) {
        let length = if next == 44 { 8 } else { (usize::from(*rest.get(1)?) + 1) * 8 };
        if next == ROUTING {
            destinations.extend(rest.get(8..length)?.chunks_exact(16).filter_map(address6));
        }
        next = *rest.first()?;
        rest = rest.get(length..)?;
    }
    Some(destinations)
}

fn address4(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into())
}

fn address6(bytes: &[u8]) -> Option<IpAddr> {
    Some(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_route_is_followed() {
        let mut packet = vec![0x47, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 198, 51, 100, 1];
        packet.extend([1, 0x83, 7, 4, 203, 0, 113, 9]);
        let expected: [IpAddr; 2] = ["198.51.100.1".parse().unwrap(), "203.0.113.9".parse().unwrap()];
        assert_eq!(destinations(&packet), expected);
    }

    #[test]
    fn a_routing_header_is_followed() {
        let target = Target::new(9);
        let mut packet = vec![0x60, 0, 0, 0, 0, 24, 43, 64];
        packet.extend([0; 16]);
        packet.extend(target.allowed6().octets());
        packet.extend([17, 2, 2, 1, 0, 0, 0, 0]);
        packet.extend(target.denied6().octets());
        let expected: [IpAddr; 2] = [target.allowed6().into(), target.denied6().into()];
        assert_eq!(destinations(&packet), expected);
    }
}
