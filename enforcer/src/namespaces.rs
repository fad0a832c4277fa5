//! The network namespaces in which processes of some cgroups are.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    ops::ControlFlow,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Namespaces that are entered at most.
const NAMESPACES_MAX: usize = 1024;

/// What was not entered.
#[derive(Debug, Default)]
pub struct LeftOut {
    /// How many there are beyond those that are entered at most.
    pub beyond: usize,
    /// Why others could not be seen or entered.
    pub error: Option<io::Error>,
}

/// Calls `visit` in each network namespace of the threads of these cgroups, by their directories; first in its own. The
/// calling thread enters them and does not come back. What it needs is `CAP_SYS_ADMIN`, and to see the threads in `/proc`.
pub fn each_network(
    cgroups: impl IntoIterator<Item = PathBuf>,
    mut visit: impl FnMut() -> ControlFlow<()>,
) -> LeftOut {
    let mut left_out = LeftOut::default();
    let mut seen: BTreeSet<PathBuf> = fs::read_link("/proc/thread-self/ns/net").into_iter().collect();
    if visit().is_break() {
        return left_out;
    }
    for cgroup in cgroups {
        // A cgroup that is gone has no threads.
        let threads = fs::read_to_string(cgroup.join("cgroup.threads")).unwrap_or_default();
        for thread in threads.lines() {
            let path = Path::new("/proc").join(thread).join("ns/net");
            // The target of the link is the namespace's name: `net:[4026531840]`.
            let name = match fs::read_link(&path) {
                Ok(name) => name,
                Err(error) => {
                    left_out.note(error);
                    continue;
                }
            };
            if seen.contains(&name) {
                continue;
            }
            if seen.len() >= NAMESPACES_MAX {
                seen.insert(name);
                left_out.beyond += 1;
                continue;
            }
            if let Err(error) = enter(&path) {
                left_out.note(error);
                continue;
            }
            seen.insert(name);
            if visit().is_break() {
                return left_out;
            }
        }
    }
    left_out
}

fn enter(path: &Path) -> io::Result<()> {
    let namespace = File::open(path)?;
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

impl LeftOut {
    /// That a thread has ended meanwhile says nothing of the others there.
    fn note(&mut self, error: io::Error) {
        if !matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) {
            self.error = Some(error);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_namespace_comes_first_and_once() {
        // Without a privilege: every thread of a test is where the test is.
        let own = tempfile::tempdir().unwrap();
        fs::write(own.path().join("cgroup.threads"), format!("{}\n999999999\n", std::process::id())).unwrap();
        let mut visits = 0;
        let left_out = each_network([own.path().to_owned(), own.path().join("none")], || {
            visits += 1;
            ControlFlow::Continue(())
        });
        assert_eq!((visits, left_out.beyond), (1, 0));
        assert!(left_out.error.is_none(), "{left_out:?}");
    }
}
