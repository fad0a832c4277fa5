//! Lists in memory: mapped while nobody can change them, else copied.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd as _,
    path::Path,
};

use memmap2::Mmap;

/// Shorter files are copied: a mapping costs more.
const SHORT: u64 = 64 * 1024;

/// File systems of which every writer is one of this kernel: ext2 to ext4, XFS, Btrfs, tmpfs (statfs(2)).
const LOCAL: [i64; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0x0102_1994];

/// The bytes of a file.
pub(super) fn read(path: &Path) -> io::Result<Box<dyn AsRef<[u8]> + Send + Sync>> {
    let file = File::open(path)?;
    if file.metadata()?.len() >= SHORT
        && let Some(mapped) = Mapped::new(file)
    {
        return Ok(Box::new(mapped));
    }
    Ok(Box::new(fs::read(path)?))
}

/// A mapped file. Dropped in this order: the lease is given back when nothing is mapped any longer.
struct Mapped {
    bytes: Mmap,
    _lease: File,
}

impl Mapped {
    /// `None` where the file may change under us: somebody has it open for writing, it is another user's, or it lies where
    /// others than this kernel write, too.
    fn new(file: File) -> Option<Self> {
        let kind = rustix::fs::fstatfs(&file).ok()?.f_type;
        if !LOCAL.iter().any(|local| i128::from(*local) == i128::from(kind)) {
            return None;
        }
        lease(&file).ok()?;
        // SAFETY: whoever wants to write to the file or to cut it short waits until the lease is given back (fcntl(2)), so the
        // bytes stay as they are for as long as they are mapped. After `lease-break-time` (45 s) the kernel takes the lease
        // away: no policy takes that long to load.
        let bytes = unsafe { Mmap::map(&file) }.ok()?;
        Some(Self { bytes, _lease: file })
    }
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Of include/uapi/asm-generic/fcntl.h; `libc` has no name for it.
const F_SETSIG: libc::c_int = 10;

/// Takes a read lease. Who waits for it is told to us by SIGURG, which by default does nothing; SIGIO would end the process.
fn lease(file: &File) -> io::Result<()> {
    for (command, argument) in [(F_SETSIG, libc::SIGURG), (libc::F_SETLEASE, libc::F_RDLCK)] {
        // SAFETY: takes numbers only, and the file is open.
        if unsafe { libc::fcntl(file.as_raw_fd(), command, argument) } != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
