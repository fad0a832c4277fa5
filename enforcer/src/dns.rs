//! What a DNS answer says. The only module that names hickory-proto.
//!
//! Reads more than the kernel's binder does (records in any order, DNAME, service hints), and stops where it stops: an
//! answer that is damaged behind its question still says what was read before the damage.

use std::mem::offset_of;

use enforcer_common::{Address, dns::AnswerHeader};
use hickory_proto::op::{Header, MessageType, OpCode};
use hickory_proto::rr::rdata::SVCB;
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{self, RecordDataDecodable};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError as WireError, Restrict};

use self::chain::{Data, Record};
use crate::name::Name;

mod chain;

/// One DNS answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Who sent it.
    pub server: Address,
    /// Port of the receiving socket.
    pub client_port: u16,
    /// The server is a trusted resolver.
    pub trusted: bool,
    /// The kernel's binder was not able to read it to its end.
    pub unparsed_by_kernel: bool,
    /// Id of the receiving socket's cgroup (v2).
    pub cgroup: u64,
    /// The name that was asked for.
    pub question: Name,
    /// The question, then what it leads to: targets of CNAME, DNAME and service records.
    pub chain: Vec<Name>,
    /// Addresses of the chain, each once, in their own order, with seconds to live: the least of the records on the
    /// way, and the most of several ways.
    pub addresses: Vec<(Address, u32)>,
    /// Records that belong to no name of the chain.
    pub unrelated: u32,
    /// Every record could be read.
    pub complete: bool,
}

/// Why a record of the ring is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Up to the end of the question, something cannot be read.
    #[error("the header or the question of the answer is damaged")]
    Damaged,
    /// A query.
    #[error("the message is not a response")]
    NotAResponse,
    /// A notification, an update or another kind of message.
    #[error("the message is not a standard query")]
    Opcode,
    /// Not one question.
    #[error("the message has {0} questions")]
    Questions(u16),
    /// Fewer bytes than the header announces.
    #[error("the record is shorter than it says")]
    Short,
}

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const DNAME: u16 = 39;
const SVCB_TYPE: u16 = 64;
const HTTPS: u16 = 65;
/// The class of the internet.
const IN: u16 = 1;

/// Reads a record of the DNS ring.
pub fn decode(record: &[u8]) -> Result<Answer, DecodeError> {
    let (header, rest) = header(record).ok_or(DecodeError::Short)?;
    let AnswerHeader { time, cgroup, server, length, client_port, trusted, unparsed } = header;
    // A message is at most 65,535 bytes long; more could not be addressed below.
    let length = u16::try_from(length).map_err(|_| DecodeError::Short)?;
    let message = rest.get(..usize::from(length)).ok_or(DecodeError::Short)?;

    let mut decoder = BinDecoder::new(message);
    let head = Header::read(&mut decoder).map_err(|_| DecodeError::Damaged)?;
    if head.metadata.message_type != MessageType::Response {
        return Err(DecodeError::NotAResponse);
    }
    if head.metadata.op_code != OpCode::Query {
        return Err(DecodeError::Opcode);
    }
    if head.counts.queries != 1 {
        return Err(DecodeError::Questions(head.counts.queries));
    }
    let question = question(&mut decoder).map_err(|_| DecodeError::Damaged)?;

    let (records, complete) = records(&mut decoder, message, head.counts.answers);
    let followed = chain::follow(&question, &records);
    Ok(Answer {
        time,
        server,
        client_port,
        trusted: trusted != 0,
        unparsed_by_kernel: unparsed != 0,
        cgroup,
        question,
        chain: followed.chain,
        addresses: followed.addresses,
        unrelated: followed.unrelated,
        complete: complete && followed.complete,
    })
}

/// The header in front of a message, and what follows it.
fn header(mut bytes: &[u8]) -> Option<(AnswerHeader, &[u8])> {
    let from = &mut bytes;
    // In the order of the fields, which the assertion below pins.
    let header = AnswerHeader {
        time: u64::from_ne_bytes(take(from)?),
        cgroup: u64::from_ne_bytes(take(from)?),
        server: Address::from_v6(take(from)?),
        length: u32::from_ne_bytes(take(from)?),
        client_port: u16::from_ne_bytes(take(from)?),
        trusted: u8::from_ne_bytes(take(from)?),
        unparsed: u8::from_ne_bytes(take(from)?),
    };
    Some((header, bytes))
}

