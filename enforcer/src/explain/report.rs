//! An explanation as it is printed: the keys are part of the interface, and those of events where there is one.

use super::words;
use crate::{
    compile::Compiled,
    engine::only_policy,
    live::{KnownAddress, KnownSighting},
};
use policy_schema::{
    Action, Connection, Decider, Errno, Explanation, Host, Location, Miss, Mode, Protocol, Rule, Verdict, Why,
};
use serde::Serialize;
use std::net::IpAddr;

/// The answer of `explain`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The name that was asked about.
    pub name: Option<String>,
    /// The address that was asked about.
    #[serde(rename = "dstIP")]
    pub address: Option<IpAddr>,
    /// The destination port.
    #[serde(rename = "dstPort")]
    pub port: u16,
    /// The protocol.
    pub proto: Protocol,
    /// What becomes of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The other rules that match, then those that nearly do.
    pub others: Vec<Other>,
    /// What a running daemon knows; `None` if none was asked.
    pub live: Option<Vec<Live>>,
    /// What has to be known besides.
    pub notes: Vec<String>,
}

/// What becomes of a connection.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// What the rules say, audit rules included.
    pub verdict: Verdict,
    /// The verdict is deny.
    pub would_deny: bool,
    /// What happens.
    pub effective: Verdict,
    /// It is refused in fact.
    pub blocked: bool,
    /// The policy of the rule that says so.
    pub policy: Option<String>,
    /// The rule that says so, as events name it.
    pub rule: Option<String>,
    /// The policy of the rule that makes it happen.
    pub effective_policy: Option<String>,
    /// The rule that makes it happen.
    pub effective_rule: Option<String>,
    /// What the call returns if it is refused.
    pub errno: Option<Errno>,
    /// Why the verdict is what it is.
    pub why: Reason<Why>,
    /// Where the rule stands, as `file:line`.
    pub location: Option<String>,
}

/// A reason as data, and as a sentence.
#[derive(Clone, Debug, Serialize)]
pub struct Reason<T> {
    /// For people.
    pub text: String,
    /// For machines.
    #[serde(flatten)]
    pub reason: T,
}

/// A rule that does not decide.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Other {
    /// Its policy.
    pub policy: String,
    /// Its name.
    pub rule: String,
    /// What it says.
    pub action: Action,
    /// Whether it acts.
    pub mode: Mode,
    /// Whether it matches.
    pub matches: bool,
    /// Why it does not decide.
    pub why: OtherReason,
    /// Where it stands.
    pub location: String,
}

/// Why a rule does not decide.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum OtherReason {
    /// It matches, and another one comes first.
    Match(Reason<Why>),
    /// It does not match.
    Miss(Reason<Miss>),
}

impl OtherReason {
    /// For people.
    pub fn text(&self) -> &str {
        match self {
            Self::Match(reason) => &reason.text,
            Self::Miss(reason) => &reason.text,
        }
    }
}

/// What a daemon knows of an address, and what becomes of a connection to it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Live {
    /// The address.
    #[serde(rename = "dstIP")]
    pub address: IpAddr,
    /// The answers that led to it.
    pub sightings: Vec<LiveSighting>,
    /// What becomes of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// An answer that led to an address, and how long it counts.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveSighting {
    /// The question, then its aliases.
    pub names: Vec<String>,
    /// It came from a trusted resolver.
    pub trusted: bool,
    /// Seconds for which it can deny; 0 if no deny rule holds it any longer.
    pub deny_seconds_left: u64,
    /// Seconds for which it can allow.
    pub allow_seconds_left: u64,
}

impl Report {
    /// A connection that was asked about, without what a daemon knows.
    pub fn new(host: &Host, connection: &Connection, compiled: &Compiled, explanation: &Explanation) -> Self {
        let (name, address) = match host {
            Host::Address(address) => (None, Some(*address)),
            Host::Name(name) => (Some(name.to_string()), None),
        };
        Self {
            name,
            address,
            port: connection.port,
            proto: connection.protocol,
            outcome: Outcome::new(compiled, explanation),
            others: others(compiled, connection, explanation),
            live: None,
            notes: Vec::new(),
        }
    }
}

