use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::net::SocketAddr;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::client::{run, sibling, start_error, wait_child};
use crate::netns::Confinement;
use crate::{Backend, Cgroup, Deadline, HarnessError, Machine, Netns, Outcome, Result, wait_for};

/// What a daemon without `NOTIFY_SOCKET` support says on standard error when it is ready.
const READY: &str = "enforcer is ready";

/// Loading the programs takes the verifier a while where the processor is emulated.
const START: Duration = Duration::from_secs(120);
const STOP: Duration = Duration::from_secs(30);

/// A running daemon. Dropped, it is told to end and what it left in the kernel is detached.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    binary: PathBuf,
    instance: String,
    directory: TempDir,
    events: Mutex<EventFile>,
    /// It has been waited for.
    ended: bool,
}

/// What a [`Daemon`] is started with.
#[derive(Debug)]
pub struct DaemonBuilder<'guard> {
    backend: Backend,
    cgroup: Option<&'guard Cgroup>,
    netns: Option<&'guard Netns>,
    instance: String,
    binary: Option<PathBuf>,
    policies: Vec<(String, String)>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

/// A daemon that did not come up, which is what some tests are about.
#[derive(Clone, Debug)]
pub struct Failure {
    /// How it ended.
    pub status: ExitStatus,
    /// What it complained about.
    pub stderr: String,
}

impl<'guard> DaemonBuilder<'guard> {
    /// Puts a policy file into the daemon's policy directory: `NAME.yaml`.
    #[must_use]
    pub fn policy(mut self, name: &str, text: &str) -> Self {
        self.policies.push((name.to_owned(), text.to_owned()));
        self
    }

    /// Enforces in this cgroup only; see [`Machine::scope`].
    #[must_use]
    pub fn cgroup(mut self, cgroup: Option<&'guard Cgroup>) -> Self {
        self.cgroup = cgroup;
        self
    }

    /// Runs in a network namespace: what it asks resolvers itself, it asks there.
    #[must_use]
    pub fn netns(mut self, netns: &'guard Netns) -> Self {
        self.netns = Some(netns);
        self
    }

    /// Runs under this instance name, such as that of a daemon that was killed.
    #[must_use]
    pub fn instance(mut self, instance: &str) -> Self {
        instance.clone_into(&mut self.instance);
        self
    }

    /// Runs another program than the workspace's `enforcer`.
    #[must_use]
    pub fn binary(mut self, path: impl Into<PathBuf>) -> Self {
        self.binary = Some(path.into());
        self
    }

    /// Another argument of `enforcer run`.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Another environment variable.
    #[must_use]
    pub fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Starts it. Returns when it says that it is ready, by `READY=1` to `NOTIFY_SOCKET`
    /// or `enforcer is ready` on standard error.
    ///
    /// # Errors
    ///
    /// When it ends or does not get ready within two minutes.
    pub fn start(self) -> Result<Daemon> {
        let (mut daemon, notifications) = self.spawn()?;
        daemon.wait_until_ready(&notifications)?;
        Ok(daemon)
    }

    /// Starts it, expecting that it ends by itself with an error.
    ///
    /// # Errors
    ///
    /// When it goes on running.
    pub fn start_failing(self) -> Result<Failure> {
        let (mut daemon, _notifications) = self.spawn()?;
        let status = daemon.wait(START)?;
        Ok(Failure { status, stderr: daemon.stderr()? })
    }

