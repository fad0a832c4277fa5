use super::*;
use crate::wire::Route;
use etherparse::{SlicedPacket, TransportSlice};
use proptest::prelude::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What a packet says, as this module and as etherparse read it.
#[derive(Debug, Eq, PartialEq)]
struct Read {
    source: Address,
    destination: Address,
    ports: (u16, u16),
    /// Sequence number and SYN, FIN, RST, ACK of TCP.
    tcp: Option<(u32, u8)>,
    payload: Vec<u8>,
}

fn ours(packet: &[u8]) -> Option<Read> {
    let network = Network::of(&packet)?;
    let ports = network.ports(&packet)?;
    let segment = network.segment(&packet);
    let span = network.datagram(&packet).or(segment.map(|segment| segment.payload))?;
    Some(Read {
        source: network.source(&packet)?,
        destination: network.destination(&packet)?,
        ports: (ports.source, ports.destination),
        tcp: segment.map(|segment| (segment.sequence, segment.flags & (0x07 | flag::ACK))),
        payload: packet[span.start as usize..span.end as usize].to_vec(),
    })
}

fn theirs(packet: &[u8]) -> Option<Read> {
    let sliced = SlicedPacket::from_ip(packet).ok()?;
    let net = sliced.net?;
    let (source, destination): (IpAddr, IpAddr) = match (net.ipv4_ref(), net.ipv6_ref()) {
        (Some(v4), _) => (v4.header().source_addr().into(), v4.header().destination_addr().into()),
        (_, Some(v6)) => (v6.header().source_addr().into(), v6.header().destination_addr().into()),
        _ => return None,
    };
    let (ports, tcp, payload) = match sliced.transport? {
        TransportSlice::Udp(udp) => ((udp.source_port(), udp.destination_port()), None, udp.payload()),
        TransportSlice::Tcp(tcp) => {
            let flags = [
                (tcp.fin(), flag::FIN),
                (tcp.syn(), flag::SYN),
                (tcp.rst(), flag::RST),
                (tcp.ack(), flag::ACK),
            ]
            .into_iter()
            .fold(0, |flags, (set, flag)| if set { flags | flag } else { flags });
            ((tcp.source_port(), tcp.destination_port()), Some((tcp.sequence_number(), flags)), tcp.payload())
        }
        _ => return None,
    };
    let (source, destination) = (source.into(), destination.into());
    Some(Read { source, destination, ports, tcp, payload: payload.to_vec() })
}

/// An extension header: its number, and its bytes with the place of the next header's number left open.
type Extension = (u8, Vec<u8>);

fn extension() -> impl Strategy<Value = Extension> {
    let options = (prop::sample::select(vec![ROUTING, DESTINATION]), 0_u8..4).prop_map(|(number, units)| {
        let mut bytes = vec![0, units];
        bytes.resize((usize::from(units) + 1) * 8, 0);
        (number, bytes)
    });
    let fragment = any::<u32>().prop_map(|id| (FRAGMENT, [&[0, 0, 0, 0], &id.to_be_bytes()[..]].concat()));
    let authentication = (1_u8..6).prop_map(|units| {
        let mut bytes = vec![0, units];
        bytes.resize((usize::from(units) + 2) * 4, 7);
        (AUTHENTICATION, bytes)
    });
    prop_oneof![options, fragment, authentication]
}

fn extensions() -> impl Strategy<Value = Vec<Extension>> {
    (any::<bool>(), prop::collection::vec(extension(), 0..5)).prop_map(|(first, mut chain)| {
        if first {
            // Hop-by-hop options stand first or nowhere.
            chain.insert(0, (HOP_BY_HOP, vec![0, 0, 1, 4, 0, 0, 0, 0]));
        }
        chain
    })
}

/// A UDP datagram or a TCP segment with its options.
fn transport() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let payload = || prop::collection::vec(any::<u8>(), 0..64);
    let udp = (any::<[u8; 4]>(), payload()).prop_map(|(ports, payload)| {
        let length = u16::try_from(payload.len() + 8).unwrap().to_be_bytes();
        (UDP, [&ports[..], &length, &[0, 0], &payload].concat())
    });
    let tcp =
        (any::<[u8; 12]>(), 0_u8..=10, any::<u8>(), payload()).prop_map(|(head, options, flags, payload)| {
            let fixed = [&head[..], &[(options + 5) << 4, flags], &[0; 6]].concat();
            (TCP, [fixed, vec![1; usize::from(options) * 4], payload].concat())
        });
    prop_oneof![udp, tcp]
}

