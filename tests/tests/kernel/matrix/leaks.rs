//! What gets through, by name, and where. This list only gets shorter.

use std::collections::BTreeSet;
use std::fmt;

use enforcer_tests::{Backend, Machine};

use super::List;

/// Where the programs are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a cgroup of the test's own: what is judged is what sockets of this cgroup do.
    Child,
    /// At the root cgroup: everything is judged.
    Root,
}

/// Which programs judge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hooks {
    /// All there are.
    All,
    /// Only those of `connect`, as in most tools of the kind: what the others are good for.
    Connect,
}

/// What is in force.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub backend: Backend,
    pub hooks: Hooks,
    pub place: Place,
    pub list: List,
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, hooks, place: _, list } = self;
        let list = match (hooks, list) {
            (Hooks::All, List::Allow) => "allow-list",
            (Hooks::All, List::Deny) => "deny-list",
            (Hooks::Connect, _) => "connect only",
        };
        write!(formatter, "{backend} {list}")
    }
}

/// How many vectors get through without us, at least: a rig that does not work proves nothing.
pub fn least() -> usize {
    if Machine::current().is_guest() { 110 } else { 90 }
}

/// How many get through at least where only `connect` is judged.
pub const NAIVE: usize = 25;

/// The names of those that get through, if they do without us.
pub fn listed(setting: Setting) -> BTreeSet<&'static str> {
    let leaks = LEAKS.iter().filter(|(here, _)| here(setting));
    leaks.flat_map(|(_, names)| names.iter().copied()).collect()
}

type Here = fn(Setting) -> bool;

fn everywhere(_: Setting) -> bool {
    true
}

fn cgroup(setting: Setting) -> bool {
    setting.backend == Backend::Cgroup
}

fn lsm(setting: Setting) -> bool {
    setting.backend == Backend::Lsm
}

fn deny_list(setting: Setting) -> bool {
    setting.list == List::Deny
}

/// A socket belongs to the cgroup that it was made in.
fn child(setting: Setting) -> bool {
    setting.place == Place::Child
}

const LEAKS: &[(Here, &[&str])] = &[
    // Only the connects of streams are judged.
    (
        everywhere,
        &[
            "udp-connect",
            "udp-connect-again",
            "udp-connect-v4-of-v6",
            "udp-connect-v6",
            "udp-connected-before",
            "udp-connected-elsewhere",
            "udp-corked-before",
            "udp-disconnect-sendto",
            "udp-segmented",
            "udp-sendfile",
            "udp-sendmmsg-second",
            "udp-sendmsg",
            "udp-sendto",
            "udp-sendto-6to4",
            "udp-sendto-mapped",
            "udp-sendto-nat64",
            "udp-sendto-padded",
            "udp-sendto-unspec",
            "udp-sendto-v4-of-v6",
            "udp-sendto-v6",
            "udp-splice",
            "udp-write",
            "udplite-connect",
            "udplite-connect-v6",
            "udplite-sendto",
            "uring-send-zc",
            "uring-sendmsg",
            "uring-sendmsg-zc",
            "uring-sendto",
            "container-udp",
            "passed-udp",
            "ping",
            "ping-connected",
            "ping-v6",
            "dccp",
            "dccp-v6",
            "l2tp",
            "l2tp-v6",
            "sctp-connectx",
            "sctp-connectx-old",
            "sctp-connectx-second",
            "sctp-sendmsg",
            "sctp-sendto",
            "sctp-sendv",
        ],
    ),
    // Nobody judges what is on the wire.
    (
        everywhere,
        &[
            "container-packet",
            "loose-route-message",
            "loose-route-tcp",
            "loose-route-udp",
            "mobile-message",
            "mobile-tcp",
            "mobile-udp",
            "packet",
            "packet-before",
            "packet-raw",
            "packet-v6",
            "raw-connected",
            "raw-header",
            "raw-header-segments",
            "raw-header-v6",
            "raw-icmp",
            "raw-icmp-v6",
            "raw-other",
            "raw-udp",
            "raw-udp-v6",
            "segments-beyond",
            "segments-tcp",
            "segments-udp",
            "strict-route-udp",
            "xdp",
        ],
    ),
    // .. or what goes on.
    (everywhere, &["accepted", "passed-connected", "replied", "sctp-announced", "tcp-before"]),
    // .. or what somebody makes of it.
    (everywhere, &["nfs-udp", "rewritten", "translated-tcp", "translated-udp"]),
    // The kernel connects, and the LSM is not asked.
    (lsm, &["ceph", "cifs", "nfs", "nvme", "rds"]),
    // Beyond what a socket's owner can be made to answer for: packets of nobody's, and the outer ones of a tunnel.
    (everywhere, &["tun", "tunnel-geneve", "tunnel-gre", "tunnel-ipip", "tunnel-vxlan"]),
    // The address that is embedded is not looked at.
    (deny_list, &["tcp-connect-6to4", "tcp-connect-compatible", "tcp-connect-nat64", "tcp-connect-teredo"]),
    // There is no cgroup hook for these.
    (cgroup, &["sctp-connect", "sctp-connect-mapped", "sctp-connect-v6"]),
    // These connect, and the LSM is not asked.
    (
        lsm,
        &[
            "mptcp-announced",
            "mptcp-fastopen",
            "tcp-fastopen",
            "tcp-fastopen-mapped",
            "tcp-fastopen-sendmmsg",
            "tcp-fastopen-sendmsg",
            "tcp-fastopen-v6",
            "uring-fastopen",
        ],
    ),
    (child, &["passed-tcp", "relayed"]),
];
