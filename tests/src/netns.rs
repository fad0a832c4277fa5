use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Once};
use std::thread;

use crate::cgroup::is_orphan;
use crate::{HarnessError, Result};

const PREFIX: &str = "enforcer-test-";
const HANDLES: &str = "/run/netns";
const ETC: &str = "/etc/netns";

/// A named network namespace without a way out, in which every documentation address is the namespace's own. Programs
/// started in it have its resolver too. Dropped, it is removed.
#[derive(Debug)]
pub struct Netns {
    name: String,
    handle: Arc<File>,
    etc: PathBuf,
}

impl Netns {
    /// What answers inside: the ranges set aside for documentation and benchmarks, none of which anybody owns.
    pub const LOCAL: [&str; 5] =
        ["192.0.2.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"];

    /// Creates one, with its loopback interface up.
    ///
    /// # Errors
    ///
    /// What `ip` complains about, or a file that cannot be written.
    pub fn new() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static SWEPT: Once = Once::new();
        SWEPT.call_once(sweep);
        let name = format!("{PREFIX}{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name], "")?;
        let path = Path::new(HANDLES).join(&name);
        let etc = Path::new(ETC).join(&name);
        // From here on, an early return removes what there is.
        let handle = File::open(&path).map_err(HarnessError::file("open", path));
        let handle = handle.inspect_err(|_| remove(&name))?;
        let netns = Self { name, handle: Arc::new(handle), etc };
        netns.set_hosts("")?;
        netns
            .write_etc("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n")?;
        netns.write_etc("resolv.conf", "")?;
        let mut script = "link set lo up\n".to_owned();
        for range in Self::LOCAL {
            script.push_str(&format!("route add local {range} dev lo\n"));
        }
        netns.ip_batch(&script)?;
        // IPv4 lets a socket be bound to any address that is routed here; for IPv6 it has to be allowed.
        let setting = "/proc/sys/net/ipv6/ip_nonlocal_bind";
        netns.run(|| fs::write(setting, "1"))?.map_err(HarnessError::file("write", setting))?;
        Ok(netns)
    }

    /// Its name, for `ip netns exec`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes another range answer inside, such as the `10.1.0.0/16` of a policy's `mayResolveTo`.
    ///
    /// # Errors
    ///
    /// What `ip` complains about.
    pub fn add_local(&self, range: &str) -> Result<()> {
        self.ip_batch(&format!("route add local {range} dev lo\n"))
    }

    /// Runs commands of `ip`, one a line, in the namespace.
    ///
    /// # Errors
    ///
    /// What `ip` complains about.
    pub fn ip_batch(&self, script: &str) -> Result<()> {
        ip(&["-n", &self.name, "-batch", "-"], script)
    }

    /// Names the resolvers that programs in the namespace ask. They are told not to wait long.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn set_resolvers(&self, resolvers: &[IpAddr]) -> Result<()> {
        let servers: String = resolvers.iter().map(|server| format!("nameserver {server}\n")).collect();
        self.write_etc("resolv.conf", &format!("{servers}options timeout:2 attempts:2\n"))
    }

    /// Writes the hosts file that programs in the namespace see: `localhost` and these lines. Returns where it is.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn set_hosts(&self, lines: &str) -> Result<PathBuf> {
        self.write_etc("hosts", &format!("127.0.0.1 localhost\n::1 localhost\n{lines}"))?;
        Ok(self.etc.join("hosts"))
    }

    /// Writes a file that programs in the namespace see as `/etc/NAME`.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write_etc(&self, name: &str, text: &str) -> Result<()> {
        fs::create_dir_all(&self.etc).map_err(HarnessError::file("create", &self.etc))?;
        let path = self.etc.join(name);
        fs::write(&path, text).map_err(HarnessError::file("write", path))
    }

    /// A command that will run in the namespace.
    ///
    /// # Errors
    ///
    /// A directory that cannot be read.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = Command::new(program);
        Confinement { netns: Some(self), ..Confinement::default() }.apply(&mut command)?;
        Ok(command)
    }

    /// Calls a function on a thread inside the namespace: the sockets that it opens, and the threads that it starts,
    /// belong there.
    ///
    /// # Errors
    ///
    /// When the thread cannot enter the namespace, or panics.
    pub fn run<T: Send>(&self, function: impl FnOnce() -> T + Send) -> Result<T> {
        let handle = Arc::clone(&self.handle);
        let outcome = thread::scope(|scope| {
            let inside = scope.spawn(move || {
                // SAFETY: setns takes a descriptor, which `handle` keeps open, and changes this thread alone.
                if unsafe { libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
                    return Err(HarnessError::system("setns")(io::Error::last_os_error()));
                }
                Ok(function())
            });
            inside.join()
        });
        outcome.unwrap_or_else(|_| {
            let source = io::Error::other("the thread panicked");
            Err(HarnessError::System { call: "a thread in the namespace", source })
        })
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        remove(&self.name);
    }
}

fn remove(name: &str) {
    if let Err(error) = ip(&["netns", "delete", name], "") {
        eprintln!("{error}");
    }
    let _ = fs::remove_dir_all(Path::new(ETC).join(name));
    // Gone with the last namespace in it, if `ip` or the harness made it.
    let _ = fs::remove_dir(ETC);
}

