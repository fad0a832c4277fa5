//! When live flows are looked at, so that those end that a deny rule with `onDeny: close` denies: when a policy comes into
//! force, and when a packet shows that an address got a denied name later.

use super::Session;
use crate::{
    clock,
    close::{Round, Said},
};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Closed flows that wait to be told of.
const SAID_MAX: usize = 256;
/// A look takes at most a tenth of the time, however often packets ask for one.
const PAUSE: u32 = 9;
/// After this time nobody waits for a round any more: an application holds the lock of a socket.
const PATIENCE: Duration = Duration::from_secs(30);
/// Rounds that nobody waits for any more, at most. Each is a thread that waits.
const GIVEN_UP_MAX: u32 = 8;

/// The rounds of a session.
pub(super) struct Closing {
    number: u64,
    running: Option<Round>,
    /// Another policy is in force since the last round began.
    wanted: bool,
    /// A packet of a live flow was denied since then ..
    outlived: bool,
    /// .. which is looked after at this time.
    not_before: Instant,
    given_up: u32,
    said: mpsc::Sender<Said>,
    listener: Option<mpsc::Receiver<Said>>,
    /// What the last round could not do.
    pub(super) reasons: Vec<String>,
    /// Flows that were closed.
    pub(super) closed: u64,
}

impl Default for Closing {
    fn default() -> Self {
        let (said, listener) = mpsc::channel(SAID_MAX);
        Self {
            number: 0,
            running: None,
            wanted: false,
            outlived: false,
            not_before: Instant::now(),
            given_up: 0,
            said,
            listener: Some(listener),
            reasons: Vec::new(),
            closed: 0,
        }
    }
}

impl Session {
    /// What rounds say. Can be taken once.
    pub(super) fn listen_to_closing(&mut self) -> Option<mpsc::Receiver<Said>> {
        self.closing.listener.take()
    }

    /// Looks at all live flows by the policy in force, as soon as a round by another policy has ended.
    pub(super) fn close_flows(&mut self) {
        let closing = &mut self.closing;
        closing.wanted = true;
        if let Some(running) = &closing.running {
            running.stop();
        }
        self.start_round();
    }

    /// What is due by the passing of time, and by what was denied meanwhile.
    pub(super) fn go_on_closing(&mut self) {
        let closing = &mut self.closing;
        closing.outlived |= self.engine.take_outlived();
        if closing.running.as_ref().is_some_and(|round| round.began.elapsed() > PATIENCE) {
            closing.given_up += 1;
            let reason = "`onDeny: close`: a socket is in use and cannot be closed, its packets are dropped";
            self.end_round(vec![reason.to_owned()]);
        }
        self.start_round();
    }

    /// Takes in what a round says.
    pub(super) fn hear_closing(&mut self, said: Said) {
        match said {
            Said::Closed(closed) => {
                self.closing.closed += 1;
                let event = self.engine.closed(&closed);
                self.emit(&event);
                self.flush();
            }
            Said::Ended { number, reasons } => {
                if self.closing.running.as_ref().is_some_and(|round| round.number == number) {
                    self.end_round(reasons);
                    self.start_round();
                }
            }
        }
    }

    fn end_round(&mut self, reasons: Vec<String>) {
        let closing = &mut self.closing;
        if let Some(round) = closing.running.take() {
            closing.not_before = Instant::now() + round.began.elapsed() * PAUSE;
        }
        if closing.reasons != reasons {
            closing.reasons = reasons;
            self.check();
        }
    }

    fn start_round(&mut self) {
        let closing = &self.closing;
        let due = closing.wanted || closing.outlived && closing.not_before <= Instant::now();
        let free = closing.running.is_none() && closing.given_up < GIVEN_UP_MAX;
        if !due || !free || self.options.only_connect {
            return;
        }
        let root = &self.place.root;
        let scope = self.place.scope.as_ref().map(|scope| {
            format!("/{}", scope.path.strip_prefix(root).unwrap_or(&scope.path).to_string_lossy())
        });
        (self.closing.wanted, self.closing.outlived) = (false, false);
        let Some(judge) = self.engine.judge_of_flows(scope, clock::boot()) else {
            self.closing.reasons.clear();
            return;
        };
        let flows = self.engine.flows();
        let Some(flows) = self.survive(flows) else { return };
        let closing = &mut self.closing;
        closing.number += 1;
        let round = Round::start(closing.number, judge, flows, closing.said.clone());
        self.closing.running = self.survive(round);
    }
}
