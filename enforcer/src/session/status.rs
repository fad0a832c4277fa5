//! How much is enforced, and what is told of it.

use super::Session;
use crate::{
    canary,
    kernel::Backend,
    names::Usage,
    report::Event,
    status::{Status, Summary},
};
use enforcer_common::control::Counter;
use policy_schema::{Action, Default, Mode, PolicySet};
use std::{collections::BTreeMap, time::SystemTime};

/// What the cgroup backend cannot see (`docs/BYPASSES.md`).
const PACKET_SOCKETS: &str =
    "who has CAP_NET_RAW gets past the cgroup backend by packet sockets: boot with `bpf` in the `lsm=` list";

impl Session {
    /// Sends a canary, and tells if the state has changed.
    pub fn check(&mut self) {
        let Some(policy) = self.engine.policy().cloned() else { return };
        let canary = canary::send(self.engine.kernel(), self.place.scope.as_ref());
        let unknown = policy.unknown_users.iter();
        let mut missing: Vec<String> =
            unknown.map(|name| format!("this machine has no user `{name}`")).collect();
        if self.misses_packet_sockets(&policy.policy) {
            missing.push(PACKET_SOCKETS.to_owned());
        }
        let now = self.engine.counters().unwrap_or_default();
        missing.extend(self.losses(&now));
        self.counted = now;
        self.refused = self.engine.counts().1.refused.total();
        if self.hosts.left_out > 0 {
            missing.push(format!("{} names of the hosts file are left out", self.hosts.left_out));
        }
        if self.pre_resolve.left_out() > 0 {
            let left_out = self.pre_resolve.left_out();
            missing.push(format!("{left_out} names of rules with `preResolve` are not looked up"));
        }
        missing.extend(self.closing.reasons.iter().cloned());
        missing.extend(self.trouble.take());
        let status = Status::of(policy.policy.mode(), canary, missing);
        let old = std::mem::replace(&mut self.status, status);
        if old != self.status {
            let (from, to) = (old.word().to_owned(), self.status.word().to_owned());
            let reasons = self.status.reasons().to_vec();
            self.emit(&Event::StatusChanged { time: SystemTime::now(), from, to, reasons });
            self.flush();
        }
    }

    /// Whether sockets get past the policy that it does not allow, because only security modules see them made.
    fn misses_packet_sockets(&self, policy: &PolicySet) -> bool {
        self.options.net_raw
            && self.engine.kernel().backend() == Backend::Cgroup
            && policy.default() == Default { action: Action::Deny, mode: Mode::Enforce }
    }

    /// Whether a command may keep CAP_NET_RAW: nothing gets past the policy by it, or the administrator says so.
    pub fn spares_net_raw(&self) -> bool {
        self.options.net_raw || self.engine.kernel().backend() == Backend::Lsm
    }

    /// How much is enforced.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// What `status` tells.
    pub fn summary(&self) -> Summary {
        let (counts, usage) = self.engine.counts();
        let Usage { addresses, denied, nameless: kept_nameless, refused } = usage;
        let (pre_resolved, pre_resolve_failed) = self.pre_resolve.counts();
        let counters = self.engine.counters().unwrap_or_default();
        let names = Counter::ALL
            .iter()
            .map(|(counter, name)| ((*name).to_owned(), counters.get(counter).copied().unwrap_or_default()));
        let own = [
            ("lateBinds", counts.late_binds),
            ("lateFromResolved", counts.from_resolved),
            ("undecoded", counts.undecoded),
            ("nameless", counts.nameless),
            ("turns", counts.turns),
            ("addressesDenied", denied as u64),
            ("bindingsNameless", kept_nameless as u64),
            ("namesRefused", refused.total()),
            ("flowsClosed", self.closing.closed),
            ("preResolved", pre_resolved),
            ("preResolveFailed", pre_resolve_failed),
        ];
        let policy = self.engine.policy();
        Summary {
            status: self.status.clone(),
            backend: self.engine.kernel().backend().to_string(),
            hooks: self.engine.kernel().hooks().to_vec(),
            policy_version: policy.map_or(0, |policy| policy.version),
            mode: policy.map_or(Mode::Audit, |policy| policy.policy.mode()),
            rules: policy.map_or(0, |policy| policy.policy.rules().len()),
            resolvers: self
                .engine
                .resolvers()
                .iter()
                .map(|a| std::net::IpAddr::from(*a).to_string())
                .collect(),
            addresses,
            counters: names
                .chain(
                    own.into_iter().chain(self.engine.causes()).map(|(name, count)| (name.to_owned(), count)),
                )
                .collect(),
        }
    }

    /// What a person wants to read at the start: backend, hooks, status.
    pub fn greeting(&self) -> Vec<String> {
        let summary = self.summary();
        let mut lines = vec![match &self.lsm_refused {
            Some(reason) => format!("backend: {} (lsm does not work here: {reason})", summary.backend),
            None => format!("backend: {}", summary.backend),
        }];
        lines.extend(summary.hooks.iter().map(|hook| format!("attached: {} at {}", hook.program, hook.to)));
        lines.push(format!("trusted resolvers: {}", summary.resolvers.join(", ")));
        lines.push(format!("policy: version {}, {} rules", summary.policy_version, summary.rules));
        lines.push(format!("status: {}", self.status));
        lines
    }

    /// What found no room since the last look.
    pub(super) fn losses(&self, now: &BTreeMap<Counter, u64>) -> Vec<String> {
        let refused = self.engine.counts().1.refused.total().saturating_sub(self.refused);
        let count = |counters: &BTreeMap<Counter, u64>, counter| counters.get(&counter).copied().unwrap_or(0);
        [
            (Counter::BindingsFull, "addresses found no room in the kernel's map since the last look"),
            (Counter::AnswersLost, "answers did not reach the daemon since the last look"),
        ]
        .into_iter()
        .map(|(counter, what)| (count(now, counter).saturating_sub(count(&self.counted, counter)), what))
        .chain([(refused, "names found no room since the last look")])
        .filter(|(new, _)| *new > 0)
        .map(|(new, what)| format!("{new} {what}"))
        .collect()
    }
}
