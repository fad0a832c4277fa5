//! What netlink-packet-sock-diag has no words for: the storage of sockets, and their cgroups
//! (include/uapi/linux/inet_diag.h, include/uapi/linux/sock_diag.h).

use super::{Socket, Transport};
use enforcer_common::flow::Flow;
use netlink_packet_core::{
    DefaultNla, Emitable, NLA_HEADER_SIZE, NLA_TYPE_MASK, NetlinkSerializable, Nla as _, NlasIterator,
};
use netlink_packet_sock_diag::inet::{InetRequest, InetResponse, nlas::Nla};
use std::{
    net::SocketAddr,
    os::fd::{AsRawFd as _, BorrowedFd},
};

/// `INET_DIAG_REQ_SK_BPF_STORAGES`.
const REQUEST_STORAGES: u16 = 2;
/// `SK_DIAG_BPF_STORAGE_REQ_MAP_FD`.
const MAP_FD: u16 = 1;
/// `INET_DIAG_SK_BPF_STORAGES`.
const STORAGES: u16 = 20;
/// `SK_DIAG_BPF_STORAGE`.
const STORAGE: u16 = 1;
/// `SK_DIAG_BPF_STORAGE_MAP_VALUE`.
const MAP_VALUE: u16 = 3;
/// `INET_DIAG_CGROUP_ID`.
const CGROUP_ID: u16 = 21;

/// A request with attributes.
#[derive(Debug)]
pub(super) struct Request {
    /// `SOCK_DIAG_BY_FAMILY` or `SOCK_DESTROY`.
    pub(super) kind: u16,
    pub(super) socket: InetRequest,
    /// Whole attributes, padded.
    pub(super) attributes: Vec<u8>,
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        self.socket.buffer_len() + self.attributes.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        if let Some((socket, attributes)) = buffer.split_at_mut_checked(self.socket.buffer_len()) {
            self.socket.emit(socket);
            attributes.copy_from_slice(&self.attributes);
        }
    }
}

/// The attribute that asks for what a map has about each socket.
pub(super) fn with_storage(map: BorrowedFd<'_>) -> Vec<u8> {
    let map = DefaultNla::new(MAP_FD, map.as_raw_fd().to_ne_bytes().to_vec());
    bytes(&DefaultNla::new(REQUEST_STORAGES, bytes(&map)))
}

/// A socket of a dump.
pub(super) fn socket(transport: Transport, response: &InetResponse) -> Socket {
    let InetResponse { header, nlas } = response;
    let id = header.socket_id.clone();
    let (mut cgroup, mut flow) = (0, None);
    for nla in nlas {
        let Nla::Other(attribute) = nla else { continue };
        let mut value = vec![0; attribute.value_len()];
        attribute.emit_value(&mut value);
        match attribute.kind() & NLA_TYPE_MASK {
            CGROUP_ID => cgroup = value.try_into().map_or(0, u64::from_ne_bytes),
            STORAGES => flow = storage(&value),
            _ => {}
        }
    }
    let address = |ip: std::net::IpAddr, port| SocketAddr::new(ip.to_canonical(), port);
    Socket {
        transport,
        local: address(id.source_address, id.source_port),
        remote: address(id.destination_address, id.destination_port),
        uid: header.uid,
        cgroup,
        flow,
        family: header.family,
        id,
    }
}

/// What the one map that was asked for has about a socket.
pub(super) fn storage(storages: &[u8]) -> Option<Flow> {
    let storage = find(storages, STORAGE)?;
    Flow::from_bytes(find(storage, MAP_VALUE)?)
}

/// The first attribute of a kind.
fn find(attributes: &[u8], kind: u16) -> Option<&[u8]> {
    let found = NlasIterator::new(attributes).flatten().find(|attribute| attribute.kind() == kind)?;
    let end = NLA_HEADER_SIZE + found.value_length();
    found.into_inner().get(NLA_HEADER_SIZE..end)
}

fn bytes(attribute: &DefaultNla) -> Vec<u8> {
    let mut bytes = vec![0; attribute.buffer_len()];
    attribute.emit(&mut bytes);
    bytes
}
