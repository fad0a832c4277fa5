//! What `run` and `exec` have in common.

use super::{Failure, ModeName};
use crate::{
    backend::Backend,
    load::{self, Loaded},
    privileges,
    report::{Sink, SinkSpec},
    resolved,
    session::Options,
};
use clap::{Args, ValueEnum};
use std::{io::IsTerminal as _, path::PathBuf};

/// What is enforced, where, and where events go.
#[derive(Args, Debug)]
pub(super) struct Policies {
    /// Policy file, or directory of policy files (*.yaml, *.yml); repeatable.
    #[arg(long = "policy", value_name = "PATH", required = true)]
    policies: Vec<PathBuf>,
    /// Override the mode of all files: audit only logs, enforce refuses.
    #[arg(long)]
    mode: Option<ModeName>,
    /// Which hooks judge: auto takes lsm where it works, else cgroup.
    #[arg(long, default_value = "auto")]
    backend: BackendName,
    /// Judge only within this cgroup (v2): a path below the root, or a directory.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Where events go: [FORMAT=]PATH with text or json, `-` is standard output; repeatable.
    #[arg(long, value_name = "[FORMAT=]PATH")]
    events: Vec<SinkSpec>,
    /// Do not bind addresses in the kernel: for the test that shows the race it closes.
    #[arg(long, hide = true)]
    no_binder: bool,
    /// Believe an answer by its server's address alone: for the tests that show what the other checks are good for.
    #[arg(long, hide = true)]
    trust_by_address: bool,
    /// Judge connects alone: for the test that shows what the other hooks are good for.
    #[arg(long, hide = true)]
    only_connect: bool,
    /// Let the default cut what others wait for: for the tests that show what it must not cut.
    #[arg(long, hide = true)]
    no_excuses: bool,
    /// Another socket of systemd-resolved's monitor, for tests.
    #[arg(long, hide = true, value_name = "PATH", default_value = resolved::SOCKET)]
    resolved: PathBuf,
    /// Another hosts file, for tests in network namespaces.
    #[arg(long, hide = true, value_name = "PATH", default_value = crate::hosts::PATH)]
    hosts: PathBuf,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackendName {
    Auto,
    Lsm,
    Cgroup,
}

/// The options of a session, and where its events go.
pub(super) fn options(policies: Policies) -> (Options, Vec<SinkSpec>) {
    let Policies {
        policies,
        mode,
        backend,
        cgroup,
        events,
        no_binder,
        trust_by_address,
        only_connect,
        no_excuses,
        resolved,
        hosts,
    } = policies;
    let backend = match backend {
        BackendName::Auto => None,
        BackendName::Lsm => Some(Backend::Lsm),
        BackendName::Cgroup => Some(Backend::Cgroup),
    };
    let mode = mode.map(Into::into);
    let options = Options {
        policies,
        mode,
        backend,
        scope: cgroup,
        no_binder,
        trust_by_address,
        only_connect,
        no_excuses,
        net_raw: true,
        resolved,
        hosts,
    };
    (options, events)
}

/// The policy, with its warnings on standard error.
pub(super) fn load(options: &Options) -> Result<Loaded, Failure> {
    let loaded = load::load(&options.policies, options.mode)?;
    for warning in &loaded.warnings {
        eprintln!("{}", warning.render());
    }
    Ok(loaded)
}

/// Opens what events go to.
pub(super) fn sinks(specs: &[SinkSpec]) -> Result<Vec<Sink>, Failure> {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    specs.iter().map(|spec| Ok(Sink::open(spec, colours)?)).collect()
}

/// Whether this machine can, and this user may.
pub(super) fn may_run() -> Result<(), Failure> {
    privileges::check_kernel()?;
    Ok(privileges::check()?)
}
