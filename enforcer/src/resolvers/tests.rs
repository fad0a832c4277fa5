use super::{Files, auto_from, from_resolv_conf, watched_paths};
use std::fs;
use std::net::IpAddr;

fn addresses(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn name_servers_are_read_as_the_stub_resolver_reads_them() {
    for (text, expected) in [
        ("", vec!["127.0.0.1"]),
        ("search example.com\n", vec!["127.0.0.1"]),
        ("nameserver 192.0.2.53\nnameserver 2001:db8::53\n", vec!["192.0.2.53", "2001:db8::53"]),
        ("nameserver\t192.0.2.53  # near\r\n", vec!["192.0.2.53"]),
        ("nameserver fe80::1%eth0\n", vec!["fe80::1"]),
        ("nameserver nonsense\nnameserver 192.0.2.53", vec!["192.0.2.53"]),
        (
            "nameserver\nnameservers 192.0.2.1\n# nameserver 192.0.2.2\n nameserver 192.0.2.3\n;nameserver 192.0.2.4",
            vec!["127.0.0.1"],
        ),
        ("nameserver 192.0.2.53\nnameserver 192.0.2.53\n", vec!["192.0.2.53"]),
    ] {
        assert_eq!(from_resolv_conf(text), addresses(&expected), "{text:?}");
    }
}

#[test]
fn the_upstreams_and_stubs_of_systemd_resolved_count_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let files = Files {
        resolv_conf: folder.path().join("resolv.conf"),
        resolved: folder.path().join("resolved.conf"),
    };
    let found = || auto_from(&files).into_iter().collect::<Vec<_>>();
    assert_eq!(found(), addresses(&["127.0.0.1"]));
    fs::write(&files.resolv_conf, "nameserver 127.0.0.53\noptions edns0\n").unwrap();
    assert_eq!(found(), addresses(&["127.0.0.53"]));
    fs::write(&files.resolved, "nameserver 192.0.2.53\n").unwrap();
    assert_eq!(found(), addresses(&["127.0.0.53", "127.0.0.54", "192.0.2.53"]));
    fs::write(&files.resolved, "# no upstream\n").unwrap();
    assert_eq!(found(), addresses(&["127.0.0.53", "127.0.0.54"]));
    fs::write(&files.resolv_conf, "nameserver 127.0.0.11\n").unwrap();
    fs::remove_file(&files.resolved).unwrap();
    assert_eq!(found(), addresses(&["127.0.0.11"]));
    assert!(watched_paths().contains(&"/etc/resolv.conf".into()));
}
