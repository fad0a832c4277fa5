//! Live flows that a deny rule with `onDeny: close` ends: by what they are judged, and what is told of them.

use super::{Engine, EngineError, events};
use crate::{
    close::{self, Closed, Judge},
    compile::Compiled,
    report::{ClosedFlow, Event, IpProtocol},
    sock_diag::Transport,
};
use enforcer_common::{
    RuleId,
    event::{ConnectEvent, flag},
    packet::{TCP, UDP},
};
use std::{os::fd::OwnedFd, sync::Arc};

impl Engine {
    /// By what live flows are judged, within a cgroup given by its path below the mount point; `None` if no rule in force
    /// closes any.
    pub fn judge_of_flows(&self, scope: Option<String>, now: u64) -> Option<Judge> {
        let policy = self.policy().filter(|policy| policy.policy.rules().iter().any(close::closes))?;
        let mut truth = self.names.truth(policy, now);
        truth.retain(|_, binding| binding.any.meets(&policy.deny) || binding.except.meets(&policy.deny));
        Some(Judge {
            policy: Arc::clone(policy),
            truth,
            resolvers: self.resolvers.clone(),
            tree: self.cgroups.clone(),
            scope,
        })
    }

    /// The map that remembers something of sockets.
    ///
    /// # Errors
    /// No file descriptor is free.
    pub fn flows(&self) -> Result<OwnedFd, EngineError> {
        Ok(self.kernel.flows()?)
    }

    /// Whether a packet of a live flow was denied since the last call, by a rule that closes such: its address got a denied
    /// name after it was connected.
    pub fn take_outlived(&mut self) -> bool {
        std::mem::take(&mut self.outlived)
    }

    /// `FlowClosed`.
    pub fn closed(&self, closed: &Closed) -> Event {
        let Closed { time, socket, age, rule, version } = closed;
        let policy = self.policies.get(version).map(Arc::as_ref);
        let user = socket.user();
        let address = socket.remote.ip();
        Event::FlowClosed(ClosedFlow {
            time: *time,
            address,
            port: socket.remote.port(),
            results: self.names.names(&self.meant(&address.into())),
            protocol: IpProtocol(match socket.transport {
                Transport::Tcp => TCP,
                Transport::Udp => UDP,
            }),
            age: *age,
            rule: events::rule_name(policy, *rule),
            policy_version: *version,
            pid: user.map_or(0, |flow| flow.pid),
            uid: user.map_or(socket.uid, |flow| flow.uid),
            comm: user.map_or_else(String::new, |flow| events::text(&flow.comm)),
            cgroup: self.cgroups.path_of(user.map_or(socket.cgroup, |flow| flow.cgroup)).map(str::to_owned),
        })
    }
}

/// Whether this is a packet of a TCP connection that is to be closed.
pub(super) fn is_outlived(policy: Option<&Compiled>, event: &ConnectEvent) -> bool {
    let RuleId(class) = RuleId(event.effective_rule);
    let rule = policy.and_then(|policy| policy.policy.rules().get(usize::from(class)));
    event.protocol == TCP && event.flags & flag::BLOCKED != 0 && rule.is_some_and(close::closes)
}
