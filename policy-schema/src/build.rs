//! From the text of a file to a [`Policy`], with every fault on the way.

use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use miette::NamedSource;
use schemars::Schema;
use serde::de::DeserializeOwned;

use crate::build::place::Place;
use crate::cases::Cases;
use crate::diagnostic::{Diagnostic, Location, Report, Severity, lines};
use crate::document::cases::CasesDocument;
use crate::document::{self, Document, HoldDocument};
use crate::policy::Policy;
use crate::rule::Origin;
use crate::shape;
use crate::source::{NoLists, ReadList, Source};
use crate::terms::{Action, Mode};
use crate::tree::{Node, Spot};

mod cases;
mod names;
mod place;
mod rule;
mod settings;

/// How long bindings live at least, where no file says it.
const HOLD: Hold = Hold { deny: Duration::from_secs(3600), allow: Duration::from_secs(600) };
/// The longest `hold`: a year. What is meant to last longer is a network, not a name.
const MAX_HOLD: Duration = Duration::from_secs(365 * 86_400);
/// What a policy file may hold; made once, since a machine may have many files and a test reads thousands.
static POLICY: LazyLock<Schema> = LazyLock::new(|| schemars::schema_for!(Document));
/// The first character of a file.
const START: Spot = Spot { line: 1, column: 1, length: 1 };
/// What events and test files say where no rule decided.
const RESERVED: [&str; 5] = ["builtin", "default", "error", "literalAddresses", "otherResolvers"];

pub(crate) fn policy(source: &Source, lists: &dyn ReadList) -> Result<(Policy, Vec<Diagnostic>), Report> {
    let mut builder = Builder::new(source, lists);
    let start = "start with `version: 1` and `rules:`";
    let policy =
        builder.file(&source.text, start, &POLICY).map(|(document, root)| builder.policy(document, &root));
    builder.outcome(policy)
}

/// Reads a file of cases.
pub(crate) fn cases(source: &Source) -> Result<Cases, Report> {
    let mut builder = Builder::new(source, &NoLists);
    let schema = schemars::schema_for!(CasesDocument);
    let cases = builder
        .file(&source.text, "start with `cases:`", &schema)
        .map(|(document, root)| builder.cases(document, &root));
    builder.outcome(cases).map(|(cases, _)| cases)
}

/// What the reading of one file shares.
pub(crate) struct Builder<'a> {
    path: &'a Path,
    source: Arc<NamedSource<String>>,
    /// Behind the last character.
    end: Spot,
    lists: &'a dyn ReadList,
    diagnostics: Vec<Diagnostic>,
    /// The fields that were cut out for a fault of shape: what lacks them is not at fault for that.
    cut: Vec<String>,
}

/// What the rules of one file share.
struct Shared {
    policy: Arc<str>,
    mode: Mode,
    hold: Hold,
}

#[derive(Clone, Copy)]
struct Hold {
    deny: Duration,
    allow: Duration,
}

impl Hold {
    fn of(self, action: Action) -> Duration {
        match action {
            Action::Allow => self.allow,
            Action::Deny => self.deny,
        }
    }
}

impl<'a> Builder<'a> {
    fn new(Source { path, text }: &'a Source, lists: &'a dyn ReadList) -> Self {
        // A byte order mark is no character of the file to any editor.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let source = Arc::new(NamedSource::new(path.display().to_string(), text.to_owned()));
        let end = lines(text).enumerate().last().map_or(START, |(index, (_, line))| Spot {
            line: index + 1,
            column: line.chars().count() + 1,
            length: 1,
        });
        Self { path, source, end, lists, diagnostics: Vec::new(), cut: Vec::new() }
    }

    /// What was made of the file with what is doubtful about it, or everything that is wrong.
    fn outcome<T>(self, made: Option<T>) -> Result<(T, Vec<Diagnostic>), Report> {
        let failed = self.diagnostics.iter().any(|found| found.severity == Severity::Error);
        let report = Report::new(self.diagnostics);
        match made {
            Some(made) if !failed => Ok((made, report.into_diagnostics())),
            Some(_) | None => Err(report),
        }
    }

