//! What holds for any bytes as a list of names.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use policy_schema::{
    Connection, DomainName, DomainPattern, Form, ListFile, ListFormat, ListSummary, Policy, PolicySet,
    Protocol, ReadList, Rule, Sighting, Source, Verdict,
};

use super::finding;

/// The rules, each with a list of its own name: one reading of the policy shows all variants.
const POLICY: &str = "
version: 1
rules:
  - { name: given, action: deny, to: { lists: [given] } }
  - { name: allow, action: allow, to: { lists: [allow] } }
  - { name: broad, action: deny, allowBroad: true, to: { lists: [broad] } }
  - { name: dressed, action: deny, to: { lists: [dressed] } }
  - { name: headless, action: deny, to: { lists: [headless] } }
  - { name: turned, action: deny, to: { lists: [turned] } }
  - { name: twice, action: deny, to: { lists: [twice] } }
";

/// So few names of a list are judged; each decision reads the whole policy.
const JUDGED: usize = 4;

/// Reads the bytes as a list whose first line says the format.
///
/// What comes out is in normal form and can be found; every line is accounted for; and how the file is written
/// (line ends, byte order mark, order, upper case, a second copy) changes nothing.
pub fn check(format: ListFormat, data: &[u8]) {
    let variants = Variants::new(format, data);
    let source = Source { path: PathBuf::from("policy.yaml"), text: POLICY.to_owned() };
    let (policy, found) = match Policy::parse(&source, &variants) {
        Ok(read) => read,
        Err(report) => panic!("a line of a list spoils the policy: {}", report.render()),
    };
    for found in found.iter().filter(|found| found.code == "bad-list-line") {
        let file = variants.0.get(found.file.as_path()).and_then(|files| files.first());
        finding::check(found, file.expect("a finding names a file that was read"));
    }
    let rules: BTreeMap<&str, &Rule> = policy.rules().iter().map(|rule| (rule.name(), rule)).collect();
    for (name, rule) in &rules {
        names_are_normal(rule);
        lines_are_accounted(rule, &variants, name);
        let told = found.iter().filter(|found| found.file == Path::new(name)).count();
        assert_eq!(told, rule.lists().iter().map(told_of).sum::<usize>(), "{name}: {:?}", rule.lists());
    }
    let names = |rule: &str| rules.get(rule).map(|rule| names(rule)).unwrap_or_default();
    let counts = |rule: &str| {
        rules
            .get(rule)
            .and_then(|rule| rule.lists().first())
            .map(|summary| (summary.format, summary.names, summary.duplicates, summary.bad_lines))
    };
    let digest = |rule: &str| rules.get(rule).map(|rule| rule.name_set().names().digest());
    let given = names("given");
    assert_eq!(counts("given").and_then(|(found, ..)| found), Some(format));
    assert_eq!(counts("dressed"), counts("given"));
    for same in ["dressed", "turned", "twice"] {
        assert_eq!(names(same), given, "{same}");
        assert_eq!(digest(same), digest("given"), "{same}");
    }
    assert!(names("allow").is_subset(&given), "an allow rule takes what a deny rule does not");
    assert!(given.is_subset(&names("broad")), "allowBroad takes less");
    listed_names_are_denied(policy);
}

/// So many findings tell of a list's bad lines: ten one by one, and one for the rest.
fn told_of(summary: &ListSummary) -> usize {
    summary.bad_lines.min(11)
}

/// The names of a rule as they would be written.
fn names(rule: &Rule) -> BTreeSet<String> {
    let globs = rule.globs().patterns().iter().map(ToString::to_string);
    rule.names().map(|name| name.to_string()).chain(globs).collect()
}

