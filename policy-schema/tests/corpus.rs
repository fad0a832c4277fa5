//! Runs the hand-written cases of `tests/corpus`: each file holds policies, what is found in them, and
//! connections with the verdict and the rule they must get.

#![expect(clippy::panic, clippy::unwrap_used, reason = "helpers of tests may stop at the first surprise")]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use policy_schema::{
    Connection, Decider, Diagnostic, DomainName, ListFile, Mode, Policy, PolicySet, Protocol, ReadList,
    Severity, Sighting, Source, Verdict,
};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Case {
    /// Texts of policies by their file names.
    policies: BTreeMap<PathBuf, String>,
    #[serde(default)]
    lists: BTreeMap<PathBuf, String>,
    /// The mode of the command line.
    mode: Option<String>,
    /// `severity code file:line:column` of everything that is found, in order.
    #[serde(default)]
    findings: Vec<String>,
    #[serde(default)]
    connections: Vec<Attempt>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Attempt {
    /// What the attempt is about, for the reader.
    #[serde(default)]
    about: String,
    to: std::net::IpAddr,
    #[serde(default = "https")]
    port: u16,
    #[serde(default)]
    udp: bool,
    /// Sightings of the address: `question > alias > alias`.
    #[serde(default)]
    seen: Vec<String>,
    /// The same, from servers that are not trusted.
    #[serde(default)]
    untrusted: Vec<String>,
    /// Seconds since all of them; their time to live is 0.
    #[serde(default)]
    age: u64,
    uid: Option<u32>,
    user: Option<String>,
    cgroup: Option<String>,
    unit: Option<String>,
    #[serde(default)]
    resolver: bool,
    verdict: String,
    rule: Option<String>,
    /// As `verdict` and `rule` if left out.
    effective: Option<String>,
    effective_rule: Option<String>,
    errno: Option<String>,
}

fn https() -> u16 {
    443
}

struct Lists<'a>(&'a BTreeMap<PathBuf, String>);

impl ReadList for Lists<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<ListFile>> {
        let found = self.0.iter().filter(|(name, _)| name.starts_with(path));
        let files: Vec<ListFile> = found
            .map(|(name, text)| ListFile { path: name.clone(), bytes: Box::new(text.clone().into_bytes()) })
            .collect();
        if files.is_empty() { Err(io::Error::from(io::ErrorKind::NotFound)) } else { Ok(files) }
    }
}

fn line(found: &Diagnostic) -> String {
    let severity = match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    format!("{severity} {} {}:{}:{}", found.code, found.file.display(), found.line, found.column)
}

/// The set, unless the policies are refused, and all that was found.
fn load(case: &Case) -> (Option<PolicySet>, Vec<Diagnostic>) {
    let mut found = Vec::new();
    let mut policies = Vec::new();
    for (path, text) in &case.policies {
        let source = Source { path: path.clone(), text: text.clone() };
        match Policy::parse(&source, &Lists(&case.lists)) {
            Ok((policy, warnings)) => {
                policies.push(policy);
                found.extend(warnings);
            }
            Err(report) => found.extend(report.into_diagnostics()),
        }
    }
    if found.iter().any(|found| found.severity == Severity::Error) {
        return (None, found);
    }
    let mode = case.mode.as_deref().map(|mode| if mode == "audit" { Mode::Audit } else { Mode::Enforce });
    match PolicySet::new(policies, mode) {
        Ok((set, warnings)) => {
            found.extend(warnings);
            (Some(set), found)
        }
        Err(report) => {
            found.extend(report.into_diagnostics());
            (None, found)
        }
    }
}

fn connection(attempt: &Attempt) -> Connection {
    let protocol = if attempt.udp { Protocol::Udp } else { Protocol::Tcp };
    let mut connection = Connection::new(attempt.to, attempt.port, protocol);
    connection.uid = attempt.uid;
    connection.user = attempt.user.clone();
    connection.cgroup = attempt.cgroup.clone();
    connection.unit = attempt.unit.clone();
    connection.resolver = attempt.resolver;
    let trusted = attempt.seen.iter().map(|seen| (seen, true));
    for (seen, trusted) in trusted.chain(attempt.untrusted.iter().map(|seen| (seen, false))) {
        let mut names = seen.split(" > ").map(|name| {
            // What was seen came in labels, in any spelling and with any byte.
            let labels = name.trim_end_matches('.').split('.').map(str::as_bytes);
            DomainName::from_labels(labels).unwrap_or_else(|error| panic!("{name}: {error}"))
        });
        let question = names.next().unwrap();
        let age = Duration::from_secs(attempt.age);
        connection.sightings.push(Sighting { trusted, age, ..Sighting::new(question, names.collect()) });
    }
    connection
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}

fn judge(set: &PolicySet, attempt: &Attempt, at: &str, faults: &mut Vec<String>) {
    let decision = set.decide(&connection(attempt));
    let label = |decider: Decider| set.label(decider).map(str::to_owned);
    let expected_effective = attempt.effective.as_ref().unwrap_or(&attempt.verdict);
    let expected_rule = if attempt.effective.is_some() { &attempt.effective_rule } else { &attempt.rule };
    let mut expect = |what: &str, expected: Option<&str>, found: Option<&str>| {
        if expected != found {
            faults.push(format!("{at}: {what} is {found:?}, expected {expected:?} ({:?})", decision.why));
        }
    };
    expect("verdict", Some(&attempt.verdict), Some(word(decision.verdict)));
    expect("rule", attempt.rule.as_deref(), label(decision.rule).as_deref());
    expect("effective", Some(expected_effective), Some(word(decision.effective)));
    expect("effectiveRule", expected_rule.as_deref(), label(decision.effective_rule).as_deref());
    if let Some(errno) = &attempt.errno {
        expect("errno", Some(errno), decision.errno.map(|errno| format!("{errno:?}")).as_deref());
    }
    assert_eq!(decision.would_deny, decision.verdict == Verdict::Deny, "{at}");
    assert_eq!(decision.blocked, decision.effective == Verdict::Deny, "{at}");
    assert_eq!(decision.errno.is_some(), decision.blocked, "{at}");
}

#[test]
fn corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let (mut faults, mut judged, mut findings) = (Vec::new(), 0, 0);
    for file in &files {
        let name = file.file_name().unwrap().to_string_lossy();
        let case: Case = serde_yaml::from_str(&fs::read_to_string(file).unwrap())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let (set, found) = load(&case);
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
                format!("{name} connections[{index}] {} {:?} {}", attempt.to, attempt.seen, attempt.about);
            match &set {
                Some(set) => judge(set, attempt, &at, &mut faults),
                None => faults.push(format!("{at}: there is no policy to judge by")),
            }
            judged += 1;
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert!(judged > 100 && findings > 50, "the corpus shrank: {judged} connections, {findings} findings");
}