const _: () = assert!(
    size_of::<AnswerHeader>() == 40
        && offset_of!(AnswerHeader, cgroup) == 8
        && offset_of!(AnswerHeader, server) == 16
        && offset_of!(AnswerHeader, length) == 32
        && offset_of!(AnswerHeader, client_port) == 36
        && offset_of!(AnswerHeader, trusted) == 38
        && offset_of!(AnswerHeader, unparsed) == 39
);

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

fn question(decoder: &mut BinDecoder<'_>) -> Result<Name, WireError> {
    let question = name(decoder)?;
    let (_kind, _class) = (u16(decoder)?, u16(decoder)?);
    Ok(question)
}

/// The records of the answer section that say where the chain leads, and whether all could be read.
fn records(decoder: &mut BinDecoder<'_>, message: &[u8], count: u16) -> (Vec<Record>, bool) {
    let mut records = Vec::new();
    let mut complete = true;
    for _ in 0..count {
        let Ok(raw) = raw(decoder) else { return (records, false) };
        if raw.class != IN {
            continue;
        }
        match data(&raw, decoder, message) {
            Ok(Some(data)) => records.push(Record { owner: raw.owner, ttl: raw.ttl, data }),
            Ok(None) => {}
            Err(_) => complete = false,
        }
    }
    (records, complete)
}

/// A record before its data is looked at.
struct Raw<'a> {
    owner: Name,
    kind: u16,
    class: u16,
    ttl: u32,
    /// Offset of the data.
    start: u16,
    bytes: &'a [u8],
}

fn raw<'a>(decoder: &mut BinDecoder<'a>) -> Result<Raw<'a>, WireError> {
    let owner = name(decoder)?;
    let (kind, class) = (u16(decoder)?, u16(decoder)?);
    let ttl = decoder.read_u32()?.unverified(/* every value is one; see below */);
    let length = u16(decoder)?;
    let start = decoder.index() as u16;
    let bytes = decoder.read_slice(length.into())?.unverified(/* looked at by kind */);
    // A time to live with the most significant bit set is 0 (RFC 2181 section 8).
    let ttl = if ttl >> 31 == 0 { ttl } else { 0 };
    Ok(Raw { owner, kind, class, ttl, start, bytes })
}

/// What the data says, `None` for a kind that leads nowhere.
fn data(raw: &Raw<'_>, decoder: &BinDecoder<'_>, message: &[u8]) -> Result<Option<Data>, WireError> {
    Ok(Some(match raw.kind {
        A => {
            let octets: [u8; 4] = raw.bytes.try_into().map_err(|_| WireError::InsufficientBytes)?;
            Data::Address(Address::from_v4(octets))
        }
        AAAA => {
            let octets: [u8; 16] = raw.bytes.try_into().map_err(|_| WireError::InsufficientBytes)?;
            Data::Address(Address::from_v6(octets))
        }
        CNAME => Data::Alias(name(&mut decoder.clone(raw.start))?),
        DNAME => Data::Subtree(name(&mut decoder.clone(raw.start))?),
        HTTPS | SVCB_TYPE => service(raw, message)?,
        _ => return Ok(None),
    }))
}

/// The target and the hints of a service record (RFC 9460).
fn service(raw: &Raw<'_>, message: &[u8]) -> Result<Data, WireError> {
    // The library is given no byte behind the record.
    let end = usize::from(raw.start) + raw.bytes.len();
    let bounded = message.get(..end).ok_or(WireError::InsufficientBytes)?;
    let mut decoder = BinDecoder::new(bounded).clone(raw.start);
    let service = SVCB::read_data(&mut decoder, Restrict::new(raw.bytes.len() as u16))?;
    let mut hints = Vec::new();
    for (_, value) in &service.svc_params {
        match value {
            SvcParamValue::Ipv4Hint(list) => hints.extend(list.0.iter().map(|hint| Address::from_v4(hint.0.octets()))),
            SvcParamValue::Ipv6Hint(list) => hints.extend(list.0.iter().map(|hint| Address::from_v6(hint.0.octets()))),
            _ => {}
        }
    }
    // `.` stands for the owner itself (RFC 9460 section 2.5).
    let target = (!service.target_name.is_root()).then(|| Name::from_labels(service.target_name.iter()));
    Ok(Data::Service { target, hints })
}

fn name(decoder: &mut BinDecoder<'_>) -> Result<Name, WireError> {
    let name = rr::Name::read(decoder)?;
    Ok(Name::from_labels(name.iter()))
}

fn u16(decoder: &mut BinDecoder<'_>) -> Result<u16, WireError> {
    Ok(decoder.read_u16()?.unverified(/* compared, or checked by read_slice */))
}

#[cfg(test)]
mod tests;
