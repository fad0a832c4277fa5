//! Sockets as the kernel lists and closes them: sock_diag(7). The only module that names netlink-packet-core and
//! netlink-packet-sock-diag.

use enforcer_common::flow::Flow;
use message::Request;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable as _,
};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DESTROY, SOCK_DIAG_BY_FAMILY, SockDiagMessage,
    inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags},
};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};
use std::{
    collections::BTreeSet,
    io,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
};

mod message;

/// A dump's messages come in pieces of 32 KiB at most (`net/netlink/af_netlink.c` `netlink_dump`).
const RECEIVE_SIZE: usize = 1 << 16;

/// The sockets of one network namespace: that in which it was opened.
#[derive(Debug)]
pub struct SockDiag(OwnedFd);

/// Which sockets.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Transport {
    /// TCP, and the subflows of MPTCP.
    Tcp,
    /// UDP.
    Udp,
}

/// A socket with a peer.
#[derive(Clone, Debug)]
pub struct Socket {
    /// Its transport.
    pub transport: Transport,
    /// Its own address.
    pub local: SocketAddr,
    /// Its peer's, as the socket was connected: before translation.
    pub remote: SocketAddr,
    /// User id of whoever made it.
    pub uid: u32,
    /// Id of the cgroup of whoever made it, 0 if unknown.
    pub cgroup: u64,
    /// What the programs remember of it, if anything.
    pub flow: Option<Flow>,
    id: SocketId,
    family: u8,
}

impl Socket {
    /// What is remembered of whoever used it last, if somebody was seen to.
    pub fn user(&self) -> Option<&Flow> {
        self.flow.as_ref().filter(|flow| flow.cgroup != 0)
    }
}

impl SockDiag {
    /// Opens it for the network namespace of the calling thread.
    ///
    /// # Errors
    /// The kernel has no sock_diag.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let protocol = Some(netlink::SOCK_DIAG);
        Ok(Self(rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, protocol)?))
    }

    /// Shows `each` every socket with a peer that somebody has open. `flows` is the map that remembers something of them
    /// (Linux 5.7, `INET_DIAG_REQ_SK_BPF_STORAGES`); their cgroups are told since Linux 5.8.
    ///
    /// # Errors
    /// The kernel does not list them, or says something else.
    pub fn flows(
        &self,
        transport: Transport,
        flows: Option<BorrowedFd<'_>>,
        mut each: impl FnMut(Socket),
    ) -> io::Result<()> {
        let states = match transport {
            // What is over for its application is in TIME_WAIT, or has no inode.
            Transport::Tcp => StateFlags::all().difference(
                StateFlags::LISTEN | StateFlags::CLOSE | StateFlags::TIME_WAIT | StateFlags::SYN_RECV,
            ),
            Transport::Udp => StateFlags::ESTABLISHED,
        };
        self.list(transport, states, flows, |response| {
            if response.header.inode != 0 {
                each(message::socket(transport, response));
            }
        })
    }

    /// Where somebody listens for TCP connections.
    ///
    /// # Errors
    /// As [`SockDiag::flows`].
    pub fn listening(&self) -> io::Result<BTreeSet<SocketAddr>> {
        let mut listening = BTreeSet::new();
        self.list(Transport::Tcp, StateFlags::LISTEN, None, |response| {
            listening.insert(message::socket(Transport::Tcp, response).local);
        })?;
        Ok(listening)
    }

    /// Closes a socket: whoever has it open reads `ECONNABORTED` (`net/ipv4/tcp.c` `tcp_abort`, `net/ipv4/udp.c`
    /// `udp_abort`). Returns whether it was still there. Waits until no call of the application holds the socket's lock.
    ///
    /// # Errors
    /// `EOPNOTSUPP`: a kernel without `CONFIG_INET_DIAG_DESTROY`. `EPERM`: without `CAP_NET_ADMIN` there.
    pub fn close(&self, socket: &Socket) -> io::Result<bool> {
        self.destroy(socket.transport, socket.family, socket.id.clone())
    }

    /// Whether the kernel closes sockets at all.
    ///
    /// # Errors
    /// Another error than that it does not.
    pub fn can_close(&self, transport: Transport) -> io::Result<bool> {
        // Nothing has port 0.
        match self.destroy(transport, AF_INET, SocketId::new_v4()) {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn destroy(&self, transport: Transport, family: u8, id: SocketId) -> io::Result<bool> {
        let request = Request {
            kind: SOCK_DESTROY,
            socket: request(transport, family, StateFlags::empty(), id),
            attributes: Vec::new(),
        };
        match self.ask(NLM_F_REQUEST | NLM_F_ACK, request, |_| ()) {
            Ok(()) => Ok(true),
            // It is gone, or was gone and another one has its place (`net/core/sock_diag.c` `sock_diag_check_cookie`).
            Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESTALE)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(
        &self,
        transport: Transport,
        states: StateFlags,
        flows: Option<BorrowedFd<'_>>,
        mut each: impl FnMut(&InetResponse),
    ) -> io::Result<()> {
        for (family, any) in [(AF_INET, SocketId::new_v4()), (AF_INET6, SocketId::new_v6())] {
            let request = Request {
                kind: SOCK_DIAG_BY_FAMILY,
                socket: request(transport, family, states.clone(), any),
                attributes: flows.map(message::with_storage).unwrap_or_default(),
            };
            self.ask(NLM_F_REQUEST | NLM_F_DUMP, request, &mut each)?;
        }
        Ok(())
    }

    /// Asks, and reads answers to their end.
    fn ask(&self, flags: u16, request: Request, mut each: impl FnMut(&InetResponse)) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.message_type = request.message_type();
        let mut question = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request));
        question.finalize();
        let mut bytes = vec![0; question.buffer_len()];
        question.serialize(&mut bytes);
        rustix::io::retry_on_intr(|| rustix::net::send(&self.0, &bytes, SendFlags::empty()))?;
        let mut buffer = vec![0; RECEIVE_SIZE];
        loop {
            let (_, length) =
                rustix::io::retry_on_intr(|| rustix::net::recv(&self.0, &mut *buffer, RecvFlags::TRUNC))?;
            let mut rest = buffer.get(..length).ok_or_else(|| invalid("a message is too long"))?;
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest).map_err(invalid)?;
                let length = usize::try_from(message.header.length).map_err(invalid)?;
                rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => each(&response),
                    NetlinkPayload::Done(done) => return result(done.code),
                    NetlinkPayload::Error(error) => return result(error.code.map_or(0, Into::into)),
                    _ => return Err(invalid("a message is of another kind")),
                }
            }
        }
    }
}

fn request(transport: Transport, family: u8, states: StateFlags, socket_id: SocketId) -> InetRequest {
    let protocol = match transport {
        Transport::Tcp => IPPROTO_TCP,
        Transport::Udp => IPPROTO_UDP,
    };
    InetRequest { family, protocol, extensions: ExtensionFlags::empty(), states, socket_id }
}

/// Errors of netlink are negative.
fn result(code: i32) -> io::Result<()> {
    if code < 0 { Err(io::Error::from_raw_os_error(code.saturating_neg())) } else { Ok(()) }
}

fn invalid(error: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests;
