//! What is wrong with a policy, where, and what to write instead.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::{LabeledSpan, NamedSource, SourceCode, SourceSpan};
use serde::Serialize;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// The policy is refused.
    Error,
    /// The policy works, and probably not as meant.
    Warning,
}

/// One finding about one place of one file.
///
/// `Display` is the bare message; [`Diagnostic::render`] adds the place, the source line and the hint.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// A stable word for the kind of finding, such as `unknown-key`.
    pub code: &'static str,
    /// What was found: one line, lower case.
    pub message: String,
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The path of the field, such as `rules[2].to.names[0]`; empty for the file as a whole.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    #[serde(skip)]
    length: usize,
    #[serde(skip)]
    source: Option<Arc<NamedSource<String>>>,
}

impl Diagnostic {
    /// An error about a file as a whole, such as one that cannot be read.
    pub fn of_file(file: PathBuf, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, message, Location { file, line: 1, column: 1 })
    }

    pub(crate) fn new(
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
        at: Location,
    ) -> Self {
        let Location { file, line, column } = at;
        Self {
            severity,
            code,
            message: one_line(message.into()),
            file,
            line,
            column,
            field: String::new(),
            hint: None,
            length: 1,
            source: None,
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(one_line(hint.into()));
        self
    }

    pub(crate) fn field(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }

    pub(crate) fn length(mut self, characters: usize) -> Self {
        self.length = characters;
        self
    }

    pub(crate) fn source(mut self, source: &Arc<NamedSource<String>>) -> Self {
        self.source = Some(Arc::clone(source));
        self
    }

    /// The finding for people: message, place, source line with a caret, hint.
    pub fn render(&self) -> String {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let Self { code, message, line, column, .. } = self;
        let mut text =
            format!("{severity}[{code}]: {message}\n  --> {}:{line}:{column}\n", self.file.display());
        let gutter = " ".repeat(line.to_string().len());
        if let Some(source) = self.source_line() {
            // A tab stays a tab, so that the caret stands below its character in any terminal.
            let before = source.chars().take(column.saturating_sub(1));
            let pad: String = before.map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
            let room = source.chars().count().saturating_sub(column.saturating_sub(1)).max(1);
            let caret = "^".repeat(self.length.clamp(1, room));
            // Each character keeps its place, and none of them speaks to the terminal.
            let source: String =
                source.chars().map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c }).collect();
            text.push_str(&format!(" {gutter} |\n {line} | {source}\n {gutter} | {pad}{caret}\n"));
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!(" {gutter} = hint: {hint}\n"));
        }
        text
    }

    fn source_line(&self) -> Option<&str> {
        let (_, line) = lines(self.source.as_ref()?.inner()).nth(self.line.checked_sub(1)?)?;
        (!line.trim().is_empty()).then_some(line)
    }

    /// The place as byte offsets into the source.
    fn span(&self) -> Option<SourceSpan> {
        let text = self.source.as_ref()?.inner();
        let (start, line) = lines(text).nth(self.line.checked_sub(1)?)?;
        let bytes = |characters: usize| line.chars().take(characters).map(char::len_utf8).sum::<usize>();
        let before = bytes(self.column.saturating_sub(1));
        let through = bytes(self.column.saturating_sub(1) + self.length);
        Some((start + before, through - before).into())
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Diagnostic {}

impl miette::Diagnostic for Diagnostic {
    fn code<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        Some(Box::new(self.code))
    }

    fn severity(&self) -> Option<miette::Severity> {
        Some(match self.severity {
            Severity::Error => miette::Severity::Error,
            Severity::Warning => miette::Severity::Warning,
        })
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.hint.as_ref().map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        self.source.as_deref().map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let label = LabeledSpan::new_with_span(None, self.span()?);
        Some(Box::new(std::iter::once(label)))
    }
}

/// The lines as YAML counts them, each with the byte it starts at: `\r` alone ends a line too.
///
/// Behind the last line break there is one more line, which may be empty.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut next = Some(0);
    std::iter::from_fn(move || {
        let start = next?;
        let rest = text.get(start..)?;
        let (line, rest) = rest.split_at_checked(rest.find(['\n', '\r']).unwrap_or(rest.len()))?;
        let end = if rest.starts_with("\r\n") { 2 } else { 1 };
        next = (!rest.is_empty()).then_some(start + line.len() + end);
        Some((start, line))
    })
}

/// The text without what would break its line, or speak to a terminal: files and lists may hold anything.
fn one_line(text: String) -> String {
    if !text.contains(char::is_control) {
        return text;
    }
    let escape = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    text.chars().map(escape).collect()
}

/// Everything that was found, at least one error among it, in the order of the file.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
}

impl Report {
    pub(crate) fn new(mut diagnostics: Vec<Diagnostic>) -> Self {
        diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
        Self { diagnostics }
    }

    /// All findings, warnings too.
    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.diagnostics
    }

    /// The findings, given up.
    pub fn into_diagnostics(self) -> Vec<Diagnostic> {
        self.diagnostics
    }

    /// All findings for people, one after the other.
    pub fn render(&self) -> String {
        let texts: Vec<String> = self.diagnostics.iter().map(Diagnostic::render).collect();
        texts.join("\n")
    }
}

impl From<Vec<Diagnostic>> for Report {
    fn from(diagnostics: Vec<Diagnostic>) -> Self {
        Self::new(diagnostics)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let errors = self.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
        match self.diagnostics.iter().find(|d| d.severity == Severity::Error) {
            Some(first) if errors == 1 => write!(f, "{}:{}: {first}", first.file.display(), first.line),
            Some(first) => {
                write!(f, "{}:{}: {first} (and {} more)", first.file.display(), first.line, errors - 1)
            }
            None => f.write_str("nothing was found"),
        }
    }
}

impl std::error::Error for Report {}

impl miette::Diagnostic for Report {
    fn related<'a>(&'a self) -> Option<Box<dyn Iterator<Item = &'a dyn miette::Diagnostic> + 'a>> {
        Some(Box::new(self.diagnostics.iter().map(|d| d as &dyn miette::Diagnostic)))
    }
}

/// A place in a file.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Location {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
}

impl Location {
    pub(crate) fn line(file: &Path, line: usize) -> Self {
        Self { file: file.to_path_buf(), line, column: 1 }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

#[cfg(test)]
mod tests;
