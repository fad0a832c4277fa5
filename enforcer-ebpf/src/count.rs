//! Counters: per CPU, and atomic all the same, because programs nest.

use crate::atomic;
use aya_ebpf::{btf_maps::PerCpuArray, macros::btf_map};
use enforcer_common::control::{COUNTERS as LENGTH, Counter};

#[btf_map]
static COUNTERS: PerCpuArray<u64, LENGTH> = PerCpuArray::new();

#[inline(always)]
pub(crate) fn add(counter: Counter, count: u64) {
    if let Some(value) = COUNTERS.get_ptr_mut(counter as u32) {
        // SAFETY: a value of the map.
        unsafe { atomic::add(value, count) };
    }
}
