//! The command line.

use crate::{
    backend::Backend,
    canary,
    control::{self, ControlError, Listener, Request},
    daemon::{self, End},
    exec::{self, Confined},
    load::{self, Loaded},
    privileges,
    process::User,
    report::{Sink, SinkSpec},
    resolved,
    session::{Options, Session},
};
use clap::{Args, Parser, Subcommand, ValueEnum};
use policy_schema::Mode;
use std::{
    ffi::OsString, io::IsTerminal as _, net::SocketAddrV4, path::PathBuf, process::ExitCode, time::Duration,
};

mod doctor;
mod explain;
mod failure;
mod names;
mod replay;
mod schema;
mod show;
mod test;

pub use failure::Failure;

/// An egress firewall that speaks domain names.
///
/// Policies say in YAML which names, networks and ports may be reached, by whom. Start with `--mode audit`, read the
/// events, then enforce.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
Exit status: 0 success; 1 it did not work, or (test) a case failed, or (replay) a capture is damaged; 2 wrong usage, or a file with errors; 3 (status) \
less than the policy is enforced; 4 (run --confirm) not confirmed; 70 internal error. `exec` exits as its command does, or with 125 if it could not be confined, \
126 if it cannot be run, 127 if it was not found.")]
pub struct Cli {
    #[command(subcommand)]
    command: Subcommands,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    /// Enforce policies on this machine until stopped; the files are watched and reloaded.
    Run(Run),
    /// Run one command confined by policies, in a cgroup of its own.
    ///
    /// Prints a line on standard error for each denied destination, and a summary at the end.
    Exec(Exec),
    /// Check policy files: every error and warning, with line and column.
    Check(Check),
    /// Tell what becomes of a connection, by which rule, and why no other.
    Explain(Box<explain::Explain>),
    /// List the names that a running daemon knows, with their addresses and the rules that match.
    Names(names::Names),
    /// Judge the cases that are written beside policies.
    Test(test::Test),
    /// Tell what the DNS answers of a capture would have bound.
    Replay(replay::Arguments),
    /// Print the JSON Schema of policy or test files, for editors.
    Schema(schema::Schema),
    /// Tell what this machine lets enforcer do, and what to change.
    Doctor(doctor::Doctor),
    /// Tell how much is enforced.
    Status(Status),
    /// Keep the policy that `run --confirm` would take back.
    Confirm(Instance),
    /// Stop enforcing: let go of everything that is attached.
    Detach(Instance),
    /// Print a script that completes this command line in a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Connect to a destination that must be refused.
    #[command(hide = true)]
    Canary {
        #[arg(long)]
        cgroup: Option<PathBuf>,
        to: SocketAddrV4,
    },
}

#[derive(Args, Debug)]
struct Policies {
    /// Policy file, or directory of policy files (*.yaml, *.yml); repeatable.
    #[arg(long = "policy", value_name = "PATH", required = true)]
    policies: Vec<PathBuf>,
    /// Override the mode of all files: audit only logs, enforce refuses.
    #[arg(long)]
    mode: Option<ModeName>,
    /// Which hooks judge: auto takes lsm where it works, else cgroup.
    #[arg(long, default_value = "auto")]
    backend: BackendName,
    /// Judge only within this cgroup (v2): a path below the root, or a directory.
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Where events go: [FORMAT=]PATH with text or json, `-` is standard output; repeatable.
    #[arg(long, value_name = "[FORMAT=]PATH")]
    events: Vec<SinkSpec>,
    /// Do not bind addresses in the kernel: for the test that shows the race it closes.
    #[arg(long, hide = true)]
    no_binder: bool,
    /// Believe an answer by its server's address alone: for the tests that show what the other checks are good for.
    #[arg(long, hide = true)]
    trust_by_address: bool,
    /// Another socket of systemd-resolved's monitor, for tests.
    #[arg(long, hide = true, value_name = "PATH", default_value = resolved::SOCKET)]
    resolved: PathBuf,
    /// Another hosts file, for tests in network namespaces.
    #[arg(long, hide = true, value_name = "PATH", default_value = crate::hosts::PATH)]
    hosts: PathBuf,
}

#[derive(Args, Debug)]
struct Run {
    #[command(flatten)]
    policies: Policies,
    #[command(flatten)]
    instance: Instance,
    /// Go back to the former state unless `enforcer confirm` is called within this time, e.g. 60s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    confirm: Option<Duration>,
    /// Have a running systemd-resolved forget its cache at the start. Names that it has cached are looked up again, and
    /// with that seen. Other caches, in browsers or nscd, stay as they are.
    #[arg(long)]
    flush_caches: bool,
}

