//! What `run` and `exec` have in common: an engine with its policy, its sinks and its status.

use crate::{
    canary,
    cgroups::{self, Births, CgroupError},
    clock,
    compile::Compiled,
    engine::{Changes, Engine, EngineError},
    holders::{self, Held},
    hosts::{self, Hosts},
    kernel::{Backend, Kernel, KernelError, Place, Scope},
    listing::{Page, Query},
    live::{Known, Topic},
    load::{self, LoadError, Loaded},
    names::Usage,
    preresolve::{PreResolve, Wanted},
    report::{Event, Sink},
    resolvers,
    status::{Status, Summary},
};
use enforcer_common::{Address, control::Counter};
use policy_schema::{Diagnostic, Mode, PolicySet, TrustedResolvers};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

mod unsupported;

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
}

impl Session {
    /// Puts a loaded policy in force: attaches the programs, and sends the first canary.
    ///
    /// # Errors
    /// [`SessionError`]; nothing stays attached.
    pub fn start(options: Options, loaded: Loaded, sinks: Vec<Sink>) -> Result<Self, SessionError> {
        let Loaded { policy, warnings: _, paths, fingerprint, began } = loaded;
        let policy = Arc::new(load::compile(policy)?);
        let place = place(&options)?;
        let hosts = read_hosts(&options).unwrap_or_default();
        let (engine, lsm_refused) = start_engine(&options, &place, &policy, &hosts)?;
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
        };
        session.find_holders()?;
        session.check();
        match &session.status {
            Status::NotEnforced(reasons) => Err(SessionError::NotLive(reasons.join("; "))),
            _ => Ok(session),
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
        Ok(changes)
    }

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
    fn find_holders(&mut self) -> Result<(), SessionError> {
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

    /// Follows a change of the hosts file. If it cannot be read, what it said stays.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn follow_hosts(&mut self) -> Result<(), SessionError> {
        match read_hosts(&self.options) {
            Some(hosts) if hosts != self.hosts => {
                self.engine.set_hosts(&hosts)?;
                self.hosts = hosts;
                Ok(())
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The socket of systemd-resolved's monitor.
    pub fn resolved_path(&self) -> &Path {
        &self.options.resolved
    }

    /// The hosts file.
    pub fn hosts_path(&self) -> &Path {
        &self.options.hosts
    }

    /// Sends a canary, and tells if the state has changed.
    pub fn check(&mut self) {
        let Some(policy) = self.engine.policy().cloned() else { return };
        let canary = canary::send(self.engine.kernel(), self.place.scope.as_ref());
        let unknown = policy.unknown_users.iter();
        let mut missing: Vec<String> =
            unknown.map(|name| format!("this machine has no user `{name}`")).collect();
        missing.extend(unsupported::reasons(&policy.policy));
        let now = self.engine.counters().unwrap_or_default();
        missing.extend(self.losses(&now));
        self.counted = now;
        self.refused = self.engine.counts().1.refused.total();
        if self.hosts.left_out > 0 {
            missing.push(format!("{} names of the hosts file are left out", self.hosts.left_out));
        }
        if self.pre_resolve.left_out() > 0 {
            let left_out = self.pre_resolve.left_out();
            missing.push(format!("{left_out} names of rules with `preResolve` are not looked up"));
        }
        missing.extend(self.trouble.take());
        let status = Status::of(policy.policy.mode(), canary, missing);
        let old = std::mem::replace(&mut self.status, status);
        if old != self.status {
            let (from, to) = (old.word().to_owned(), self.status.word().to_owned());
            let reasons = self.status.reasons().to_vec();
            self.emit(&Event::StatusChanged { time: SystemTime::now(), from, to, reasons });
            self.flush();
        }
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

    /// What found no room since the last look.
    fn losses(&self, now: &BTreeMap<Counter, u64>) -> Vec<String> {
        let refused = self.engine.counts().1.refused.total().saturating_sub(self.refused);
        let count = |counters: &BTreeMap<Counter, u64>, counter| counters.get(&counter).copied().unwrap_or(0);
        [
            (Counter::BindingsFull, "addresses found no room in the kernel's map since the last look"),
            (Counter::AnswersLost, "answers did not reach the daemon since the last look"),
        ]
        .into_iter()
        .map(|(counter, what)| (count(now, counter).saturating_sub(count(&self.counted, counter)), what))
        .chain([(refused, "names found no room since the last look")])
        .filter(|(new, _)| *new > 0)
        .map(|(new, what)| format!("{new} {what}"))
        .collect()
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

    /// The engine.
    pub fn engine(&mut self) -> &mut Engine {
        &mut self.engine
    }

    /// How much is enforced.
    pub fn status(&self) -> &Status {
        &self.status
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

    /// What is known of an address or a name.
    pub fn known(&self, topic: &Topic) -> Known {
        let now = clock::boot();
        let (addresses, more) = self.engine.known(topic, now);
        let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone());
        Known {
            policies: self.options.policies.iter().map(absolute).collect(),
            mode: self.options.mode,
            policy_version: self.engine.policy().map_or(0, |policy| policy.version),
            fingerprint: self.fingerprint,
            resolvers: self.engine.resolvers().iter().map(|address| (*address).into()).collect(),
            now,
            addresses,
            more,
        }
    }

    /// A page of the names that are live.
    pub fn list(&self, query: &Query) -> Page {
        self.engine.list(query, clock::boot())
    }

    /// What `status` tells.
    pub fn summary(&self) -> Summary {
        let (counts, usage) = self.engine.counts();
        let Usage { addresses, denied, nameless: kept_nameless, refused } = usage;
        let (pre_resolved, pre_resolve_failed) = self.pre_resolve.counts();
        let counters = self.engine.counters().unwrap_or_default();
        let names = Counter::ALL
            .iter()
            .map(|(counter, name)| ((*name).to_owned(), counters.get(counter).copied().unwrap_or_default()));
        let own = [
            ("lateBinds", counts.late_binds),
            ("lateFromResolved", counts.from_resolved),
            ("undecoded", counts.undecoded),
            ("nameless", counts.nameless),
            ("turns", counts.turns),
            ("addressesDenied", denied as u64),
            ("bindingsNameless", kept_nameless as u64),
            ("namesRefused", refused.total()),
            ("preResolved", pre_resolved),
            ("preResolveFailed", pre_resolve_failed),
        ];
        let policy = self.engine.policy();
        Summary {
            status: self.status.clone(),
            backend: self.engine.kernel().backend().to_string(),
            hooks: self.engine.kernel().hooks().to_vec(),
            policy_version: policy.map_or(0, |policy| policy.version),
            mode: policy.map_or(Mode::Audit, |policy| policy.policy.mode()),
            rules: policy.map_or(0, |policy| policy.policy.rules().len()),
            resolvers: self
                .engine
                .resolvers()
                .iter()
                .map(|a| std::net::IpAddr::from(*a).to_string())
                .collect(),
            addresses,
            counters: names
                .chain(
                    own.into_iter().chain(self.engine.causes()).map(|(name, count)| (name.to_owned(), count)),
                )
                .collect(),
        }
    }

    /// What a person wants to read at the start: backend, hooks, status.
    pub fn greeting(&self) -> Vec<String> {
        let summary = self.summary();
        let mut lines = vec![match &self.lsm_refused {
            Some(reason) => format!("backend: {} (lsm does not work here: {reason})", summary.backend),
            None => format!("backend: {}", summary.backend),
        }];
        lines.extend(summary.hooks.iter().map(|hook| format!("attached: {} at {}", hook.program, hook.to)));
        lines.push(format!("trusted resolvers: {}", summary.resolvers.join(", ")));
        lines.push(format!("policy: version {}, {} rules", summary.policy_version, summary.rules));
        lines.push(format!("status: {}", self.status));
        lines
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

/// What the hosts file says; `None` if it cannot be read, which is logged.
fn read_hosts(options: &Options) -> Option<Hosts> {
    let path = &options.hosts;
    match hosts::read(path) {
        Ok(hosts) => {
            if hosts.left_out > 0 {
                let left_out = hosts.left_out;
                tracing::warn!(path = %path.display(), left_out, "the hosts file has more names than are taken in");
            }
            Some(hosts)
        }
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the hosts file cannot be read");
            None
        }
    }
}

/// `lsm` where it works, unless the backend is given.
fn start_engine(
    options: &Options,
    place: &Place,
    policy: &Arc<Compiled>,
    hosts: &Hosts,
) -> Result<(Engine, Option<String>), SessionError> {
    let start = |backend| -> Result<Engine, SessionError> {
        let kernel = Kernel::load(backend, place.clone())?;
        Ok(Engine::start(kernel, place, Arc::clone(policy), trusted(&policy.policy), hosts)?)
    };
    if let Some(backend) = options.backend {
        return Ok((start(backend)?, None));
    }
    match start(Backend::Lsm) {
        Ok(engine) => match canary::send(engine.kernel(), place.scope.as_ref()) {
            Ok(()) => Ok((engine, None)),
            Err(reason) => {
                drop(engine);
                Ok((start(Backend::Cgroup)?, Some(reason)))
            }
        },
        Err(SessionError::Engine(EngineError::Kernel(error))) if error.is_refusal() => {
            Ok((start(Backend::Cgroup)?, Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

fn place(options: &Options) -> Result<Place, SessionError> {
    let root = cgroups::mount_point()?;
    let scope = match &options.scope {
        None => None,
        Some(path) => {
            let outside = || SessionError::Scope { path: path.clone(), root: root.clone() };
            // Either a directory of the hierarchy, or a path below its root.
            let directory = if path.starts_with(&root) {
                path.clone()
            } else {
                root.join(path.strip_prefix("/").unwrap_or(path))
            };
            let directory = directory.canonicalize().map_err(|_| outside())?;
            let below = directory.strip_prefix(&root).map_err(|_| outside())?;
            if !directory.join("cgroup.procs").exists() {
                return Err(outside());
            }
            let level = cgroups::level_of(&below.to_string_lossy());
            (level > 0).then_some(Scope { id: cgroups::id_of(&directory)?, path: directory, level })
        }
    };
    let &Options { no_binder, trust_by_address, only_connect, .. } = options;
    Ok(Place { root, scope, no_binder, trust_by_address, only_connect })
}

/// What is looked up for rules with `preResolve`: asked of the machine's resolvers, or those that the policy lists.
fn pre_resolved(policy: &PolicySet) -> Wanted {
    let servers = match &policy.dns().trusted_resolvers {
        TrustedResolvers::Auto => resolvers::asked(),
        TrustedResolvers::Listed(listed) => listed.iter().map(|resolver| resolver.address).collect(),
    };
    Wanted::of(policy, servers)
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
