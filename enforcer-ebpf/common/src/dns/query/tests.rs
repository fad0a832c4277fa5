use super::*;
use crate::repeat::HostLoop;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use proptest::prelude::*;
use std::collections::BTreeSet;

const KEY: [u64; 2] = [0x1234_5678_9abc_def1, 0xfeed_face_cafe_beef];

fn server() -> Address {
    Address::from_v4([192, 0, 2, 53])
}

fn transaction(message: &[u8], key: [u64; 2], server: Address) -> u64 {
    let mut scratch = Scratch::new();
    scratch.record.message[..message.len()].copy_from_slice(message);
    scratch.record.header.length = message.len() as u32;
    scratch.transaction::<HostLoop>(key, &server)
}

fn of(message: &[u8]) -> u64 {
    transaction(message, KEY, server())
}

fn query(id: u16, name: &str, kind: RecordType) -> Message {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

/// The answer to a query: its question, whose case may differ, with a record behind it.
fn answer(query: &Message, name: &str) -> Vec<u8> {
    let kind = query.queries[0].query_type();
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    let name = Name::from_ascii(name).unwrap();
    message.add_query(Query::query(name.clone(), kind));
    message.add_answer(Record::from_rdata(name, 60, RData::A(A::new(203, 0, 113, 7))));
    message.to_vec().unwrap()
}

#[test]
fn everything_that_may_not_differ_counts() {
    let own = |id, name, kind| of(&query(id, name, kind).to_vec().unwrap());
    let www = query(7, "www.example.test.", RecordType::A).to_vec().unwrap();
    let mut found = BTreeSet::from([0, of(&www)]);
    for different in [
        own(8, "www.example.test.", RecordType::A),
        own(7, "www.example.test.", RecordType::AAAA),
        own(7, "wwx.example.test.", RecordType::A),
        own(7, "www.example.tes.", RecordType::A),
        own(7, "wwwexample.test.", RecordType::A),
        own(7, "ww.wexample.test.", RecordType::A),
        own(7, ".", RecordType::A),
        transaction(&www, KEY, Address::from_v4([192, 0, 2, 54])),
        transaction(&www, KEY, Address::from_v6([0xfd; 16])),
        transaction(&www, [KEY[0] + 1, KEY[1]], server()),
        transaction(&www, [KEY[0], KEY[1] + 2], server()),
    ] {
        assert!(found.insert(different), "{different:x} is there already");
    }
}

#[test]
fn everything_about_a_connection_counts() {
    let client = Address::from_v4([192, 0, 2, 77]);
    let ends = [server(), client];
    let mut found = BTreeSet::from([connection(KEY, &ends, 40_000)]);
    for different in [
        connection(KEY, &ends, 40_001),
        connection(KEY, &[client, server()], 40_000),
        connection(KEY, &[server(), Address::from_v4([192, 0, 2, 78])], 40_000),
        connection(KEY, &[Address::from_v4([192, 0, 2, 54]), client], 40_000),
        connection(KEY, &[Address::from_v6([0xfd; 16]), client], 40_000),
        connection([KEY[0] + 1, KEY[1]], &ends, 40_000),
        connection([KEY[0], KEY[1] + 2], &ends, 40_000),
    ] {
        assert!(found.insert(different), "{different:x} is there already");
    }
}

#[test]
fn a_message_without_one_question_that_can_be_read_has_none() {
    let whole = query(7, "www.example.test.", RecordType::A).to_vec().unwrap();
    for end in 0..whole.len() {
        assert_eq!(of(&whole[..end]), 0, "{end}");
    }
    let with = |at: usize, byte| {
        let mut message = whole.clone();
        message[at] = byte;
        of(&message)
    };
    assert_ne!(of(&whole), 0);
    // Two questions, none, a compression pointer, a kind of label that does not exist.
    assert_eq!([with(5, 2), with(5, 0), with(12, 0xc0), with(12, 0x40)], [0; 4]);
    let long = [&whole[..12], &b"\x01a".repeat(200), b"\0\0\x01\0\x01"].concat();
    assert_eq!(of(&long), 0);
}

proptest! {
    #[test]
    fn an_answer_has_the_transaction_of_its_query(
        id: u16,
        labels in proptest::collection::vec("[a-zA-Z0-9]{1,20}", 1..8),
        upper: bool,
    ) {
        let name = labels.join(".") + ".";
        let query = query(id, &name, RecordType::A);
        let other = if upper { name.to_uppercase() } else { name.to_lowercase() };
        prop_assert_eq!(of(&query.to_vec().unwrap()), of(&answer(&query, &other)));
    }
}
