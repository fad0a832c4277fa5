//! Points in time as text.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

/// RFC 3339 with nanoseconds, in UTC.
pub(crate) struct Rfc3339(pub SystemTime);

/// Time of day with milliseconds, in UTC.
pub(super) struct TimeOfDay(pub SystemTime);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = since_epoch(self.0);
        let (year, month, day) = date(seconds / 86_400);
        let (hour, minute, second) = time(seconds);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanoseconds:09}Z")
    }
}

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, nanoseconds) = since_epoch(self.0);
        let (hour, minute, second) = time(seconds);
        write!(f, "{hour:02}:{minute:02}:{second:02}.{:03}", nanoseconds / 1_000_000)
    }
}

/// A clock set before 1970 reads as 1970.
fn since_epoch(time: SystemTime) -> (u64, u32) {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs(), since.subsec_nanos())
}

fn time(seconds: u64) -> (u64, u64, u64) {
    (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
}

/// The Gregorian date of a day since 1970-01-01, counted in years that begin in March, so that the leap day comes last
/// (Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`).
fn date(day: u64) -> (u64, u64, u64) {
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}
