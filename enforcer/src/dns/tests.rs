use super::{Answer, DecodeError, decode};
use crate::name::Name;
use enforcer_common::Address;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::svcb::{IpHint, SvcParamKey, SvcParamValue};
use hickory_proto::rr::rdata::{A, AAAA, CNAME, HTTPS, NULL, SVCB};
use hickory_proto::rr::{self, DNSClass, RData, Record, RecordType};
use proptest::prelude::*;
use std::net::IpAddr;

fn wire(text: &str) -> rr::Name {
    rr::Name::from_ascii(text).unwrap()
}

fn name(text: &str) -> Name {
    Name::from_policy(text)
}

fn address(text: &str) -> Address {
    text.parse::<IpAddr>().unwrap().into()
}

fn a(owner: &str, ttl: u32, text: &str) -> Record {
    Record::from_rdata(wire(owner), ttl, RData::A(A(text.parse().unwrap())))
}

fn aaaa(owner: &str, ttl: u32, text: &str) -> Record {
    Record::from_rdata(wire(owner), ttl, RData::AAAA(AAAA(text.parse().unwrap())))
}

fn cname(owner: &str, ttl: u32, target: &str) -> Record {
    Record::from_rdata(wire(owner), ttl, RData::CNAME(CNAME(wire(target))))
}

fn dname(owner: &str, ttl: u32, target: &str) -> Record {
    let mut data = Vec::new();
    for label in wire(target).iter() {
        data.push(label.len() as u8);
        data.extend(label);
    }
    data.push(0);
    Record::from_rdata(
        wire(owner),
        ttl,
        RData::Unknown { code: RecordType::Unknown(39), rdata: NULL::with(data) },
    )
}

fn message(question: &str, answers: impl IntoIterator<Item = Record>) -> Message {
    let mut message = Message::new(7, MessageType::Response, OpCode::Query);
    message.add_query(Query::query(wire(question), RecordType::A));
    message.add_answers(answers);
    message
}

fn record(message: &[u8]) -> Vec<u8> {
    let mut record = Vec::new();
    record.extend(11_u64.to_ne_bytes());
    record.extend(22_u64.to_ne_bytes());
    record.extend(address("192.0.2.53").octets());
    record.extend((message.len() as u32).to_ne_bytes());
    record.extend(40_000_u16.to_ne_bytes());
    record.extend([1, 0]);
    // No doubt, and what is kept free.
    record.extend([0; 8]);
    record.extend(message);
    record
}

fn read(question: &str, answers: impl IntoIterator<Item = Record>) -> Answer {
    decode(&record(&message(question, answers).to_vec().unwrap())).unwrap()
}

#[test]
fn an_answer_says_who_asked_whom_for_what() {
    let answer = read(
        "WwW.Example.COM.",
        [a("wWw.example.com.", 60, "203.0.113.7"), aaaa("www.example.com.", 30, "2001:db8::7")],
    );
    assert_eq!((answer.time, answer.cgroup, answer.client_port), (11, 22, 40_000));
    assert_eq!(answer.server, address("192.0.2.53"));
    assert!(answer.trusted && !answer.unparsed_by_kernel && answer.complete);
    assert_eq!(answer.question, name("www.example.com"));
    assert_eq!(answer.chain, [name("www.example.com")]);
    assert_eq!(answer.addresses, [(address("203.0.113.7"), 60), (address("2001:db8::7"), 30)]);
}

#[test]
fn a_mapped_address_is_the_v4_address() {
    assert_eq!(
        read("a.test.", [aaaa("a.test.", 1, "::ffff:203.0.113.7")]).addresses,
        [(address("203.0.113.7"), 1)]
    );
}

#[test]
fn a_chain_is_followed_in_any_order_and_its_least_ttl_counts() {
    let records =
        [a("c.test.", 300, "203.0.113.7"), cname("b.test.", 20, "c.test."), cname("a.test.", 50, "B.test.")];
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let answer = read("a.test.", order.map(|index: usize| records[index].clone()));
        assert_eq!(answer.chain, ["a.test", "b.test", "c.test"].map(name));
        assert_eq!(answer.addresses, [(address("203.0.113.7"), 20)]);
        assert_eq!(answer.unrelated, 0);
    }
}

