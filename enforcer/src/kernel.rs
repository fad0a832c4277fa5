//! The kernel side as the daemon sees it. The only module that names aya.
//!
//! INVARIANT (slots): everything of policy version `v` is in slot `v % 2`. What is in a slot that programs may read is
//! never changed, only replaced whole.

use crate::compile::Compiled;
use aya::Ebpf;
use enforcer_common::{
    Address, Binding, CgroupSubjects,
    control::{Control, Counter, Settings},
    dns::Holder,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    os::fd::OwnedFd,
    path::PathBuf,
};

mod attach;
mod btf;
mod error;
mod object;
mod raw;
mod rings;
mod tables;

pub use attach::{Hook, Scope};
pub use error::KernelError;
pub use rings::Ring;

pub use crate::backend::Backend;

/// Where programs are attached.
#[derive(Clone, Debug)]
pub struct Place {
    /// Mount point of the cgroup v2 hierarchy: answers are observed at its root.
    pub root: PathBuf,
    /// Within which cgroup decisions are made; `None` = everywhere.
    pub scope: Option<Scope>,
    /// Do not bind in the kernel: for the test that shows what the binder is good for.
    pub no_binder: bool,
    /// Believe an answer by its server's address alone: for the tests that show what the other checks are good for.
    pub trust_by_address: bool,
    /// Judge connects alone: for the test that shows what the other hooks are good for.
    pub only_connect: bool,
    /// Let the default cut what others wait for: for the tests that show what it must not cut.
    pub no_excuses: bool,
}

/// Loaded and attached programs with their maps. Dropping it detaches everything.
pub struct Kernel {
    ebpf: Ebpf,
    inner: object::InnerMaps,
    backend: Backend,
    hooks: Vec<Hook>,
    place: Place,
    /// The current inner map of each slot whose content changes while the slot is in force.
    cgroups: BTreeMap<u32, OwnedFd>,
}

impl Kernel {
    /// Loads the programs for `backend`; nothing is attached yet.
    ///
    /// # Errors
    /// What the kernel refused, with its reason.
    pub fn load(backend: Backend, place: Place) -> Result<Self, KernelError> {
        let mut settings: Settings = btf::settings()?;
        if let Some(scope) = &place.scope {
            settings.scope = scope.id;
            settings.scope_level = scope.level;
        }
        settings.no_binder = place.no_binder.into();
        settings.trust_by_address = place.trust_by_address.into();
        settings.no_excuses = place.no_excuses.into();
        [settings.query_key_start, settings.query_key_multiplier] = [random()?, random()?];
        let mut ebpf = object::load(&settings)?;
        attach::load_programs(&mut ebpf, backend, &place)?;
        let inner = object::InnerMaps::of(&ebpf)?;
        Ok(Self { ebpf, inner, backend, hooks: Vec::new(), place, cgroups: BTreeMap::new() })
    }

