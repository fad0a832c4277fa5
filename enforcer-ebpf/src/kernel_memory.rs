//! Memory of the kernel's own, read by address: every read is checked by the helper.

use crate::Error;
use aya_ebpf::helpers::bpf_probe_read_kernel;
use enforcer_common::sockaddr::Memory;

/// What lies at an address.
#[derive(Clone, Copy)]
pub(crate) struct KernelMemory(pub(crate) *const u8);

impl KernelMemory {
    /// The integer, or array of them, at an offset; of fields, the offset is that of the running kernel's BTF.
    #[inline(always)]
    pub(crate) fn at<T>(self, offset: u32) -> Result<T, Error> {
        // SAFETY: the helper checks the address it reads; `T` has no invalid bit pattern.
        unsafe { bpf_probe_read_kernel(self.0.wrapping_add(offset as usize).cast::<T>()) }
            .map_err(|_| Error::Unreadable)
    }

    /// What the pointer at an offset leads to.
    #[inline(always)]
    pub(crate) fn follow(self, offset: u32) -> Result<Self, Error> {
        self.at::<u64>(offset).map(|address| Self(address as *const u8))
    }
}

impl Memory for KernelMemory {
    type Error = Error;

    #[inline(always)]
    fn load<const N: usize>(&self, at: usize) -> Result<[u8; N], Error> {
        self.at(at as u32)
    }
}
