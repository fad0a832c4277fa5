//! What the shell hands in: this crate does no I/O.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One policy file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where the text came from; lists are found relative to it.
    pub path: PathBuf,
    /// The YAML text.
    pub text: String,
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
