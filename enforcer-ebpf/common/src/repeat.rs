//! Loops that both the verifier and a host program run.
//!
//! A plain loop over a 255-byte name costs the verifier every path of every iteration; `bpf_loop` (Linux 5.17) has it
//! look at one. On the host the same step runs in a `while`.

use core::ops::ControlFlow;

/// One iteration of a bounded loop over the state `Self`.
pub trait Step {
    /// Does iteration `index`; `Break` ends the loop.
    fn step(&mut self, index: u32) -> ControlFlow<()>;
}

/// Runs a [`Step`] a bounded number of times.
pub trait Repeat {
    /// Calls `state.step(0)`, `state.step(1)`, ... `count` times at most.
    fn repeat<S: Step>(count: u32, state: &mut S);
}

/// The loop of a host program.
#[derive(Debug)]
pub struct HostLoop;

impl Repeat for HostLoop {
    fn repeat<S: Step>(count: u32, state: &mut S) {
        for index in 0..count {
            if state.step(index).is_break() {
                return;
            }
        }
    }
}
