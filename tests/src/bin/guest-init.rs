//! Process 1 of a guest: mounts what programs expect, loads the modules that the image has, runs the one program, says
//! how it ended and switches the machine off.

use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::ptr;

use enforcer_tests::vm::agreement;

struct Mount {
    kind: &'static str,
    target: &'static str,
    options: &'static str,
}

/// In this order. `/tmp` is not among them: it is in memory as it is, and what is tested may lie there.
const MOUNTS: &[Mount] = &[
    Mount { kind: "proc", target: "/proc", options: "" },
    Mount { kind: "sysfs", target: "/sys", options: "" },
    Mount { kind: "devtmpfs", target: "/dev", options: "" },
    Mount { kind: "devpts", target: "/dev/pts", options: "" },
    Mount { kind: "tmpfs", target: "/dev/shm", options: "mode=1777" },
    Mount { kind: "tmpfs", target: "/run", options: "mode=0755" },
    Mount { kind: "cgroup2", target: "/sys/fs/cgroup", options: "" },
    Mount { kind: "bpf", target: "/sys/fs/bpf", options: "mode=0700" },
    Mount { kind: "securityfs", target: "/sys/kernel/security", options: "" },
    Mount { kind: "tracefs", target: "/sys/kernel/tracing", options: "" },
];

const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin";

/// In `/proc/sys`.
const SETTINGS: &[(&str, &str)] = &[
    ("kernel/hostname", "guest"),
    // Names in what the verifier and the tests report.
    ("kernel/kptr_restrict", "0"),
    ("net/core/bpf_jit_enable", "1"),
];

fn main() {
    let status = match try_main() {
        Ok(status) => status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        Err(error) => {
            tell(&format!("enforcer-guest: {error}"));
            125
        }
    };
    tell(&format!("{}{status}", agreement::EXIT));
    switch_off();
}

fn try_main() -> io::Result<ExitStatus> {
    for mount in MOUNTS {
        mount.apply().map_err(context(mount.target))?;
    }
    for (setting, value) in SETTINGS {
        let path = format!("/proc/sys/{setting}");
        fs::write(&path, value).map_err(context(&path))?;
    }
    let loopback = Command::new("ip").args(["link", "set", "lo", "up"]).env("PATH", PATH).status();
    let loopback = loopback.map_err(context("ip"))?;
    if !loopback.success() {
        return Err(io::Error::other("the loopback interface stays down"));
    }
    for error in load_modules()? {
        tell(&format!("enforcer-guest: {error}"));
    }
    let uptime = fs::read_to_string("/proc/uptime")?;
    tell(&format!("{}{} s", agreement::UP, uptime.split(' ').next().unwrap_or_default()));
    run()
}

impl Mount {
    fn apply(&self) -> io::Result<()> {
        let &Self { kind, target, options } = self;
        fs::create_dir_all(target)?;
        let (kind, target, options) = (CString::new(kind)?, CString::new(target)?, CString::new(options)?);
        // SAFETY: all four are C strings that outlive the call.
        let result =
            unsafe { libc::mount(kind.as_ptr(), target.as_ptr(), kind.as_ptr(), 0, options.as_ptr().cast()) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}

/// What could not be loaded is told and no more: whether it matters, the tests know.
fn load_modules() -> io::Result<Vec<io::Error>> {
    let Ok(entries) = fs::read_dir(agreement::MODULES) else { return Ok(Vec::new()) };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let mut errors = Vec::new();
    for path in paths {
        let file = File::open(&path)?;
        // SAFETY: finit_module takes an open descriptor, a C string and flags.
        let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
        if result != 0 {
            errors.push(context(&path.display().to_string())(io::Error::last_os_error()));
        }
        // Memory that the tests can use.
        fs::remove_file(path)?;
    }
    Ok(errors)
}

fn run() -> io::Result<ExitStatus> {
    let arguments = texts(agreement::ARGUMENTS)?;
    let mut arguments = arguments.iter();
    let program = arguments.next().ok_or_else(|| io::Error::other("no program to run"))?;
    let variables = texts(agreement::ENVIRONMENT)?;
    let variables = variables.iter().filter_map(|variable| {
        let bytes = variable.as_bytes();
        let at = bytes.iter().position(|&byte| byte == b'=')?;
        let (name, value) = bytes.split_at(at);
        Some((OsStr::from_bytes(name), OsStr::from_bytes(value.get(1..)?)))
    });
    let directory = OsString::from_vec(fs::read(agreement::DIRECTORY)?);
    let console = console()?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .env("PATH", PATH)
        .env("HOME", "/root")
        .env("LANG", "C.UTF-8")
        .envs(variables)
        .env("ENFORCER_GUEST", "1")
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(console.try_clone()?)
        .stderr(console)
        .spawn()
        .map_err(context(&program.to_string_lossy()))?;
    let program = libc::pid_t::try_from(child.id()).map_err(io::Error::other)?;
    // Process 1 is the parent of every process that lost its own, and lets each of them go.
    loop {
        let mut status = 0;
        // SAFETY: the pointer is to an int that lives here.
        let ended = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if ended == program {
            return Ok(ExitStatus::from_raw(status));
        }
        if ended < 0 {
            return child.wait();
        }
    }
}

/// What a file of the image says, as texts that each end with a zero byte.
fn texts(path: &str) -> io::Result<Vec<OsString>> {
    let bytes = fs::read(path).map_err(context(path))?;
    let mut texts: Vec<OsString> =
        bytes.split(|&byte| byte == 0).map(|text| OsStr::from_bytes(text).into()).collect();
    texts.pop();
    Ok(texts)
}

/// The program's serial line, which passes on bytes as they are.
fn console() -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(agreement::CONSOLE)?;
    // SAFETY: termios is plain data, and tcgetattr fills it in.
    let mut settings: libc::termios = unsafe { std::mem::zeroed() };
    // SAFETY: the descriptor is open and the pointer is to a termios that lives here.
    if unsafe { libc::tcgetattr(file.as_raw_fd(), &raw mut settings) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the pointer is to a termios that tcgetattr has filled in.
    unsafe { libc::cfmakeraw(&raw mut settings) };
    // SAFETY: as above; the kernel reads the settings and keeps no pointer.
    if unsafe { libc::tcsetattr(file.as_raw_fd(), libc::TCSANOW, &raw const settings) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

fn context(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("{what}: {error}"))
}

/// Says a line on the program's serial line, or when that fails, on the kernel's.
fn tell(line: &str) {
    let told = console().and_then(|mut console| {
        writeln!(console, "{line}")?;
        // SAFETY: takes an open descriptor; waits until the line has left.
        unsafe { libc::tcdrain(console.as_raw_fd()) };
        Ok(())
    });
    if told.is_err() {
        eprintln!("{line}");
    }
}

fn switch_off() {
    // SAFETY: no pointers; nothing is on a disk that could be lost.
    unsafe { libc::reboot(libc::RB_POWER_OFF) };
    // Not reached where the machine can be switched off. An end of process 1 is a panic, which ends the guest too.
    // SAFETY: takes a null pointer, which the kernel ignores.
    unsafe { libc::syscall(libc::SYS_exit_group, 1, ptr::null::<u8>()) };
}
