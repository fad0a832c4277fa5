//! What commands print for people, or as JSON.

use crate::load::{LoadError, Loaded};
use policy_schema::Diagnostic;
use serde_json::{Value, json};
use std::process::ExitCode;

/// Errors and warnings apart; 2 if there are errors.
pub(super) fn check_text(loaded: Result<Loaded, LoadError>) -> ExitCode {
    match loaded {
        Ok(Loaded { policy, warnings, .. }) => {
            for warning in &warnings {
                println!("{}", warning.render());
            }
            println!("{} rules, {} warnings, 0 errors", policy.rules().len(), warnings.len());
            ExitCode::SUCCESS
        }
        Err(error) => {
            for finding in error.diagnostics() {
                println!("{}", finding.render());
            }
            if error.diagnostics().is_empty() {
                eprintln!("error: {error}");
                if let Some(help) = error.help() {
                    eprintln!("  help: {help}");
                }
            }
            ExitCode::from(2)
        }
    }
}

/// The same as one JSON object.
pub(super) fn check_json(loaded: Result<Loaded, LoadError>) -> ExitCode {
    let (value, status) = match &loaded {
        Ok(Loaded { policy, warnings, .. }) => {
            (json!({ "rules": policy.rules().len(), "diagnostics": warnings }), ExitCode::SUCCESS)
        }
        Err(error) => {
            let findings: &[Diagnostic] = error.diagnostics();
            let message = findings.is_empty().then(|| error.to_string());
            (json!({ "error": message, "diagnostics": findings }), ExitCode::from(2))
        }
    };
    println!("{value}");
    status
}

/// The answer of a daemon that does not run.
pub(super) fn not_running(instance: &str) -> Value {
    json!({ "status": { "state": "NotEnforced", "reasons": [format!("no daemon of instance `{instance}` is running")] } })
}

/// The state; 3 unless the policy is in force as it is meant.
pub(super) fn status(answer: &Value, as_json: bool) -> ExitCode {
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
