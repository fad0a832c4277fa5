//! Addresses, with one spelling each.

/// An IPv6 address; an IPv4 address is its v4-mapped form (RFC 4291 section 2.5.5.2), so that both families share every
/// map. In memory: sixteen bytes in network order, held in two words because kernel programs shuffle bytes badly.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Address([u64; 2]);

impl Address {
    /// From the four bytes of an IPv4 address.
    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self::from_halves(0, 0xffff_0000_0000 | u32::from_be_bytes(octets) as u64)
    }

    /// From the sixteen bytes of an IPv6 address; nothing is folded.
    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = octets;
        Self([u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes([i, j, k, l, m, n, o, p])])
    }

    /// From four words in network order, as `struct bpf_sock_addr` has them.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        let [a, b, c, d] = words;
        let (high, low) = (u32::from_be(a) as u64, u32::from_be(c) as u64);
        Self::from_halves(high << 32 | u32::from_be(b) as u64, low << 32 | u32::from_be(d) as u64)
    }

    /// The sixteen bytes, v4 in its mapped form.
    #[inline(always)]
    pub fn octets(&self) -> [u8; 16] {
        let (high, low) = self.halves();
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }

    /// The IPv4 address as a number, if it is one.
    #[inline(always)]
    pub fn v4(&self) -> Option<u32> {
        let (high, low) = self.halves();
        (high == 0 && low >> 32 == 0xffff).then_some(low as u32)
    }

    /// Where a connect to this address really goes: `0.0.0.0` and `::` reach the loopback of their family
    /// (`net/ipv4/route.c` `ip_route_output_key_hash_rcu`, `net/ipv6/tcp_ipv6.c` `tcp_v6_connect`).
    #[inline(always)]
    #[must_use]
    pub fn destination(self) -> Self {
        let (high, low) = self.halves();
        if high != 0 {
            return self;
        }
        match low {
            0 => Self::from_halves(0, 1),
            0x0000_ffff_0000_0000 => Self::from_v4([127, 0, 0, 1]),
            _ => self,
        }
    }

    /// The IPv4 address inside this IPv6 address, to which a translator or tunnel passes on what is sent to it: NAT64 by
    /// its well-known prefix (RFC 6052 section 2.1), 6to4 (RFC 3056 section 2), Teredo (RFC 4380 section 4: the client's,
    /// inverted), v4-compatible (RFC 4291 section 2.5.5.1). A v4-mapped address is no address inside another.
    #[inline(always)]
    pub fn embedded(&self) -> Option<Self> {
        let (high, low) = self.halves();
        let inner = if high >> 48 == 0x2002 {
            (high >> 16) as u32
        } else if high >> 32 == 0x2001_0000 {
            !(low as u32)
        } else if low >> 32 == 0 && (high == 0x0064_ff9b_0000_0000 || high == 0 && low > 1) {
            low as u32
        } else {
            return None;
        };
        Some(Self::from_halves(0, 0xffff_0000_0000 | u64::from(inner)))
    }

    /// `127.0.0.0/8` and `::1`.
    #[inline(always)]
    pub fn is_loopback(&self) -> bool {
        let (high, low) = self.halves();
        high == 0 && (low == 1 || low >> 24 == 0xff_ff7f)
    }

    /// Private, shared, link-local, multicast and reserved ranges, which a public name has no business with. They are
    /// learned for an allow rule only if its `mayResolveTo` names them. Documentation and benchmark ranges are not
    /// special. The list is in docs/POLICY.md.
    #[inline(always)]
    pub fn is_special_use(&self) -> bool {
        let (high, low) = self.halves();
        if high == 0 && low >> 32 == 0xffff {
            let v4 = low as u32;
            return matches!(v4 >> 24, 0 | 10 | 127 | 224..=255)
                || v4 >> 22 == 0x6440_0000 >> 22
                || v4 >> 16 == 0xa9fe
                || v4 >> 20 == 0xac10_0000 >> 20
                || v4 >> 16 == 0xc0a8
                || v4 >> 8 == 0xc0_0000
                || v4 >> 8 == 0xc0_5863;
        }
        (high == 0 && low <= 1)
            || high >> 57 == 0xfc >> 1
            || high >> 54 == 0xfe80 >> 6
            || high >> 54 == 0xfec0 >> 6
            || high >> 56 == 0xff
            || high == 0x0100_0000_0000_0000
    }

    /// Both halves as numbers, most significant first.
    #[inline(always)]
    pub(crate) const fn halves(&self) -> (u64, u64) {
        let [high, low] = self.0;
        (u64::from_be(high), u64::from_be(low))
    }

    #[inline(always)]
    const fn from_halves(high: u64, low: u64) -> Self {
        Self([high.to_be(), low.to_be()])
    }
}

#[cfg(feature = "user")]
impl Ord for Address {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.halves().cmp(&other.halves())
    }
}

