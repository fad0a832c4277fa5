//! The records that the programs hand to user space.

use crate::Address;

/// Bytes kept of an executable's path, the end of the path if it is longer.
pub const EXE_MAX: usize = 256;

/// What an event tells of.
#[repr(u8)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `NetTCPConnect`: a connect, or what opens a connection without one.
    TcpConnect = 0,
    /// `NetUDPSend`: the first datagram of a socket to a destination.
    UdpSend = 1,
    /// `NetPacketDenied`: a packet that no hook before the wire has refused.
    PacketDenied = 2,
    /// `DNSQueryRefused`: a query for a name that nobody may look up.
    QueryRefused = 3,
}

impl Kind {
    /// The kind with this number; any other number is a packet.
    pub fn of(number: u8) -> Self {
        match number {
            0 => Self::TcpConnect,
            1 => Self::UdpSend,
            3 => Self::QueryRefused,
            _ => Self::PacketDenied,
        }
    }
}

/// One judged attempt: the raw form of `NetTCPConnect`, `NetUDPSend`, `NetPacketDenied` and `DNSQueryRefused`.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectEvent {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Version of the policy that judged.
    pub version: u64,
    /// Id of the caller's cgroup (v2).
    pub cgroup: u64,
    /// Where to, as the application named it; of a packet, as it is on the wire.
    pub address: Address,
    /// Process id in the initial namespace; 0 if unknown.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// Process id of the parent.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Port, machine byte order.
    pub port: u16,
    /// Class of the rule, or a [`crate::RuleId`] constant.
    pub rule: u16,
    /// Class of the rule that made it happen.
    pub effective_rule: u16,
    /// Bits of [`flag`].
    pub flags: u8,
    /// Errno of the refusal, 0 if allowed.
    pub errno: u8,
    /// A [`Kind`].
    pub kind: u8,
    /// Number of the IP protocol.
    pub protocol: u8,
    /// Nothing.
    pub reserved: [u8; 6],
    /// Name of the thread, NUL-terminated.
    pub comm: [u8; 16],
    /// Where the walk up the executable's path stands while the event is filled: a dentry, its mount, and the mount's
    /// root. 0 afterwards.
    pub walk: [u64; 3],
    /// Bytes of `exe` that are used.
    pub exe_length: u32,
    /// 1 if `exe` reaches up to the root; of a query, if the name could be read.
    pub exe_whole: u32,
    /// Components of the executable's path, the last one first, each ended by NUL. Of a query, the name that it asks for, as
    /// it is hashed.
    pub exe: [u8; EXE_MAX],
}

/// Bits of [`ConnectEvent::flags`].
pub mod flag {
    /// The rules say deny.
    pub const DENY: u8 = 1;
    /// The attempt was refused.
    pub const BLOCKED: u8 = 2;
    /// The socket is an IPv6 socket address (`AF_INET6`), v4-mapped ones included.
    pub const V6: u8 = 4;
}

impl ConnectEvent {
    /// Reads an event from the bytes of a ring record; `None` unless the size is exactly right.
    #[cfg(feature = "user")]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == size_of::<Self>()).then(|| {
            // SAFETY: the length was checked, every bit pattern is a valid `ConnectEvent` (integers and arrays of them
            // without padding), and `read_unaligned` asks for no alignment.
            unsafe { bytes.as_ptr().cast::<Self>().read_unaligned() }
        })
    }
}

const _: () =
    assert!(size_of::<ConnectEvent>() == 24 + 16 + 16 + 8 + 8 + 16 + 24 + 8 + EXE_MAX, "no padding");
