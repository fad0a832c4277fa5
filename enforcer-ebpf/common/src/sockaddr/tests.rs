use super::{AF_INET, AF_INET6, AF_UNSPEC, Call, Memory, Named};
use crate::Address;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What user space handed over; reading past its end is what the programs must never do.
struct Buffer<'a>(&'a [u8]);

impl Memory for Buffer<'_> {
    type Error = usize;

    fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], usize> {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(at)
    }
}

fn read(bytes: &[u8], family: u16, call: Call) -> Option<Named> {
    Named::of(&Buffer(bytes), bytes.len() as u32, family, call).expect("nothing is read past the end")
}

fn v4(family: u16, address: [u8; 4], port: u16) -> Vec<u8> {
    [&family.to_ne_bytes()[..], &port.to_be_bytes(), &address, &[0; 8]].concat()
}

fn v6(family: u16, address: &str, port: u16, zone: u32) -> Vec<u8> {
    let address: Ipv6Addr = address.parse().unwrap();
    [&family.to_ne_bytes()[..], &port.to_be_bytes(), &[0; 4], &address.octets(), &zone.to_ne_bytes()].concat()
}

fn destination(bytes: &[u8], family: u16, call: Call) -> Option<(IpAddr, u16)> {
    read(bytes, family, call).map(|named| (named.address.destination().into(), named.port))
}

#[test]
fn every_spelling_leads_where_the_kernel_goes() {
    let target: Option<(IpAddr, u16)> = Some((Ipv4Addr::new(203, 0, 113, 7).into(), 443));
    for call in [Call::Connect, Call::Send] {
        for socket in [AF_INET, AF_INET6, 43] {
            assert_eq!(destination(&v4(AF_INET, [203, 0, 113, 7], 443), socket, call), target);
            assert_eq!(destination(&v6(AF_INET6, "::ffff:203.0.113.7", 443, 0), socket, call), target);
        }
        let local: Option<(IpAddr, u16)> = Some(("fe80::1".parse().unwrap(), 443));
        assert_eq!(destination(&v6(AF_INET6, "fe80::1", 443, 7), AF_INET6, call), local);
        assert_eq!(destination(&v6(AF_INET6, "fe80::1", 443, 7)[..24], AF_INET6, call), local);
        let here: Option<(IpAddr, u16)> = Some((Ipv4Addr::LOCALHOST.into(), 80));
        assert_eq!(destination(&v4(AF_INET, [0; 4], 80), AF_INET, call), here);
        assert_eq!(destination(&v6(AF_INET6, "::ffff:0.0.0.0", 80, 0), AF_INET6, call), here);
        let here: Option<(IpAddr, u16)> = Some((Ipv6Addr::LOCALHOST.into(), 80));
        assert_eq!(destination(&v6(AF_INET6, "::", 80, 0), AF_INET6, call), here);
    }
}

#[test]
fn a_message_to_no_family_goes_where_the_socket_says() {
    let unspecified = v4(AF_UNSPEC, [203, 0, 113, 7], 53);
    let target = Some((IpAddr::from([203, 0, 113, 7]), 53));
    assert_eq!(destination(&unspecified, AF_INET, Call::Send), target);
    assert_eq!(destination(&unspecified, AF_INET, Call::Connect), None);
    assert_eq!(destination(&unspecified, AF_INET6, Call::Send), None, "too short for IPv6");
    let unspecified = v6(AF_UNSPEC, "2001:db8::7", 53, 0);
    assert_eq!(destination(&unspecified, AF_INET6, Call::Send), Some(("2001:db8::7".parse().unwrap(), 53)));
    assert_eq!(destination(&unspecified, AF_INET6, Call::Connect), None);
    assert_eq!(destination(&unspecified, 16, Call::Send), None, "netlink has no IP addresses");
}

/// The kernel's checks, one after the other, as its functions make them.
fn reference(bytes: &[u8], socket: u16, call: Call) -> Option<(IpAddr, u16)> {
    let family = u16::from_ne_bytes(bytes.get(..2)?.try_into().unwrap());
    let family = if family == 0 && call == Call::Send { socket } else { family };
    // Little else is readable as an address, and a short one is `EINVAL`.
    let wanted = match family {
        2 => 16,
        10 => 24,
        _ => return None,
    };
    if bytes.len() < wanted {
        return None;
    }
    let port = u16::from_be_bytes(bytes[2..4].try_into().unwrap());
    let address = if family == 2 {
        IpAddr::from(<[u8; 4]>::try_from(&bytes[4..8]).unwrap())
    } else {
        IpAddr::from(<[u8; 16]>::try_from(&bytes[8..24]).unwrap()).to_canonical()
    };
    let address = match address {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        other => other,
    };
    Some((address, port))
}

#[test]
fn a_million_random_addresses_are_read_as_the_reference_reads_them() {
    let mut state = 7_u64;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let families = [0, 2, 10, 1, 16, 43, 512];
    let mut read_as = [0_u32; 3];
    for _ in 0..1_000_000 {
        // Up to `sizeof(struct sockaddr_storage)`, beyond which the system call is refused.
        let length =
            if random() % 2 == 0 { random() % 129 } else { [2, 15, 16, 23, 24, 28][random() as usize % 6] };
        let mut bytes = [0_u8; 128];
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&(random() as u32).to_ne_bytes());
        }
        let family = match random() % 8 {
            0 => random() as u16,
            chosen => families[chosen as usize - 1],
        };
        bytes[..2].copy_from_slice(&family.to_ne_bytes());
        match random() % 4 {
            0 => bytes[8..20].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]),
            1 => bytes[4..24].fill(0),
            _ => {}
        }
        let bytes = &bytes[..length as usize];
        let socket = families[random() as usize % families.len()];
        let call = if random() % 2 == 0 { Call::Connect } else { Call::Send };
        let expected = reference(bytes, socket, call);
        assert_eq!(destination(bytes, socket, call), expected, "{call:?} {socket} {bytes:?}");
        read_as[match expected {
            None => 0,
            Some((IpAddr::V4(_), _)) => 1,
            Some((IpAddr::V6(_), _)) => 2,
        }] += 1;
    }
    assert!(read_as.iter().all(|count| *count > 10_000), "each outcome is tried: {read_as:?}");
}

#[test]
fn an_address_inside_another_is_found() {
    let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
    for (outer, inner) in [
        ("64:ff9b::203.0.113.7", Some("203.0.113.7")),
        ("64:ff9b::1:203.0.113.7", None),
        ("64:ff9c::203.0.113.7", None),
        ("2002:cb00:7107::1", Some("203.0.113.7")),
        ("2003:cb00:7107::1", None),
        // RFC 4380 section 4: the client's address, each bit inverted.
        ("2001:0:4136:e378:8000:63bf:34ff:8ef8", Some("203.0.113.7")),
        ("2001:1:4136:e378:8000:63bf:34ff:8ef8", None),
        ("::203.0.113.7", Some("203.0.113.7")),
        ("::", None),
        ("::1", None),
        ("::ffff:203.0.113.7", None),
        ("2001:db8::7", None),
    ] {
        assert_eq!(address(outer).embedded(), inner.map(address), "{outer}");
    }
}
