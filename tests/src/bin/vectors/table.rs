//! Every vector there is. Its number is its place here: addresses are made of it.

use std::io;

use enforcer_tests::Target;

use crate::scene::Scene;
use crate::{datagram, express, handed, kernel, namespace, protocols, ring, stream, wire};

/// Whose rights a vector needs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum User {
    /// Root's within a user namespace; root outside gives it a link and no more.
    Container,
    /// Somebody without any.
    Nobody,
    /// Root's, or `CAP_NET_RAW` or `CAP_NET_ADMIN`.
    Root,
}

impl User {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Nobody => "nobody",
            Self::Root => "root",
        }
    }
}

pub struct Vector {
    pub name: &'static str,
    pub user: User,
    /// It begins before the policy is in force, and says itself when it may come.
    pub early: bool,
    pub act: fn(&Scene) -> io::Result<()>,
}

type Act = fn(&Scene) -> io::Result<()>;

const fn nobody(name: &'static str, act: Act) -> Vector {
    Vector { name, user: User::Nobody, early: false, act }
}

const fn container(name: &'static str, act: Act) -> Vector {
    Vector { name, user: User::Container, early: false, act }
}

const fn root(name: &'static str, act: Act) -> Vector {
    Vector { name, user: User::Root, early: false, act }
}

const fn early(vector: Vector) -> Vector {
    Vector { early: true, ..vector }
}

pub fn vector(number: u8) -> Option<&'static Vector> {
    VECTORS.get(usize::from(number).checked_sub(1)?)
}

/// Those of the vectors whose name begins like this.
pub fn targets(prefix: &str) -> impl Iterator<Item = Target> {
    let vectors = VECTORS.iter().zip(1_u8..).filter(move |(vector, _)| vector.name.starts_with(prefix));
    vectors.map(|(_, number)| Target::new(number))
}

