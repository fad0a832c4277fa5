//! Which directories to watch for a path.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Links that are followed before a path counts as a loop (`MAXSYMLINKS`, include/linux/namei.h).
const LINKS_MAX: u32 = 40;
/// How deep a directory is looked into.
const DEPTH_MAX: u32 = 8;

/// What to watch, and what of it matters.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Plan {
    /// Directories with device and inode: one that was replaced is another one.
    directories: BTreeMap<PathBuf, (u64, u64)>,
    /// Names on the way: of files, links and directories.
    entries: BTreeSet<PathBuf>,
    /// Directories of which every entry matters.
    folders: BTreeSet<PathBuf>,
}

impl Plan {
    /// Plans for absolute paths.
    pub fn of(paths: &[PathBuf]) -> Self {
        let mut plan = Self::default();
        for path in paths {
            if let Some(end) = plan.walk(path)
                && end.is_dir()
            {
                plan.folder(&end, 0);
            }
        }
        plan
    }

    /// The directories to watch.
    pub fn directories(&self) -> impl Iterator<Item = &Path> {
        self.directories.keys().map(PathBuf::as_path)
    }

    /// Whether what happened to this path matters.
    pub fn concerns(&self, path: &Path) -> bool {
        self.entries.contains(path)
            || self.directories.contains_key(path)
            || path.parent().is_some_and(|parent| self.folders.contains(parent))
    }

    /// Follows a path link by link, and notes the directory of each component. `None` if it leads nowhere.
    fn walk(&mut self, path: &Path) -> Option<PathBuf> {
        let mut links = 0;
        let mut current = PathBuf::from("/");
        let mut ahead = reversed(path);
        while let Some(component) = ahead.pop() {
            if component == ".." {
                current.pop();
                continue;
            }
            self.directory(&current);
            let entry = current.join(component);
            self.entries.insert(entry.clone());
            let metadata = fs::symlink_metadata(&entry).ok()?;
            if !metadata.is_symlink() {
                current = entry;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return None;
            }
            let target = fs::read_link(&entry).ok()?;
            if target.is_absolute() {
                current = "/".into();
            }
            ahead.extend(reversed(&target));
        }
        Some(current)
    }

    /// A directory with all that is in it; what its links lead to is watched, and not looked into.
    fn folder(&mut self, path: &Path, depth: u32) {
        self.directory(path);
        if !self.folders.insert(path.into()) || depth == DEPTH_MAX {
            return;
        }
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() {
                self.folder(&entry.path(), depth + 1);
            } else if kind.is_symlink()
                && let Some(end) = self.walk(&entry.path())
                && end.is_dir()
            {
                self.folder(&end, DEPTH_MAX);
            }
        }
    }

    fn directory(&mut self, path: &Path) {
        if !self.directories.contains_key(path)
            && let Ok(metadata) = fs::metadata(path)
        {
            self.directories.insert(path.into(), (metadata.dev(), metadata.ino()));
        }
    }
}

/// Whether a file, or a directory or something directly in it, changed after a point in time.
pub(super) fn changed_since(path: &Path, time: SystemTime) -> bool {
    let Ok(since) = time.duration_since(UNIX_EPOCH) else { return true };
    let newer = |path: &Path| {
        fs::metadata(path).is_ok_and(|metadata| {
            Duration::new(metadata.ctime().try_into().unwrap_or(0), metadata.ctime_nsec() as u32) > since
        })
    };
    newer(path) || fs::read_dir(path).into_iter().flatten().flatten().any(|entry| newer(&entry.path()))
}

/// The components of a path without the root, the last one first.
fn reversed(path: &Path) -> Vec<OsString> {
    let names = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::CurDir | Component::Prefix(_) | Component::RootDir => None,
    });
    let mut names: Vec<_> = names.collect();
    names.reverse();
    names
}
