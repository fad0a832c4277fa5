//! Domain names and the patterns that match them.

use std::cmp::Ordering;
use std::fmt;

pub use crate::domain::error::NameError;
use crate::terms::Form;

mod error;

/// The longest label, by RFC 1035.
const MAX_LABEL: usize = 63;
/// The longest name in text, by RFC 1035, without the trailing dot.
const MAX_NAME: usize = 253;

/// A domain name in one spelling: lower case, A-labels, no trailing dot.
///
/// Only `a-z`, `0-9`, `-` and `_` stand for themselves. A name seen on the wire may hold any byte:
/// [`DomainName::from_labels`] writes the others as `\DDD`, so that such a name still has a place below
/// its parent and no dot inside a label can pass for a boundary.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct DomainName(Box<str>);

impl DomainName {
    /// Reads a name as people write it.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = normalise(text)?;
        check(&name, false)?;
        Ok(Self(name.into()))
    }

    /// Takes a name from a DNS message, label by label from the left.
    pub fn from_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, NameError> {
        let mut name = String::new();
        let mut wire = 0;
        for label in labels {
            if label.is_empty() {
                return Err(NameError::EmptyLabel);
            }
            if label.len() > MAX_LABEL {
                return Err(NameError::LongLabel);
            }
            wire += label.len() + 1;
            if !name.is_empty() {
                name.push('.');
            }
            for byte in label.iter().map(u8::to_ascii_lowercase) {
                if is_plain(byte) {
                    name.push(char::from(byte));
                } else {
                    name.push_str(&format!("\\{byte:03}"));
                }
            }
        }
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if wire > MAX_NAME + 1 {
            return Err(NameError::LongName);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The labels from the left.
    pub fn labels(&self) -> impl DoubleEndedIterator<Item = &str> {
        self.0.split('.').filter(|label| !label.is_empty())
    }

    /// The names above this one, the nearest first, without the root.
    pub fn ancestors(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(parent(&self.0), |name| parent(name))
    }

    /// The name above every name: the base of a bare `*`.
    pub fn root() -> Self {
        Self("".into())
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One name of a rule. Its order is its specificity: of two patterns that match a name, the greater one
/// says more about it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum DomainPattern {
    /// `*.example.com`; below the root for a bare `*`.
    Below(DomainName),
    /// `.example.com`.
    Both(DomainName),
    /// `example.com`.
    Exact(DomainName),
    /// A name with a `*` inside a label.
    Glob(NameGlob),
}

/// A name with at least one `*` inside a label. Each stands for zero or more characters of that label.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct NameGlob {
    form: Form,
    text: Box<str>,
}

/// How much of the name space a pattern covers.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Breadth {
    /// Names of one registrant.
    Narrow,
    /// Everything below a suffix that a company hands out names under, such as `github.io`.
    PrivateSuffix,
    /// Everything, or everything below a registry's suffix, such as `co.uk`.
    PublicSuffix,
}

impl DomainPattern {
    /// Reads a pattern as people write it: the only way to make one.
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let text = text.trim();
        if text == "*" {
            return Ok(Self::Below(DomainName::root()));
        }
        let (form, base) = match text.strip_prefix("*.") {
            Some(base) => (Form::Below, base),
            None => match text.strip_prefix('.') {
                Some(base) => (Form::Both, base),
                None => (Form::Exact, text),
            },
        };
        if base.contains('*') {
            return Ok(Self::Glob(NameGlob { form, text: normalise_glob(base)?.into() }));
        }
        let name = DomainName::parse(base)?;
        Ok(match form {
            Form::Below => Self::Below(name),
            Form::Both => Self::Both(name),
            Form::Exact => Self::Exact(name),
        })
    }

    /// The name or glob without its prefix; empty for a bare `*`.
    pub fn base(&self) -> &str {
        match self {
            Self::Below(name) | Self::Both(name) | Self::Exact(name) => name.as_str(),
            Self::Glob(glob) => glob.text(),
        }
    }

    /// The pattern that matches what is below, too.
    pub(crate) fn with_below(self) -> Self {
        match self {
            Self::Exact(name) => Self::Both(name),
            Self::Glob(NameGlob { form: Form::Exact, text }) => {
                Self::Glob(NameGlob { form: Form::Both, text })
            }
            broad @ (Self::Below(_) | Self::Both(_) | Self::Glob(_)) => broad,
        }
    }

    pub(crate) fn breadth(&self) -> Breadth {
        let below = match self {
            Self::Exact(_) => return Breadth::Narrow,
            Self::Below(name) | Self::Both(name) => name.as_str(),
            // What stands right of the last wildcard label is the part that is pinned down.
            Self::Glob(glob) => {
                let after = glob.text().rsplit_once('*').map_or("", |(_, after)| after);
                after.split_once('.').map_or("", |(_, rest)| rest)
            }
        };
        suffix_breadth(below.as_bytes())
    }

    fn rank(&self) -> (usize, u8, usize) {
        let form = match self {
            Self::Below(_) => 0,
            Self::Both(_) => 1,
            Self::Glob(_) => 2,
            Self::Exact(_) => 3,
        };
        let base = self.base();
        let labels = base.split('.').filter(|label| !label.is_empty()).count();
        (labels, form, base.bytes().filter(|&byte| byte != b'*').count())
    }
}