pub const VECTORS: &[Vector] = &[
    // The first is the canary.
    nobody("tcp-connect", stream::connect_v4),
    nobody("tcp-connect-v6", stream::connect_v6),
    nobody("tcp-connect-mapped", stream::connect_mapped),
    nobody("tcp-connect-padded", stream::connect_padded),
    nobody("tcp-connect-short", stream::connect_short),
    nobody("tcp-connect-zone", stream::connect_zone),
    nobody("tcp-connect-nonblocking", stream::connect_nonblocking),
    nobody("tcp-connect-again", stream::connect_again),
    nobody("tcp-connect-nat64", stream::connect_nat64),
    nobody("tcp-connect-6to4", stream::connect_six_to_four),
    nobody("tcp-connect-teredo", stream::connect_teredo),
    nobody("tcp-connect-compatible", stream::connect_compatible),
    nobody("tcp-fastopen", stream::fastopen_v4),
    nobody("tcp-fastopen-v6", stream::fastopen_v6),
    nobody("tcp-fastopen-mapped", stream::fastopen_mapped),
    nobody("tcp-fastopen-sendmsg", stream::fastopen_message),
    nobody("tcp-fastopen-sendmmsg", stream::fastopen_messages),
    nobody("tcp-fastopen-connect", stream::fastopen_connect),
    root("tcp-repair", stream::repaired),
    nobody("mptcp-connect", stream::mptcp_v4),
    nobody("mptcp-connect-v6", stream::mptcp_v6),
    nobody("mptcp-connect-mapped", stream::mptcp_mapped),
    nobody("mptcp-fastopen", stream::mptcp_fastopen),
    nobody("mptcp-announced", stream::mptcp_announced),
    nobody("udp-connect", datagram::connect_send),
    nobody("udp-connect-v6", datagram::connect_send_v6),
    nobody("udp-connect-v4-of-v6", datagram::connect_v4_of_v6),
    nobody("udp-sendto", datagram::sendto_v4),
    nobody("udp-sendto-v6", datagram::sendto_v6),
    nobody("udp-sendto-mapped", datagram::sendto_mapped),
    nobody("udp-sendto-v4-of-v6", datagram::sendto_v4_of_v6),
    nobody("udp-sendto-unspec", datagram::sendto_unspecified),
    nobody("udp-sendto-padded", datagram::sendto_padded),
    nobody("udp-sendto-nat64", datagram::sendto_nat64),
    nobody("udp-sendto-6to4", datagram::sendto_six_to_four),
    nobody("udp-sendmsg", datagram::sendmsg),
    nobody("udp-sendmmsg-second", datagram::sendmmsg_second),
    nobody("udp-connected-elsewhere", datagram::connected_elsewhere),
    nobody("udp-connect-again", datagram::connect_again),
    nobody("udp-disconnect-sendto", datagram::disconnect_sendto),
    nobody("udp-segmented", datagram::segmented),
    nobody("udp-sendfile", datagram::sendfile),
    nobody("udp-splice", datagram::splice),
    nobody("udp-write", datagram::write),
    early(nobody("udp-corked-before", datagram::corked_before)),
    nobody("udp-corked-connect", datagram::corked_connect),
    nobody("udp-corked-reconnect", datagram::corked_reconnect),
    nobody("udp-spoofed", datagram::spoofed),
    early(nobody("udp-connected-before", datagram::connected_before)),
    nobody("udplite-connect", datagram::udplite_connect_send),
    nobody("udplite-sendto", datagram::udplite_sendto),
    nobody("udplite-sendto-connect", datagram::udplite_sendto_connect),
    nobody("udplite-connect-v6", datagram::udplite_v6),
    nobody("uring-connect", ring::connect_v4),
    nobody("uring-connect-v6", ring::connect_v6),
    nobody("uring-connect-polled", ring::connect_polled),
    nobody("uring-connect-async", ring::connect_async),
    nobody("uring-fastopen", ring::fastopen),
    nobody("uring-sendmsg", ring::sendmsg),
    nobody("uring-sendto", ring::sendto),
    nobody("uring-send-zc", ring::send_zc),
    nobody("uring-sendmsg-zc", ring::sendmsg_zc),
    nobody("ping", protocols::ping_v4),
    nobody("ping-connected", protocols::ping_connected),
    nobody("ping-v6", protocols::ping_v6),
    nobody("ping-spoofed", protocols::ping_spoofed),
    nobody("segments-udp", wire::segments_udp),
    nobody("segments-tcp", wire::segments_tcp),
    nobody("segments-beyond", wire::segments_beyond),
    nobody("mobile-udp", wire::mobile_udp),
    nobody("mobile-message", wire::mobile_message),
    nobody("mobile-tcp", wire::mobile_tcp),
    root("loose-route-udp", wire::loose_udp),
    root("strict-route-udp", wire::strict_udp),
    root("loose-route-message", wire::loose_message),
    root("loose-route-tcp", wire::loose_tcp),
    root("raw-icmp", wire::raw_icmp),
    root("raw-icmp-v6", wire::raw_icmp_v6),
    root("raw-connected", wire::raw_connected),
    root("raw-udp", wire::raw_udp),
    root("raw-udp-v6", wire::raw_udp_v6),
    root("raw-other", wire::raw_other),
    root("raw-header", wire::header_v4),
    root("raw-header-v6", wire::header_v6),
    root("raw-header-segments", wire::header_segments),
    root("packet", wire::frame),
    root("packet-v6", wire::frame_v6),
    root("packet-raw", wire::raw_frame),
    early(root("packet-before", wire::frame_before)),
    root("xdp", express::frame),
    early(nobody("tcp-before", handed::tcp_before)),
    early(nobody("tcp-before-listening", handed::tcp_before_listening)),
    nobody("tcp-spoofed", handed::spoofed),
    nobody("passed-tcp", handed::tcp_passed),
    nobody("passed-udp", handed::udp_passed),
    early(nobody("passed-connected", handed::connected_passed)),
    nobody("relayed", handed::relayed),
    nobody("accepted", handed::accepted),
    nobody("replied", handed::replied),
    early(container("container-tcp", namespace::connect)),
    early(container("container-udp", namespace::send)),
    early(container("container-packet", namespace::packet)),
    early(container("container-translated", namespace::translated)),
    early(container("container-spoofed", namespace::spoofed)),
    early(container("container-dhcp", namespace::dhcp)),
    early(container("container-tunnel", namespace::tunnel)),
    nobody("l2tp", protocols::l2tp_v4),
    nobody("l2tp-v6", protocols::l2tp_v6),
    nobody("sctp-connect", protocols::sctp_connect),
    nobody("sctp-connect-v6", protocols::sctp_connect_v6),
    nobody("sctp-connect-mapped", protocols::sctp_connect_mapped),
    nobody("sctp-connectx", protocols::sctp_connectx),
    nobody("sctp-connectx-old", protocols::sctp_connectx_old),
    nobody("sctp-connectx-second", protocols::sctp_connectx_second),
    nobody("sctp-sendto", protocols::sctp_sendto),
    nobody("sctp-sendmsg", protocols::sctp_sendmsg),
    nobody("sctp-sendv", protocols::sctp_sendv),
    nobody("sctp-announced", protocols::sctp_announced),
    nobody("dccp", protocols::dccp),
    nobody("dccp-v6", protocols::dccp_v6),
    nobody("smc", protocols::smc),
    nobody("rds", protocols::rds),
    root("nfs", kernel::nfs),
    root("nfs-udp", kernel::nfs_udp),
    root("cifs", kernel::cifs),
    root("ceph", kernel::ceph),
    root("nvme", kernel::nvme),
    root("tun", kernel::tun),
    root("translated-tcp", kernel::translated_tcp),
    root("translated-udp", kernel::translated_udp),
    root("routed-inline", kernel::routed_inline),
    root("routed-encapsulated", kernel::routed_encapsulated),
    root("rewritten", kernel::rewritten),
    root("tunnel-ipip", kernel::ipip),
    root("tunnel-gre", kernel::gre),
    root("tunnel-vxlan", kernel::vxlan),
    root("tunnel-geneve", kernel::geneve),
];
