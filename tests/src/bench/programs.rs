//! The programs under measurement, started so that their first sign of life is timed exactly.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use enforcer_tests::{Cgroup, Client, Deadline, Machine, Netns, Running, enforcer};

use crate::{Error, client};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon. Dropped, it is killed, and with its descriptors everything of it in the kernel goes.
pub struct Daemon {
    running: Running,
    /// From its start to `enforcer is ready`, a shell of about a millisecond included.
    pub ready: Duration,
}

impl Daemon {
    pub fn start(scope: &Cgroup, policy: &Path, arguments: &[&str]) -> Result<Self, Error> {
        Self::start_under(&[], scope, policy, arguments)
    }

    /// Starts it with a log of how long it took to compile the policy, and to put the image into the kernel.
    pub fn start_logging(scope: &Cgroup, policy: &Path) -> Result<(Self, Loaded), Error> {
        const LOG: &str = "ENFORCER_LOG=warn,enforcer::load=debug,enforcer::kernel=debug";
        let (running, _) = Self::spawn(&["env", "NO_COLOR=1", LOG], scope.path(), policy, &[])?;
        let said = wait_for_line(&running, |line| line == READY)?;
        let micros = |of: &str| {
            let line = said.iter().find(|line| line.contains(of)).ok_or(format!("no log that {of}"))?;
            let number = line.split_once(" micros=").and_then(|(_, rest)| rest.split(' ').next());
            let number = number.and_then(|number| number.parse().ok());
            number.map(Duration::from_micros).ok_or(format!("no number in `{line}`"))
        };
        let loaded = Loaded {
            compiled: micros("the policy is compiled")?,
            installed: micros("the policy image is in the kernel")?,
        };
        Ok((Self { running, ready: Duration::ZERO }, loaded))
    }

    /// Starts it under another program, such as strace.
    pub fn start_under(
        wrapper: &[&str],
        scope: &Cgroup,
        policy: &Path,
        arguments: &[&str],
    ) -> Result<Self, Error> {
        Self::start_at(wrapper, scope.path(), policy, arguments)
    }

    /// Starts it where this cgroup is the root, as in a container that has one of its own: what is outside is not observed. Its
    /// scope is a cgroup below.
    pub fn start_inside(root: &Cgroup, scope: &str, policy: &Path) -> Result<Self, Error> {
        const SCRIPT: &str = "mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        let mount = Machine::current().cgroup_root();
        let unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"];
        let wrapper = [&unshare[..], &[text(root.path())?, text(mount)?]].concat();
        Self::start_at(&wrapper, &mount.join(scope), policy, &[])
    }

    fn start_at(wrapper: &[&str], scope: &Path, policy: &Path, arguments: &[&str]) -> Result<Self, Error> {
        let (running, began) = Self::spawn(wrapper, scope, policy, arguments)?;
        wait_for_line(&running, |line| line == READY)?;
        Ok(Self { running, ready: began.elapsed() })
    }

