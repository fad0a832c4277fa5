//! `test`: cases written beside a policy.

use super::{Failure, OutputFormat};
use crate::{
    cases::{self, Judged},
    load::{self, LoadError},
};
use clap::Args;
use serde_json::json;
use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

/// Arguments of `test`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example, `ci-guard.test.yaml` beside `ci-guard.yaml`:
  cases:
    - { to: registry.corp.example, verdict: allow, rule: registry }
    - { to: 203.0.113.7, seen: [\"www.a.example > cdn.b.example\"], uid: 1000, cgroup: /ci/job, verdict: deny }

`enforcer schema --for tests` names every key.
Exit status: 0 all cases passed; 1 some failed; 2 wrong usage, or a file that cannot be read or has errors; 70 internal \
error.")]
pub(super) struct Test {
    /// Test files, and directories of test files (*.test.yaml, *.test.yml).
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// How results are printed.
    #[arg(long, default_value = "text")]
    format: OutputFormat,
}

/// Judges every case of every file.
pub(super) fn main(Test { paths, format }: Test) -> Result<ExitCode, Failure> {
    let (mut judged, mut errors) = (Judged::default(), Vec::new());
    for path in load::case_files(&paths)? {
        match judge(&path)? {
            Ok(more) => judged.join(more),
            Err(error) => errors.push(error),
        }
    }
    match format {
        OutputFormat::Text => print_text(&judged, &errors),
        OutputFormat::Json => print_json(&judged, &errors),
    }
    Ok(match (errors.as_slice(), judged.failures.as_slice()) {
        ([], []) => ExitCode::SUCCESS,
        ([], _) => ExitCode::from(1),
        (_, _) => ExitCode::from(2),
    })
}

/// The inner error is one of the files, which do not keep others from being judged.
fn judge(path: &Path) -> Result<Result<Judged, LoadError>, Failure> {
    let loaded = load::cases(path).and_then(|cases| {
        let loaded = load::load(&cases.policies, cases.mode)?;
        Ok((cases, loaded))
    });
    match loaded {
        Ok((cases, loaded)) => Ok(Ok(cases::judge(&cases.cases, loaded.policy)?)),
        Err(error) => Ok(Err(error)),
    }
}

fn print_text(judged: &Judged, errors: &[LoadError]) {
    for error in errors {
        for finding in error.diagnostics() {
            println!("{}", finding.render());
        }
        if error.diagnostics().is_empty() {
            println!("error: {error}");
            if let Some(help) = error.help() {
                println!("  help: {help}");
            }
        }
    }
    for failed in &judged.failures {
        println!("{failed}");
    }
    let uncovered: Vec<&str> = judged.uncovered().map(|place| place.rule.as_str()).collect();
    if !uncovered.is_empty() {
        println!("rules without a case: {}", uncovered.join(", "));
    }
    let unreadable = match errors.len() {
        0 => String::new(),
        1 => ", 1 file with errors".to_owned(),
        count => format!(", {count} files with errors"),
    };
    println!("{} passed, {} failed{unreadable}", judged.passed, judged.failures.len());
}

fn print_json(judged: &Judged, errors: &[LoadError]) {
    let diagnostics: Vec<_> = errors.iter().flat_map(LoadError::diagnostics).collect();
    let others = errors.iter().filter(|error| error.diagnostics().is_empty());
    let value = json!({
        "passed": judged.passed,
        "failed": judged.failures.len(),
        "failures": judged.failures,
        "uncovered": judged.uncovered().collect::<Vec<_>>(),
        "errors": others.map(ToString::to_string).collect::<Vec<_>>(),
        "diagnostics": diagnostics,
    });
    println!("{value}");
}
