//! Whether this process may do what it has to, on a kernel that can.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::{fs, io};

use miette::Diagnostic;
use thiserror::Error;

/// The oldest kernel that the programs are tested on.
const KERNEL_MINIMUM: (u32, u32) = (6, 1);
/// Inode number of the initial user namespace (`PROC_USER_INIT_INO`, include/linux/proc_ns.h).
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;
const BTF: &str = "/sys/kernel/btf/vmlinux";

// include/uapi/linux/capability.h
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;
const CAP_PERFMON: u32 = 38;
const CAP_BPF: u32 = 39;

/// What the kernel asks for, each also satisfied by CAP_SYS_ADMIN (`bpf_prog_load`, kernel/bpf/syscall.c).
const NEEDED: [(u32, &str); 3] =
    [(CAP_BPF, "CAP_BPF"), (CAP_NET_ADMIN, "CAP_NET_ADMIN"), (CAP_PERFMON, "CAP_PERFMON")];

/// Why this process may not load the programs.
#[derive(Debug, Diagnostic, Error)]
pub enum MissingPrivileges {
    /// Some are not held.
    #[error("missing capabilities: {}", .0.join(", "))]
    #[diagnostic(help("run as root, e.g. `sudo enforcer ...`"))]
    Capabilities(Vec<&'static str>),
    /// Nobody knows.
    #[error("the capabilities of this process cannot be read from `/proc/self/status`")]
    #[diagnostic(help("mount /proc"))]
    Unknown(#[source] Option<io::Error>),
    /// They are held, and mean nothing to the kernel.
    #[error("this process runs in a user namespace, whose capabilities do not count for eBPF")]
    #[diagnostic(help("run as root of the machine, outside `unshare --user` and rootless containers"))]
    UserNamespace,
}

/// Why this kernel cannot run the programs.
#[derive(Debug, Diagnostic, Error)]
pub enum UnsupportedKernel {
    /// It does not describe its types.
    #[error("this kernel has no BTF: `{BTF}` is missing")]
    #[diagnostic(help("use a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions ship them"))]
    NoBtf,
    /// Older than the oldest tested.
    #[error("this kernel is too old: its release is `{0}`, the oldest supported one is {major}.{minor}",
        major = KERNEL_MINIMUM.0, minor = KERNEL_MINIMUM.1)]
    #[diagnostic(help("boot a newer kernel"))]
    TooOld(String),
}

/// Checks that this process may load and attach the programs.
pub fn check() -> Result<(), MissingPrivileges> {
    let text =
        fs::read_to_string("/proc/self/status").map_err(|error| MissingPrivileges::Unknown(Some(error)))?;
    let held = effective(&text).ok_or(MissingPrivileges::Unknown(None))?;
    let missing = missing(held);
    if !missing.is_empty() {
        return Err(MissingPrivileges::Capabilities(missing));
    }
    // Without /proc/self/ns the attempt to load tells.
    if fs::metadata("/proc/self/ns/user").is_ok_and(|metadata| metadata.ino() != INITIAL_USER_NAMESPACE) {
        return Err(MissingPrivileges::UserNamespace);
    }
    Ok(())
}

/// Checks that the kernel is recent enough and describes its types.
pub fn check_kernel() -> Result<(), UnsupportedKernel> {
    let name = rustix::system::uname();
    check_kernel_at(&name.release().to_string_lossy(), Path::new(BTF))
}

fn check_kernel_at(release: &str, btf: &Path) -> Result<(), UnsupportedKernel> {
    // A release of another shape is a vendor's; the programs' own checks tell.
    if version(release).is_some_and(|version| version < KERNEL_MINIMUM) {
        return Err(UnsupportedKernel::TooOld(release.into()));
    }
    if !btf.exists() {
        return Err(UnsupportedKernel::NoBtf);
    }
    Ok(())
}

/// Major and minor number at the start of a release such as `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let minor = rest.split(|character: char| !character.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The effective set in the text of `/proc/PID/status`.
fn effective(status: &str) -> Option<u64> {
    let set = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(set.trim(), 16).ok()
}

fn missing(held: u64) -> Vec<&'static str> {
    let has = |capability: u32| held >> capability & 1 == 1;
    let lacking = NEEDED.iter().filter(|(capability, _)| !has(*capability) && !has(CAP_SYS_ADMIN));
    lacking.map(|(_, name)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::{MissingPrivileges, UnsupportedKernel, check_kernel_at, effective, missing, version};
    use std::path::Path;

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tcat\nCapPrm:\t0000000000000000\nCapEff:\t000001ffffffffff\nCapBnd:\t0\n";
        assert_eq!(effective(status), Some(0x1ff_ffff_ffff));
        assert_eq!(effective("CapEff:\tnonsense\n"), None);
        assert_eq!(effective(""), None);
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!(missing(0), ["CAP_BPF", "CAP_NET_ADMIN", "CAP_PERFMON"]);
        assert_eq!(missing(1 << 39 | 1 << 38), ["CAP_NET_ADMIN"]);
        assert_eq!(missing(1 << 21), [""; 0]);
        assert_eq!(missing(1 << 12 | 1 << 38 | 1 << 39), [""; 0]);
        let error = MissingPrivileges::Capabilities(missing(1 << 12));
        assert_eq!(error.to_string(), "missing capabilities: CAP_BPF, CAP_PERFMON");
    }

    #[test]
    fn releases_compare_as_numbers() {
        for (text, expected) in [
            ("6.1.0-13-amd64", Some((6, 1))),
            ("6.18.44-fc-v657", Some((6, 18))),
            ("5.4+", Some((5, 4))),
            ("7", None),
            ("six.one", None),
        ] {
            assert_eq!(version(text), expected, "{text}");
        }
    }

    #[test]
    fn an_old_kernel_and_one_without_btf_are_refused() {
        let there = Path::new("/proc/self/status");
        let old = check_kernel_at("5.15.0", there).unwrap_err();
        assert_eq!(
            old.to_string(),
            "this kernel is too old: its release is `5.15.0`, the oldest supported one is 6.1"
        );
        assert!(matches!(check_kernel_at("6.12.1", Path::new("/nowhere")), Err(UnsupportedKernel::NoBtf)));
        check_kernel_at("6.1.0", there).unwrap();
        check_kernel_at("vendor", there).unwrap();
    }
}
