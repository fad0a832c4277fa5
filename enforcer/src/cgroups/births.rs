//! Tells when a cgroup is created, so that it can be classified before it does much.

use super::CgroupError;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use std::{io, path::Path, sync::Arc};
use tokio::sync::Notify;

/// New cgroups of a hierarchy.
pub struct Births {
    signal: Arc<Notify>,
    /// Dropping it ends the watch.
    _watcher: RecommendedWatcher,
}

impl Births {
    /// Watches the hierarchy that is mounted at `mount`; cgroupfs tells of new directories like any file system.
    ///
    /// # Errors
    /// The hierarchy cannot be watched, for example because `fs.inotify.max_user_watches` is reached.
    pub fn watch(mount: &Path) -> Result<Self, CgroupError> {
        let signal = Arc::new(Notify::new());
        let notify = Arc::clone(&signal);
        let failed =
            |error: notify::Error| CgroupError::Read { path: mount.into(), source: io::Error::other(error) };
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // An error may hide a birth: look rather once too often.
            if !event.is_ok_and(|event| !matches!(event.kind, EventKind::Create(_))) {
                notify.notify_one();
            }
        })
        .map_err(failed)?;
        watcher.watch(mount, RecursiveMode::Recursive).map_err(failed)?;
        Ok(Self { signal, _watcher: watcher })
    }

    /// Resolves when a cgroup was created since the last call.
    pub async fn next(&self) {
        self.signal.notified().await;
    }
}
