//! When to look a name up. Pure: time and randomness come in.

use policy_schema::DomainName;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tokio::time::Instant;

/// An answer is asked for again after this time at the earliest, however soon it ends.
const SHORTEST: Duration = Duration::from_secs(30);
/// .. and at the latest.
const LONGEST: Duration = Duration::from_secs(3600);
/// First pause after a failure; each further one doubles it.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Names, with the time at which each is due.
#[derive(Debug, Default)]
pub(super) struct Plan {
    names: BTreeMap<DomainName, Turn>,
}

#[derive(Debug)]
struct Turn {
    /// `None` while it is looked up.
    due: Option<Instant>,
    /// In a row.
    failures: u32,
}

impl Plan {
    /// Looks up these names and no others; what is new, at once.
    pub fn set(&mut self, names: &BTreeSet<DomainName>, now: Instant) {
        self.names.retain(|name, _| names.contains(name));
        for name in names {
            self.names.entry(name.clone()).or_insert(Turn { due: Some(now), failures: 0 });
        }
    }

    /// Everything is due: somebody else is asked from here on.
    pub fn hasten(&mut self, now: Instant) {
        for turn in self.names.values_mut() {
            turn.due = turn.due.map(|due| due.min(now));
        }
    }

    /// The name that is due first.
    pub fn next(&self) -> Option<(Instant, DomainName)> {
        let due = self.names.iter().filter_map(|(name, turn)| Some((turn.due?, name)));
        due.min().map(|(due, name)| (due, name.clone()))
    }

    /// A lookup has begun.
    pub fn begun(&mut self, name: &DomainName) {
        if let Some(turn) = self.names.get_mut(name) {
            turn.due = None;
        }
    }

    /// A lookup has ended with an answer that is good for `lasts`, or without. Returns after which time the next follows:
    /// up to a tenth earlier than it must, by `random`.
    pub fn ended(
        &mut self,
        name: &DomainName,
        lasts: Option<Duration>,
        now: Instant,
        random: u16,
    ) -> Option<Duration> {
        let turn = self.names.get_mut(name)?;
        let whole = match lasts {
            Some(lasts) => {
                turn.failures = 0;
                lasts.clamp(SHORTEST, LONGEST)
            }
            None => {
                let pause = PAUSE.saturating_mul(1 << turn.failures.min(16)).min(PAUSE_MAX);
                turn.failures = turn.failures.saturating_add(1);
                pause
            }
        };
        let pause = whole - whole.mul_f64(f64::from(random) / f64::from(u16::MAX) / 10.0);
        turn.due = Some(now + pause);
        Some(pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> BTreeSet<DomainName> {
        texts.iter().map(|text| DomainName::parse(text).unwrap()).collect()
    }

    fn next(plan: &Plan, start: Instant) -> Option<(u64, String)> {
        plan.next().map(|(due, name)| ((due - start).as_secs(), name.to_string()))
    }

    #[test]
    fn a_name_is_due_at_once_and_again_when_its_answer_ends() {
        let now = Instant::now();
        let mut plan = Plan::default();
        assert_eq!(next(&plan, now), None);
        plan.set(&names(&["a.test"]), now);
        assert_eq!(next(&plan, now), Some((0, "a.test".to_owned())));
        let a = DomainName::parse("a.test").unwrap();
        plan.begun(&a);
        assert_eq!(next(&plan, now), None);
        for (ttl, after) in [(0, 30), (60, 60), (7200, 3600)] {
            plan.ended(&a, Some(Duration::from_secs(ttl)), now, 0);
            assert_eq!(next(&plan, now).unwrap().0, after, "{ttl}");
        }
        plan.ended(&a, Some(Duration::from_secs(100)), now, u16::MAX);
        assert_eq!(next(&plan, now).unwrap().0, 90);
        // A policy that still wants it lets it wait; other servers do not.
        plan.set(&names(&["a.test", "b.test"]), now);
        plan.begun(&DomainName::parse("b.test").unwrap());
        assert_eq!(next(&plan, now).unwrap().0, 90);
        plan.hasten(now);
        assert_eq!(next(&plan, now), Some((0, "a.test".to_owned())));
        plan.set(&names(&[]), now);
        assert_eq!(next(&plan, now), None);
        assert_eq!(plan.ended(&a, None, now, 0), None);
    }

    #[test]
    fn failures_are_tried_again_ever_later() {
        let now = Instant::now();
        let mut plan = Plan::default();
        plan.set(&names(&["a.test"]), now);
        let a = DomainName::parse("a.test").unwrap();
        let pauses: Vec<u64> = (0..10).map(|_| plan.ended(&a, None, now, 0).unwrap().as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        plan.ended(&a, Some(SHORTEST), now, 0);
        assert_eq!(plan.ended(&a, None, now, 0).unwrap().as_secs(), 2);
    }
}
