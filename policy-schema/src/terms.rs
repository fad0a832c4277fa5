//! The closed vocabularies of the language: one enum per key that takes a word.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a rule, or the default, says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Let the connection through.
    Allow,
    /// Refuse the connection.
    Deny,
}

/// Whether a rule acts or only speaks.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Mode {
    /// Log what would happen; change nothing.
    Audit,
    /// Act.
    Enforce,
}

/// What happens when a kernel program meets an internal error.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnError {
    /// Let the connection through.
    Allow,
    /// Do what the policy's `default` says.
    #[default]
    Default,
    /// Refuse the connection.
    Deny,
}

/// Whether flows that a peer opened are judged.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Inbound {
    /// They pass unjudged.
    #[default]
    Allow,
    /// They are judged like any other.
    Judge,
}

/// What happens to an address that no lookup preceded, where no rule matches it.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LiteralAddresses {
    /// Nothing of its own: the default decides.
    #[default]
    Allow,
    /// The verdict is deny; what happens is up to the default.
    Audit,
    /// Refused.
    Deny,
}

/// What happens to a query sent to a resolver that is not trusted.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OtherResolvers {
    /// It passes; its answers are believed only where they make the policy stricter.
    #[default]
    Allow,
    /// It is refused.
    Deny,
}

/// How a rule reads an address that several names share.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum SharedAddress {
    /// Every live sighting of the address has to match.
    All,
    /// One live sighting of the address has to match.
    #[default]
    Any,
}

/// The error a refused system call returns.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
pub enum Errno {
    /// Permission denied.
    EACCES,
    /// Connection refused.
    ECONNREFUSED,
    /// Network unreachable.
    ENETUNREACH,
    /// Operation not permitted.
    #[default]
    EPERM,
}

impl Errno {
    /// The positive error number on Linux.
    pub fn number(self) -> i32 {
        match self {
            Self::EACCES => 13,
            Self::ECONNREFUSED => 111,
            Self::ENETUNREACH => 101,
            Self::EPERM => 1,
        }
    }
}

/// What happens to live flows when a deny rule comes into force.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, Hash, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnDeny {
    /// The socket is closed.
    Close,
    /// Its packets are dropped.
    #[default]
    Drop,
}

/// What a line that a list's format does not know does to the policy.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum OnBadLine {
    /// The policy is refused.
    Refuse,
    /// The line is reported and skipped.
    #[default]
    Skip,
}

/// A transport protocol that ports belong to.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Protocol {
    /// Transmission Control Protocol.
    Tcp,
    /// User Datagram Protocol.
    Udp,
}

/// The way a name in a rule matches.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Form {
    /// `*.example.com`: every name below it, at any depth, not itself.
    Below,
    /// `.example.com`: itself and every name below it.
    Both,
    /// `example.com`: itself only.
    Exact,
}
