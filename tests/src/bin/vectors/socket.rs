//! Sockets of every family, as the kernel has them: addresses, options and control messages are bytes, so that a vector
//! can say what no library would.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;
use std::time::Duration;

/// A `sockaddr`: the family in host byte order, then what the family asks for.
#[derive(Clone, Debug)]
pub struct Address(Vec<u8>);

impl Address {
    pub fn new(family: i32, rest: &[u8]) -> Self {
        let mut bytes = (family as u16).to_ne_bytes().to_vec();
        bytes.extend_from_slice(rest);
        Self(bytes)
    }

    pub fn inet(address: SocketAddr) -> Self {
        let port = address.port().to_be_bytes();
        match address.ip() {
            IpAddr::V4(ip) => Self::new(libc::AF_INET, &[&port[..], &ip.octets(), &[0; 8]].concat()),
            IpAddr::V6(ip) => {
                Self::new(libc::AF_INET6, &[&port[..], &[0; 4], &ip.octets(), &[0; 4]].concat())
            }
        }
    }

    /// No address: for `connect`, the end of the connection there was.
    pub fn none() -> Self {
        Self::new(libc::AF_UNSPEC, &[0; 14])
    }

    pub fn family(&self) -> i32 {
        match *self.0.as_slice() {
            [low, high, ..] => u16::from_ne_bytes([low, high]).into(),
            _ => libc::AF_UNSPEC,
        }
    }

    /// The same under another family's number.
    pub fn called(mut self, family: i32) -> Self {
        self.0.splice(..2, (family as u16).to_ne_bytes());
        self
    }

    /// The same with zeros behind it.
    pub fn padded(mut self, length: usize) -> Self {
        self.0.resize(length, 0);
        self
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn pointer(&self) -> *const libc::sockaddr {
        self.0.as_ptr().cast()
    }

    pub fn length(&self) -> libc::socklen_t {
        self.0.len() as libc::socklen_t
    }
}

/// A control message of `sendmsg`: level, type, data.
pub type Control<'data> = (i32, i32, &'data [u8]);

/// What `sendmsg` takes, with everything it points to.
pub struct Message {
    address: Option<Address>,
    control: Vec<u64>,
    vector: Box<libc::iovec>,
    header: libc::msghdr,
}

impl Message {
    /// The payload has to outlive the message's use: it is borrowed for good.
    pub fn new(payload: &'static [u8], address: Option<Address>, controls: &[Control<'_>]) -> Self {
        let mut control = Vec::new();
        for &(level, kind, data) in controls {
            // struct cmsghdr: the length with this header, level, type; then the data, filled up to 8 bytes.
            control.push(16 + data.len() as u64);
            control.push(word(&[level.to_ne_bytes(), kind.to_ne_bytes()].concat()));
            control.extend(data.chunks(8).map(word));
        }
        let vector = libc::iovec { iov_base: payload.as_ptr().cast_mut().cast(), iov_len: payload.len() };
        // SAFETY: plain data, for which zeros are a value.
        let header = unsafe { std::mem::zeroed() };
        let mut message = Self { address, control, vector: Box::new(vector), header };
        if let Some(address) = &message.address {
            message.header.msg_name = address.pointer().cast_mut().cast();
            message.header.msg_namelen = address.length();
        }
        message.header.msg_iov = &raw mut *message.vector;
        message.header.msg_iovlen = 1;
        if !message.control.is_empty() {
            message.header.msg_control = message.control.as_mut_ptr().cast();
            message.header.msg_controllen = message.control.len() * 8;
        }
        message
    }

    /// Valid as long as the message is.
    pub fn header(&self) -> &libc::msghdr {
        &self.header
    }
}

fn word(bytes: &[u8]) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(bytes) {
        *to = *from;
    }
    u64::from_ne_bytes(word)
}

