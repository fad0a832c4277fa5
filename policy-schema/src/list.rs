//! Lists of names in the formats that are passed around: hosts, plain, AdBlock and RPZ.

use std::net::IpAddr;

use serde::Serialize;

use crate::domain::{Breadth, DomainPattern, suffix_breadth};
use crate::list::shape::{Seen, Shapes};
use crate::names::{Full, NameRef, NameSetBuilder};
use crate::terms::Form;

mod shape;

/// How many globs one rule takes from its lists; each costs what a thousand names cost.
const MAX_GLOBS: usize = 1024;

/// The format of a list, told by its first line that is no comment.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ListFormat {
    /// `||name^`: the name and everything below it.
    AdBlock,
    /// `0.0.0.0 name`, as in /etc/hosts: the name alone.
    Hosts,
    /// One name or pattern a line.
    Plain,
    /// A response policy zone: `name CNAME .`.
    Rpz,
}

/// What one file of a list gave.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Outcome {
    pub format: Option<ListFormat>,
    /// Names that were new.
    pub names: usize,
    /// Names that were in the rule already.
    pub duplicates: usize,
    pub bad: Vec<BadLine>,
    /// All bad lines, those not kept in `bad` too.
    pub bad_count: usize,
}

/// A line that was not understood.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct BadLine {
    pub line: usize,
    pub reason: String,
}

/// How many bad lines of a file are told one by one.
const MAX_BAD: usize = 10;

/// Reads a list into a rule's names. `broadest` is the widest pattern it may hold; `bytes` are those of the last list that
/// `names` took in, so that names can stay where they lie.
pub(crate) fn read(bytes: &[u8], broadest: Breadth, names: &mut NameSetBuilder) -> Outcome {
    read_with(Shapes::default(), bytes, broadest, names)
}

fn read_with(mut shapes: Shapes, bytes: &[u8], broadest: Breadth, names: &mut NameSetBuilder) -> Outcome {
    let (outcome, zone) = (Outcome::default(), Zone::default());
    let mut reader = Reader { broadest, names, outcome, zone, found: 0, seen: None };
    let mut at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut number = 0;
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        number += 1;
        let result = if let Some(known) = shapes.find(rest).filter(|_| !reader.zone.open) {
            let start = at + known.start;
            at += known.line + 1;
            reader.take(known.form, known.name, start)
        } else {
            let line = rest.split(|&byte| byte == b'\n').next().unwrap_or_default();
            let result = reader.line(line, at);
            if result.is_ok() && reader.found == 1 && !reader.zone.open {
                shapes.learn(line, at, reader.seen);
            }
            at += line.len() + 1;
            result
        };
        if let Err(reason) = result {
            reader.outcome.bad_count += 1;
            if reader.outcome.bad.len() < MAX_BAD {
                reader.outcome.bad.push(BadLine { line: number, reason });
            }
        }
    }
    reader.outcome
}

/// How many names a list is likely to hold: one a line, unless the lines are empty.
pub(crate) fn names_in(bytes: &[u8]) -> usize {
    const SHORTEST: usize = "a.b\n".len();
    let lines = bytes.iter().filter(|&&byte| byte == b'\n').count() + 1;
    lines.min(bytes.len() / SHORTEST + 1)
}

struct Reader<'a> {
    broadest: Breadth,
    names: &'a mut NameSetBuilder,
    outcome: Outcome,
    zone: Zone,
    /// How many names were found in the line.
    found: usize,
    /// The last of them, if it lies there in its one spelling.
    seen: Option<Seen>,
}

/// A line, and where in the list it starts.
#[derive(Clone, Copy)]
struct Line<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Line<'_> {
    /// Where in the list `base` lies, if `written`, which is a part of the line, holds it as it is.
    fn find(self, written: &str, base: &str) -> Option<usize> {
        let prefix = written.strip_prefix("*.").or_else(|| written.strip_prefix('.')).unwrap_or(written);
        let start = (prefix.as_ptr() as usize).checked_sub(self.bytes.as_ptr() as usize)?;
        let found = self.bytes.get(start..start + base.len())?;
        (found == base.as_bytes()).then_some(self.at + start)
    }
}

/// What the lines of a response policy zone share.
#[derive(Default)]
struct Zone {
    origin: String,
    /// Inside the parentheses of a record that runs over several lines.
    open: bool,
}

