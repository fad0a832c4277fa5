use std::env;
use std::fmt;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::netns::Confinement;
use crate::{Cgroup, Deadline, HarnessError, Netns, Result};

/// Longer than any client here should take, guests being emulated.
const PATIENCE: Duration = Duration::from_secs(60);

/// Nobody listens there: a connection that gets out is refused by the other side, and costs no more than one that does
/// not.
const RACE_PORT: &str = "4443";

/// Whoever opens connections: a place (network namespace, cgroup, user) that programs are started in.
#[derive(Clone, Copy, Debug, Default)]
pub struct Client<'guard> {
    netns: Option<&'guard Netns>,
    cgroup: Option<&'guard Path>,
    uid: Option<u32>,
}

impl<'guard> Client<'guard> {
    /// In a network namespace.
    pub fn new(netns: &'guard Netns) -> Self {
        Self { netns: Some(netns), ..Self::default() }
    }

    /// In the initial network namespace, for loopback only: that one is the machine's.
    pub fn in_initial_netns() -> Self {
        Self::default()
    }

    /// In a cgroup.
    #[must_use]
    pub fn cgroup(self, cgroup: &'guard Cgroup) -> Self {
        self.cgroup_at(cgroup.path())
    }

    /// In the cgroup of this directory.
    #[must_use]
    pub fn cgroup_at(mut self, directory: &'guard Path) -> Self {
        self.cgroup = Some(directory);
        self
    }

    /// As a user, who need not exist.
    #[must_use]
    pub fn uid(mut self, uid: u32) -> Self {
        self.uid = Some(uid);
        self
    }

    /// Runs a program to its end.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not end within a minute.
    pub fn run(&self, program: &str, arguments: &[&str]) -> Result<Outcome> {
        let mut command = Command::new(program);
        command.args(arguments);
        self.confine(&mut command, self.uid)?;
        run(command, PATIENCE)
    }

    /// Runs a program of the python3 standard library's kind.
    ///
    /// # Errors
    ///
    /// When it cannot be started, or does not end within a minute.
    pub fn python(&self, source: &str) -> Result<Outcome> {
        // By its path: a version manager's stand-in found first is not in the guest.
        self.run("/usr/bin/python3", &["-c", source])
    }

    /// Resolves `host` as programs do, with getaddrinfo, and connects by TCP to its addresses in turn until one
    /// accepts.
    ///
    /// # Errors
    ///
    /// When the client cannot be started or does not end; not when the connection is refused.
    pub fn connect(&self, host: &str, port: u16) -> Result<Vec<Attempt>> {
        self.peer(&["connect", host, &port.to_string()])
    }

    /// Does what [`Client::connect`] does `count` times within one process, with `{}` in `host` replaced by the number
    /// of the turn: names that nobody has looked up before.
    ///
    /// # Errors
    ///
    /// When the client cannot be started or does not end; not when a connection is refused.
    pub fn connect_each(&self, host: &str, port: u16, count: u32) -> Result<Vec<Attempt>> {
        self.attempts(self.each_command(host, port, count)?, PATIENCE * 10)
    }

    /// Does what [`Client::connect_each`] does with a C library that asks by TCP alone.
    ///
    /// # Errors
    ///
    /// When the client cannot be started or does not end; not when a connection is refused.
    pub fn connect_each_over_tcp(&self, host: &str, port: u16, count: u32) -> Result<Vec<Attempt>> {
        let mut command = self.each_command(host, port, count)?;
        // What `options` says in resolv.conf, for one program.
        command.env("RES_OPTIONS", "use-vc");
        self.attempts(command, PATIENCE * 10)
    }

    /// Resolves `host` and sends one datagram to its first address, by an unconnected socket, then waits for the echo.
    ///
    /// # Errors
    ///
    /// When the client cannot be started or does not end; not when the datagram is refused.
    pub fn send(&self, host: &str, port: u16) -> Result<Vec<Attempt>> {
        self.peer(&["send", host, &port.to_string()])
    }

    /// Does what [`Client::send`] does by a connected socket.
    ///
    /// # Errors
    ///
    /// When the client cannot be started or does not end; not when the datagram is refused.
    pub fn send_connected(&self, host: &str, port: u16) -> Result<Vec<Attempt>> {
        self.peer(&["send", host, &port.to_string(), "--connected"])
    }

    /// Connects and stays: every [`Running::say`] is sent and its echo awaited.
    ///
    /// # Errors
    ///
    /// When the client cannot be started.
    pub fn hold(&self, host: &str, port: u16) -> Result<Running> {
        self.spawn_peer(&["hold", host, &port.to_string()])
    }

    /// Looks up and connects as it is told, line by line: `ask ADDRESS NAME` has the resolver say the name's address,
    /// `connect ADDRESS PORT` connects. Each line gives one [`Attempt`].
    ///
    /// # Errors
    ///
    /// When the client cannot be started.
    pub fn visit(&self, resolver: SocketAddr) -> Result<Running> {
        self.spawn_peer(&["visit", &resolver.ip().to_string(), &resolver.port().to_string()])
    }

