//! From the kernel's records of attempts to the events that are written.

use super::{Engine, EngineError, closing, rejected::Rejection};
use crate::{
    clock,
    compile::Compiled,
    name::Name,
    process,
    report::{Connect, Event, IpProtocol, RuleName},
};
use enforcer_common::{
    RuleId,
    dns::Doubt,
    event::{ConnectEvent, Kind, flag},
};
use policy_schema::{Mode, Verdict};
use std::{sync::Arc, time::SystemTime};

impl Engine {
    /// Hands every event that is there to `emit`; returns how many. Answers come first, so that an event finds the names
    /// that were answered before it.
    ///
    /// # Errors
    /// What the kernel refused.
    pub fn read_events(&mut self, mut emit: impl FnMut(Event)) -> Result<usize, EngineError> {
        let mut raw = Vec::new();
        self.events.drain(|record| raw.extend(ConnectEvent::from_bytes(record)));
        self.read_answers()?;
        if raw.iter().any(|event| self.cgroups.path_of(event.cgroup).is_none()) {
            // Younger than the last look; the kernel has judged it as unclassified.
            self.read_cgroups()?;
        }
        for (name, address, rule) in self.protected.take() {
            emit(Event::ProtectedAddress { time: SystemTime::now(), name, address, rule });
        }
        if !self.rejected.is_empty() {
            let counters = self.counters()?;
            self.rejected.take(&counters, clock::boot()).into_iter().map(rejection).for_each(&mut emit);
        }
        for event in &raw {
            let mut attempt = attempt(self, event);
            emit(match Kind::of(event.kind) {
                Kind::PacketDenied => {
                    let policy = self.policies.get(&event.version).map(Arc::as_ref);
                    self.outlived |= closing::is_outlived(policy, event);
                    Event::NetPacketDenied(attempt)
                }
                Kind::QueryRefused => Event::DnsQueryRefused { question: question(event), attempt },
                Kind::TcpConnect => {
                    attempt.cause = self.attribute(event, &attempt.results);
                    Event::NetTcpConnect(attempt)
                }
                Kind::UdpSend => Event::NetUdpSend(attempt),
            });
        }
        Ok(raw.len())
    }
}

/// Everything that is known about an attempt.
fn attempt(engine: &Engine, event: &ConnectEvent) -> Connect {
    let policy = engine.policies.get(&event.version).map(Arc::as_ref);
    let rule = RuleId(event.rule);
    Connect {
        time: engine.clock.to_system(event.time),
        address: event.address.into(),
        port: event.port,
        results: engine.names.names(&engine.meant(&event.address)),
        cause: None,
        protocol: IpProtocol(event.protocol),
        verdict: if event.flags & flag::DENY != 0 { Verdict::Deny } else { Verdict::Allow },
        blocked: event.flags & flag::BLOCKED != 0,
        mode: mode(policy, rule),
        rule: rule_name(policy, rule),
        effective_rule: rule_name(policy, RuleId(event.effective_rule)),
        policy_version: event.version,
        pid: event.pid,
        ppid: event.ppid,
        tid: event.tid,
        uid: event.uid,
        comm: text(&event.comm),
        exe: (event.pid != 0).then(|| process::executable(event.pid, path(event).as_deref())).flatten(),
        cgroup: engine.cgroups.path_of(event.cgroup).map(str::to_owned),
        backend: engine.kernel.backend(),
    }
}

/// The executable's path, as far as the kernel has told it.
fn path(event: &ConnectEvent) -> Option<String> {
    (Kind::of(event.kind) != Kind::QueryRefused).then(|| process::kernel_path(event)).flatten()
}

/// The name that a refused query asks for, if it could be read.
fn question(event: &ConnectEvent) -> Option<Name> {
    let length = usize::try_from(event.exe_length).ok()?;
    event.exe.get(..length).filter(|_| event.exe_whole == 1).map(Name::from_hashed)
}

/// `DNSAnswerRejected`.
fn rejection(rejection: Rejection) -> Event {
    let Rejection { cause, server, question, count } = rejection;
    let cause = match cause {
        Doubt::Forgotten => "unmatched",
        Doubt::Namespace => "foreignNamespace",
        Doubt::Process => "otherProcess",
        Doubt::Server => "untrustedServer",
        Doubt::Unsolicited => "unsolicited",
    };
    Event::AnswerRejected { time: SystemTime::now(), cause, server, question, count }
}

pub(super) fn rule_name(policy: Option<&Compiled>, rule: RuleId) -> RuleName {
    match rule {
        RuleId::BUILTIN => RuleName::Builtin,
        RuleId::DEFAULT => RuleName::Default(policy.and_then(only_policy)),
        RuleId::ERROR => RuleName::Error,
        RuleId::LITERAL => RuleName::LiteralAddresses,
        RuleId::OTHER_RESOLVER => RuleName::OtherResolvers,
        RuleId(class) => match policy.and_then(|policy| policy.policy.rules().get(usize::from(class))) {
            Some(rule) => RuleName::Rule { policy: rule.policy().into(), name: rule.name().into() },
            // The policy is older than those that are kept.
            None => RuleName::Rule { policy: "?".into(), name: format!("#{class}").into() },
        },
    }
}

/// The mode of what decided.
fn mode(policy: Option<&Compiled>, rule: RuleId) -> Mode {
    let Some(policy) = policy.map(|policy| &policy.policy) else { return Mode::Enforce };
    match rule {
        RuleId::BUILTIN | RuleId::ERROR => policy.mode(),
        RuleId::OTHER_RESOLVER => policy.dns().other_resolvers_mode,
        RuleId::DEFAULT => policy.default().mode,
        RuleId::LITERAL => policy.literal_addresses().mode(),
        RuleId(class) => {
            policy.rules().get(usize::from(class)).map_or(Mode::Enforce, policy_schema::Rule::mode)
        }
    }
}

/// The policy's name, where there is only one.
pub(crate) fn only_policy(policy: &Compiled) -> Option<Arc<str>> {
    let mut names = policy.policy.rules().iter().map(policy_schema::Rule::policy);
    let first = names.next()?;
    names.all(|name| name == first).then(|| first.into())
}

pub(super) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or(bytes)).into_owned()
}
