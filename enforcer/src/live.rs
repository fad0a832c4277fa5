//! What a running daemon knows of an address or a name: its answer to [`crate::control::Request::Names`].

use crate::name::Name;
use policy_schema::{DomainName, Mode, Sighting};
use serde::{Deserialize, Serialize};
use std::{net::IpAddr, path::PathBuf, time::Duration};

/// Addresses that one answer holds at most.
pub const ADDRESSES_MAX: usize = 64;

/// What is asked about.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Topic {
    /// An address: which names it has.
    Address(IpAddr),
    /// A name: which addresses it has.
    Name(String),
}

/// What the daemon knows.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Known {
    /// The policy files and directories that it was started with.
    pub policies: Vec<PathBuf>,
    /// The mode that it was started with.
    pub mode: Option<Mode>,
    /// The policy in force.
    pub policy_version: u64,
    /// [`crate::load::Loaded::fingerprint`] of the policy in force; 0 if it is not what the files said.
    pub fingerprint: u64,
    /// The resolvers that it trusts.
    pub resolvers: Vec<IpAddr>,
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub now: u64,
    /// The addresses with their live sightings.
    pub addresses: Vec<KnownAddress>,
    /// Further addresses, for which there was no room.
    pub more: usize,
}

/// An address with its live sightings.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownAddress {
    /// The address.
    pub address: IpAddr,
    /// The answers that led to it.
    pub sightings: Vec<KnownSighting>,
}

/// One answer that led to an address.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KnownSighting {
    /// The question, then its aliases.
    pub chain: Vec<String>,
    /// It came from a trusted resolver.
    pub trusted: bool,
    /// When it was answered last, in nanoseconds of `CLOCK_BOOTTIME`.
    pub seen: u64,
    /// Nanoseconds that the answer is good for.
    pub ttl: u64,
}

impl KnownSighting {
    /// The question, then its aliases, as the kernel knows names.
    pub fn names(&self) -> Vec<Name> {
        self.chain.iter().map(|name| Name::from_policy(name)).collect()
    }

    /// The sighting in the words of the policy language. What no policy can name, such as the root, is the root there.
    pub fn sighting(&self, now: u64) -> Option<Sighting> {
        let names = self.names();
        let mut names = names.iter().map(|name| name.to_policy().unwrap_or_else(DomainName::root));
        Some(Sighting {
            question: names.next()?,
            chain: names.collect(),
            trusted: self.trusted,
            age: Duration::from_nanos(now.saturating_sub(self.seen)),
            ttl: Duration::from_secs(self.ttl_seconds().into()),
        })
    }

    /// Seconds that the answer is good for, as answers say it.
    pub fn ttl_seconds(&self) -> u32 {
        u32::try_from(self.ttl.div_ceil(1_000_000_000)).unwrap_or(u32::MAX >> 1)
    }

    /// When it ends for rules that hold it this long.
    pub fn end(&self, hold: u64) -> u64 {
        self.seen.saturating_add(self.ttl.max(hold))
    }
}
