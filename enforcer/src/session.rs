//! What `run` and `exec` have in common: an engine with its policy, its sinks and its status.

use crate::{
    cgroups::{Births, CgroupError},
    compile::Compiled,
    engine::{Changes, Engine, EngineError},
    hosts::Hosts,
    kernel::{Backend, KernelError, Place},
    load::{self, LoadError, Loaded},
    preresolve::PreResolve,
    report::{Event, Sink},
    status::Status,
};
use enforcer_common::control::Counter;
use policy_schema::{Diagnostic, Mode};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

mod closing;
mod hosts;
mod inputs;
mod known;
mod place;
mod resolvers;
mod status;

pub(crate) use inputs::TICK;
pub use inputs::{Input, InputError, Inputs};
use resolvers::pre_resolved;
pub(crate) use resolvers::trusted;

/// What the command line says about a session.
#[derive(Clone, Debug)]
pub struct Options {
    /// Policy files and directories.
    pub policies: Vec<PathBuf>,
    /// Overrides the modes of the files.
    pub mode: Option<Mode>,
    /// `None` = lsm where it works, else cgroup.
    pub backend: Option<Backend>,
    /// Within which cgroup decisions are made.
    pub scope: Option<PathBuf>,
    /// Do not bind in the kernel.
    pub no_binder: bool,
    /// Believe an answer by its server's address alone.
    pub trust_by_address: bool,
    /// Judge connects alone.
    pub only_connect: bool,
    /// Let the default cut what others wait for.
    pub no_excuses: bool,
    /// Who is in scope may have CAP_NET_RAW.
    pub net_raw: bool,
    /// The socket of systemd-resolved's monitor.
    pub resolved: PathBuf,
    /// The hosts file.
    pub hosts: PathBuf,
}

/// Why a session cannot start, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The cgroup hierarchy.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The policy files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The hooks do not fire.
    #[error("the policy cannot be enforced: {0}")]
    NotLive(String),
    /// The scope is no cgroup.
    #[error("`{}` is no cgroup of the hierarchy mounted at `{}`", path.display(), root.display())]
    Scope {
        /// What was given.
        path: PathBuf,
        /// Where the hierarchy is.
        root: PathBuf,
    },
}

impl From<KernelError> for SessionError {
    fn from(error: KernelError) -> Self {
        Self::Engine(error.into())
    }
}

/// A running session.
pub struct Session {
    options: Options,
    place: Place,
    engine: Engine,
    /// What the hosts file says.
    hosts: Hosts,
    /// Looks up the names of rules with `preResolve`.
    pre_resolve: PreResolve,
    sinks: Vec<Sink>,
    status: Status,
    /// Files and directories that the policy depends on.
    paths: Vec<PathBuf>,
    /// When their reading began.
    began: SystemTime,
    /// What was in them.
    fingerprint: u64,
    events_lost: u64,
    /// Answers that were not believed because of who sent them.
    impersonated: u64,
    /// What went wrong since the last check.
    trouble: Option<String>,
    /// The counters at the last check.
    counted: BTreeMap<Counter, u64>,
    /// Names that had found no room by the last check.
    refused: u64,
    /// Why `lsm` was not taken, where it was tried.
    lsm_refused: Option<String>,
    /// Ends live flows.
    closing: closing::Closing,
}

impl Session {
    /// Puts a loaded policy in force: attaches the programs, and sends the first canary.
    ///
    /// # Errors
    /// [`SessionError`]; nothing stays attached.
    pub fn start(options: Options, loaded: Loaded, sinks: Vec<Sink>) -> Result<Self, SessionError> {
        let Loaded { policy, warnings: _, paths, fingerprint, began } = loaded;
        let policy = Arc::new(load::compile(policy)?);
        let place = place::of(&options)?;
        let hosts = hosts::read(&options).unwrap_or_default();
        let (engine, lsm_refused) = place::start_engine(&options, &place, &policy, &hosts)?;
        let mut session = Self {
            options,
            place,
            engine,
            hosts,
            pre_resolve: PreResolve::start(pre_resolved(&policy.policy)),
            sinks,
            status: Status::NotEnforced(Vec::new()),
            paths,
            began,
            fingerprint,
            events_lost: 0,
            impersonated: 0,
            trouble: None,
            counted: BTreeMap::new(),
            refused: 0,
            lsm_refused,
            closing: closing::Closing::default(),
        };
        session.find_holders()?;
        session.check();
        match &session.status {
            Status::NotEnforced(reasons) => Err(SessionError::NotLive(reasons.join("; "))),
            _ => {
                session.close_flows();
                Ok(session)
            }
        }
    }

