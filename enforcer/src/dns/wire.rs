//! From bytes to records.

use enforcer_common::Address;
use hickory_proto::rr::rdata::svcb::SvcParamValue;
use hickory_proto::rr::{self, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError, Restrict};

use super::chain::{Data, Record};
use crate::name::Name;

const A: u16 = 1;
const CNAME: u16 = 5;
const AAAA: u16 = 28;
const DNAME: u16 = 39;
const SVCB: u16 = 64;
const HTTPS: u16 = 65;
/// The class of the internet.
const IN: u16 = 1;

/// The name of the question at the cursor.
pub(super) fn question(decoder: &mut BinDecoder<'_>) -> Result<Name, DecodeError> {
    let question = name(decoder)?;
    let (_kind, _class) = (u16(decoder)?, u16(decoder)?);
    Ok(question)
}

/// The records of the answer section that say where the chain leads, and whether all could be read.
pub(super) fn records(decoder: &mut BinDecoder<'_>, message: &[u8], count: u16) -> (Vec<Record>, bool) {
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

fn raw<'a>(decoder: &mut BinDecoder<'a>) -> Result<Raw<'a>, DecodeError> {
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
fn data(raw: &Raw<'_>, decoder: &BinDecoder<'_>, message: &[u8]) -> Result<Option<Data>, DecodeError> {
    Ok(Some(match raw.kind {
        A => {
            let octets: [u8; 4] = raw.bytes.try_into().map_err(|_| DecodeError::InsufficientBytes)?;
            Data::Address(Address::from_v4(octets))
        }
        AAAA => {
            let octets: [u8; 16] = raw.bytes.try_into().map_err(|_| DecodeError::InsufficientBytes)?;
            Data::Address(Address::from_v6(octets))
        }
        CNAME => Data::Alias(name(&mut decoder.clone(raw.start))?),
        DNAME => Data::Subtree(name(&mut decoder.clone(raw.start))?),
        HTTPS | SVCB => service(raw, message)?,
        _ => return Ok(None),
    }))
}

/// The target and the hints of a service record; SVCB and HTTPS have one form (RFC 9460 section 9).
fn service(raw: &Raw<'_>, message: &[u8]) -> Result<Data, DecodeError> {
    // The library is given no byte behind the record.
    let end = usize::from(raw.start) + raw.bytes.len();
    let bounded = message.get(..end).ok_or(DecodeError::InsufficientBytes)?;
    let mut decoder = BinDecoder::new(bounded).clone(raw.start);
    let length = Restrict::new(raw.bytes.len() as u16);
    let RData::HTTPS(service) = RData::read(&mut decoder, RecordType::HTTPS, length)? else {
        return Err(DecodeError::InsufficientBytes);
    };
    let mut hints = Vec::new();
    for (_, value) in &service.svc_params {
        match value {
            SvcParamValue::Ipv4Hint(list) => {
                hints.extend(list.0.iter().map(|hint| Address::from_v4(hint.0.octets())));
            }
            SvcParamValue::Ipv6Hint(list) => {
                hints.extend(list.0.iter().map(|hint| Address::from_v6(hint.0.octets())));
            }
            _ => {}
        }
    }
    // `.` stands for the owner itself (RFC 9460 section 2.5).
    let target = (!service.target_name.is_root()).then(|| Name::from_labels(service.target_name.iter()));
    Ok(Data::Service { target, hints })
}

fn name(decoder: &mut BinDecoder<'_>) -> Result<Name, DecodeError> {
    let name = rr::Name::read(decoder)?;
    Ok(Name::from_labels(name.iter()))
}

fn u16(decoder: &mut BinDecoder<'_>) -> Result<u16, DecodeError> {
    Ok(decoder.read_u16()?.unverified(/* compared, or checked by read_slice */))
}