#[test]
fn of_two_ways_the_longer_lived_counts() {
    let records = [
        cname("a.test.", 10, "c.test."),
        cname("a.test.", 50, "b.test."),
        cname("b.test.", 40, "c.test."),
        a("c.test.", 300, "203.0.113.7"),
    ];
    let answer = read("a.test.", records);
    assert_eq!(answer.addresses, [(address("203.0.113.7"), 40)]);
    assert_eq!(answer.chain.len(), 3);
}

#[test]
fn a_loop_ends() {
    let records =
        [cname("a.test.", 5, "b.test."), cname("b.test.", 5, "a.test."), cname("b.test.", 5, "b.test.")];
    let answer = read("a.test.", records);
    assert_eq!(answer.chain, ["a.test", "b.test"].map(name));
    assert_eq!(answer.addresses, []);
}

#[test]
fn a_ttl_with_the_top_bit_is_zero() {
    assert_eq!(
        read("a.test.", [a("a.test.", 1 << 31, "203.0.113.7")]).addresses,
        [(address("203.0.113.7"), 0)]
    );
}

#[test]
fn unrelated_records_and_other_classes_bind_nothing() {
    let mut chaos = a("a.test.", 5, "203.0.113.9");
    chaos.dns_class = DNSClass::CH;
    let answer = read("a.test.", [a("b.test.", 5, "203.0.113.7"), cname("c.test.", 5, "a.test."), chaos]);
    assert_eq!(answer.addresses, []);
    assert_eq!(answer.unrelated, 2);
}

#[test]
fn a_dname_moves_the_question() {
    let answer = read(
        "a.b.old.test.",
        [dname("old.test.", 7, "new.example."), a("a.b.new.example.", 9, "203.0.113.7")],
    );
    assert_eq!(answer.chain, ["a.b.old.test", "a.b.new.example"].map(name));
    assert_eq!(answer.addresses, [(address("203.0.113.7"), 7)]);
    assert_eq!(answer.unrelated, 0);
    let answer = read("a.test.", [dname("test.", 7, "x.test."), dname("test.", 7, "y.test.")]);
    assert!(answer.chain.len() <= 33 && !answer.complete);
}

/// Resolvers' callers follow the CNAME, and the binder knows nothing else.
#[test]
fn a_dname_says_nothing_beside_the_cname_that_comes_with_it() {
    let records = [
        dname("old.test.", 70, "new.test."),
        cname("www.old.test.", 60, "www.new.test."),
        a("www.new.test.", 90, "203.0.113.7"),
    ];
    let answer = read("www.old.test.", records);
    assert_eq!(answer.chain, ["www.old.test", "www.new.test"].map(name));
    assert_eq!(answer.addresses, [(address("203.0.113.7"), 60)]);
    assert!(!answer.beyond_binder);
    let alone = read("a.old.test.", [dname("old.test.", 7, "new.test."), a("a.new.test.", 9, "203.0.113.7")]);
    assert!(alone.beyond_binder);
}

#[test]
fn hints_of_service_records_are_addresses() {
    let hints = vec![
        (SvcParamKey::Ipv4Hint, SvcParamValue::Ipv4Hint(IpHint(vec![A::new(203, 0, 113, 7)]))),
        (SvcParamKey::Ipv6Hint, SvcParamValue::Ipv6Hint(IpHint(vec![AAAA("2001:db8::7".parse().unwrap())]))),
    ];
    let https = |owner: &str, target: &str| {
        Record::from_rdata(wire(owner), 60, RData::HTTPS(HTTPS(SVCB::new(1, wire(target), hints.clone()))))
    };
    let answer = read("a.test.", [https("b.test.", "."), cname("a.test.", 30, "b.test.")]);
    assert_eq!(answer.chain, ["a.test", "b.test"].map(name));
    assert_eq!(answer.addresses, [(address("203.0.113.7"), 30), (address("2001:db8::7"), 30)]);
    assert_eq!(read("a.test.", [https("a.test.", "svc.test.")]).chain, ["a.test", "svc.test"].map(name));
    assert_eq!(read("a.test.", [https("b.test.", ".")]).unrelated, 1);
}

#[test]
fn a_hundred_addresses_in_a_compressed_message() {
    let records: Vec<_> =
        (0..100).map(|last| a("www.example.com.", 60, &format!("203.0.113.{last}"))).collect();
    let bytes = message("www.example.com.", records).to_vec().unwrap();
    assert!(bytes.len() < 12 + 21 + 100 * 17, "compressed");
    assert_eq!(decode(&record(&bytes)).unwrap().addresses.len(), 100);
}

