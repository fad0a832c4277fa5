//! What is read from the machine.

use super::Trial;
use crate::{backend::Backend, cgroups, privileges, resolved, resolvers};
use miette::Diagnostic;
use std::{fs, path::Path};

/// What bears on enforcing, as it was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// What the kernel lacks for all of it.
    pub kernel: Option<Lack>,
    /// What this process lacks.
    pub privileges: Option<Lack>,
    /// Where cgroup v2 is mounted.
    pub cgroups: Result<Hierarchy, Lack>,
    /// `/sys/kernel/security/lsm`.
    pub lsms: Option<String>,
    /// `/sys/kernel/security/lockdown`: the mode in force in brackets.
    pub lockdown: Option<String>,
    /// `net.core.bpf_jit_enable`; a kernel that always compiles has none.
    pub jit: Option<String>,
    /// `kernel.io_uring_disabled`, since 6.6.
    pub io_uring_disabled: Option<String>,
    /// `net.mptcp.enabled`.
    pub mptcp: Option<String>,
    /// `net.ipv4.ip_forward` and its like for IPv6, those that are on.
    pub forwarding: Vec<&'static str>,
    /// Caches that answer lookups without a packet.
    pub caches: Vec<Cache>,
    /// The backends that were tried.
    pub trials: Vec<(Backend, Trial)>,
}

/// What is lacking, and what to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lack {
    pub(super) what: String,
    pub(super) fix: Option<String>,
}

/// The cgroup v2 hierarchy.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hierarchy {
    pub(super) root: String,
    /// It begins at the machine's root, not at that of a container.
    pub(super) whole: bool,
}

/// Who answers lookups from memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cache {
    /// glibc's name service cache daemon.
    Nscd,
    /// systemd-resolved, with the monitor that tells what it answers.
    Resolved,
    /// systemd-resolved before version 252, without it.
    ResolvedUnseen,
}

impl Facts {
    /// Looks, and tries the backends if nothing speaks against it.
    pub fn gather() -> Self {
        let root = cgroups::mount_point();
        let cgroups = match &root {
            Ok(root) => Ok(Hierarchy {
                root: root.display().to_string(),
                // The root cgroup of the machine alone has no type (Documentation/admin-guide/cgroup-v2.rst).
                whole: !root.join("cgroup.type").exists(),
            }),
            Err(error) => Err(Lack::of(error)),
        };
        let kernel = privileges::check_kernel().err().map(|error| Lack::of(&error));
        let privileges = privileges::check().err().map(|error| Lack::of(&error));
        let trials = match &root {
            Ok(root) if kernel.is_none() && privileges.is_none() => {
                [Backend::Lsm, Backend::Cgroup].map(|backend| (backend, Trial::of(backend, root))).into()
            }
            _ => Vec::new(),
        };
        Self {
            release: rustix::system::uname().release().to_string_lossy().into_owned(),
            kernel,
            privileges,
            cgroups,
            lsms: line("/sys/kernel/security/lsm"),
            lockdown: line("/sys/kernel/security/lockdown"),
            jit: line("/proc/sys/net/core/bpf_jit_enable"),
            io_uring_disabled: line("/proc/sys/kernel/io_uring_disabled"),
            mptcp: line("/proc/sys/net/mptcp/enabled"),
            forwarding: FORWARDING
                .iter()
                .filter(|(path, _)| line(path).as_deref() == Some("1"))
                .map(|(_, name)| *name)
                .collect(),
            caches: caches(),
            trials,
        }
    }

    /// What became of a backend; none if it was not tried.
    pub fn trial(&self, backend: Backend) -> Option<&Trial> {
        self.trials.iter().find(|(tried, _)| *tried == backend).map(|(_, trial)| trial)
    }
}

impl Lack {
    fn of(error: &dyn Diagnostic) -> Self {
        Self { what: error.to_string(), fix: error.help().map(|help| help.to_string()) }
    }
}

const FORWARDING: [(&str, &str); 2] = [
    ("/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
    ("/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
];

/// The socket that nscd answers on.
const NSCD: &str = "/run/nscd/socket";

fn caches() -> Vec<Cache> {
    let resolved = match (Path::new(resolved::SOCKET).exists(), resolvers::Files::default().resolved.exists())
    {
        (true, _) => Some(Cache::Resolved),
        (false, true) => Some(Cache::ResolvedUnseen),
        (false, false) => None,
    };
    resolved.into_iter().chain(Path::new(NSCD).exists().then_some(Cache::Nscd)).collect()
}

/// A file of one line; none if it cannot be read.
fn line(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}
