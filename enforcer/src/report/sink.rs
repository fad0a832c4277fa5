//! Where events go.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::str::FromStr;

use miette::Diagnostic;
use thiserror::Error;

use super::{Event, json, text};

/// How events are written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// One object on one line.
    Json,
    /// Lines for people.
    Text,
}

/// Where to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Target {
    /// Appended to a file that only its owner can read.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

/// A sink as the command line names it: `[FORMAT=]PATH`, `-` for standard output.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SinkSpec {
    /// Unless given: text on a terminal, JSON otherwise.
    pub format: Option<Format>,
    /// Where to.
    pub target: Target,
}

/// Why a text names no sink.
#[derive(Clone, Debug, Diagnostic, Eq, Error, PartialEq)]
pub enum SpecError {
    /// No path.
    #[error("events need a path to be written to")]
    #[diagnostic(help("write `[FORMAT=]PATH`, with `-` for standard output"))]
    Empty,
    /// A format of the future.
    #[error("the event format `{0}` is not supported yet")]
    #[diagnostic(help("write `text` or `json`"))]
    NotYet(String),
    /// No such format.
    #[error("there is no event format `{0}`")]
    #[diagnostic(help("write `text` or `json`; for a file with `=` in its name, put `./` in front"))]
    UnknownFormat(String),
}

/// Why a sink cannot be opened.
#[derive(Debug, Diagnostic, Error)]
#[error("`{path}` cannot be opened for events")]
pub struct SinkError {
    path: PathBuf,
    #[source]
    source: io::Error,
}

/// Formats that are known and not written.
const PLANNED: [&str; 3] = ["ocsf", "tracee", "tracee-v0"];

impl FromStr for SinkSpec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let (format, path) = match text.split_once('=') {
            Some((format, _)) if format.contains('/') => (None, text),
            Some((format, path)) => (Some(format), path),
            None => (None, text),
        };
        let format = match format {
            None => None,
            Some("json") => Some(Format::Json),
            Some("text") => Some(Format::Text),
            Some(planned) if PLANNED.contains(&planned) => return Err(SpecError::NotYet(planned.into())),
            Some(unknown) => return Err(SpecError::UnknownFormat(unknown.into())),
        };
        let target = match path {
            "" => return Err(SpecError::Empty),
            "-" => Target::Stdout,
            path => Target::File(path.into()),
        };
        Ok(Self { format, target })
    }
}

/// An open sink. Events are collected until [`Sink::flush`], or until some 8 KiB have come together.
pub struct Sink {
    format: Format,
    colours: bool,
    line: Vec<u8>,
    out: BufWriter<Box<dyn Write + Send>>,
}

impl Sink {
    /// Opens a sink; `colours` are for text only.
    pub fn open(spec: &SinkSpec, colours: bool) -> Result<Self, SinkError> {
        let SinkSpec { format, target } = spec;
        Ok(match target {
            Target::File(path) => {
                let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
                let file = file.map_err(|source| SinkError { path: path.clone(), source })?;
                let usual = if file.is_terminal() { Format::Text } else { Format::Json };
                Self::new(format.unwrap_or(usual), colours, file)
            }
            Target::Stdout => {
                let out = io::stdout();
                let usual = if out.is_terminal() { Format::Text } else { Format::Json };
                Self::new(format.unwrap_or(usual), colours, out)
            }
        })
    }

    /// A sink over any writer.
    pub fn new(format: Format, colours: bool, out: impl Write + Send + 'static) -> Self {
        Self { format, colours, line: Vec::with_capacity(512), out: BufWriter::new(Box::new(out)) }
    }

    /// Adds an event.
    pub fn write(&mut self, event: &Event) -> io::Result<()> {
        self.line.clear();
        match self.format {
            Format::Json => json::write(event, &mut self.line)?,
            Format::Text => text::write(event, self.colours, &mut self.line)?,
        }
        self.out.write_all(&self.line)
    }

    /// Hands everything to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
