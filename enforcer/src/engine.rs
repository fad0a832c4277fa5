//! The kernel side and the name table, moved together: reloads, epochs, events.
//!
//! INVARIANT (no gap): at every moment each address that an answer named is in `truth`, in the fresh bindings of this
//! epoch or in those of the one before, under the version in force. A reload judges for both versions before it flips; a
//! turn fills `truth` before it clears an epoch.

use crate::{
    cgroups::{CgroupError, Tree},
    clock,
    compile::Compiled,
    hosts::Hosts,
    kernel::{Kernel, KernelError, Place, Ring},
    names::{NameTable, Usage},
};
use enforcer_common::{Address, control::Counter, dns::Holder};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    sync::Arc,
};

mod answers;
mod causes;
mod changes;
mod closing;
mod events;
mod known;
mod protected;
mod rejected;
mod reload;
mod trust;
mod turn;

pub use changes::Changes;
pub(crate) use events::only_policy;

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
    /// See [`Engine::take_outlived`].
    outlived: bool,
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
            outlived: false,
        };
        engine.reload(policy, resolvers)?;
        engine.kernel.attach()?;
        Ok(engine)
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<&Arc<Compiled>> {
        self.policies.get(&self.version)
    }

    /// The address for which one stands by the policy in force.
    fn meant(&self, address: &Address) -> Address {
        let address = address.destination();
        self.policy().map_or(address, |policy| policy.meant(&address))
    }

    /// The kernel side.
    pub fn kernel(&self) -> &Kernel {
        &self.kernel
    }

    /// The resolvers that are trusted.
    pub fn resolvers(&self) -> &[Address] {
        &self.resolvers
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
}
