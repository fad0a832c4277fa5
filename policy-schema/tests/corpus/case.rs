//! What a file of the corpus is made of, and how its expectations are held against the reference evaluator. Read by
//! the corpus test here and by the kernel test that runs the same cases through the hooks.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use policy_schema::{
    Connection, Decider, Diagnostic, DomainName, ListFile, Mode, Policy, PolicySet, Protocol, ReadList,
    Severity, Sighting, Source, Verdict,
};
use serde::Deserialize;

/// What a cgroup pattern of a policy starts with: the cgroup that the cases are run below.
const ROOT: &str = "{root}";
/// Where a connection goes that does not say it. No policy of the corpus may name it.
pub const ANYWHERE: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

/// A file: policies, what is found in them, and what becomes of connections.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Case {
    /// Texts of policies by their file names. Patterns of cgroups start with `{root}`.
    pub policies: BTreeMap<PathBuf, String>,
    /// Texts of lists by their file names.
    #[serde(default)]
    pub lists: BTreeMap<PathBuf, String>,
    /// The mode of the command line.
    pub mode: Option<Mode>,
    /// `severity code file:line:column` of everything that is found, in order.
    #[serde(default)]
    pub findings: Vec<String>,
    /// What is tried under these policies.
    #[serde(default)]
    pub connections: Vec<Attempt>,
}

/// A connection and what must become of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Attempt {
    /// What the attempt is about, for the reader.
    #[serde(default)]
    pub about: String,
    /// Left out where any address will do.
    pub to: Option<IpAddr>,
    #[serde(default = "https")]
    pub port: u16,
    #[serde(default)]
    pub udp: bool,
    /// Sightings of the address: `question > alias > alias`.
    #[serde(default)]
    pub seen: Vec<String>,
    pub uid: Option<u32>,
    pub user: Option<String>,
    /// Below `{root}`.
    pub cgroup: Option<String>,
    pub unit: Option<String>,
    #[serde(default)]
    pub resolver: bool,
    pub verdict: String,
    pub rule: Option<String>,
    /// As `verdict` and `rule` if left out.
    pub effective: Option<String>,
    pub effective_rule: Option<String>,
    pub errno: Option<String>,
    /// Why it cannot be run through the hooks of a kernel.
    pub hooks: Option<String>,
}

fn https() -> u16 {
    443
}

/// Every file of the corpus with its name, in the order of the names.
pub fn read_corpus(folder: &Path) -> Vec<(String, Case)> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    let read = |file: &PathBuf| {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let case = serde_yaml::from_str(&fs::read_to_string(file).unwrap());
        let case = case.unwrap_or_else(|error| panic!("{name}: {error}"));
        (name, case)
    };
    files.iter().map(read).collect()
}

impl Case {
    /// The policies with their cgroups below `root`.
    pub fn policies_below(&self, root: &str) -> BTreeMap<PathBuf, String> {
        self.policies.iter().map(|(path, text)| (path.clone(), text.replace(ROOT, root))).collect()
    }

    /// The set, unless the policies are refused, and all that was found.
    pub fn load(&self, root: &str) -> (Option<PolicySet>, Vec<Diagnostic>) {
        let mut found = Vec::new();
        let mut policies = Vec::new();
        for (path, text) in self.policies_below(root) {
            match Policy::parse(&Source { path, text }, &Lists(&self.lists)) {
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
        match PolicySet::new(policies, self.mode) {
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

impl Attempt {
    /// The sightings of the address: the name that was asked for, then the aliases.
    pub fn sightings(&self) -> impl Iterator<Item = Vec<&str>> {
        self.seen.iter().map(|seen| seen.split(" > ").collect())
    }

    /// What the evaluator is asked, with this address where the case names none.
    pub fn connection(&self, anywhere: impl Into<IpAddr>) -> Connection {
        let protocol = if self.udp { Protocol::Udp } else { Protocol::Tcp };
        let mut connection = Connection::new(self.to.unwrap_or_else(|| anywhere.into()), self.port, protocol);
        connection.uid = self.uid;
        connection.user = self.user.clone();
        connection.cgroup = self.cgroup.clone();
        connection.unit = self.unit.clone();
        connection.resolver = self.resolver;
        for names in self.sightings() {
            let mut names = names.into_iter().map(|name| {
                // What was seen came in labels, in any spelling and with any byte.
                let labels = name.trim_end_matches('.').split('.').map(str::as_bytes);
                DomainName::from_labels(labels).unwrap_or_else(|error| panic!("{name}: {error}"))
            });
            let question = names.next().unwrap();
            connection.sightings.push(Sighting { question, chain: names.collect() });
        }
        connection
    }

    /// Where the evaluator does not say of a connection what this case does.
    pub fn faults(&self, set: &PolicySet, connection: &Connection) -> Vec<String> {
        let decision = set.decide(connection);
        let label = |decider: Decider| set.label(decider).map(str::to_owned);
        let expected_effective = self.effective.as_ref().unwrap_or(&self.verdict);
        let expected_rule = if self.effective.is_some() { &self.effective_rule } else { &self.rule };
        let mut faults = Vec::new();
        let mut expect = |what: &str, expected: Option<&str>, found: Option<&str>| {
            if expected != found {
                faults.push(format!("{what} is {found:?}, expected {expected:?} ({:?})", decision.why));
            }
        };
        expect("verdict", Some(&self.verdict), Some(word(decision.verdict)));
        expect("rule", self.rule.as_deref(), label(decision.rule).as_deref());
        expect("effective", Some(expected_effective), Some(word(decision.effective)));
        expect("effectiveRule", expected_rule.as_deref(), label(decision.effective_rule).as_deref());
        if let Some(errno) = &self.errno {
            expect("errno", Some(errno), decision.errno.map(|errno| format!("{errno:?}")).as_deref());
        }
        assert_eq!(decision.would_deny, decision.verdict == Verdict::Deny, "{self:?}");
        assert_eq!(decision.blocked, decision.effective == Verdict::Deny, "{self:?}");
        assert_eq!(decision.errno.is_some(), decision.blocked, "{self:?}");
        faults
    }
}

/// A verdict as the corpus and the events write it.
pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allow => "allow",
        Verdict::Deny => "deny",
    }
}
