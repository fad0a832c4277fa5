//! Lists are long and their lines alike. What a line looks like around its name is learned from one that was read with care;
//! a line of the same shape gives its name without another look at what is around it.

use crate::terms::Form;

/// A name that a careful reading found.
#[derive(Clone, Copy)]
pub(super) struct Seen {
    pub form: Form,
    /// Where in the list it starts, in its one spelling.
    pub start: usize,
    pub length: usize,
}

/// A line that needs no careful reading.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Known<'a> {
    pub form: Form,
    pub name: &'a [u8],
    /// Where in the line the name starts.
    pub start: usize,
    /// How long the line is.
    pub line: usize,
}

/// The shapes of the lines before, the latest first.
pub(super) struct Shapes {
    known: Vec<Shape>,
    /// How many are kept: a list mixes few.
    kept: usize,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { known: Vec::new(), kept: 4 }
    }
}

/// What is around a name.
struct Shape {
    head: Box<[u8]>,
    tail: Box<[u8]>,
    form: Form,
}

impl Shapes {
    /// Learns from the line at `at` of the list.
    pub(super) fn learn(&mut self, line: &[u8], at: usize, seen: Option<Seen>) {
        let Some(Seen { form, start, length }) = seen else { return };
        let Some((head, rest)) = start.checked_sub(at).and_then(|start| line.split_at_checked(start)) else {
            return;
        };
        let Some((name, tail)) = rest.split_at_checked(length) else { return };
        // A name that is no example of a plain one teaches nothing.
        if plain_name(rest).is_none_or(|plain| plain.len() != name.len()) {
            return;
        }
        self.known.insert(0, Shape { head: head.into(), tail: tail.into(), form });
        self.known.truncate(self.kept);
    }

    /// The name of the first line of `text`, if the line has a known shape.
    pub(super) fn find<'a>(&self, text: &'a [u8]) -> Option<Known<'a>> {
        self.known.iter().find_map(|Shape { head, tail, form }| {
            let after = strip(text, head)?;
            let name = plain_name(after)?;
            let end = strip(after.get(name.len()..)?, tail)?;
            if !matches!(end, [] | [b'\n', ..]) {
                return None;
            }
            let line = head.len() + name.len() + tail.len();
            Some(Known { form: *form, name, start: head.len(), line })
        })
    }
}

/// Most are empty, and comparing with an empty one takes glibc 150 ns: its address is none that can be loaded from.
fn strip<'a>(text: &'a [u8], front: &[u8]) -> Option<&'a [u8]> {
    if front.is_empty() { Some(text) } else { text.strip_prefix(front) }
}

/// The name at the front of a text, if it is one in its one spelling that is nothing else in any format: no address, no
/// name of the machine itself, no trigger of a zone.
fn plain_name(text: &[u8]) -> Option<&[u8]> {
    let (mut length, mut label, mut last) = (0, 0, b'.');
    for &byte in text {
        match byte {
            b'.' if (1..=63).contains(&label) => label = 0,
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => label += 1,
            _ => break,
        }
        length += 1;
        last = byte;
    }
    // An address ends in a digit or has no dot; so do the names of a hosts file for the machine itself.
    let plain = (1..=63).contains(&label) && length <= 253 && !last.is_ascii_digit();
    let name = text.get(..length).filter(|_| plain)?;
    let top = name.rsplit(|byte| *byte == b'.').next()?;
    (top.len() < name.len() && !top.starts_with(b"rpz-") && top != b"localdomain").then_some(name)
}

#[cfg(test)]
mod tests;
