//! The destinations of a rule: its names, lists, networks and exceptions.

use std::path::Path;
use std::sync::Arc;

use crate::build::Builder;
use crate::build::place::Place;
use crate::diagnostic::{Diagnostic, Location, Severity};
use crate::document::{DestinationsDocument, ExceptDocument, RuleDocument, ToDocument};
use crate::domain::{Breadth, DomainName, DomainPattern, NameError};
use crate::glob::GlobSet;
use crate::list::{self, Outcome};
use crate::names::{Full, NameSet, NameSetBuilder};
use crate::rule::{Destinations, ListSummary};
use crate::source::{Bytes, ListFile};
use crate::terms::{Action, OnBadLine};

impl Builder<'_> {
    pub(super) fn destinations(
        &mut self,
        rule: &RuleDocument,
        place: &Place<'_>,
    ) -> (Destinations, Vec<ListSummary>, Vec<DomainName>) {
        let to = place.key("to");
        let DestinationsDocument { names, lists, cidrs, except } = match &rule.to {
            ToDocument::Word(_) => {
                return (Destinations { any: true, ..Destinations::default() }, Vec::new(), Vec::new());
            }
            ToDocument::Map(map) => map,
        };
        let empty = |texts: &Option<Vec<String>>| texts.as_ref().is_none_or(Vec::is_empty);
        if empty(names) && empty(lists) && empty(cidrs) {
            let hint = "list `names`, `lists` or `cidrs`, or write `to: any`";
            self.empty(&to, "the rule matches no destination", hint);
        }
        let allow_broad = rule.allow_broad.unwrap_or_default();
        let mut set = NameSetBuilder::default();
        let written =
            self.patterns(names.as_deref().unwrap_or_default(), allow_broad, &mut set, &to.key("names"));
        let mut summaries = Vec::new();
        for (index, list) in lists.iter().flatten().enumerate() {
            self.list(rule, list, &mut set, &mut summaries, &to.key("lists").item(index));
        }
        self.note_duplicates(&summaries, &to.key("lists"));
        let none = ExceptDocument::default();
        let ExceptDocument { names: except_names, cidrs: except_cidrs } = except.as_ref().unwrap_or(&none);
        let except = to.key("except");
        let mut carved = NameSetBuilder::default();
        // An exception may be as broad as it likes: it makes the rule smaller.
        self.patterns(except_names.as_deref().unwrap_or_default(), true, &mut carved, &except.key("names"));
        let pre_resolve = if rule.pre_resolve == Some(true) { written } else { Vec::new() };
        if rule.pre_resolve == Some(true) && pre_resolve.is_empty() {
            let hint = "write the names that are meant into `names`; patterns and lists are not looked up";
            self.warning(
                &place.key("preResolve"),
                "nothing-to-resolve",
                "the rule has no name to look up",
                hint,
            );
        }
        let destinations = Destinations {
            any: false,
            names: self.finish(set, &to.key("names")),
            cidrs: self.cidrs(cidrs.as_deref().unwrap_or_default(), &to.key("cidrs")),
            except_names: self.finish(carved, &except.key("names")),
            except_cidrs: self.cidrs(except_cidrs.as_deref().unwrap_or_default(), &except.key("cidrs")),
        };
        (destinations, summaries, pre_resolve)
    }

    /// Takes in written names; gives back those that can be looked up.
    fn patterns(
        &mut self,
        texts: &[String],
        allow_broad: bool,
        set: &mut NameSetBuilder,
        place: &Place<'_>,
    ) -> Vec<DomainName> {
        let mut names = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let place = place.item(index);
            let pattern = match DomainPattern::parse(text) {
                Ok(pattern) => pattern,
                Err(error) => {
                    let message = match &error {
                        NameError::Address(_) | NameError::Url(_) => error.to_string(),
                        _ => format!("`{text}` is not a name: {error}"),
                    };
                    self.error(&place, "bad-name", message, error.hint());
                    continue;
                }
            };
            if pattern.breadth() > Breadth::Narrow && !allow_broad {
                let message = format!("`{pattern}` covers names of everybody");
                let hint = "write the names that are meant, or say `allowBroad: true` in the rule";
                self.error(&place, "broad-name", message, hint);
            }
            if let DomainPattern::Exact(name) | DomainPattern::Both(name) = &pattern {
                names.push(name.clone());
            }
            match set.insert(pattern) {
                Ok(true) => {}
                Ok(false) => {
                    let message = format!("`{text}` stands in the rule already");
                    self.warning(&place, "duplicate-name", message, "leave it out");
                }
                Err(Full) => {
                    let hint = "make several rules of it";
                    self.error(&place, "too-many-names", "the rule has no room for more names", hint);
                }
            }
        }
        names
    }

    fn finish(&mut self, NameSetBuilder { names, globs }: NameSetBuilder, place: &Place<'_>) -> NameSet {
        let globs = GlobSet::new(globs).unwrap_or_else(|error| {
            self.error(place, "bad-glob", error.to_string(), error.hint());
            GlobSet::default()
        });
        NameSet::new(names, globs)
    }

    fn list(
        &mut self,
        rule: &RuleDocument,
        list: &str,
        set: &mut NameSetBuilder,
        summaries: &mut Vec<ListSummary>,
        place: &Place<'_>,
    ) {
        let path = self.path.parent().unwrap_or(Path::new("")).join(list);
        let files = match self.lists.read(&path) {
            Ok(files) => files,
            Err(error) => {
                let message = format!("the list `{list}` cannot be read: {error}");
                self.error(place, "unreadable-list", message, "write the path relative to this file");
                return;
            }
        };
        let before = summaries.len();
        for ListFile { path, bytes } in files {
            let list = Bytes::from(bytes);
            let bytes = (*list).as_ref();
            set.names.add_list(Arc::clone(&list), list::names_in(bytes));
            let outcome = list::read(bytes, broadest(rule), set);
            self.bad_lines(rule.on_bad_line.unwrap_or_default(), &path, &outcome);
            let Outcome { format, names, duplicates, bad: _, bad_count } = outcome;
            summaries.push(ListSummary { path, format, names, duplicates, bad_lines: bad_count });
        }
        if summaries.iter().skip(before).all(|summary| summary.names + summary.duplicates == 0) {
            let message = format!("the list `{list}` holds no name");
            self.warning(place, "empty-list", message, "check the path and the file's content");
        }
    }

    fn bad_lines(&mut self, on_bad_line: OnBadLine, path: &Path, outcome: &Outcome) {
        let (severity, hint) = match on_bad_line {
            OnBadLine::Refuse => (Severity::Error, "correct the line, or let the rule say `onBadLine: skip`"),
            OnBadLine::Skip => {
                (Severity::Warning, "the line is skipped; `onBadLine: refuse` makes this an error")
            }
        };
        for bad in &outcome.bad {
            let at = Location::line(path, bad.line);
            self.diagnostics
                .push(Diagnostic::new(severity, "bad-list-line", bad.reason.clone(), at).hint(hint));
        }
        let rest = outcome.bad_count - outcome.bad.len();
        if let Some(last) = outcome.bad.last()
            && rest > 0
        {
            let message = format!("{rest} more lines of the list are not understood");
            let at = Location::line(path, last.line);
            self.diagnostics.push(Diagnostic::new(severity, "bad-list-line", message, at).hint(hint));
        }
    }

    fn note_duplicates(&mut self, summaries: &[ListSummary], place: &Place<'_>) {
        let duplicates: usize = summaries.iter().map(|summary| summary.duplicates).sum();
        if duplicates > 0 {
            let names: usize = summaries.iter().map(|summary| summary.names).sum();
            let message =
                format!("{duplicates} of {} listed names stand in the rule already", names + duplicates);
            self.warning(
                place,
                "duplicate-names",
                message,
                "they do no harm; drop a list that holds nothing new",
            );
        }
    }
}

/// Feeds of bad names list hosting suffixes of companies on purpose, never those of registries.
fn broadest(rule: &RuleDocument) -> Breadth {
    match rule.action {
        _ if rule.allow_broad == Some(true) => Breadth::PublicSuffix,
        Action::Allow => Breadth::Narrow,
        Action::Deny => Breadth::PrivateSuffix,
    }
}
