//! One policy file, valid by construction.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::Ipv6Net;

use crate::build;
use crate::diagnostic::{Diagnostic, Report};
use crate::rule::{Origin, Rule};
use crate::source::{ReadList, Source};
use crate::terms::{Action, Inbound, LiteralAddresses, Mode, OnError, OtherResolvers};

/// What one file says.
#[derive(Clone, Debug)]
pub struct Policy {
    pub(crate) path: PathBuf,
    pub(crate) name: Arc<str>,
    pub(crate) mode: Mode,
    pub(crate) settings: Settings,
    /// The file's `hold.allow`.
    pub(crate) hold_allow: Duration,
    pub(crate) rules: Vec<Rule>,
}

impl Policy {
    /// Reads a file and its lists.
    ///
    /// Gives the policy with what is doubtful about it, or everything that is wrong with the file at once.
    pub fn parse(source: &Source, lists: &dyn ReadList) -> Result<(Self, Vec<Diagnostic>), Report> {
        build::policy(source, lists)
    }

    /// Where the policy came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The policy's name in events.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mode of its rules that have none of their own.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The rules in the order of the file.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// The global keys a file sets. What it does not set, another file may.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    pub default: Option<Set<Action>>,
    pub on_error: Option<Set<OnError>>,
    pub inbound: Option<Set<Inbound>>,
    pub literal_addresses: Option<Set<LiteralAddresses>>,
    pub trusted_resolvers: Option<Set<TrustedResolvers>>,
    pub other_resolvers: Option<Set<OtherResolvers>>,
    pub nat64: Option<Set<Vec<Ipv6Net>>>,
    pub exempt: Option<Set<Vec<Box<str>>>>,
}

/// A global key as one file sets it.
#[derive(Clone, Debug)]
pub(crate) struct Set<T> {
    pub value: T,
    pub origin: Origin,
}

/// The resolvers whose answers may allow a connection.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum TrustedResolvers {
    /// Those the machine is configured to use.
    #[default]
    Auto,
    /// These alone, sorted.
    Listed(Vec<Resolver>),
}

/// A resolver by its address.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Resolver {
    /// The address, normalised.
    pub address: IpAddr,
    /// The unit that has to hold the resolver's socket, where its answers are local.
    pub unit: Option<Box<str>>,
}
