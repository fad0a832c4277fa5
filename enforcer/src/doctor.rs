//! What this machine lets enforcer do: facts, what follows from each, and what to change.

use crate::backend::Backend;
use serde::Serialize;

mod checks;
mod facts;
mod trial;

pub use facts::Facts;
pub use trial::Trial;

/// How a fact bears on enforcing.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// As it should be.
    Good,
    /// Something is not enforced, or not as well.
    Limited,
    /// Nothing can be enforced like this.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it bears on enforcing.
    pub state: State,
    /// What is the case.
    pub found: String,
    /// What follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// All that was looked at.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// The backend that `--backend auto` takes; none if no hook fires.
    pub backend: Option<Backend>,
    /// In the order in which they depend on each other.
    pub checks: Vec<Check>,
}

impl Report {
    /// What follows from the facts.
    pub fn of(facts: &Facts) -> Self {
        let works = |backend: &Backend| matches!(facts.trial(*backend), Some(Trial::Fires));
        Self {
            kernel: facts.release.clone(),
            backend: [Backend::Lsm, Backend::Cgroup].into_iter().find(works),
            checks: checks::all(facts),
        }
    }
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Good, found: found.into(), effect: None, fix: None }
    }

    fn limited(name: &'static str, found: impl Into<String>) -> Self {
        Self { state: State::Limited, ..Self::good(name, found) }
    }

    fn missing(name: &'static str, found: impl Into<String>) -> Self {
        Self { state: State::Missing, ..Self::good(name, found) }
    }

    fn effect(self, effect: impl Into<String>) -> Self {
        Self { effect: Some(effect.into()), ..self }
    }

    fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}

#[cfg(test)]
mod tests;
