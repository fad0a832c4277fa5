//! The few patterns that need a glob engine: names with a `*` inside a label, and paths of cgroups.
//!
//! The only file that names `globset`. A glob costs it a thousand times what a plain name costs
//! [`crate::names::Names`], so nothing else may end up here.

use globset::{GlobBuilder, GlobMatcher};
use thiserror::Error;

use crate::domain::NameGlob;
use crate::terms::Form;

/// The globs over names that one rule has.
#[derive(Clone, Debug, Default)]
pub struct GlobSet {
    patterns: Vec<NameGlob>,
    set: globset::GlobSet,
}

impl GlobSet {
    /// Compiles them.
    pub fn new(mut patterns: Vec<NameGlob>) -> Result<Self, GlobError> {
        patterns.sort_by_cached_key(ToString::to_string);
        patterns.dedup();
        let mut builder = globset::GlobSet::builder();
        for pattern in &patterns {
            builder.add(compile(&as_path(pattern)?)?);
        }
        let set = builder.build().map_err(|error| GlobError::Unusable(error.to_string()))?;
        Ok(Self { patterns, set })
    }

    /// Whether a glob matches the name.
    pub fn is_match(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// The first glob that matches the name.
    pub fn find(&self, name: &str) -> Option<&NameGlob> {
        if self.patterns.is_empty() {
            return None;
        }
        let index = *self.set.matches(name_as_path(name)).first()?;
        self.patterns.get(index)
    }

    /// The globs, sorted by text, each once.
    pub fn patterns(&self) -> &[NameGlob] {
        &self.patterns
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.patterns.len()
    }
}

/// An absolute path with `*` within a segment and `**` for any number of segments.
#[derive(Clone, Debug)]
pub struct PathGlob {
    text: Box<str>,
    matcher: GlobMatcher,
}

impl PathGlob {
    pub(crate) fn parse(text: &str) -> Result<Self, GlobError> {
        if !text.starts_with('/') {
            return Err(GlobError::Relative);
        }
        let text = if text.len() > 1 { text.trim_end_matches('/') } else { text };
        let mut pattern = String::new();
        for (index, segment) in text.split('/').enumerate() {
            if index > 0 {
                pattern.push('/');
                if segment.is_empty() && text.len() > 1 || segment == "." || segment == ".." {
                    return Err(GlobError::Segment);
                }
            }
            if segment != "**" && segment.contains("**") {
                return Err(GlobError::DoubleStar);
            }
            pattern.push_str(&escape(segment));
        }
        let matcher = compile(&pattern)?.compile_matcher();
        Ok(Self { text: text.into(), matcher })
    }

    /// The glob as it was written, without a trailing slash.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the glob matches the whole path.
    pub fn is_match(&self, path: &str) -> bool {
        let path = if path.len() > 1 { path.trim_end_matches('/') } else { path };
        // `/ci/**` is what is below `/ci`; globset takes the root for something below itself.
        if path == "/" { &*self.text == "/" } else { self.matcher.is_match(path) }
    }
}

impl PartialEq for PathGlob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathGlob {}

/// Why a text is no glob.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum GlobError {
    /// `**` together with other characters in one segment.
    #[error("`**` does not stand alone between slashes")]
    DoubleStar,
    /// A path that does not start at the root.
    #[error("the path does not start with `/`")]
    Relative,
    /// An empty segment, `.` or `..`.
    #[error("the path has an empty segment, `.` or `..`")]
    Segment,
    /// The glob engine refused it.
    #[error("the pattern cannot be compiled: {0}")]
    Unusable(String),
}

impl GlobError {
    /// What to write instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::DoubleStar => "write `/ci/**` for everything below `/ci`, `/ci/job-*` for one level",
            Self::Relative => "write the path below the cgroup mount, such as `/system.slice/**`",
            Self::Segment => "write the path in its plain form, such as `/ci/job`",
            Self::Unusable(_) => "write fewer or shorter patterns",
        }
    }
}

fn as_path(glob: &NameGlob) -> Result<String, GlobError> {
    let labels: Vec<String> = glob.text().split('.').map(|label| squeeze(&escape(label))).collect();
    let path = labels.join("/");
    Ok(match glob.form() {
        Form::Below => format!("*/**/{path}"),
        Form::Both => format!("**/{path}"),
        Form::Exact => path,
    })
}

/// globset has one separator, the slash: with the dots turned into it no `*` crosses a label. A byte that is written
/// `\DDD` is one character, which no glob names.
fn name_as_path(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    let mut characters = name.chars();
    while let Some(character) = characters.next() {
        if character == '\\' {
            characters.nth(2);
        }
        path.push(if character == '.' { '/' } else { character });
    }
    path
}

/// One `*` for several in a row, which globset would read as any number of segments.
fn squeeze(label: &str) -> String {
    let mut text = label.to_owned();
    while text.contains("**") {
        text = text.replace("**", "*");
    }
    text
}

fn escape(segment: &str) -> String {
    let mut text = String::new();
    for c in segment.chars() {
        if matches!(c, '?' | '[' | ']' | '{' | '}' | '\\' | '!') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

fn compile(pattern: &str) -> Result<globset::Glob, GlobError> {
    let mut builder = GlobBuilder::new(pattern);
    builder.literal_separator(true).backslash_escape(true);
    builder.build().map_err(|error| GlobError::Unusable(error.kind().to_string()))
}

#[cfg(test)]
mod tests;
