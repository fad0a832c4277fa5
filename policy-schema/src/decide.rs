//! The reference evaluator. **This file is the specification of the language**; the kernel's `decide` is
//! held to it by property tests. It is written to be read, not to be fast.
//!
//! A rule matches where its destination, its ports and its subjects match. Deny rules come first, then
//! `otherResolvers`, then the built-in allows, then allow rules, then `literalAddresses`, then the default. Read over all rules this
//! gives the *verdict*; read over the enforcing ones it gives the *effective* verdict, which alone decides
//! what happens: no audit rule ever changes it.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::Serialize;

use crate::connection::{Connection, Sighting};
use crate::destination::{embedded, is_special_use, normalise, translated};
use crate::policy_set::{ClassId, PolicySet};
use crate::rule::Rule;
use crate::terms::{Action, Errno, LiteralAddresses, Mode, OtherResolvers, SharedAddress};

pub use crate::decide::miss::Miss;

mod miss;

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
    /// A server at the port of DNS that is no trusted resolver.
    OtherResolver,
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
    /// The server at the port of DNS is no trusted resolver.
    OtherResolver,
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

/// A decision with what every rule says about the connection.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation {
    /// What is decided.
    pub decision: Decision,
    /// For each rule, by class: why it matches, or why it does not.
    pub rules: Vec<(ClassId, Result<Why, Miss>)>,
}

/// The port of DNS.
const DNS: u16 = 53;
/// Ports at which a resolver is reached: DNS and DNS over TLS.
const RESOLVER_PORTS: [u16; 2] = [DNS, 853];

pub(crate) fn explain(policies: &PolicySet, connection: &Connection) -> Explanation {
    let own = connection.address;
    let (meant, beside) = match translated(&policies.dns().nat64, own) {
        // A resolver is judged as it is listed, and as nothing else.
        _ if connection.resolver => (own, None),
        Some(meant) => (meant, Some(own)),
        None => (own, embedded(own)),
    };
    // What is known by name is the address that is meant.
    let mut explanation = explain_address(policies, &Connection { address: meant, ..connection.clone() });
    if let Some(address) = beside {
        let beside = Connection { address, sightings: Vec::new(), ..connection.clone() };
        strike(policies, &mut explanation, explain_address(policies, &beside));
    }
    explanation
}

/// What denies the address beside the one that is meant by its network denies the connection, too. An allow needs the one
/// that is meant, and so does the default.
fn strike(policies: &PolicySet, meant: &mut Explanation, beside: Explanation) {
    let denies = |class: ClassId| policies.rule(class).filter(|rule| rule.action() == Action::Deny);
    let striking: Vec<(ClassId, &Rule, Why)> = beside
        .rules
        .into_iter()
        .filter_map(|(class, why)| Some((class, denies(class)?, why.ok().filter(|why| *why != Why::Any)?)))
        .collect();
    let decision = &mut meant.decision;
    if let Some((class, _, why)) = striking.first()
        && decision.verdict == Verdict::Allow
    {
        (decision.verdict, decision.rule, decision.why) = (Verdict::Deny, Decider::Rule(*class), why.clone());
        decision.would_deny = true;
    }
    if let Some((class, rule, _)) = striking.iter().find(|(_, rule, _)| rule.mode() == Mode::Enforce)
        && decision.effective == Verdict::Allow
    {
        (decision.effective, decision.effective_rule) = (Verdict::Deny, Decider::Rule(*class));
        (decision.blocked, decision.errno) = (true, Some(rule.errno()));
    }
    for (class, _, why) in striking {
        if let Some((_, said)) = meant.rules.iter_mut().find(|(own, said)| *own == class && said.is_err()) {
            *said = Ok(why);
        }
    }
}

