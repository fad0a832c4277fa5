//! What a DNS answer says, and asking for one. The only module that names hickory-proto and hickory-resolver.
//!
//! Reads what the kernel's binder reads, and DNAME without the CNAME that belongs to it; and stops where it stops: an answer
//! that is damaged behind its question still says what was read before the damage.

use std::mem::offset_of;

use enforcer_common::{
    Address,
    dns::{AnswerHeader, Doubt},
};
use hickory_proto::op::{Header, MessageType, OpCode};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use crate::name::Name;

mod ask;
mod chain;
mod wire;

pub use ask::{AskError, Asker};

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
    /// Some name is one that the kernel's binder does not reach: a DNAME alone leads there.
    pub beyond_binder: bool,
}

impl Answer {
    /// What a trusted resolver of this machine said without a packet, and without a time to live.
    pub fn without_packet(chain: &[Name], addresses: &[Address], time: u64) -> Self {
        Self {
            time,
            server: Address::default(),
            client_port: 0,
            trusted: true,
            unparsed_by_kernel: false,
            cgroup: 0,
            question: chain.first().cloned().unwrap_or_else(|| Name::from_policy("")),
            chain: chain.to_vec(),
            addresses: addresses.iter().map(|address| (*address, 0)).collect(),
            unrelated: 0,
            complete: true,
            beyond_binder: true,
        }
    }
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

/// Reads a record of the DNS ring.
pub fn decode(record: &[u8]) -> Result<Answer, DecodeError> {
    let (header, rest) = header(record).ok_or(DecodeError::Short)?;
    decode_message(&header, rest)
}

/// Reads a message, of which `header` says how it came; what stands behind it is not looked at.
pub fn decode_message(header: &AnswerHeader, rest: &[u8]) -> Result<Answer, DecodeError> {
    let AnswerHeader { time, cgroup, server, length, client_port, trusted, unparsed, doubt: _, reserved: _ } =
        *header;
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
    let question = wire::question(&mut decoder).map_err(|_| DecodeError::Damaged)?;

    let (records, complete) = wire::records(&mut decoder, message, head.counts.answers);
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
        beyond_binder: followed.beyond_binder,
    })
}

/// Why an answer is not believed, if it is not, and who sent it.
pub fn doubt(record: &[u8]) -> Option<(Doubt, Address)> {
    let (AnswerHeader { doubt, server, .. }, _) = header(record)?;
    let doubts = [Doubt::Server, Doubt::Namespace, Doubt::Forgotten, Doubt::Unsolicited, Doubt::Process];
    doubts.into_iter().find(|known| *known as u8 == doubt).map(|doubt| (doubt, server))
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
        doubt: u8::from_ne_bytes(take(from)?),
        reserved: take(from)?,
    };
    Some((header, bytes))
}

const _: () = assert!(
    size_of::<AnswerHeader>() == 48
        && offset_of!(AnswerHeader, cgroup) == 8
        && offset_of!(AnswerHeader, server) == 16
        && offset_of!(AnswerHeader, length) == 32
        && offset_of!(AnswerHeader, client_port) == 36
        && offset_of!(AnswerHeader, trusted) == 38
        && offset_of!(AnswerHeader, unparsed) == 39
        && offset_of!(AnswerHeader, doubt) == 40
);

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*head)
}

#[cfg(test)]
mod tests;
