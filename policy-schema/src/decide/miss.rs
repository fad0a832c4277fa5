//! Why a rule does not match.

use ipnet::IpNet;
use serde::Serialize;

use crate::decide::Why;

/// Why a rule does not match a connection. Where only one thing is missing, `why` is what does match.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "because")]
pub enum Miss {
    /// An allow rule: an alias matches, and not the name that was asked for.
    Alias {
        /// What was asked for.
        question: String,
        /// The alias behind it.
        member: String,
        /// The pattern that matches the alias.
        pattern: String,
    },
    /// `to: any` as a deny does not reach what must stay reachable.
    Builtin,
    /// The rule is about other destinations.
    Destination,
    /// `except.cidrs` carves the address out.
    ExceptCidr {
        /// The network.
        cidr: IpNet,
        /// What matches otherwise.
        why: Why,
    },
    /// `except.names` carves the name out, or the address that has it.
    ExceptName {
        /// The name.
        name: String,
        /// The pattern under `except`.
        pattern: String,
    },
    /// The rule holds the answer no longer.
    Over {
        /// What matched until then.
        why: Why,
    },
    /// The port is not among those of the rule.
    Port {
        /// What matches otherwise.
        why: Why,
    },
    /// No name denies loopback or a resolver.
    Protected {
        /// What matches otherwise.
        why: Why,
    },
    /// `sharedAddress: all`, and another name of the address does not match.
    SharedAddress {
        /// The other name.
        question: String,
        /// What matches otherwise.
        why: Why,
    },
    /// The address is a special-use one that `mayResolveTo` does not hold.
    SpecialUse {
        /// What matches otherwise.
        why: Why,
    },
    /// Who connects is not among the subjects of the rule.
    Subject {
        /// What matches otherwise.
        why: Why,
    },
    /// An allow rule: the server that answered is not trusted.
    Untrusted {
        /// What matches otherwise.
        why: Why,
    },
}

impl Miss {
    /// The one that tells more.
    pub(crate) fn or(self, other: Self) -> Self {
        if self == Self::Destination { other } else { self }
    }
}
