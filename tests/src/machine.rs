use std::env;
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::{Cgroup, HarnessError, Result};

/// Which kind of program refuses connections; `--backend` of the daemon.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Backend {
    /// Programs on cgroup hooks: work on every supported kernel.
    Cgroup,
    /// BPF LSM programs.
    Lsm,
}

impl Backend {
    /// As the command line and the events write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Lsm => "lsm",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// The machine that the tests run on, and what may be done to it.
#[derive(Debug)]
pub struct Machine {
    release: String,
    guest: bool,
    cgroup_root: PathBuf,
}

impl Machine {
    /// This machine.
    ///
    /// # Panics
    ///
    /// Where there is no cgroup v2: nothing can be tested there.
    #[expect(clippy::expect_used, reason = "without cgroup v2 no test can say anything")]
    pub fn current() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| Self::detect().expect("a machine with cgroup v2 mounted"))
    }

    fn detect() -> Result<Self> {
        let release = read("/proc/sys/kernel/osrelease")?.trim().to_owned();
        let guest = env::var("ENFORCER_GUEST").is_ok_and(|value| value == "1");
        let cgroup_root = cgroup2_mount(&read("/proc/self/mountinfo")?).ok_or(HarnessError::Missing {
            what: "cgroup2".to_owned(),
            hint: "mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        })?;
        Ok(Self { release, guest, cgroup_root })
    }

    /// The kernel's release, `uname -r`.
    pub fn release(&self) -> &str {
        &self.release
    }

    /// Whether the kernel is at least `major.minor`.
    pub fn kernel_at_least(&self, major: u32, minor: u32) -> bool {
        let mut numbers = self.release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
        let here = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
        here >= (major, minor)
    }

    /// Whether this is a virtual machine that exists for the test only.
    pub fn is_guest(&self) -> bool {
        self.guest
    }

    /// Where cgroup v2 is mounted.
    pub fn cgroup_root(&self) -> &std::path::Path {
        &self.cgroup_root
    }

    /// The backends to test: every one in a guest, only cgroup programs on a machine that others use.
    pub fn backends(&self) -> &'static [Backend] {
        if self.guest { &[Backend::Lsm, Backend::Cgroup] } else { &[Backend::Cgroup] }
    }

    /// Runs a test once with each of the backends, and says with which one it is.
    pub fn each_backend(test: impl Fn(Backend)) {
        for &backend in Self::current().backends() {
            // Shown where the test fails.
            eprintln!("--- backend {backend}");
            test(backend);
        }
    }

    /// Runs a test with one of the backends: what it is about is the same with each.
    pub fn one_backend(test: impl Fn(Backend)) {
        if let Some(&backend) = Self::current().backends().first() {
            test(backend);
        }
    }

    /// The cgroup that a policy is enforced in, for the daemon's `--cgroup`: the whole guest, or on a machine that
    /// others use no more than the test's own cgroup.
    pub fn scope<'cgroup>(&self, own: &'cgroup Cgroup) -> Option<&'cgroup Cgroup> {
        if self.guest { None } else { Some(own) }
    }
}

fn read(path: &'static str) -> Result<String> {
    fs::read_to_string(path).map_err(HarnessError::file("read", path))
}

/// The mount point of cgroup v2 in the words of `/proc/self/mountinfo`: beside a v1 hierarchy it may be anywhere.
fn cgroup2_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        if kind.split(' ').next() != Some("cgroup2") {
            return None;
        }
        let mut fields = mount.split(' ');
        let (root, point) = (fields.nth(3)?, fields.next()?);
        (root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_beside_version_1() {
        let mountinfo = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
            36 31 0:33 / /sys/fs/cgroup/devices rw,relatime - cgroup cgroup rw,devices\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(cgroup2_mount(mountinfo), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_mount("23 1 0:5 / /dev rw - devtmpfs udev rw\n"), None);
    }

    #[test]
    fn releases_compare_as_numbers() {
        let machine = |release: &str| Machine {
            release: release.to_owned(),
            guest: false,
            cgroup_root: PathBuf::new(),
        };
        assert!(machine("6.12.117+deb12-cloud-amd64").kernel_at_least(6, 2));
        assert!(!machine("6.1.0-56-cloud-amd64").kernel_at_least(6, 2));
        assert!(machine("7.0-rc1").kernel_at_least(6, 18));
    }
}
