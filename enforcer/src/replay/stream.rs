//! DNS messages from TCP segments (RFC 7766 section 8): each with its length in front, several on one connection.

use std::collections::BTreeMap;

/// Bytes kept of one direction of a connection at most: the longest message with its length, and as much ahead of it.
const BYTES_MAX: usize = 2 * (2 + 65_535);

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Sequence number of the byte behind those in `buffer`; `None` before the first segment.
    next: Option<u32>,
    /// What was received and is not yet a whole message.
    buffer: Vec<u8>,
    /// Segments that came too early, by their distance from the start of the connection's bytes that were seen.
    early: BTreeMap<u32, Vec<u8>>,
}

/// A message of a stream.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Message {
    pub bytes: Vec<u8>,
    /// It came in one segment, as the kernel's binder wants it.
    pub whole: bool,
}

/// A stream that cannot be followed any more.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Lost;

impl Stream {
    /// Takes the payload of a segment, and gives the messages that it completes. `sequence` is that of the first byte;
    /// `opens` says that the segment has the SYN flag, which takes a number itself.
    pub(super) fn take(&mut self, sequence: u32, opens: bool, payload: &[u8]) -> Result<Vec<Message>, Lost> {
        let sequence = sequence.wrapping_add(opens.into());
        if opens {
            *self = Self::default();
        }
        let next = *self.next.get_or_insert(sequence);
        // Behind what is expected, by the arithmetic of RFC 9293 section 3.4.
        let ahead = sequence.wrapping_sub(next).cast_signed();
        if ahead > 0 {
            self.early.insert(sequence, payload.to_vec());
            let waiting: usize = self.early.values().map(Vec::len).sum();
            return if waiting + self.buffer.len() > BYTES_MAX { Err(Lost) } else { Ok(Vec::new()) };
        }
        let mut messages = Vec::new();
        self.append(ahead, payload, &mut messages)?;
        while let Some((sequence, payload)) = self.due() {
            let ahead = sequence.wrapping_sub(self.next.unwrap_or(sequence)).cast_signed();
            self.append(ahead, &payload, &mut messages)?;
        }
        Ok(messages)
    }

    /// A segment that came early and is not early any more.
    fn due(&mut self) -> Option<(u32, Vec<u8>)> {
        let next = self.next?;
        let sequence = *self.early.keys().find(|sequence| sequence.wrapping_sub(next).cast_signed() <= 0)?;
        self.early.remove_entry(&sequence)
    }

    /// Appends what is new of a segment that begins `ahead` bytes (not above 0) from the expected one.
    fn append(&mut self, ahead: i32, payload: &[u8], messages: &mut Vec<Message>) -> Result<(), Lost> {
        let Some(new) = payload.get(ahead.unsigned_abs() as usize..) else { return Ok(()) };
        let mut older = self.buffer.len();
        self.buffer.extend(new);
        self.next = self.next.map(|next| next.wrapping_add(new.len() as u32));
        while let Some((length, rest)) = self.buffer.split_first_chunk() {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some(bytes) = rest.get(..length) else { break };
            messages.push(Message { bytes: bytes.to_vec(), whole: older == 0 });
            self.buffer.drain(..2 + length);
            older = older.saturating_sub(2 + length);
        }
        if self.buffer.len() > BYTES_MAX { Err(Lost) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
    }

    fn message(text: &str, whole: bool) -> Message {
        Message { bytes: text.as_bytes().to_vec(), whole }
    }

    #[test]
    fn several_messages_come_in_one_segment() {
        let mut stream = Stream::default();
        assert_eq!(stream.take(99, true, b""), Ok(vec![]));
        let both = [framed("one"), framed("two")].concat();
        assert_eq!(stream.take(100, false, &both), Ok(vec![message("one", true), message("two", true)]));
    }

    #[test]
    fn a_message_is_put_together_whatever_the_order_of_its_segments() {
        let bytes = [framed("first"), framed("second")].concat();
        for start in [7_u32, u32::MAX - 4] {
            for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
                let mut stream = Stream::default();
                stream.take(start.wrapping_sub(1), true, b"").unwrap();
                let mut messages = Vec::new();
                for part in order.map(|index: usize| index * 5) {
                    let end = if part == 10 { bytes.len() } else { part + 5 };
                    let sequence = start.wrapping_add(part as u32);
                    messages.extend(stream.take(sequence, false, &bytes[part..end]).unwrap());
                }
                assert_eq!(messages, [message("first", false), message("second", false)], "{order:?}");
            }
        }
    }

    #[test]
    fn what_is_sent_again_counts_once() {
        let bytes = framed("again");
        let mut stream = Stream::default();
        assert_eq!(stream.take(10, false, &bytes[..4]), Ok(vec![]));
        assert_eq!(stream.take(10, false, &bytes[..4]), Ok(vec![]));
        assert_eq!(stream.take(12, false, &bytes[2..]), Ok(vec![message("again", false)]));
        assert_eq!(stream.take(10, false, &bytes), Ok(vec![]));
    }

    #[test]
    fn a_stream_with_a_hole_is_given_up() {
        let mut stream = Stream::default();
        stream.take(0, false, b"\0\x05").unwrap();
        let far = (1..200).map(|part| stream.take(part * 1000, false, &[0; 1000]));
        assert_eq!(far.filter(Result::is_err).count(), 68);
    }
}
