//! What can go wrong with the kernel, in words that help.

use std::io;

/// The kernel refused something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The embedded object is not what this build expects.
    #[error("the embedded kernel programs are damaged: {0}")]
    Object(String),
    /// The kernel describes itself in a way this build does not understand.
    #[error("the kernel's type information lacks `{0}`")]
    Type(&'static str),
    /// The kernel's type information cannot be read.
    #[error("cannot read the kernel's type information: {0}")]
    Btf(String),
    /// A program was not accepted.
    #[error("the kernel refused program `{program}`: {reason}")]
    Program {
        /// Its name.
        program: &'static str,
        /// The errno, if there is one.
        errno: Option<i32>,
        /// The last line of the verifier, or the system's error.
        reason: String,
    },
    /// A program could not be attached.
    #[error("cannot attach `{program}` to {to}: {reason}")]
    Attach {
        /// Its name.
        program: &'static str,
        /// The cgroup or hook.
        to: String,
        /// The system's error.
        reason: String,
    },
    /// A map operation failed.
    #[error("cannot {action} map `{map}`: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// No randomness for the key that ties answers to queries.
    #[error("the system gives no random numbers: {0}")]
    Random(io::Error),
    /// A cgroup directory cannot be opened.
    #[error("cannot open cgroup `{path}`: {source}")]
    Cgroup {
        /// The directory.
        path: String,
        /// The system's error.
        source: io::Error,
    },
}

impl KernelError {
    /// Whether this is the kernel's refusal of a program for lack of permission: where BPF LSM is not to be had.
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Program { errno: Some(libc::EPERM | libc::EINVAL | libc::ENOTSUP), .. })
    }
}
