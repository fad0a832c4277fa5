//! What can be wrong with a name.

use thiserror::Error;

/// Why a text is no domain name, or no pattern.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum NameError {
    /// An address or a network.
    #[error("`{0}` is an address, not a name")]
    Address(String),
    /// A byte that no host name has.
    #[error("`{0}` cannot stand in a name")]
    Character(char),
    /// Nothing at all.
    #[error("the name is empty")]
    Empty,
    /// Two dots in a row, or one in front.
    #[error("the name has an empty label")]
    EmptyLabel,
    /// Not a valid internationalised name.
    #[error("the name is not valid by the rules for international names")]
    International,
    /// A label of more than 63 bytes.
    #[error("a label of the name is longer than 63 bytes")]
    LongLabel,
    /// A name of more than 253 bytes.
    #[error("the name is longer than 253 bytes")]
    LongName,
    /// A whole URL.
    #[error("`{0}` is a URL, not a name")]
    Url(String),
}

impl NameError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Address(_) => "write addresses and networks under `cidrs`",
            Self::Character('/') => "write the host name alone, without a path",
            Self::Character(':') => "write the host name alone; ports go under `ports`",
            Self::Character('*') => "write a `*` only in patterns, such as `*.example.com`",
            Self::Character(_) => "a name has letters, digits, `-`, `_` and dots between its labels",
            Self::Empty => "write a name such as `example.com`",
            Self::EmptyLabel => "write one dot between labels, such as `www.example.com`",
            Self::International => "check the spelling, or write the name's `xn--` form",
            Self::LongLabel => "DNS has no label longer than 63 bytes",
            Self::LongName => "DNS has no name longer than 253 bytes",
            Self::Url(_) => "write the host name alone, without `scheme://` and path",
        }
    }
}
