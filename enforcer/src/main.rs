//! Arguments, log, exit status.

use clap::Parser as _;
use enforcer::cli::{self, Cli};
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter =
        tracing_subscriber::EnvFilter::try_from_env("ENFORCER_LOG").unwrap_or_else(|_| "warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli::main(cli) {
        Ok(status) => status,
        Err(failure) => {
            eprintln!("error: {failure}");
            if let Some(help) = failure.help() {
                eprintln!("  help: {help}");
            }
            failure.status()
        }
    }
}
