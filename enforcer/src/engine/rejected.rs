//! Answers that are not believed: counted by the kernel programs, told now and then.

use crate::dns::Answer;
use crate::name::Name;
use enforcer_common::{Address, control::Counter, dns::Doubt};
use std::{collections::BTreeMap, net::IpAddr};

/// Nanoseconds between two events of one cause.
const PERIOD: u64 = 10_000_000_000;

/// What is to be told of one cause.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Rejection {
    pub(super) cause: Doubt,
    /// Who sent the latest one.
    pub(super) server: IpAddr,
    /// Its question, if it could be read.
    pub(super) question: Option<Name>,
    /// How many since the last event of this cause.
    pub(super) count: u64,
}

/// The latest answer of each cause, not told yet, and what was told.
#[derive(Debug, Default)]
pub(super) struct Rejected {
    latest: BTreeMap<Counter, (Doubt, Address, Option<Name>)>,
    /// When, in nanoseconds of `CLOCK_BOOTTIME`, and how many there had been.
    told: BTreeMap<Counter, (u64, u64)>,
}

impl Rejected {
    /// Notes an answer.
    pub(super) fn note(&mut self, cause: Doubt, server: Address, answer: Option<&Answer>) {
        let question = answer.map(|answer| answer.question.clone());
        self.latest.insert(counter(cause), (cause, server, question));
    }

    /// What is to be told at `now`, by what the programs have counted.
    pub(super) fn take(&mut self, counters: &BTreeMap<Counter, u64>, now: u64) -> Vec<Rejection> {
        let Self { latest, told } = self;
        let mut rejections = Vec::new();
        latest.retain(|counter, (cause, server, question)| {
            let (last, before) = told.get(counter).copied().unwrap_or_default();
            if last != 0 && now < last.saturating_add(PERIOD) {
                return true;
            }
            let all = counters.get(counter).copied().unwrap_or_default();
            told.insert(*counter, (now, all));
            let count = all.saturating_sub(before).max(1);
            let (cause, server, question) = (*cause, (*server).into(), question.take());
            rejections.push(Rejection { cause, server, question, count });
            false
        });
        rejections
    }

    /// Whether something waits to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.latest.is_empty()
    }
}

/// What counts the answers of a cause.
fn counter(cause: Doubt) -> Counter {
    match cause {
        Doubt::Forgotten => Counter::AnswersUnmatched,
        Doubt::Namespace => Counter::AnswersForeign,
        Doubt::Process => Counter::AnswersImpersonated,
        Doubt::Server => Counter::AnswersUntrusted,
        Doubt::Unsolicited => Counter::AnswersUnsolicited,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_is_told_at_once_and_then_rarely() {
        let mut rejected = Rejected::default();
        let server = Address::from_v4([192, 0, 2, 53]);
        let counters = |count| BTreeMap::from([(Counter::AnswersUnsolicited, count)]);
        assert!(rejected.take(&counters(0), 1).is_empty());
        rejected.note(Doubt::Unsolicited, server, None);
        let told = rejected.take(&counters(3), 1);
        let expected =
            Rejection { cause: Doubt::Unsolicited, server: server.into(), question: None, count: 3 };
        assert_eq!(told, std::slice::from_ref(&expected));
        rejected.note(Doubt::Unsolicited, server, None);
        rejected.note(Doubt::Server, server, None);
        let told = rejected.take(&counters(50), PERIOD);
        assert_eq!(told, [Rejection { cause: Doubt::Server, count: 1, ..expected.clone() }]);
        assert!(!rejected.is_empty());
        let told = rejected.take(&counters(60), PERIOD + 1);
        assert_eq!(told, [Rejection { count: 57, ..expected }]);
        assert!(rejected.is_empty() && rejected.take(&counters(70), 5 * PERIOD).is_empty());
    }
}
