//! What holds for any text as a policy file.

use std::io;
use std::path::{Path, PathBuf};

use policy_schema::{
    Connection, DomainName, ListFile, Mode, Policy, PolicySet, Protocol, ReadList, Report, Sighting, Source,
    Verdict,
};

use super::finding;

/// Reads the bytes as a policy file.
///
/// Each finding lies in the text; what parses can be joined and judges connections; an audit policy refuses nothing;
/// and neither a second reading, nor a byte order mark, nor CRLF changes anything.
pub fn check(data: &[u8]) {
    let source = match Source::from_bytes(PathBuf::from("fuzz.yaml"), data.to_vec()) {
        Ok(source) => source,
        Err(report) => {
            finding::check_report(&report, true);
            let text = data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(data);
            return report.diagnostics().iter().for_each(|found| finding::check(found, text));
        }
    };
    let text = source.text.as_str();
    let read = Reading::new(text);
    assert_eq!(read, Reading::new(text), "read twice");
    if !text.starts_with('\u{feff}') {
        assert_eq!(read, Reading::new(&format!("\u{feff}{text}")), "with a byte order mark");
    }
    if !text.contains('\r') {
        assert_eq!(read, Reading::new(&text.replace('\n', "\r\n")), "with CRLF");
    }
}

/// What can be seen of a policy from outside.
#[derive(Debug, PartialEq)]
struct Reading {
    findings: Vec<String>,
    rules: Vec<String>,
    decisions: Vec<String>,
}

impl Reading {
    fn new(text: &str) -> Self {
        let source = Source { path: PathBuf::from("fuzz.yaml"), text: text.to_owned() };
        let mut reading = Self { findings: Vec::new(), rules: Vec::new(), decisions: Vec::new() };
        match Policy::parse(&source, &Lists) {
            Ok((policy, warnings)) => {
                reading.note(&Report::from(warnings), text, false);
                reading.join(&policy, text);
            }
            Err(report) => reading.note(&report, text, true),
        }
        reading
    }

    fn join(&mut self, policy: &Policy, text: &str) {
        self.rules = policy.rules().iter().map(|rule| format!("{rule:?}")).collect();
        for mode in [None, Some(Mode::Audit)] {
            match PolicySet::new(vec![policy.clone()], mode) {
                Ok((set, warnings)) => {
                    self.note(&Report::from(warnings), text, false);
                    self.judge(&set);
                }
                Err(report) => self.note(&report, text, true),
            }
        }
    }

    fn judge(&mut self, set: &PolicySet) {
        for connection in connections() {
            let decision = set.decide(&connection);
            assert_eq!(decision.would_deny, decision.verdict == Verdict::Deny);
            assert_eq!(decision.blocked, decision.effective == Verdict::Deny);
            assert!(
                !decision.blocked || set.mode() == Mode::Enforce,
                "an audit policy refuses {connection:?}"
            );
            self.decisions.push(format!("{decision:?}"));
        }
    }

    fn note(&mut self, report: &Report, text: &str, has_error: bool) {
        finding::check_report(report, has_error);
        for found in report.diagnostics() {
            let list = found.file != Path::new("fuzz.yaml");
            // The mark is no character of the file to any editor.
            let text = text.strip_prefix('\u{feff}').unwrap_or(text);
            finding::check(found, if list { LIST } else { text.as_bytes() });
            let place = (&found.file, found.line, found.column, &found.field);
            self.findings.push(format!("{:?} {} {place:?} {found}", found.severity, found.code));
        }
    }
}

const LIST: &[u8] = b"bad.example\n*.worse.example\nnot a name\n*.com\n";

/// Each list is the same one, but for those that cannot be read.
struct Lists;

impl ReadList for Lists {
    fn read(&self, path: &Path) -> io::Result<Vec<ListFile>> {
        if path.extension().is_none() {
            return Err(io::Error::from(io::ErrorKind::NotFound));
        }
        Ok(vec![ListFile { path: path.to_path_buf(), bytes: Box::new(LIST) }])
    }
}

fn connections() -> Vec<Connection> {
    let name = |text| DomainName::parse(text).expect("a name");
    let to = |address: &str, port| Connection::new(address.parse().expect("an address"), port, Protocol::Tcp);
    let mut named = to("203.0.113.7", 443);
    named.sightings = vec![
        Sighting::new(name("www.evil.example"), vec![name("ads-1.cdn.example")]),
        Sighting::new(name("bad.example"), Vec::new()),
    ];
    let mut private = to("10.1.2.3", 80);
    private.sightings = vec![Sighting::new(name("registry.corp.example"), Vec::new())];
    let mut owned = to("2001:db8::7", 853);
    owned.protocol = Protocol::Udp;
    owned.uid = Some(1000);
    owned.user = Some("www-data".to_owned());
    owned.cgroup = Some("/ci/job".to_owned());
    owned.unit = Some("nginx.service".to_owned());
    let mut resolver = to("192.0.2.53", 53);
    resolver.resolver = true;
    vec![named, private, owned, resolver, to("127.0.0.1", 22), to("198.51.100.1", 1)]
}
