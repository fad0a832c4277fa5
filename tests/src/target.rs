use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The addresses of one vector of the bypass matrix: those it tries to reach, which the policy denies, and those it may
/// say that it wants to reach, which are allowed. Each vector has its own: a packet tells by its address which vector
/// sent it, and all can try at the same time.
///
/// | | denied | allowed |
/// |---|---|---|
/// | IPv4 | 203.0.113.N | 198.51.100.N |
/// | IPv6 | 2001:db8:d::N | 2001:db8:a::N |
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Target(u8);

impl Target {
    /// Every denied address, as a policy writes it.
    pub const DENIED: [&str; 2] = ["203.0.113.0/24", "2001:db8:d::/48"];
    /// Every allowed address, as a policy writes it: also the near side's own, for the far side may be on the same
    /// machine and answers, and those behind links that vectors make.
    pub const ALLOWED: [&str; 5] =
        ["198.51.100.0/24", "2001:db8:a::/48", "192.168.77.0/24", "10.76.0.0/14", "fd00:77::/64"];
    /// Where the far side listens, by TCP, MPTCP and SCTP.
    pub const PORT: u16 = 443;
    /// An allowed address that nobody answers at.
    pub const SILENT4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 254);
    /// The name of the link's near end.
    pub const LINK: &str = "near0";
    /// The address of the link's near end.
    pub const NEAR4: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
    /// .. of version 6.
    pub const NEAR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 1);
    /// The address of the link's far end.
    pub const FAR4: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 2);
    /// .. of version 6.
    pub const FAR6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, 2);

    /// Of the vector of this number.
    pub fn new(number: u8) -> Self {
        Self(number)
    }

    /// The vector whose denied address this is, or is embedded in this.
    pub fn of(address: IpAddr) -> Option<Self> {
        match address {
            IpAddr::V4(address) => match address.octets() {
                [203, 0, 113, number] => Some(Self(number)),
                _ => None,
            },
            IpAddr::V6(address) => match address.segments() {
                [0x2001, 0xdb8, 0xd, 0, 0, 0, 0, number] => u8::try_from(number).ok().map(Self),
                // NAT64, v4-compatible and v4-mapped.
                [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => {
                    Self::embedded(high, low)
                }
                // 6to4.
                [0x2002, high, low, ..] => Self::embedded(high, low),
                // Teredo: the client's address is written inverted.
                [0x2001, 0, _, _, _, _, high, low] => Self::embedded(!high, !low),
                _ => None,
            },
        }
    }

    fn embedded(high: u16, low: u16) -> Option<Self> {
        let [[a, b], [c, d]] = [high.to_be_bytes(), low.to_be_bytes()];
        Self::of(Ipv4Addr::new(a, b, c, d).into())
    }

    /// The vector's number.
    pub fn number(self) -> u8 {
        self.0
    }

    /// The denied address of version 4.
    pub fn denied4(self) -> Ipv4Addr {
        Ipv4Addr::new(203, 0, 113, self.0)
    }

    /// The denied address of version 6.
    pub fn denied6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xd, 0, 0, 0, 0, self.0.into())
    }

    /// The allowed address of version 4.
    pub fn allowed4(self) -> Ipv4Addr {
        Ipv4Addr::new(198, 51, 100, self.0)
    }

    /// The allowed address of version 6.
    pub fn allowed6(self) -> Ipv6Addr {
        Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, self.0.into())
    }

    /// The denied address of version 4 as a NAT64 gateway writes it (RFC 6052 section 2.1).
    pub fn nat64(self) -> Ipv6Addr {
        let (high, low) = self.halves();
        Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low)
    }

    /// .. as the prefix of a 6to4 site (RFC 3056 section 2).
    pub fn six_to_four(self) -> Ipv6Addr {
        let (high, low) = self.halves();
        Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1)
    }

    /// .. as a Teredo client (RFC 4380 section 4).
    pub fn teredo(self) -> Ipv6Addr {
        let (high, low) = self.halves();
        Ipv6Addr::new(0x2001, 0, 0xc633, 0x6401, 0, !443, !high, !low)
    }

    /// .. as a v4-compatible address (RFC 4291 section 2.5.5.1).
    pub fn compatible(self) -> Ipv6Addr {
        self.denied4().to_ipv6_compatible()
    }

    fn halves(self) -> (u16, u16) {
        let [a, b, c, d] = self.denied4().octets();
        (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))
    }

    /// An address with the port that the far side listens on.
    pub fn at(address: impl Into<IpAddr>) -> SocketAddr {
        SocketAddr::new(address.into(), Self::PORT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_recognised() {
        let target = Target::new(77);
        let v6 = [
            target.denied6(),
            target.nat64(),
            target.six_to_four(),
            target.teredo(),
            target.compatible(),
            target.denied4().to_ipv6_mapped(),
        ];
        let spellings = v6.map(IpAddr::from).into_iter().chain([target.denied4().into()]);
        for address in spellings {
            assert_eq!(Target::of(address), Some(target), "{address}");
        }
        for address in [IpAddr::from(target.allowed4()), target.allowed6().into()] {
            assert_eq!(Target::of(address), None, "{address}");
        }
    }
}
