//! What the shell hands in: this crate does no I/O.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use miette::NamedSource;

use crate::diagnostic::{Diagnostic, Report, lines};

/// One policy file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where the text came from; lists are found relative to it.
    pub path: PathBuf,
    /// The YAML text.
    pub text: String,
}

impl Source {
    /// The text of a file's bytes; an error at the first one that is not UTF-8.
    pub fn from_bytes(path: PathBuf, bytes: Vec<u8>) -> Result<Self, Report> {
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { path, text }),
            Err(error) => Err(Report::from(vec![not_utf8(path, &error)])),
        }
    }
}

/// One file of a list of names.
pub struct ListFile {
    /// Where the bytes came from, for reports.
    pub path: PathBuf,
    /// The content: owned, or mapped into memory. It must not change as long as it is borrowed: the names of the list stay
    /// in it.
    pub bytes: Box<dyn AsRef<[u8]> + Send + Sync>,
}

/// The bytes of a list, shared by the names that lie in it.
pub(crate) type Bytes = Arc<dyn AsRef<[u8]> + Send + Sync>;

/// How lists are read: the shell does it, or a test.
pub trait ReadList {
    /// Reads what a policy calls `path`, already joined to the folder of the policy file.
    ///
    /// A file gives one entry, a directory its files in sorted order.
    fn read(&self, path: &Path) -> io::Result<Vec<ListFile>>;
}

/// A [`ReadList`] for policies without lists: every read is an error.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLists;

impl ReadList for NoLists {
    fn read(&self, _path: &Path) -> io::Result<Vec<ListFile>> {
        Err(io::Error::new(io::ErrorKind::Unsupported, "lists are not read here"))
    }
}

fn not_utf8(path: PathBuf, error: &std::string::FromUtf8Error) -> Diagnostic {
    let (valid, _) = error.as_bytes().split_at(error.utf8_error().valid_up_to());
    let before = String::from_utf8_lossy(valid);
    let before = before.strip_prefix('\u{feff}').unwrap_or(&before);
    let text = String::from_utf8_lossy(error.as_bytes());
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let source = NamedSource::new(path.display().to_string(), text.to_owned());
    let mut found = Diagnostic::of_file(path, "not-utf8", "the file is not UTF-8");
    let (index, (_, line)) = lines(before).enumerate().last().unwrap_or_default();
    found.line = index + 1;
    found.column = line.chars().count() + 1;
    found.hint("save the file as UTF-8").source(&Arc::new(source))
}

#[cfg(test)]
mod tests;
