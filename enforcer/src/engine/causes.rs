//! The facts by which a connect to an address without a name is put down to a cause, and the counts.

use super::Engine;
use crate::{
    cause::{Cause, Facts, cause},
    clock,
    compile::HostMaps,
    name::Name,
    process,
};
use enforcer_common::{
    Address, RuleId, Verdict,
    event::{ConnectEvent, flag},
};
use policy_schema::{Connection, Protocol};
use std::collections::{BTreeMap, BTreeSet};

/// DNS over TLS (RFC 7858) and QUIC (RFC 9250).
const ENCRYPTED_PORT: u16 = 853;
/// Public resolvers over HTTPS that browsers and libraries ship with. Others are not recognised.
const ENCRYPTED_NAMES: [&str; 8] = [
    "chrome.cloudflare-dns.com",
    "cloudflare-dns.com",
    "dns.google",
    "dns.quad9.net",
    "doh.opendns.com",
    "firefox.dns.nextdns.io",
    "mozilla.cloudflare-dns.com",
    "one.one.one.one",
];
/// Processes remembered that have talked to one; then all are forgotten.
const PROCESSES_MAX: usize = 4096;
/// How long they are.
const ENCRYPTED_FOR: u64 = 3_600_000_000_000;

/// What causes are found by, and how often each was.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// When the daemon started.
    started: u64,
    /// The processes that ran then.
    running: BTreeSet<u32>,
    /// Loopback addresses in the hosts file: no policy is about them.
    pub loopback: BTreeSet<Address>,
    /// Answers have been lost since the start.
    pub lost: bool,
    /// Processes that have connected to an encrypted resolver, and when.
    encrypted: BTreeMap<u32, u64>,
    counts: BTreeMap<Cause, u64>,
}

impl Causes {
    /// Nothing seen yet, at the start of the daemon.
    pub fn since(started: u64, loopback: &BTreeSet<Address>) -> Self {
        Self { started, running: process::running(), loopback: loopback.clone(), ..Self::default() }
    }

    /// Whether a process ran already when the daemon started: its number did, and was not given to another one since.
    fn is_older(&self, pid: u32) -> bool {
        self.running.contains(&pid) && process::started(pid).is_none_or(|started| started < self.started)
    }

    /// How many connects each cause has.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Cause::ALL.iter().map(|(cause, name)| (*name, self.counts.get(cause).copied().unwrap_or(0)))
    }
}

impl Engine {
    /// The cause of a connect to an address whose `names` are these; `None` if it has one. Both that and what only an ended
    /// binding would have decided differently is counted.
    pub(super) fn attribute(&mut self, event: &ConnectEvent, names: &[Name]) -> Option<Cause> {
        let address = self.meant(&event.address);
        let differs = self.would_differ(event, &address);
        let Self { causes, names: table, .. } = self;
        let cause = names.is_empty().then(|| {
            let seen = causes.encrypted.get(&event.pid);
            cause(Facts {
                ended: differs || table.has_ended(&address),
                in_hosts_file: causes.loopback.contains(&address),
                encrypted: seen.is_some_and(|seen| event.time.saturating_sub(*seen) < ENCRYPTED_FOR),
                older: causes.is_older(event.pid),
                lost: causes.lost || table.is_nameless(&address),
            })
        });
        if let Some(counted) = cause.or(differs.then_some(Cause::Expired)) {
            *causes.counts.entry(counted).or_default() += 1;
        }
        let encrypted = |name: &Name| ENCRYPTED_NAMES.iter().any(|known| name.as_bytes() == known.as_bytes());
        if event.port == ENCRYPTED_PORT || names.iter().any(encrypted) {
            if causes.encrypted.len() >= PROCESSES_MAX {
                causes.encrypted.clear();
            }
            causes.encrypted.insert(event.pid, event.time);
        }
        cause
    }

    /// Whether the verdict would have been another if no binding of the address were over.
    fn would_differ(&self, event: &ConnectEvent, address: &Address) -> bool {
        let Some(policy) = self.policies.get(&event.version) else { return false };
        if RuleId(event.rule) == RuleId::ERROR || event.version != self.version {
            return false;
        }
        let now = clock::boot();
        let Some(binding) = self.names.if_nothing_had_ended(address, policy, now) else { return false };
        let connection = self.connection(event);
        let truth = BTreeMap::from([(*address, binding)]);
        let denied = event.flags & flag::DENY != 0;
        HostMaps::judge(policy, &connection, truth, now)
            .is_ok_and(|decision| (decision.verdict == Verdict::Deny) != denied)
    }

    fn connection(&self, event: &ConnectEvent) -> Connection {
        Connection {
            uid: Some(event.uid),
            cgroup: self.cgroups.path_of(event.cgroup).map(str::to_owned),
            resolver: self.resolvers.contains(&event.address.destination()),
            ..Connection::new(event.address.into(), event.port, Protocol::Tcp)
        }
    }
}
