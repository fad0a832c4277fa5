//! Denied names that are answered with loopback or a resolver: no name rule reaches those addresses, so somebody has to be
//! told.

use crate::{compile::Compiled, dns::Answer, engine::events, name::Name, report::RuleName};
use enforcer_common::{Address, RuleId};
use std::{collections::BTreeSet, net::IpAddr};

/// Pairs remembered, so that each is told once.
const TOLD_MAX: usize = 4096;

/// What was seen, not told yet and told.
#[derive(Debug, Default)]
pub(super) struct Protected {
    told: BTreeSet<(Name, Address)>,
    new: Vec<(Name, IpAddr, RuleName)>,
}

impl Protected {
    /// Looks at an answer.
    pub(super) fn look(&mut self, answer: &Answer, policy: &Compiled, resolvers: &[Address]) {
        let protected = |address: &Address| address.is_loopback() || resolvers.contains(address);
        for (address, _) in answer.addresses.iter().filter(|(address, _)| protected(address)) {
            let mut denying = policy.judge(&answer.chain, answer.trusted).any;
            denying.intersect(&policy.deny);
            let Some(class) = denying.classes().next() else { return };
            if self.told.len() >= TOLD_MAX {
                self.told.clear();
            }
            if self.told.insert((answer.question.clone(), *address)) {
                let rule = events::rule_name(Some(policy), RuleId(class));
                self.new.push((answer.question.clone(), (*address).into(), rule));
            }
        }
    }

    /// What is to be told now.
    pub(super) fn take(&mut self) -> Vec<(Name, IpAddr, RuleName)> {
        std::mem::take(&mut self.new)
    }
}