    fn spawn(self) -> Result<(Daemon, UnixDatagram)> {
        let Self { backend, cgroup, netns, instance, binary, policies, arguments, environment } = self;
        let binary = match binary {
            Some(path) => path,
            None => enforcer()?,
        };
        let directory = tempfile::tempdir().map_err(HarnessError::system("create a temporary directory"))?;
        let policy = directory.path().join("policy");
        fs::create_dir(&policy).map_err(HarnessError::file("create", &policy))?;
        for (name, text) in &policies {
            write_policy(directory.path(), name, text)?;
        }
        let events = directory.path().join("events");
        let file = File::create_new(&events).map_err(HarnessError::file("create", &events))?;
        drop(file);
        let notify = directory.path().join("notify");
        let notifications = UnixDatagram::bind(&notify).map_err(HarnessError::file("bind", &notify))?;
        notifications.set_nonblocking(true).map_err(HarnessError::system("make a socket non-blocking"))?;
        let stderr = directory.path().join("stderr");
        let stderr = File::create(&stderr).map_err(HarnessError::file("create", stderr))?;

        let mut command = Command::new(&binary);
        command.arg("run").arg("--policy").arg(&policy).args(["--backend", backend.as_str()]);
        command.args(["--instance", &instance]);
        command.arg("--events").arg(format!("json={}", events.display()));
        if let Some(cgroup) = cgroup {
            command.arg("--cgroup").arg(cgroup.path());
        }
        command.args(arguments).envs(environment).env("NOTIFY_SOCKET", &notify);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Confinement { netns, dies_with_parent: true, ..Confinement::default() }.apply(&mut command)?;
        let child = command.spawn().map_err(start_error(&command))?;
        let events =
            Mutex::new(EventFile { path: events, read: 0, partial: String::new(), events: Vec::new() });
        Ok((Daemon { child, binary, instance, directory, events, ended: false }, notifications))
    }
}

impl Daemon {
    /// A daemon of this backend, with an instance name of its own and no policy yet.
    pub fn builder<'guard>(backend: Backend) -> DaemonBuilder<'guard> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        DaemonBuilder {
            backend,
            cgroup: None,
            netns: None,
            instance: format!("test-{}-{count}", process::id()),
            binary: None,
            policies: Vec::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its instance name.
    pub fn instance(&self) -> &str {
        &self.instance
    }

    /// Its policy directory.
    pub fn policy_directory(&self) -> PathBuf {
        self.directory.path().join("policy")
    }

    /// Replaces a policy file at once, or adds one. The daemon is left to notice.
    ///
    /// # Errors
    ///
    /// A file that cannot be written.
    pub fn write_policy(&self, name: &str, text: &str) -> Result<()> {
        write_policy(self.directory.path(), name, text)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: libc::c_int) {
        if self.ended {
            return;
        }
        let pid = libc::pid_t::try_from(self.child.id()).unwrap_or_default();
        // SAFETY: takes numbers only. The child has not been waited for, so the id is still its own.
        unsafe { libc::kill(pid, signal) };
    }

    /// The events so far.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has a line that is not JSON.
    pub fn events(&self) -> Result<Vec<Value>> {
        let mut file = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        file.read_on()?;
        Ok(file.events.clone())
    }

    /// The first event that `wanted` is true of, from the start of the daemon.
    ///
    /// # Errors
    ///
    /// When there is none within `timeout`; the error shows the events that there are.
    pub fn wait_for_event(&self, timeout: Duration, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let found = wait_for(timeout, || match self.events() {
            Ok(events) => events.into_iter().find(|event| wanted(event)).map(Ok),
            Err(error) => Some(Err(error)),
        });
        found.unwrap_or_else(|| {
            let events: Vec<String> = self.events()?.iter().map(Value::to_string).collect();
            Err(HarnessError::Timeout {
                what: "the event".to_owned(),
                timeout,
                detail: format!(
                    "{} events: {}; standard error: {}",
                    events.len(),
                    events.join(" "),
                    self.stderr()?
                ),
            })
        })
    }

    /// How many events there are, for [`Daemon::wait_for_event_since`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read or has a line that is not JSON.
    pub fn mark(&self) -> Result<usize> {
        Ok(self.events()?.len())
    }

    /// The first event since a mark that `wanted` is true of.
    ///
    /// # Errors
    ///
    /// When there is none within `timeout`; the error shows the events since the mark.
    pub fn wait_for_event_since(
        &self,
        mark: usize,
        timeout: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let found = wait_for(timeout, || match self.events() {
            Ok(events) => events.into_iter().skip(mark).find(|event| wanted(event)).map(Ok),
            Err(error) => Some(Err(error)),
        });
        found.unwrap_or_else(|| {
            let events: Vec<String> = self.events()?.iter().skip(mark).map(Value::to_string).collect();
            let last = events.iter().rev().take(5).cloned().collect::<Vec<_>>().join("\n");
            let detail = format!("{} events, the last first: {last}", events.len());
            Err(HarnessError::Timeout { what: "the event".to_owned(), timeout, detail })
        })
    }

    /// The first event since a mark about a connect to an address.
    ///
    /// # Errors
    ///
    /// When there is none within 20 seconds.
    pub fn connect_event(&self, mark: usize, address: SocketAddr) -> Result<Value> {
        // Events have addresses as people know them: not mapped.
        let ip = address.ip().to_canonical().to_string();
        self.wait_for_event_since(mark, Duration::from_secs(20), |event| {
            event["event"] == "NetTCPConnect" && event["dstIP"] == *ip && event["dstPort"] == address.port()
        })
    }

    /// What `enforcer status --format json` says.
    ///
    /// # Errors
    ///
    /// When it says nothing that is JSON.
    pub fn status(&self) -> Result<Value> {
        let outcome = self.ask(&["status", "--format", "json"])?;
        serde_json::from_str(&outcome.stdout)
            .map_err(|_| HarnessError::Unexpected { what: "the status", text: format!("{outcome:?}") })
    }

    /// The version of the policy in force, by way of the control socket itself: a program to ask by takes longer than a
    /// reload does.
    ///
    /// # Errors
    ///
    /// When it does not answer.
    pub fn policy_version(&self) -> Result<u64> {
        let path = format!("/run/enforcer/{}.sock", self.instance);
        let mut answer = String::new();
        UnixStream::connect(&path)
            .and_then(|mut socket| {
                socket.set_read_timeout(Some(START))?;
                socket.write_all(b"\"status\"\n")?;
                socket.read_to_string(&mut answer)
            })
            .map_err(HarnessError::file("ask", path))?;
        let status = serde_json::from_str::<Value>(&answer).ok();
        let version = status.and_then(|status| status.get("policyVersion")?.as_u64());
        version.ok_or(HarnessError::Unexpected { what: "the status", text: answer })
    }

    /// One of the counters of the status; 0 if it has none of the name.
    ///
    /// # Errors
    ///
    /// When the status cannot be had.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let status = self.status()?;
        let counter = status.get("counters").and_then(|counters| counters.get(name));
        Ok(counter.and_then(Value::as_u64).unwrap_or(0))
    }

