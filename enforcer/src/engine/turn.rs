//! Turns of the epoch: what the binder has bound goes over into `truth`.

use super::{Engine, EngineError};
use crate::{clock, compile::Compiled};
use enforcer_common::{Address, Binding, control::Control};

impl Engine {
    /// What is due by the passing of time.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn tick(&mut self) -> Result<(), EngineError> {
        self.clock = clock::Offset::now();
        let Some(policy) = self.policies.get(&self.version).cloned() else { return Ok(()) };
        self.drain_answers(&policy);
        let now = clock::boot();
        let over = self.due.is_some_and(|due| due <= now);
        if over {
            self.names.expire(&policy, now);
        }
        if self.late || over || self.pending > 0 {
            self.turn()?;
        }
        if policy.has_cgroup_subjects() { self.classify(&policy) } else { Ok(()) }
    }

    /// Takes the bindings of this epoch over into `truth`, and begins the next.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn turn(&mut self) -> Result<(), EngineError> {
        let Some(policy) = self.policies.get(&self.version).cloned() else { return Ok(()) };
        if self.names.is_full() {
            // What the kernel has bound stays there. When its maps are full too, it refuses denied answers.
            let now = clock::boot();
            self.names.expire(&policy, now);
            self.due = self.names.next_change(&policy, now);
            if self.names.is_full() {
                return Ok(());
            }
        }
        let ended = self.epoch;
        self.kernel.control(Control::Epoch, ended + 1)?;
        self.epoch = ended + 1;
        self.kernel.fence()?;
        // The epoch before is the place of the one that has begun: what is in it now may still be handed over.
        let bound = self.kernel.fresh(self.version, ended)?;
        self.take_over(&policy, &bound);
        // What goes wrong from here on asks for another turn.
        let again = std::mem::replace(&mut self.late, true);
        let now = clock::boot();
        self.kernel.set_truth(self.version, &self.names.truth(&policy, now))?;
        self.kernel.clear_fresh(self.version, ended)?;
        // What ended since then is still in it.
        self.due = self.names.next_change(&policy, now);
        self.late = again;
        self.counts.turns += 1;
        Ok(())
    }

    /// Brings the name table up to date with `bound`: the fresh bindings of programs that have ended, and with that handed
    /// their answers over. A binding that no answer explains has lost its record.
    pub(super) fn take_over(&mut self, policy: &Compiled, bound: &[(Address, Binding)]) {
        // What is answered meanwhile is bound in the epoch that has begun, and waits for the next turn.
        (self.pending, self.late) = (0, false);
        self.drain_answers(policy);
        let adopted = self.names.adopt(bound, policy, clock::boot()) as u64;
        self.counts.nameless += adopted;
        self.causes.lost |= adopted > 0;
    }
}
