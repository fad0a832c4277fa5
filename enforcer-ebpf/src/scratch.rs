//! Memory for reading an answer, claimed for as long as one program runs.
//!
//! Programs on one CPU nest, and with full preemption do not end in the reverse order of their starts, so a per-CPU value
//! alone is not safe: one of four is taken by compare-and-exchange.

use crate::atomic;
use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use enforcer_common::dns::Scratch;

/// How many programs of one CPU may read an answer at once.
pub(crate) const PLACES: usize = 4;

#[btf_map]
static SCRATCH: PerCpuArray<Scratch, PLACES> = PerCpuArray::new();

/// 1 = the place is in use.
#[btf_map]
static SCRATCH_CLAIMS: PerCpuArray<u64, PLACES> = PerCpuArray::new();

/// A claimed place.
pub(crate) struct Claim(pub(crate) u32);

impl Claim {
    /// Claims a free place; `None` if all are in use. Whoever claims gives back with [`Claim::release`]: a kernel program
    /// has no unwinding, and the verifier likes its paths explicit.
    #[inline(always)]
    pub(crate) fn take() -> Option<Self> {
        let place = claim() as u32;
        (place < PLACES as u32).then_some(Self(place))
    }

    /// Gives the place back.
    #[inline(always)]
    pub(crate) fn release(self) {
        exchange(self.0, 1, 0);
    }
}

/// Claims a place; [`PLACES`] if all are in use. Global: to the verifier it has one way through, not one for each place.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn claim() -> u64 {
    (0..PLACES as u32).find(|place| exchange(*place, 0, 1)).map_or(PLACES as u64, u64::from)
}

/// The memory of a claimed place.
#[inline(always)]
pub(crate) fn of<'a>(place: u32) -> Option<&'a mut Scratch> {
    // SAFETY: the caller holds the claim, and makes no second reference while this one is in use.
    SCRATCH.get_ptr_mut(place).map(|scratch| unsafe { &mut *scratch })
}

#[inline(always)]
fn exchange(place: u32, from: u64, to: u64) -> bool {
    SCRATCH_CLAIMS.get_ptr_mut(place).is_some_and(|claim| {
        // SAFETY: a value of the map.
        unsafe { atomic::compare_exchange(claim, from, to) == from }
    })
}
