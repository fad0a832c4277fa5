//! One JSON object on one line: the keys are part of the interface.

use std::io::{self, Write};
use std::net::IpAddr;

use policy_schema::{Diagnostic, Mode, Verdict};
use serde::Serialize;
use serde_json::ser::Formatter;

use super::clock::Rfc3339;
use super::escape::is_harmless;
use super::{Backend, ClosedFlow, Connect, Event, IpProtocol, RuleName};
use crate::cause::Cause;
use crate::name::Name;

/// Writes the event and ends the line.
pub(super) fn write(event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, Harmless);
    Line::from(event).serialize(&mut serializer)?;
    out.push(b'\n');
    Ok(())
}

#[derive(Serialize)]
#[serde(tag = "event", rename_all_fields = "camelCase")]
enum Line<'a> {
    #[serde(rename = "DNSAnswerRejected")]
    AnswerRejected {
        time: Rfc3339,
        cause: &'a str,
        server: IpAddr,
        question: Option<&'a Name>,
        count: u64,
    },
    #[serde(rename = "DNSQueryRefused")]
    DnsQueryRefused {
        question: Option<&'a Name>,
        #[serde(flatten)]
        attempt: Attempt<'a>,
    },
    EventsLost {
        time: Rfc3339,
        count: u64,
    },
    FlowClosed {
        time: Rfc3339,
        #[serde(rename = "dstIP")]
        dst_ip: IpAddr,
        dst_port: u16,
        results: &'a [Name],
        proto: IpProtocol,
        age_seconds: Option<f64>,
        policy: Option<&'a str>,
        rule: Option<&'a str>,
        policy_version: u64,
        pid: Option<u32>,
        uid: u32,
        comm: Option<&'a str>,
        cgroup: Option<&'a str>,
    },
    NetPacketDenied(Attempt<'a>),
    #[serde(rename = "NetTCPConnect")]
    NetTcpConnect(Attempt<'a>),
    #[serde(rename = "NetUDPSend")]
    NetUdpSend(Attempt<'a>),
    PolicyRejected {
        time: Rfc3339,
        diagnostics: &'a [Diagnostic],
    },
    PolicyReloaded {
        time: Rfc3339,
        policy_version: u64,
        added: &'a [String],
        removed: &'a [String],
        changed: &'a [String],
    },
    ProtectedAddress {
        time: Rfc3339,
        name: &'a Name,
        address: IpAddr,
        policy: Option<&'a str>,
        rule: Option<&'a str>,
    },
    StatusChanged {
        time: Rfc3339,
        from: &'a str,
        to: &'a str,
        reasons: &'a [String],
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Attempt<'a> {
    time: Rfc3339,
    #[serde(rename = "dstIP")]
    dst_ip: IpAddr,
    dst_port: u16,
    results: &'a [Name],
    #[serde(skip_serializing_if = "Option::is_none")]
    cause: Option<Cause>,
    proto: IpProtocol,
    verdict: Verdict,
    would_deny: bool,
    blocked: bool,
    mode: Mode,
    policy: Option<&'a str>,
    rule: Option<&'a str>,
    effective_policy: Option<&'a str>,
    effective_rule: Option<&'a str>,
    policy_version: u64,
    pid: Option<u32>,
    ppid: Option<u32>,
    tid: Option<u32>,
    uid: u32,
    comm: Option<&'a str>,
    exe: Option<&'a str>,
    cgroup: Option<&'a str>,
    backend: Backend,
}

impl<'a> From<&'a Event> for Line<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::AnswerRejected { time, cause, server, question, count } => Self::AnswerRejected {
                time: Rfc3339(*time),
                cause,
                server: *server,
                question: question.as_ref(),
                count: *count,
            },
            Event::DnsQueryRefused { question, attempt } => {
                Self::DnsQueryRefused { question: question.as_ref(), attempt: attempt.into() }
            }
            Event::EventsLost { time, count } => Self::EventsLost { time: Rfc3339(*time), count: *count },
            Event::FlowClosed(flow) => flow.into(),
            Event::NetPacketDenied(packet) => Self::NetPacketDenied(packet.into()),
            Event::NetTcpConnect(connect) => Self::NetTcpConnect(connect.into()),
            Event::NetUdpSend(datagram) => Self::NetUdpSend(datagram.into()),
            Event::PolicyRejected { time, diagnostics } => {
                Self::PolicyRejected { time: Rfc3339(*time), diagnostics }
            }
            Event::PolicyReloaded { time, version, added, removed, changed } => Self::PolicyReloaded {
                time: Rfc3339(*time),
                policy_version: *version,
                added,
                removed,
                changed,
            },
            Event::ProtectedAddress { time, name, address, rule } => Self::ProtectedAddress {
                time: Rfc3339(*time),
                name,
                address: *address,
                policy: rule.policy(),
                rule: rule.rule(),
            },
            Event::StatusChanged { time, from, to, reasons } => {
                Self::StatusChanged { time: Rfc3339(*time), from, to, reasons }
            }
        }
    }
}

impl<'a> From<&'a ClosedFlow> for Line<'a> {
    fn from(flow: &'a ClosedFlow) -> Self {
        let ClosedFlow {
            time,
            address,
            port,
            results,
            protocol,
            age,
            rule,
            policy_version,
            pid,
            uid,
            comm,
            cgroup,
        } = flow;
        Self::FlowClosed {
            time: Rfc3339(*time),
            dst_ip: *address,
            dst_port: *port,
            results,
            proto: *protocol,
            // Milliseconds are as exact as anybody needs it.
            age_seconds: age.map(|age| age.as_millis() as f64 / 1000.0),
            policy: rule.policy(),
            rule: rule.rule(),
            policy_version: *policy_version,
            pid: (*pid != 0).then_some(*pid),
            uid: *uid,
            comm: (*pid != 0).then_some(comm),
            cgroup: cgroup.as_deref(),
        }
    }
}

impl<'a> From<&'a Connect> for Attempt<'a> {
    fn from(connect: &'a Connect) -> Self {
        let Connect {
            time,
            address,
            port,
            results,
            cause,
            protocol,
            verdict,
            blocked,
            mode,
            rule,
            effective_rule,
            policy_version,
            pid,
            ppid,
            tid,
            uid,
            comm,
            exe,
            cgroup,
            backend,
        } = connect;
        // Whose a packet is, its socket knows, or nobody.
        let known = |id: u32| (*pid != 0).then_some(id);
        Self {
            time: Rfc3339(*time),
            dst_ip: *address,
            dst_port: *port,
            results,
            cause: *cause,
            proto: *protocol,
            verdict: *verdict,
            would_deny: connect.would_deny(),
            blocked: *blocked,
            mode: *mode,
            policy: rule.policy(),
            rule: RuleName::rule(rule),
            effective_policy: effective_rule.policy(),
            effective_rule: effective_rule.rule(),
            policy_version: *policy_version,
            pid: known(*pid),
            ppid: known(*ppid),
            tid: known(*tid),
            uid: *uid,
            comm: (*pid != 0).then_some(comm),
            exe: exe.as_deref(),
            cgroup: cgroup.as_deref(),
            backend: *backend,
        }
    }
}

/// Compact, and what is not harmless on a terminal is `\uXXXX`, which means the same to a parser.
struct Harmless;

impl Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|character| !is_harmless(character)) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut characters = from.chars();
            let units = characters.next().map(|character| character.encode_utf16(&mut [0; 2]).to_vec());
            for unit in units.unwrap_or_default() {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}