#[cfg(feature = "user")]
impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(feature = "user")]
impl From<std::net::IpAddr> for Address {
    fn from(address: std::net::IpAddr) -> Self {
        match address {
            std::net::IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            std::net::IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

#[cfg(feature = "user")]
impl From<Address> for std::net::IpAddr {
    fn from(address: Address) -> Self {
        match address.v4() {
            Some(v4) => Self::V4(v4.into()),
            None => Self::from(address.octets()),
        }
    }
}

const _: () = assert!(size_of::<Address>() == 16, "an address is a map key without padding");

#[cfg(test)]
mod tests {
    use super::Address;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn every_spelling_of_an_address_is_one_key() {
        assert_eq!(address("203.0.113.7"), address("::ffff:203.0.113.7"));
        assert_eq!(IpAddr::from(address("::ffff:203.0.113.7")), IpAddr::from([203, 0, 113, 7]));
        assert_eq!(address("0.0.0.0").destination(), address("127.0.0.1"));
        assert_eq!(address("::").destination(), address("::1"));
        assert_eq!(address("::2").destination(), address("::2"));
    }

    #[test]
    fn loopback_is_exactly_the_two_ranges() {
        for (text, expected) in [
            ("127.0.0.1", true),
            ("127.255.255.255", true),
            ("128.0.0.0", false),
            ("126.255.255.255", false),
            ("::1", true),
            ("::2", false),
            ("::7f00:1", false),
        ] {
            assert_eq!(address(text).is_loopback(), expected, "{text}");
        }
    }

    #[test]
    fn special_use_agrees_with_the_standard_library() {
        let mut state = 1_u64;
        for round in 0..200_000_u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let v4 = Ipv4Addr::from((state >> 32) as u32);
            let [a, b, c, _] = v4.octets();
            let expected = v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 192 && b == 88 && c == 99);
            assert_eq!(Address::from(IpAddr::V4(v4)).is_special_use(), expected, "{v4}");
            let v6 = Ipv6Addr::from(u128::from(state) << 64 | u128::from(round));
            let expected = v6.is_unique_local()
                || v6.is_unicast_link_local()
                || v6.is_multicast()
                || v6.segments()[0] & 0xffc0 == 0xfec0;
            assert_eq!(Address::from(IpAddr::V6(v6)).is_special_use(), expected, "{v6}");
        }
        assert!(address("::1").is_special_use() && address("::").is_special_use());
        assert!(!address("198.18.0.1").is_special_use() && !address("2001:db8::1").is_special_use());
    }

    #[test]
    fn words_and_octets_say_the_same() {
        for text in ["::", "::1", "2001:db8:1:2:3:4:5:6", "ff02::fb", "::ffff:198.51.100.7", "64:ff9b::1"] {
            let octets = text.parse::<Ipv6Addr>().unwrap().octets();
            let mut words = [0_u32; 4];
            for (word, bytes) in words.iter_mut().zip(octets.chunks(4)) {
                *word = u32::from_ne_bytes(bytes.try_into().unwrap());
            }
            assert_eq!(Address::from_words(words), Address::from_v6(octets), "{text}");
            assert_eq!(Address::from_v6(octets).octets(), octets, "{text}");
        }
    }

    #[test]
    fn memory_holds_the_octets_in_network_order() {
        let key = address("2001:db8:1:2:3:4:5:6");
        let [high, low] = key.0;
        assert_eq!([high.to_ne_bytes(), low.to_ne_bytes()].concat(), key.octets());
    }

    #[test]
    fn addresses_sort_like_their_octets() {
        let mut sorted =
            ["ffff::", "::1", "10.0.0.1", "9.255.255.255", "::", "2001:db8::1", "1::ffff:0:0"].map(address);
        sorted.sort();
        assert!(sorted.is_sorted_by_key(Address::octets));
    }

    #[test]
    fn only_the_unspecified_addresses_go_elsewhere() {
        for text in ["0.0.0.1", "127.0.0.1", "::ffff:0:1", "1::", "::1:0:0:0", "203.0.113.7", "::1"] {
            assert_eq!(address(text).destination(), address(text), "{text}");
        }
        assert_eq!(address("::ffff:0.0.0.0").destination(), address("127.0.0.1"));
    }

    #[test]
    fn special_use_ranges_start_and_end_where_the_registry_says() {
        for (text, expected) in [
            ("0.255.255.255", true),
            ("1.0.0.0", false),
            ("9.255.255.255", false),
            ("10.0.0.0", true),
            ("11.0.0.0", false),
            ("100.63.255.255", false),
            ("100.64.0.0", true),
            ("100.127.255.255", true),
            ("100.128.0.0", false),
            ("169.253.255.255", false),
            ("169.254.169.254", true),
            ("169.255.0.0", false),
            ("172.15.255.255", false),
            ("172.16.0.0", true),
            ("172.31.255.255", true),
            ("172.32.0.0", false),
            ("192.0.0.255", true),
            ("192.0.1.0", false),
            ("192.88.98.255", false),
            ("192.88.99.0", true),
            ("192.88.100.0", false),
            ("192.168.255.255", true),
            ("192.169.0.0", false),
            ("223.255.255.255", false),
            ("224.0.0.0", true),
            ("255.255.255.255", true),
            ("::2", false),
            ("100::ffff", true),
            ("100:0:0:1::", false),
            ("fbff::", false),
            ("fc00::", true),
            ("fdff::", true),
            ("fe00::", false),
            ("fe80::", true),
            ("febf::", true),
            ("fec0::", true),
            ("ff00::", true),
            ("::ffff:10.0.0.1", true),
        ] {
            assert_eq!(address(text).is_special_use(), expected, "{text}");
        }
    }
}