    fn spawn(
        wrapper: &[&str],
        scope: &Path,
        policy: &Path,
        arguments: &[&str],
    ) -> Result<(Running, Instant), Error> {
        let (enforcer, instance) = (enforcer()?, format!("bench-{}", std::process::id()));
        let events = format!("json={}", policy.with_extension("events").display());
        // Standard error is where it says that it is ready; standard output says nothing.
        let mut words = vec!["-c", "exec \"$@\" 2>&1", "sh"];
        words.extend(wrapper);
        words.extend([text(&enforcer)?, "run", "--policy", text(policy)?, "--cgroup", text(scope)?]);
        words.extend(["--backend", "cgroup", "--instance", &instance, "--events", &events]);
        words.extend(arguments);
        let began = Instant::now();
        Ok((Client::in_initial_netns().spawn("/bin/sh", &words)?, began))
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Waits until it says that a new policy is in force.
    pub fn wait_for_reload(&self) -> Result<(), Error> {
        wait_for_line(&self.running, |line| line.contains(" is in force")).map(drop)
    }

    /// Ends it and waits for its end. It says that it is ready before it listens to signals.
    pub fn stop(self) -> Result<(), Error> {
        signal(self.pid(), libc::SIGTERM);
        let status = self.running.finish(PATIENCE)?;
        if status.success() || status.signal() == Some(libc::SIGTERM) {
            Ok(())
        } else {
            Err(format!("the daemon ended with {status}").into())
        }
    }
}

/// How long a daemon took for its policy.
#[derive(Clone, Copy, Debug)]
pub struct Loaded {
    /// From the policy to the image: hashing and laying out.
    pub compiled: Duration,
    /// From the image to the map that programs read: creating, filling, swapping.
    pub installed: Duration,
}

const READY: &str = "enforcer is ready";

/// Returns the lines before it.
fn wait_for_line(running: &Running, wanted: impl Fn(&str) -> bool) -> Result<Vec<String>, Error> {
    let mut said = Vec::new();
    loop {
        let line = running.line(PATIENCE).map_err(|error| format!("{error}: {}", said.join("\n")))?;
        if wanted(&line) {
            return Ok(said);
        }
        said.push(line);
    }
}

/// Another one that takes a million names: unbound, or dnsmasq with `server=/NAME/` in a file that it reads again on SIGHUP. Killed
/// when dropped.
pub struct Rival {
    running: Running,
    /// From its start to the first answer about a name of the file.
    pub ready: Duration,
}

impl Rival {
    pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 54);

    pub fn start(netns: &Netns, names: &Path, known: &str) -> Result<Self, Error> {
        let (listen, file) =
            (format!("--listen-address={}", Self::ADDRESS), format!("--servers-file={}", text(names)?));
        let began = Instant::now();
        let running = Client::new(netns).spawn("dnsmasq", &[DNSMASQ, &[&listen, &file]].concat())?;
        netns.run(|| wait_until_refused(known))??;
        Ok(Self { running, ready: began.elapsed() })
    }

    /// dnsmasq that asks another resolver and keeps nothing; with a set, it puts the addresses of names below a domain into
    /// it before it answers.
    pub fn forwarder(
        netns: &Netns,
        address: Ipv4Addr,
        upstream: Ipv4Addr,
        set: Option<(&str, &str)>,
    ) -> Result<Self, Error> {
        let (listen, server) = (format!("--listen-address={address}"), format!("--server={upstream}"));
        let mut arguments = vec!["--cache-size=0", &listen, &server];
        let set = set.map(|(domain, set)| format!("--nftset=/{domain}/{set}"));
        arguments.extend(set.as_deref());
        let began = Instant::now();
        let running = Client::new(netns).spawn("dnsmasq", &[DNSMASQ, &arguments].concat())?;
        netns.run(|| wait_until((address, 53), "h0.good.test", NO_ERROR))??;
        Ok(Self { running, ready: began.elapsed() })
    }

    /// unbound with these settings besides; it has nobody to ask.
    pub fn unbound(netns: &Netns, file: &Path, settings: &str, known: &str) -> Result<Self, Error> {
        let own = format!(
            "server:\n  interface: {}\n  access-control: 0.0.0.0/0 allow\n  do-daemonize: no\n  use-syslog: no\n  \
             logfile: /dev/null\n  username: \"\"\n  chroot: \"\"\n  directory: \"\"\n  pidfile: \"\"\n  \
             module-config: \"respip iterator\"\nremote-control:\n  control-enable: no\n",
            Self::ADDRESS
        );
        fs::write(file, format!("{own}{settings}"))?;
        let began = Instant::now();
        let running = Client::new(netns).spawn("/usr/sbin/unbound", &["-d", "-c", text(file)?])?;
        netns.run(|| wait_until_refused(known))??;
        Ok(Self { running, ready: began.elapsed() })
    }

    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Makes it read its file again, until it knows a name that is new in it.
    pub fn reload(&self, netns: &Netns, new: &str) -> Result<Duration, Error> {
        let began = Instant::now();
        signal(self.pid(), libc::SIGHUP);
        netns.run(|| wait_until_refused(new))??;
        Ok(began.elapsed())
    }
}

