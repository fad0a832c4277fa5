//! Another policy in force, whole or not at all.

use super::{Changes, Engine, EngineError, changes};
use crate::{clock, compile::Compiled, names::NameTable};
use enforcer_common::{Address, Binding, Vector, control::Control};
use std::{collections::BTreeMap, sync::Arc};

/// Policies kept for events that were emitted under them.
const POLICIES_KEPT: usize = 8;

impl Engine {
    /// Puts another policy in force, whole or not at all. Returns its version and what changed.
    ///
    /// # Errors
    /// [`EngineError`]; the old policy stays in force.
    pub fn reload(&mut self, policy: Arc<Compiled>, resolvers: Vec<Address>) -> Result<Changes, EngineError> {
        let old = self.policies.get(&self.version).cloned();
        let version = self.version + 1;
        let compiled = if policy.version == version {
            policy
        } else {
            Arc::new(Arc::unwrap_or_clone(policy).numbered(version))
        };
        self.cgroups.rescan()?;
        let cgroups = if compiled.has_cgroup_subjects() {
            self.cgroups.iter().map(|(id, path)| (id, compiled.cgroup(path))).collect()
        } else {
            BTreeMap::new()
        };
        // A program may still use the slot by the policy before the last: what cleaned up after it may have failed.
        self.kernel.fence()?;
        self.kernel.install(&compiled, &cgroups, &BTreeMap::new())?;
        let mut before = None;
        let prepared = self.prepare(old.as_deref(), &compiled, &resolvers, &mut before);
        if let Err(error) = prepared.and_then(|()| self.commit(&compiled)) {
            // Nothing has happened as far as the programs are concerned; forget what was prepared.
            if let Some(before) = before {
                self.names = before;
            }
            let joined = joined(&self.resolvers, &resolvers);
            self.kernel.set_resolvers(&joined, &self.resolvers)?;
            self.kernel.control(Control::Slots, slot_bit(self.version))?;
            if let Some(old) = old {
                self.kernel.control(Control::OnError, old.errors_deny().into())?;
                self.kernel.control(Control::OtherResolvers, old.other_resolvers() as u64)?;
            }
            return Err(error);
        }
        let changes = Changes::between(old.as_ref().map(|old| &old.policy), &compiled);
        self.policies.insert(version, compiled);
        while self.policies.len() > POLICIES_KEPT {
            self.policies.pop_first();
        }
        self.version = version;
        if let Err(error) = self.settle(resolvers) {
            // The new policy is in force; what is left over of the old one is only more than is needed.
            tracing::error!(%error, "the old policy could not be cleaned up");
        }
        Ok(changes)
    }

    /// Has answers judged by both policies, so that nothing that is answered meanwhile is missed, and judges every known
    /// sighting by the new one. `before` is the name table as the old policy judged it.
    fn prepare(
        &mut self,
        old: Option<&Compiled>,
        new: &Compiled,
        resolvers: &[Address],
        before: &mut Option<NameTable>,
    ) -> Result<(), EngineError> {
        let both = slot_bit(new.version) | if old.is_some() { slot_bit(self.version) } else { 0 };
        self.kernel.control(Control::Slots, both)?;
        self.kernel.fence()?;
        match old {
            Some(old) => {
                let bound = self.fresh(old.version, self.epoch)?;
                // This epoch goes on: let those end who are still binding in it.
                self.kernel.fence()?;
                self.take_over(old, &bound);
                *before = Some(self.names.clone());
                let translation = changes::translation(&old.policy, &new.policy);
                self.names.rejudge(new, |vector| changes::translate(&translation, vector));
            }
            None => self.names.rejudge(new, Vector::clone),
        }
        self.kernel.set_truth(new.version, &self.names.truth(new, clock::boot()))?;
        Ok(self.kernel.set_resolvers(&[], &joined(&self.resolvers, resolvers))?)
    }

    /// Flips: the last store is the moment from which programs judge by the new policy.
    fn commit(&mut self, new: &Compiled) -> Result<(), EngineError> {
        self.kernel.control(Control::OnError, new.errors_deny().into())?;
        self.kernel.control(Control::OtherResolvers, new.other_resolvers() as u64)?;
        Ok(self.kernel.control(Control::Version, new.version)?)
    }

    /// Lets go of the old policy, once no program uses it.
    fn settle(&mut self, resolvers: Vec<Address>) -> Result<(), EngineError> {
        self.kernel.fence()?;
        self.kernel.control(Control::Slots, slot_bit(self.version))?;
        // What was answered during the reload may be bound without what only user space knows.
        self.late = true;
        let joined = joined(&self.resolvers, &resolvers);
        self.resolvers = resolvers;
        Ok(self.kernel.set_resolvers(&joined, &self.resolvers)?)
    }

    /// The fresh bindings of an epoch and the one before.
    fn fresh(&self, version: u64, epoch: u64) -> Result<Vec<(Address, Binding)>, EngineError> {
        let mut bound = self.kernel.fresh(version, epoch)?;
        bound.extend(self.kernel.fresh(version, epoch.wrapping_sub(1))?);
        Ok(bound)
    }
}

/// Both sets of resolvers.
fn joined(one: &[Address], two: &[Address]) -> Vec<Address> {
    one.iter().chain(two).copied().collect()
}

fn slot_bit(version: u64) -> u64 {
    1 << (version & 1)
}