/// Each name is written in the one way there is, stands in the rule once, and is found.
fn names_are_normal(rule: &Rule) {
    let set = rule.name_set();
    for name in rule.names() {
        let written = name.to_string();
        let pattern = DomainPattern::parse(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(pattern.to_string(), written);
        assert_eq!(pattern.base(), name.name);
        is_plain(name.name, false);
        let inside = match name.form {
            Form::Exact | Form::Both => DomainName::parse(name.name),
            Form::Below if name.name.is_empty() => DomainName::parse("x"),
            Form::Below => DomainName::parse(&format!("x.{}", name.name)),
        };
        // Nothing fits below the longest names.
        if let Ok(inside) = inside {
            assert!(set.is_match(&inside), "{written} does not match {inside}");
            assert!(set.find(&inside).is_some(), "{written} is not found");
        }
    }
    for glob in rule.globs().patterns() {
        let written = glob.to_string();
        let pattern = DomainPattern::parse(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
        assert_eq!(pattern, DomainPattern::Glob(glob.clone()));
        assert!(glob.text().contains('*'), "{written}");
        is_plain(glob.text(), true);
        let below = if glob.form() == Form::Below { "x." } else { "" };
        for filling in ["", "a", "a-b"] {
            let inside = format!("{below}{}", glob.text().replace('*', filling));
            // Some do not make a name, with an empty label or one that is too long; a last dot would be ignored.
            if !inside.ends_with('.')
                && let Ok(inside) = DomainName::parse(&inside)
            {
                assert!(set.is_match(&inside), "{written} does not match {inside}");
            }
        }
    }
    let all = rule.names().count() + rule.globs().len();
    assert_eq!(names(rule).len(), all, "a name stands in the rule twice");
    assert_eq!(rule.names().count(), set.names().len());
    for form in [Form::Below, Form::Both, Form::Exact] {
        let of_form = rule.names().filter(|name| name.form == form).map(|name| name.name.as_bytes());
        assert!(set.names().bases(form).eq(of_form), "the names of {form:?}");
    }
}

fn is_plain(name: &str, star: bool) {
    let known =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c) || star && c == '*';
    assert!(name.chars().all(known), "{name}");
    assert!(name.len() <= 253, "{name} is too long");
    let labels = name.split('.').all(|label| (1..=63).contains(&label.len()));
    assert!(name.is_empty() || labels, "{name} has a label that is empty or too long");
}

/// A list gives no more than it has words, and each of its lines gives something.
fn lines_are_accounted(rule: &Rule, variants: &Variants, name: &str) {
    let files = variants.0.get(Path::new(name)).expect("each rule has its list");
    assert_eq!(files.len(), rule.lists().len());
    for (file, summary) in files.iter().zip(rule.lists()) {
        let given = summary.names + summary.duplicates + summary.bad_lines;
        let words = file.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).count();
        assert!(given <= words, "{given} of {words} words: {summary:?}");
        let speaking = match summary.format {
            Some(format @ (ListFormat::AdBlock | ListFormat::Plain)) => {
                file.split(|&byte| byte == b'\n').filter(|line| speaks(format, line)).count()
            }
            Some(ListFormat::Hosts | ListFormat::Rpz) | None => 0,
        };
        assert!(given >= speaking, "{given} of {speaking} lines: {summary:?}");
    }
    let new: usize = rule.lists().iter().map(|summary| summary.names).sum();
    assert!(new >= rule.names().count() + rule.globs().len(), "{:?}", rule.lists());
    if rule.globs().is_empty() {
        assert_eq!(new, rule.names().count(), "{:?}", rule.lists());
    }
}

/// Whether a line is neither empty, nor a comment, nor one of a hosts file, which may name the machine itself.
fn speaks(format: ListFormat, line: &[u8]) -> bool {
    let Ok(line) = std::str::from_utf8(line) else { return true };
    let line = line.trim_start_matches('\u{feff}').trim();
    let comment = match format {
        ListFormat::AdBlock => line.starts_with(['#', '!', '[', ';']),
        ListFormat::Hosts | ListFormat::Plain | ListFormat::Rpz => line.starts_with(['#', ';']),
    };
    let first = line.split_ascii_whitespace().next().unwrap_or_default();
    let address = first.split('%').next().unwrap_or_default().parse::<IpAddr>().is_ok();
    !(line.is_empty() || comment || address)
}

/// What the list names is refused, by the rule that holds it.
fn listed_names_are_denied(policy: Policy) {
    let (set, _) = match PolicySet::new(vec![policy], None) {
        Ok(joined) => joined,
        Err(report) => panic!("{}", report.render()),
    };
    let Some(rule) = set.rules().first() else { panic!("the rule is gone") };
    let exact = rule.names().filter(|name| name.form != Form::Below).take(JUDGED);
    for question in exact.filter_map(|name| DomainName::parse(name.name).ok()) {
        let mut connection = Connection::new(IpAddr::from([203, 0, 113, 7]), 443, Protocol::Tcp);
        connection.sightings = vec![Sighting::new(question, Vec::new())];
        let decision = set.decide(&connection);
        assert_eq!((decision.effective, set.label(decision.rule)), (Verdict::Deny, Some("given")));
    }
}

/// The same list, written in different ways, by the path it is read from.
struct Variants(BTreeMap<PathBuf, Vec<Vec<u8>>>);

impl Variants {
    fn new(format: ListFormat, data: &[u8]) -> Self {
        let head: &[u8] = match format {
            ListFormat::AdBlock => b"||seed.example^\n",
            ListFormat::Hosts => b"0.0.0.0 seed.example\n",
            ListFormat::Plain => b"seed.example\n",
            ListFormat::Rpz => b"$ORIGIN rpz.example.\n",
        };
        let list = [head, data].concat();
        let mut lines: Vec<&[u8]> = data.split(|&byte| byte == b'\n').collect();
        let dressed = [b"\xef\xbb\xbf", head, &lines.join(b"\r\n".as_slice()), b"\r\n"].concat();
        // The order of a zone means something: it has an origin, and records of several lines.
        if format != ListFormat::Rpz {
            lines.reverse();
        }
        let mut turned = [head, &lines.join(&b'\n')].concat();
        // So does the case of AdBlock's words.
        if format != ListFormat::AdBlock {
            turned.make_ascii_uppercase();
        }
        let files = [
            ("given", vec![list.clone()]),
            ("allow", vec![list.clone()]),
            ("broad", vec![list.clone()]),
            ("dressed", vec![dressed]),
            ("headless", vec![data.to_vec()]),
            ("turned", vec![turned]),
            ("twice", vec![list.clone(), list]),
        ];
        Self(files.into_iter().map(|(name, files)| (PathBuf::from(name), files)).collect())
    }
}

impl ReadList for Variants {
    fn read(&self, path: &Path) -> io::Result<Vec<ListFile>> {
        let files = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        let file = |bytes: &Vec<u8>| ListFile { path: path.to_path_buf(), bytes: Box::new(bytes.clone()) };
        Ok(files.iter().map(file).collect())
    }
}
