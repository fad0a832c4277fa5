//! The reference evaluator. **This file is the specification of the language**; the kernel's `decide` is
//! held to it by property tests. It is written to be read, not to be fast.
//!
//! A rule matches where its destination, its ports and its subjects match. Deny rules come first, then the
//! built-in allows, then allow rules, then `literalAddresses`, then the default. Read over all rules this
//! gives the *verdict*; read over the enforcing ones it gives the *effective* verdict, which alone decides
//! what happens: no audit rule ever changes it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::connection::{Connection, Sighting};
use crate::destination::{is_special_use, normalise};
use crate::domain::DomainName;
use crate::policy_set::{ClassId, PolicySet};
use crate::rule::Rule;
use crate::terms::{Action, Errno, LiteralAddresses, Mode, SharedAddress};

/// The result of judging a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It may go out.
    Allow,
    /// It may not.
    Deny,
}

impl From<Action> for Verdict {
    fn from(action: Action) -> Self {
        match action {
            Action::Allow => Self::Allow,
            Action::Deny => Self::Deny,
        }
    }
}

/// Who decided.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Decider {
    /// A built-in allow: loopback, or a resolver at its DNS ports.
    Builtin,
    /// No rule matched.
    Default,
    /// No rule matched, and no lookup preceded.
    LiteralAddress,
    /// A rule, by its class.
    Rule(ClassId),
}

/// What of the connection matched.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase", tag = "because")]
pub enum Why {
    /// The rule is about every destination.
    Any,
    /// A network of the rule holds the address.
    Cidr {
        /// The network.
        cidr: IpNet,
    },
    /// No rule matched.
    Default,
    /// No lookup preceded.
    LiteralAddress,
    /// The address is a loopback address.
    Loopback,
    /// A name of the address matched.
    Name {
        /// What was asked for.
        question: String,
        /// The question itself or the alias behind it that matched.
        member: String,
        /// The pattern, as it would be written in a policy.
        pattern: String,
    },
    /// The address is a resolver's, the port one of DNS.
    Resolver,
}

/// A verdict and how it came about.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// What the rules say, audit rules included.
    pub verdict: Verdict,
    /// Who says it.
    pub rule: Decider,
    /// What happens.
    pub effective: Verdict,
    /// Who makes it happen.
    pub effective_rule: Decider,
    /// The verdict is deny.
    pub would_deny: bool,
    /// The connection is refused in fact.
    pub blocked: bool,
    /// What the call returns if it is refused.
    pub errno: Option<Errno>,
    /// Why the verdict is what it is.
    pub why: Why,
}

/// Ports at which a resolver is reached: DNS and DNS over TLS.
const RESOLVER_PORTS: [u16; 2] = [53, 853];

pub(crate) fn decide(policies: &PolicySet, connection: &Connection) -> Decision {
    let destination = Destination::of(connection);
    let matching: Vec<(ClassId, &Rule, Why)> = policies
        .classes()
        .filter_map(|(class, rule)| Some((class, rule, reason(rule, connection, &destination)?)))
        .collect();

    let (verdict, rule, why) = read(policies, connection, &destination, &matching, |_| true);
    let (effective, effective_rule, _) =
        read(policies, connection, &destination, &matching, |mode| mode == Mode::Enforce);
    let blocked = effective == Verdict::Deny;
    let errno = match effective_rule {
        Decider::Rule(class) => policies.rule(class).map(Rule::errno),
        Decider::Builtin | Decider::Default | Decider::LiteralAddress => None,
    };
    Decision {
        verdict,
        rule,
        effective,
        effective_rule,
        would_deny: verdict == Verdict::Deny,
        blocked,
        errno: blocked.then(|| errno.unwrap_or_default()),
        why,
    }
}

/// What the destination is, apart from names and rules.
struct Destination {
    address: IpAddr,
    loopback: bool,
    /// The address is a resolver's and the port one of DNS.
    dns: bool,
    /// The address is one that no deny rule reaches through a name.
    protected: bool,
}

impl Destination {
    fn of(connection: &Connection) -> Self {
        let address = normalise(connection.address);
        let loopback = address.is_loopback();
        let dns = connection.resolver && RESOLVER_PORTS.contains(&connection.port);
        Self { address, loopback, dns, protected: loopback || connection.resolver }
    }

    /// The address meets neither deny rules over everything nor the default.
    fn builtin(&self) -> bool {
        self.loopback || self.dns
    }
}

