//! Live flows that an enforced deny rule with `onDeny: close` now denies: which they are, and their end.

use crate::{
    cgroups::Tree,
    compile::{Compiled, HostMaps},
    sock_diag::{Socket, Transport},
};
use enforcer_common::{
    Address, Attempt, Binding, Reach, RuleId, Verdict,
    flow::{OPENED_BY_PEER, OPENED_HERE},
    image::Protocol,
};
use policy_schema::{Action, Mode, OnDeny, Rule};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

mod round;

pub use round::{Round, Said};

/// What it takes to judge flows: what was in force at one moment. Pure.
pub struct Judge {
    /// The policy.
    pub policy: Arc<Compiled>,
    /// The bindings that have something to do with a deny.
    pub truth: BTreeMap<Address, Binding>,
    /// The trusted resolvers.
    pub resolvers: Vec<Address>,
    /// The cgroups.
    pub tree: Tree,
    /// Path of the cgroup within which decisions are made, below the mount point; `None` = everywhere.
    pub scope: Option<String>,
}

/// A flow that was closed.
#[derive(Clone, Debug)]
pub struct Closed {
    /// When.
    pub time: SystemTime,
    /// Its socket.
    pub socket: Socket,
    /// Time since it was connected, if that was seen.
    pub age: Option<Duration>,
    /// The rule that denies it.
    pub rule: RuleId,
    /// Version of the policy that judged.
    pub version: u64,
}

/// Whether a rule closes flows.
pub fn closes(rule: &Rule) -> bool {
    rule.action() == Action::Deny && rule.mode() == Mode::Enforce && rule.on_deny() == OnDeny::Close
}

impl Judge {
    /// The rule by which a socket is to be closed, at `now`. It is judged as the programs judge its packets: as of whoever
    /// used it last, and where a peer has opened the connection, or there is none, by rules that name the destination.
    /// `listening` is where somebody listens in its network namespace.
    pub fn strikes(&self, socket: &Socket, listening: &BTreeSet<SocketAddr>, now: u64) -> Option<RuleId> {
        if !self.is_in_scope(socket.cgroup) {
            return None;
        }
        let (cgroup, uid) = user(socket);
        let address = Address::from(socket.remote.ip()).destination();
        let inside = address.embedded().map(Address::destination);
        let either = [Some(address), Some(self.policy.meant(&address)), inside];
        let here = |address: &Address| self.truth.get(address).map(|binding| (*address, *binding));
        let maps = HostMaps {
            compiled: &self.policy,
            truth: either.iter().flatten().filter_map(here).collect(),
            cgroup: self.tree.path_of(cgroup).map(|path| self.policy.cgroup(path)).unwrap_or_default(),
            resolver: either.into_iter().flatten().find(|one| self.resolvers.contains(one)),
        };
        let opened_here = socket.transport == Transport::Tcp && is_opened_here(socket, listening);
        let attempt = Attempt {
            address,
            port: socket.remote.port(),
            protocol: match socket.transport {
                Transport::Tcp => Protocol::Tcp,
                Transport::Udp => Protocol::Udp,
            },
            uid,
            now,
            reach: if opened_here { Reach::All } else { Reach::Named },
        };
        let decision = maps.decide(&attempt).ok()?;
        let rule = self.policy.policy.rules().get(usize::from(decision.effective_rule.0))?;
        (decision.effective == Verdict::Deny && closes(rule)).then_some(decision.effective_rule)
    }

    /// The directories of the cgroups in scope.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let ids = self.tree.iter().filter(|(id, _)| self.is_in_scope(*id));
        ids.map(|(_, path)| self.tree.directory(path)).collect()
    }

    fn is_in_scope(&self, cgroup: u64) -> bool {
        let Some(scope) = &self.scope else { return true };
        // Of a cgroup that is gone, nothing is attached to any more.
        let below = self.tree.path_of(cgroup).and_then(|path| path.strip_prefix(&**scope));
        below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// The cgroup and the user of whoever used the socket last, else of who made it.
fn user(socket: &Socket) -> (u64, u32) {
    socket.user().map_or((socket.cgroup, socket.uid), |flow| (flow.cgroup, flow.uid))
}

/// Whether this machine has opened a TCP connection: as the programs have noted, or as far as nobody listens at its port.
fn is_opened_here(socket: &Socket, listening: &BTreeSet<SocketAddr>) -> bool {
    match socket.flow.as_ref().map(|flow| flow.opened) {
        Some(OPENED_HERE) => true,
        Some(OPENED_BY_PEER) => false,
        _ => {
            let any = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
            let mut at = any.into_iter().chain([socket.local.ip()]);
            !at.any(|ip| listening.contains(&SocketAddr::new(ip, socket.local.port())))
        }
    }
}

#[cfg(test)]
mod tests;
