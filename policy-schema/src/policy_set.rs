//! Several policies as one.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use ipnet::Ipv6Net;
use serde::Serialize;

use crate::connection::Connection;
use crate::decide::{self, Decider, Decision, Explanation};
use crate::diagnostic::{Diagnostic, Report, Severity};
use crate::policy::{Policy, Set, Settings, TrustedResolvers};
use crate::policy_set::agree::Joined;
use crate::rule::Rule;
use crate::terms::{Action, Inbound, LiteralAddresses, Mode, OnError, OtherResolvers};

mod agree;
mod doubts;

/// How many rules the kernel has room for: one bit each.
pub const MAX_RULES: usize = 512;

/// The number of a rule in the set: deny rules first, then allow rules, each in the order of the files.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct ClassId(u16);

impl ClassId {
    /// The number, below [`MAX_RULES`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The class of a number that [`ClassId::index`] gave.
    pub fn new(index: usize) -> Option<Self> {
        if index < MAX_RULES { Some(Self(u16::try_from(index).ok()?)) } else { None }
    }
}

impl fmt::Display for ClassId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What happens to a connection that no rule matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct Default {
    /// What the default says.
    pub action: Action,
    /// Whether it acts.
    pub mode: Mode,
}

/// What happens to an address that no lookup preceded and no rule matches.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
pub struct LiteralAddress {
    /// What the files say.
    pub action: LiteralAddresses,
    /// The mode of the files that say it.
    pub files: Mode,
}

impl LiteralAddress {
    /// Whether a refusal acts: `deny` in an enforcing file.
    pub fn mode(self) -> Mode {
        match self.action {
            LiteralAddresses::Allow | LiteralAddresses::Deny => self.files,
            LiteralAddresses::Audit => Mode::Audit,
        }
    }
}

/// What the files say about DNS.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Dns {
    /// The resolvers whose answers may allow.
    pub trusted_resolvers: TrustedResolvers,
    /// What happens to queries sent elsewhere.
    pub other_resolvers: OtherResolvers,
    /// Mode of the files that say so.
    pub other_resolvers_mode: Mode,
    /// The NAT64 prefixes in use, sorted.
    pub nat64: Vec<Ipv6Net>,
}

/// What the files say about sockets that bypass the policy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Sockets {
    /// The units that may open them, sorted.
    pub exempt: Vec<Box<str>>,
}

/// All policies in force, joined: rules add up, global keys agree.
#[derive(Clone, Debug)]
pub struct PolicySet {
    rules: Vec<Rule>,
    longest_allowance: Duration,
    default: Default,
    on_error: OnError,
    inbound: Inbound,
    literal_addresses: LiteralAddress,
    dns: Dns,
    sockets: Sockets,
}

impl PolicySet {
    /// Joins policies. `mode`, the command line's, overrides that of every file and rule.
    ///
    /// Gives the set with what is doubtful about it, or what keeps the policies from being one.
    pub fn new(policies: Vec<Policy>, mode: Option<Mode>) -> Result<(Self, Vec<Diagnostic>), Report> {
        let mut found = agree::check_names(&policies);
        let mut joined = Joined::default();
        let mut rules = Vec::new();
        for Policy { mode: file, settings, hold_allow, rules: own, .. } in policies {
            joined.join(settings, mode.unwrap_or(file), &mut found);
            joined.longest_allowance = joined.longest_allowance.max(hold_allow);
            rules.extend(own);
        }
        for rule in &mut rules {
            rule.mode = mode.unwrap_or(rule.mode);
        }
        // The sort is stable, so rules of one action stay in the order of the files.
        rules.sort_by_key(|rule| match rule.action {
            Action::Deny => 0,
            Action::Allow => 1,
        });
        if let Some(surplus) = rules.get(MAX_RULES) {
            found.push(doubts::too_many(&rules, surplus));
        }
        if found.iter().any(|diagnostic| diagnostic.severity == Severity::Error) {
            return Err(Report::new(found));
        }
        found.extend(doubts::unreachable(&rules));
        Ok((joined.into_set(rules), Report::new(found).into_diagnostics()))
    }

    /// All rules; the index is the class.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The rules with their classes.
    pub fn classes(&self) -> impl Iterator<Item = (ClassId, &Rule)> {
        self.rules.iter().enumerate().filter_map(|(index, rule)| Some((ClassId::new(index)?, rule)))
    }

    /// The set without its names; globs, digests and all else stay. For whoever has compiled them and wants their memory
    /// back: [`PolicySet::decide`] no longer means what the files say.
    #[must_use]
    pub fn without_names(mut self) -> Self {
        for rule in &mut self.rules {
            rule.to.names.forget();
            rule.to.except_names.forget();
        }
        self
    }

    /// The rule of a class.
    pub fn rule(&self, class: ClassId) -> Option<&Rule> {
        self.rules.get(class.index())
    }