/// The first that decides among what counts: `counts` is told the mode of each.
fn read(
    policies: &PolicySet,
    connection: &Connection,
    destination: &Destination,
    matching: &[(ClassId, &Rule, Why)],
    counts: impl Fn(Mode) -> bool,
) -> (Verdict, Decider, Why) {
    let first = |action| matching.iter().find(|(_, rule, _)| rule.action() == action && counts(rule.mode()));
    if let Some((class, _, why)) = first(Action::Deny) {
        return (Verdict::Deny, Decider::Rule(*class), why.clone());
    }
    if destination.builtin() {
        let why = if destination.loopback { Why::Loopback } else { Why::Resolver };
        return (Verdict::Allow, Decider::Builtin, why);
    }
    if let Some((class, _, why)) = first(Action::Allow) {
        return (Verdict::Allow, Decider::Rule(*class), why.clone());
    }
    let literal = policies.literal_addresses();
    // Only a trusted resolver's answer is a lookup; one that is long ago is a lookup all the same.
    let looked_up = connection.sightings.iter().any(|sighting| sighting.trusted);
    if !looked_up && literal.action != LiteralAddresses::Allow && counts(literal.mode()) {
        return (Verdict::Deny, Decider::LiteralAddress, Why::LiteralAddress);
    }
    let default = policies.default();
    let verdict = if counts(default.mode) { default.action.into() } else { Verdict::Allow };
    (verdict, Decider::Default, Why::Default)
}

/// Why a rule matches, if it does.
fn reason(rule: &Rule, connection: &Connection, destination: &Destination) -> Option<Why> {
    let ports = rule.ports();
    if !ports.is_empty() && !ports.iter().any(|range| range.contains(connection.protocol, connection.port)) {
        return None;
    }
    if !rule.subjects().is_none_or(|subjects| subjects.is_match(connection)) {
        return None;
    }
    if rule.is_any() {
        let spared = rule.action() == Action::Deny && destination.builtin();
        return (!spared).then_some(Why::Any);
    }
    // What `except.cidrs` holds, the rule reaches neither by name nor by network.
    if holds(rule.except_cidrs(), destination.address) {
        return None;
    }
    by_name(rule, connection, destination).or_else(|| by_cidr(rule, connection, destination))
}

/// Whether the rule's networks hold the address, and which.
fn by_cidr(rule: &Rule, connection: &Connection, destination: &Destination) -> Option<Why> {
    let cidr = *rule.cidrs().iter().find(|cidr| cidr.contains(&destination.address))?;
    (!excepts_name(rule, &connection.sightings)).then_some(Why::Cidr { cidr })
}

/// Whether the sightings of the address match the rule's names, and by what.
fn by_name(rule: &Rule, connection: &Connection, destination: &Destination) -> Option<Why> {
    let Destination { address, protected, .. } = *destination;
    let barred = match rule.action() {
        Action::Allow => is_special_use(address) && !holds(rule.may_resolve_to(), address),
        Action::Deny => protected,
    };
    if barred {
        return None;
    }
    let sightings = &connection.sightings;
    let enough = match rule.shared_address() {
        SharedAddress::All => {
            sightings.iter().filter(|it| narrows(rule, it)).all(|it| by_sighting(rule, it).is_some())
        }
        SharedAddress::Any => true,
    };
    if !enough {
        return None;
    }
    sightings.iter().filter(|it| is_believed(rule, it)).find_map(|it| by_sighting(rule, it))
}

/// Whether a rule may match through a sighting. Doubt only makes stricter: an allow rule believes trusted resolvers alone,
/// a deny rule any server.
fn is_believed(rule: &Rule, sighting: &Sighting) -> bool {
    sighting.is_live(rule.hold()) && (sighting.trusted || rule.action() == Action::Deny)
}

/// Whether a rule may fail to match because of a sighting. Here an allow rule listens to any server, a deny rule to
/// trusted resolvers alone.
fn narrows(rule: &Rule, sighting: &Sighting) -> bool {
    sighting.is_live(rule.spare()) && (sighting.trusted || rule.action() == Action::Allow)
}

/// A deny rule matches a sighting through any member, an allow rule through the question alone: an alias is
/// chosen by whoever owns the question.
fn by_sighting(rule: &Rule, sighting: &Sighting) -> Option<Why> {
    let allow = rule.action() == Action::Allow;
    let members = sighting.members().take(if allow { 1 } else { usize::MAX });
    members.filter(|member| !rule.except_name_set().is_match(member)).find_map(|member| {
        Some(Why::Name {
            question: sighting.question.to_string(),
            member: member.to_string(),
            pattern: rule.name_set().find(member)?,
        })
    })
}

/// Whether a name keeps the address out of the rule's networks: for a deny rule the name that was asked for,
/// for an allow rule any name that appeared.
fn excepts_name(rule: &Rule, sightings: &[Sighting]) -> bool {
    let excepted = |name: &DomainName| rule.except_name_set().is_match(name);
    sightings.iter().filter(|sighting| narrows(rule, sighting)).any(|sighting| match rule.action() {
        Action::Allow => sighting.members().any(excepted),
        Action::Deny => excepted(&sighting.question),
    })
}

fn holds(networks: &[IpNet], address: IpAddr) -> bool {
    networks.iter().any(|network| network.contains(&address))
}

#[cfg(test)]
mod tests;
