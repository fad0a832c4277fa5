//! How much is enforced: nothing is called enforced unless a canary was refused.

use crate::kernel::Hook;
use policy_schema::Mode;
use serde::{Deserialize, Serialize};

/// How much is enforced.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "state", content = "reasons")]
pub enum Status {
    /// The policy only logs, as its mode says.
    AuditOnly,
    /// The policy is enforced, but not all of it.
    Degraded(Vec<String>),
    /// The policy is enforced.
    Enforced,
    /// Nothing is enforced.
    NotEnforced(Vec<String>),
}

impl Status {
    /// The state that follows from the mode of the policy, the last canary, and what is known to be missing.
    pub fn of(mode: Mode, canary: Result<(), String>, missing: Vec<String>) -> Self {
        match (canary, mode) {
            (Err(reason), _) => Self::NotEnforced(vec![reason]),
            (Ok(()), Mode::Audit) => Self::AuditOnly,
            (Ok(()), Mode::Enforce) if missing.is_empty() => Self::Enforced,
            (Ok(()), Mode::Enforce) => Self::Degraded(missing),
        }
    }

    /// The state in one word.
    pub fn word(&self) -> &'static str {
        match self {
            Self::AuditOnly => "AuditOnly",
            Self::Degraded(_) => "Degraded",
            Self::Enforced => "Enforced",
            Self::NotEnforced(_) => "NotEnforced",
        }
    }

    /// Why it is not better.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::AuditOnly | Self::Enforced => &[],
            Self::Degraded(reasons) | Self::NotEnforced(reasons) => reasons,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())?;
        match self.reasons() {
            [] => Ok(()),
            reasons => write!(f, " ({})", reasons.join("; ")),
        }
    }
}

/// What `status` tells.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// How much is enforced.
    pub status: Status,
    /// Which hooks judge.
    pub backend: String,
    /// What is attached.
    pub hooks: Vec<Hook>,
    /// Version of the policy in force.
    pub policy_version: u64,
    /// Its mode.
    pub mode: Mode,
    /// Its rules.
    pub rules: usize,
    /// Trusted resolvers.
    pub resolvers: Vec<String>,
    /// Addresses with a name.
    pub addresses: usize,
    /// Everything that was counted, by name.
    pub counters: std::collections::BTreeMap<String, u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_enforced_unless_the_canary_was_refused() {
        let dead = || Err("the canary got through".to_owned());
        assert!(matches!(Status::of(Mode::Enforce, dead(), Vec::new()), Status::NotEnforced(_)));
        assert!(matches!(Status::of(Mode::Audit, dead(), Vec::new()), Status::NotEnforced(_)));
        assert_eq!(Status::of(Mode::Enforce, Ok(()), Vec::new()), Status::Enforced);
        assert_eq!(Status::of(Mode::Audit, Ok(()), Vec::new()), Status::AuditOnly);
        let degraded = Status::of(Mode::Enforce, Ok(()), vec!["x".to_owned()]);
        assert_eq!(degraded.to_string(), "Degraded (x)");
    }
}
