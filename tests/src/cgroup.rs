use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::{HarnessError, Machine, Result, wait_for};

const PREFIX: &str = "enforcer-test-";

/// A cgroup v2 of the test's own. Dropped, it kills what still runs in it and is removed.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Creates one at the top of the hierarchy.
    ///
    /// # Errors
    ///
    /// Whatever keeps the kernel from making the directory.
    pub fn new() -> Result<Self> {
        Self::top("")
    }

    /// Creates one at the top of the hierarchy that is called like a systemd service.
    ///
    /// # Errors
    ///
    /// Whatever keeps the kernel from making the directory.
    pub fn service() -> Result<Self> {
        Self::top(".service")
    }

    fn top(suffix: &str) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let name = format!("{PREFIX}{}-{}{suffix}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        Self::create(Machine::current().cgroup_root().join(name))
    }

    /// Creates one below this one. It has to be dropped first.
    ///
    /// # Errors
    ///
    /// Whatever keeps the kernel from making the directory.
    pub fn child(&self, name: &str) -> Result<Self> {
        Self::create(self.path.join(name))
    }

    /// The one at a path below this one, such as `/ci/job`, made with what is missing on the way. It goes with this one.
    ///
    /// # Errors
    ///
    /// Whatever keeps the kernel from making the directories.
    pub fn descendant(&self, path: &str) -> Result<PathBuf> {
        let path = self.path.join(path.trim_start_matches('/'));
        fs::create_dir_all(&path).map_err(HarnessError::file("create the cgroup", &path))?;
        Ok(path)
    }

    fn create(path: PathBuf) -> Result<Self> {
        fs::create_dir(&path).map_err(HarnessError::file("create the cgroup", &path))?;
        Ok(Self { path })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name within the hierarchy, as policies and events write it: `/enforcer-test-1-0`.
    pub fn name(&self) -> String {
        let root = Machine::current().cgroup_root();
        format!("/{}", self.path.strip_prefix(root).unwrap_or(&self.path).display())
    }

    /// Moves a process into it.
    ///
    /// # Errors
    ///
    /// Whatever keeps the kernel from moving the process.
    pub fn add(&self, pid: u32) -> Result<()> {
        let procs = self.path.join("cgroup.procs");
        fs::write(&procs, pid.to_string()).map_err(HarnessError::file("write", procs))
    }

    /// The processes in it.
    ///
    /// # Errors
    ///
    /// Whatever keeps the kernel from telling.
    pub fn processes(&self) -> Result<Vec<u32>> {
        let procs = self.path.join("cgroup.procs");
        let text = fs::read_to_string(&procs).map_err(HarnessError::file("read", procs))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(source) = remove(&self.path) {
            eprintln!("cannot remove the cgroup `{}`: {source}", self.path.display());
        }
    }
}

/// Kills what runs in a cgroup and removes it, children first.
fn remove(path: &Path) -> io::Result<()> {
    // Since Linux 5.14; takes every child cgroup along.
    fs::write(path.join("cgroup.kill"), "1")?;
    for entry in fs::read_dir(path)?.filter_map(io::Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    // Busy until the last killed process has been taken leave of.
    let mut outcome = Ok(());
    wait_for(Duration::from_secs(5), || {
        outcome = fs::remove_dir(path);
        outcome.is_ok().then_some(())
    });
    outcome
}

/// Removes what test processes left behind that were killed before they could.
fn sweep() {
    let Ok(entries) = fs::read_dir(Machine::current().cgroup_root()) else { return };
    for entry in entries.filter_map(io::Result::ok) {
        if is_orphan(&entry.file_name().to_string_lossy(), PREFIX) {
            let _ = remove(&entry.path());
        }
    }
}

/// Whether a name is `PREFIX<pid>-..` of a process that is gone.
pub(crate) fn is_orphan(name: &str, prefix: &str) -> bool {
    let Some(pid) = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next()) else { return false };
    // A process that has ended but that nobody has asked about is still there; its executable is not.
    pid.parse::<u32>().is_ok_and(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_err())
}
