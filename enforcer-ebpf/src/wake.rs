//! Waking the reader of the rings.

use crate::maps::{control, set_time};
use aya_ebpf::bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use enforcer_common::control::Control;

/// Nanoseconds.
const PERIOD: u64 = 5_000_000;

/// How to submit a record. A wake-up costs about twenty times the record, so there is at most one in [`PERIOD`], for both
/// rings together; after a wake-up the reader looks at both again by itself, until it finds them empty.
#[inline(always)]
pub(crate) fn flags(now: u64) -> u64 {
    if now.wrapping_sub(control(Control::LastWake)) < PERIOD {
        return u64::from(BPF_RB_NO_WAKEUP);
    }
    set_time(Control::LastWake, now);
    u64::from(BPF_RB_FORCE_WAKEUP)
}
