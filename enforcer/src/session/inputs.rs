//! What keeps a session going, whoever runs it: the rings, the files of the machine, systemd-resolved, time.

use super::{Session, SessionError};
use crate::{
    cgroups::Births,
    close::Said,
    report::Event,
    resolved::{self, Heard},
    resolvers,
    watch::{self, Watch, WatchError},
};
use std::{os::fd::OwnedFd, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::mpsc::Receiver,
    time::{Interval, MissedTickBehavior},
};

/// How often what is due by the passing of time is done, and the rings are looked at whatever happened. The only wake-up
/// of an idle session.
pub(crate) const TICK: Duration = Duration::from_secs(1);
/// Ticks between canaries.
const CANARY_TICKS: u32 = 60;
/// After a wake-up the programs stay silent for a while (`PERIOD` in `enforcer-ebpf/src/wake.rs`); the session looks
/// again by itself until it finds the ring empty.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Why a session cannot be kept going.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Watching files.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// Waiting for something.
    #[error("cannot wait for events: {0}")]
    Wait(#[from] std::io::Error),
}

/// Something that a session has to deal with.
#[derive(Debug)]
pub enum Input {
    /// There are answers.
    Answers,
    /// A cgroup was created.
    Birth,
    /// Live flows were looked at.
    Closing(Said),
    /// There are events.
    Events,
    /// systemd-resolved has answered a lookup.
    Heard(Heard),
    /// The hosts file may have changed.
    Hosts,
    /// There may be more events.
    More,
    /// The machine's resolvers may have changed.
    Resolvers,
    /// A second has passed.
    Tick,
}

/// Where all of it comes from.
pub struct Inputs {
    events: AsyncFd<OwnedFd>,
    answers: AsyncFd<OwnedFd>,
    births: Option<Births>,
    closing: Option<Receiver<Said>>,
    hosts: Watch,
    resolved: resolved::Listener,
    resolvers: Watch,
    tick: Interval,
    ticks: u32,
    /// There may be more events than were found.
    look_again: bool,
}

impl Inputs {
    /// Begins to listen. What has changed since the session's policy was read counts too. Within a tokio runtime only.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn open(session: &mut Session) -> Result<Self, InputError> {
        let (events, answers) = session.engine.readable()?;
        let hosts = watch::watch(std::slice::from_ref(&session.options.hosts))?;
        let resolvers = watch::watch(&resolvers::watched_paths())?;
        for watch in [&hosts, &resolvers] {
            watch.report_since(session.began);
        }
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok(Self {
            events: wait_on(events)?,
            answers: wait_on(answers)?,
            births: session.births()?,
            closing: session.listen_to_closing(),
            hosts,
            resolved: resolved::Listener::start(session.options.resolved.clone()),
            resolvers,
            tick,
            ticks: 0,
            look_again: false,
        })
    }

    /// Waits for the next one. Dropping the future loses nothing.
    ///
    /// # Errors
    /// The rings cannot be waited for.
    pub async fn next(&mut self) -> std::io::Result<Input> {
        Ok(tokio::select! {
            guard = self.events.readable() => {
                guard?.clear_ready();
                Input::Events
            }
            guard = self.answers.readable() => {
                guard?.clear_ready();
                Input::Answers
            }
            () = tokio::time::sleep(LOOK_AGAIN), if self.look_again => Input::More,
            () = next_birth(&self.births) => Input::Birth,
            said = next_said(&mut self.closing) => Input::Closing(said),
            () = self.resolvers.changed() => Input::Resolvers,
            () = self.hosts.changed() => Input::Hosts,
            heard = self.resolved.next() => Input::Heard(heard),
            _ = self.tick.tick() => Input::Tick,
        })
    }

    /// Deals with one; `see` is shown every event. An error ends nothing: see [`Session::survive`].
    pub fn serve(&mut self, input: Input, session: &mut Session, see: impl FnMut(&Event)) {
        match input {
            Input::Answers => {
                let read = session.engine.read_answers();
                session.survive(read);
                self.look_again = true;
            }
            Input::Birth => {
                let read = session.engine.read_cgroups();
                session.survive(read);
            }
            Input::Closing(said) => session.hear_closing(said),
            Input::Events => {
                let read = session.read(see);
                session.survive(read);
                self.look_again = true;
            }
            Input::Heard(heard) => {
                let done = session.engine.hear(&heard);
                session.survive(done);
            }
            Input::Hosts => {
                let followed = session.follow_hosts();
                session.survive(followed);
            }
            Input::More => {
                let read = session.read(see);
                self.look_again = session.survive(read).is_some_and(|count| count > 0);
            }
            Input::Resolvers => {
                let followed = session.follow_resolvers();
                session.survive(followed);
            }
            Input::Tick => {
                let done = session.tick();
                session.survive(done);
                // A program that was preempted between asking whether to wake and handing over its record may have missed
                // every look at the ring.
                let read = session.read(see);
                self.look_again |= session.survive(read).is_some_and(|count| count > 0);
                self.ticks += 1;
                if self.ticks.is_multiple_of(CANARY_TICKS) {
                    session.check();
                }
            }
        }
    }

    /// Listens to what another policy needs.
    pub fn follow_policy(&mut self, session: &mut Session) {
        let watched = session.births();
        self.births = session.survive(watched).flatten();
    }
}

/// A file descriptor of a ring, in the runtime.
fn wait_on(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same file, for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

async fn next_said(closing: &mut Option<Receiver<Said>>) -> Said {
    if let Some(said) = closing
        && let Some(said) = said.recv().await
    {
        return said;
    }
    std::future::pending().await
}

async fn next_birth(births: &Option<Births>) {
    match births {
        Some(births) => births.next().await,
        None => std::future::pending().await,
    }
}
