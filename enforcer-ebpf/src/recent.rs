//! What happened lately, in tables of a fixed size: a hash has one place, by its bits, with its upper half and when it
//! happened, in units of 2^30 nanoseconds, a good second. What comes later takes the place.

use aya_ebpf::helpers::bpf_ktime_get_boot_ns;

const UNIT: u32 = 30;

/// What stands at a place if this happens at this moment.
#[inline(always)]
pub(crate) fn stamp(hash: u64) -> u64 {
    // SAFETY: plain helper call.
    let now = unsafe { bpf_ktime_get_boot_ns() } >> UNIT;
    hash & !0xffff_ffff | now & 0xffff_ffff
}

/// Whether what stands `there` is the same, and less than so many units ago. The time is the lower half, so the difference is
/// small if the upper ones are the same.
#[inline(always)]
pub(crate) fn is_within(units: u64, there: u64, stamp: u64) -> bool {
    stamp.wrapping_sub(there) < units
}
