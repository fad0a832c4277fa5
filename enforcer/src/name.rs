//! Domain names as the kernel programs see them.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use enforcer_common::name::{ESCAPED_DOT, NAME_MAX};
use policy_schema::DomainName;
use serde::{Serialize, Serializer};

/// A name in the one spelling that is hashed: lower case, dots between labels, none at the end, any byte inside a label;
/// a dot inside a label is [`ESCAPED_DOT`]. The root is empty. Cloning copies no bytes.
///
/// `Display` writes it as the policy language does: a byte that does not stand for itself is `\DDD` (RFC 4343
/// section 2.1), so nothing that a resolver sends reaches a terminal as it is.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Name(Arc<[u8]>);

impl Name {
    /// From the labels of a message, the leftmost first.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut bytes = Vec::with_capacity(64);
        for label in labels {
            if !bytes.is_empty() {
                bytes.push(b'.');
            }
            bytes.extend(label.iter().map(|byte| fold(*byte)));
        }
        Self(bytes.into())
    }

    /// From the spelling that is hashed, as the binder has it.
    pub fn from_hashed(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// From the text of a [`DomainName`], or of another `Name`: undoes `Display`.
    pub fn from_policy(text: &str) -> Self {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut bytes = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        while let [byte, tail @ ..] = rest {
            let (byte, tail) = match escaped(rest) {
                Some((byte, tail)) => (fold(byte), tail),
                None => (byte.to_ascii_lowercase(), tail),
            };
            bytes.push(byte);
            rest = tail;
        }
        Self(bytes.into())
    }

    /// The bytes that are hashed.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name as text, if every byte of it stands for itself.
    pub fn as_str(&self) -> Option<&str> {
        let plain = self.0.iter().all(|byte| is_plain(*byte) || *byte == b'.');
        plain.then(|| str::from_utf8(&self.0).ok()).flatten()
    }

    /// The labels as they were in the message, lower case, the leftmost first.
    pub fn labels(&self) -> impl Iterator<Item = Cow<'_, [u8]>> {
        self.0.split(|byte| *byte == b'.').filter(|label| !label.is_empty()).map(|label| {
            if !label.contains(&ESCAPED_DOT) {
                return Cow::Borrowed(label);
            }
            Cow::Owned(label.iter().map(|byte| if *byte == ESCAPED_DOT { b'.' } else { *byte }).collect())
        })
    }

    /// The name in the vocabulary of the policy language; `None` for the root and for what is no name.
    pub fn to_policy(&self) -> Option<DomainName> {
        let labels: Vec<_> = self.labels().collect();
        DomainName::from_labels(labels.iter().map(|label| label.as_ref())).ok()
    }

    /// The name that a DNAME at `from` turns this one into: what is left of `from` moves below `to`. `None` if this
    /// name is not below `from`, or the result is too long (RFC 6672 section 2.2).
    pub fn moved(&self, from: &Self, to: &Self) -> Option<Self> {
        let prefix = match &*from.0 {
            [] => &*self.0,
            from => self.0.strip_suffix(from)?.strip_suffix(b".")?,
        };
        if prefix.is_empty() {
            return None;
        }
        let bytes = match &*to.0 {
            [] => prefix.to_vec(),
            to => [prefix, to].join(&b'.'),
        };
        (bytes.len() <= NAME_MAX).then(|| Self(bytes.into()))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str(".");
        }
        if let Some(text) = self.as_str() {
            return f.write_str(text);
        }
        for byte in self.0.iter() {
            match *byte {
                ESCAPED_DOT => write!(f, "\\{:03}", b'.')?,
                byte if is_plain(byte) || byte == b'.' => write!(f, "{}", char::from(byte))?,
                byte => write!(f, "\\{byte:03}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{self}`")
    }
}

impl From<&DomainName> for Name {
    fn from(name: &DomainName) -> Self {
        Self::from_policy(name.as_str())
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The bytes that a [`DomainName`] writes as they are.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
}

/// The same folding as in the kernel's binder.
fn fold(byte: u8) -> u8 {
    match byte {
        b'.' => ESCAPED_DOT,
        _ => byte.to_ascii_lowercase(),
    }
}

/// The byte that `\DDD` in front of `text` stands for, and what follows.
fn escaped(text: &[u8]) -> Option<(u8, &[u8])> {
    let [b'\\', digits @ ..] = text else { return None };
    let (digits, rest) = digits.split_first_chunk::<3>()?;
    let value = str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some((value.parse().ok()?, rest))
}

#[cfg(test)]
mod tests;