    /// Attaches: first what observes, then what decides, so that no connect is judged before its answer was seen.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn attach(&mut self) -> Result<(), KernelError> {
        self.hooks = attach::attach(&mut self.ebpf, self.backend, &self.place)?;
        Ok(())
    }

    /// Which hooks judge connects.
    pub fn backend(&self) -> Backend {
        self.backend
    }

    /// The programs that refuse a canary.
    pub fn judges(&self) -> Vec<&'static str> {
        attach::judges(self.backend, &self.place)
    }

    /// What is attached.
    pub fn hooks(&self) -> &[Hook] {
        &self.hooks
    }

    /// Writes the tables of a policy into its slot, with empty bindings. The slot must not be in use.
    ///
    /// # Errors
    /// What the kernel refused; the slot is then not usable.
    pub fn install(
        &mut self,
        policy: &Compiled,
        cgroups: &BTreeMap<u64, CgroupSubjects>,
        truth: &BTreeMap<Address, Binding>,
    ) -> Result<(), KernelError> {
        let slot = slot_of(policy.version);
        tables::set_image(self, slot, &policy.image)?;
        tables::set_cidrs(self, slot, &policy.cidrs)?;
        tables::set_users(self, slot, &policy.users)?;
        let classified = tables::set_cgroups(self, slot, cgroups)?;
        self.cgroups.insert(slot, classified);
        self.set_truth(policy.version, truth)?;
        tables::clear_fresh(self, slot, &[0, 1])
    }

    /// Replaces the truth bindings of a policy's slot.
    ///
    /// # Errors
    /// What the kernel refused; the old bindings then stay.
    pub fn set_truth(&mut self, version: u64, truth: &BTreeMap<Address, Binding>) -> Result<(), KernelError> {
        tables::set_truth(self, slot_of(version), truth)
    }

    /// Classifies a cgroup that appeared while the policy is in force.
    ///
    /// # Errors
    /// What the kernel refused, for example a full map.
    pub fn classify(&mut self, version: u64, id: u64, subjects: &CgroupSubjects) -> Result<(), KernelError> {
        match self.cgroups.get(&slot_of(version)) {
            Some(map) => tables::add_cgroup(map, id, subjects),
            None => Ok(()),
        }
    }

    /// Empties the fresh bindings of an epoch. No program may write that epoch any more, and what it held is in `truth`.
    ///
    /// # Errors
    /// What the kernel refused; the bindings then stay, which is stricter for denies only.
    pub fn clear_fresh(&mut self, version: u64, epoch: u64) -> Result<(), KernelError> {
        tables::clear_fresh(self, slot_of(version), &[(epoch & 1) as u32])
    }

    /// What the binder learned in an epoch.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn fresh(&self, version: u64, epoch: u64) -> Result<Vec<(Address, Binding)>, KernelError> {
        tables::read_fresh(self, slot_of(version), (epoch & 1) as u32)
    }

    /// Writes a control word.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn control(&self, word: Control, value: u64) -> Result<(), KernelError> {
        tables::set_control(self, word, value)
    }

    /// Waits until no program runs that started before the call: the kernel does so after an update of an outer map
    /// (`kernel/bpf/syscall.c` `maybe_wait_bpf_programs`), not after a plain store.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn fence(&self) -> Result<(), KernelError> {
        tables::fence(self)
    }

    /// Replaces the set of trusted resolvers: first what is new, then what is gone.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn set_resolvers(&self, old: &[Address], new: &[Address]) -> Result<(), KernelError> {
        tables::set_resolvers(self, old, new)
    }

    /// Replaces who may answer from the resolvers' addresses on this machine: first what is new, then what is gone.
    ///
    /// # Errors
    /// What the kernel refused, for example a full map.
    pub fn set_holders(&self, old: &BTreeSet<Holder>, new: &BTreeSet<Holder>) -> Result<(), KernelError> {
        tables::set_holders(self, old, new)
    }

    /// Every counter, summed over the CPUs.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn counters(&self) -> Result<BTreeMap<Counter, u64>, KernelError> {
        tables::counters(self)
    }

    /// The map that remembers something of sockets, for whoever asks the kernel about them.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub fn flows(&self) -> Result<OwnedFd, KernelError> {
        tables::flows(self)
    }

    /// The ring of events about attempts. Can be taken once.
    ///
    /// # Errors
    /// It was taken already, or cannot be mapped.
    pub fn take_events(&mut self) -> Result<Ring, KernelError> {
        Ring::take(&mut self.ebpf, "EVENTS")
    }

    /// The ring of DNS answers. Can be taken once.
    ///
    /// # Errors
    /// It was taken already, or cannot be mapped.
    pub fn take_answers(&mut self) -> Result<Ring, KernelError> {
        Ring::take(&mut self.ebpf, "ANSWERS")
    }
}

fn random() -> Result<u64, KernelError> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())
        .map_err(|error| KernelError::Random(error.into()))?;
    Ok(u64::from_ne_bytes(bytes))
}

/// Slot of a policy version.
pub fn slot_of(version: u64) -> u32 {
    (version & 1) as u32
}
