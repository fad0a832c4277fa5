//! What the kernel tells about a daemon: its maps and programs, and what its processes have used.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::Error;
use crate::programs::text;

/// `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
const ARRAY_OF_MAPS: u64 = 12;
/// `BPF_PROG_TYPE_CGROUP_SKB`.
const CGROUP_SKB: u64 = 8;
/// `BPF_PROG_TYPE_CGROUP_SOCK_ADDR`.
const CGROUP_SOCK_ADDR: u64 = 18;

/// A file of `/proc/PID/fdinfo`, number by name.
type Info = BTreeMap<String, u64>;

/// Kernel memory of the maps that a process holds, by name, with the inner maps that only an outer one holds; in bytes.
pub fn map_memory(pid: u32) -> Result<BTreeMap<String, u64>, Error> {
    let mut memory: BTreeMap<String, u64> = BTreeMap::new();
    let mut seen = Vec::new();
    for info in descriptors(pid)? {
        let (Some(&id), Some(&kind)) = (info.get("map_id"), info.get("map_type")) else { continue };
        let mut ids = vec![id];
        if kind == ARRAY_OF_MAPS {
            ids.extend(inner(&bpftool(&["map", "dump", "id", &id.to_string()])?));
        }
        let outer = bpftool(&["map", "show", "id", &id.to_string()])?;
        let name = outer.get("name").and_then(Value::as_str).unwrap_or("?");
        for id in ids {
            if !seen.contains(&id) {
                seen.push(id);
                let shown = bpftool(&["map", "show", "id", &id.to_string()])?;
                let bytes = shown.get("bytes_memlock").and_then(Value::as_u64).unwrap_or(0);
                *memory.entry(name.to_owned()).or_default() += bytes;
            }
        }
    }
    Ok(memory)
}

/// The ids in the dump of an outer map; the values are four bytes each, lowest first.
fn inner(dump: &Value) -> Vec<u64> {
    let byte = |text: &Value| u64::from_str_radix(text.as_str()?.trim_start_matches("0x"), 16).ok();
    let id = |entry: &Value| {
        let bytes = entry.get("value")?.as_array()?.iter().map(byte).collect::<Option<Vec<u64>>>()?;
        Some(bytes.iter().rev().fold(0, |id, byte| id << 8 | byte))
    };
    dump.as_array().into_iter().flatten().filter_map(id).collect()
}

fn bpftool(arguments: &[&str]) -> Result<Value, Error> {
    let output = Command::new("bpftool").arg("-j").args(arguments).output()?;
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// The hooks at which programs run for a cgroup, whoever attached them.
pub fn hooks(cgroup: &Path) -> Result<BTreeSet<String>, Error> {
    let shown = bpftool(&["cgroup", "show", text(cgroup)?, "effective"])?;
    let hook = |program: &Value| Some(program.get("attach_type")?.as_str()?.to_owned());
    Ok(shown.as_array().into_iter().flatten().filter_map(hook).collect())
}

/// How many programs are attached to a cgroup, whoever attached them. `None` without bpftool.
pub fn attached(cgroup: &Path) -> Option<usize> {
    let shown = bpftool(&["cgroup", "show", cgroup.to_str()?, "effective"]).ok()?;
    shown.as_array().map(Vec::len)
}

/// How long a process's programs have run, in nanoseconds, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    /// Where a call names an address: connect(), sendto().
    pub calls: (u64, u64),
    /// At each packet, sent or received.
    pub packets: (u64, u64),
}

/// Counts only while [`statistics`] are on.
pub fn runs(pid: u32) -> Result<Runs, Error> {
    let mut runs = Runs::default();
    for info in descriptors(pid)? {
        let number = |name: &str| info.get(name).copied().unwrap_or_default();
        let sum = match number("prog_type") {
            CGROUP_SKB => &mut runs.packets,
            CGROUP_SOCK_ADDR => &mut runs.calls,
            _ => continue,
        };
        sum.0 += number("run_time_ns");
        sum.1 += number("run_cnt");
    }
    Ok(runs)
}

/// The numbers of the programs that a process holds.
pub fn programs_of(pid: u32) -> Result<Vec<u64>, Error> {
    // A program is held once, and its link says its number again.
    let programs: BTreeSet<u64> =
        descriptors(pid)?.iter().filter_map(|info| info.get("prog_id").copied()).collect();
    Ok(programs.into_iter().collect())
}

/// The numbers of the programs that are attached to a cgroup itself.
pub fn programs_at(cgroup: &Path) -> Result<Vec<u64>, Error> {
    let shown = bpftool(&["cgroup", "show", text(cgroup)?])?;
    let attached = shown.as_array().into_iter().flatten();
    Ok(attached.filter_map(|program| program.get("id").and_then(Value::as_u64)).collect())
}

/// How long programs have run, in nanoseconds, by name. Counts only while [`statistics`] are on.
pub fn run_times(programs: &[u64]) -> Result<BTreeMap<String, u64>, Error> {
    let mut times = BTreeMap::new();
    for id in programs {
        let program = bpftool(&["prog", "show", "id", &id.to_string()])?;
        let name = program.get("name").and_then(Value::as_str).unwrap_or("?");
        let time = program.get("run_time_ns").and_then(Value::as_u64).unwrap_or_default();
        *times.entry(name.to_owned()).or_default() += time;
    }
    Ok(times)
}

/// Makes the kernel time every program for as long as the descriptor is open.
pub fn statistics() -> io::Result<OwnedFd> {
    const BPF_ENABLE_STATS: libc::c_long = 32;
    // The first member of `union bpf_attr` for this command: BPF_STATS_RUN_TIME.
    let attribute = 0_u32;
    // SAFETY: the kernel reads four bytes, which outlive the call.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_ENABLE_STATS, &raw const attribute, size_of_val(&attribute))
    };
    match libc::c_int::try_from(descriptor) {
        // SAFETY: the kernel has just opened it, and nobody else knows it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Instructions that the verifier went through to load a process's programs.
pub fn verified(pid: u32) -> Result<u64, Error> {
    Ok(descriptors(pid)?.iter().filter_map(|info| info.get("verified_insns")).sum())
}

fn descriptors(pid: u32) -> io::Result<Vec<Info>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let number = |line: &str| {
            let (name, number) = line.split_once(':')?;
            Some((name.to_owned(), number.trim().parse().ok()?))
        };
        all.push(text.lines().filter_map(number).collect());
    }
    Ok(all)
}

/// What a process has used so far, all its threads together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Milliseconds on a CPU.
    pub cpu: f64,
    /// Context switches.
    pub switches: u64,
}

/// From `/proc/PID/task/*`.
pub fn usage(pid: u32) -> Result<Usage, Error> {
    let mut usage = Usage::default();
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.path();
        let schedstat = fs::read_to_string(task.join("schedstat"))?;
        let nanos: u64 = schedstat.split(' ').next().unwrap_or_default().parse()?;
        usage.cpu += nanos as f64 / 1e6;
        let status = fs::read_to_string(task.join("status"))?;
        usage.switches += status
            .lines()
            .filter(|line| line.contains("ctxt_switches"))
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(usage)
}

/// Memory of a process in MiB: `VmRSS` is what it has, `VmHWM` the most that it had.
pub fn memory(pid: u32, what: &str) -> Result<f64, Error> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with(what)).ok_or("a process without memory")?;
    let kibibytes: f64 = line.split_whitespace().nth(1).unwrap_or_default().parse()?;
    Ok(kibibytes / 1024.0)
}
