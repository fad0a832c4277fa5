//! The canaries: what must be refused, by each program that judges, before anything is called enforced.
//!
//! A BPF LSM program loads, attaches and stays with success on a kernel that never calls it. So a process inside the scope
//! goes to a random destination on this machine, once by each hook; the programs refuse exactly that destination, whatever
//! the policy and its mode, and emit no event for it.

use crate::{
    cgroups,
    kernel::{Kernel, Scope},
};
use enforcer_common::control::{self, Control, Counter};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
    path::Path,
    process::{Command, Stdio},
};

mod ways;

use ways::Flight;

/// Exit status of the canaries' process when it could not enter the scope.
const OUTSIDE: i32 = 11;

/// Sends a canary through each hook that judges.
///
/// # Errors
/// Why a hook cannot be called live, in words for the status.
pub fn send(kernel: &Kernel, scope: Option<&Scope>) -> Result<(), String> {
    let to = destination().map_err(|error| format!("no canary could be made: {error}"))?;
    let refused_before = refused(kernel)?;
    kernel.control(Control::Canary, word(to)).map_err(|error| error.to_string())?;
    let flights = fly(to, scope, &kernel.judges());
    kernel.control(Control::Canary, 0).map_err(|error| error.to_string())?;
    let flights = flights?;
    if let Some((program, _)) = flights.iter().find(|(_, flight)| *flight == Flight::Passed) {
        return Err(format!("`{program}` is attached, but does not fire: a canary was not refused"));
    }
    let sent = flights.iter().filter(|(_, flight)| *flight == Flight::Refused).count() as u64;
    if sent == 0 || refused(kernel)? < refused_before + sent {
        return Err("the canary was refused, but not by this program".to_owned());
    }
    Ok(())
}

/// What the canaries' process does: enters the cgroup, tries each program, and says a line about each.
pub fn main(cgroup: Option<&Path>, to: SocketAddrV4, programs: &[String]) -> i32 {
    if let Some(cgroup) = cgroup
        && std::fs::write(cgroup.join("cgroup.procs"), "0").is_err()
    {
        return OUTSIDE;
    }
    for program in programs {
        println!("{program} {}", ways::fly(program, to));
    }
    0
}

fn fly(
    to: SocketAddrV4,
    scope: Option<&Scope>,
    programs: &[&'static str],
) -> Result<Vec<(&'static str, Flight)>, String> {
    let Some(scope) = scope else {
        return Ok(programs.iter().map(|&program| (program, ways::fly(program, to))).collect());
    };
    let unsent = |error: &dyn std::fmt::Display| format!("no canary could be sent: {error}");
    // A cgroup with controllers for its children takes no processes itself, so the canaries get one of their own.
    let cage = cgroups::create_child(&scope.path, &format!("enforcer-canary-{}", std::process::id()))
        .map_err(|error| unsent(&error))?;
    let output = Command::new("/proc/self/exe")
        .args(["canary", "--cgroup"])
        .arg(cage.directory())
        .arg(to.to_string())
        .args(programs)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .map_err(|error| unsent(&error))?;
    if output.status.code() == Some(OUTSIDE) {
        return Err("the canary could not enter the scope".to_owned());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let told = |program: &str| said.lines().find_map(|line| line.strip_prefix(program)?.trim().parse().ok());
    // Of what is not told nothing is known, so it is not live.
    Ok(programs.iter().map(|&program| (program, told(program).unwrap_or(Flight::Passed))).collect())
}

fn refused(kernel: &Kernel) -> Result<u64, String> {
    let counters = kernel.counters().map_err(|error| error.to_string())?;
    Ok(counters.get(&Counter::Canaries).copied().unwrap_or(0))
}

/// The destination as the programs compare it.
fn word(to: SocketAddrV4) -> u64 {
    control::canary(&IpAddr::from(*to.ip()).into(), to.port()).unwrap_or_default()
}

/// A random address of 127.0.0.0/8 and a random port: nobody else goes there by chance.
fn destination() -> io::Result<SocketAddrV4> {
    let mut bytes = [0; 5];
    rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::empty())?;
    let [a, b, c, p, q] = bytes;
    Ok(SocketAddrV4::new(Ipv4Addr::new(127, a, b, c), u16::from_be_bytes([p, q]).max(1024)))
}