    /// Races for names of one IPv4 address each, as [`race`](crate::race()) does it. It says what became of them once
    /// [`Running::attempts`] asks.
    ///
    /// # Errors
    ///
    /// When the client cannot be started.
    pub fn race(&self, race: &Race<'_>) -> Result<Running> {
        let Race { resolver, name, count, pause, timeout, processor } = race;
        let seconds = |duration: &Duration| duration.as_secs_f64().to_string();
        let (count, processor) = (count.to_string(), processor.to_string());
        let (pause, timeout) = (seconds(pause), seconds(timeout));
        let resolver = resolver.to_string();
        let mut arguments = vec!["race", &resolver, RACE_PORT, "--name", name, "--count", &count];
        arguments.extend(["--pause", &pause, "--timeout", &timeout, "--processor", &processor]);
        self.spawn_peer(&arguments)
    }

    /// Starts a program that is talked to line by line.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn(&self, program: impl AsRef<Path>, arguments: &[&str]) -> Result<Running> {
        let mut command = Command::new(program.as_ref());
        command.args(arguments);
        self.confine(&mut command, self.uid)?;
        Running::start(command)
    }

    /// Starts the harness's own `peer` with other arguments than the methods above give it.
    ///
    /// # Errors
    ///
    /// When it cannot be started.
    pub fn spawn_peer(&self, arguments: &[&str]) -> Result<Running> {
        let mut command = self.peer_command(arguments)?;
        self.confine(&mut command, None)?;
        Running::start(command)
    }

    fn peer(&self, arguments: &[&str]) -> Result<Vec<Attempt>> {
        self.attempts(self.peer_command(arguments)?, PATIENCE)
    }

    fn each_command(&self, host: &str, port: u16, count: u32) -> Result<Command> {
        self.peer_command(&["connect", host, &port.to_string(), "--count", &count.to_string()])
    }

    fn attempts(&self, mut command: Command, timeout: Duration) -> Result<Vec<Attempt>> {
        self.confine(&mut command, None)?;
        let outcome = run(command, timeout)?;
        if outcome.stdout.is_empty() {
            return Err(HarnessError::Unexpected { what: "the client", text: outcome.stderr });
        }
        outcome.stdout.lines().map(Attempt::parse).collect()
    }

    /// `peer` becomes the user itself: its executable may lie where only root can reach it.
    fn peer_command(&self, arguments: &[&str]) -> Result<Command> {
        let mut command = Command::new(sibling("peer")?);
        command.args(arguments);
        if let Some(uid) = self.uid {
            command.args(["--uid", &uid.to_string()]);
        }
        Ok(command)
    }

    fn confine(&self, command: &mut Command, uid: Option<u32>) -> Result<()> {
        let &Self { netns, cgroup, uid: _ } = self;
        Confinement { cgroup, netns, uid, dies_with_parent: true }.apply(command)
    }
}

/// What [`Client::race`] shall do.
#[derive(Clone, Copy, Debug)]
pub struct Race<'test> {
    /// Who is asked, on port 53.
    pub resolver: IpAddr,
    /// The names, `{}` being 0, 1, ..
    pub name: &'test str,
    /// How many of them at least: it goes on until it is asked what became of them.
    pub count: u32,
    /// From a connection to the next query.
    pub pause: Duration,
    /// How long an answer may take.
    pub timeout: Duration,
    /// Where it runs.
    pub processor: usize,
}

/// How a program ended and what it said.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Outcome {
    /// Whether it ended with status 0.
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

/// One address that the client tried, or a name that it could not resolve.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attempt {
    /// The kernel refused, or the other side did: the name of the error number.
    Error {
        /// `EPERM`, `ECONNREFUSED`, ..
        errno: String,
        /// Where to.
        address: SocketAddr,
    },
    /// A datagram left, and nothing came back.
    NoReply(SocketAddr),
    /// It worked.
    Ok(SocketAddr),
    /// The lookup failed.
    Unresolved(String),
}

impl Attempt {
    /// Whether it worked.
    pub fn is_ok(&self) -> bool {
        matches!(self, Self::Ok(_))
    }

    /// The name of the error number, if there is one.
    pub fn errno(&self) -> Option<&str> {
        if let Self::Error { errno, .. } = self { Some(errno) } else { None }
    }

    /// The address, if the name was resolved.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Error { address, .. } | Self::NoReply(address) | Self::Ok(address) => Some(*address),
            Self::Unresolved(_) => None,
        }
    }

    /// Reads a line that `peer` printed.
    ///
    /// # Errors
    ///
    /// When it is not the line of an attempt.
    pub fn parse(line: &str) -> Result<Self> {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let attempt = match *words.as_slice() {
            ["ok", address] => address.parse().ok().map(Self::Ok),
            ["noreply", address] => address.parse().ok().map(Self::NoReply),
            ["error", errno, address] => {
                address.parse().ok().map(|address| Self::Error { errno: errno.to_owned(), address })
            }
            ["unresolved", ref rest @ ..] => Some(Self::Unresolved(rest.join(" "))),
            _ => None,
        };
        attempt.ok_or_else(|| HarnessError::Unexpected { what: "the client", text: line.to_owned() })
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Error { errno, address } => write!(formatter, "error {errno} {address}"),
            Self::NoReply(address) => write!(formatter, "noreply {address}"),
            Self::Ok(address) => write!(formatter, "ok {address}"),
            Self::Unresolved(text) => write!(formatter, "unresolved {text}"),
        }
    }
}

