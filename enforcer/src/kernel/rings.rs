//! The rings: what the programs hand to the daemon.

use super::KernelError;
use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use std::os::fd::{AsFd as _, OwnedFd};

/// One ring, and a file descriptor to wait on.
pub struct Ring {
    ring: RingBuf<MapData>,
}

impl Ring {
    pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, KernelError> {
        let map =
            ebpf.take_map(name).ok_or_else(|| KernelError::Object(format!("ring `{name}` is not there")))?;
        let ring = RingBuf::try_from(map).map_err(|error| KernelError::Object(error.to_string()))?;
        Ok(Self { ring })
    }

    /// A file descriptor that becomes readable when the ring has something to read.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub fn readable(&self) -> std::io::Result<OwnedFd> {
        self.ring.as_fd().try_clone_to_owned()
    }

    /// Hands every record that is there to `read`; returns how many.
    pub fn drain(&mut self, mut read: impl FnMut(&[u8])) -> usize {
        let mut count = 0;
        while let Some(record) = self.ring.next() {
            read(&record);
            count += 1;
        }
        count
    }
}
