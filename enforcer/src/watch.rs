//! Tells when a file may have changed, however it was changed.
//!
//! Watched are directories, never files: an editor that renames a new file over the old one leaves a watch on the file
//! behind. Symbolic links are followed one by one, and the directory of each is watched, because Kubernetes updates a
//! volume by swapping one link of the chain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use miette::Diagnostic;
use notify::event::{AccessKind, AccessMode};
use notify::{Config, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use self::plan::Plan;

mod plan;

/// A change is reported when nothing more has happened for this long.
const QUIET: Duration = Duration::from_millis(50);
/// A change is reported at the latest after this time.
const LONGEST: Duration = Duration::from_millis(500);
/// How often a change is assumed when nothing can be watched.
const BLIND: Duration = Duration::from_secs(10);
/// A file's time of change is that of the last tick of the kernel's clock, 10 ms at worst.
const TICK: Duration = Duration::from_millis(20);
/// How often watching starts over when directories are replaced meanwhile.
const ATTEMPTS: u32 = 5;

/// Why changes cannot be noticed.
#[derive(Debug, Diagnostic, Error)]
pub enum WatchError {
    /// A directory cannot be watched.
    #[error("`{path}` cannot be watched")]
    #[diagnostic(help("if the limit is reached, raise `fs.inotify.max_user_watches`"))]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: notify::Error,
    },
    /// A relative path, and no working directory.
    #[error("`{path}` has no absolute form")]
    Path {
        /// The path.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Nothing can be watched.
    #[error("file changes cannot be watched")]
    #[diagnostic(help("if the limit is reached, raise `fs.inotify.max_user_instances`"))]
    Start(#[source] notify::Error),
}

/// Files and directories under watch.
pub struct Watch {
    paths: Vec<PathBuf>,
    signal: Arc<Notify>,
    /// Dropping it ends the watch. `None` if the last attempt to watch failed.
    watcher: Option<RecommendedWatcher>,
    pending: Option<Pending>,
}

/// A change that is not reported yet.
#[derive(Clone, Copy)]
struct Pending {
    first: Instant,
    last: Instant,
}

/// Watches files and directories, there or not. A directory counts with all that is in it.
pub fn watch(paths: &[PathBuf]) -> Result<Watch, WatchError> {
    let paths = absolute(paths)?;
    let signal = Arc::new(Notify::new());
    let watcher = Some(start(&paths, &signal)?);
    Ok(Watch { paths, signal, watcher, pending: None })
}

impl Watch {
    /// Resolves once something may have changed, and things are quiet. What changes after that is reported by the next
    /// call. Dropping the future loses nothing.
    pub async fn changed(&mut self) {
        loop {
            let Some(Pending { first, last }) = self.pending else {
                match &self.watcher {
                    Some(_) => self.signal.notified().await,
                    None => _ = timeout_at(Instant::now() + BLIND, self.signal.notified()).await,
                }
                let now = Instant::now();
                self.pending = Some(Pending { first: now, last: now });
                continue;
            };
            let due = (last + QUIET).min(first + LONGEST);
            if Instant::now() < due && timeout_at(due, self.signal.notified()).await.is_ok() {
                self.pending = Some(Pending { first, last: Instant::now() });
                continue;
            }
            // Watching comes before reading, so that no change falls between.
            self.restart();
            self.pending = None;
            return;
        }
    }

    /// Watches other paths from here on. Their reading began at `read`: what is new among them and changed since is
    /// reported.
    pub fn set_paths(&mut self, paths: &[PathBuf], read: SystemTime) -> Result<(), WatchError> {
        let paths = absolute(paths)?;
        if paths == self.paths && self.watcher.is_some() {
            return Ok(());
        }
        self.watcher = Some(start(&paths, &self.signal)?);
        let former = std::mem::replace(&mut self.paths, paths);
        let mut new = self.paths.iter().filter(|path| !former.contains(path));
        if new.any(|path| plan::changed_since(path, read - TICK)) {
            self.signal.notify_one();
        }
        Ok(())
    }

    /// Reports what has changed since `read`, before the watch began.
    pub fn report_since(&self, read: SystemTime) {
        if self.paths.iter().any(|path| plan::changed_since(path, read - TICK)) {
            self.signal.notify_one();
        }
    }

    fn restart(&mut self) {
        self.watcher = match start(&self.paths, &self.signal) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "file changes go unnoticed, files are read again every {BLIND:?}");
                None
            }
        };
    }
}

/// Watches every directory on the way to the paths, until a second look finds the same directories.
fn start(paths: &[PathBuf], signal: &Arc<Notify>) -> Result<RecommendedWatcher, WatchError> {
    let mut plan = Plan::of(paths);
    for _ in 0..ATTEMPTS {
        let watcher = start_plan(plan.clone(), signal)?;
        let again = Plan::of(paths);
        if again == plan {
            return Ok(watcher);
        }
        plan = again;
    }
    // Someone is busy there; the next look follows at once.
    signal.notify_one();
    start_plan(plan, signal)
}

fn start_plan(plan: Plan, signal: &Arc<Notify>) -> Result<RecommendedWatcher, WatchError> {
    let directories: Vec<PathBuf> = plan.directories().map(Path::to_owned).collect();
    let signal = Arc::clone(signal);
    let react = move |event: Result<notify::Event, notify::Error>| {
        // An error or an overflow may hide anything.
        let relevant = event.map_or(true, |event| {
            event.need_rescan()
                || is_change(&event.kind) && event.paths.iter().any(|path| plan.concerns(path))
        });
        if relevant {
            signal.notify_one();
        }
    };
    let mut watcher = RecommendedWatcher::new(react, Config::default()).map_err(WatchError::Start)?;
    for path in directories {
        if let Err(source) = watcher.watch(&path, RecursiveMode::NonRecursive)
            && path.exists()
        {
            return Err(WatchError::Directory { path, source });
        }
    }
    Ok(watcher)
}

/// Reading is none; a file that was open for writing and is closed is one.
fn is_change(kind: &EventKind) -> bool {
    !kind.is_access() || *kind == EventKind::Access(AccessKind::Close(AccessMode::Write))
}

fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, WatchError> {
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|source| WatchError::Path { path: path.clone(), source })
    };
    paths.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests;
