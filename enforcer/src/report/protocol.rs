//! Names of IP protocols.

use std::fmt;

/// The number of an IP protocol, shown as the name that `/etc/protocols` has for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IpProtocol(pub u8);

impl IpProtocol {
    /// TCP.
    pub const TCP: Self = Self(6);
    /// UDP.
    pub const UDP: Self = Self(17);
}

impl fmt::Display for IpProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            1 => "icmp",
            2 => "igmp",
            6 => "tcp",
            17 => "udp",
            33 => "dccp",
            58 => "ipv6-icmp",
            115 => "l2tp",
            132 => "sctp",
            136 => "udplite",
            number => return write!(f, "{number}"),
        })
    }
}

impl serde::Serialize for IpProtocol {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
