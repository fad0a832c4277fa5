//! What is written about events: data for machines, or lines for people.
//!
//! Names, commands and paths in events come from whoever is watched. Both formats escape what steers a terminal.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use policy_schema::{Diagnostic, Mode, Verdict};

use crate::backend::Backend;
use crate::cause::Cause;
use crate::name::Name;

mod clock;
mod escape;
mod json;
mod protocol;
mod sink;
mod text;

pub(crate) use clock::Rfc3339;
pub use protocol::IpProtocol;
pub use sink::{Format, Sink, SinkError, SinkSpec, SpecError, Target};

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// DNS answers were not believed: `DNSAnswerRejected`. At most one event for each cause in ten seconds.
    AnswerRejected {
        /// When it was noticed.
        time: SystemTime,
        /// Why.
        cause: &'static str,
        /// Who sent the latest one.
        server: IpAddr,
        /// Its question, if it could be read.
        question: Option<Name>,
        /// How many since the last such event of this cause.
        count: u64,
    },
    /// A query was not sent, or would not have been: `DNSQueryRefused`.
    DnsQueryRefused {
        /// The name that it asks for, if it could be read.
        question: Option<Name>,
        /// Who asks, and the server as the destination.
        attempt: Connect,
    },
    /// Attempts were judged and nobody saw it.
    EventsLost {
        /// When it was noticed.
        time: SystemTime,
        /// How many since the last such event.
        count: u64,
    },
    /// A live flow was closed, by a deny rule with `onDeny: close`: `FlowClosed`.
    FlowClosed(ClosedFlow),
    /// A packet was denied that no call before has been refused for: `NetPacketDenied`.
    NetPacketDenied(Connect),
    /// A connect attempt was judged: `NetTCPConnect`.
    NetTcpConnect(Connect),
    /// The first datagram of a socket to a destination was judged: `NetUDPSend`.
    NetUdpSend(Connect),
    /// A policy was read and refused; what was in force stays in force.
    PolicyRejected {
        /// When.
        time: SystemTime,
        /// What is wrong with it.
        diagnostics: Vec<Diagnostic>,
    },
    /// A policy came into force.
    PolicyReloaded {
        /// When.
        time: SystemTime,
        /// Its version.
        version: u64,
        /// Names of rules that are new, as `policy/rule`.
        added: Vec<String>,
        /// Names of rules that are gone.
        removed: Vec<String>,
        /// Names of rules that say something else.
        changed: Vec<String>,
    },
    /// A denied name was answered with an address that no name rule reaches: loopback or a resolver.
    ProtectedAddress {
        /// When.
        time: SystemTime,
        /// The name.
        name: Name,
        /// The address.
        address: IpAddr,
        /// The rule that denies the name.
        rule: RuleName,
    },
    /// More or less is enforced than before.
    StatusChanged {
        /// When.
        time: SystemTime,
        /// The former state.
        from: String,
        /// The state.
        to: String,
        /// Why it is not better.
        reasons: Vec<String>,
    },
}

/// A judged attempt: a connect, a datagram, a packet.
#[derive(Clone, Debug)]
pub struct Connect {
    /// When.
    pub time: SystemTime,
    /// Where to.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// The names that the address has.
    pub results: Vec<Name>,
    /// Why it has none.
    pub cause: Option<Cause>,
    /// The protocol.
    pub protocol: IpProtocol,
    /// What the rules say.
    pub verdict: Verdict,
    /// It was refused in fact.
    pub blocked: bool,
    /// Mode of the rule that says so.
    pub mode: Mode,
    /// The rule that says so.
    pub rule: RuleName,
    /// The rule that made it happen.
    pub effective_rule: RuleName,
    /// Version of the policy that judged.
    pub policy_version: u64,
    /// Process id, 0 if unknown.
    pub pid: u32,
    /// Process id of the parent.
    pub ppid: u32,
    /// Thread id.
    pub tid: u32,
    /// User id.
    pub uid: u32,
    /// Name of the thread.
    pub comm: String,
    /// Path of the executable, if known.
    pub exe: Option<String>,
    /// Path of the cgroup, if known.
    pub cgroup: Option<String>,
    /// Which hooks judged.
    pub backend: Backend,
}

/// A live flow that was closed.
#[derive(Clone, Debug)]
pub struct ClosedFlow {
    /// When.
    pub time: SystemTime,
    /// Where it went.
    pub address: IpAddr,
    /// The port there.
    pub port: u16,
    /// The names that the address has.
    pub results: Vec<Name>,
    /// The protocol.
    pub protocol: IpProtocol,
    /// How long it was connected, if that was seen.
    pub age: Option<Duration>,
    /// The rule that denies it.
    pub rule: RuleName,
    /// Version of the policy that judged.
    pub policy_version: u64,
    /// Process id of whoever used it last, 0 if unknown.
    pub pid: u32,
    /// His user id; of whoever made the socket, if nobody was seen to use it.
    pub uid: u32,
    /// Name of the thread that used it last, empty if unknown.
    pub comm: String,
    /// Path of the cgroup, if known.
    pub cgroup: Option<String>,
}

/// Who decided.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RuleName {
    /// What must stay reachable.
    Builtin,
    /// No rule: the default of this policy, or of several that agree.
    Default(Option<Arc<str>>),
    /// The verdict for internal errors.
    Error,
    /// No rule matched, and no lookup preceded.
    LiteralAddresses,
    /// The server at the port of DNS is no trusted resolver.
    OtherResolvers,
    /// A rule.
    Rule {
        /// The policy that it stands in.
        policy: Arc<str>,
        /// Its name there.
        name: Arc<str>,
    },
}

impl RuleName {
    /// The policy, if it is one policy's decision.
    pub fn policy(&self) -> Option<&str> {
        match self {
            Self::Builtin | Self::Error | Self::LiteralAddresses | Self::OtherResolvers => None,
            Self::Default(policy) => policy.as_deref(),
            Self::Rule { policy, name: _ } => Some(policy),
        }
    }

    /// The rule as events name it, `None` for the default.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Builtin => Some("builtin"),
            Self::Default(_) => None,
            Self::Error => Some("error"),
            Self::LiteralAddresses => Some("literalAddresses"),
            Self::OtherResolvers => Some("otherResolvers"),
            Self::Rule { policy: _, name } => Some(name),
        }
    }
}

impl Connect {
    /// The verdict is deny.
    pub fn would_deny(&self) -> bool {
        self.verdict == Verdict::Deny
    }
}

#[cfg(test)]
mod tests;
