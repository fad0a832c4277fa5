//! From a captured frame to the IP packet in it. Link types: <https://www.tcpdump.org/linktypes.html>.

/// The IP packet of a frame, if it is of a known link type and carries one.
pub(super) fn packet(link: i32, frame: &[u8]) -> Option<&[u8]> {
    let packet = match link {
        ETHERNET => tagged(frame.get(12..)?)?,
        LINUX_SLL => tagged(frame.get(14..)?)?,
        // The protocol stands in front, 18 bytes before the payload.
        LINUX_SLL2 => match frame.first_chunk()? {
            [0x08, 0x00] | [0x86, 0xdd] => frame.get(20..)?,
            [0x81, 0x00] | [0x88, 0xa8] => tagged(frame.get(22..)?)?,
            _ => return None,
        },
        // The address family in the byte order of whoever captured; the packet says itself what it is.
        NULL | LOOP => frame.get(4..)?,
        RAW | RAW_OF_LINUX | IPV4 | IPV6 => frame,
        _ => return None,
    };
    matches!(packet.first()? >> 4, 4 | 6).then_some(packet)
}

/// Whether [`packet`] can find packets in frames of this type.
pub(super) fn is_known(link: i32) -> bool {
    matches!(link, ETHERNET | LINUX_SLL | LINUX_SLL2 | NULL | LOOP | RAW | RAW_OF_LINUX | IPV4 | IPV6)
}

const NULL: i32 = 0;
const ETHERNET: i32 = 1;
/// `DLT_RAW` of Linux, which some programs write to files.
const RAW_OF_LINUX: i32 = 12;
const RAW: i32 = 101;
const LOOP: i32 = 108;
const LINUX_SLL: i32 = 113;
const IPV4: i32 = 228;
const IPV6: i32 = 229;
const LINUX_SLL2: i32 = 276;

/// Most VLAN tags: one of the customer's and one of the provider's (IEEE 802.1Q).
const TAGS_MAX: usize = 2;

/// What stands behind an EtherType that is at the start, and behind VLAN tags.
fn tagged(mut rest: &[u8]) -> Option<&[u8]> {
    for _ in 0..=TAGS_MAX {
        rest = match rest {
            [0x08, 0x00, packet @ ..] | [0x86, 0xdd, packet @ ..] => return Some(packet),
            [0x81, 0x00, _, _, next @ ..] | [0x88, 0xa8, _, _, next @ ..] => next,
            _ => return None,
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: [u8; 3] = [0x45, 1, 2];

    #[test]
    fn the_packet_is_found_behind_each_link_header() {
        let ethernet = |tags: &[u8], kind: [u8; 2]| [&[0; 12][..], tags, &kind, &IP].concat();
        let sll2 = |kind: [u8; 2], tags: &[u8]| [&kind[..], &[0; 18], tags, &IP].concat();
        for (link, frame) in [
            (ETHERNET, ethernet(&[], [8, 0])),
            (ETHERNET, ethernet(&[0x81, 0, 0, 7], [8, 0])),
            (ETHERNET, ethernet(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 7], [8, 0])),
            (LINUX_SLL, [&[0; 14][..], &[8, 0], &IP].concat()),
            (LINUX_SLL2, sll2([8, 0], &[])),
            (LINUX_SLL2, sll2([0x81, 0], &[0, 7, 8, 0])),
            (NULL, [&[2, 0, 0, 0][..], &IP].concat()),
            (LOOP, [&[0, 0, 0, 2][..], &IP].concat()),
            (RAW, IP.to_vec()),
            (IPV4, IP.to_vec()),
        ] {
            assert!(is_known(link));
            assert_eq!(packet(link, &frame), Some(&IP[..]), "{link}");
            for length in 0..frame.len() - IP.len() {
                assert_eq!(packet(link, &frame[..length]), None, "{link}, {length} bytes");
            }
        }
    }

    #[test]
    fn other_protocols_and_link_types_are_no_packet() {
        let arp = [&[0; 12][..], &[8, 6], &IP].concat();
        assert_eq!(packet(ETHERNET, &arp), None);
        assert_eq!(packet(RAW, &[0x15, 0]), None);
        assert!(packet(105, &IP).is_none() && !is_known(105));
    }
}
