use super::{Held, Listeners, of, of_unit};
use crate::cgroups::{Tree, id_of};
use enforcer_common::{Address, dns::Holder};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::IpAddr,
};

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

/// A hierarchy with these directories, in which a cgroup is an inode as it is in a real one.
fn tree(paths: &[&str]) -> (tempfile::TempDir, Tree) {
    let root = tempfile::tempdir().unwrap();
    for path in paths {
        fs::create_dir_all(root.path().join(path)).unwrap();
    }
    let tree = Tree::scan(root.path()).unwrap();
    (root, tree)
}

#[test]
fn a_unit_is_one_of_the_system_manager() {
    let (root, tree) = tree(&[
        "system.slice/dns.service/workers",
        "dns.service",
        "user.slice/user-1000.slice/user@1000.service/dns.service",
        "user.slice/user-1000.slice/session-1.scope/dns.service",
        "system.slice/other-dns.service",
    ]);
    let ids = |paths: &[&str]| -> BTreeSet<u64> {
        paths.iter().map(|path| id_of(&root.path().join(path)).unwrap()).collect()
    };
    assert_eq!(
        BTreeSet::from_iter(of_unit("dns.service", &tree)),
        ids(&["system.slice/dns.service", "system.slice/dns.service/workers", "dns.service"])
    );
    assert!(of_unit("absent.service", &tree).is_empty());
    let held = of([(address("127.0.0.1"), Held::ByUnit("absent.service"))], &tree);
    assert_eq!(held, BTreeSet::from([Holder { address: address("127.0.0.1"), cgroup: 0 }]));
}

#[test]
fn who_listens_at_every_address_listens_at_each() {
    let (root, tree) = tree(&["one", "any", "six"]);
    let listeners = Listeners {
        sockets: [("127.0.0.1", 1), ("0.0.0.0", 2), ("::", 3)]
            .map(|(ip, inode)| (ip.parse().unwrap(), inode))
            .to_vec(),
        cgroups: BTreeMap::from([
            (1, BTreeSet::from(["/one".to_owned()])),
            (2, BTreeSet::from(["/any".to_owned()])),
            (3, BTreeSet::from(["/six".to_owned()])),
        ]),
    };
    for (text, expected) in [
        ("127.0.0.1", &["one", "any", "six"][..]),
        ("127.0.0.53", &["any", "six"]),
        ("::1", &["six"]),
        ("::ffff:127.0.0.1", &["one", "any", "six"]),
    ] {
        let expected: BTreeSet<u64> =
            expected.iter().map(|path| id_of(&root.path().join(path)).unwrap()).collect();
        assert_eq!(BTreeSet::from_iter(listeners.at(address(text), &tree)), expected, "{text}");
    }
}