impl Reader<'_> {
    /// Reads the line that starts at `at` of the list.
    fn line(&mut self, line: &[u8], at: usize) -> Result<(), String> {
        (self.found, self.seen) = (0, None);
        let text = str::from_utf8(line).map_err(|_| "the line is not UTF-8".to_owned())?;
        let indented = text.starts_with([' ', '\t']);
        let text = text.trim();
        if text.is_empty() || text.starts_with('#') {
            return Ok(());
        }
        let format = match self.outcome.format {
            Some(format) => format,
            None if text.starts_with(';') => return Ok(()),
            None => {
                let format = detect(text);
                self.outcome.format = Some(format);
                format
            }
        };
        let place = Line { bytes: line, at };
        match format {
            ListFormat::AdBlock => self.adblock(text, place),
            ListFormat::Hosts | ListFormat::Plain => self.entry(text, place),
            ListFormat::Rpz => self.record(text, indented, place),
        }
    }

    /// `name # comment` or `address name name # comment`.
    fn entry(&mut self, line: &str, place: Line<'_>) -> Result<(), String> {
        // A comment starts a word; `example.com##.banner` is a cosmetic rule, not a name with a comment.
        let mut fields = line.split_ascii_whitespace().take_while(|field| !field.starts_with('#'));
        let Some(first) = fields.next() else { return Ok(()) };
        let rest: Vec<&str> = fields.collect();
        // An interface may follow the address, as in `fe80::1%lo0`.
        let address = first.split('%').next().unwrap_or_default().parse::<IpAddr>();
        match (address, rest.as_slice()) {
            (_, []) => self.name(first, false, place),
            (Ok(_), names) => names
                .iter()
                .filter(|name| !is_own_name(name))
                .try_for_each(|name| self.name(name, false, place)),
            (Err(_), _) => Err("the line holds more than one name".to_owned()),
        }
    }

    fn adblock(&mut self, line: &str, place: Line<'_>) -> Result<(), String> {
        if line.starts_with('!') || line.starts_with('[') && line.ends_with(']') {
            return Ok(());
        }
        if line.starts_with("@@") {
            return Err("an exception of the list; write it under `except`".to_owned());
        }
        let Some(rule) = line.strip_prefix("||") else { return self.entry(line, place) };
        let (name, options) = rule.split_once('$').unwrap_or((rule, ""));
        let narrowing = options
            .split(',')
            .find(|option| !matches!(*option, "" | "all" | "doc" | "document" | "important"));
        if let Some(option) = narrowing {
            return Err(format!("the option `{option}` says more than a name can"));
        }
        let Some(name) = name.strip_suffix('^') else {
            return Err("the rule does not end in `^`, so it is about URLs".to_owned());
        };
        self.name(name, true, place)
    }

    /// One line of a response policy zone.
    fn record(&mut self, line: &str, indented: bool, place: Line<'_>) -> Result<(), String> {
        let zone = &mut self.zone;
        let content = line.split(';').next().unwrap_or_default();
        if zone.open {
            zone.open = !content.contains(')');
            return Ok(());
        }
        zone.open = content.contains('(') && !content.contains(')');
        let mut fields = content.split_ascii_whitespace();
        let Some(owner) = fields.next() else { return Ok(()) };
        if owner.eq_ignore_ascii_case("$ORIGIN") {
            zone.origin = fields.next().unwrap_or_default().trim_matches('.').to_ascii_lowercase();
            return Ok(());
        }
        // A line without an owner goes on about the one before, which is noted already.
        if owner.starts_with('$') || indented {
            return Ok(());
        }
        let rest: Vec<String> = fields.map(str::to_ascii_uppercase).collect();
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let mut data = rest.iter().map(String::as_str).skip_while(|text| is_number(text) || *text == "IN");
        let (kind, target) = (data.next().unwrap_or_default(), data.next().unwrap_or_default());
        match (kind, target) {
            ("SOA", _) if owner != "@" => {
                zone.origin = owner.trim_matches('.').to_ascii_lowercase();
                Ok(())
            }
            ("SOA" | "NS" | "DNSKEY" | "RRSIG" | "NSEC" | "NSEC3" | "NSEC3PARAM", _) => Ok(()),
            ("CNAME", "." | "*." | "RPZ-DROP.") => self.owner(owner, place),
            ("CNAME", "RPZ-PASSTHRU.") => Err("an exception of the list; write it under `except`".to_owned()),
            ("CNAME", "RPZ-TCP-ONLY.") => Err("`rpz-tcp-only` blocks nothing".to_owned()),
            ("CNAME" | "A" | "AAAA" | "TXT", target) if !target.is_empty() => self.owner(owner, place),
            ("", _) => Err("the record has no type".to_owned()),
            (kind, _) => Err(format!("a record of type `{kind}` is no policy action")),
        }
    }

    fn owner(&mut self, owner: &str, place: Line<'_>) -> Result<(), String> {
        let relative = match owner.strip_suffix('.') {
            Some(absolute) => self.zone.relative(absolute).trim_end_matches('.'),
            None => owner,
        };
        let trigger = relative.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        if matches!(trigger.as_str(), "rpz-ip" | "rpz-nsip" | "rpz-nsdname" | "rpz-client-ip") {
            return Err(format!("the trigger `{trigger}` is not about a name"));
        }
        self.name(relative, false, place)
    }

    /// Takes a name as it is written in the line; `with_below` adds what is below an exact one.
    fn name(&mut self, written: &str, with_below: bool, line: Line<'_>) -> Result<(), String> {
        let pattern = DomainPattern::parse(written).map_err(|error| error.to_string())?;
        self.found += 1;
        let pattern = if with_below { pattern.with_below() } else { pattern };
        let form = match &pattern {
            DomainPattern::Below(_) => Form::Below,
            DomainPattern::Both(_) => Form::Both,
            DomainPattern::Exact(_) => Form::Exact,
            DomainPattern::Glob(_) => return self.glob(pattern),
        };
        let start = line.find(written, pattern.base());
        self.seen = start.map(|start| Seen { form, start, length: pattern.base().len() });
        match start {
            Some(start) => self.take(form, pattern.base().as_bytes(), start),
            None => {
                self.narrow(form, pattern.base().as_bytes())?;
                let taken = self.names.insert(pattern);
                self.count(taken)
            }
        }
    }

    /// Takes a name that lies at `start` of the list.
    fn take(&mut self, form: Form, name: &[u8], start: usize) -> Result<(), String> {
        self.narrow(form, name)?;
        let taken = self.names.names.insert_listed(form, name, start);
        self.count(taken)
    }

    fn glob(&mut self, pattern: DomainPattern) -> Result<(), String> {
        if pattern.breadth() > self.broadest {
            return Err(too_broad(&pattern));
        }
        if self.names.globs.len() >= MAX_GLOBS {
            return Err(format!("the rule has more than {MAX_GLOBS} patterns with a `*` inside a label"));
        }
        let taken = self.names.insert(pattern);
        self.count(taken)
    }

    /// Refuses what is broader than the rule allows.
    fn narrow(&self, form: Form, name: &[u8]) -> Result<(), String> {
        if form == Form::Exact || suffix_breadth(name) <= self.broadest {
            return Ok(());
        }
        Err(too_broad(&NameRef { form, name: &String::from_utf8_lossy(name) }))
    }

    fn count(&mut self, taken: Result<bool, Full>) -> Result<(), String> {
        match taken {
            Ok(true) => self.outcome.names += 1,
            Ok(false) => self.outcome.duplicates += 1,
            Err(Full) => return Err("the rule has no room for more names".to_owned()),
        }
        Ok(())
    }
}

