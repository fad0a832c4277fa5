//! What is asked of a session's names.

use super::Session;
use crate::{
    clock,
    listing::{Page, Query},
    live::{Known, Topic},
};
use std::path::PathBuf;

impl Session {
    /// What is known of an address or a name.
    pub fn known(&self, topic: &Topic) -> Known {
        let now = clock::boot();
        let (addresses, more) = self.engine.known(topic, now);
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Known {
            policies: self.options.policies.iter().map(absolute).collect(),
            mode: self.options.mode,
            policy_version: self.engine.policy().map_or(0, |policy| policy.version),
            fingerprint: self.fingerprint,
            resolvers: self.engine.resolvers().iter().map(|address| (*address).into()).collect(),
            now,
            addresses,
            more,
        }
    }

    /// A page of the names that are live.
    pub fn list(&self, query: &Query) -> Page {
        self.engine.list(query, clock::boot())
    }
}
