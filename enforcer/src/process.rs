//! Who opened a connection.

use std::{collections::BTreeSet, fs};

use enforcer_common::event::ConnectEvent;

mod user;

pub use user::{User, UserError, user_id};

/// Stands for the part of a path that the kernel program did not reach.
const CUT: &str = "...";

/// The executable of a process, if anything is known of it.
///
/// A whole path from the kernel stands: it was read while the process stood in the system call. The end of a path is
/// completed from `/proc`, as far as the process there still is the same.
pub fn executable(pid: u32, kernel_path: Option<&str>) -> Option<String> {
    executable_of(kernel_path, || proc_path(pid))
}

/// The path that the kernel program saw, `.../` in front if it is only the end of it.
pub fn kernel_path(event: &ConnectEvent) -> Option<String> {
    let length = usize::try_from(event.exe_length).ok()?;
    let bytes = event.exe.get(..length.min(event.exe.len()))?;
    let mut path = String::from(if event.exe_whole == 1 { "" } else { CUT });
    let components = bytes.split(|byte| *byte == 0).filter(|component| !component.is_empty());
    let reversed: Vec<_> = components.collect();
    if reversed.is_empty() {
        return None;
    }
    for component in reversed.iter().rev() {
        path.push('/');
        path.push_str(&String::from_utf8_lossy(component));
    }
    Some(path)
}

/// The processes that run.
pub fn running() -> BTreeSet<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// When a process started, in nanoseconds of `CLOCK_BOOTTIME`; `None` if it has ended.
pub fn started(pid: u32) -> Option<u64> {
    start_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of `/proc/PID/stat`, in ticks of a hundredth of a second, `USER_HZ` (proc_pid_stat(5)). The name of the thread
/// stands in front of it in brackets, and may have brackets itself.
fn start_of(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(19)?.parse().ok()?;
    ticks.checked_mul(10_000_000)
}

fn executable_of(kernel_path: Option<&str>, proc_path: impl FnOnce() -> Option<String>) -> Option<String> {
    let Some(seen) = kernel_path else { return proc_path() };
    let Some(end) = seen.strip_prefix(CUT) else { return Some(seen.into()) };
    let whole = proc_path().filter(|path| path.ends_with(end));
    Some(whole.unwrap_or_else(|| seen.into()))
}

fn proc_path(pid: u32) -> Option<String> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let path = path.to_string_lossy();
    Some(path.strip_suffix(" (deleted)").unwrap_or(&path).into())
}

#[cfg(test)]
mod tests;
