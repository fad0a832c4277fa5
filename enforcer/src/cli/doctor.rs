//! `doctor`: what this machine lets enforcer do.

use super::OutputFormat;
use crate::doctor::{Check, Facts, Report, State};
use clap::Args;
use std::process::ExitCode;

/// Arguments of `doctor`.
#[derive(Args, Debug)]
#[command(after_help = "\
Each backend is tried: its programs are loaded and attached for a moment, without a policy, and must refuse a canary that is \
sent over loopback from a cgroup of its own. Nothing else is touched, and nothing stays behind. A daemon may be running.

JSON is one object: `kernel`; `backend`, which one `run` takes by itself, null if none works; `checks`, a list of objects \
with `name`, `state` (good, limited, missing), `found`, and where they apply `effect` and `fix`.

Exit status: 0 policies can be enforced here, perhaps with the limits that are told; 1 they cannot; 2 wrong usage.")]
pub(super) struct Doctor {
    /// How the findings are printed.
    #[arg(long, default_value = "text")]
    format: OutputFormat,
}

/// Looks, and tells.
pub(super) fn main(Doctor { format }: Doctor) -> ExitCode {
    let report = Report::of(&Facts::gather());
    match format {
        OutputFormat::Json => println!("{}", serde_json::json!(report)),
        OutputFormat::Text => print(&report),
    }
    if report.backend.is_some() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn print(report: &Report) {
    for Check { name, state, found, effect, fix } in &report.checks {
        let state = match state {
            State::Good => "good",
            State::Limited => "limited",
            State::Missing => "missing",
        };
        println!("{state:<8} {name:<18} {found}");
        for (what, text) in [("effect", effect), ("fix", fix)] {
            if let Some(text) = text {
                println!("{:27} {what}: {text}", "");
            }
        }
    }
    println!();
    match report.backend {
        Some(backend) => println!("Policies can be enforced on this machine, with the backend `{backend}`."),
        None => println!("Policies cannot be enforced on this machine: see what is missing."),
    }
}
