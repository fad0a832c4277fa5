use std::io::Write as _;

/// Leaves the test without having tested anything, and says so where the test runner cannot hide it. With `CI=true`
/// a skipped test is a failed one.
///
/// ```no_run
/// use enforcer_tests::{Machine, skip};
/// fn sctp_is_refused() {
///     if !Machine::current().is_guest() {
///         skip!("this kernel has no SCTP");
///     }
/// }
/// ```
#[macro_export]
macro_rules! skip {
    ($($reason:tt)+) => {{
        $crate::announce_skip(module_path!(), line!(), &format!($($reason)+));
        return;
    }};
}

/// What [`skip!`] does before it leaves the test.
///
/// # Panics
///
/// With `CI=true`: there, every test has to run.
#[expect(clippy::panic, reason = "a skipped test fails where skipping is not accepted")]
pub fn announce_skip(module: &str, line: u32, reason: &str) {
    if std::env::var("CI").is_ok_and(|value| value == "true") {
        panic!("SKIPPED: {module}:{line}: {reason}; with CI=true that is a failure");
    }
    // The test runner captures what print! and eprint! write, not what is written to the stream itself. Nobody
    // reads an error here, and there is nothing to do about one.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {module}:{line}: {reason}");
}

/// Says something where the test runner cannot hide it: figures of a test that passed.
pub fn announce(text: &str) {
    // As in `announce_skip`.
    let _ = writeln!(std::io::stderr(), "{text}");
}
