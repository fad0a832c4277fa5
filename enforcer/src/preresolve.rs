//! `preResolve`: names of allow rules are looked up at the start and whenever their answers end, so that nobody is locked
//! out who has an address from elsewhere. The answers are packets like any others: the binder sees them on their way in.

use crate::dns::{AskError, Asker};
use plan::Plan;
use policy_schema::{DomainName, PolicySet};
use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
    time::Instant,
};

mod plan;

/// Names that are looked up at most.
pub const NAMES_MAX: usize = 1000;
/// Lookups under way at once.
const UNDER_WAY_MAX: usize = 8;
/// Time between two lookups.
const PACE: Duration = Duration::from_millis(20);

/// Which names to look up, where.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Wanted {
    /// The names, at most [`NAMES_MAX`].
    pub names: BTreeSet<DomainName>,
    /// Names past that.
    pub left_out: usize,
    /// The resolvers, the first one first.
    pub servers: Vec<IpAddr>,
}

impl Wanted {
    /// What a policy wants, asked of these resolvers.
    pub fn of(policy: &PolicySet, servers: Vec<IpAddr>) -> Self {
        let names: BTreeSet<&DomainName> =
            policy.rules().iter().flat_map(policy_schema::Rule::pre_resolve).collect();
        let left_out = names.len().saturating_sub(NAMES_MAX);
        Self { names: names.into_iter().take(NAMES_MAX).cloned().collect(), left_out, servers }
    }
}

/// Who looks names up, beside whatever else goes on. Dropping it ends that.
pub struct PreResolve {
    wanted: watch::Sender<Wanted>,
    counts: Arc<Counts>,
    task: AbortHandle,
}

/// Lookups that ended.
#[derive(Debug, Default)]
struct Counts {
    answered: AtomicU64,
    failed: AtomicU64,
}

impl PreResolve {
    /// Begins. Within a tokio runtime only.
    pub fn start(wanted: Wanted) -> Self {
        let (sender, receiver) = watch::channel(wanted);
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(run(receiver, Arc::clone(&counts))).abort_handle();
        Self { wanted: sender, counts, task }
    }

    /// Looks up what is wanted from here on; what stays wanted keeps its time.
    pub fn follow(&self, wanted: Wanted) {
        self.wanted.send_if_modified(|old| {
            let changed = *old != wanted;
            *old = wanted;
            changed
        });
    }

    /// Names past those that are looked up.
    pub fn left_out(&self) -> usize {
        self.wanted.borrow().left_out
    }

    /// Lookups that were answered, and lookups that failed.
    pub fn counts(&self) -> (u64, u64) {
        let Counts { answered, failed } = &*self.counts;
        (answered.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }
}

impl Drop for PreResolve {
    fn drop(&mut self) {
        self.task.abort();
    }
}

type Ended = (DomainName, Result<Duration, AskError>);

async fn run(mut wanted: watch::Receiver<Wanted>, counts: Arc<Counts>) {
    let mut plan = Plan::default();
    let mut lookups: JoinSet<Ended> = JoinSet::new();
    let mut asker = None;
    let mut servers = Vec::new();
    let mut free_from = Instant::now();
    wanted.mark_changed();
    loop {
        let next = if lookups.len() < UNDER_WAY_MAX && asker.is_some() { plan.next() } else { None };
        tokio::select! {
            changed = wanted.changed() => {
                let Ok(()) = changed else { return };
                let now = wanted.borrow_and_update().clone();
                if now.servers != servers || asker.is_none() {
                    servers = now.servers;
                    asker = make_asker(&servers);
                    plan.hasten(Instant::now());
                }
                plan.set(&now.names, Instant::now());
            }
            Some(ended) = lookups.join_next() => {
                let Ok((name, result)) = ended else { continue };
                let lasts = plan.ended(&name, result.as_ref().ok().copied(), Instant::now(), random());
                let counter = if result.is_ok() { &counts.answered } else { &counts.failed };
                counter.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = result {
                    tracing::warn!(%error, again_after = ?lasts, "a name of a rule with `preResolve` has no answer");
                    tracing::debug!(%name, "the name without an answer");
                }
            }
            Some((asker, name)) = due(&asker, next, free_from) => {
                free_from = Instant::now() + PACE;
                plan.begun(&name);
                lookups.spawn(async move {
                    let result = asker.ask(&name).await;
                    (name, result)
                });
            }
        }
    }
}

/// The next name to look up, when it is time.
async fn due(
    asker: &Option<Arc<Asker>>,
    next: Option<(Instant, DomainName)>,
    free_from: Instant,
) -> Option<(Arc<Asker>, DomainName)> {
    let (Some(asker), Some((due, name))) = (asker, next) else { return std::future::pending().await };
    tokio::time::sleep_until(due.max(free_from)).await;
    Some((Arc::clone(asker), name))
}

fn make_asker(servers: &[IpAddr]) -> Option<Arc<Asker>> {
    match Asker::new(servers) {
        Ok(asker) => Some(Arc::new(asker)),
        Err(error) => {
            tracing::error!(%error, "names of rules with `preResolve` cannot be looked up");
            None
        }
    }
}

/// Spreads lookups; nothing secret depends on it.
fn random() -> u16 {
    let mut bytes = [0; 2];
    match rustix::rand::getrandom(&mut bytes[..], rustix::rand::GetRandomFlags::NONBLOCK) {
        Ok(_) => u16::from_ne_bytes(bytes),
        Err(_) => u16::MAX / 2,
    }
}
