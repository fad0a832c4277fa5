use super::*;
use serde_json::Value;

const RAW: i32 = 101;
const SERVER: [u8; 4] = [192, 0, 2, 53];
const CLIENT: [u8; 4] = [192, 0, 2, 1];

/// A UDP datagram in an IPv4 packet.
fn udp(from: ([u8; 4], u16), to: ([u8; 4], u16), payload: &[u8]) -> Vec<u8> {
    let length = 28 + payload.len() as u16;
    let mut packet = vec![0x45, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([0, 0, 0, 0, 64, UDP, 0, 0]);
    packet.extend(from.0);
    packet.extend(to.0);
    packet.extend([from.1.to_be_bytes(), to.1.to_be_bytes(), (length - 20).to_be_bytes(), [0, 0]].concat());
    packet.extend(payload);
    packet
}

fn query(id: u8) -> Vec<u8> {
    let message = [&[0, id, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0][..], b"\x01a\x04test\0\0\x01\0\x01"].concat();
    udp((CLIENT, 4000), (SERVER, 53), &message)
}

/// An answer to [`query`] with a record of TTL 60.
fn answer(id: u8, owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
    let mut message =
        [&[0, id, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0][..], b"\x01a\x04test\0\0\x01\0\x01"].concat();
    message.extend(owner);
    message.extend(kind.to_be_bytes());
    message.extend([0, 1, 0, 0, 0, 60]);
    message.extend((data.len() as u16).to_be_bytes());
    message.extend(data);
    udp((SERVER, 53), (CLIENT, 4000), &message)
}

/// The lines about these packets, one a second from 1970 on, as JSON.
fn replay(packets: &[Vec<u8>], policy: Option<&Compiled>, unasked: bool) -> Vec<Value> {
    let everything = image_of_everything().unwrap();
    let mut replay = Replay::new(&everything, policy, unasked);
    let lines = (1..).zip(packets).flat_map(|(number, bytes)| {
        let time = number * 1_000_000_000;
        replay.take(&Frame { number, time, link: RAW, length: bytes.len() as u32, bytes })
    });
    lines.map(|line| serde_json::to_value(&line).unwrap()).collect()
}

#[test]
fn an_answer_that_was_asked_for_binds_once() {
    let answer = answer(7, &[0xc0, 12], 1, &[203, 0, 113, 7]);
    let lines = replay(&[query(7), answer.clone(), answer.clone()], None, false);
    let [binding, again] = &lines[..] else { panic!("{lines:?}") };
    let expected = serde_json::json!({
        "packet": 2, "time": "1970-01-01T00:00:02.000000000Z", "server": "192.0.2.53", "transport": "udp",
        "name": "a.test", "chain": [], "address": "203.0.113.7", "ttl": 60,
        "expiry": "1970-01-01T00:01:02.000000000Z", "source": "both",
    });
    assert_eq!(binding, &expected);
    assert_eq!(again["refused"], "not believed: its query is not in the capture");
    assert_eq!(replay(&[answer], None, true).len(), 1);
}

#[test]
fn what_only_the_daemon_reads_is_told_apart() {
    // A DNAME without the CNAME that belongs to it, then an address of the moved name.
    let mut packet = answer(7, b"\x04test\0", 39, b"\x03new\0");
    packet.extend(b"\x01a\x03new\0\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x07");
    packet[28 + 7] = 2;
    let length = packet.len() as u16;
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[24..26].copy_from_slice(&(length - 20).to_be_bytes());
    let lines = replay(&[packet], None, true);
    assert_eq!((&lines[0]["source"], &lines[0]["chain"]), (&"daemon".into(), &serde_json::json!(["a.new"])));
}

#[test]
fn rules_are_told_with_who_knows_them() {
    let text = "version: 1\nname: guard\nrules:\n\
        - { name: exact, action: deny, to: { names: [\"a.test\"] } }\n\
        - { name: other, action: allow, to: { names: [\"b.test\"] } }\n";
    let source = policy_schema::Source { path: "guard.yaml".into(), text: text.to_owned() };
    struct NoLists;
    impl policy_schema::ReadList for NoLists {
        fn read(&self, _: &std::path::Path) -> std::io::Result<Vec<policy_schema::ListFile>> {
            Ok(Vec::new())
        }
    }
    let (policy, _) = policy_schema::Policy::parse(&source, &NoLists).unwrap();
    let (set, _) = policy_schema::PolicySet::new(vec![policy], None).unwrap();
    let compiled = crate::explain::compile(set, |_| None).unwrap();
    let lines = replay(&[answer(7, &[0xc0, 12], 1, &[203, 0, 113, 7])], Some(&compiled), true);
    let expected =
        serde_json::json!([{ "policy": "guard", "rule": "exact", "action": "deny", "late": false }]);
    assert_eq!(lines[0]["rules"], expected, "{lines:?}");
}

#[test]
fn what_cannot_be_read_is_told_with_the_reason() {
    let mut two = answer(7, &[0xc0, 12], 1, &[203, 0, 113, 7]);
    two[28 + 5] = 2;
    let damaged = answer(7, &[0xc0, 12], 1, &[203, 0, 113]);
    let mut fragment = answer(7, &[0xc0, 12], 1, &[203, 0, 113, 7]);
    fragment[6] = 0x20;
    let others = answer(7, b"\x01b\0", 1, &[203, 0, 113, 7]);
    for (packet, expected) in [
        (two, "not read: the message has 2 questions"),
        (damaged, "damaged behind what was read"),
        (fragment, "a fragment"),
        (others, "1 records belong to no name of the chain"),
    ] {
        let lines = replay(&[packet], None, true);
        let [line] = &lines[..] else { panic!("{expected}: {lines:?}") };
        assert!(line["refused"].as_str().unwrap().starts_with(expected), "{line}");
    }
}

#[test]
fn nothing_makes_it_panic() {
    let packet = answer(7, &[0xc0, 12], 1, &[203, 0, 113, 7]);
    let cut = (0..packet.len()).map(|length| packet[..length].to_vec());
    let turned = (0..packet.len()).map(|at| {
        let mut packet = packet.clone();
        packet[at] ^= 0xff;
        packet
    });
    replay(&cut.chain(turned).collect::<Vec<_>>(), None, true);
}