#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    pub fn new(family: i32, kind: i32, protocol: i32) -> io::Result<Self> {
        // SAFETY: takes numbers only.
        let socket = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) })?;
        // SAFETY: the descriptor was just opened, and is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(socket) }))
    }

    pub fn bind(&self, address: &Address) -> io::Result<()> {
        // SAFETY: the pointer is to as many bytes as the length says.
        check(unsafe { libc::bind(self.as_raw_fd(), address.pointer(), address.length()) })?;
        Ok(())
    }

    pub fn connect(&self, address: &Address) -> io::Result<()> {
        // SAFETY: the pointer is to as many bytes as the length says.
        check(unsafe { libc::connect(self.as_raw_fd(), address.pointer(), address.length()) })?;
        Ok(())
    }

    pub fn listen(&self) -> io::Result<()> {
        // SAFETY: takes numbers only.
        check(unsafe { libc::listen(self.as_raw_fd(), 128) })?;
        Ok(())
    }

    pub fn accept(&self) -> io::Result<Self> {
        // SAFETY: the null pointers say that the peer's address is not wanted.
        let socket = check(unsafe { libc::accept(self.as_raw_fd(), ptr::null_mut(), ptr::null_mut()) })?;
        // SAFETY: the descriptor was just opened, and is nobody else's.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(socket) }))
    }

    /// The port that it is bound to, in host byte order.
    pub fn port(&self) -> io::Result<u16> {
        let mut address = [0_u8; 28];
        let mut length = address.len() as libc::socklen_t;
        let pointer = address.as_mut_ptr().cast();
        // SAFETY: the pointers are to 28 bytes and to the number that says so.
        check(unsafe { libc::getsockname(self.as_raw_fd(), pointer, &raw mut length) })?;
        let [_, _, high, low, ..] = address;
        Ok(u16::from_be_bytes([high, low]))
    }

    pub fn send(&self, payload: &[u8], flags: i32) -> io::Result<()> {
        // SAFETY: the pointer is to as many bytes as the length says.
        let sent = unsafe { libc::send(self.as_raw_fd(), payload.as_ptr().cast(), payload.len(), flags) };
        sent_whole(sent)
    }

    pub fn send_to(&self, payload: &[u8], flags: i32, address: &Address) -> io::Result<()> {
        // SAFETY: the pointers are to as many bytes as the lengths say.
        let sent = unsafe {
            libc::sendto(
                self.as_raw_fd(),
                payload.as_ptr().cast(),
                payload.len(),
                flags,
                address.pointer(),
                address.length(),
            )
        };
        sent_whole(sent)
    }

    pub fn send_message(&self, message: &Message, flags: i32) -> io::Result<()> {
        // SAFETY: a message keeps what its header points to.
        sent_whole(unsafe { libc::sendmsg(self.as_raw_fd(), message.header(), flags) })
    }

    /// Several messages by one call; an error only if the first one cannot be sent.
    pub fn send_messages(&self, messages: &[Message], flags: i32) -> io::Result<()> {
        let mut headers: Vec<libc::mmsghdr> =
            messages.iter().map(|message| libc::mmsghdr { msg_hdr: *message.header(), msg_len: 0 }).collect();
        let count = headers.len() as u32;
        // SAFETY: the pointer is to `count` headers, and the messages keep what these point to.
        let sent = check(unsafe { libc::sendmmsg(self.as_raw_fd(), headers.as_mut_ptr(), count, flags) })?;
        if u32::try_from(sent) == Ok(count) { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    pub fn set(&self, level: i32, option: i32, value: &[u8]) -> io::Result<()> {
        let length = value.len() as libc::socklen_t;
        // SAFETY: the pointer is to as many bytes as the length says.
        check(unsafe { libc::setsockopt(self.as_raw_fd(), level, option, value.as_ptr().cast(), length) })?;
        Ok(())
    }

    pub fn set_number(&self, level: i32, option: i32, value: i32) -> io::Result<()> {
        self.set(level, option, &value.to_ne_bytes())
    }

    /// Waits for data and takes it.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let pointer = buffer.as_mut_ptr().cast();
        // SAFETY: the pointer is to as many bytes as the length says.
        let received = unsafe { libc::recv(self.as_raw_fd(), pointer, buffer.len(), 0) };
        usize::try_from(received).map_err(|_| io::Error::last_os_error())
    }

    pub fn into_inner(self) -> OwnedFd {
        self.0
    }

    /// How long it waits in any call.
    pub fn set_patience(&self, patience: Duration) -> io::Result<()> {
        let seconds = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
        let value = [seconds.to_ne_bytes(), i64::from(patience.subsec_micros()).to_ne_bytes()].concat();
        self.set(libc::SOL_SOCKET, libc::SO_RCVTIMEO, &value)?;
        self.set(libc::SOL_SOCKET, libc::SO_SNDTIMEO, &value)
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<OwnedFd> for Socket {
    fn from(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }
}

pub fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn sent_whole(sent: isize) -> io::Result<()> {
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