/// Removes what test processes left behind that were killed before they could.
fn sweep() {
    for directory in [HANDLES, ETC] {
        let Ok(entries) = fs::read_dir(directory) else { continue };
        for entry in entries.filter_map(io::Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_orphan(&name, PREFIX) {
                remove(&name);
            }
        }
    }
}

fn ip(arguments: &[&str], input: &str) -> Result<()> {
    let start = |source| HarnessError::Start { program: "ip".to_owned(), source };
    let mut child = Command::new("ip")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start)?;
    if let Some(mut pipe) = child.stdin.take() {
        // When `ip` does not want its input, its complaint says why.
        let _ = pipe.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(start)?;
    if output.status.success() {
        return Ok(());
    }
    Err(HarnessError::Command {
        command: format!("ip {}", arguments.join(" ")),
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
    })
}

/// Where a child process is put between fork and exec.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Confinement<'guard> {
    pub(crate) cgroup: Option<&'guard Path>,
    pub(crate) netns: Option<&'guard Netns>,
    pub(crate) uid: Option<u32>,
    /// Ends when the thread that started it does: a killed test run leaves nothing behind.
    pub(crate) dies_with_parent: bool,
}

impl Confinement<'_> {
    /// Makes the command start there. Everything that allocates happens here, before the fork.
    pub(crate) fn apply(self, command: &mut Command) -> Result<()> {
        let Self { cgroup, netns, uid, dies_with_parent } = self;
        let procs = cgroup.map(|path| c_string(&path.join("cgroup.procs"))).transpose()?;
        let binds = netns.map(|netns| binds(&netns.etc)).transpose()?.unwrap_or_default();
        let handle = netns.map(|netns| Arc::clone(&netns.handle));
        let enter = move || {
            if let Some(procs) = &procs {
                join_cgroup(procs)?;
            }
            if let Some(handle) = &handle {
                enter_netns(handle.as_raw_fd(), &binds)?;
            }
            if let Some(uid) = uid {
                become_user(uid)?;
            }
            if dies_with_parent {
                // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
                check(unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) })?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec, `enter` makes system calls on memory prepared before the fork; it neither
        // allocates nor takes a lock.
        unsafe { command.pre_exec(enter) };
        Ok(())
    }
}

/// Each file of the namespace's directory with the file of `/etc` that it stands in for, as `ip netns exec` does it.
/// Unlike `ip`, the harness leaves `/sys` alone: cgroup v2 stays where it is mounted.
fn binds(etc: &Path) -> Result<Vec<(CString, CString)>> {
    let entries = fs::read_dir(etc).map_err(HarnessError::file("read", etc))?;
    let mut binds = Vec::new();
    for entry in entries.filter_map(io::Result::ok) {
        let target = Path::new("/etc").join(entry.file_name());
        if target.exists() {
            binds.push((c_string(&entry.path())?, c_string(&target)?));
        }
    }
    Ok(binds)
}

fn c_string(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|error| HarnessError::File {
        action: "name",
        path: path.to_owned(),
        source: error.into(),
    })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Moves the calling process. Runs between fork and exec.
fn join_cgroup(procs: &CString) -> io::Result<()> {
    // SAFETY: `procs` is a C string that outlives the call.
    let file = unsafe { libc::open(procs.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC) };
    check(file)?;
    // SAFETY: the descriptor is open and the buffer is one byte of static memory; "0" is the writer itself.
    let written = unsafe { libc::write(file, b"0".as_ptr().cast(), 1) };
    let outcome = if written == 1 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: the descriptor is this function's own and is not used again.
    unsafe { libc::close(file) };
    outcome
}

/// Enters the network namespace and gives the process its files in `/etc`. Runs between fork and exec.
fn enter_netns(handle: libc::c_int, binds: &[(CString, CString)]) -> io::Result<()> {
    // SAFETY: the descriptor is open for as long as the command exists.
    check(unsafe { libc::setns(handle, libc::CLONE_NEWNET) })?;
    // SAFETY: takes flags only; the child has one thread.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) })?;
    // SAFETY: the pointers are C strings in static memory, or null where the kernel ignores them.
    check(unsafe {
        libc::mount(ptr::null(), c"/".as_ptr(), ptr::null(), libc::MS_REC | libc::MS_SLAVE, ptr::null())
    })?;
    for (source, target) in binds {
        // SAFETY: both are C strings that outlive the call; the other pointers are ignored for a bind mount.
        check(unsafe {
            libc::mount(source.as_ptr(), target.as_ptr(), ptr::null(), libc::MS_BIND, ptr::null())
        })?;
    }
    Ok(())
}

/// Gives up root for good; groups too. May run between fork and exec.
///
/// # Errors
///
/// When the process is not root's.
pub fn become_user(uid: u32) -> io::Result<()> {
    // SAFETY: no groups, so the pointer is not followed.
    check(unsafe { libc::setgroups(0, ptr::null()) })?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresgid(uid, uid, uid) })?;
    // SAFETY: takes numbers only.
    check(unsafe { libc::setresuid(uid, uid, uid) })
}
