//! What DNS travels in: the datagrams and the segments of a packet.

use crate::skb::{Head, Skb};
use aya_ebpf::programs::SkBuffContext;
use enforcer_common::{
    Address,
    packet::{Network, Plain, Ports, Segment, Span},
};

pub(crate) use enforcer_common::decide::DNS;

/// Most datagrams of one packet (`UDP_MAX_SEGMENTS`, `include/linux/udp.h`; 64 before Linux 6.10).
pub(crate) const DATAGRAMS_MAX: u32 = 128;

/// A UDP datagram inside a packet.
pub(crate) struct Datagram {
    pub(crate) source: Address,
    pub(crate) destination: Address,
    pub(crate) ports: Ports,
    /// The payload.
    pub(crate) message: Span,
}

/// Who sent an answer to which port.
pub(crate) struct Source {
    pub(crate) server: Address,
    pub(crate) client_port: u16,
}

impl Datagram {
    /// The one of this number, of those that the packet consists of.
    #[inline(always)]
    pub(crate) fn of(packet: &Skb<'_>, network: &Network, ports: Ports, index: u16) -> Option<Self> {
        let datagram = Self::whole(packet, network, ports)?;
        Some(Self { message: datagram.message.part(packet.datagram_size(), index)?, ..datagram })
    }

    /// All of the packet as one. `None` if it is not of UDP.
    #[inline(always)]
    pub(crate) fn whole(packet: &Skb<'_>, network: &Network, ports: Ports) -> Option<Self> {
        let (source, destination) = (network.source(packet)?, network.destination(packet)?);
        Some(Self { source, destination, ports, message: network.datagram(packet)? })
    }
}

/// What nearly every packet says, at a glance. `None` tells nothing.
#[inline(always)]
pub(crate) fn glance(ctx: &SkBuffContext) -> Option<Plain> {
    Plain::of(&Head(ctx))
}

/// Headers of a packet of UDP or TCP, if its ports are wanted.
#[inline(always)]
pub(crate) fn headers(packet: &Skb<'_>, wanted: impl FnOnce(&Ports) -> bool) -> Option<(Network, Ports)> {
    let network = Network::of(packet)?;
    let ports = network.ports(packet).filter(wanted)?;
    Some((network, ports))
}

/// A segment of TCP, and who sent it.
#[inline(always)]
pub(crate) fn segment(packet: &Skb<'_>, network: &Network, ports: Ports) -> Option<(Source, Segment)> {
    let source = Source { server: network.source(packet)?, client_port: ports.destination };
    Some((source, network.segment(packet)?))
}
