//! The canary: a connect that must be refused before anything is called enforced.
//!
//! A BPF LSM program loads, attaches and stays with success on a kernel that never calls it. So a process inside the scope
//! connects to a random loopback address and port; the programs refuse exactly that destination, whatever the policy and
//! its mode, and emit no event for it.

use crate::{
    cgroups,
    kernel::{Kernel, Scope},
};
use enforcer_common::control::{Control, Counter};
use std::{
    io,
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

/// Exit status of the canary process when its connect was refused with `EPERM`.
const REFUSED: i32 = 0;
/// Exit status when it was not.
const NOT_REFUSED: i32 = 10;
/// Exit status when the process could not enter the scope.
const OUTSIDE: i32 = 11;

/// Sends a canary through the connect hook.
///
/// # Errors
/// Why the hook cannot be called live, in words for the status.
pub fn send(kernel: &Kernel, scope: Option<&Scope>) -> Result<(), String> {
    let to = destination().map_err(|error| format!("no canary could be made: {error}"))?;
    let refused_before = refused(kernel)?;
    let word = u64::from(u32::from(*to.ip())) << 16 | u64::from(to.port());
    kernel.control(Control::Canary, word).map_err(|error| error.to_string())?;
    let result = fly(to, scope);
    kernel.control(Control::Canary, 0).map_err(|error| error.to_string())?;
    result?;
    if refused(kernel)? <= refused_before {
        return Err("the canary was refused, but not by this program".to_owned());
    }
    Ok(())
}

/// What the canary process does: enters the cgroup, connects, and tells by its exit status.
pub fn main(cgroup: Option<&Path>, to: SocketAddrV4) -> i32 {
    if let Some(cgroup) = cgroup
        && std::fs::write(cgroup.join("cgroup.procs"), "0").is_err()
    {
        return OUTSIDE;
    }
    match TcpStream::connect_timeout(&SocketAddr::V4(to), Duration::from_secs(1)) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => REFUSED,
        Ok(_) | Err(_) => NOT_REFUSED,
    }
}

fn fly(to: SocketAddrV4, scope: Option<&Scope>) -> Result<(), String> {
    let Some(scope) = scope else { return verdict(main(None, to)) };
    // A cgroup with controllers for its children takes no processes itself, so the canary gets one of its own.
    let cage = cgroups::create_child(&scope.path, &format!("enforcer-canary-{}", std::process::id()))
        .map_err(|error| format!("no canary could be sent: {error}"))?;
    let status = Command::new("/proc/self/exe")
        .args(["canary", "--cgroup"])
        .arg(cage.directory())
        .arg(to.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .map_err(|error| format!("no canary could be sent: {error}"))?;
    verdict(status.code().unwrap_or(OUTSIDE))
}

fn verdict(status: i32) -> Result<(), String> {
    match status {
        REFUSED => Ok(()),
        NOT_REFUSED => Err("the hook is attached, but does not fire: a canary was not refused".to_owned()),
        _ => Err("the canary could not enter the scope".to_owned()),
    }
}

fn refused(kernel: &Kernel) -> Result<u64, String> {
    let counters = kernel.counters().map_err(|error| error.to_string())?;
    Ok(counters.get(&Counter::Canaries).copied().unwrap_or(0))
}

/// A random address of 127.0.0.0/8 and a random port: nobody else goes there by chance.
fn destination() -> io::Result<SocketAddrV4> {
    let mut bytes = [0; 5];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    let [a, b, c, p, q] = bytes;
    Ok(SocketAddrV4::new(Ipv4Addr::new(127, a, b, c), u16::from_be_bytes([p, q]).max(1024)))
}
