use std::thread;
use std::time::{Duration, Instant};

/// How often a condition is looked at. Guests are emulated: much shorter would keep them from meeting it.
const PAUSE: Duration = Duration::from_millis(5);

/// Asks until there is an answer or `timeout` is over.
pub fn wait_for<T>(timeout: Duration, mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Deadline::after(timeout);
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if deadline.is_over() {
            return None;
        }
        thread::sleep(PAUSE);
    }
}

/// A point in time after which waiting is pointless.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Instant);

impl Deadline {
    /// `timeout` from the time of the call.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// Whether it has passed.
    pub fn is_over(self) -> bool {
        Instant::now() >= self.0
    }

    /// What is left, zero once it has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }
}
