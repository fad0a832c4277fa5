//! What commands print for people, or as JSON.

use super::FindingsFormat;
use crate::load::{LoadError, Loaded};
use policy_schema::{Diagnostic, Severity};
use serde_json::{Value, json};
use std::process::ExitCode;

/// What `check` found; 2 if there are errors.
pub(super) fn check(loaded: Result<Loaded, LoadError>, format: FindingsFormat) -> ExitCode {
    let (rules, found, status) = match loaded {
        Ok(Loaded { policy, warnings, .. }) => (Some(policy.rules().len()), warnings, ExitCode::SUCCESS),
        Err(error) => (None, error.into_diagnostics(), ExitCode::from(2)),
    };
    match format {
        FindingsFormat::Github => found.iter().map(annotation).for_each(|line| println!("{line}")),
        FindingsFormat::Json => println!("{}", json!({ "rules": rules, "diagnostics": found })),
        FindingsFormat::Text => {
            for finding in &found {
                println!("{}", finding.render());
            }
            let errors = found.iter().filter(|finding| finding.severity == Severity::Error).count();
            let rules = rules.map(|rules| format!("{rules} rules, ")).unwrap_or_default();
            println!("{rules}{} warnings, {errors} errors", found.len() - errors);
        }
    }
    status
}

/// A finding as GitHub reads it from the log of a job; escaped as in `packages/core/src/command.ts` of its toolkit.
fn annotation(found: &Diagnostic) -> String {
    let Diagnostic { severity, code, message, file, line, column, hint, .. } = found;
    let command = match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let file = data(&file.to_string_lossy()).replace(':', "%3A").replace(',', "%2C");
    let hint = hint.as_ref().map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
    let text = data(&format!("{message}{hint}"));
    format!("::{command} file={file},line={line},col={column},title={code}::{text}")
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
