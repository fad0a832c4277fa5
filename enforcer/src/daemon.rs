//! `run`: one loop over everything that can happen.

use crate::{
    cgroups::Births,
    compile::Compiled,
    control::{Listener, Request},
    resolved, resolvers,
    session::{Session, SessionError},
    watch::{self, Watch, WatchError},
};
use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::{Instant, MissedTickBehavior},
};

/// How often what is due by the passing of time is done, and the rings are looked at whatever happened. The only wake-up of an
/// idle daemon.
const TICK: Duration = Duration::from_secs(1);
/// Ticks between canaries.
const CANARY_TICKS: u32 = 60;
/// After a wake-up the programs stay silent for a while (`PERIOD` in `enforcer-ebpf/src/wake.rs`); the daemon looks
/// again by itself until it finds the ring empty.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// How the daemon ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// A signal, or `enforcer detach`.
    Asked,
    /// Nobody confirmed the first policy in time.
    NotConfirmed,
}

/// Why the daemon cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
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

/// A change that is taken back unless somebody confirms it.
struct Trial {
    until: Instant,
    /// What was in force before; `None` = nothing.
    before: Option<Arc<Compiled>>,
}

/// Runs until asked to end. `ready` is called when everything is watched; `say` is for people.
///
/// # Errors
/// [`DaemonError`].
pub async fn run(
    mut session: Session,
    mut listener: Listener,
    confirm: Option<Duration>,
    ready: impl FnOnce(),
    say: impl Fn(&str),
) -> Result<End, DaemonError> {
    let (events, answers) = session.engine().readable()?;
    let (events, answers) = (wait_on(events)?, wait_on(answers)?);
    let mut policies = watch::watch(session.paths())?;
    // What changed between reading the files and watching them counts too.
    policies.report_since(session.began());
    let mut machine = watch::watch(&resolvers::watched_paths())?;
    machine.report_since(session.began());
    let mut hosts = watch::watch(&[session.hosts_path().to_path_buf()])?;
    hosts.report_since(session.began());
    let mut resolved = resolved::Listener::start(session.resolved_path().to_path_buf());
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ticks = 0_u32;
    let mut look_again = false;
    let mut births = session.births()?;
    let mut requests = listener.requests();
    let mut trial = confirm.map(|time| Trial { until: Instant::now() + time, before: None });

    ready();
    loop {
        let trial_end = trial.as_ref().map(|trial| trial.until);
        tokio::select! {
            guard = events.readable() => {
                guard?.clear_ready();
                let read = session.read(|_| ());
                session.survive(read);
                look_again = true;
            }
            () = tokio::time::sleep(LOOK_AGAIN), if look_again => {
                let read = session.read(|_| ());
                look_again = session.survive(read).is_some_and(|count| count > 0);
            }
            guard = answers.readable() => {
                guard?.clear_ready();
                let read = session.engine().read_answers();
                session.survive(read);
                look_again = true;
            }
            () = changed(&mut policies, &mut hangup) => {
                let began = SystemTime::now();
                let before = session.policy();
                if reload(&mut session, &say)
                    && let Some(time) = confirm
                {
                    // Several changes in a row go back to what was last confirmed, not to each other.
                    let before = trial.take().map_or(before, |trial| trial.before);
                    trial = Some(Trial { until: Instant::now() + time, before });
                }
                let watched = policies.set_paths(session.paths(), began);
                session.survive(watched);
                let watched = session.births();
                births = session.survive(watched).flatten();
            }
            () = next_birth(&births) => {
                let read = session.engine().read_cgroups();
                session.survive(read);
            }
            () = machine.changed() => {
                let followed = session.follow_resolvers();
                session.survive(followed);
            }
            () = hosts.changed() => {
                let followed = session.follow_hosts();
                session.survive(followed);
            }
            heard = resolved.next() => {
                let done = session.engine().hear(&heard);
                session.survive(done);
            }
            _ = tick.tick() => {
                let done = session.tick();
                session.survive(done);
                // A program that was preempted between asking whether to wake and handing over its record may have missed
                // every look at the ring.
                let read = session.read(|_| ());
                session.survive(read);
                ticks += 1;
                if ticks.is_multiple_of(CANARY_TICKS) {
                    session.check();
                }
            }
            () = sleep_until(trial_end), if trial_end.is_some() => {
                let Some(Trial { before, .. }) = trial.take() else { continue };
                let Some(before) = before else { return Ok(End::NotConfirmed) };
                say("the change was not confirmed in time: going back to the policy before it");
                let back = session.put_in_force(Arc::clone(&before));
                if session.survive(back).is_none() {
                    say("going back failed and is tried again");
                    trial = Some(Trial { until: Instant::now() + TICK, before: Some(before) });
                }
                let watched = session.births();
                births = session.survive(watched).flatten();
            }
            Some((request, answer)) = requests.recv() => match request {
                Request::Confirm => {
                    let confirmed = trial.take().is_some();
                    answer.send(&serde_json::json!({ "confirmed": confirmed })).await;
                }
                Request::Detach => {
                    let read = session.read(|_| ());
                    session.survive(read);
                    drop(session);
                    answer.send(&serde_json::json!({ "detached": true })).await;
                    return Ok(End::Asked);
                }
                Request::List(query) => {
                    let read = session.engine().read_answers();
                    session.survive(read);
                    answer.send(&session.list(&query)).await;
                }
                Request::Names(topic) => {
                    let read = session.engine().read_answers();
                    session.survive(read);
                    answer.send(&session.known(&topic)).await;
                }
                Request::Status => answer.send(&session.summary()).await,
            },
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    session.read(|_| ())?;
    Ok(End::Asked)
}

/// A file descriptor of a ring, in the runtime.
pub fn wait_on(fd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` stays open, and the same file, for as long as the `AsyncFd` owns it.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// Whether the policy was changed.
fn reload(session: &mut Session, say: &impl Fn(&str)) -> bool {
    let error = match session.reload() {
        Ok(None) => return false,
        Ok(Some((changes, warnings))) => {
            for warning in warnings {
                say(&warning.render());
            }
            say(&format!("policy version {} is in force; {}", changes.version, session.status()));
            return true;
        }
        Err(error) => error,
    };
    say(&format!("the policy was not changed: {error}"));
    if let SessionError::Load(error) = error {
        for finding in error.diagnostics() {
            say(&finding.render());
        }
    }
    false
}

/// Resolves when the policy is to be read again: its files changed, or SIGHUP says so.
async fn changed(policies: &mut Watch, hangup: &mut Signal) {
    tokio::select! {
        () = policies.changed() => {}
        _ = hangup.recv() => {}
    }
}

async fn next_birth(births: &Option<Births>) {
    match births {
        Some(births) => births.next().await,
        None => std::future::pending().await,
    }
}

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