fn v4() -> impl Strategy<Value = Vec<u8>> {
    (transport(), any::<[u8; 8]>(), 0_u8..=10).prop_map(|((protocol, body), addresses, options)| {
        let header = 20 + usize::from(options) * 4;
        let total = u16::try_from(header + body.len()).unwrap().to_be_bytes();
        let mut packet = vec![0x45 + options, 0, total[0], total[1], 0, 0, 0x40, 0, 64, protocol, 0, 0];
        packet.extend(addresses);
        packet.resize(header, 1);
        [packet, body].concat()
    })
}

fn v6() -> impl Strategy<Value = Vec<u8>> {
    (transport(), any::<[u8; 32]>(), extensions()).prop_map(|((protocol, body), addresses, chain)| {
        let mut rest = Vec::new();
        let mut numbers: Vec<u8> = chain.iter().map(|(number, _)| *number).collect();
        numbers.push(protocol);
        for ((_, bytes), next) in chain.iter().zip(&numbers[1..]) {
            rest.push(*next);
            rest.extend(&bytes[1..]);
        }
        rest.extend(body);
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&[0x60, 0, 0, 0, length[0], length[1], numbers[0], 64][..], &addresses, &rest].concat()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn a_packet_says_what_etherparse_reads(
        packet in prop_oneof![v4(), v6()],
        padding in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let packet = [packet, padding].concat();
        let read = ours(&packet);
        prop_assert!(read.is_some());
        prop_assert_eq!(read, theirs(&packet));
    }

    #[test]
    fn a_damaged_packet_says_the_same_or_nothing(
        packet in prop_oneof![v4(), v6()],
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut packet = packet;
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        if !whole {
            packet.truncate(cut.index(packet.len()));
        }
        // What etherparse refuses and we read is no danger: the receiver refuses it too, or gets what we read.
        if let Some(theirs) = theirs(&packet) {
            prop_assert_eq!(ours(&packet), Some(theirs));
        }
        at_a_glance(&packet)?;
    }

    #[test]
    fn a_fragment_is_not_plain(packet in v4(), fragment in 1..(MORE_V4 | OFFSET_V4)) {
        let mut packet = packet;
        packet[6..8].copy_from_slice(&fragment.to_be_bytes());
        prop_assert_eq!(Plain::of(&&packet[..]), None);
    }

    #[test]
    fn what_has_no_options_is_plain(packet in prop_oneof![v4(), v6()]) {
        let usual = packet[0] == 0x45 || packet[0] == 0x60 && matches!(packet[6], TCP | UDP);
        prop_assert_eq!(Plain::of(&&packet[..]).is_some(), usual);
        at_a_glance(&packet)?;
    }
}

/// What a glance says is what a closer look says, to those who judge what is received and what is sent.
fn at_a_glance(packet: &[u8]) -> Result<(), TestCaseError> {
    if let [0x45, _, _, _, _, _, high, low, ..] = packet {
        let fragment = u16::from_be_bytes([*high, *low]) & (MORE_V4 | OFFSET_V4) != 0;
        prop_assert!(!fragment || Plain::of(&packet).is_none());
    }
    let Some(plain) = Plain::of(&packet) else { return Ok(()) };
    let route = Route::of(&packet).unwrap();
    prop_assert!(route.stations == 0 && !route.steered && !route.later_fragment);
    prop_assert_eq!(route.protocol, plain.protocol);
    prop_assert_eq!(route.address(&packet, route.source_at()), Some(plain.source));
    prop_assert_eq!(route.address(&packet, route.destination_at()), Some(plain.destination));
    prop_assert_eq!(route.ports(&packet), Some((plain.ports.source, plain.ports.destination)));
    let flags = packet.get(route.payload as usize + 13).copied().unwrap_or(flag::SYN);
    let opens = plain.protocol == TCP && flags & (flag::SYN | flag::ACK) == flag::SYN;
    prop_assert_eq!(plain.opens(&packet), opens);
    // It does not look at lengths.
    if let Some(network) = Network::of(&packet) {
        prop_assert_eq!(network.protocol, plain.protocol);
        prop_assert_eq!(network.source(&packet), Some(plain.source));
        prop_assert_eq!(network.destination(&packet), Some(plain.destination));
        prop_assert!(network.ports(&packet).is_none_or(|ports| ports == plain.ports));
    }
    Ok(())
}

#[test]
fn a_fragment_is_not_read_unless_it_is_the_whole_packet() {
    let udp = [0, 53, 1, 1, 0, 8, 0, 0];
    let packet = |offset_and_more: [u8; 2]| {
        let fragment = [&[UDP, 0][..], &offset_and_more, &[0, 0, 0, 9]].concat();
        [&[0x60, 0, 0, 0, 0, 16, FRAGMENT, 64][..], &[1; 32], &fragment, &udp].concat()
    };
    assert!(ours(&packet([0, 0])).is_some());
    assert_eq!(ours(&packet([0, 1])), None);
    assert_eq!(ours(&packet([0, 8])), None);
}

#[test]
fn as_many_extension_headers_as_the_packet_holds() {
    let udp = [0, 53, 1, 1, 0, 8, 0, 0];
    let mut rest = [DESTINATION, 0, 1, 4, 0, 0, 0, 0].repeat(500);
    rest[499 * 8] = UDP;
    rest.extend(udp);
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    let packet = [&[0x60, 0, 0, 0, length[0], length[1], DESTINATION, 64][..], &[1; 32], &rest].concat();
    assert_eq!(ours(&packet).map(|read| read.ports), Some((53, 257)));
}

#[test]
fn a_length_of_zero_means_the_whole_packet() {
    // What Linux puts together beyond 64 KiB.
    let tcp = [&[0; 12][..], &[0x50, flag::ACK], &[0; 6], b"data"].concat();
    let v4 = [&[0x45, 0, 0, 0, 0, 0, 0, 0, 64, TCP, 0, 0][..], &[9; 8], &tcp].concat();
    let jumbo = [TCP, 0, 0xc2, 4, 0, 1, 0, 0];
    let v6 = [&[0x60, 0, 0, 0, 0, 0, HOP_BY_HOP, 64][..], &[1; 32], &jumbo, &tcp].concat();
    for packet in [v4, v6] {
        assert_eq!(ours(&packet).map(|read| read.payload), Some(b"data".to_vec()));
    }
}

#[test]
fn addresses_are_in_their_one_spelling() {
    let udp = [0, 53, 1, 1, 0, 8, 0, 0];
    let v4 = [&[0x45, 0, 0, 28, 0, 0, 0, 0, 64, UDP, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2][..], &udp].concat();
    let read = ours(&v4).unwrap();
    assert_eq!(IpAddr::from(read.source), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    assert_eq!(IpAddr::from(read.destination), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));
    let (from, to) = (Ipv6Addr::LOCALHOST, Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
    let v6 = [&[0x60, 0, 0, 0, 0, 8, UDP, 64][..], &from.octets(), &to.octets(), &udp].concat();
    let read = ours(&v6).unwrap();
    assert_eq!((IpAddr::from(read.source), IpAddr::from(read.destination)), (from.into(), to.into()));
}

#[test]
fn parts_are_all_of_it_and_no_more() {
    let parts = |span: Span, size| (0..=u16::MAX).map_while(move |index| span.part(size, index));
    let whole = Span { start: 28, end: 28 + 100 };
    assert_eq!(parts(whole, 0).collect::<Vec<_>>(), [whole]);
    assert_eq!(parts(whole, 100).collect::<Vec<_>>(), [whole]);
    for size in [1, 7, 48, 50, 99, 101, u16::MAX] {
        let mut at = whole.start;
        for part in parts(whole, size) {
            assert_eq!(part.start, at, "{size}");
            assert!(part.length() == u32::from(size) || part.end == whole.end, "{size}: {part:?}");
            at = part.end;
        }
        assert_eq!(at, whole.end, "{size}");
    }
    assert_eq!(whole.part(u16::MAX, u16::MAX), None);
    let empty = Span { start: 28, end: 28 };
    assert_eq!(parts(empty, 0).collect::<Vec<_>>(), [empty]);
    assert_eq!(empty.part(100, 0), None);
}
