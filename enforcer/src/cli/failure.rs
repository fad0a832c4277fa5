//! Failures at the edge: one line, help, exit status.

use crate::{
    cgroups::CgroupError,
    control::ControlError,
    engine::EngineError,
    exec::ExecError,
    explain::ExplainError,
    kernel::KernelError,
    load::LoadError,
    privileges::{MissingPrivileges, UnsupportedKernel},
    process::UserError,
    replay::CaptureError,
    report::{SinkError, SpecError},
    session::{InputError, SessionError},
    watch::WatchError,
};
use miette::Diagnostic;
use std::process::ExitCode;

/// What a person reads when it did not work.
#[derive(Debug)]
pub struct Failure {
    message: String,
    help: Option<String>,
    status: u8,
}

const FAILED: u8 = 1;
const WRONG_INPUT: u8 = 2;
/// `EX_SOFTWARE` of `sysexits.h`.
const INTERNAL: u8 = 70;
const NOT_CONFINED: u8 = 125;

impl Failure {
    /// The runtime could not be made.
    pub(super) fn runtime(error: std::io::Error) -> Self {
        Self { message: format!("cannot start: {error}"), help: None, status: FAILED }
    }

    /// There is nothing to explain a connection by.
    pub(super) fn no_policy(instance: &str) -> Self {
        let message = format!("no policy is named, and no daemon of instance `{instance}` is running");
        let help =
            "name the policy with `--policy PATH`, or start a daemon with `enforcer run --policy PATH`";
        Self { message, help: Some(help.to_owned()), status: FAILED }
    }

    /// A port twice, and not the same.
    pub(super) fn two_ports(own: u16, port: u16) -> Self {
        let message = format!("the destination has port {own}, `--port` says {port}");
        Self { message, help: Some("leave one of the two out".to_owned()), status: WRONG_INPUT }
    }

    /// What was found out cannot be written.
    pub(super) fn output(error: &std::io::Error) -> Self {
        Self { message: format!("cannot write to standard output: {error}"), help: None, status: FAILED }
    }

    /// What is asked of the daemon makes no sense there.
    pub(super) fn bad_query(message: String) -> Self {
        let help = "`enforcer names` without arguments lists everything, with the rules that match";
        Self { message, help: Some(help.to_owned()), status: WRONG_INPUT }
    }

    /// The daemon says something else than this version understands.
    pub(super) fn unknown_answer(error: serde_json::Error) -> Self {
        let message = format!("the answer of the daemon is not understood: {error}");
        let help = "restart the daemon, so that it is of the same version as this program";
        Self { message, help: Some(help.to_owned()), status: FAILED }
    }

    /// The same, with the exit status that tells it from the command's own.
    pub(super) fn of_exec(mut self) -> Self {
        if self.status == FAILED {
            self.status = NOT_CONFINED;
        }
        self
    }

    /// How to mend it.
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The exit status.
    pub fn status(&self) -> ExitCode {
        ExitCode::from(self.status)
    }

    fn diagnostic(error: &dyn Diagnostic) -> Self {
        let help = error.help().map(|help| help.to_string());
        Self { message: chain(error), help, status: FAILED }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

/// The error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

macro_rules! from_diagnostic {
    ($($error:ty),+) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::diagnostic(&error)
            }
        })+
    };
}

from_diagnostic!(
    CgroupError,
    MissingPrivileges,
    SinkError,
    SpecError,
    UnsupportedKernel,
    UserError,
    WatchError
);

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Self {
        let help = error.help();
        let message = match &error {
            LoadError::Policy(report) => format!("the policy has errors\n\n{}", report.render()),
            LoadError::Read { .. }
            | LoadError::Empty(_)
            | LoadError::NoCases(_)
            | LoadError::Compile(_)
            | LoadError::Random(_) => error.to_string(),
        };
        Self { message, help, status: WRONG_INPUT }
    }
}

impl From<CaptureError> for Failure {
    fn from(error: CaptureError) -> Self {
        Self { help: Some(error.help().to_owned()), message: error.to_string(), status: FAILED }
    }
}

impl From<ExplainError> for Failure {
    fn from(error: ExplainError) -> Self {
        let (help, status) = match &error {
            ExplainError::Disagreement { .. } | ExplainError::Undecidable(_) => {
                let help =
                    "this is a fault of enforcer: please report it, with the policy and the command line";
                (Some(help.to_owned()), INTERNAL)
            }
            ExplainError::Compile(error) => (error.help().map(str::to_owned), FAILED),
        };
        Self { message: error.to_string(), help, status }
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let help = match &error {
            ControlError::NotRunning(_) => Some("start one with `enforcer run --policy PATH`"),
            ControlError::Running(_) => {
                Some("stop it with `enforcer detach`, or give this one a name with `--instance`")
            }
            ControlError::Socket { .. } => Some("run as root"),
        };
        Self { message: error.to_string(), help: help.map(str::to_owned), status: FAILED }
    }
}

impl From<KernelError> for Failure {
    fn from(error: KernelError) -> Self {
        let help = match &error {
            KernelError::Program { program: "socket_connect", .. } => {
                Some("this kernel does not run BPF LSM programs; use `--backend auto` or `--backend cgroup`")
            }
            _ => None,
        };
        Self { message: chain(&error), help: help.map(str::to_owned), status: FAILED }
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        match error {
            EngineError::Cgroup(error) => error.into(),
            EngineError::Kernel(error) => error.into(),
        }
    }
}

impl From<SessionError> for Failure {
    fn from(error: SessionError) -> Self {
        let help = match error {
            SessionError::Cgroup(error) => return error.into(),
            SessionError::Engine(error) => return error.into(),
            SessionError::Load(error) => return error.into(),
            SessionError::NotLive(_) => "boot with `bpf` in the `lsm=` list, or use `--backend cgroup`",
            SessionError::Scope { .. } => {
                "give a path below the cgroup root, such as `/ci/job`; `cat /proc/self/cgroup` shows one"
            }
        };
        Self { message: chain(&error), help: Some(help.to_owned()), status: FAILED }
    }
}

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        match error {
            InputError::Session(error) => error.into(),
            InputError::Watch(error) => error.into(),
            InputError::Wait(_) => Self { message: chain(&error), help: None, status: FAILED },
        }
    }
}

impl From<ExecError> for Failure {
    fn from(error: ExecError) -> Self {
        match error {
            ExecError::Cgroup(error) => error.into(),
            ExecError::Input(error) => error.into(),
            ExecError::Session(error) => error.into(),
            ExecError::User(error) => error.into(),
            ExecError::Start { ref source, .. } => {
                // As env(1) and the shells have it.
                let status = if source.kind() == std::io::ErrorKind::NotFound { 127 } else { 126 };
                Self { message: error.to_string(), help: None, status }
            }
            ExecError::Wait(_) => Self { message: chain(&error), help: None, status: FAILED },
        }
    }
}