/// A program that goes on running; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    input: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .map_err(start_error(&command))?;
        let (sender, lines) = mpsc::channel();
        if let Some(output) = child.stdout.take() {
            // Ends with the program's output.
            thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(std::io::Result::ok) {
                    if sender.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        let input = child.stdin.take();
        Ok(Self { child, input, lines })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line of its output.
    ///
    /// # Errors
    ///
    /// When none comes within `timeout`, or the program has ended.
    pub fn line(&self, timeout: Duration) -> Result<String> {
        self.lines.recv_timeout(timeout).map_err(|error| HarnessError::Timeout {
            what: "a line of output".to_owned(),
            timeout,
            detail: error.to_string(),
        })
    }

    /// The next line of its output, as an attempt.
    ///
    /// # Errors
    ///
    /// When none comes within `timeout`, or it is not the line of an attempt.
    pub fn attempt(&self, timeout: Duration) -> Result<Attempt> {
        Attempt::parse(&self.line(timeout)?)
    }

    /// Closes its input. What it says from then on until its end are attempts.
    ///
    /// # Errors
    ///
    /// When it does not end within `timeout`, or says something else.
    pub fn attempts(mut self, timeout: Duration) -> Result<Vec<Attempt>> {
        self.input = None;
        let deadline = Deadline::after(timeout);
        let mut attempts = Vec::new();
        loop {
            match self.lines.recv_timeout(deadline.remaining()) {
                Ok(line) => attempts.push(Attempt::parse(&line)?),
                Err(RecvTimeoutError::Disconnected) => return Ok(attempts),
                Err(RecvTimeoutError::Timeout) => {
                    let (what, detail) = ("the end of the program".to_owned(), "it goes on".to_owned());
                    return Err(HarnessError::Timeout { what, timeout, detail });
                }
            }
        }
    }

    /// Writes a line to its input.
    ///
    /// # Errors
    ///
    /// When it does not read any more.
    pub fn say(&mut self, line: &str) -> Result<()> {
        let Some(input) = &mut self.input else { return Ok(()) };
        writeln!(input, "{line}").map_err(HarnessError::system("write to the program's input"))
    }

    /// Closes its input and waits for its end.
    ///
    /// # Errors
    ///
    /// When it does not end within `timeout`.
    pub fn finish(mut self, timeout: Duration) -> Result<ExitStatus> {
        self.input = None;
        wait_child(&mut self.child, timeout)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command to its end and kills it if there is none.
pub(crate) fn run(mut command: Command, timeout: Duration) -> Result<Outcome> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(start_error(&command))?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    let waited = wait_child(&mut child, timeout);
    if waited.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    // The pipes end with the process, and what it started, so the threads do.
    let status = waited?;
    Ok(Outcome {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

fn drain(pipe: Option<impl std::io::Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.by_ref().read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

pub(crate) fn wait_child(child: &mut Child, timeout: Duration) -> Result<ExitStatus> {
    let ended = crate::wait_for(timeout, || child.try_wait().transpose());
    ended.transpose().map_err(HarnessError::system("wait for the program"))?.ok_or_else(|| {
        HarnessError::Timeout {
            what: format!("the end of process {}", child.id()),
            timeout,
            detail: "it is still running".to_owned(),
        }
    })
}

pub(crate) fn start_error(command: &Command) -> impl FnOnce(std::io::Error) -> HarnessError + use<> {
    let program = command.get_program().to_string_lossy().into_owned();
    move |source| HarnessError::Start { program, source }
}

/// Another executable of the workspace: the test executable is in `target/PROFILE/deps`, they are in `target/PROFILE`.
///
/// # Errors
///
/// When it is not there.
pub fn sibling(name: &str) -> Result<PathBuf> {
    let here = env::current_exe().map_err(HarnessError::system("find the own executable"))?;
    let found =
        here.ancestors().skip(1).take(2).map(|directory| directory.join(name)).find(|path| path.exists());
    found.ok_or_else(|| HarnessError::Missing { what: name.to_owned(), hint: "cargo build --workspace" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_survive_printing() {
        let address = "203.0.113.7:443".parse().unwrap();
        for attempt in [
            Attempt::Error { errno: "EPERM".to_owned(), address },
            Attempt::NoReply("[2001:db8::7]:53".parse().unwrap()),
            Attempt::Ok(address),
            Attempt::Unresolved("www.evil.example: Name or service not known".to_owned()),
        ] {
            assert_eq!(Attempt::parse(&attempt.to_string()).unwrap(), attempt);
        }
        assert!(Attempt::parse("error EPERM").is_err());
    }
}
