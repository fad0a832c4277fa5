//! Boots a kernel that runs one program, passes its output on and ends with its status.

use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;

use enforcer_tests::vm::{Ended, Guest, Image, MODULES};

const USAGE: &str = "usage: vm --kernel VMLINUZ [OPTION]... -- PROGRAM [ARGUMENT]...

  --kernel FILE      the kernel; its modules are looked for in modules/ beside it
  --with PATH        a file or directory that the guest shall have, where it is here; may be repeated
  --module NAME      a further module to load; may be repeated
  --env NAME=VALUE   a variable for the program; may be repeated. CI, ENFORCER_* and RUST_* are passed on
  --cmdline TEXT     added to the kernel's command line
  --timeout SECONDS  default 900
  --cpus N           default 2
  --memory MIB       default 2048
  --label TEXT       what stands before each line, default: the name of the kernel's directory
  --qemu ARGUMENT    a further argument of QEMU's; may be repeated
  --image FILE       keep the root file system there

ENFORCER_KVM=1 uses KVM; without it the processor is emulated. Ends with the program's status, 124 when the time is
over, 125 when the guest could not be run to its end.";

const TIMED_OUT: u8 = 124;
const NOT_RUN: u8 = 125;

type Error = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match try_main() {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("vm: {error}");
            ExitCode::from(NOT_RUN)
        }
    }
}

fn try_main() -> Result<u8, Error> {
    let Options { guest, program, with, modules, environment, keep } =
        Options::parse(env::args_os().skip(1))?;
    // A file without a name: a runner that is killed leaves nothing behind.
    let unnamed = tempfile::tempfile()?;
    let path = keep.unwrap_or_else(|| format!("/proc/{}/fd/{}", process::id(), unnamed.as_raw_fd()).into());

    let mut image = Image::new()?;
    for path in &with {
        image.with(path)?;
    }
    let program = resolve(program)?;
    if let Some(executable) = program.first().map(Path::new)
        && executable.exists()
    {
        image.with(executable)?;
    }
    let modules_directory = guest.kernel.with_file_name("modules");
    if modules_directory.exists() {
        let wanted: Vec<&str> = MODULES.iter().copied().chain(modules.iter().map(String::as_str)).collect();
        image.modules(&modules_directory, &wanted)?;
    }
    image.run(&program, &environment, &env::current_dir()?);
    image.write(&path)?;

    let timeout = guest.timeout;
    match (Guest { image: path, ..guest }).run()? {
        Ended::Exit(status) => Ok(status),
        Ended::Silently => {
            eprintln!("vm: the guest stopped before its program ended");
            Ok(NOT_RUN)
        }
        Ended::TimedOut => {
            eprintln!("vm: the guest was switched off after {} s", timeout.as_secs());
            Ok(TIMED_OUT)
        }
    }
}

/// A program given by a path is at its absolute path in the guest; one given by its name is looked up there.
fn resolve(mut program: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    if let Some(first) = program.first_mut()
        && Path::new(first).components().count() > 1
    {
        *first = std::path::absolute(&*first)?.into_os_string();
    }
    Ok(program)
}

struct Options {
    guest: Guest,
    program: Vec<OsString>,
    with: Vec<PathBuf>,
    modules: Vec<String>,
    environment: BTreeMap<OsString, OsString>,
    keep: Option<PathBuf>,
}

impl Options {
    fn parse(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, Error> {
        let mut kernel = None;
        let mut label = None;
        let mut options = Self {
            guest: Guest {
                kernel: PathBuf::new(),
                label: String::new(),
                image: PathBuf::new(),
                command_line: String::new(),
                timeout: Duration::from_secs(900),
                processors: 2,
                memory: 2048,
                kvm: env::var("ENFORCER_KVM").is_ok_and(|value| value == "1"),
                arguments: Vec::new(),
            },
            program: Vec::new(),
            with: Vec::new(),
            modules: Vec::new(),
            environment: passed_on(),
            keep: None,
        };
        while let Some(option) = arguments.next() {
            if option == "--" {
                options.program = arguments.collect();
                break;
            }
            let option = option.into_string().map_err(|_| USAGE)?;
            let value = arguments.next().ok_or(USAGE)?;
            let text = || value.clone().into_string().map_err(|_| USAGE);
            match option.as_str() {
                "--cmdline" => options.guest.command_line = text()?,
                "--cpus" => options.guest.processors = text()?.parse()?,
                "--env" => {
                    let text = text()?;
                    let (name, value) = text.split_once('=').ok_or(USAGE)?;
                    options.environment.insert(name.into(), value.into());
                }
                "--image" => options.keep = Some(value.into()),
                "--kernel" => kernel = Some(PathBuf::from(value)),
                "--label" => label = Some(text()?),
                "--memory" => options.guest.memory = text()?.parse()?,
                "--module" => options.modules.push(text()?),
                "--qemu" => options.guest.arguments.push(text()?),
                "--timeout" => options.guest.timeout = Duration::from_secs(text()?.parse()?),
                "--with" => options.with.push(value.into()),
                _ => return Err(USAGE.into()),
            }
        }
        if options.program.is_empty() {
            return Err(USAGE.into());
        }
        options.guest.kernel = std::path::absolute(kernel.ok_or(USAGE)?)?;
        let directory = options.guest.kernel.parent().and_then(Path::file_name).unwrap_or_default();
        options.guest.label = label.unwrap_or_else(|| directory.to_string_lossy().into_owned());
        Ok(options)
    }
}

/// What the caller's environment says to the tests.
fn passed_on() -> BTreeMap<OsString, OsString> {
    let wanted = |name: &str| name == "CI" || name.starts_with("ENFORCER_") || name.starts_with("RUST_");
    env::vars_os().filter(|(name, _)| name.to_str().is_some_and(wanted)).collect()
}
