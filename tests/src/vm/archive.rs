use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::{HarnessError, Result};

/// A cpio archive in the "newc" format, which the kernel unpacks as its first root file system. Directories come into
/// being with what is put into them.
#[derive(Debug, Default)]
pub struct Archive {
    entries: BTreeMap<PathBuf, Entry>,
}

#[derive(Debug)]
enum Entry {
    Directory { mode: u32 },
    File { mode: u32, modified: u32, content: Content },
    Link { target: PathBuf },
}

#[derive(Debug)]
enum Content {
    Bytes(Vec<u8>),
    /// Read when the archive is written.
    Path(PathBuf),
}

impl Archive {
    /// A directory with this mode.
    pub fn directory(&mut self, path: impl Into<PathBuf>, mode: u32) {
        self.insert(path.into(), Entry::Directory { mode });
    }

    /// A file with this content.
    pub fn bytes(&mut self, path: impl Into<PathBuf>, mode: u32, bytes: impl Into<Vec<u8>>) {
        let content = Content::Bytes(bytes.into());
        self.insert(path.into(), Entry::File { mode, modified: 0, content });
    }

    /// A copy of a file, with its mode and its time: byte-compiled Python is compared by time.
    ///
    /// # Errors
    ///
    /// A file that is not there.
    pub fn copy(&mut self, path: impl Into<PathBuf>, source: impl Into<PathBuf>) -> Result<()> {
        let source = source.into();
        let metadata = metadata(&source)?;
        let modified = u32::try_from(metadata.mtime()).unwrap_or(0);
        let entry = Entry::File { mode: metadata.mode() & 0o7777, modified, content: Content::Path(source) };
        self.insert(path.into(), entry);
        Ok(())
    }

    /// A symbolic link.
    pub fn link(&mut self, path: impl Into<PathBuf>, target: impl Into<PathBuf>) {
        self.insert(path.into(), Entry::Link { target: target.into() });
    }

    fn insert(&mut self, path: PathBuf, entry: Entry) {
        for parent in path.ancestors().skip(1) {
            // A path compares before what is below it, so the directory is written first.
            self.entries.entry(parent.to_owned()).or_insert(Entry::Directory { mode: 0o755 });
        }
        self.entries.insert(path, entry);
    }

    /// Writes the archive.
    ///
    /// # Errors
    ///
    /// A file that cannot be read, or an output that cannot be written.
    pub fn write(&self, output: &mut impl Write) -> Result<()> {
        let mut number = 1;
        for (path, entry) in &self.entries {
            // Names are relative to the root, which itself is "".
            let name = path.strip_prefix("/").unwrap_or(path).to_string_lossy();
            if name.is_empty() {
                continue;
            }
            let (mode, modified, content) = match entry {
                Entry::Directory { mode } => (0o040_000 | mode, 0, Vec::new()),
                Entry::File { mode, modified, content } => (0o100_000 | mode, *modified, content.bytes()?),
                Entry::Link { target } => (0o120_777, 0, target.to_string_lossy().into_owned().into_bytes()),
            };
            let entry = Header { number, mode, modified, name: &name };
            entry.write(&content, output).map_err(HarnessError::system("write the archive"))?;
            number += 1;
        }
        let end = Header { number: 0, mode: 0, modified: 0, name: "TRAILER!!!" };
        end.write(&[], output).map_err(HarnessError::system("write the archive"))
    }
}

impl Content {
    fn bytes(&self) -> Result<Vec<u8>> {
        match self {
            Self::Bytes(bytes) => Ok(bytes.clone()),
            Self::Path(path) => fs::read(path).map_err(HarnessError::file("read", path)),
        }
    }
}

fn metadata(path: &Path) -> Result<Metadata> {
    fs::metadata(path).map_err(HarnessError::file("read", path))
}

struct Header<'name> {
    number: u32,
    mode: u32,
    modified: u32,
    name: &'name str,
}

impl Header<'_> {
    /// `Documentation/driver-api/early-userspace/buffer-format.rst`: thirteen numbers of eight hexadecimal digits, the
    /// name with a zero byte, the content; name and content each padded to a multiple of four.
    fn write(&self, content: &[u8], output: &mut impl Write) -> io::Result<()> {
        let &Self { number, mode, modified, name } = self;
        let too_large = |_| io::Error::other(format!("`{name}` is larger than the format allows"));
        let size = u32::try_from(content.len()).map_err(too_large)?;
        let name_size = u32::try_from(name.len() + 1).map_err(too_large)?;
        let links = 1;
        let numbers = [number, mode, 0, 0, links, modified, size, 0, 0, 0, 0, name_size, 0];
        output.write_all(b"070701")?;
        for number in numbers {
            write!(output, "{number:08x}")?;
        }
        output.write_all(name.as_bytes())?;
        output.write_all(b"\0")?;
        pad(110 + name.len() + 1, output)?;
        output.write_all(content)?;
        pad(content.len(), output)
    }
}

fn pad(length: usize, output: &mut impl Write) -> io::Result<()> {
    const ZEROS: &[u8] = &[0; 3];
    let missing = length.next_multiple_of(4) - length;
    output.write_all(ZEROS.get(..missing).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_come_before_their_contents() {
        let mut archive = Archive::default();
        archive.bytes("/a/b/c", 0o644, "content");
        archive.link("/a.link", "a");
        archive.directory("/a", 0o700);
        let mut output = Vec::new();
        archive.write(&mut output).unwrap();
        let text = String::from_utf8_lossy(&output);
        let names: Vec<&str> =
            text.split("070701").skip(1).map(|entry| entry[104..].split('\0').next().unwrap()).collect();
        assert_eq!(names, ["a", "a/b", "a/b/c", "a.link", "TRAILER!!!"]);
        assert_eq!(output.len() % 4, 0);
    }
}
