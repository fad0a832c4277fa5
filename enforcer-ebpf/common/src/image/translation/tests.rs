use crate::image::ImageBuilder;
use std::{net::IpAddr, string::String, vec::Vec};

fn image(prefixes: &[&str]) -> Vec<crate::Vector> {
    let mut builder = ImageBuilder::new(1, 1, 0, [1; 8]).unwrap();
    for prefix in prefixes {
        let (prefix, length) = prefix.split_once('/').unwrap();
        builder.translator(prefix.parse::<IpAddr>().unwrap().into(), length.parse().unwrap());
    }
    builder.build().unwrap()
}

fn translated(prefixes: &[&str], address: &str) -> Option<String> {
    let address: IpAddr = address.parse().unwrap();
    let found = super::translated(&image(prefixes), &address.into());
    found.map(|address| IpAddr::from(address).to_string())
}

#[test]
fn the_examples_of_the_rfc_are_read() {
    // RFC 6052 section 2.4.
    for (prefix, address) in [
        ("2001:db8::/32", "2001:db8:c000:221::"),
        ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
        ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
        ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
        ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
        ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
        ("64:ff9b::/96", "64:ff9b::192.0.2.33"),
    ] {
        assert_eq!(translated(&[prefix], address).as_deref(), Some("192.0.2.33"), "{prefix}");
        assert_eq!(translated(&["2001:db8:ffff::/48"], address), None, "{address}");
    }
}

#[test]
fn what_a_translator_does_not_look_at_changes_nothing() {
    for (prefix, address) in [
        ("2001:db8:122:344::/64", "2001:db8:122:344:ffc0:2:21ff:ffff"),
        ("2001:db8::/32", "2001:db8:c000:221:1:2:3:4"),
    ] {
        assert_eq!(translated(&[prefix], address).as_deref(), Some("192.0.2.33"), "{prefix}");
    }
}

#[test]
fn each_prefix_counts() {
    let prefixes = ["2001:db8:1::/48", "2001:db8:2::/96", "2001:db8:3::/96", "64:ff9b::/96"];
    for address in [
        "2001:db8:1:c000:2:2100::",
        "2001:db8:2::192.0.2.33",
        "2001:db8:3::192.0.2.33",
        "64:ff9b::192.0.2.33",
    ] {
        assert_eq!(translated(&prefixes, address).as_deref(), Some("192.0.2.33"), "{address}");
    }
}

#[test]
fn nothing_stands_for_loopback_or_without_a_prefix() {
    for address in ["64:ff9b::127.0.0.1", "64:ff9b::", "64:ff9a::192.0.2.33", "192.0.2.33", "::1"] {
        assert_eq!(translated(&["64:ff9b::/96"], address), None, "{address}");
    }
    assert_eq!(translated(&[], "64:ff9b::192.0.2.33"), None);
}
