use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

/// Why the harness could not do its part. A test that gets one has not tested anything: it fails.
#[derive(Debug, thiserror::Error)]
pub enum HarnessError {
    /// A command of the harness's own (`ip`, `strip`, ..) did not succeed.
    #[error("`{command}` ended with {status}: {stderr}")]
    Command {
        /// The command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it complained about.
        stderr: String,
    },
    /// A file operation failed.
    #[error("cannot {action} `{}`: {source}", path.display())]
    File {
        /// A verb: "read", "create".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A thing that the harness needs is not on this machine.
    #[error("`{what}` is missing, hint: {hint}")]
    Missing {
        /// The file, program or mount.
        what: String,
        /// How to get it.
        hint: &'static str,
    },
    /// A program that should have gone on running has ended.
    #[error("{what} ended with {status} before it was ready: {stderr}")]
    Ended {
        /// The program.
        what: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        stderr: String,
    },
    /// A program could not be started at all.
    #[error("cannot start `{program}`: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A system call failed.
    #[error("{call}: {source}")]
    System {
        /// The call, with what it was meant for.
        call: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something awaited did not happen.
    #[error("{what} did not happen within {timeout:?}; {detail}")]
    Timeout {
        /// The thing awaited.
        what: String,
        /// How long it was awaited.
        timeout: Duration,
        /// What was seen in its place.
        detail: String,
    },
    /// A program said something that the harness does not understand.
    #[error("cannot make sense of {what}: `{text}`")]
    Unexpected {
        /// Whose words they are.
        what: &'static str,
        /// The words.
        text: String,
    },
}

impl HarnessError {
    /// For `map_err` on file operations.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// For `map_err` on system calls.
    pub(crate) fn system(call: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { call, source }
    }
}
