//! The command line.

use crate::canary;
use clap::{Parser, Subcommand, ValueEnum};
use policy_schema::Mode;
use std::{net::SocketAddrV4, path::PathBuf, process::ExitCode};

mod check;
mod doctor;
mod exec;
mod explain;
mod failure;
mod instance;
mod names;
mod replay;
mod run;
mod schema;
mod session;
mod status;
mod test;

pub use failure::Failure;
use instance::Instance;

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
    Run(run::Run),
    /// Run one command confined by policies, in a cgroup of its own.
    ///
    /// Prints a line on standard error for each denied destination, and a summary at the end.
    Exec(exec::Exec),
    /// Check policy files: every error and warning, with line and column.
    Check(check::Check),
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
    Status(status::Status),
    /// Keep the policy that `run --confirm` would take back.
    Confirm(Instance),
    /// Stop enforcing: let go of everything that is attached.
    Detach(Instance),
    /// Print a script that completes this command line in a shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
    /// Go to a destination that these programs must refuse.
    #[command(hide = true)]
    Canary {
        #[arg(long)]
        cgroup: Option<PathBuf>,
        to: SocketAddrV4,
        programs: Vec<String>,
    },
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

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum OutputFormat {
    Text,
    Json,
}

/// Does what the command line says.
///
/// # Errors
/// [`Failure`], with help and exit status.
pub fn main(cli: Cli) -> Result<ExitCode, Failure> {
    match cli.command {
        Subcommands::Run(run) => block_on(run::main(run))?,
        Subcommands::Exec(exec) => block_on(exec::main(exec))?,
        Subcommands::Check(check) => Ok(check::main(check)),
        Subcommands::Explain(explain) => block_on(explain::main(*explain))?,
        Subcommands::Names(names) => block_on(names::main(names))?,
        Subcommands::Test(test) => test::main(test),
        Subcommands::Replay(arguments) => replay::main(arguments),
        Subcommands::Schema(schema) => {
            schema::main(schema);
            Ok(ExitCode::SUCCESS)
        }
        Subcommands::Doctor(doctor) => Ok(doctor::main(doctor)),
        Subcommands::Status(status) => block_on(status::main(status))?,
        Subcommands::Confirm(instance) => block_on(instance::confirm(instance))?,
        Subcommands::Detach(instance) => block_on(instance::detach(instance))?,
        Subcommands::Completions { shell } => {
            let mut command = <Cli as clap::CommandFactory>::command();
            clap_complete::generate(shell, &mut command, "enforcer", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
        Subcommands::Canary { cgroup, to, programs } => {
            Ok(exit(canary::main(cgroup.as_deref(), to, &programs)))
        }
    }
}

fn block_on<T>(work: impl Future<Output = T>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(runtime.map_err(Failure::runtime)?.block_on(work))
}

fn exit(status: i32) -> ExitCode {
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}
