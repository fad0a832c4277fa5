use super::*;

fn read(text: &str) -> (String, Option<u16>) {
    let Endpoint { host, port } = Endpoint::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let kind = if matches!(host, Host::Address(_)) { "address" } else { "name" };
    (format!("{kind} {host}"), port)
}

#[test]
fn names_and_addresses_are_told_apart_in_every_spelling() {
    let cases: [(&str, &str, Option<u16>); 24] = [
        ("www.example.com", "name www.example.com", None),
        (" WWW.Example.COM. ", "name www.example.com", None),
        ("www.example.com.:8443", "name www.example.com", Some(8443)),
        ("b\u{fc}cher.example", "name xn--bcher-kva.example", None),
        ("_dmarc.example", "name _dmarc.example", None),
        ("localhost", "name localhost", None),
        ("203.0.113.7", "address 203.0.113.7", None),
        ("203.0.113.7:443", "address 203.0.113.7", Some(443)),
        ("127.1", "address 127.0.0.1", None),
        ("0x7f000001:80", "address 127.0.0.1", Some(80)),
        ("2001:db8::1", "address 2001:db8::1", None),
        ("[2001:db8::1]", "address 2001:db8::1", None),
        ("[2001:db8::1]:443", "address 2001:db8::1", Some(443)),
        ("fe80::1%eth0", "address fe80::1", None),
        ("[fe80::1%eth0]:80", "address fe80::1", Some(80)),
        ("https://www.example.com/a?b#c", "name www.example.com", Some(443)),
        ("HTTP://www.example.com", "name www.example.com", Some(80)),
        ("https://user:word@www.example.com:8443/path", "name www.example.com", Some(8443)),
        ("https://good.example@evil.example/", "name evil.example", Some(443)),
        ("https://evil.example\\@good.example/", "name evil.example", Some(443)),
        ("https://b\u{fc}cher.example", "name xn--bcher-kva.example", Some(443)),
        ("https://[2001:db8::1]:8443/", "address 2001:db8::1", Some(8443)),
        ("http://0x7f.1/", "address 127.0.0.1", Some(80)),
        ("ssh://git@git.example/repository", "name git.example", Some(22)),
    ];
    for (text, host, port) in cases {
        assert_eq!(read(text), (host.to_owned(), port), "{text}");
    }
}

#[test]
fn what_is_no_endpoint_says_why() {
    let cases = [
        ("", "is empty"),
        ("*.example.com", "`*` cannot stand"),
        ("example.com/path", "`/` cannot stand"),
        ("a..example", "empty label"),
        ("203.0.113.0/24", "is a network"),
        ("example.com:0", "`0` is not a port"),
        ("example.com:http", "`http` is not a port"),
        ("example.com:65536", "`65536` is not a port"),
        ("example.com:+1", "`+1` is not a port"),
        ("2001:db8::1:zz", "is not a port"),
        ("[2001:db8::zz]", "cannot stand"),
        ("https:///", "not a URL with a host"),
        ("file:///etc/passwd", "not a URL with a host"),
        ("gopher://www.example.com", "the port of `gopher` is not known"),
        ("https://www.example.com:0/", "`0` is not a port"),
    ];
    for (text, part) in cases {
        let error = Endpoint::parse(text).unwrap_err();
        assert!(error.to_string().contains(part), "{text}: {error}");
        assert!(!error.hint().is_empty());
    }
}
