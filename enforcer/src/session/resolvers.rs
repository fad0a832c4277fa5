//! Whose answers are believed: the machine's resolvers, or those that the policy lists, and who holds them.

use super::{Session, SessionError};
use crate::{
    holders::{self, Held},
    preresolve::Wanted,
    resolvers,
};
use enforcer_common::Address;
use policy_schema::{PolicySet, TrustedResolvers};

impl Session {
    /// Follows a change of the machine's resolvers.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn follow_resolvers(&mut self) -> Result<(), SessionError> {
        let Some(policy) = self.engine.policy() else { return Ok(()) };
        let (resolvers, wanted) = (trusted(&policy.policy), pre_resolved(&policy.policy));
        self.engine.set_resolvers(resolvers)?;
        self.pre_resolve.follow(wanted);
        self.find_holders()
    }

    /// Looks who holds the resolvers on this machine.
    ///
    /// # Errors
    /// What the kernel refused.
    pub(super) fn find_holders(&mut self) -> Result<(), SessionError> {
        let Some(policy) = self.engine.policy().cloned() else { return Ok(()) };
        let resolvers = match &policy.policy.dns().trusted_resolvers {
            TrustedResolvers::Auto => {
                self.engine.resolvers().iter().map(|address| (*address, Held::ByWhoListens)).collect()
            }
            // An address that is listed without a unit is believed whoever answers from it.
            TrustedResolvers::Listed(listed) => listed
                .iter()
                .filter_map(|resolver| {
                    Some((resolver.address.into(), Held::ByUnit(resolver.unit.as_deref()?)))
                })
                .collect::<Vec<_>>(),
        };
        Ok(self.engine.set_holders(|tree| holders::of(resolvers, tree))?)
    }
}

/// The resolvers whose answers may allow.
pub(crate) fn trusted(policy: &PolicySet) -> Vec<Address> {
    let mut addresses: Vec<Address> = match &policy.dns().trusted_resolvers {
        TrustedResolvers::Auto => resolvers::auto().into_iter().map(Address::from).collect(),
        TrustedResolvers::Listed(listed) => listed.iter().map(|resolver| resolver.address.into()).collect(),
    };
    addresses.sort();
    addresses.dedup();
    addresses
}

/// What is looked up for rules with `preResolve`: asked of the machine's resolvers, or those that the policy lists.
pub(super) fn pre_resolved(policy: &PolicySet) -> Wanted {
    let servers = match &policy.dns().trusted_resolvers {
        TrustedResolvers::Auto => resolvers::asked(),
        TrustedResolvers::Listed(listed) => listed.iter().map(|resolver| resolver.address).collect(),
    };
    Wanted::of(policy, servers)
}
