use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::mem;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{HarnessError, Netns, Result, wait_for};

/// How long a server's thread sleeps before it looks whether it is still wanted.
const GLANCE: Duration = Duration::from_millis(100);

/// Accepts connections on every address of a namespace and counts them by the address they came to. Answers a request
/// of HTTP with an empty page and echoes everything else.
#[derive(Debug)]
pub struct TcpServer {
    shared: Arc<Shared>,
    listeners: Vec<Arc<TcpListener>>,
    threads: Vec<JoinHandle<()>>,
}

/// Echoes datagrams on every address of a namespace and counts them by the address they came to.
#[derive(Debug)]
pub struct UdpServer {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    stopped: AtomicBool,
    seen: Mutex<BTreeMap<SocketAddr, usize>>,
    streams: Mutex<Vec<TcpStream>>,
}

impl Shared {
    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    fn count(&self, local: SocketAddr) {
        *lock(&self.seen).entry(canonical(local)).or_default() += 1;
    }

    fn wait(&self, local: SocketAddr, count: usize, timeout: Duration) -> Result<()> {
        let at_least = || (lock(&self.seen).get(&local).copied().unwrap_or(0) >= count).then_some(());
        wait_for(timeout, at_least).ok_or_else(|| HarnessError::Timeout {
            what: format!("arrival {count} at {local}"),
            timeout,
            detail: format!("seen so far: {:?}", lock(&self.seen)),
        })
    }
}

impl TcpServer {
    /// Serves on each of the ports in the namespace.
    ///
    /// # Errors
    ///
    /// A port that is taken.
    pub fn start(netns: &Netns, ports: &[u16]) -> Result<Self> {
        netns.run(|| Self::here(ports))?
    }

    /// Serves on each of the ports in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// A port that is taken.
    pub fn here(ports: &[u16]) -> Result<Self> {
        let mut server = Self { shared: Arc::default(), listeners: Vec::new(), threads: Vec::new() };
        for &port in ports {
            // Takes IPv4 too.
            let listener =
                TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(HarnessError::system("listen"))?;
            let listener = Arc::new(listener);
            let shared = Arc::clone(&server.shared);
            server.listeners.push(Arc::clone(&listener));
            server.threads.push(thread::spawn(move || accept(&listener, &shared)));
        }
        Ok(server)
    }

    /// How many connections each address has taken.
    pub fn accepted(&self) -> BTreeMap<SocketAddr, usize> {
        lock(&self.shared.seen).clone()
    }

    /// How many connections one address has taken.
    pub fn accepted_at(&self, local: SocketAddr) -> usize {
        lock(&self.shared.seen).get(&local).copied().unwrap_or(0)
    }

    /// Waits until an address has taken so many connections: a client knows of its connection before the server does.
    ///
    /// # Errors
    ///
    /// When they do not come in time.
    pub fn wait_accepted(&self, local: SocketAddr, count: usize, timeout: Duration) -> Result<()> {
        self.shared.wait(local, count, timeout)
    }
}

impl Drop for TcpServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        for listener in &self.listeners {
            // Wakes the thread. SAFETY: takes numbers only, and `listener` keeps the descriptor open.
            unsafe { libc::shutdown(listener.as_raw_fd(), libc::SHUT_RDWR) };
        }
        for thread in mem::take(&mut self.threads) {
            let _ = thread.join();
        }
        for stream in lock(&self.shared.streams).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    loop {
        let accepted = listener.accept();
        if shared.is_stopped() {
            return;
        }
        let Ok((stream, _)) = accepted else {
            thread::sleep(GLANCE);
            continue;
        };
        let Ok(local) = stream.local_addr() else { continue };
        shared.count(local);
        if let Ok(copy) = stream.try_clone() {
            lock(&shared.streams).push(copy);
        }
        // Ends with the connection, at the latest when the server is dropped.
        thread::spawn(move || serve(stream));
    }
}

fn serve(mut stream: TcpStream) {
    let mut buffer = [0; 4096];
    loop {
        let Ok(length @ 1..) = stream.read(&mut buffer) else { return };
        let Some(received) = buffer.get(..length) else { return };
        if received.starts_with(b"GET ") || received.starts_with(b"HEAD ") {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            let _ = stream.shutdown(Shutdown::Both);
            return;
        }
        if stream.write_all(received).is_err() {
            return;
        }
    }
}

impl UdpServer {
    /// Echoes on each of the ports in the namespace.
    ///
    /// # Errors
    ///
    /// A port that is taken.
    pub fn start(netns: &Netns, ports: &[u16]) -> Result<Self> {
        netns.run(|| Self::here(ports))?
    }