impl Ord for DomainPattern {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |pattern: &Self| {
            let form = if let Self::Glob(glob) = pattern { Some(glob.form) } else { None };
            (pattern.rank(), form)
        };
        key(self).cmp(&key(other)).then_with(|| self.base().cmp(other.base()))
    }
}

impl PartialOrd for DomainPattern {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for DomainPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Below(name) => f.write_str(&written(Form::Below, name.as_str())),
            Self::Both(name) => f.write_str(&written(Form::Both, name.as_str())),
            Self::Exact(name) => f.write_str(name.as_str()),
            Self::Glob(glob) => fmt::Display::fmt(glob, f),
        }
    }
}

impl NameGlob {
    /// What the glob as a whole matches: names of its shape, names below them, or both.
    pub fn form(&self) -> Form {
        self.form
    }

    /// The labels with their `*`, without the prefix that says the form.
    pub fn text(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for NameGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&written(self.form, &self.text))
    }
}

/// The pattern as it is written in a policy.
pub(crate) fn written(form: Form, base: &str) -> String {
    match form {
        Form::Below if base.is_empty() => "*".to_owned(),
        Form::Below => format!("*.{base}"),
        Form::Both => format!(".{base}"),
        Form::Exact => base.to_owned(),
    }
}

/// The name above `name`, if it is not the root.
pub(crate) fn parent(name: &str) -> Option<&str> {
    name.split_once('.').map(|(_, rest)| rest)
}

/// How much `*.name` covers.
pub(crate) fn suffix_breadth(name: &[u8]) -> Breadth {
    if name.is_empty() {
        return Breadth::PublicSuffix;
    }
    let Some(suffix) = psl::suffix(name) else { return Breadth::Narrow };
    // An unknown top-level name is somebody's own, such as `internal` or `lan`.
    if suffix.as_bytes().len() != name.len() || !suffix.is_known() {
        return Breadth::Narrow;
    }
    match suffix.typ() {
        Some(psl::Type::Private) => Breadth::PrivateSuffix,
        Some(psl::Type::Icann) | None => Breadth::PublicSuffix,
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_'
}

/// One spelling, not checked yet.
fn normalise(text: &str) -> Result<String, NameError> {
    let text = text.trim();
    if text.contains("://") {
        return Err(NameError::Url(text.to_owned()));
    }
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if is_address(bare) {
        return Err(NameError::Address(text.to_owned()));
    }
    let name = if text.is_ascii() {
        text.to_ascii_lowercase()
    } else {
        idna::domain_to_ascii(text).map_err(|_| NameError::International)?
    };
    let name = match name.strip_suffix('.') {
        Some(relative) => relative.to_owned(),
        None => name,
    };
    // By now full-width digits are digits, and a dot at the end is gone.
    if is_address(&name) {
        return Err(NameError::Address(text.to_owned()));
    }
    Ok(name)
}

/// Whether a text is an address or a network.
fn is_address(text: &str) -> bool {
    // Lists hold millions of names: most are seen not to be an address by their last byte.
    let suspect = text.ends_with(|c: char| c.is_ascii_digit()) || text.contains(':');
    suspect && (text.parse::<std::net::IpAddr>().is_ok() || text.parse::<ipnet::IpNet>().is_ok())
}

/// As [`normalise`], label by label, since the rules for international names know no `*`.
fn normalise_glob(text: &str) -> Result<String, NameError> {
    let text = text.strip_suffix('.').unwrap_or(text);
    let mut name = String::new();
    for (index, label) in text.split('.').enumerate() {
        if index > 0 {
            name.push('.');
        }
        if label.contains('*') && !label.is_ascii() {
            return Err(NameError::International);
        }
        if label.is_ascii() {
            name.push_str(&label.to_ascii_lowercase());
        } else {
            name.push_str(&idna::domain_to_ascii(label).map_err(|_| NameError::International)?);
        }
    }
    check(&name, true)?;
    Ok(name)
}

fn check(name: &str, star: bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty);
    }
    let wrong = |&c: &char| !(c.is_ascii() && is_plain(c as u8) || c == '.' || star && c == '*');
    if let Some(character) = name.chars().find(wrong) {
        return Err(NameError::Character(character));
    }
    for label in name.split('.') {
        if label.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        if label.len() > MAX_LABEL {
            return Err(NameError::LongLabel);
        }
    }
    if name.len() > MAX_NAME {
        return Err(NameError::LongName);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