impl Outcome {
    /// What was decided, by its names.
    pub fn new(compiled: &Compiled, Explanation { decision, .. }: &Explanation) -> Self {
        let policy = &compiled.policy;
        let policy_of = |decider| match decider {
            Decider::Builtin | Decider::LiteralAddress | Decider::OtherResolver => None,
            Decider::Default => only_policy(compiled).map(|name| name.to_string()),
            Decider::Rule(class) => policy.rule(class).map(|rule| rule.policy().to_owned()),
        };
        let rule_of = |decider| policy.label(decider).map(str::to_owned);
        let rule = if let Decider::Rule(class) = decision.rule { policy.rule(class) } else { None };
        Self {
            verdict: decision.verdict,
            would_deny: decision.would_deny,
            effective: decision.effective,
            blocked: decision.blocked,
            policy: policy_of(decision.rule),
            rule: rule_of(decision.rule),
            effective_policy: policy_of(decision.effective_rule),
            effective_rule: rule_of(decision.effective_rule),
            errno: decision.errno,
            why: Reason { text: words::why(&decision.why), reason: decision.why.clone() },
            location: rule.map(|rule| rule.location().to_string()),
        }
    }
}

impl Live {
    /// What a daemon knows of an address, by the policy that judges.
    pub fn new(known: &KnownAddress, compiled: &Compiled, explanation: &Explanation, now: u64) -> Self {
        let hold_deny = compiled.holds.iter().filter(|hold| {
            let mut rules = hold.matches;
            rules.intersect(&compiled.deny);
            !rules.is_empty()
        });
        let hold_deny = hold_deny.map(|hold| hold.length).max().unwrap_or(0);
        let left = |sighting: &KnownSighting, hold| sighting.end(hold).saturating_sub(now) / 1_000_000_000;
        let sightings = known.sightings.iter().map(|sighting| LiveSighting {
            names: sighting.chain.clone(),
            trusted: sighting.trusted,
            deny_seconds_left: left(sighting, hold_deny),
            allow_seconds_left: if sighting.trusted { left(sighting, compiled.hold_allow) } else { 0 },
        });
        Self {
            address: known.address,
            sightings: sightings.collect(),
            outcome: Outcome::new(compiled, explanation),
        }
    }
}

/// The rules that do not decide and have something to do with the connection.
pub(crate) fn others(compiled: &Compiled, connection: &Connection, explanation: &Explanation) -> Vec<Other> {
    let policy = &compiled.policy;
    let Explanation { decision, rules } = explanation;
    let mut others: Vec<Other> = rules
        .iter()
        .filter(|(class, _)| decision.rule != Decider::Rule(*class))
        .filter(|(_, why)| *why != Err(Miss::Destination))
        .filter_map(|(class, why)| {
            let rule = policy.rule(*class)?;
            let why = match why {
                Ok(why) => OtherReason::Match(Reason {
                    text: format!("{}; {}", words::why(why), words::lost(policy, decision, *class, rule)),
                    reason: why.clone(),
                }),
                Err(miss) => OtherReason::Miss(Reason {
                    text: words::miss(rule, connection, miss),
                    reason: miss.clone(),
                }),
            };
            Some(other(rule, why))
        })
        .collect();
    others.sort_by_key(|other| !other.matches);
    others
}

fn other(rule: &Rule, why: OtherReason) -> Other {
    let location: &Location = rule.location();
    Other {
        policy: rule.policy().to_owned(),
        rule: rule.name().to_owned(),
        action: rule.action(),
        mode: rule.mode(),
        matches: matches!(why, OtherReason::Match(_)),
        why,
        location: location.to_string(),
    }
}
