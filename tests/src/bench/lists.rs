//! A long list of names, in each format: what it costs to read, to check and to lay out for the kernel, and what other
//! programs need until they know it.

use std::env;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use enforcer_tests::{Netns, enforcer};
use tempfile::TempDir;

use crate::programs::Rival;
use crate::report::{Report, Unit};
use crate::{Error, kernel, millis};

pub const LISTS: &str = "8. A list of names, without a kernel";

const CHECK: &str = "enforcer check, plain list: CPU time";
const DNSMASQ: &str = "dnsmasq, servers-file: CPU time to first answer";
const UNBOUND_RPZ: &str = "unbound, RPZ: CPU time to first answer";
const UNBOUND_ZONE: &str = "unbound, local-zone: CPU time to first answer";

/// The same names in every format. Each is a file with a policy beside it, as far as enforcer reads it.
pub struct Lists {
    directory: TempDir,
    names: usize,
    last: String,
}

/// How a line of each format looks, and what stands in front.
const FORMATS: [(&str, &str, &str, &str); 4] = [
    ("plain", "", "", ""),
    ("hosts", "", "0.0.0.0 ", ""),
    ("adblock", "! a list\n", "||", "^"),
    ("rpz", "$TTL 60\n@ SOA localhost. root.localhost. 1 60 60 60 60\n@ NS localhost.\n", "", " CNAME ."),
];

impl Lists {
    pub fn new(names: impl Iterator<Item = String>) -> Result<Self, Error> {
        let directory = tempfile::tempdir()?;
        let names: Vec<String> = names.collect();
        let write = |file: &str, front: &str, head: &str, tail: &str| {
            let mut text = front.to_owned();
            for name in &names {
                // Writing to a String does not fail.
                let _ = writeln!(text, "{head}{name}{tail}");
            }
            fs::write(directory.path().join(file), text)
        };
        for (format, front, head, tail) in FORMATS {
            write(format, front, head, tail)?;
            let to = format!("{{ lists: [\"{format}\"] }}");
            fs::write(directory.path().join(format!("{format}.yaml")), policy(&to))?;
        }
        write("servers", "", "server=/", "/")?;
        write("zones", "server:\n", "local-zone: \"", ".\" always_nxdomain")?;
        fs::write(directory.path().join("none.yaml"), policy("{ names: [one.test] }"))?;
        let last = names.last().cloned().unwrap_or_default();
        Ok(Self { directory, names: names.len(), last })
    }

    /// One round: every program once.
    pub fn round(&self, netns: &Netns, report: &mut Report) -> Result<(), Error> {
        let nothing = check(&self.path("none.yaml"))?;
        for (format, ..) in FORMATS {
            let spent = check(&self.path(&format!("{format}.yaml")))?;
            let row = format!("enforcer check, {format} list: CPU time");
            report.add(LISTS, &row, Unit::Milliseconds, millis(spent.cpu));
            let file = fs::metadata(self.path(format))?.len();
            let more = spent.memory.saturating_sub(nothing.memory).saturating_sub(file);
            let row = format!("enforcer check, {format} list: most memory beyond the file, bytes a name");
            report.add(LISTS, &row, Unit::Bytes, more as f64 / self.names as f64);
        }
        let dnsmasq = Rival::start(netns, &self.path("servers"), &self.last)?;
        self.add(report, DNSMASQ, &dnsmasq)?;
        drop(dnsmasq);
        for (row, settings) in [
            (UNBOUND_RPZ, format!("rpz:\n  name: rpz.test\n  zonefile: {}\n", self.path("rpz").display())),
            (UNBOUND_ZONE, format!("include: {}\n", self.path("zones").display())),
        ] {
            match Rival::unbound(netns, &self.path("unbound.conf"), &settings, &self.last) {
                Ok(unbound) => self.add(report, row, &unbound)?,
                Err(error) if is_missing(&*error) => {
                    report.note(LISTS, "unbound not measured: it is not installed (`scripts/setup bench`).");
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn add(&self, report: &mut Report, row: &str, rival: &Rival) -> Result<(), Error> {
        report.add(LISTS, row, Unit::Milliseconds, kernel::usage(rival.pid())?.cpu);
        let memory = kernel::memory(rival.pid(), "VmHWM")? * f64::from(1 << 20);
        let row = row.replace("CPU time to first answer", "most memory, bytes a name");
        report.add(LISTS, &row, Unit::Bytes, memory / self.names as f64);
        Ok(())
    }

    fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(file)
    }
}

/// Which rows are set against which.
pub fn compare(report: &mut Report, names: usize) {
    report.against(LISTS, CHECK, &[DNSMASQ, UNBOUND_RPZ, UNBOUND_ZONE]);
    report.note(
        LISTS,
        format!(
            "{names} names, each for itself. `enforcer check` is the whole process: it reads the list, checks each name, and \
             lays all out in the image that the kernel would be given. Its memory is the most that it had, less what it has \
             with one name and less the file, which is mapped. The others start, read the same names and answer one \
             question."
        ),
    );
}

fn policy(to: &str) -> String {
    format!("version: 1\nrules:\n  - {{ name: list, action: deny, to: {to} }}\n")
}

/// What a process needed.
struct Spent {
    /// In user space and in the kernel.
    cpu: Duration,
    /// The most that was resident at once, in bytes.
    memory: u64,
}

/// In a process of its own: what a program starts with counts towards the most that it had, and this one has much.
fn check(policy: &Path) -> Result<Spent, Error> {
    let output = Command::new(env::current_exe()?).arg("check").arg(policy).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let mut numbers = said.split_whitespace().map(str::parse::<u64>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(micros)), Some(Ok(memory))) => Ok(Spent { cpu: Duration::from_micros(micros), memory }),
        _ => Err(String::from_utf8_lossy(&output.stderr).into()),
    }
}

/// `bench check POLICY`: prints the microseconds of CPU time and the bytes of memory that `enforcer check` needed.
pub fn main() -> Result<(), Error> {
    let policy = env::args().nth(2).ok_or("usage: bench check POLICY")?;
    let Spent { cpu, memory } = spend(Path::new(&policy))?;
    println!("{} {memory}", cpu.as_micros());
    Ok(())
}

fn spend(policy: &Path) -> Result<Spent, Error> {
    let mut child = Command::new(enforcer()?).arg("check").arg(policy).stdout(Stdio::null()).spawn()?;
    let (mut status, pid) = (0, libc::pid_t::try_from(child.id())?);
    // SAFETY: `rusage` is a structure of numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to live variables of the type that wait4(2) fills; the process is our own child.
    if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } != pid {
        return Err(io::Error::last_os_error().into());
    }
    // It is waited for already; this only tells the handle, which finds nothing left to wait for.
    let _ = child.try_wait();
    if status != 0 {
        return Err(format!("`enforcer check {}` ended with {status}", policy.display()).into());
    }
    let time = |time: libc::timeval| {
        Duration::from_secs(time.tv_sec.unsigned_abs()) + Duration::from_micros(time.tv_usec.unsigned_abs())
    };
    let memory = usage.ru_maxrss.unsigned_abs() * 1024;
    Ok(Spent { cpu: time(usage.ru_utime) + time(usage.ru_stime), memory })
}

fn is_missing(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = |error: &(dyn std::error::Error + 'static)| {
        error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    std::iter::successors(Some(error), |error| error.source()).any(kind)
}
