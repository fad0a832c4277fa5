//! `run`: one loop over what keeps a session going, the policy's files, who asks, and signals.

use crate::{
    compile::Compiled,
    control::{Listener, Request},
    session::{InputError, Inputs, Session, SessionError, TICK},
    watch::{self, Watch},
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    time::Instant,
};

/// How the daemon ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum End {
    /// A signal, or `enforcer detach`.
    Asked,
    /// Nobody confirmed the first policy in time.
    NotConfirmed,
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
/// [`InputError`].
pub async fn run(
    mut session: Session,
    mut listener: Listener,
    confirm: Option<Duration>,
    ready: impl FnOnce(),
    say: impl Fn(&str),
) -> Result<End, InputError> {
    let mut inputs = Inputs::open(&mut session)?;
    let mut policies = watch::watch(session.paths())?;
    // What changed between reading the files and watching them counts too.
    policies.report_since(session.began());
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut requests = listener.requests();
    let mut trial = confirm.map(|time| Trial { until: Instant::now() + time, before: None });

    ready();
    loop {
        let trial_end = trial.as_ref().map(|trial| trial.until);
        tokio::select! {
            input = inputs.next() => inputs.serve(input?, &mut session, |_| ()),
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
                inputs.follow_policy(&mut session);
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
                inputs.follow_policy(&mut session);
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

async fn sleep_until(end: Option<Instant>) {
    match end {
        Some(end) => tokio::time::sleep_until(end).await,
        None => std::future::pending().await,
    }
}
