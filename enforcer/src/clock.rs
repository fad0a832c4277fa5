//! The clocks: the shell asks them, the core is told.

use rustix::time::{ClockId, clock_gettime};
use std::time::{Duration, SystemTime};

/// Nanoseconds of `CLOCK_BOOTTIME`, the clock of the kernel programs (`bpf_ktime_get_boot_ns`).
pub fn boot() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// From `CLOCK_BOOTTIME` to the time of day.
#[derive(Clone, Copy, Debug)]
pub struct Offset {
    boot: u64,
    system: SystemTime,
}

impl Offset {
    /// As the clocks stand.
    pub fn now() -> Self {
        Self { boot: boot(), system: SystemTime::now() }
    }

    /// The time of day at `boot` nanoseconds.
    pub fn to_system(self, boot: u64) -> SystemTime {
        let distance = Duration::from_nanos(boot.abs_diff(self.boot));
        let time = if boot < self.boot {
            self.system.checked_sub(distance)
        } else {
            self.system.checked_add(distance)
        };
        time.unwrap_or(self.system)
    }
}
