//! Addresses, networks and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Serialize;
use thiserror::Error;

use crate::terms::Protocol;

/// The IPv4 address inside an IPv6 address, to which a translator or tunnel passes on what is sent there: NAT64 by its
/// well-known prefix (RFC 6052), 6to4 (RFC 3056), Teredo (RFC 4380: the client's, inverted), v4-compatible (RFC 4291).
pub(crate) fn embedded(address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let [a, b, c, d, e, f, g, h] = v6.segments();
    let four = |high: u16, low: u16| {
        let ([i, j], [k, l]) = (high.to_be_bytes(), low.to_be_bytes());
        Some(IpAddr::from([i, j, k, l]))
    };
    match [a, b, c, d, e, f] {
        [0x2002, high, low, ..] => four(high, low),
        [0x2001, 0, ..] => four(!g, !h),
        [0x64, 0xff9b, 0, 0, 0, 0] => four(g, h),
        [0, 0, 0, 0, 0, 0] if (g, h) > (0, 1) => four(g, h),
        _ => None,
    }
}

/// The most prefixes of `dns.nat64`.
pub const NAT64_MAX: usize = 4;

/// The IPv4 address for which an IPv6 address stands by one of these prefixes of translators (RFC 6052 section 2.2). Not
/// loopback, which no translator reaches.
pub(crate) fn translated(prefixes: &[Ipv6Net], address: IpAddr) -> Option<IpAddr> {
    let IpAddr::V6(v6) = address else { return None };
    let prefix =
        prefixes.iter().filter(|prefix| prefix.contains(&v6)).max_by_key(|prefix| prefix.prefix_len())?;
    let octets = v6.octets();
    // Octet 8 is skipped.
    let behind =
        octets.iter().enumerate().skip(usize::from(prefix.prefix_len()) / 8).filter(|(at, _)| *at != 8);
    let mut inside = [0; 4];
    inside.iter_mut().zip(behind).for_each(|(octet, (_, found))| *octet = *found);
    let inside = Ipv4Addr::from(inside);
    (!inside.is_loopback() && !inside.is_unspecified()).then_some(inside.into())
}

/// The address a connection means: IPv4 out of its IPv6 mapping, and the unspecified address as the
/// loopback address that Linux connects to.
pub fn normalise(address: IpAddr) -> IpAddr {
    let address = address.to_canonical();
    if !address.is_unspecified() {
        return address;
    }
    match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// The ranges that belong to no public host: an answer that leads there is learned for an allow rule only
/// where the rule's `mayResolveTo` covers it.
///
/// The documentation ranges and 198.18.0.0/15 are left out: nothing private lives there, and tests do.
pub const SPECIAL_USE: &[IpNet] = &[
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 88, 99, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
    v6([0, 0, 0, 0, 0, 0, 0, 0], 127),
    v6([0x100, 0, 0, 0, 0, 0, 0, 0], 64),
    v6([0xfc00, 0, 0, 0, 0, 0, 0, 0], 7),
    v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xfec0, 0, 0, 0, 0, 0, 0, 0], 10),
    v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8),
];

/// Whether an address lies in [`SPECIAL_USE`]; an IPv4-mapped one is judged as the IPv4 address.
pub fn is_special_use(address: IpAddr) -> bool {
    let address = address.to_canonical();
    SPECIAL_USE.iter().any(|network| network.contains(&address))
}

/// A run of ports of one protocol or of both.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
pub struct PortRange {
    /// The protocol; both if none.
    pub protocol: Option<Protocol>,
    /// The first port.
    pub first: u16,
    /// The last port, included.
    pub last: u16,
}

impl PortRange {
    /// Reads `443`, `8000-8100`, `53/udp`.
    pub fn parse(text: &str) -> Result<Self, PortError> {
        let text = text.trim();
        let (ports, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((ports, "tcp")) => (ports, Some(Protocol::Tcp)),
            Some((ports, "udp")) => (ports, Some(Protocol::Udp)),
            Some((_, protocol)) => return Err(PortError::Protocol(protocol.to_owned())),
        };
        let (first, last) = match ports.split_once('-') {
            None => (port(ports)?, port(ports)?),
            Some((first, last)) => (port(first)?, port(last)?),
        };
        if first > last {
            return Err(PortError::Backwards { first, last });
        }
        Ok(Self { protocol, first, last })
    }

