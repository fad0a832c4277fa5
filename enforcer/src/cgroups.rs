//! The cgroup v2 hierarchy: which id is which path, and groups of one's own.
//!
//! The kernel's id of a cgroup is the inode number of its directory (`cgroup_id`, include/linux/cgroup.h).

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use miette::Diagnostic;
use thiserror::Error;

mod births;
mod mount;
mod own;

pub use births::Births;
pub use mount::{mount_point, own};
pub use own::{OwnCgroup, create_child};

/// What can go wrong with cgroups.
#[derive(Debug, Diagnostic, Error)]
pub enum CgroupError {
    /// A child cannot be made.
    #[error("the cgroup `{path}` cannot be created")]
    Create {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A process cannot be moved.
    #[error("process {pid} cannot be moved into the cgroup `{path}`")]
    Move {
        /// The process.
        pid: u32,
        /// The directory of the cgroup.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The name of a child is no name of one directory.
    #[error("`{0}` is no name for a cgroup")]
    #[diagnostic(help("write one word without `/`"))]
    Name(String),
    /// There is no hierarchy.
    #[error("no cgroup v2 hierarchy is mounted")]
    #[diagnostic(help("mount it with `mount -t cgroup2 none /sys/fs/cgroup`"))]
    NotMounted,
    /// A file of the hierarchy, or one about it, cannot be read.
    #[error("`{path}` cannot be read")]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A cgroup survives the attempts to remove it.
    #[error("the cgroup `{path}` cannot be removed")]
    Remove {
        /// Its directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// Every cgroup below a mount point, as of the last scan. A path is relative to the mount point: `/` or `/ci/job`.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    mount: PathBuf,
    paths: BTreeMap<u64, String>,
}

impl Tree {
    /// Reads the hierarchy that is mounted at `mount`.
    pub fn scan(mount: impl Into<PathBuf>) -> Result<Self, CgroupError> {
        let mut tree = Self { mount: mount.into(), paths: BTreeMap::new() };
        tree.rescan()?;
        Ok(tree)
    }

    /// Reads the hierarchy again. On an error the last scan stands.
    pub fn rescan(&mut self) -> Result<(), CgroupError> {
        let mut paths = BTreeMap::from([(id_of(&self.mount)?, String::from("/"))]);
        let mut open = vec![(self.mount.clone(), String::new())];
        while let Some((directory, path)) = open.pop() {
            let entries = match fs::read_dir(&directory) {
                Ok(entries) => entries,
                Err(source) if path.is_empty() => return Err(CgroupError::Read { path: directory, source }),
                // It went away meanwhile.
                Err(_) => continue,
            };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                let Ok(metadata) = entry.metadata() else { continue };
                paths.insert(metadata.ino(), path.clone());
                open.push((entry.path(), path));
            }
        }
        self.paths = paths;
        Ok(())
    }

    /// The path of a cgroup, if the last scan met it.
    pub fn path_of(&self, id: u64) -> Option<&str> {
        self.paths.get(&id).map(String::as_str)
    }

    /// Every cgroup, with its path.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &str)> {
        self.paths.iter().map(|(id, path)| (*id, path.as_str()))
    }

    /// The id of every cgroup.
    pub fn ids(&self) -> impl Iterator<Item = u64> {
        self.paths.keys().copied()
    }

    /// Where the hierarchy is mounted.
    pub fn mount(&self) -> &Path {
        &self.mount
    }

    /// The directory of a path such as `/ci/job`.
    pub fn directory(&self, path: &str) -> PathBuf {
        self.mount.join(path.trim_start_matches('/'))
    }
}

/// The id of the cgroup with this directory.
pub fn id_of(directory: &Path) -> Result<u64, CgroupError> {
    let metadata = fs::metadata(directory);
    let metadata = metadata.map_err(|source| CgroupError::Read { path: directory.into(), source })?;
    Ok(metadata.ino())
}

/// The depth of a path such as `/ci/job` below the root, which has depth 0.
pub fn level_of(path: &str) -> u32 {
    path.split('/').filter(|component| !component.is_empty() && *component != ".").count() as u32
}

#[cfg(test)]
mod tests;
