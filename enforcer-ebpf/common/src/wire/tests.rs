use super::*;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const A: [u8; 4] = [198, 51, 100, 7];
const T: [u8; 4] = [203, 0, 113, 7];

fn v4(options: &[u8], fragment: u16, protocol: u8, payload: &[u8]) -> Vec<u8> {
    assert!(options.len().is_multiple_of(4));
    let length = 20 + options.len() + payload.len();
    let mut packet = vec![0x40 | (5 + options.len() / 4) as u8, 0];
    packet.extend((length as u16).to_be_bytes());
    packet.extend([0, 1]);
    packet.extend(fragment.to_be_bytes());
    packet.extend([64, protocol, 0, 0]);
    packet.extend(A);
    packet.extend(T);
    packet.extend(options);
    packet.extend(payload);
    packet
}

fn six(last: u16) -> [u8; 16] {
    Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last).octets()
}

/// An IPv6 packet with these extension headers: number, and what stands behind the number of the next.
fn v6(extensions: &[(u8, Vec<u8>)], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut rest = Vec::new();
    for (index, (_, body)) in extensions.iter().enumerate() {
        rest.push(extensions.get(index + 1).map_or(protocol, |(next, _)| *next));
        rest.extend(body);
    }
    rest.extend(payload);
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((rest.len() as u16).to_be_bytes());
    packet.extend([extensions.first().map_or(protocol, |(first, _)| *first), 64]);
    packet.extend(six(1));
    packet.extend(six(2));
    packet.extend(rest);
    packet
}

fn routing(kind: u8, left: u8, last: u8, stations: &[[u8; 16]]) -> (u8, Vec<u8>) {
    let mut body = vec![(stations.len() * 2) as u8, kind, left, last, 0, 0, 0];
    body.extend(stations.iter().flatten());
    (43, body)
}

/// The destination and the stations.
fn addresses(packet: &[u8]) -> Option<Vec<IpAddr>> {
    let route = Route::of(&packet)?;
    assert_eq!(Route::unpack(route.pack()), Some(route), "it survives a register");
    let stations = (0..route.stations).map(|index| route.station_at(index));
    [route.destination_at()]
        .into_iter()
        .chain(stations)
        .map(|at| Some(route.address(&packet, at)?.into()))
        .collect()
}

fn v4s(list: &[[u8; 4]]) -> Option<Vec<IpAddr>> {
    Some(list.iter().map(|octets| Ipv4Addr::from(*octets).into()).collect())
}

fn v6s(list: &[u16]) -> Option<Vec<IpAddr>> {
    Some(list.iter().map(|last| six(*last).into()).collect())
}

#[test]
fn a_usual_packet_has_one_destination_and_its_ports() {
    let ports = [0x30, 0x39, 0x01, 0xbb, 0, 0, 0, 0];
    for protocol in [TCP, UDP, UDP_LITE, SCTP, DCCP] {
        let packet = v4(&[], 0x4000, protocol, &ports);
        let route = Route::of(&&packet[..]).unwrap();
        assert_eq!((route.protocol, route.steered, route.later_fragment), (protocol, false, false));
        assert_eq!(route.ports(&&packet[..]), Some((12345, 443)));
        assert_eq!(addresses(&packet), v4s(&[T]));
        let packet =
            v6(&[(0, vec![0; 7]), (60, vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])], protocol, &ports);
        let route = Route::of(&&packet[..]).unwrap();
        assert_eq!((route.protocol, route.steered), (protocol, false));
        assert_eq!(route.ports(&&packet[..]), Some((12345, 443)));
        assert_eq!(addresses(&packet), v6s(&[2]));
    }
    let packet = v4(&[], 0, ICMP, &ports);
    assert_eq!(Route::of(&&packet[..]).unwrap().ports(&&packet[..]), None, "an echo request has no ports");
    let packet = v4(&[], 0, UDP, &ports[..3]);
    assert_eq!(Route::of(&&packet[..]).unwrap().ports(&&packet[..]), None, "cut off");
}