    /// Reads the policy files again and puts them in force. Returns what changed, and what is doubtful; `None` if the files
    /// say what is in force.
    ///
    /// # Errors
    /// [`SessionError`]; the policy in force stays, and an event says so.
    pub fn reload(&mut self) -> Result<Option<(Changes, Vec<Diagnostic>)>, SessionError> {
        let loaded = load::load(&self.options.policies, self.options.mode);
        let result = loaded.map_err(SessionError::from).and_then(|loaded| {
            let Loaded { policy, warnings, paths, fingerprint, began: _ } = loaded;
            self.paths = paths;
            if fingerprint == self.fingerprint {
                return Ok(None);
            }
            let changes = self.put_in_force(Arc::new(load::compile(policy)?))?;
            self.fingerprint = fingerprint;
            Ok(Some((changes, warnings)))
        });
        if let Err(SessionError::Load(error)) = &result {
            let diagnostics = error.diagnostics().to_vec();
            self.emit(&Event::PolicyRejected { time: SystemTime::now(), diagnostics });
            self.flush();
        }
        result
    }

    /// Puts a policy in force, and tells.
    ///
    /// # Errors
    /// [`SessionError`]; the policy in force stays.
    pub fn put_in_force(&mut self, policy: Arc<Compiled>) -> Result<Changes, SessionError> {
        // Whatever the files say, it is not this unless the caller knows better.
        self.fingerprint = 0;
        let resolvers = trusted(&policy.policy);
        let wanted = pre_resolved(&policy.policy);
        let changes = self.engine.reload(policy, resolvers)?;
        let found = self.find_holders();
        self.survive(found);
        self.pre_resolve.follow(wanted);
        let Changes { version, added, removed, changed } = changes.clone();
        self.emit(&Event::PolicyReloaded { time: SystemTime::now(), version, added, removed, changed });
        self.check();
        self.flush();
        self.close_flows();
        Ok(changes)
    }

    /// Reads what the programs have handed over. `see` is shown every event. Returns how many there were.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn read(&mut self, mut see: impl FnMut(&Event)) -> Result<usize, SessionError> {
        let mut events = Vec::new();
        let count = self.engine.read_events(|event| events.push(event))?;
        for event in &events {
            see(event);
            self.emit(event);
        }
        self.flush();
        Ok(count)
    }

    /// What is due by the passing of time.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn tick(&mut self) -> Result<(), SessionError> {
        self.engine.tick()?;
        self.go_on_closing();
        let counters = self.engine.counters()?;
        if !self.losses(&counters).is_empty() {
            // An alarm that waits for the next canary comes too late.
            self.check();
        }
        let count = |counter| counters.get(&counter).copied().unwrap_or(0);
        let impersonated = count(Counter::AnswersImpersonated);
        if impersonated > self.impersonated {
            // A resolver that was started again has another cgroup.
            self.impersonated = impersonated;
            self.find_holders()?;
        }
        let lost = count(Counter::EventsLost);
        if lost > self.events_lost {
            self.emit(&Event::EventsLost { time: SystemTime::now(), count: lost - self.events_lost });
            self.events_lost = lost;
            self.flush();
        }
        Ok(())
    }

    /// Goes on after an error: what is attached keeps enforcing, the log and the status tell.
    pub fn survive<T, E: std::error::Error>(&mut self, result: Result<T, E>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error.to_string(),
        };
        if self.trouble.as_ref() != Some(&error) {
            tracing::error!(error, "the daemon goes on");
            self.trouble = Some(error);
        }
        None
    }

    /// The socket of systemd-resolved's monitor.
    pub fn resolved_path(&self) -> &Path {
        &self.options.resolved
    }

    /// The engine.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// The policy in force.
    pub fn policy(&self) -> Option<Arc<Compiled>> {
        self.engine.policy().cloned()
    }

    /// A watch for new cgroups, if some rule has cgroups among its subjects.
    ///
    /// # Errors
    /// The hierarchy cannot be watched.
    pub fn births(&self) -> Result<Option<Births>, SessionError> {
        let wanted = self.engine.policy().is_some_and(|policy| policy.has_cgroup_subjects());
        Ok(if wanted { Some(Births::watch(&self.place.root)?) } else { None })
    }

    /// When the reading of the first policy began.
    pub fn began(&self) -> SystemTime {
        self.began
    }

    /// Files and directories that the policy depends on.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    fn emit(&mut self, event: &Event) {
        self.sinks.retain_mut(|sink| match sink.write(event) {
            Ok(()) => true,
            Err(error) => {
                // Enforcement goes on without the listener; the log says what is missing.
                tracing::error!(%error, "events cannot be written any more");
                false
            }
        });
    }

    fn flush(&mut self) {
        self.sinks.retain_mut(|sink| sink.flush().is_ok());
    }
}
