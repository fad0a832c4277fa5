//! Random machines: a policy, what its resolvers answered, and who connects where.

use super::policy_text::{PolicyText, policy_text};
use proptest::{collection::vec, prelude::*, sample::select};
use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
};

/// A world small enough that everything meets everything.
const NAMES: &[&str] = &[
    "a.example",
    "b.a.example",
    "ads-1.a.example",
    "evil.example",
    "www.evil.example",
    "notevil.example",
    "good.test",
    "x.good.test",
    "evil.example.good.test",
];
/// Addresses that answers lead to.
const HOSTS: &[&str] = &[
    "203.0.113.7",
    "203.0.113.77",
    "198.18.0.9",
    "2001:db8::7",
    "10.1.2.3",
    "fd00::7",
    "127.0.0.1",
    "::1",
    RESOLVER,
];
/// The one resolver of the machine.
pub(super) const RESOLVER: &str = "192.0.2.53";
/// How processes spell them, with the place in [`HOSTS`].
const SPELLINGS: &[(&str, usize)] = &[
    ("203.0.113.7", 0),
    ("203.0.113.7", 0),
    ("203.0.113.7", 0),
    ("::ffff:203.0.113.7", 0),
    ("2001:db8:64::203.0.113.7", 0),
    ("2001:db8:64::203.0.113.7", 0),
    ("203.0.113.77", 1),
    ("203.0.113.77", 1),
    ("203.0.113.77", 1),
    ("198.18.0.9", 2),
    ("198.18.0.9", 2),
    ("2001:db8::7", 3),
    ("2001:db8::7", 3),
    ("2001:db8::7", 3),
    ("10.1.2.3", 4),
    ("10.1.2.3", 4),
    ("10.1.2.3", 4),
    ("10.1.2.3", 4),
    ("10.1.2.3", 4),
    ("10.1.2.3", 4),
    ("::ffff:10.1.2.3", 4),
    ("2001:db8:48:a01:2:300::", 4),
    ("fd00::7", 5),
    ("fd00::7", 5),
    ("fd00::7", 5),
    ("fd00::7", 5),
    ("fd00::7", 5),
    ("127.0.0.1", 6),
    ("0.0.0.0", 6),
    ("::1", 7),
    ("::", 7),
    (RESOLVER, 8),
    (RESOLVER, 8),
];
/// Prefixes of translators, which every policy has.
pub(super) const TRANSLATORS: &str = r#"["2001:db8:64::/96", "2001:db8:48::/48"]"#;
/// Cgroups, each with the one around it.
pub(super) const CGROUPS: &[(&str, &str)] = &[
    ("/ci", "/"),
    ("/ci/job", "/ci"),
    ("/ci/job/step", "/ci/job"),
    ("/system.slice/nginx.service", "/system.slice"),
    ("/system.slice/nginx.service/worker", "/system.slice/nginx.service"),
];

/// A policy in force, and what happens under it.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub policy: PolicyText,
    /// What is known of each of [`HOSTS`].
    pub seen: Vec<Vec<Seen>>,
    pub attempts: Vec<Connect>,
}

/// One answer for an address.
#[derive(Clone)]
pub(super) struct Seen {
    /// The question, then the aliases.
    pub chain: Vec<&'static str>,
    pub trusted: bool,
    /// Seconds since the answer.
    pub age: u64,
    /// Seconds that it is good for.
    pub ttl: u32,
    pub place: Place,
    /// A resolver has put the address behind a translator, if it is one of IPv4 (RFC 6147).
    pub behind: bool,
}

/// Which map the answer's binding is in.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Place {
    /// In what the binder learned in this epoch.
    Fresh,
    /// In what it learned in the epoch before.
    Older,
    /// In what the daemon made of the answers.
    Truth,
}

/// One attempt to connect.
#[derive(Clone, Copy, Debug)]
pub(super) struct Connect {
    pub address: &'static str,
    /// Its place in [`HOSTS`].
    pub host: usize,
    pub port: u16,
    pub udp: bool,
    pub uid: u32,
    /// Place in [`CGROUPS`].
    pub cgroup: usize,
    /// Whether the daemon has classified the cgroup.
    pub classified: bool,
    /// Seconds for which the daemon has been dead.
    pub late: u64,
}

prop_compose! {
    pub(super) fn world()(
        policy in policy_text(),
        seen in vec(sightings(), HOSTS.len()),
        attempts in vec(connect(), 1..200),
    ) -> World {
        World { policy, seen, attempts }
    }
}

impl World {
    /// Every answer with the address it led to.
    pub(super) fn answers(&self) -> impl Iterator<Item = (&'static str, &Seen)> {
        HOSTS.iter().zip(&self.seen).flat_map(|(host, seen)| seen.iter().map(|seen| (*host, seen)))
    }
}

impl Seen {
    /// The address in the answer.
    pub(super) fn address(&self, host: &str) -> IpAddr {
        match host.parse().unwrap() {
            IpAddr::V4(v4) if self.behind && !v4.is_loopback() => {
                let [a, b, c, d] = v4.octets().map(u16::from);
                Ipv6Addr::new(0x2001, 0xdb8, 0x64, 0, 0, 0, a << 8 | b, c << 8 | d).into()
            }
            address => address,
        }
    }
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { chain, trusted, age, ttl, place, behind } = self;
        let trusted = if *trusted { "trusted" } else { "untrusted" };
        let behind = if *behind { ", behind a translator" } else { "" };
        write!(f, "{} ({trusted}, {age} s old, good for {ttl} s, in {place:?}{behind})", chain.join(" > "))
    }
}

fn sightings() -> impl Strategy<Value = Vec<Seen>> {
    prop_oneof![1 => vec(seen(), 0), 3 => vec(seen(), 1), 3 => vec(seen(), 2..4)]
}

prop_compose! {
    fn seen()(
        chain in prop_oneof![3 => vec(select(NAMES), 1), 2 => vec(select(NAMES), 2..4)],
        trusted in prop::bool::weighted(0.77),
        age in select(&[0, 0, 59, 60, 61, 299, 300, 599, 600, 3599, 3600, 90_000][..]),
        ttl in select(&[0, 0, 60, 60, 300, 86_400][..]),
        place in select(&[Place::Truth, Place::Truth, Place::Fresh, Place::Older][..]),
        behind in prop::bool::weighted(0.2),
    ) -> Seen {
        // What the binder has learned is as old as an epoch: a second.
        Seen { chain, trusted, age: if place == Place::Truth { age } else { 0 }, ttl, place, behind }
    }
}

prop_compose! {
    fn connect()(
        (address, host) in select(SPELLINGS),
        port in select(&[443, 443, 80, 8050, 53, 853][..]),
        udp: bool,
        uid in select(&[0, 1000, 33][..]),
        cgroup in 0..CGROUPS.len(),
        classified in prop::bool::weighted(0.7),
        late in prop_oneof![2 => Just(0), 1 => select(&[1, 601, 7_200, 90_000, 700_000, 700_000][..])],
    ) -> Connect {
        Connect { address, host, port, udp, uid, cgroup, classified, late }
    }
}
