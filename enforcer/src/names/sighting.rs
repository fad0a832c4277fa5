//! One sighting of one address.

use crate::{
    compile::{Compiled, Contribution},
    name::Name,
};
use enforcer_common::{Address, Vector};
use std::sync::Arc;

/// Cgroups remembered of those that asked; the latest stay.
const ASKERS_MAX: usize = 8;

/// One answer's question and what it led to, as it concerns one address.
#[derive(Clone, Debug)]
pub(super) struct Sighting {
    /// The question, then its CNAME targets.
    pub chain: Arc<[Name]>,
    pub trusted: bool,
    /// When it was answered last.
    pub seen: u64,
    /// Nanoseconds that the answer is good for.
    pub ttl: u64,
    /// The hosts file says it, and has no time to live: it ends when the file says something else.
    pub lasting: bool,
    /// What the policy in force makes of it.
    pub said: Contribution,
    /// Ids of the cgroups that asked, the latest last.
    pub asked: Vec<u64>,
    /// The address as it was answered.
    pub answered: Address,
}

impl Sighting {
    /// When it ends for rules with this hold.
    pub fn end(&self, hold: u64) -> u64 {
        if self.lasting { u64::MAX } else { self.seen.saturating_add(self.ttl.max(hold)) }
    }

    /// The same question with the same chain was answered again. Answers of several processors can come in any order.
    pub fn renew(&mut self, time: u64, ttl: u64) {
        let end = (self.seen + self.ttl).max(time + ttl);
        self.seen = self.seen.max(time);
        self.ttl = end - self.seen;
    }

    /// Remembers who asked; 0 is nobody.
    pub fn asked_by(&mut self, cgroup: u64) {
        if cgroup == 0 || self.asked.last() == Some(&cgroup) {
            return;
        }
        self.asked.retain(|known| *known != cgroup);
        if self.asked.len() == ASKERS_MAX {
            self.asked.remove(0);
        }
        self.asked.push(cgroup);
    }

    /// The name that was asked for.
    pub fn question(&self) -> Option<&Name> {
        self.chain.first()
    }

    /// Whether a deny rule matches it.
    pub fn denies(&self, policy: &Compiled) -> bool {
        self.said.any.meets(&policy.deny)
    }

    /// The rules that match it and still hold it, and until when.
    pub fn rules(&self, policy: &Compiled, allowed: &Vector, now: u64) -> Vec<(u16, u64)> {
        let mut rules = Vec::new();
        for hold in policy.holds.iter().filter(|hold| self.end(hold.length) > now) {
            let mut matching = self.said.any;
            matching.intersect(&hold.matches);
            matching.intersect(allowed);
            rules.extend(matching.classes().map(|class| (class, self.end(hold.length))));
        }
        rules.sort_unstable();
        rules
    }
}
