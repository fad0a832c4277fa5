//! Judges cases: what has to become of connections, against what becomes of them. Pure.

use crate::{
    compile::Compiled,
    explain::{self, ExplainError, Other, Outcome},
};
use policy_schema::{Case, Decider, Errno, Expected, Explanation, PolicySet, Protocol, Verdict};
use serde::Serialize;
use std::{collections::BTreeMap, fmt};

/// What became of cases.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// How many got what they expect.
    pub passed: usize,
    /// Those that did not.
    pub failures: Vec<Failed>,
    /// Every rule of the policies, and whether it decided a case.
    #[serde(skip)]
    pub rules: BTreeMap<RulePlace, bool>,
}

/// A rule, by where it stands.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulePlace {
    /// Its policy.
    pub policy: String,
    /// Its name.
    pub rule: String,
    /// Where it stands, as `file:line`.
    pub location: String,
}

/// A case that did not get what it expects.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// Where it stands, as `file:line`.
    pub location: String,
    /// What it is about.
    pub about: Option<String>,
    /// Where to.
    pub to: String,
    /// What is not as expected.
    pub faults: Vec<Fault>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The other rules that match, then those that nearly do.
    pub others: Vec<Other>,
}

/// One thing that is not as expected.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fault {
    /// The key of the case.
    pub key: &'static str,
    /// What it says.
    pub expected: String,
    /// What is.
    pub found: String,
}

/// Judges the cases of one file by the policies that it names.
///
/// # Errors
/// [`ExplainError`].
pub fn judge(cases: &[Case], policy: PolicySet) -> Result<Judged, ExplainError> {
    let users = users(cases);
    let compiled = explain::compile(policy, |name| users.get(name).copied())?;
    let neutral = compiled.policy.neutral_address();
    let mut judged = Judged { rules: rules(&compiled), ..Judged::default() };
    for case in cases {
        let mut connection = case.connection(neutral);
        connection.uid = connection.uid.or_else(|| users.get(connection.user.as_deref()?).copied());
        let explanation = explain::explain(&compiled, &connection)?;
        for decider in [explanation.decision.rule, explanation.decision.effective_rule] {
            if let Some(decided) = place(&compiled, decider).and_then(|place| judged.rules.get_mut(&place)) {
                *decided = true;
            }
        }
        let faults = faults(&compiled.policy, &case.expected, &explanation);
        if faults.is_empty() {
            judged.passed += 1;
            continue;
        }
        judged.failures.push(Failed {
            location: case.location.to_string(),
            about: case.about.clone(),
            to: to(case),
            faults,
            outcome: Outcome::new(&compiled, &explanation),
            others: explain::others(&compiled, &connection, &explanation),
        });
    }
    Ok(judged)
}

impl Judged {
    /// Adds what became of further cases.
    pub fn join(&mut self, other: Self) {
        let Self { passed, failures, rules } = other;
        self.passed += passed;
        self.failures.extend(failures);
        for (rule, decided) in rules {
            *self.rules.entry(rule).or_default() |= decided;
        }
    }

    /// The rules that decided no case.
    pub fn uncovered(&self) -> impl Iterator<Item = &RulePlace> {
        self.rules.iter().filter(|(_, decided)| !**decided).map(|(rule, _)| rule)
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { location, about, to, faults, outcome, others } = self;
        write!(f, "{location}: {to}")?;
        for Fault { key, expected, found } in faults {
            write!(f, ", {key} is {found}, expected {expected}")?;
        }
        if let Some(about) = about {
            write!(f, " ({about})")?;
        }
        write!(f, "\n  why: {}", outcome.why.text)?;
        others.iter().try_for_each(|Other { rule, why, .. }| write!(f, "\n  rule `{rule}`: {}", why.text()))
    }
}

