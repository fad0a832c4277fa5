//! The kernel side and the name table, moved together: reloads, epochs, events.
//!
//! INVARIANT (no gap): at every moment each address that an answer named is in `truth`, in the fresh bindings of this
//! epoch or in those of the one before, under the version in force. A reload judges for both versions before it flips; a
//! turn fills `truth` before it clears an epoch.

use crate::{
    cgroups::{CgroupError, Tree},
    clock,
    compile::Compiled,
    dns::{self, Answer},
    hosts::Hosts,
    kernel::{Kernel, KernelError, Place, Ring},
    listing::{Filter, Page, Query},
    live::{self, KnownAddress, Topic},
    name::Name,
    names::{NameTable, Usage},
    report,
    resolved::Heard,
};
use enforcer_common::{
    Address, Binding, FRESH_ENTRIES, Vector,
    control::{Control, Counter},
    dns::{Doubt, Holder},
    event::{ConnectEvent, Kind},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
};

mod causes;
mod changes;
mod events;
mod protected;
mod rejected;

pub use changes::Changes;
pub(crate) use events::only_policy;

/// Policies kept for events that were emitted under them.
const POLICIES_KEPT: usize = 8;

/// Why the engine could not do something. What was in force stays in force.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The kernel refused.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The cgroup tree cannot be read.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
}

/// Everything that runs while a policy is in force.
pub struct Engine {
    kernel: Kernel,
    events: Ring,
    answers: Ring,
    names: NameTable,
    /// By version; the last one is in force.
    policies: BTreeMap<u64, Arc<Compiled>>,
    version: u64,
    epoch: u64,
    resolvers: Vec<Address>,
    holders: BTreeSet<Holder>,
    cgroups: Tree,
    clock: clock::Offset,
    /// Addresses that answers of this epoch named and that say something.
    pending: usize,
    /// Some binding of this epoch waits for user space.
    late: bool,
    /// When bindings end or change by the passing of time.
    due: Option<u64>,
    /// Denied names that were answered with an address that no name rule reaches, not told yet and told.
    protected: protected::Protected,
    rejected: rejected::Rejected,
    causes: causes::Causes,
    counts: Counts,
}

/// What the daemon itself counted.
#[derive(Clone, Copy, Debug, Default, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Answers that only user space could bind.
    pub late_binds: u64,
    /// .. of these, such as systemd-resolved gave without a packet.
    pub from_resolved: u64,
    /// Messages in the DNS ring that are no answers.
    pub undecoded: u64,
    /// Bindings without a name, because their record was lost.
    pub nameless: u64,
    /// Turns of the epoch.
    pub turns: u64,
}

impl Engine {
    /// Loads the programs, puts the policy in force and attaches.
    ///
    /// # Errors
    /// [`EngineError`]; nothing stays attached.
    pub fn start(
        mut kernel: Kernel,
        place: &Place,
        policy: Arc<Compiled>,
        resolvers: Vec<Address>,
        hosts: &Hosts,
    ) -> Result<Self, EngineError> {
        let mut names = NameTable::default();
        names.set_hosts(&hosts.names, &policy, clock::boot());
        let (events, answers) = (kernel.take_events()?, kernel.take_answers()?);
        let mut engine = Self {
            kernel,
            events,
            answers,
            names,
            policies: BTreeMap::new(),
            version: 0,
            epoch: 0,
            resolvers: Vec::new(),
            holders: BTreeSet::new(),
            cgroups: Tree::scan(&place.root)?,
            clock: clock::Offset::now(),
            pending: 0,
            late: false,
            due: None,
            protected: protected::Protected::default(),
            rejected: rejected::Rejected::default(),
            causes: causes::Causes::since(clock::boot(), &hosts.loopback),
            counts: Counts::default(),
        };
        engine.reload(policy, resolvers)?;
        engine.kernel.attach()?;
        Ok(engine)
    }

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
            let bindings = heard.addresses.iter().map(|address| names.binding(address, &policy, now));
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
    fn take_over(&mut self, policy: &Compiled, bound: &[(Address, Binding)]) {
        // What is answered meanwhile is bound in the epoch that has begun, and waits for the next turn.
        (self.pending, self.late) = (0, false);
        self.drain_answers(policy);
        let adopted = self.names.adopt(bound, policy, clock::boot()) as u64;
        self.counts.nameless += adopted;
        self.causes.lost |= adopted > 0;
    }

    /// The fresh bindings of an epoch and the one before.
    fn fresh(&self, version: u64, epoch: u64) -> Result<Vec<(Address, Binding)>, EngineError> {
        let mut bound = self.kernel.fresh(version, epoch)?;
        bound.extend(self.kernel.fresh(version, epoch.wrapping_sub(1))?);
        Ok(bound)
    }