    /// What it has written to standard error.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn stderr(&self) -> Result<String> {
        let path = self.directory.path().join("stderr");
        fs::read_to_string(&path).map_err(HarnessError::file("read", path))
    }

    /// Waits until standard error has a text.
    ///
    /// # Errors
    ///
    /// When it has not within `timeout`.
    pub fn wait_for_stderr(&self, timeout: Duration, text: &str) -> Result<()> {
        wait_for(timeout, || self.stderr().is_ok_and(|stderr| stderr.contains(text)).then_some(()))
            .ok_or_else(|| HarnessError::Timeout {
                what: format!("`{text}` on standard error"),
                timeout,
                detail: self.stderr().unwrap_or_default(),
            })
    }

    /// Runs the same program with other arguments, and `--instance` of this daemon at their end: `status`, `names`.
    ///
    /// # Errors
    ///
    /// When it cannot be started or does not end.
    pub fn ask(&self, arguments: &[&str]) -> Result<Outcome> {
        let mut command = Command::new(&self.binary);
        command.args(arguments).args(["--instance", &self.instance]);
        run(command, START)
    }

    /// Tells it to end, with SIGTERM, and waits.
    ///
    /// # Errors
    ///
    /// When it does not end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGTERM);
        self.wait(STOP)
    }

    /// Kills it without a warning, with SIGKILL. What it has in the kernel stays until this guard is dropped.
    ///
    /// # Errors
    ///
    /// When the kernel does not let it go.
    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.signal(libc::SIGKILL);
        self.wait(STOP)
    }

    /// Waits until it has ended.
    ///
    /// # Errors
    ///
    /// When it does not.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let status = wait_child(&mut self.child, timeout)?;
        self.ended = true;
        Ok(status)
    }

    fn wait_until_ready(&mut self, notifications: &UnixDatagram) -> Result<()> {
        let deadline = Deadline::after(START);
        loop {
            let mut message = [0; 1024];
            let said = notifications.recv(&mut message).ok().and_then(|length| message.get(..length));
            if said.is_some_and(|said| said.split(|&byte| byte == b'\n').any(|line| line == b"READY=1")) {
                return Ok(());
            }
            if self.stderr()?.contains(READY) {
                return Ok(());
            }
            let ended = self.child.try_wait().map_err(HarnessError::system("wait for the daemon"))?;
            if let Some(status) = ended {
                self.ended = true;
                let what = self.binary.display().to_string();
                return Err(HarnessError::Ended { what, status, stderr: self.stderr()? });
            }
            if deadline.is_over() {
                let what = format!("READY=1 of `{}`", self.binary.display());
                return Err(HarnessError::Timeout { what, timeout: START, detail: self.stderr()? });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !self.ended && self.stop().is_err() && self.kill().is_err() {
            eprintln!("the daemon {} does not end", self.child.id());
        }
        // A daemon may leave its programs attached on purpose. No test may.
        match self.ask(&["detach"]) {
            Ok(outcome) if outcome.success() => {}
            Ok(outcome) => eprintln!("`enforcer detach` failed: {}", outcome.stderr.trim()),
            Err(error) => eprintln!("{error}"),
        }
        if std::thread::panicking()
            && let Ok(stderr) = self.stderr()
        {
            eprintln!("--- standard error of the daemon {}\n{stderr}---", self.instance);
        }
    }
}

/// The events as they are appended, one JSON object a line.
#[derive(Debug)]
struct EventFile {
    path: PathBuf,
    read: u64,
    /// The beginning of a line whose end is not written yet.
    partial: String,
    events: Vec<Value>,
}

impl EventFile {
    fn read_on(&mut self) -> Result<()> {
        let mut file = File::open(&self.path).map_err(HarnessError::file("open", &self.path))?;
        file.seek(SeekFrom::Start(self.read)).map_err(HarnessError::file("read", &self.path))?;
        let length =
            file.read_to_string(&mut self.partial).map_err(HarnessError::file("read", &self.path))?;
        self.read += length as u64;
        while let Some((line, rest)) = self.partial.split_once('\n') {
            let event = serde_json::from_str(line);
            let event =
                event.map_err(|_| HarnessError::Unexpected { what: "an event", text: line.to_owned() })?;
            self.events.push(event);
            self.partial = rest.to_owned();
        }
        Ok(())
    }
}

/// The program under test: `ENFORCER_BIN`, else the one beside the test executable.
///
/// # Errors
///
/// When there is none.
pub fn enforcer() -> Result<PathBuf> {
    match env::var_os("ENFORCER_BIN") {
        Some(path) => Ok(path.into()),
        None => sibling("enforcer"),
    }
}

/// Writes beside and renames: the daemon never sees half a file.
fn write_policy(directory: &Path, name: &str, text: &str) -> Result<()> {
    let beside = directory.join(format!("{name}.new"));
    fs::write(&beside, text).map_err(HarnessError::file("write", &beside))?;
    let path = directory.join("policy").join(format!("{name}.yaml"));
    fs::rename(&beside, &path).map_err(HarnessError::file("replace", path))
}

impl Machine {
    /// A daemon of this backend that enforces where it may on this machine.
    pub fn daemon<'guard>(&self, backend: Backend, own: &'guard Cgroup) -> DaemonBuilder<'guard> {
        Daemon::builder(backend).cgroup(self.scope(own))
    }
}
