//! `exec`: one command, confined in a cgroup of its own.

use crate::{
    cgroups::{self, CgroupError, OwnCgroup},
    load::Loaded,
    name::Name,
    process::{User, UserError},
    report::{Connect, Event, Sink},
    session::{InputError, Inputs, Options, Session, SessionError},
};
use policy_schema::Verdict;
use rustix::thread::{self, CapabilitySet};
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{File, OpenOptions},
    io::{self, Write as _},
    os::unix::process::ExitStatusExt as _,
    process::ExitStatus,
    time::Duration,
};
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
};

/// How long events may take that the command caused just before it ended.
const SETTLE: Duration = Duration::from_millis(20);

/// Why a command cannot be run confined.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// The cgroup.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// What keeps the session going.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The command does not exist, or is no program.
    #[error("cannot run `{}`: {source}", command.to_string_lossy())]
    Start {
        /// The command.
        command: OsString,
        /// The system's error.
        source: io::Error,
    },
    /// The user.
    #[error(transparent)]
    User(#[from] UserError),
    /// Waiting for something.
    #[error("cannot wait for the command: {0}")]
    Wait(#[from] io::Error),
}

/// What is run, as whom.
#[derive(Clone, Debug)]
pub struct Confined {
    /// The command and its arguments.
    pub command: Vec<OsString>,
    /// `None` = whoever runs us.
    pub user: Option<User>,
}

/// What the command did.
#[derive(Debug, Default)]
struct Seen {
    connects: u64,
    denied: u64,
    /// Destinations told already.
    told: BTreeSet<String>,
}

/// Runs the command; returns its exit status, 128 + n if signal n ended it.
///
/// # Errors
/// [`ExecError`]; the command did not run.
pub async fn run(
    mut options: Options,
    loaded: Loaded,
    confined: Confined,
    sinks: Vec<Sink>,
) -> Result<i32, ExecError> {
    let parent = match &options.scope {
        Some(scope) => scope.clone(),
        None => cgroups::mount_point()?.join(cgroups::own()?.trim_start_matches('/')),
    };
    let cage = cgroups::create_child(&parent, &format!("enforcer-exec-{}", std::process::id()))?;
    options.scope = Some(cage.directory().to_path_buf());
    let mut session = Session::start(options, loaded, sinks)?;
    let mut seen = Seen::default();
    let status = confine(&mut session, &confined, &cage, &mut seen).await?;
    tokio::time::sleep(SETTLE).await;
    session.read(|event| tell(event, &mut seen))?;
    summarise(&session, &seen);
    drop(session);
    // Whatever the command left running ends with it.
    cage.kill_and_remove()?;
    Ok(code(status))
}

async fn confine(
    session: &mut Session,
    confined: &Confined,
    cage: &OwnCgroup,
    seen: &mut Seen,
) -> Result<ExitStatus, ExecError> {
    let mut inputs = Inputs::open(session)?;
    // The terminal sends its interrupt to the command too, which decides what it means.
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut child = spawn(confined, cage, session.spares_net_raw())?;
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            input = inputs.next() => inputs.serve(input?, session, |event| tell(event, seen)),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {
                if let Some(pid) = child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32)) {
                    let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
                }
            }
        }
    }
}

fn spawn(confined: &Confined, cage: &OwnCgroup, net_raw: bool) -> Result<Child, ExecError> {
    let Some((program, arguments)) = confined.command.split_first() else {
        let source = io::Error::from(io::ErrorKind::InvalidInput);
        return Err(ExecError::Start { command: OsString::new(), source });
    };
    let door = OpenOptions::new().write(true).open(cage.directory().join("cgroup.procs"))?;
    let mut command = Command::new(program);
    command.args(arguments);
    let user = confined.user.clone();
    if let Some(user) = &user {
        command
            .env("HOME", &user.home)
            .env("USER", &user.name)
            .env("LOGNAME", &user.name)
            .env("SHELL", &user.shell);
    }
    enter(&mut command, door, user, net_raw);
    command.spawn().map_err(|source| ExecError::Start { command: program.clone(), source })
}

/// Has the child enter the cgroup, and only then become the user.
#[expect(unsafe_code, reason = "code between fork and exec")]
fn enter(command: &mut Command, door: File, user: Option<User>, net_raw: bool) {
    let become_user = move || -> io::Result<()> {
        (&door).write_all(b"0")?;
        if !net_raw {
            drop_net_raw()?;
        }
        let Some(User { uid, gid, groups, .. }) = &user else { return Ok(()) };
        // SAFETY: system calls on the only thread of the child, with a list that outlives them.
        let failed = unsafe {
            libc::setgroups(groups.len(), groups.as_ptr()) < 0
                || libc::setgid(*gid) < 0
                || libc::setuid(*uid) < 0
        };
        if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
    };
    // SAFETY: the closure only makes system calls: it allocates nothing and takes no lock.
    unsafe { command.pre_exec(become_user) };
}

/// Takes CAP_NET_RAW from this process and from whatever it runs, also if that is set-user-id (capabilities(7)).
fn drop_net_raw() -> io::Result<()> {
    let mut sets = thread::capabilities(None)?;
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(CapabilitySet::NET_RAW);
    }
    thread::remove_capability_from_bounding_set(CapabilitySet::NET_RAW)?;
    Ok(thread::set_capabilities(None, sets)?)
}

/// One line for each denied destination.
fn tell(event: &Event, seen: &mut Seen) {
    let (connect, question) = match event {
        Event::NetPacketDenied(connect) | Event::NetTcpConnect(connect) | Event::NetUdpSend(connect) => {
            (connect, None)
        }
        Event::DnsQueryRefused { question, attempt } => (attempt, question.as_ref()),
        _ => return,
    };
    seen.connects += u64::from(matches!(event, Event::NetTcpConnect(_)));
    if connect.verdict != Verdict::Deny {
        return;
    }
    seen.denied += 1;
    let line = denial(connect, question);
    if seen.told.insert(line.clone()) {
        say(&line);
    }
}

/// One write, so that the line stays whole beside what the command writes there.
fn say(line: &str) {
    drop(io::stderr().write_all(format!("enforcer: {line}\n").as_bytes()));
}

fn denial(connect: &Connect, question: Option<&Name>) -> String {
    let word = if connect.blocked { "denied" } else { "would deny" };
    let address = std::net::SocketAddr::new(connect.address, connect.port);
    let names: Vec<String> = connect.results.iter().map(ToString::to_string).collect();
    let rule = if connect.blocked { &connect.effective_rule } else { &connect.rule };
    let by = match (rule.policy(), rule.rule()) {
        (Some(policy), Some(rule)) => format!("rule `{rule}` of policy `{policy}`"),
        (_, Some(rule)) => format!("`{rule}`"),
        (_, None) => "the default".to_owned(),
    };
    let to = match question {
        Some(name) => format!("the lookup of {name} at {address}"),
        None if names.is_empty() => address.to_string(),
        None => format!("{} ({address})", names.join(", ")),
    };
    format!("{word} {to} by {by}")
}

fn summarise(session: &Session, seen: &Seen) {
    let Seen { connects, denied, told } = seen;
    let summary = session.summary();
    let mode = match session.status().word() {
        "AuditOnly" => "would be denied",
        _ => "denied",
    };
    say(&format!(
        "{connects} connects, {denied} {mode} ({} destinations); backend {}, status {}",
        told.len(),
        summary.backend,
        session.status(),
    ));
}

fn code(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(125)
}