/// What every dnsmasq here is told.
const DNSMASQ: &[&str] = &[
    "--keep-in-foreground",
    "--conf-file=/dev/null",
    "--no-resolv",
    "--no-hosts",
    "--pid-file=",
    "--user=root",
    "--group=root",
    "--log-facility=/dev/null",
    "--bind-interfaces",
];

/// Codes of answers (RFC 1035 section 4.1.1).
const NO_ERROR: u8 = 0;
const NXDOMAIN: u8 = 3;

/// Asks until the answer is that there is no such name. Other names are refused: dnsmasq has nobody to ask.
fn wait_until_refused(name: &str) -> Result<(), String> {
    wait_until((Rival::ADDRESS, 53), name, NXDOMAIN)
}

/// Asks until the answer has this code.
fn wait_until(server: (Ipv4Addr, u16), name: &str, code: u8) -> Result<(), String> {
    let deadline = Deadline::after(PATIENCE);
    let socket = client::resolver(server.into()).map_err(|error| error.to_string())?;
    let _ = UdpSocket::set_read_timeout(&socket, Some(Duration::from_secs(5)));
    let mut id = 0;
    while !deadline.is_over() {
        id += 1;
        match client::ask(&socket, id, name) {
            Ok(answer) if answer.code == code => return Ok(()),
            // It does not listen yet, or does not know the name yet.
            Ok(_) | Err(_) => thread::sleep(Duration::from_micros(500)),
        }
    }
    Err(format!("nobody at {} answers as expected about {name}", server.0))
}

/// How the last call of a start looks in a trace.
const READY_CALL: &str = "\"enforcer is read";

/// Where the time of one start goes, in milliseconds by system call; `bpf` by command.
pub fn phases(scope: &Cgroup, policy: &Path) -> Result<Vec<(String, f64, usize)>, Error> {
    let directory = tempfile::tempdir()?;
    let log = directory.path().join("trace");
    // Calls that are not traced run at their own speed: a start makes a hundred thousand short ones.
    let calls = "trace=bpf,wait4,clone3,write";
    let wrapper = ["strace", "-ff", "--seccomp-bpf", "-e", calls, "-T", "-s", "16", "-o", text(&log)?];
    let daemon = Daemon::start_under(&wrapper, scope, policy, &[])?;
    // One file for each thread. Its name ends in the number, by which the daemon is ended, and strace with it.
    let files = fs::read_dir(directory.path())?.filter_map(|entry| Some(entry.ok()?.path()));
    let mut traces = files.filter_map(|path| Some((path.extension()?.to_str()?.parse().ok()?, path)));
    let of_main = |path: &PathBuf| fs::read_to_string(path).ok().filter(|trace| trace.contains(READY_CALL));
    let (pid, trace) =
        traces.find_map(|(pid, path)| Some((pid, of_main(&path)?))).ok_or("strace saw no daemon")?;
    signal(pid, libc::SIGTERM);
    let _ = daemon.running.finish(PATIENCE)?;
    let mut sums: Vec<(String, f64, usize)> = Vec::new();
    for line in trace.lines().take_while(|line| !line.contains(READY_CALL)) {
        let Some((call, seconds)) = timed_call(line) else { continue };
        match sums.iter_mut().find(|(known, ..)| *known == call) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + seconds * 1000.0, *count + 1),
            None => sums.push((call, seconds * 1000.0, 1)),
        }
    }
    sums.sort_by(|(_, a, _), (_, b, _)| b.total_cmp(a));
    Ok(sums)
}

/// `bpf(BPF_MAP_CREATE, {..}, 72) = 5 <0.000031>`.
fn timed_call(line: &str) -> Option<(String, f64)> {
    let (name, arguments) = line.split_once('(')?;
    let seconds = line.rsplit_once('<')?.1.trim_end_matches('>').parse().ok()?;
    let command = if name == "bpf" { arguments.split(',').next()? } else { name };
    Some((command.to_owned(), seconds))
}

pub fn signal(pid: u32, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(pid).unwrap_or_default();
    // SAFETY: takes numbers only. The process has not been waited for, so the id is still its own.
    unsafe { libc::kill(pid, signal) };
}

pub fn text(path: &Path) -> Result<&str, Error> {
    Ok(path.to_str().ok_or("a path that is not UTF-8")?)
}