fn explain_address(policies: &PolicySet, connection: &Connection) -> Explanation {
    let destination = Destination::of(connection);
    let read: Vec<(ClassId, &Rule, Result<Why, Miss>)> = policies
        .classes()
        .map(|(class, rule)| (class, rule, reason(rule, connection, &destination)))
        .collect();
    let matching: Vec<(ClassId, &Rule, &Why)> =
        read.iter().filter_map(|(class, rule, why)| Some((*class, *rule, why.as_ref().ok()?))).collect();
    let decision = decide(policies, connection, &destination, &matching);
    Explanation { decision, rules: read.into_iter().map(|(class, _, why)| (class, why)).collect() }
}

fn decide(
    policies: &PolicySet,
    connection: &Connection,
    destination: &Destination,
    matching: &[(ClassId, &Rule, &Why)],
) -> Decision {
    let (verdict, rule, why) = read(policies, connection, destination, matching, |_| true);
    let (effective, effective_rule, _) =
        read(policies, connection, destination, matching, |mode| mode == Mode::Enforce);
    let blocked = effective == Verdict::Deny;
    let errno = match effective_rule {
        Decider::Rule(class) => policies.rule(class).map(Rule::errno),
        Decider::Builtin | Decider::Default | Decider::LiteralAddress | Decider::OtherResolver => None,
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
    matching: &[(ClassId, &Rule, &Why)],
    counts: impl Fn(Mode) -> bool,
) -> (Verdict, Decider, Why) {
    let first = |action| matching.iter().find(|(_, rule, _)| rule.action() == action && counts(rule.mode()));
    if let Some((class, _, why)) = first(Action::Deny) {
        return (Verdict::Deny, Decider::Rule(*class), (*why).clone());
    }
    let asks_another = connection.port == DNS && !connection.resolver;
    if asks_another
        && policies.dns().other_resolvers == OtherResolvers::Deny
        && counts(policies.dns().other_resolvers_mode)
    {
        return (Verdict::Deny, Decider::OtherResolver, Why::OtherResolver);
    }
    if destination.builtin() {
        let why = if destination.loopback { Why::Loopback } else { Why::Resolver };
        return (Verdict::Allow, Decider::Builtin, why);
    }
    if let Some((class, _, why)) = first(Action::Allow) {
        return (Verdict::Allow, Decider::Rule(*class), (*why).clone());
    }
    let literal = policies.literal_addresses();
    // Only a trusted resolver's answer is a lookup, and it counts as long as what it allows.
    let counting = |sighting: &Sighting| sighting.trusted && sighting.is_live(policies.longest_allowance());
    let looked_up = connection.sightings.iter().any(counting);
    if !looked_up && literal.action != LiteralAddresses::Allow && counts(literal.mode()) {
        return (Verdict::Deny, Decider::LiteralAddress, Why::LiteralAddress);
    }
    let default = policies.default();
    let verdict = if counts(default.mode) { default.action.into() } else { Verdict::Allow };
    (verdict, Decider::Default, Why::Default)
}

/// Why a rule matches, or why not: its destination, its ports and its subjects all have to.
fn reason(rule: &Rule, connection: &Connection, destination: &Destination) -> Result<Why, Miss> {
    let why = by_destination(rule, connection, destination)?;
    let ports = rule.ports();
    if !ports.is_empty() && !ports.iter().any(|range| range.contains(connection.protocol, connection.port)) {
        return Err(Miss::Port { why });
    }
    if !rule.subjects().is_none_or(|subjects| subjects.is_match(connection)) {
        return Err(Miss::Subject { why });
    }
    Ok(why)
}

fn by_destination(rule: &Rule, connection: &Connection, destination: &Destination) -> Result<Why, Miss> {
    if rule.is_any() {
        let spared = rule.action() == Action::Deny && destination.builtin();
        return if spared { Err(Miss::Builtin) } else { Ok(Why::Any) };
    }
    let why = by_name(rule, connection, destination)
        .or_else(|miss| by_cidr(rule, connection, destination).map_err(|other| miss.or(other)))?;
    // What `except.cidrs` holds, the rule reaches neither by name nor by network.
    match holds(rule.except_cidrs(), destination.address) {
        Some(cidr) => Err(Miss::ExceptCidr { cidr, why }),
        None => Ok(why),
    }
}

/// Whether the rule's networks hold the address, and which.
fn by_cidr(rule: &Rule, connection: &Connection, destination: &Destination) -> Result<Why, Miss> {
    let cidr = holds(rule.cidrs(), destination.address).ok_or(Miss::Destination)?;
    match excepted_name(rule, &connection.sightings) {
        Some(miss) => Err(miss),
        None => Ok(Why::Cidr { cidr }),
    }
}

/// Whether the sightings of the address match the rule's names, and by what.
fn by_name(rule: &Rule, connection: &Connection, destination: &Destination) -> Result<Why, Miss> {
    let Destination { address, protected, .. } = *destination;
    let sightings = &connection.sightings;
    let read = sightings.iter().map(|sighting| is_believed(rule, sighting, by_sighting(rule, sighting)?));
    let why = read
        .reduce(|one, other| one.or_else(|miss| other.map_err(|other| miss.or(other))))
        .unwrap_or(Err(Miss::Destination))?;
    let mut against = sightings.iter().filter(|sighting| narrows(rule, sighting));
    if rule.shared_address() == SharedAddress::All
        && let Some(other) = against.find(|sighting| by_sighting(rule, sighting).is_err())
    {
        return Err(Miss::SharedAddress { question: other.question.to_string(), why });
    }
    match rule.action() {
        Action::Allow if is_special_use(address) && holds(rule.may_resolve_to(), address).is_none() => {
            Err(Miss::SpecialUse { why })
        }
        Action::Deny if protected => Err(Miss::Protected { why }),
        Action::Allow | Action::Deny => Ok(why),
    }
}

/// Whether a rule may match through a sighting. Doubt only makes stricter: an allow rule believes trusted resolvers alone,
/// a deny rule any server.
fn is_believed(rule: &Rule, sighting: &Sighting, why: Why) -> Result<Why, Miss> {
    if !sighting.is_live(rule.hold()) {
        return Err(Miss::Over { why });
    }
    if sighting.trusted || rule.action() == Action::Deny { Ok(why) } else { Err(Miss::Untrusted { why }) }
}

/// Whether a rule may fail to match because of a sighting. Here an allow rule listens to any server, a deny rule to
/// trusted resolvers alone.
fn narrows(rule: &Rule, sighting: &Sighting) -> bool {
    sighting.is_live(rule.spare()) && (sighting.trusted || rule.action() == Action::Allow)
}

/// A deny rule matches a sighting through any member, an allow rule through the question alone: an alias is
/// chosen by whoever owns the question.
fn by_sighting(rule: &Rule, sighting: &Sighting) -> Result<Why, Miss> {
    let allow = rule.action() == Action::Allow;
    let mut miss = Miss::Destination;
    for (place, member) in sighting.members().enumerate() {
        let Some(pattern) = rule.name_set().find(member) else { continue };
        let (question, member_name) = (sighting.question.to_string(), member.to_string());
        if allow && place > 0 {
            miss = miss.or(Miss::Alias { question, member: member_name, pattern });
        } else if let Some(pattern) = rule.except_name_set().find(member) {
            miss = miss.or(Miss::ExceptName { name: member_name, pattern });
        } else {
            return Ok(Why::Name { question, member: member_name, pattern });
        }
    }
    Err(miss)
}

/// The name that keeps the address out of the rule's networks: for a deny rule one that was asked for, for an
/// allow rule any that appeared.
fn excepted_name(rule: &Rule, sightings: &[Sighting]) -> Option<Miss> {
    let count = if rule.action() == Action::Allow { usize::MAX } else { 1 };
    let sightings = sightings.iter().filter(|sighting| narrows(rule, sighting));
    sightings.flat_map(|sighting| sighting.members().take(count)).find_map(|name| {
        let pattern = rule.except_name_set().find(name)?;
        Some(Miss::ExceptName { name: name.to_string(), pattern })
    })
}

fn holds(networks: &[IpNet], address: IpAddr) -> Option<IpNet> {
    networks.iter().find(|network| network.contains(&address)).copied()
}

#[cfg(test)]
mod tests;
