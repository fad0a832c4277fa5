//! What the language says about a connection, as `policy-schema` reads it.

use super::policy_text::{PolicyText, RuleText};
use super::world::{CGROUPS, Connect, Place, RESOLVER, Seen};
use enforcer_common::{RuleId, Verdict};
use policy_schema::{
    Action, Connection, Decider, DomainName, LiteralAddresses, PolicySet, Rule, SharedAddress, Sighting,
};
use std::{cell::RefCell, collections::HashMap, sync::Arc, time::Duration};

/// A decision, in words that both sides have.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Outcome {
    pub verdict: Verdict,
    pub rule: RuleId,
    pub effective: Verdict,
    pub effective_rule: RuleId,
    /// Of a refusal.
    pub errno: Option<i32>,
}

/// The reference evaluator with a policy, and with the same policy as it means a cgroup that is not classified.
pub(super) struct References {
    classified: Reference,
    unclassified: Option<Reference>,
}

impl References {
    pub(super) fn new(text: &PolicyText) -> Self {
        let mut doubtful = text.clone();
        let by_cgroup =
            |rule: &&mut RuleText| rule.deny && !(rule.cgroups.is_empty() && rule.units.is_empty());
        let changed = doubtful.rules.iter_mut().filter(by_cgroup).map(|rule| {
            // Every deny rule with a cgroup or unit applies.
            (rule.users, rule.cgroups, rule.units) = Default::default();
        });
        let unclassified = (changed.count() > 0).then(|| Reference::new(&doubtful));
        Self { classified: Reference::new(text), unclassified }
    }

    pub(super) fn policy(&self) -> &Arc<PolicySet> {
        &self.classified.policy
    }

    /// `seen` is what is known of the address.
    pub(super) fn judge(&self, connect: &Connect, seen: &[Seen]) -> Outcome {
        let doubtful = self.unclassified.as_ref().filter(|_| !connect.classified);
        doubtful.unwrap_or(&self.classified).judge(connect, seen)
    }
}

struct Reference {
    policy: Arc<PolicySet>,
    /// How long the kernel believes what allows, or spares from a deny, at least.
    hold: Duration,
}

impl Reference {
    fn new(text: &PolicyText) -> Self {
        let policy = text.parse();
        let hold = policy.longest_allowance();
        Self { policy: Arc::new(policy), hold }
    }

    fn judge(&self, connect: &Connect, seen: &[Seen]) -> Outcome {
        let Connect { address, host: _, port, udp, uid, cgroup, classified, late } = *connect;
        let protocol = if udp { policy_schema::Protocol::Udp } else { policy_schema::Protocol::Tcp };
        let mut connection = Connection::new(address.parse().unwrap(), port, protocol);
        connection.uid = Some(uid);
        // Of a cgroup that is not classified only the one around it is known.
        let (path, around) = CGROUPS[cgroup];
        connection.cgroup =
            Some(if classified { path.to_owned() } else { format!("{around}/\u{1}a/\u{1}b/\u{1}c") });
        connection.resolver = address == RESOLVER;
        connection.sightings = seen.iter().map(|one| self.sighting(one, seen, late)).collect();
        Outcome::from(self.policy.decide(&connection))
    }

    /// A binding has one expiry for all its sightings (decision 0005), and once it has expired it is as if an untrusted
    /// server had answered: it can deny, and neither allow nor spare (decision 0006).
    fn sighting(&self, one: &Seen, all: &[Seen], late: u64) -> Sighting {
        let Seen { chain, trusted, age, ttl, place, behind: _ } = one;
        let ttl = Duration::from_secs((*ttl).into());
        let left = |seen: &Seen| {
            let life = Duration::from_secs(seen.ttl.into()).max(self.hold);
            life.checked_sub(Duration::from_secs(seen.age))
        };
        let joined = all.iter().filter(|seen| seen.trusted && seen.place == *place && self.binds(seen));
        let believed = late == 0 || joined.filter_map(left).max() >= Some(Duration::from_secs(late));
        Sighting {
            question: name(chain[0]),
            chain: chain[1..].iter().map(|alias| name(alias)).collect(),
            trusted: *trusted && believed,
            age: Duration::from_secs(*age),
            ttl,
        }
    }

    /// Whether the answer is bound at all. The binder passes over one that says nothing to any rule, the daemon judges all.
    fn binds(&self, seen: &Seen) -> bool {
        let members: Vec<DomainName> = seen.chain.iter().map(|name| self::name(name)).collect();
        let says = |rule: &Rule| {
            let excepted = |name: &&DomainName| rule.except_name_set().is_match(name);
            let matched = |name: &&DomainName| rule.name_set().is_match(name) && !excepted(name);
            let (mut matching, mut excepting) = (&members[..], &members[..]);
            match rule.action() {
                Action::Allow => matching = &members[..1],
                Action::Deny => excepting = &members[..1],
            }
            matching.iter().any(|name| matched(&name)) || excepting.iter().any(|name| excepted(&name))
        };
        let everything = |rule: &Rule| rule.shared_address() == SharedAddress::All;
        seen.place == Place::Truth
            || self.policy.literal_addresses().action != LiteralAddresses::Allow
            || self.policy.rules().iter().any(|rule| everything(rule) || says(rule))
    }
}

impl From<policy_schema::Decision> for Outcome {
    fn from(decision: policy_schema::Decision) -> Self {
        let verdict = |verdict| match verdict {
            policy_schema::Verdict::Allow => Verdict::Allow,
            policy_schema::Verdict::Deny => Verdict::Deny,
        };
        let rule = |decider| match decider {
            Decider::Builtin => RuleId::BUILTIN,
            Decider::Default => RuleId::DEFAULT,
            Decider::LiteralAddress => RuleId::LITERAL,
            Decider::OtherResolver => RuleId::OTHER_RESOLVER,
            Decider::Rule(class) => RuleId(class.index() as u16),
        };
        Self {
            verdict: verdict(decision.verdict),
            rule: rule(decision.rule),
            effective: verdict(decision.effective),
            effective_rule: rule(decision.effective_rule),
            errno: decision.errno.map(|errno| errno.number()),
        }
    }
}

impl From<enforcer_common::Decision> for Outcome {
    fn from(decision: enforcer_common::Decision) -> Self {
        let enforcer_common::Decision { verdict, rule, effective, effective_rule, errno } = decision;
        let errno = (effective == Verdict::Deny).then(|| errno.into());
        Self { verdict, rule, effective, effective_rule, errno }
    }
}

/// Parsed once each: they are few, and asked for millions of times.
fn name(text: &'static str) -> DomainName {
    thread_local!(static NAMES: RefCell<HashMap<&'static str, DomainName>> = RefCell::default());
    NAMES.with_borrow_mut(|names| {
        names.entry(text).or_insert_with(|| DomainName::parse(text).unwrap()).clone()
    })
}
