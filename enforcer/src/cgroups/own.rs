//! A cgroup that ends with its guard.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{CgroupError, id_of};

/// How long killed processes may take to leave.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(5);

/// A cgroup made by this process. Dropping it kills what runs in it and removes it; that may take up to two seconds.
#[derive(Debug)]
pub struct OwnCgroup {
    directory: PathBuf,
    id: u64,
    removed: bool,
}

/// Makes the cgroup `name` below the directory `parent`.
pub fn create_child(parent: &Path, name: &str) -> Result<OwnCgroup, CgroupError> {
    if name.is_empty() || name.contains('/') || matches!(name, "." | "..") {
        return Err(CgroupError::Name(name.into()));
    }
    let directory = parent.join(name);
    fs::create_dir(&directory).map_err(|source| CgroupError::Create { path: directory.clone(), source })?;
    let mut cgroup = OwnCgroup { directory, id: 0, removed: false };
    cgroup.id = id_of(&cgroup.directory)?;
    Ok(cgroup)
}

impl OwnCgroup {
    /// Moves a process in; what it starts afterwards is in as well.
    pub fn add(&self, pid: u32) -> Result<(), CgroupError> {
        let path = &self.directory;
        fs::write(path.join("cgroup.procs"), pid.to_string()).map_err(|source| CgroupError::Move {
            pid,
            path: path.clone(),
            source,
        })
    }

    /// Its directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Its id.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Kills what runs in it and below it, and removes it.
    pub fn kill_and_remove(mut self) -> Result<(), CgroupError> {
        self.removed = true;
        kill_and_remove(&self.directory)
    }
}

impl Drop for OwnCgroup {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = kill_and_remove(&self.directory)
        {
            tracing::warn!(%error, "a cgroup is left behind");
        }
    }
}

fn kill_and_remove(path: &Path) -> Result<(), CgroupError> {
    let start = Instant::now();
    loop {
        // Kernels before 5.14 have no such file.
        if fs::write(path.join("cgroup.kill"), "1").is_err() {
            kill_all(path);
        }
        match remove(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) if start.elapsed() > PATIENCE => {
                return Err(CgroupError::Remove { path: path.into(), source });
            }
            Err(_) => thread::sleep(PAUSE),
        }
    }
}

fn kill_all(path: &Path) {
    for child in children(path) {
        kill_all(&child);
    }
    let text = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    // A process of another pid namespace reads as 0, which would mean the caller's own process group.
    let pids = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
    for pid in pids {
        // Gone already is as good.
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    for child in children(path) {
        remove(&child)?;
    }
    fs::remove_dir(path)
}

fn children(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}
