//! The headers of nearly every packet, at a glance: where all that is asked stands at a place that is known beforehand.

use super::{Bytes, HEADER_V4, HEADER_V6, MORE_V4, OFFSET_V4, Ports, TCP, UDP, flag};
use crate::Address;

/// A packet of UDP or TCP that is no fragment, has no options of IPv4 and no extension headers of IPv6. It says of it what
/// [`super::Network`] and [`crate::wire::Route`] say, but not whether the packet is as long as its header says.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Plain {
    /// [`UDP`] or [`TCP`].
    pub protocol: u8,
    /// Who sent it.
    pub source: Address,
    /// To whom it is addressed.
    pub destination: Address,
    /// The ports of both.
    pub ports: Ports,
    v6: bool,
}

impl Plain {
    /// Reads the headers. `None` for everything else, and what ends before its ports do.
    #[inline(always)]
    pub fn of(packet: &impl Bytes) -> Option<Self> {
        let [first, _, _, _, _, _, six, seven, _, nine] = packet.load(0)?;
        let (v6, protocol, source, destination, ports) = match first {
            0x45 if u16::from_be_bytes([six, seven]) & (MORE_V4 | OFFSET_V4) != 0 => return None,
            0x45 => {
                let (source, destination) = (packet.load(12)?, packet.load(16)?);
                let ports = packet.load(HEADER_V4)?;
                (false, nine, Address::from_v4(source), Address::from_v4(destination), ports)
            }
            0x60..=0x6f => {
                let (source, destination) = (packet.load(8)?, packet.load(24)?);
                let ports = packet.load(HEADER_V6)?;
                (true, six, Address::from_v6(source), Address::from_v6(destination), ports)
            }
            _ => return None,
        };
        matches!(protocol, UDP | TCP).then_some(Self {
            protocol,
            source,
            destination,
            ports: Ports::of(ports),
            v6,
        })
    }

    /// Whether the packet opens a connection of TCP, or may: no other segment comes before.
    #[inline(always)]
    pub fn opens(&self, packet: &impl Bytes) -> bool {
        const FLAGS: u32 = 13;
        let flags = if self.v6 { packet.load(HEADER_V6 + FLAGS) } else { packet.load(HEADER_V4 + FLAGS) };
        self.protocol == TCP && flags.is_none_or(|[flags]: [u8; 1]| flag::opens(flags))
    }
}