#[derive(Args, Debug)]
struct Exec {
    #[command(flatten)]
    policies: Policies,
    /// Run the command as this user; by default the one who called sudo.
    #[arg(long)]
    user: Option<String>,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

#[derive(Args, Debug)]
#[command(after_help = CHECK_HELP)]
struct Check {
    /// Policy files and directories.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How findings are printed.
    #[arg(long, default_value = "text")]
    format: FindingsFormat,
}

const CHECK_HELP: &str = "\
JSON is one object: `rules`, how many there are, null if there are errors; and `diagnostics`, a list of objects with \
`severity` (error, warning), `code`, `message`, `file`, `line`, `column`, and where they apply `field` and `hint`. Lines \
and columns count from 1, columns in characters. `github` prints annotations for the log of a GitHub workflow.

Exit status: 0 no errors; 2 errors, or wrong usage.";

#[derive(Args, Debug)]
struct Status {
    #[command(flatten)]
    instance: Instance,
    /// How the state is printed.
    #[arg(long, default_value = "text")]
    format: OutputFormat,
}

#[derive(Args, Debug)]
struct Instance {
    /// Name of the daemon, where several run.
    #[arg(long, default_value = "default", value_parser = instance_name)]
    instance: String,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeName {
    Audit,
    Enforce,
}

impl From<ModeName> for Mode {
    fn from(name: ModeName) -> Self {
        match name {
            ModeName::Audit => Self::Audit,
            ModeName::Enforce => Self::Enforce,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum BackendName {
    Auto,
    Lsm,
    Cgroup,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FindingsFormat {
    Github,
    Json,
    Text,
}

/// Does what the command line says.
///
/// # Errors
/// [`Failure`], with help and exit status.
pub fn main(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Subcommands::Run(run) => block_on(start_daemon(run))?,
        Subcommands::Exec(exec) => block_on(confine(exec))?,
        Subcommands::Check(Check { paths, format }) => Ok(show::check(load::check(&paths), format)),
        Subcommands::Explain(explain) => block_on(explain::main(*explain))?,
        Subcommands::Names(names) => block_on(names::main(names))?,
        Subcommands::Test(test) => test::main(test),
        Subcommands::Replay(arguments) => replay::main(arguments),
        Subcommands::Schema(schema) => {
            schema::main(schema);
            Ok(ExitCode::SUCCESS)
        }
        Subcommands::Doctor(doctor) => Ok(doctor::main(doctor)),
        Subcommands::Status(status) => block_on(show_status(status))?,
        Subcommands::Confirm(Instance { instance }) => block_on(confirm(instance))?,
        Subcommands::Detach(Instance { instance }) => block_on(detach(instance))?,
        Subcommands::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "enforcer", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Subcommands::Canary { cgroup, to } => Ok(exit(canary::main(cgroup.as_deref(), to))),
    }
}

async fn start_daemon(run: Run) -> Result<ExitCode, Failure> {
    let Run { policies, instance: Instance { instance }, confirm, flush_caches } = run;
    let (options, mut specs) = options(policies);
    if specs.is_empty() {
        specs.push("-".parse().map_err(Failure::from)?);
    }
    // A pipe without a reader holds this up: nothing is loaded yet.
    let sinks = sinks(&specs)?;
    // The policy next: its errors are the ones to mend, privileges or not.
    let loaded = load(&options)?;
    may_run()?;
    let listener = Listener::bind(&instance)?;
    let session = Session::start(options, loaded, sinks)?;
    for line in session.greeting() {
        eprintln!("enforcer: {line}");
    }
    if let Some(line) = resolved_cache(session.resolved_path(), flush_caches).await {
        eprintln!("enforcer: {line}");
    }
    if let Some(time) = confirm {
        let instance = if instance == "default" { String::new() } else { format!(" --instance {instance}") };
        eprintln!("enforcer: confirm with `enforcer confirm{instance}` within {} s", time.as_secs());
    }
    match daemon::run(session, listener, confirm, ready, |line| eprintln!("enforcer: {line}")).await? {
        End::Asked => Ok(ExitCode::SUCCESS),
        End::NotConfirmed => {
            eprintln!("enforcer: not confirmed in time: nothing is enforced any more");
            Ok(exit(4))
        }
    }
}

/// Deals with what systemd-resolved knows from before the start; what is to be said about it. The programs are attached:
/// every answer that follows is seen.
async fn resolved_cache(socket: &std::path::Path, flush: bool) -> Option<String> {
    if !flush {
        let risk = "systemd-resolved may know names from before the start: a process that got an address from it then is judged by \
                    the address alone; `--flush-caches` has it forget them";
        return socket.exists().then(|| risk.to_owned());
    }
    match resolved::flush(socket).await {
        Ok(true) => Some("systemd-resolved has forgotten its cache".to_owned()),
        Ok(false) => Some("systemd-resolved does not run: no cache to forget".to_owned()),
        Err(error) => Some(format!("systemd-resolved cannot be told to forget its cache: {error}")),
    }
}

async fn confine(exec: Exec) -> Result<ExitCode, Failure> {
    let Exec { policies, user, command } = exec;
    let result = async {
        let (options, specs) = options(policies);
        let sinks = sinks(&specs)?;
        let loaded = load(&options)?;
        may_run()?;
        let confined = Confined { command, user: exec_user(user)? };
        Ok::<i32, Failure>(exec::run(options, loaded, confined, sinks).await?)
    };
    result.await.map(exit).map_err(Failure::of_exec)
}

async fn show_status(status: Status) -> Result<ExitCode, Failure> {
    let Status { instance: Instance { instance }, format } = status;
    let answer = match control::ask(&instance, Request::Status).await {
        Ok(answer) => answer,
        Err(ControlError::NotRunning(_)) => show::not_running(&instance),
        Err(error) => return Err(error.into()),
    };
    Ok(show::status(&answer, format == OutputFormat::Json))
}

async fn confirm(instance: String) -> Result<ExitCode, Failure> {
    let answer = control::ask(&instance, Request::Confirm).await?;
    let confirmed = answer.get("confirmed").and_then(serde_json::Value::as_bool).unwrap_or(false);
    println!("{}", if confirmed { "confirmed" } else { "nothing waits to be confirmed" });
    Ok(ExitCode::SUCCESS)
}

async fn detach(instance: String) -> Result<ExitCode, Failure> {
    match control::ask(&instance, Request::Detach).await {
        Ok(_) => println!("detached"),
        Err(ControlError::NotRunning(_)) => println!("nothing is attached by instance `{instance}`"),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn options(policies: Policies) -> (Options, Vec<SinkSpec>) {
    let Policies { policies, mode, backend, cgroup, events, no_binder, trust_by_address, resolved, hosts } =
        policies;
    let backend = match backend {
        BackendName::Auto => None,
        BackendName::Lsm => Some(Backend::Lsm),
        BackendName::Cgroup => Some(Backend::Cgroup),
    };
    let mode = mode.map(Into::into);
    let options =
        Options { policies, mode, backend, scope: cgroup, no_binder, trust_by_address, resolved, hosts };
    (options, events)
}

/// The policy, with its warnings on standard error.
fn load(options: &Options) -> Result<Loaded, Failure> {
    let loaded = load::load(&options.policies, options.mode)?;
    for warning in &loaded.warnings {
        eprintln!("{}", warning.render());
    }
    Ok(loaded)
}

fn sinks(specs: &[SinkSpec]) -> Result<Vec<Sink>, Failure> {
    let colours = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    specs.iter().map(|spec| Ok(Sink::open(spec, colours)?)).collect()
}

fn may_run() -> Result<(), Failure> {
    privileges::check_kernel()?;
    Ok(privileges::check()?)
}

/// The user that `--user` names, else the one who called sudo, else nobody else.
fn exec_user(named: Option<String>) -> Result<Option<User>, Failure> {
    if let Some(name) = named {
        return Ok(Some(match name.parse() {
            Ok(uid) => User::by_id(uid)?,
            Err(_) => User::by_name(&name)?,
        }));
    }
    match std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()) {
        Some(uid) => Ok(Some(User::by_id(uid)?)),
        None => Ok(None),
    }
}

/// Tells whoever started the daemon that it judges: systemd, or a reader of standard error.
fn ready() {
    match sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "systemd could not be told"),
    }
    eprintln!("enforcer is ready");
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(Failure::runtime)?.block_on(work))
}

fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("`{text}` is no time; write `60s`, `5m` or `1h`")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no time; write `60s`, `5m` or `1h`"))?;
    match number.checked_mul(seconds) {
        Some(0) | None => Err(format!("`{text}` is out of range")),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}

fn instance_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(plain) {
        return Err("an instance is named by letters, digits, `-`, `_` and `.`".to_owned());
    }
    Ok(text.to_owned())
}
