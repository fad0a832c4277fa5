//! What becomes of a connection, and why. The decision is that of the function which the kernel programs run, over the
//! compiled policy; the reasons are those of the reference evaluator. Pure.

use crate::{
    compile::{CompileError, Compiled, HostMaps},
    dns::Answer,
    live::KnownSighting,
    name::Name,
    names::NameTable,
};
use enforcer_common::{Address, RuleId, decide};
use policy_schema::{ClassId, Connection, Decider, Decision, Errno, Explanation, Sighting, Verdict, Why};
use std::net::IpAddr;

mod report;
mod text;
mod words;

pub(crate) use report::others;
pub use report::{Live, LiveSighting, Other, OtherReason, Outcome, Reason, Report};

/// Any time will do where nothing is known to have happened before.
const NOW: u64 = 1_000_000_000;
/// Seconds that a supposed answer is good for.
const TTL: u32 = 300;
/// The key of the name hash. A daemon draws one; nobody can send names to a question.
const KEY: [u64; 8] = [3, 5, 7, 11, 13, 17, 19, 23];

/// Why a connection cannot be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The two evaluators do not agree. This must not happen.
    #[error(
        "internal error: the kernel programs would decide {kernel:?}, the reference decides {reference:?}"
    )]
    Disagreement {
        /// What the programs decide.
        kernel: Box<Decision>,
        /// What the language means.
        reference: Box<Decision>,
    },
    /// The policy fits no image.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// The compiled policy is damaged. This must not happen either.
    #[error("internal error: the compiled policy cannot be read: {0:?}")]
    Undecidable(decide::Error),
}

/// Compiles a policy to explain by it. `user_id` finds users by name.
///
/// # Errors
/// [`ExplainError::Compile`].
pub fn compile(
    policy: policy_schema::PolicySet,
    user_id: impl Fn(&str) -> Option<u32>,
) -> Result<Compiled, ExplainError> {
    Ok(Compiled::new(policy, KEY, user_id)?)
}

/// Explains a connection whose sightings are supposed: trusted answers that have just come.
///
/// # Errors
/// [`ExplainError`].
pub fn explain(compiled: &Compiled, connection: &Connection) -> Result<Explanation, ExplainError> {
    let address = Address::from(connection.address).destination();
    let supposed = |sighting: &Sighting| {
        let chain = sighting.members().map(Name::from).collect();
        answer(chain, true, NOW, TTL, address)
    };
    let kernel = decision(compiled, connection, connection.sightings.iter().map(supposed), NOW)?;
    agreed(compiled, connection, kernel)
}

/// Explains a connection by what a daemon knows about its address, as it stands at `now`.
///
/// # Errors
/// [`ExplainError`].
pub fn explain_live(
    compiled: &Compiled,
    connection: &Connection,
    known: &[KnownSighting],
    now: u64,
) -> Result<Explanation, ExplainError> {
    let address = Address::from(connection.address).destination();
    let answers = known.iter().map(|sighting| {
        answer(sighting.names(), sighting.trusted, sighting.seen, sighting.ttl_seconds(), address)
    });
    let kernel = decision(compiled, connection, answers, now)?;
    let sightings = known.iter().filter_map(|sighting| sighting.sighting(now)).collect();
    agreed(compiled, &Connection { sightings, ..connection.clone() }, kernel)
}

/// The reasons of the reference, if it decides as the kernel programs do.
fn agreed(
    compiled: &Compiled,
    connection: &Connection,
    kernel: enforcer_common::Decision,
) -> Result<Explanation, ExplainError> {
    let explanation = compiled.policy.explain(connection);
    let kernel = in_words_of(&explanation, connection, kernel);
    if kernel == explanation.decision {
        return Ok(explanation);
    }
    Err(ExplainError::Disagreement { kernel: Box::new(kernel), reference: Box::new(explanation.decision) })
}

/// What the kernel programs decide once these answers were seen.
fn decision(
    compiled: &Compiled,
    connection: &Connection,
    answers: impl Iterator<Item = Answer>,
    now: u64,
) -> Result<enforcer_common::Decision, ExplainError> {
    let mut names = NameTable::default();
    for answer in answers {
        names.record(&answer, compiled);
    }
    let truth = names.truth(compiled, now);
    HostMaps::judge(compiled, connection, truth, now).map_err(ExplainError::Undecidable)
}

fn answer(chain: Vec<Name>, trusted: bool, time: u64, ttl: u32, address: Address) -> Answer {
    Answer {
        time,
        server: Address::default(),
        client_port: 0,
        trusted,
        unparsed_by_kernel: false,
        cgroup: 0,
        question: chain.first().cloned().unwrap_or_else(|| Name::from_policy("")),
        chain,
        addresses: vec![(address, ttl)],
        unrelated: 0,
        complete: true,
        beyond_binder: false,
    }
}

/// The kernel's decision as the reference would tell it, with the reason that the reference has for it.
fn in_words_of(
    explanation: &Explanation,
    connection: &Connection,
    decision: enforcer_common::Decision,
) -> Decision {
    let enforcer_common::Decision { verdict, rule, effective, effective_rule, errno } = decision;
    let verdict_of = |verdict| match verdict {
        enforcer_common::Verdict::Allow => Verdict::Allow,
        enforcer_common::Verdict::Deny => Verdict::Deny,
    };
    let (verdict, effective) = (verdict_of(verdict), verdict_of(effective));
    let blocked = effective == Verdict::Deny;
    let rule = decider(rule);
    let why = match rule {
        Decider::Builtin if is_loopback(connection.address) => Why::Loopback,
        Decider::Builtin => Why::Resolver,
        Decider::Default => Why::Default,
        Decider::LiteralAddress => Why::LiteralAddress,
        Decider::OtherResolver => Why::OtherResolver,
        Decider::Rule(class) => {
            let found = explanation.rules.iter().find(|(known, _)| *known == class);
            found.and_then(|(_, why)| why.as_ref().ok().cloned()).unwrap_or(Why::Default)
        }
    };
    let errnos = [Errno::EACCES, Errno::ECONNREFUSED, Errno::ENETUNREACH, Errno::EPERM];
    let errno = errnos.into_iter().find(|known| known.number() == i32::from(errno));
    Decision {
        verdict,
        rule,
        effective,
        effective_rule: decider(effective_rule),
        would_deny: verdict == Verdict::Deny,
        blocked,
        errno: errno.filter(|_| blocked),
        why,
    }
}

fn decider(rule: RuleId) -> Decider {
    match rule {
        RuleId::BUILTIN => Decider::Builtin,
        RuleId::LITERAL => Decider::LiteralAddress,
        RuleId::OTHER_RESOLVER => Decider::OtherResolver,
        RuleId(class) => ClassId::new(class.into()).map_or(Decider::Default, Decider::Rule),
    }
}

fn is_loopback(address: IpAddr) -> bool {
    policy_schema::normalise(address).is_loopback()
}

#[cfg(test)]
mod tests;