#[test]
fn other_messages_are_errors() {
    let ask = |change: fn(&mut Message)| {
        let mut message = message("a.test.", []);
        change(&mut message);
        decode(&record(&message.to_vec().unwrap())).unwrap_err()
    };
    assert_eq!(ask(|message| message.metadata.message_type = MessageType::Query), DecodeError::NotAResponse);
    assert_eq!(ask(|message| message.metadata.op_code = OpCode::Update), DecodeError::Opcode);
    assert_eq!(ask(|message| message.queries.clear()), DecodeError::Questions(0));
    assert_eq!(decode(&[0; 39]), Err(DecodeError::Short));
    assert_eq!(decode(&[0; 48]), Err(DecodeError::Damaged));
    let mut long = record(&[0; 12]);
    long.pop();
    assert_eq!(decode(&long), Err(DecodeError::Short));
}

#[test]
fn what_stands_behind_the_message_is_not_read() {
    let mut bytes = record(&message("a.test.", [a("a.test.", 5, "203.0.113.7")]).to_vec().unwrap());
    let answer = decode(&bytes).unwrap();
    bytes.extend([0xff; 100]);
    assert_eq!(decode(&bytes).unwrap(), answer);
}

#[test]
fn a_record_that_cannot_be_read_hides_no_other() {
    let broken = RData::Unknown { code: RecordType::A, rdata: NULL::with(vec![1, 2, 3]) };
    let broken = Record::from_rdata(wire("a.test."), 5, broken);
    let answer = read("a.test.", [broken, a("a.test.", 5, "203.0.113.7")]);
    assert_eq!(answer.addresses, [(address("203.0.113.7"), 5)]);
    assert!(!answer.complete);
}

#[test]
fn records_without_data_are_read_over() {
    for kind in [1, 5, 28, 39, 64, 65, 16] {
        let mut bytes = message("a.test.", []).to_vec().unwrap();
        bytes[7] = 1;
        bytes.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 5, 0, 0]);
        let answer = decode(&record(&bytes)).unwrap();
        assert_eq!((answer.chain.len(), answer.complete), (1, kind == 16), "{kind}");
    }
}

#[test]
fn a_cut_message_says_what_was_read_before_the_cut() {
    let records =
        [cname("a.test.", 5, "b.test."), a("b.test.", 5, "203.0.113.7"), a("b.test.", 5, "203.0.113.8")];
    let bytes = message("a.test.", records).to_vec().unwrap();
    let mut most = 0;
    for length in 0..bytes.len() {
        match decode(&record(&bytes[..length])) {
            Ok(answer) => {
                assert!(!answer.complete && answer.addresses.len() >= most, "{length}");
                most = answer.addresses.len();
            }
            Err(error) => assert!(error == DecodeError::Damaged && length < 24, "{length}: {error}"),
        }
    }
    assert_eq!(most, 1);
    for length in 0..48 + bytes.len() {
        assert_eq!(decode(&record(&bytes)[..length]), Err(DecodeError::Short));
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = decode(&bytes);
        let _ = decode(&record(&bytes));
        let framed = [&[0, 1, 0x80, 0, 0, 1, 0, 40, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1], bytes.as_slice()].concat();
        prop_assert!(decode(&record(&framed)).is_ok());
    }

    #[test]
    fn damaged_service_records_never_panic(data in prop::collection::vec(prop_oneof![0_u8..8, any::<u8>()], 1..80)) {
        let kind = |code| RData::Unknown { code, rdata: NULL::with(data.clone()) };
        let records = [RecordType::HTTPS, RecordType::SVCB, RecordType::CNAME, RecordType::Unknown(39)];
        let answer = read("a.test.", records.map(|code| Record::from_rdata(wire("a.test."), 5, kind(code))));
        prop_assert_eq!(answer.question, name("a.test"));
    }

    #[test]
    fn flipped_bytes_never_panic(at in 0_usize..200, byte in any::<u8>()) {
        let records = [cname("a.test.", 5, "b.test."), dname("test.", 5, "b.test."), a("b.test.", 5, "203.0.113.7")];
        let mut bytes = message("a.test.", records).to_vec().unwrap();
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = decode(&record(&bytes));
    }
}
