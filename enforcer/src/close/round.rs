//! One look at all live flows, on a thread of its own: it enters other network namespaces, and waits for applications
//! that hold the lock of a socket.

use super::{Closed, Judge};
use crate::{
    clock,
    namespaces::{self, LeftOut},
    sock_diag::{SockDiag, Transport},
};
use std::{
    collections::BTreeSet,
    fmt, io,
    ops::ControlFlow,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};
use tokio::sync::mpsc::Sender;

/// How long a look may take.
const TIME_MAX: Duration = Duration::from_secs(10);

/// What a round says.
#[derive(Debug)]
pub enum Said {
    /// A flow was closed.
    Closed(Box<Closed>),
    /// It is over.
    Ended {
        /// Which one.
        number: u64,
        /// What it could not do.
        reasons: Vec<String>,
    },
}

/// A round that was started. Dropped, it ends soon.
#[derive(Debug)]
pub struct Round {
    /// Its number.
    pub number: u64,
    /// When it was started.
    pub began: Instant,
    stop: Arc<AtomicBool>,
}

impl Round {
    /// Starts it. `flows` is the map that remembers something of sockets.
    ///
    /// # Errors
    /// There is no room for a thread.
    pub fn start(number: u64, judge: Judge, flows: OwnedFd, said: Sender<Said>) -> io::Result<Self> {
        let (began, stop) = (Instant::now(), Arc::new(AtomicBool::new(false)));
        let look = Look { judge, flows, said, stop: Arc::clone(&stop), until: began + TIME_MAX };
        thread::Builder::new().name("close".to_owned()).spawn(move || {
            let reasons = look.everywhere();
            tracing::debug!(micros = began.elapsed().as_micros(), "live flows were looked at");
            // Without a listener nobody wants to know.
            let _ = look.said.blocking_send(Said::Ended { number, reasons });
        })?;
        Ok(Self { number, began, stop })
    }
}

impl Round {
    /// Has it end soon.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Look {
    judge: Judge,
    flows: OwnedFd,
    said: Sender<Said>,
    stop: Arc<AtomicBool>,
    until: Instant,
}

/// What could not be done.
#[derive(Debug, Default)]
struct Trouble {
    reasons: BTreeSet<String>,
    cut_short: bool,
}

impl Trouble {
    fn note(&mut self, what: fmt::Arguments<'_>) {
        self.reasons.insert(format!("`onDeny: close`: {what}"));
    }
}

impl Look {
    fn everywhere(&self) -> Vec<String> {
        let mut trouble = Trouble::default();
        let LeftOut { beyond, error } = namespaces::each_network(self.judge.cgroups(), || {
            if self.is_over(&mut trouble) {
                return ControlFlow::Break(());
            }
            for transport in [Transport::Tcp, Transport::Udp] {
                if let Err(error) = self.here(transport, &mut trouble) {
                    trouble.note(format_args!("live flows cannot be listed: {error}"));
                }
            }
            ControlFlow::Continue(())
        });
        if beyond > 0 {
            trouble.note(format_args!("there are {beyond} network namespaces more than are looked at"));
        }
        if let Some(error) = error {
            trouble.note(format_args!("some network namespaces cannot be looked at: {error}"));
        }
        if trouble.cut_short {
            let seconds = TIME_MAX.as_secs();
            trouble.note(format_args!("not all live flows were looked at within {seconds} seconds"));
        }
        trouble.reasons.into_iter().collect()
    }

    /// Closes what is to be closed in this network namespace.
    fn here(&self, transport: Transport, trouble: &mut Trouble) -> io::Result<()> {
        let diag = SockDiag::open()?;
        if !diag.can_close(transport)? {
            trouble.note(format_args!(
                "this kernel closes no sockets (CONFIG_INET_DIAG_DESTROY), packets are dropped"
            ));
            return Ok(());
        }
        let listening = match transport {
            Transport::Tcp => diag.listening()?,
            Transport::Udp => BTreeSet::new(),
        };
        let mut struck = Vec::new();
        diag.flows(transport, Some(self.flows.as_fd()), |socket| {
            if let Some(rule) = self.judge.strikes(&socket, &listening, clock::boot()) {
                struck.push((socket, rule));
            }
        })?;
        for (socket, rule) in struck {
            if self.is_over(trouble) {
                return Ok(());
            }
            match diag.close(&socket) {
                Ok(true) => {
                    let now = clock::boot();
                    let since = socket.flow.map(|flow| flow.since).filter(|since| *since != 0);
                    let closed = Closed {
                        time: SystemTime::now(),
                        age: since.map(|since| Duration::from_nanos(now.saturating_sub(since))),
                        socket,
                        rule,
                        version: self.judge.policy.version,
                    };
                    if self.said.blocking_send(Said::Closed(Box::new(closed))).is_err() {
                        return Ok(());
                    }
                }
                Ok(false) => {}
                Err(error) => {
                    trouble.note(format_args!("a live flow could not be closed: {error}"));
                }
            }
        }
        Ok(())
    }

    fn is_over(&self, trouble: &mut Trouble) -> bool {
        if self.stop.load(Ordering::Relaxed) {
            return true;
        }
        trouble.cut_short |= Instant::now() > self.until;
        trouble.cut_short
    }
}
