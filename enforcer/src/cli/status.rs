//! `status`: how much is enforced.

use super::{Failure, OutputFormat, instance::Instance};
use crate::control::{self, ControlError, Request};
use clap::Args;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Arguments of `status`.
#[derive(Args, Debug)]
pub(super) struct Status {
    #[command(flatten)]
    instance: Instance,
    /// How the state is printed.
    #[arg(long, default_value = "text")]
    format: OutputFormat,
}

/// Asks the daemon.
pub(super) async fn main(
    Status { instance: Instance { instance }, format }: Status,
) -> Result<ExitCode, Failure> {
    let answer = match control::ask(&instance, Request::Status).await {
        Ok(answer) => answer,
        Err(ControlError::NotRunning(_)) => not_running(&instance),
        Err(error) => return Err(error.into()),
    };
    Ok(show(&answer, format == OutputFormat::Json))
}

/// The answer of a daemon that does not run.
fn not_running(instance: &str) -> Value {
    json!({ "status": { "state": "NotEnforced", "reasons": [format!("no daemon of instance `{instance}` is running")] } })
}

/// The state; 3 unless the policy is in force as it is meant.
fn show(answer: &Value, as_json: bool) -> ExitCode {
    let state = text(answer, "/status/state").unwrap_or("NotEnforced");
    if as_json {
        println!("{answer}");
    } else {
        print_status(answer, state);
    }
    if matches!(state, "AuditOnly" | "Enforced") { ExitCode::SUCCESS } else { ExitCode::from(3) }
}

fn print_status(answer: &Value, state: &str) {
    println!("status:    {state}");
    for reason in answer.pointer("/status/reasons").and_then(Value::as_array).into_iter().flatten() {
        println!("           {}", reason.as_str().unwrap_or_default());
    }
    for (label, pointer) in [("backend:  ", "/backend"), ("mode:     ", "/mode")] {
        if let Some(value) = text(answer, pointer) {
            println!("{label} {value}");
        }
    }
    if let Some(version) = answer.get("policyVersion") {
        let rules = answer.get("rules").and_then(Value::as_u64).unwrap_or(0);
        println!("policy:    version {version}, {rules} rules");
    }
    for hook in answer.get("hooks").and_then(Value::as_array).into_iter().flatten() {
        println!("hook:      {}", text(hook, "/to").unwrap_or_default());
    }
    let counters = answer.get("counters").and_then(Value::as_object);
    for (name, count) in counters.into_iter().flatten().filter(|(_, count)| count.as_u64() != Some(0)) {
        println!("{name:<18} {count}");
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}
