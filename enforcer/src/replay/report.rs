//! A line for each binding, and for each answer that makes none where it might.

use super::{Carried, Frame};
use crate::{compile::Compiled, name::Name, report::Rfc3339};
use enforcer_common::{Address, Vector};
use policy_schema::Action;
use serde::Serialize;
use std::{
    fmt,
    net::IpAddr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

/// What is told of a packet.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Line {
    /// An address that is bound to a name.
    Binding(Binding),
    /// An answer that was not read, or not whole, or not believed.
    Refused(Refused),
}

/// An address, and the names that an answer gives it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Binding {
    #[serde(flatten)]
    at: At,
    server: IpAddr,
    transport: &'static str,
    /// The question.
    name: Name,
    /// What the question leads to.
    chain: Vec<Name>,
    address: IpAddr,
    /// Seconds to live: the least on the way to the address.
    ttl: u64,
    /// Until when it counts at least, whatever the policy's `hold`.
    expiry: Rfc3339,
    source: Source,
    #[serde(skip_serializing_if = "Option::is_none")]
    rules: Option<Vec<Matched>>,
}

/// An answer without bindings, and why.
#[derive(Serialize)]
pub struct Refused {
    #[serde(flatten)]
    at: At,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<IpAddr>,
    refused: String,
}

#[derive(Serialize)]
struct At {
    packet: u64,
    time: Rfc3339,
}

/// Who makes a binding.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Both, the kernel before the answer can be read.
    Both,
    /// The daemon alone: late.
    Daemon,
    /// The kernel alone, until the daemon has read the answer.
    Kernel,
}

/// A rule that the names match.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Matched {
    policy: String,
    rule: String,
    action: Action,
    /// The daemon alone knows it, once it has read the answer.
    late: bool,
}

/// The rules of these bits, of which the kernel's binder has `bound`.
pub(super) fn rules(policy: &Compiled, any: &Vector, bound: &Vector) -> Vec<Matched> {
    let matched =
        any.classes().filter_map(|class| Some((class, policy.policy.rules().get(usize::from(class))?)));
    matched
        .map(|(class, rule)| Matched {
            policy: rule.policy().to_owned(),
            rule: rule.name().to_owned(),
            action: rule.action(),
            late: !bound.contains(class),
        })
        .collect()
}

impl Line {
    pub(super) fn binding(
        carried: &Carried<'_>,
        chain: &[Name],
        address: &Address,
        expiry: u64,
        source: Source,
        rules: Option<Vec<Matched>>,
    ) -> Self {
        let (name, chain) = match chain {
            [question, rest @ ..] => (question.clone(), rest.to_vec()),
            [] => (Name::from_hashed(&[]), Vec::new()),
        };
        Self::Binding(Binding {
            at: At::of(&carried.frame),
            server: carried.flow.server.into(),
            transport: carried.transport,
            name,
            chain,
            address: (*address).into(),
            ttl: expiry.saturating_sub(carried.frame.time) / 1_000_000_000,
            expiry: Rfc3339(time(expiry)),
            source,
            rules,
        })
    }

    pub(super) fn refused(frame: &Frame<'_>, server: Option<IpAddr>, reason: String) -> Self {
        Self::Refused(Refused { at: At::of(frame), server, refused: reason })
    }
}

impl At {
    fn of(frame: &Frame<'_>) -> Self {
        Self { packet: frame.number, time: Rfc3339(time(frame.time)) }
    }
}

/// For people: the packet, the name and where it leads, the address, until when, by whom, and the rules.
impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Binding(binding) => {
                let Binding { at, name, chain, address, ttl, expiry, source, rules, .. } = binding;
                let names = chain.iter().fold(name.to_string(), |names, next| format!("{names} > {next}"));
                write!(f, "{:>6}  {names:<40} {address:<24} until {expiry} ({ttl} s), {source}", at.packet)?;
                for Matched { policy, rule, action, late } in rules.iter().flatten() {
                    let action = match action {
                        Action::Allow => "allow",
                        Action::Deny => "deny",
                    };
                    write!(f, ", {action} {policy}/{rule}{}", if *late { " (late)" } else { "" })?;
                }
                Ok(())
            }
            Self::Refused(Refused { at, refused, .. }) => write!(f, "{:>6}  {refused}", at.packet),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Both => "kernel and daemon",
            Self::Daemon => "daemon",
            Self::Kernel => "kernel",
        })
    }
}

fn time(nanoseconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanoseconds)
}
