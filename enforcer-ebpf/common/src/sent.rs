//! How far what a TCP connection sends was judged: messages begin where one that was judged has ended.
//!
//! INVARIANT (sent once): a segment that is let through is judged whole, and what is sent again is what was judged then: it
//! comes from the socket's own queue.

/// What is known of one connection.
#[repr(C, align(8))]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Sent {
    /// Sequence number of the first byte that was not sent yet.
    next: u32,
    /// 1 = a message begins there. 0 = it is not known where any does.
    known: u32,
}

/// What of a segment is new.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Nothing.
    Old,
    /// All of it from this byte on, where a message begins.
    New(u32),
    /// It is not known where messages begin.
    Unknown,
}

impl Sent {
    /// Everything up to and with this number was sent: of the SYN, or of the last byte of a message.
    #[inline(always)]
    pub fn through(sequence: u32) -> Self {
        Self { next: sequence.wrapping_add(1), known: 1 }
    }

    /// What of a segment is new, whose payload begins with this number and is so long.
    #[inline(always)]
    pub fn progress(&self, sequence: u32, length: u32) -> Progress {
        let done = self.next.wrapping_sub(sequence);
        if self.known == 0 {
            Progress::Unknown
        } else if done < length {
            Progress::New(done)
        } else if done < 1 << 31 {
            Progress::Old
        } else {
            // Something in front of it was never seen.
            Progress::Unknown
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_follows_is_new() {
        for start in [0, 1_000, u32::MAX - 20, u32::MAX] {
            let at = |offset: u32| start.wrapping_add(offset);
            let sent = Sent::through(start);
            for (offset, length, expected) in [
                (1, 10, Progress::New(0)),
                (0, 10, Progress::New(1)),
                (1, 0, Progress::Old),
                (0, 1, Progress::Old),
                (2, 10, Progress::Unknown),
            ] {
                assert_eq!(sent.progress(at(offset), length), expected, "{start} {offset} {length}");
            }
            let sent = Sent::through(at(30));
            assert_eq!(sent.progress(at(1), 30), Progress::Old);
            assert_eq!(sent.progress(at(11), 10), Progress::Old);
            assert_eq!(sent.progress(at(21), 11), Progress::New(10));
            assert_eq!(sent.progress(at(32), 1), Progress::Unknown);
        }
    }

    #[test]
    fn a_connection_whose_beginning_nobody_saw_is_not_known() {
        assert_eq!(Sent::default().progress(0, 1), Progress::Unknown);
        assert_eq!(Sent::default().progress(77, 0), Progress::Unknown);
    }
}
