//! What the name table learns: answers of DNS, lookups of systemd-resolved, the hosts file.

use super::{Engine, EngineError};
use crate::{
    clock,
    compile::Compiled,
    dns::{self, Answer},
    hosts::Hosts,
    names::NameTable,
    resolved::Heard,
};
use enforcer_common::{Binding, FRESH_ENTRIES, dns::Doubt};

impl Engine {
    /// Reads the answers that are there, and turns the epoch if they ask for it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn read_answers(&mut self) -> Result<(), EngineError> {
        let Some(policy) = self.policies.get(&self.version).cloned() else { return Ok(()) };
        self.drain_answers(&policy);
        if self.late || self.pending > FRESH_ENTRIES / 4 {
            self.turn()?;
        }
        Ok(())
    }

    /// Takes in a lookup that systemd-resolved has answered. What no packet has told is bound late.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn hear(&mut self, heard: &Heard) -> Result<(), EngineError> {
        let Some(policy) = self.policies.get(&self.version).cloned() else { return Ok(()) };
        // The packets behind it, if there were any, come first.
        self.read_answers()?;
        let now = clock::boot();
        let answer = Answer::without_packet(&heard.chain, &heard.addresses, now);
        let known = |names: &NameTable| -> Vec<Option<Binding>> {
            let bindings =
                heard.addresses.iter().map(|address| names.binding(&policy.meant(address), &policy, now));
            bindings
                .map(|binding| {
                    binding.map(|binding| Binding { expiry: u64::from(binding.expiry > now), ..binding })
                })
                .collect()
        };
        let before = known(&self.names);
        self.names.record(&answer, &policy);
        self.protected.look(&answer, &policy, &self.resolvers);
        if known(&self.names) == before {
            return Ok(());
        }
        self.counts.late_binds += 1;
        self.counts.from_resolved += 1;
        self.turn()
    }

    /// Takes in what the hosts file says by now.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_hosts(&mut self, hosts: &Hosts) -> Result<(), EngineError> {
        let Some(policy) = self.policies.get(&self.version).cloned() else { return Ok(()) };
        self.names.set_hosts(&hosts.names, &policy, clock::boot());
        self.causes.loopback.clone_from(&hosts.loopback);
        self.turn()
    }

    /// Records every answer that is there.
    pub(super) fn drain_answers(&mut self, policy: &Compiled) {
        let Self { answers, names, counts, pending, late, protected, rejected, resolvers, .. } = self;
        answers.drain(|record| {
            let answer = dns::decode(record);
            if let Some((doubt, server)) = dns::doubt(record) {
                rejected.note(doubt, server, answer.as_ref().ok());
                if doubt == Doubt::Unsolicited {
                    return;
                }
            }
            let answer = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    tracing::debug!(%error, "undecodable answer");
                    counts.undecoded += 1;
                    return;
                }
            };
            let recorded = names.record(&answer, policy);
            protected.look(&answer, policy, resolvers);
            counts.late_binds += u64::from(recorded.late);
            *late |= recorded.late;
            if recorded.matters {
                *pending += answer.addresses.len();
            }
        });
    }
}
