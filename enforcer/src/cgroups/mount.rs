//! Where the hierarchy is, and where in it this process is.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use super::CgroupError;

/// The directory at which the cgroup v2 hierarchy is mounted.
pub fn mount_point() -> Result<PathBuf, CgroupError> {
    mount_point_in(&read("/proc/self/mountinfo")?).ok_or(CgroupError::NotMounted)
}

/// The cgroup of this process, relative to the root of the hierarchy: `/ci/job`.
pub fn own() -> Result<String, CgroupError> {
    let text = read("/proc/self/cgroup")?;
    own_in(&text).map(str::to_owned).ok_or(CgroupError::NotMounted)
}

/// The mount point in the text of `/proc/PID/mountinfo`: one that shows the whole hierarchy if there is one.
pub(super) fn mount_point_in(text: &str) -> Option<PathBuf> {
    let mut part = None;
    for line in text.lines() {
        // `36 35 0:31 ROOT MOUNT-POINT OPTIONS TAGS... - TYPE SOURCE OPTIONS` (proc_pid_mountinfo(5)).
        let Some((mount, kind)) = line.split_once(" - ") else { continue };
        if kind.split(' ').next() != Some("cgroup2") {
            continue;
        }
        let mut fields = mount.split(' ').skip(3);
        let (Some(root), Some(point)) = (fields.next(), fields.next()) else { continue };
        if root == "/" {
            return Some(unescape(point));
        }
        part.get_or_insert_with(|| unescape(point));
    }
    part
}

/// The v2 line in the text of `/proc/PID/cgroup`.
pub(super) fn own_in(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::"))
}

fn read(path: &str) -> Result<String, CgroupError> {
    let bytes = fs::read(path).map_err(|source| CgroupError::Read { path: path.into(), source })?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Undoes `\040` and the like, with which mountinfo writes white space.
fn unescape(text: &str) -> PathBuf {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [byte, tail @ ..] = rest {
        let octal = match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                Some(((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'), tail))
            }
            _ => None,
        };
        let (byte, tail) = octal.unwrap_or((*byte, tail));
        bytes.push(byte);
        rest = tail;
    }
    PathBuf::from(OsString::from_vec(bytes))
}
