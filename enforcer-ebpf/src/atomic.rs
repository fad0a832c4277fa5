//! Atomic operations on map values. `core::sync::atomic` offers none of them for the BPF target; the instructions exist
//! since Linux 5.12.

use core::arch::asm;

macro_rules! read_modify_write {
    ($(#[$doc:meta])* $name:ident, $operator:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `at` points to a whole, aligned `u64` of a map value.
        #[inline(always)]
        pub(crate) unsafe fn $name(at: *mut u64, value: u64) {
            // SAFETY: the caller's; the instruction touches nothing else.
            unsafe {
                asm!(concat!("lock *(u64 *)({at} + 0) ", $operator, " {value}"),
                    at = in(reg) at, value = in(reg) value, options(nostack));
            }
        }
    };
}

read_modify_write!(
    /// `*at += value`
    add, "+="
);
read_modify_write!(
    /// `*at |= value`
    or, "|="
);
read_modify_write!(
    /// `*at &= value`
    and, "&="
);

macro_rules! fetch {
    ($(#[$doc:meta])* $name:ident, $before:literal, $after:literal) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// `at` points to a whole, aligned `u64` of a map value.
        #[inline(always)]
        pub(crate) unsafe fn $name(at: *mut u64, mut value: u64) -> u64 {
            // SAFETY: the caller's; the instruction touches nothing else.
            unsafe {
                asm!(concat!("{value} = ", $before, "{at} + 0", $after, ", {value})"),
                    at = in(reg) at, value = inout(reg) value, options(nostack));
            }
            value
        }
    };
}

fetch!(
    /// `*at += value`; returns what was there.
    fetch_add, "atomic_fetch_add((u64 *)(", ")"
);
fetch!(
    /// `*at = value`; returns what was there.
    exchange, "xchg_64(", ""
);

/// Stores `new` if `*at` is `expected`; returns what was there.
///
/// # Safety
/// `at` points to a whole, aligned `u64` of a map value.
#[inline(always)]
pub(crate) unsafe fn compare_exchange(at: *mut u64, expected: u64, new: u64) -> u64 {
    let mut found = expected;
    // SAFETY: the caller's; the instruction compares with and answers in r0.
    unsafe {
        asm!("r0 = cmpxchg_64({at} + 0, r0, {new})",
            at = in(reg) at, new = in(reg) new, inlateout("r0") found, options(nostack));
    }
    found
}
