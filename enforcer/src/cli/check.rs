//! `check`: every error and warning of policy files.

use crate::load::{self, LoadError, Loaded};
use clap::{Args, ValueEnum};
use policy_schema::{Diagnostic, Severity};
use serde_json::json;
use std::{path::PathBuf, process::ExitCode};

/// Arguments of `check`.
#[derive(Args, Debug)]
#[command(after_help = "\
JSON is one object: `rules`, how many there are, null if there are errors; and `diagnostics`, a list of objects with \
`severity` (error, warning), `code`, `message`, `file`, `line`, `column`, and where they apply `field` and `hint`. Lines \
and columns count from 1, columns in characters. `github` prints annotations for the log of a GitHub workflow.

Exit status: 0 no errors; 2 errors, or wrong usage.")]
pub(super) struct Check {
    /// Policy files and directories.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// How findings are printed.
    #[arg(long, default_value = "text")]
    format: FindingsFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FindingsFormat {
    Github,
    Json,
    Text,
}

/// Looks the files over.
pub(super) fn main(Check { paths, format }: Check) -> ExitCode {
    show(load::check(&paths), format)
}

/// What `check` found; 2 if there are errors.
fn show(loaded: Result<Loaded, LoadError>, format: FindingsFormat) -> ExitCode {
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