impl Zone {
    /// An absolute name without the zone's own.
    fn relative<'a>(&self, absolute: &'a str) -> &'a str {
        let split = absolute.len().checked_sub(self.origin.len()).filter(|_| !self.origin.is_empty());
        match split.and_then(|at| Some((absolute.get(..at)?, absolute.get(at..)?))) {
            Some((relative, origin)) if origin.eq_ignore_ascii_case(&self.origin) => relative,
            Some(_) | None => absolute,
        }
    }
}

fn too_broad(pattern: &impl std::fmt::Display) -> String {
    format!("`{pattern}` covers a public suffix; the rule does not say `allowBroad: true`")
}

fn detect(line: &str) -> ListFormat {
    if line.starts_with('!') || line.starts_with("||") || line.starts_with("@@") || line.starts_with('[') {
        return ListFormat::AdBlock;
    }
    let mut fields = line.split_ascii_whitespace();
    let first = fields.next().unwrap_or_default();
    if first.starts_with('$')
        || first == "@"
        || fields.clone().any(|field| matches!(field, "CNAME" | "SOA" | "IN"))
    {
        return ListFormat::Rpz;
    }
    match (first.parse::<IpAddr>(), fields.next()) {
        (Ok(_), Some(_)) => ListFormat::Hosts,
        _ => ListFormat::Plain,
    }
}

/// The names that a hosts file gives the machine itself.
const OWN_NAMES: [&str; 12] = [
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "0.0.0.0",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
];

fn is_own_name(name: &str) -> bool {
    OWN_NAMES.iter().any(|own| own.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests;