    /// The typed file with its tree. `hint` is how such a file starts.
    fn file<T: DeserializeOwned>(&mut self, text: &str, hint: &str, schema: &Schema) -> Option<(T, Node)> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut root = match Node::parse(text) {
            Ok(Some(root)) => root,
            Ok(None) => {
                self.error_at(START, "empty-file", "the file is empty", hint);
                return None;
            }
            Err(error) => {
                self.error_at(error.spot, error.code, error.message, error.hint);
                return None;
            }
        };
        Some((self.document(text, &mut root, schema)?, root))
    }

    /// The typed file: the whole of it, or what is left of it once its faults of shape are cut out.
    fn document<T: DeserializeOwned>(&mut self, text: &str, root: &mut Node, schema: &Schema) -> Option<T> {
        let (keep, faults) = shape::examine(schema.as_value(), root);
        if faults.is_empty() {
            return match document::from_yaml(text) {
                Ok(document) => Some(document),
                Err(complaint) => {
                    let spot = Spot { line: complaint.line, column: complaint.column, length: 1 };
                    let hint = "compare with the example in the documentation of the policy language";
                    self.error_at(spot, "syntax", complaint.message, hint);
                    None
                }
            };
        }
        for shape::Fault { code, message, hint, spot, field } in faults {
            let mut found =
                Diagnostic::new(Severity::Error, code, message, self.location(spot)).length(spot.length);
            if let Some(hint) = hint {
                found = found.hint(hint);
            }
            self.cut.push(field.clone());
            self.diagnostics.push(found.field(field).source(&self.source));
        }
        if keep { document::from_rest(root.to_json()) } else { None }
    }

    fn policy(&mut self, document: Document, root: &Node) -> Policy {
        let Document {
            version,
            name,
            mode,
            default,
            on_error,
            inbound,
            literal_addresses,
            hold,
            dns,
            sockets,
            rules,
        } = document;
        let place = Place::new(root);
        if version != 1 {
            let message = format!("version {version} of the policy language is not known");
            self.error(&place.key("version"), "unknown-version", message, "write `version: 1`");
        }
        let name = self.name(name, &place);
        let hold = self.hold(hold, HOLD, &place.key("hold"));
        let shared = Shared { policy: Arc::clone(&name), mode: mode.unwrap_or(Mode::Enforce), hold };
        let settings = settings::Keys { default, on_error, inbound, literal_addresses, dns, sockets };
        let settings = self.settings(settings, &place);
        let rules = self.rules(rules, &shared, &place.key("rules"));
        let empty = rules.is_empty() && !self.cut_inside("rules");
        let says = settings.default.is_some()
            || settings.literal_addresses.is_some()
            || settings.other_resolvers.is_some();
        if empty && !says {
            let hint = "add a rule, or set `default`";
            self.warning(&place.key("rules"), "empty-policy", "the policy says nothing", hint);
        }
        let hold_allow = hold.of(Action::Allow);
        Policy { path: self.path.to_path_buf(), name, mode: shared.mode, settings, hold_allow, rules }
    }

    fn name(&mut self, name: Option<String>, root: &Place<'_>) -> Arc<str> {
        let stem = || self.path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let name = name.or_else(stem).unwrap_or_default();
        self.check_label(&name, &root.key("name"));
        name.into()
    }

    /// Names of policies and rules go into events and command lines.
    fn check_label(&mut self, name: &str, place: &Place<'_>) {
        if name.trim().is_empty() || name.trim() != name || name.chars().any(char::is_control) {
            let message = format!("`{}` is not a usable name", name.escape_debug());
            self.error(place, "bad-label", message, "write a short word, such as `ci-guard`");
        }
    }

    fn hold(&mut self, document: Option<HoldDocument>, base: Hold, place: &Place<'_>) -> Hold {
        let HoldDocument { deny, allow } = document.unwrap_or_default();
        Hold {
            deny: self.duration(deny, &place.key("deny")).unwrap_or(base.deny),
            allow: self.duration(allow, &place.key("allow")).unwrap_or(base.allow),
        }
    }

    fn duration(&mut self, text: Option<String>, place: &Place<'_>) -> Option<Duration> {
        let text = text?;
        let duration = parse_duration(&text);
        if duration.is_none() {
            let message = format!("`{text}` is not a duration of at most a year");
            self.error(
                place,
                "bad-duration",
                message,
                "write a number and a unit, such as `90s`, `10m`, `1h`, `1d`",
            );
        }
        duration
    }

    fn error(
        &mut self,
        place: &Place<'_>,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let found = self.origin(place).diagnostic(Severity::Error, code, message);
        self.diagnostics.push(found.hint(hint));
    }

    /// An error about something that holds nothing, unless its content was at fault.
    fn empty(&mut self, place: &Place<'_>, message: &str, hint: &str) {
        if !self.cut_inside(place.field()) {
            self.error(place, "empty-match", message, hint);
        }
    }

    /// Whether something below a field was at fault, and is not there for that.
    fn cut_inside(&self, field: &str) -> bool {
        self.cut.iter().any(|cut| cut.strip_prefix(field).is_some_and(|rest| rest.starts_with(['.', '['])))
    }

    fn warning(
        &mut self,
        place: &Place<'_>,
        code: &'static str,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        let found = self.origin(place).diagnostic(Severity::Warning, code, message);
        self.diagnostics.push(found.hint(hint));
    }

    fn error_at(&mut self, spot: Spot, code: &'static str, message: impl Into<String>, hint: &str) {
        let found = Diagnostic::new(Severity::Error, code, message, self.location(spot));
        self.diagnostics.push(found.length(spot.length).hint(hint).source(&self.source));
    }

    fn origin(&self, place: &Place<'_>) -> Origin {
        let spot = place.spot();
        Origin {
            location: self.location(spot),
            length: spot.length,
            field: place.field().to_owned(),
            source: Arc::clone(&self.source),
        }
    }

    fn location(&self, spot: Spot) -> Location {
        // Both readers believe in a line break at the end of the file.
        let Spot { line, column, length: _ } = if spot.line > self.end.line { self.end } else { spot };
        Location { file: self.path.to_path_buf(), line, column }
    }
}

/// Reads `90s`, `10m`, `1h`, `1d`.
fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim();
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    let duration = Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?);
    (duration <= MAX_HOLD).then_some(duration)
}

#[cfg(test)]
mod tests;
