//! Lists of names in the formats that are passed around: hosts, plain, AdBlock and RPZ.

use std::net::IpAddr;

use serde::Serialize;

use crate::domain::{Breadth, DomainPattern};
use crate::names::NameSetBuilder;

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

/// Reads a list into a rule's names. `broadest` is the widest pattern it may hold.
pub(crate) fn read(bytes: &[u8], broadest: Breadth, names: &mut NameSetBuilder) -> Outcome {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader { broadest, names, outcome: Outcome::default() };
    let mut zone = Zone::default();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let result = match std::str::from_utf8(line) {
            Ok(line) => reader.line(line.trim(), line.starts_with([' ', '\t']), &mut zone),
            Err(_) => Err("the line is not UTF-8".to_owned()),
        };
        if let Err(reason) = result {
            reader.outcome.bad_count += 1;
            if reader.outcome.bad.len() < MAX_BAD {
                reader.outcome.bad.push(BadLine { line: index + 1, reason });
            }
        }
    }
    reader.outcome
}

struct Reader<'a> {
    broadest: Breadth,
    names: &'a mut NameSetBuilder,
    outcome: Outcome,
}

/// What the lines of a response policy zone share.
#[derive(Default)]
struct Zone {
    origin: String,
    /// Inside the parentheses of a record that runs over several lines.
    open: bool,
}

impl Reader<'_> {
    fn line(&mut self, line: &str, indented: bool, zone: &mut Zone) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let format = match self.outcome.format {
            Some(format) => format,
            None if line.starts_with(';') => return Ok(()),
            None => {
                let format = detect(line);
                self.outcome.format = Some(format);
                format
            }
        };
        match format {
            ListFormat::AdBlock => self.adblock(line),
            ListFormat::Hosts | ListFormat::Plain => self.entry(line),
            ListFormat::Rpz => self.record(line, indented, zone),
        }
    }

    /// `name # comment` or `address name name # comment`.
    fn entry(&mut self, line: &str) -> Result<(), String> {
        // A comment starts a word; `example.com##.banner` is a cosmetic rule, not a name with a comment.
        let mut fields = line.split_ascii_whitespace().take_while(|field| !field.starts_with('#'));
        let Some(first) = fields.next() else { return Ok(()) };
        let rest: Vec<&str> = fields.collect();
        // An interface may follow the address, as in `fe80::1%lo0`.
        let address = first.split('%').next().unwrap_or_default().parse::<IpAddr>();
        match (address, rest.as_slice()) {
            (_, []) => self.name(first),
            (Ok(_), names) => {
                names.iter().filter(|name| !is_own_name(name)).try_for_each(|name| self.name(name))
            }
            (Err(_), _) => Err("the line holds more than one name".to_owned()),
        }
    }

    fn adblock(&mut self, line: &str) -> Result<(), String> {
        if line.starts_with('!') || line.starts_with('[') && line.ends_with(']') {
            return Ok(());
        }
        if line.starts_with("@@") {
            return Err("an exception of the list; write it under `except`".to_owned());
        }
        let Some(rule) = line.strip_prefix("||") else { return self.entry(line) };
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
        match name.strip_prefix("*.") {
            Some(_) => self.name(name),
            None => self.name(&format!(".{name}")),
        }
    }

    /// One line of a response policy zone.
    fn record(&mut self, line: &str, indented: bool, zone: &mut Zone) -> Result<(), String> {
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
            ("CNAME", "." | "*." | "RPZ-DROP.") => self.owner(owner, zone),
            ("CNAME", "RPZ-PASSTHRU.") => Err("an exception of the list; write it under `except`".to_owned()),
            ("CNAME", "RPZ-TCP-ONLY.") => Err("`rpz-tcp-only` blocks nothing".to_owned()),
            ("CNAME" | "A" | "AAAA" | "TXT", target) if !target.is_empty() => self.owner(owner, zone),
            ("", _) => Err("the record has no type".to_owned()),
            (kind, _) => Err(format!("a record of type `{kind}` is no policy action")),
        }
    }

    fn owner(&mut self, owner: &str, zone: &Zone) -> Result<(), String> {
        let name = owner.to_ascii_lowercase();
        let relative = match name.strip_suffix('.') {
            Some(absolute) => match absolute.strip_suffix(&zone.origin) {
                Some(relative) if !zone.origin.is_empty() => relative.trim_end_matches('.'),
                Some(_) | None => absolute,
            },
            None => &name,
        };
        let trigger = relative.rsplit('.').next().unwrap_or_default();
        if matches!(trigger, "rpz-ip" | "rpz-nsip" | "rpz-nsdname" | "rpz-client-ip") {
            return Err(format!("the trigger `{trigger}` is not about a name"));
        }
        self.name(relative)
    }

    fn name(&mut self, text: &str) -> Result<(), String> {
        let pattern = DomainPattern::parse(text).map_err(|error| error.to_string())?;
        if pattern.breadth() > self.broadest {
            return Err(format!(
                "`{pattern}` covers a public suffix; the rule does not say `allowBroad: true`"
            ));
        }
        if matches!(pattern, DomainPattern::Glob(_)) && self.names.globs.len() >= MAX_GLOBS {
            return Err(format!("the rule has more than {MAX_GLOBS} patterns with a `*` inside a label"));
        }
        if self.names.insert(pattern) {
            self.outcome.names += 1;
        } else {
            self.outcome.duplicates += 1;
        }
        Ok(())
    }
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