fn faults(policy: &PolicySet, expected: &Expected, explanation: &Explanation) -> Vec<Fault> {
    let Expected { verdict, rule, effective, effective_rule, errno } = expected;
    let decision = &explanation.decision;
    let verdicts =
        [("verdict", Some(*verdict), decision.verdict), ("effective", *effective, decision.effective)];
    let verdicts = verdicts.into_iter().filter_map(|(key, expected, found)| {
        let expected = expected.filter(|expected| *expected != found)?;
        Some(Fault { key, expected: word(expected).to_owned(), found: word(found).to_owned() })
    });
    let rules = [("rule", rule, decision.rule), ("effectiveRule", effective_rule, decision.effective_rule)];
    let rules = rules.into_iter().filter_map(|(key, expected, found)| {
        let expected = expected.as_ref().filter(|expected| !is_called(policy, found, expected))?;
        let known = all(policy).any(|decider| is_called(policy, decider, expected));
        let expected =
            format!("`{expected}`{}", if known { "" } else { ", which is no rule of the policies" });
        Some(Fault { key, expected, found: format!("`{}`", unmistakable(policy, found)) })
    });
    let errno = errno.filter(|errno| decision.errno != Some(*errno)).map(|expected| Fault {
        key: "errno",
        expected: format!("{expected:?}"),
        found: decision.errno.map_or_else(|| "none".to_owned(), |errno: Errno| format!("{errno:?}")),
    });
    verdicts.chain(rules).chain(errno).collect()
}

fn all(policy: &PolicySet) -> impl Iterator<Item = Decider> {
    let rules = policy.classes().map(|(class, _)| Decider::Rule(class));
    rules.chain([Decider::Builtin, Decider::Default, Decider::LiteralAddress, Decider::OtherResolver])
}

/// What a case has to write to mean this decider.
fn unmistakable(policy: &PolicySet, decider: Decider) -> String {
    match decider {
        Decider::Rule(class) if !is_called(policy, decider, called(policy, decider)) => {
            let rule = policy.rule(class).map(|rule| format!("{}/{}", rule.policy(), rule.name()));
            rule.unwrap_or_default()
        }
        _ => called(policy, decider).to_owned(),
    }
}

/// Who decided, as a case calls it.
fn called(policy: &PolicySet, decider: Decider) -> &str {
    policy.label(decider).unwrap_or("default")
}

/// Whether a case means this decider. A rule that is called like one of the others is meant by `policy/rule` alone.
fn is_called(policy: &PolicySet, decider: Decider, name: &str) -> bool {
    let Decider::Rule(class) = decider else { return called(policy, decider) == name };
    let Some(rule) = policy.rule(class) else { return false };
    let reserved = ["builtin", "default", "literalAddresses", "otherResolvers"].contains(&name);
    rule.name() == name && !reserved
        || name.strip_suffix(rule.name()).is_some_and(|rest| rest.strip_suffix('/') == Some(rule.policy()))
}

fn rules(compiled: &Compiled) -> BTreeMap<RulePlace, bool> {
    let rules = compiled.policy.classes();
    rules.filter_map(|(class, _)| Some((place(compiled, Decider::Rule(class))?, false))).collect()
}

fn place(compiled: &Compiled, decider: Decider) -> Option<RulePlace> {
    let Decider::Rule(class) = decider else { return None };
    let rule = compiled.policy.rule(class)?;
    Some(RulePlace {
        policy: rule.policy().to_owned(),
        rule: rule.name().to_owned(),
        location: rule.location().to_string(),
    })
}

/// The numbers of the users that the cases name. One whose number no case says gets a number that nobody has.
fn users(cases: &[Case]) -> BTreeMap<String, u32> {
    let mut users = BTreeMap::new();
    let mut free = (0..u32::MAX).rev().filter(|uid| cases.iter().all(|case| case.uid != Some(*uid)));
    for case in cases {
        let Some(user) = case.user.as_ref().filter(|user| !users.contains_key(*user)) else { continue };
        users.extend(case.uid.or_else(|| free.next()).map(|uid| (user.clone(), uid)));
    }
    users
}

fn to(case: &Case) -> String {
    let protocol = match case.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    };
    format!("{} port {}/{protocol}", case.host, case.port)
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

#[cfg(test)]
mod tests;
