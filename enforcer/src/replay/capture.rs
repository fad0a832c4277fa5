//! Captured packets from files, pcap and pcapng. The only module that names pcap-parser.

use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

/// Bytes of the buffer: more than the longest frame that tcpdump and dumpcap capture (262,144) with what is around it.
const BUFFER: usize = 1 << 20;

/// A captured frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its number in the file, from 1.
    pub number: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Link type, see [`super::link`].
    pub link: i32,
    /// Bytes that it had on the wire; fewer may have been captured.
    pub length: u32,
    /// From the link header on.
    pub bytes: &'a [u8],
}

/// Why a capture cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// It is in no known format.
    #[error("`{}` is no pcap or pcapng file", .0.display())]
    Format(PathBuf),
    /// It ends, or cannot be read on, in the middle.
    #[error("`{}` is damaged behind packet {after}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// The last packet that could be read.
        after: u64,
    },
}

impl CaptureError {
    /// What to do about it.
    pub fn help(&self) -> &'static str {
        match self {
            Self::Read { .. } => "check the path; `tcpdump -i any -w FILE port 53` makes a capture",
            Self::Format(_) => "make a capture with `tcpdump -i any -w FILE port 53`",
            Self::Damaged { .. } => {
                "what stands before is printed; stop tcpdump with Ctrl-C, so that it writes the rest"
            }
        }
    }
}

/// The link type of an interface, and the units of its clock in a second and their start in seconds since 1970.
struct Interface {
    link: i32,
    units: u64,
    offset: i64,
}

/// Calls `each` with every packet of a file.
///
/// # Errors
/// [`CaptureError`]; what could be read was given to `each`.
pub fn read(path: &Path, mut each: impl FnMut(Frame<'_>)) -> Result<(), CaptureError> {
    let unreadable = |source| CaptureError::Read { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Of a directory the library would say that it is no capture.
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    let mut reader = create_reader(BUFFER, file).map_err(|_| CaptureError::Format(path.to_owned()))?;
    let mut interfaces = Vec::new();
    let mut number = 0;
    let damaged = |after| CaptureError::Damaged { path: path.to_owned(), after };
    loop {
        match reader.next() {
            Ok((size, block)) => {
                if let Some(frame) = frame(&mut interfaces, &block) {
                    number += 1;
                    each(Frame { number, ..frame });
                }
                reader.consume(size);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => {
                let exhausted = reader.reader_exhausted();
                if exhausted || reader.refill().is_err() {
                    return Err(damaged(number));
                }
            }
            Err(_) => return Err(damaged(number)),
        }
    }
}

/// The frame of a block, if it has one; remembers what other blocks say of the interfaces.
fn frame<'a>(interfaces: &mut Vec<Interface>, block: &'a PcapBlockOwned<'_>) -> Option<Frame<'a>> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let units = if header.is_nanosecond_precision() { NANOSECONDS } else { MICROSECONDS };
            *interfaces = vec![Interface { link: header.network.0, units, offset: 0 }];
            None
        }
        PcapBlockOwned::Legacy(packet) => {
            let Interface { link, units, .. } = interfaces.first()?;
            let time = u64::from(packet.ts_sec) * units + u64::from(packet.ts_usec);
            Some(Frame {
                number: 0,
                time: nanoseconds(time, *units, 0),
                link: *link,
                length: packet.origlen,
                bytes: packet.data,
            })
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            None
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
            let units = interface.ts_resolution().unwrap_or(MICROSECONDS);
            interfaces.push(Interface { link: interface.linktype.0, units, offset: interface.ts_offset() });
            None
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let Interface { link, units, offset } = interfaces.get(packet.if_id as usize)?;
            let time = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            let bytes = packet.data.get(..packet.caplen as usize)?;
            let time = nanoseconds(time, *units, *offset);
            Some(Frame { number: 0, time, link: *link, length: packet.origlen, bytes })
        }
        // It has no time.
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let Interface { link, .. } = interfaces.first()?;
            let bytes = packet.data.get(..packet.origlen as usize).unwrap_or(packet.data);
            Some(Frame { number: 0, time: 0, link: *link, length: packet.origlen, bytes })
        }
        PcapBlockOwned::NG(_) => None,
    }
}

const MICROSECONDS: u64 = 1_000_000;
const NANOSECONDS: u64 = 1_000_000_000;

/// Nanoseconds since 1970 of a time in units of which there are so many in a second, `offset` seconds later.
fn nanoseconds(time: u64, units: u64, offset: i64) -> u64 {
    let since = u128::from(time) * u128::from(NANOSECONDS) / u128::from(units.max(1));
    let offset = i128::from(offset) * i128::from(NANOSECONDS);
    u64::try_from(since.saturating_add_signed(offset)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
