//! Runs the hand-written cases of `tests/corpus`: each file holds policies, what is found in them, and
//! connections with the verdict and the rule they must get.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may stop at the first surprise")]

use std::path::Path;

use policy_schema::{Diagnostic, Severity};

#[path = "../corpus/case.rs"]
pub mod case;

pub fn line(found: &Diagnostic) -> String {
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("{severity} {} {}:{}:{}", found.code, found.file.display(), found.line, found.column)
}

#[test]
fn corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let (mut faults, mut runnable, mut findings) = (Vec::new(), 0, 0);
    for (name, case) in case::read_corpus(&folder) {
        let (set, found) = case.load("");
        let lines: Vec<String> = found.iter().map(line).collect();
        if lines != case.findings {
            let texts: Vec<String> = found.iter().map(Diagnostic::render).collect();
            faults.push(format!(
                "{name}: found {lines:#?}, expected {:#?}\n{}",
                case.findings,
                texts.join("\n")
            ));
        }
        findings += case.findings.len();
        for (index, attempt) in case.connections.iter().enumerate() {
            let at =
                format!("{name} connections[{index}] {:?} {:?} {}", attempt.to, attempt.seen, attempt.about);
            match &set {
                Some(set) => {
                    let found = attempt.faults(set, &attempt.connection(case::ANYWHERE));
                    faults.extend(found.into_iter().map(|fault| format!("{at}: {fault}")));
                }
                None => faults.push(format!("{at}: there is no policy to judge by")),
            }
            runnable += usize::from(attempt.not_run().is_none());
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(
        runnable > 700 && findings > 50,
        "the corpus shrank: {runnable} connections, {findings} findings"
    );
}