    /// Whether the range holds a port of a protocol.
    pub fn contains(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol.is_none_or(|own| own == protocol) && (self.first..=self.last).contains(&port)
    }
}

/// Why a text is no port range.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum PortError {
    /// The range runs backwards.
    #[error("the range runs from {first} down to {last}")]
    Backwards {
        /// What stands first.
        first: u16,
        /// What stands last.
        last: u16,
    },
    /// No number from 1 to 65535.
    #[error("`{0}` is not a port")]
    Number(String),
    /// Neither tcp nor udp.
    #[error("`{0}` is not a protocol with ports")]
    Protocol(String),
}

impl PortError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Backwards { first, last } => format!("write `{last}-{first}`"),
            Self::Number(_) => "write a number from 1 to 65535, a range `8000-8100`, or `53/udp`".to_owned(),
            Self::Protocol(_) => "write `/tcp` or `/udp`, or neither for both".to_owned(),
        }
    }
}

/// Reads a network; a bare address is the network of that one address.
pub fn parse_cidr(text: &str) -> Result<IpNet, CidrError> {
    let text = text.trim();
    let (address, length) = match text.split_once('/') {
        None => (text, None),
        Some((address, length)) => (address, Some(length)),
    };
    let address: IpAddr = address.parse().map_err(|_| CidrError::Address(text.to_owned()))?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => bits,
        Some(length) => prefix_length(length).ok_or_else(|| CidrError::Length(length.to_owned()))?,
    };
    let network = IpNet::new(address, length).map_err(|_| CidrError::Length(length.to_string()))?;
    if let IpNet::V6(v6) = network
        && let Some(v4) = v6.addr().to_ipv4_mapped()
    {
        // Addresses are judged unmapped, so a mapped network would never match anything.
        let length = length.checked_sub(96).and_then(|length| Ipv4Net::new(v4, length).ok());
        return Err(CidrError::Mapped(length.map(|network| network.trunc().to_string())));
    }
    if network.trunc() != network {
        return Err(CidrError::HostBits { written: text.to_owned(), network: network.trunc() });
    }
    Ok(network)
}

/// Why a text is no network.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum CidrError {
    /// What stands before the slash is no address.
    #[error("`{0}` is not an address or a network")]
    Address(String),
    /// The address goes on behind the prefix.
    #[error("`{written}` has bits set behind its prefix")]
    HostBits {
        /// What was written.
        written: String,
        /// The network that holds it.
        network: IpNet,
    },
    /// The prefix is no number, or longer than the address.
    #[error("`{0}` is not a prefix length of this address")]
    Length(String),
    /// An IPv4 network in IPv6 clothes.
    #[error("an IPv4-mapped network matches nothing")]
    Mapped(Option<String>),
}

impl CidrError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Address(_) => {
                "write `203.0.113.0/24`, `2001:db8::/32` or a single address; names go under `names`"
                    .to_owned()
            }
            Self::HostBits { network, .. } => format!("write `{network}`, or the bare address for it alone"),
            Self::Length(_) => "write 0 to 32 for IPv4, 0 to 128 for IPv6".to_owned(),
            Self::Mapped(Some(network)) => format!("write `{network}`"),
            Self::Mapped(None) => "write the IPv4 network".to_owned(),
        }
    }
}

fn port(text: &str) -> Result<u16, PortError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(port) if digits && port > 0 => Ok(port),
        Ok(_) | Err(_) => Err(PortError::Number(text.to_owned())),
    }
}

fn prefix_length(text: &str) -> Option<u8> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length))
}

const fn v6([a, b, c, d, e, f, g, h]: [u16; 8], length: u8) -> IpNet {
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, e, f, g, h), length))
}

#[cfg(test)]
mod tests;
