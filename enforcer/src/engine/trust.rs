//! Who is believed, and who connects: resolvers, the processes that hold them, cgroups.

use super::{Engine, EngineError};
use crate::{cgroups::Tree, compile::Compiled};
use enforcer_common::{Address, dns::Holder};
use std::collections::BTreeSet;

impl Engine {
    /// Trusts other resolvers from here on.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_resolvers(&mut self, resolvers: Vec<Address>) -> Result<(), EngineError> {
        self.kernel.set_resolvers(&self.resolvers, &resolvers)?;
        self.resolvers = resolvers;
        Ok(())
    }

    /// Sets who may answer from the resolvers' addresses on this machine, found by `find` in the hierarchy of this moment.
    ///
    /// # Errors
    /// What the kernel refused; who is new may then be believed already.
    pub fn set_holders(&mut self, find: impl FnOnce(&Tree) -> BTreeSet<Holder>) -> Result<(), EngineError> {
        // Reads the hierarchy again, and classifies what is new in it.
        self.read_cgroups()?;
        let holders = find(&self.cgroups);
        self.kernel.set_holders(&self.holders, &holders)?;
        self.holders = holders;
        Ok(())
    }

    /// Looks for new cgroups now.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn read_cgroups(&mut self) -> Result<(), EngineError> {
        match self.policies.get(&self.version).cloned() {
            Some(policy) => self.classify(&policy),
            None => Ok(()),
        }
    }

    /// Classifies cgroups that appeared since the last look.
    pub(super) fn classify(&mut self, policy: &Compiled) -> Result<(), EngineError> {
        let known: BTreeSet<u64> = self.cgroups.ids().collect();
        self.cgroups.rescan()?;
        let wanted = policy.has_cgroup_subjects();
        for (id, path) in self.cgroups.iter().filter(|(id, _)| wanted && !known.contains(id)) {
            self.kernel.classify(policy.version, id, &policy.cgroup(path))?;
        }
        Ok(())
    }
}
