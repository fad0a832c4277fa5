//! Memory for reading an answer, claimed for as long as one program runs.
//!
//! Programs on one CPU nest, and with full preemption do not end in the reverse order of their starts, so a per-CPU value
//! alone is not safe: one of four is taken by compare-and-exchange.

use crate::atomic;
use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use enforcer_common::dns::Scratch;

const PLACES: usize = 4;

#[btf_map]
static SCRATCH: PerCpuArray<Scratch, PLACES> = PerCpuArray::new();

/// 1 = the place is in use.
#[btf_map]
static SCRATCH_CLAIMS: PerCpuArray<u64, PLACES> = PerCpuArray::new();

/// Runs `work` with a free place; `None` if all are in use.
#[inline(always)]
pub(crate) fn with<T>(work: impl FnOnce(&mut Scratch) -> T) -> Option<T> {
    let place = (0..PLACES as u32).find(|place| exchange(*place, 0, 1))?;
    // SAFETY: the claim makes this program the only user of the place until it is given back below.
    let result = SCRATCH.get_ptr_mut(place).map(|scratch| work(unsafe { &mut *scratch }));
    exchange(place, 1, 0);
    result
}

#[inline(always)]
fn exchange(place: u32, from: u64, to: u64) -> bool {
    SCRATCH_CLAIMS.get_ptr_mut(place).is_some_and(|claim| {
        // SAFETY: a value of the map.
        unsafe { atomic::compare_exchange(claim, from, to) == from }
    })
}
