//! DNS messages, byte by byte.

use std::net::Ipv4Addr;

/// The id of every message here.
pub const ID: u16 = 0x1234;

/// The query for a name's address.
pub fn query(host: &str) -> Vec<u8> {
    let mut query = [header(0), question(host)].concat();
    query[2..4].copy_from_slice(b"\x01\0");
    query
}

/// The same message with another id.
pub fn with_id(mut message: Vec<u8>, id: u16) -> Vec<u8> {
    message[..2].copy_from_slice(&id.to_be_bytes());
    message
}

/// Header of an answer with one question and this many records.
pub fn header(records: u16) -> Vec<u8> {
    let mut message = ID.to_be_bytes().to_vec();
    message.extend(b"\x81\x80\0\x01");
    message.extend(records.to_be_bytes());
    message.extend([0; 4]);
    message
}

pub fn name(name: &str) -> Vec<u8> {
    let labels = name
        .split('.')
        .flat_map(|label| std::iter::once(u8::try_from(label.len()).unwrap()).chain(label.bytes()));
    labels.chain([0]).collect()
}

/// The question for a name's address.
pub fn question(host: &str) -> Vec<u8> {
    [&name(host)[..], b"\0\x01\0\x01"].concat()
}

/// A record with this data; its owner is the question.
pub fn record(kind: u16, data: &[u8]) -> Vec<u8> {
    let mut record = b"\xc0\x0c".to_vec();
    record.extend(kind.to_be_bytes());
    record.extend(b"\0\x01\0\0\x02\x58");
    record.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
    record.extend(data);
    record
}

/// Messages as they follow each other on a connection: each with its length in front.
pub fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
    let frame =
        |message: &Vec<u8>| [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat();
    messages.iter().flat_map(frame).collect()
}

/// For scripts, which take text: in hexadecimal, one word each.
pub fn hex(messages: &[impl AsRef<[u8]>]) -> String {
    let one = |message: &[u8]| message.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    messages.iter().map(|message| one(message.as_ref())).collect::<Vec<_>>().join(" ")
}

/// An answer that says that the name has the address.
pub fn answer(host: &str, address: Ipv4Addr) -> Vec<u8> {
    [header(1), question(host), record(1, &address.octets())].concat()
}