    /// The rule a decision names, as events spell it: none for the default, `builtin`, `literalAddresses`,
    /// `otherResolvers`.
    pub fn label(&self, decider: Decider) -> Option<&str> {
        match decider {
            Decider::Builtin => Some("builtin"),
            Decider::Default => None,
            Decider::LiteralAddress => Some("literalAddresses"),
            Decider::OtherResolver => Some("otherResolvers"),
            Decider::Rule(class) => self.rule(class).map(Rule::name),
        }
    }

    /// What happens to a connection that no rule matches.
    pub fn default(&self) -> Default {
        self.default
    }

    /// What happens when a kernel program meets an internal error.
    pub fn on_error(&self) -> OnError {
        self.on_error
    }

    /// Whether flows that a peer opened are judged.
    pub fn inbound(&self) -> Inbound {
        self.inbound
    }

    /// What happens to an address that no lookup preceded and no rule matches.
    pub fn literal_addresses(&self) -> LiteralAddress {
        self.literal_addresses
    }

    /// The longest `hold.allow` of the files and their rules: how long a lookup counts at least.
    pub fn longest_allowance(&self) -> Duration {
        self.longest_allowance
    }

    /// What the files say about DNS.
    pub fn dns(&self) -> &Dns {
        &self.dns
    }

    /// What the files say about sockets that bypass the policy.
    pub fn sockets(&self) -> &Sockets {
        &self.sockets
    }

    /// Enforce if anything in the set can refuse a connection in fact.
    pub fn mode(&self) -> Mode {
        let rule = self.rules.iter().any(|rule| rule.mode == Mode::Enforce);
        let default = self.default.action == Action::Deny && self.default.mode == Mode::Enforce;
        let literal = self.literal_addresses;
        let literal = literal.action == LiteralAddresses::Deny && literal.mode() == Mode::Enforce;
        let &Dns { other_resolvers, other_resolvers_mode, .. } = &self.dns;
        let others = other_resolvers == OtherResolvers::Deny && other_resolvers_mode == Mode::Enforce;
        if rule || default || literal || others { Mode::Enforce } else { Mode::Audit }
    }

    /// An address that stands for that of a name: one that no network of a rule holds, as far as there is one.
    pub fn neutral_address(&self) -> IpAddr {
        let networks = || self.rules.iter().flat_map(|rule| [rule.cidrs(), rule.except_cidrs()]).flatten();
        let held = |address: &IpAddr| networks().filter(|network| network.contains(address)).count();
        // The ranges for documentation are nobody's address.
        let candidates = (1..=254).flat_map(|last| {
            [[203, 0, 113, last], [198, 51, 100, last], [192, 0, 2, last]].map(IpAddr::from)
        });
        let first = candidates.clone().find(|address| held(address) == 0);
        let least = || candidates.clone().min_by_key(held);
        first.or_else(least).unwrap_or(IpAddr::from([203, 0, 113, 1]))
    }

    /// Judges a connection: what the language means, rule by rule.
    pub fn decide(&self, connection: &Connection) -> Decision {
        self.explain(connection).decision
    }

    /// Judges a connection, and tells of every rule whether it matches and why.
    pub fn explain(&self, connection: &Connection) -> Explanation {
        decide::explain(self, connection)
    }
}

/// The units that configure the network themselves and could not without packet sockets.
const EXEMPT: [&str; 5] = [
    "NetworkManager.service",
    "dhclient.service",
    "dhcpcd.service",
    "systemd-networkd.service",
    "wpa_supplicant.service",
];

impl Joined {
    fn into_set(self, rules: Vec<Rule>) -> PolicySet {
        let Self { settings, default_mode, literal_mode, others_mode, longest_allowance } = self;
        let allowed = rules.iter().filter(|rule| rule.action == Action::Allow).map(|rule| rule.hold);
        let longest_allowance = allowed.fold(longest_allowance, Duration::max);
        let Settings {
            default,
            on_error,
            inbound,
            literal_addresses,
            trusted_resolvers,
            other_resolvers,
            nat64,
            exempt,
        } = settings;
        let mut shipped: Vec<Box<str>> = EXEMPT.iter().map(|unit| (*unit).into()).collect();
        shipped.extend(value(exempt));
        shipped.sort();
        shipped.dedup();
        PolicySet {
            rules,
            longest_allowance,
            default: Default { action: default.map_or(Action::Allow, |set| set.value), mode: default_mode },
            on_error: value(on_error),
            inbound: value(inbound),
            literal_addresses: LiteralAddress { action: value(literal_addresses), files: literal_mode },
            dns: Dns {
                trusted_resolvers: value(trusted_resolvers),
                other_resolvers: value(other_resolvers),
                other_resolvers_mode: others_mode,
                nat64: value(nat64),
            },
            sockets: Sockets { exempt: shipped },
        }
    }
}

fn value<T: std::default::Default>(set: Option<Set<T>>) -> T {
    set.map(|set| set.value).unwrap_or_default()
}

#[cfg(test)]
mod tests;