    /// Records every answer that is there.
    fn drain_answers(&mut self, policy: &Compiled) {
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

    /// Classifies cgroups that appeared since the last look.
    fn classify(&mut self, policy: &Compiled) -> Result<(), EngineError> {
        let known: BTreeSet<u64> = self.cgroups.ids().collect();
        self.cgroups.rescan()?;
        let wanted = policy.has_cgroup_subjects();
        for (id, path) in self.cgroups.iter().filter(|(id, _)| wanted && !known.contains(id)) {
            self.kernel.classify(policy.version, id, &policy.cgroup(path))?;
        }
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

    /// Hands every event that is there to `emit`; returns how many. Answers come first, so that an event finds the names
    /// that were answered before it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn read_events(&mut self, mut emit: impl FnMut(report::Event)) -> Result<usize, EngineError> {
        let mut raw = Vec::new();
        self.events.drain(|record| raw.extend(ConnectEvent::from_bytes(record)));
        self.read_answers()?;
        if raw.iter().any(|event| self.cgroups.path_of(event.cgroup).is_none()) {
            // Younger than the last look; the kernel has judged it as unclassified.
            self.read_cgroups()?;
        }
        for (name, address, rule) in self.protected.take() {
            emit(report::Event::ProtectedAddress { time: std::time::SystemTime::now(), name, address, rule });
        }
        if !self.rejected.is_empty() {
            let counters = self.counters()?;
            for rejection in self.rejected.take(&counters, clock::boot()) {
                emit(events::rejection(rejection));
            }
        }
        for event in &raw {
            let mut attempt = events::attempt(self, event);
            emit(match Kind::of(event.kind) {
                Kind::PacketDenied => report::Event::NetPacketDenied(attempt),
                Kind::TcpConnect => {
                    attempt.cause = self.attribute(event, &attempt.results);
                    report::Event::NetTcpConnect(attempt)
                }
                Kind::UdpSend => report::Event::NetUdpSend(attempt),
            });
        }
        Ok(raw.len())
    }

    /// The live sightings of an address, or of the addresses that a name has; and how many addresses there was no room for.
    pub fn known(&self, topic: &Topic, now: u64) -> (Vec<KnownAddress>, usize) {
        let Some(policy) = self.policy() else { return (Vec::new(), 0) };
        let mut addresses: Vec<Address> = match topic {
            Topic::Address(address) => vec![Address::from(*address).destination()],
            Topic::Name(name) => self.names.addresses(&Name::from_policy(name)),
        };
        let more = addresses.len().saturating_sub(live::ADDRESSES_MAX);
        addresses.truncate(live::ADDRESSES_MAX);
        let known = addresses.into_iter().map(|address| KnownAddress {
            address: address.into(),
            sightings: self.names.sightings(&address, policy, now),
        });
        (known.filter(|known| !known.sightings.is_empty()).collect(), more)
    }

    /// A page of the names that are live.
    pub fn list(&self, query: &Query, now: u64) -> Page {
        let Some(policy) = self.policy() else { return Page::default() };
        let path = |id| self.cgroups.path_of(id).map(str::to_owned);
        match Filter::new(query, policy) {
            Ok(filter) => self.names.list(&filter, query.after.map(Address::from), policy, now, path),
            Err(error) => Page { error: Some(error), ..Page::default() },
        }
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<&Arc<Compiled>> {
        self.policies.get(&self.version)
    }

    /// The kernel side.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// Kernel counters.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn counters(&self) -> Result<BTreeMap<Counter, u64>, EngineError> {
        Ok(self.kernel.counters()?)
    }

    /// How many connects to addresses without a name each cause has.
    pub fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.causes.counts()
    }

    /// What the daemon itself counted, and how much it knows.
    pub fn counts(&self) -> (Counts, Usage) {
        (self.counts, self.names.usage())
    }

    /// File descriptors that become readable when there are events, or answers.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub fn readable(&self) -> std::io::Result<(OwnedFd, OwnedFd)> {
        Ok((self.events.readable()?, self.answers.readable()?))
    }

    /// The resolvers that are trusted.
    pub fn resolvers(&self) -> &[Address] {
        &self.resolvers
    }
}

/// Both sets of resolvers.
fn joined(one: &[Address], two: &[Address]) -> Vec<Address> {
    one.iter().chain(two).copied().collect()
}

fn slot_bit(version: u64) -> u64 {
    1 << (version & 1)
}