    /// Echoes on each of the ports in the namespace of the calling thread.
    ///
    /// # Errors
    ///
    /// A port that is taken.
    pub fn here(ports: &[u16]) -> Result<Self> {
        let mut server = Self { shared: Arc::default(), threads: Vec::new() };
        for &port in ports {
            let socket =
                UdpSocket::bind((Ipv6Addr::UNSPECIFIED, port)).map_err(HarnessError::system("bind"))?;
            socket.set_read_timeout(Some(GLANCE)).map_err(HarnessError::system("set a time-out"))?;
            ask_for_local_address(&socket).map_err(HarnessError::system("set IPV6_RECVPKTINFO"))?;
            let shared = Arc::clone(&server.shared);
            server.threads.push(thread::spawn(move || echo(&socket, port, &shared)));
        }
        Ok(server)
    }

    /// How many datagrams each address has received.
    pub fn received(&self) -> BTreeMap<SocketAddr, usize> {
        lock(&self.shared.seen).clone()
    }

    /// How many datagrams one address has received.
    pub fn received_at(&self, local: SocketAddr) -> usize {
        lock(&self.shared.seen).get(&local).copied().unwrap_or(0)
    }

    /// Waits until an address has received so many datagrams.
    ///
    /// # Errors
    ///
    /// When they do not come in time.
    pub fn wait_received(&self, local: SocketAddr, count: usize, timeout: Duration) -> Result<()> {
        self.shared.wait(local, count, timeout)
    }
}

impl Drop for UdpServer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        for thread in mem::take(&mut self.threads) {
            let _ = thread.join();
        }
    }
}

fn echo(socket: &UdpSocket, port: u16, shared: &Shared) {
    while !shared.is_stopped() {
        let Ok(datagram) = Datagram::receive(socket) else { continue };
        if let Some(local) = datagram.local() {
            shared.count((local, port).into());
        }
        // A refusal is the client's to notice.
        let _ = datagram.send_back(socket);
    }
}

fn ask_for_local_address(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option's value is an int, which `on` is, and it outlives the call.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IPV6,
            libc::IPV6_RECVPKTINFO,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A datagram with the address that it was sent to, which std does not tell, and which the echo has to come from.
struct Datagram {
    payload: [u8; 2048],
    length: usize,
    from: libc::sockaddr_in6,
    control: Control,
}

/// One control message: the header, 16 bytes, and the kernel's `in6_pktinfo` after it.
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    info: libc::in6_pktinfo,
}

impl Datagram {
    fn receive(socket: &UdpSocket) -> io::Result<Self> {
        // SAFETY: arrays, addresses and headers are plain data, for which all zeros is "nothing yet".
        let mut datagram: Self = unsafe { mem::zeroed() };
        let mut part =
            libc::iovec { iov_base: datagram.payload.as_mut_ptr().cast(), iov_len: datagram.payload.len() };
        let mut message = datagram.message(&mut part);
        // SAFETY: `message` points to `part` and into `datagram`, which live here, with the lengths they have.
        let length = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0) };
        datagram.length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
        Ok(datagram)
    }

    fn local(&self) -> Option<IpAddr> {
        let Control { header, info } = &self.control;
        let is_info = (header.cmsg_level, header.cmsg_type) == (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO);
        is_info.then(|| IpAddr::V6(info.ipi6_addr.s6_addr.into()))
    }

    fn send_back(mut self, socket: &UdpSocket) -> io::Result<()> {
        // By whatever interface leads there.
        self.control.info.ipi6_ifindex = 0;
        let mut part = libc::iovec { iov_base: self.payload.as_mut_ptr().cast(), iov_len: self.length };
        let message = self.message(&mut part);
        // SAFETY: as in `receive`; the control message is the one that the kernel filled in there.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn message(&mut self, part: &mut libc::iovec) -> libc::msghdr {
        // SAFETY: msghdr is plain data, for which all zeros is "nothing wanted".
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        message.msg_name = (&raw mut self.from).cast();
        message.msg_namelen = size_of_val(&self.from) as libc::socklen_t;
        message.msg_iov = part;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut self.control).cast();
        message.msg_controllen = size_of_val(&self.control);
        message
    }
}

/// An IPv4 address that an IPv6 socket saw, as an IPv4 address.
fn canonical(address: SocketAddr) -> SocketAddr {
    (address.ip().to_canonical(), address.port()).into()
}

/// A thread that panicked while counting has not harmed the count.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