#[test]
fn every_station_of_a_source_route_is_found() {
    let (b, c) = ([192, 0, 2, 1], [192, 0, 2, 2]);
    for kind in [131, 137] {
        let mut options = vec![1, kind, 11, 4];
        options.extend(b.iter().chain(&c));
        let packet = v4(&options, 0, UDP, &[0; 8]);
        assert_eq!(addresses(&packet), v4s(&[T, b, c]));
        assert!(Route::of(&&packet[..]).unwrap().steered);
    }
    // A record of the route is none, nor is a timestamp; what stands behind the end is nothing.
    assert_eq!(addresses(&v4(&[7, 7, 4, 9, 9, 9, 9, 0], 0, UDP, &[0; 8])), v4s(&[T]));
    assert_eq!(addresses(&v4(&[0, 131, 7, 4, 9, 9, 9, 9], 0, UDP, &[0; 8])), v4s(&[T]));
    for kind in [0, 2] {
        assert_eq!(addresses(&v6(&[routing(kind, 1, 0, &[six(3)])], UDP, &[0; 8])), v6s(&[2, 3]));
    }
    let segments = [six(3), six(4), six(5)];
    assert_eq!(addresses(&v6(&[routing(4, 2, 2, &segments)], TCP, &[0; 20])), v6s(&[2, 3, 4, 5]));
    // Receivers go by the segments that are left, not by what the sender calls the last.
    assert_eq!(addresses(&v6(&[routing(4, 2, 0, &segments)], TCP, &[0; 20])), v6s(&[2, 3, 4, 5]));
    assert_eq!(addresses(&v6(&[routing(4, 0, 2, &segments)], TCP, &[0; 20])), v6s(&[2]));
    // Behind other headers, too.
    let packet = v6(&[(0, vec![0; 7]), routing(2, 1, 0, &[six(3)])], UDP, &[0; 8]);
    assert_eq!(addresses(&packet), v6s(&[2, 3]));
}

#[test]
fn what_cannot_be_judged_whole_is_not_read() {
    let nine: Vec<[u8; 16]> = (10..19).map(six).collect();
    assert_eq!(addresses(&v6(&[routing(4, 8, 8, &nine)], UDP, &[0; 8])).unwrap().len(), 10);
    let ten: Vec<[u8; 16]> = (10..20).map(six).collect();
    assert_eq!(addresses(&v6(&[routing(4, 9, 9, &ten)], UDP, &[0; 8])), None, "too long");
    assert_eq!(addresses(&v6(&[routing(3, 1, 0, &[six(3)])], UDP, &[0; 8])), None, "of an unknown kind");
    let twice = [routing(2, 1, 0, &[six(3)]), routing(2, 1, 0, &[six(4)])];
    assert_eq!(addresses(&v6(&twice, UDP, &[0; 8])), None, "a second one");
    assert_eq!(addresses(&v4(&[131, 2, 4, 0], 0, UDP, &[0; 8])), None, "shorter than itself");
    assert_eq!(addresses(&v4(&[7, 0, 0, 0], 0, UDP, &[0; 8])), None, "an option without a length");
    let twice = [131, 7, 4, 9, 9, 9, 9, 131, 7, 4, 9, 9, 9, 8, 0, 0];
    assert_eq!(addresses(&v4(&twice, 0, UDP, &[0; 8])), None, "a second one");
    assert_eq!(addresses(&[0x50; 40]), None);
    assert_eq!(addresses(&v4(&[], 0, UDP, &[])[..8]), None);
    let whole = v6(&[routing(4, 2, 2, &[six(3), six(4), six(5)])], TCP, &[]);
    // The stations, or the headers, that are cut off lead nowhere.
    assert!((41..whole.len()).all(|end| addresses(&whole[..end]).is_none_or(|found| found.len() == 4)));
    assert_eq!(addresses(&whole[..60]), None);
}

#[test]
fn a_later_fragment_has_a_destination_and_no_ports() {
    let packet = v4(&[], 0x2001, UDP, &[0; 8]);
    let route = Route::of(&&packet[..]).unwrap();
    assert!(route.later_fragment && route.ports(&&packet[..]).is_none());
    assert_eq!(addresses(&packet), v4s(&[T]));
    let first = v4(&[], 0x2000, UDP, &[0, 1, 0, 2, 0, 0, 0, 0]);
    assert_eq!(Route::of(&&first[..]).unwrap().ports(&&first[..]), Some((1, 2)));
    let packet = v6(&[(44, vec![0, 0, 9, 0, 0, 0, 1])], UDP, &[0; 8]);
    let route = Route::of(&&packet[..]).unwrap();
    assert!(route.later_fragment && route.ports(&&packet[..]).is_none());
    // What looks like a routing header there is payload.
    let packet = v6(&[(44, vec![0, 0, 9, 0, 0, 0, 1]), routing(4, 1, 1, &[six(3), six(4)])], UDP, &[0; 8]);
    assert_eq!(addresses(&packet), v6s(&[2]));
}

#[test]
fn the_route_agrees_with_the_reader_of_received_packets() {
    let packet = v6(&[(60, vec![0; 7])], UDP, &[0x30, 0x39, 0, 53, 0, 8, 0, 0]);
    let network = crate::packet::Network::of(&&packet[..]).unwrap();
    let route = Route::of(&&packet[..]).unwrap();
    assert_eq!((route.protocol, route.payload), (network.protocol, network.payload.start));
    assert_eq!(route.address(&&packet[..], route.source_at()), network.source(&&packet[..]));
    assert_eq!(route.address(&&packet[..], route.destination_at()), network.destination(&&packet[..]));
}
