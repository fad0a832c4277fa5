use super::*;

fn address(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn addresses_are_folded() {
    let cases = [
        ("::ffff:203.0.113.1", "203.0.113.1"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("::ffff:0.0.0.0", "127.0.0.1"),
        ("2001:db8::1", "2001:db8::1"),
        ("::203.0.113.1", "::203.0.113.1"),
        ("64:ff9b::203.0.113.1", "64:ff9b::203.0.113.1"),
    ];
    for (from, to) in cases {
        assert_eq!(normalise(address(from)), address(to), "{from}");
        assert_eq!(normalise(address(to)), address(to), "{to}");
    }
}

#[test]
fn special_use_ranges_end_where_they_should() {
    let inside = [
        "0.0.0.1",
        "10.0.0.0",
        "10.255.255.255",
        "100.64.0.0",
        "100.127.255.255",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.0",
        "172.31.255.255",
        "192.168.255.255",
        "224.0.0.1",
        "239.255.255.255",
        "240.0.0.0",
        "255.255.255.255",
        "::1",
        "::",
        "fc00::1",
        "fdff::1",
        "fe80::1",
        "febf::1",
        "ff02::1",
        "::ffff:10.0.0.1",
    ];
    let outside = [
        "1.1.1.1",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "128.0.0.0",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "198.18.0.1",
        "198.19.255.255",
        "223.255.255.255",
        "2001:db8::1",
        "2606:4700::1111",
        "fbff::1",
        "::ffff:203.0.113.1",
    ];
    for text in inside {
        assert!(is_special_use(address(text)), "{text}");
    }
    for text in outside {
        assert!(!is_special_use(address(text)), "{text}");
    }
}

#[test]
fn ports_and_ranges() {
    let range = |protocol, first, last| Ok(PortRange { protocol, first, last });
    assert_eq!(PortRange::parse("443"), range(None, 443, 443));
    assert_eq!(PortRange::parse("8000-8100"), range(None, 8000, 8100));
    assert_eq!(PortRange::parse("53/udp"), range(Some(Protocol::Udp), 53, 53));
    assert_eq!(PortRange::parse(" 1-65535/tcp "), range(Some(Protocol::Tcp), 1, 65535));
    assert_eq!(PortRange::parse("2-1"), Err(PortError::Backwards { first: 2, last: 1 }));
    assert_eq!(PortRange::parse("53/dccp"), Err(PortError::Protocol("dccp".into())));
    for (text, part) in [
        ("", ""),
        ("0", "0"),
        ("65536", "65536"),
        ("+5", "+5"),
        ("http", "http"),
        ("1-", ""),
        ("-5", ""),
        ("1-2-3", "2-3"),
    ] {
        assert_eq!(PortRange::parse(text), Err(PortError::Number(part.into())), "{text}");
    }
    let range = PortRange::parse("53-54/udp").unwrap();
    assert!(range.contains(Protocol::Udp, 53) && range.contains(Protocol::Udp, 54));
    assert!(!range.contains(Protocol::Udp, 55) && !range.contains(Protocol::Udp, 52));
    assert!(!range.contains(Protocol::Tcp, 53));
}

#[test]
fn networks() {
    for (text, expected) in [
        ("203.0.113.0/24", "203.0.113.0/24"),
        ("203.0.113.7", "203.0.113.7/32"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("::/0", "::/0"),
    ] {
        assert_eq!(parse_cidr(text).unwrap().to_string(), expected);
    }
    let host_bits = parse_cidr("10.1.2.3/8").unwrap_err();
    assert_eq!(host_bits.to_string(), "`10.1.2.3/8` has bits set behind its prefix");
    assert_eq!(host_bits.hint(), "write `10.0.0.0/8`, or the bare address for it alone");
    assert_eq!(parse_cidr("10.0.0.0/33"), Err(CidrError::Length("33".into())));
    assert_eq!(parse_cidr("10.0.0.0/+8"), Err(CidrError::Length("+8".into())));
    assert_eq!(parse_cidr("10.0.0.0/"), Err(CidrError::Length(String::new())));
    assert_eq!(parse_cidr("10.0.0/8"), Err(CidrError::Address("10.0.0/8".into())));
    assert_eq!(parse_cidr("::ffff:10.0.0.0/104"), Err(CidrError::Mapped(Some("10.0.0.0/8".into()))));
    assert_eq!(parse_cidr("::ffff:10.0.0.0/64"), Err(CidrError::Mapped(None)));
}
