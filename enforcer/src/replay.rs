//! What captured DNS answers would bind: by the code of the kernel's binder, and by the daemon's. Pure; packets come in.

use crate::{
    compile::Compiled,
    dns::{self, DecodeError},
    name::Name,
};
use enforcer_common::{
    Address,
    dns::{AnswerHeader, MESSAGE_MAX, lifetime},
    packet::{Network, Ports, Span, TCP, UDP, flag},
};
use std::collections::{BTreeMap, BTreeSet};

mod binder;
mod capture;
mod link;
mod report;
mod stream;

pub use binder::{Binder, Reading, image_of_everything};
pub use capture::{CaptureError, Frame, read};
pub use report::{Line, Source};
use stream::{Lost, Stream};

/// Connections whose messages are put together at the same time.
const STREAMS_MAX: usize = 4096;
/// Queries that are remembered for their answers.
const QUERIES_MAX: usize = 65_536;

const DNS: u16 = 53;

/// Reads captured packets one after the other.
pub struct Replay<'a> {
    policy: Option<&'a Compiled>,
    /// Answers without a query in the capture are read too.
    unasked: bool,
    everything: Binder<'a>,
    by_policy: Option<Binder<'a>>,
    streams: BTreeMap<Flow, Stream>,
    asked: BTreeSet<(Flow, u16)>,
    counts: Counts,
}

/// What was seen.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Counts {
    /// Packets.
    pub packets: u64,
    /// Answers that were read.
    pub answers: u64,
    /// Bindings that they make.
    pub bindings: u64,
    /// Answers, or what may be some, that were not read or not believed.
    pub refused: u64,
}

/// From a server to a client.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Flow {
    server: Address,
    client: Address,
    port: u16,
}

/// A message, and how it came.
struct Carried<'a> {
    flow: Flow,
    frame: Frame<'a>,
    transport: &'static str,
    message: &'a [u8],
    /// The kernel's binder sees it whole.
    whole: bool,
}

impl<'a> Replay<'a> {
    /// Reads by a policy, or without one. `everything` is [`image_of_everything`].
    ///
    /// `unasked` has answers read whose query is not in the capture.
    pub fn new(
        everything: &'a Vec<enforcer_common::Vector>,
        policy: Option<&'a Compiled>,
        unasked: bool,
    ) -> Self {
        Self {
            policy,
            unasked,
            everything: Binder::of_everything(everything),
            by_policy: policy.map(Binder::of),
            streams: BTreeMap::new(),
            asked: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// What was seen so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Forgets connections and queries: the next packet is of another capture.
    pub fn next_capture(&mut self) {
        self.streams.clear();
        self.asked.clear();
    }

    /// Reads a packet, and tells what it binds, or why nothing.
    pub fn take(&mut self, frame: &Frame<'_>) -> Vec<Line> {
        self.counts.packets += 1;
        let lines = self.lines(frame);
        for line in &lines {
            match line {
                Line::Binding(_) => self.counts.bindings += 1,
                Line::Refused(_) => self.counts.refused += 1,
            }
        }
        lines
    }

    fn lines(&mut self, frame: &Frame<'_>) -> Vec<Line> {
        if !link::is_known(frame.link) {
            return vec![Line::refused(frame, None, format!("link type {} is not known", frame.link))];
        }
        let Some(packet) = link::packet(frame.link, frame.bytes) else { return Vec::new() };
        let Some(network) = Network::of(&packet) else {
            return not_read(frame, packet)
                .map(|reason| vec![Line::refused(frame, None, reason)])
                .unwrap_or_default();
        };
        let of = |span: Span| packet.get(span.start as usize..span.end as usize).unwrap_or_default();
        let (Some(Ports { source, destination }), Some(from), Some(to)) =
            (network.ports(&packet), network.source(&packet), network.destination(&packet))
        else {
            return Vec::new();
        };
        let answer = Flow { server: from, client: to, port: destination };
        let query = Flow { server: to, client: from, port: source };
        match network.protocol {
            UDP if source == DNS => {
                let Some(message) = network.datagram(&packet).map(of) else { return Vec::new() };
                let whole = message.len() <= MESSAGE_MAX;
                self.answer(&Carried { flow: answer, frame: *frame, transport: "udp", message, whole })
            }
            UDP if destination == DNS => {
                if let Some(id) = network.datagram(&packet).and_then(|span| of(span).first_chunk())
                    && self.asked.len() < QUERIES_MAX
                {
                    self.asked.insert((query, u16::from_be_bytes(*id)));
                }
                Vec::new()
            }
            TCP if source == DNS => match network.segment(&packet) {
                Some(segment) => {
                    self.segment(answer, frame, segment.sequence, segment.flags, of(segment.payload))
                }
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    fn segment(
        &mut self,
        flow: Flow,
        frame: &Frame<'_>,
        sequence: u32,
        flags: u8,
        payload: &[u8],
    ) -> Vec<Line> {
        let opens = flags & flag::SYN != 0;
        if !opens && payload.is_empty() {
            if flags & (flag::FIN | flag::RST) != 0 {
                self.streams.remove(&flow);
            }
            return Vec::new();
        }
        let refused = |reason: &str| vec![Line::refused(frame, Some(flow.server.into()), reason.to_owned())];
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(&flow) {
            return refused("too many connections at the same time");
        }
        match self.streams.entry(flow).or_default().take(sequence, opens, payload) {
            Ok(messages) => messages
                .iter()
                .flat_map(|stream::Message { bytes, whole }| {
                    let whole = *whole && bytes.len() <= MESSAGE_MAX;
                    self.answer(&Carried { flow, frame: *frame, transport: "tcp", message: bytes, whole })
                })
                .collect(),
            Err(Lost) => {
                self.streams.remove(&flow);
                refused("the connection has a hole, or its segments are too far out of order")
            }
        }
    }

    fn answer(&mut self, carried: &Carried<'_>) -> Vec<Line> {
        let Carried { flow, frame, transport, message, whole } = carried;
        let refused = |reason: String| vec![Line::refused(frame, Some(flow.server.into()), reason)];
        // A connection is proof enough that the server was asked.
        if *transport == "udp" && !self.unasked {
            let id = message.first_chunk().map_or(0, |id| u16::from_be_bytes(*id));
            if !self.asked.remove(&(*flow, id)) {
                return refused("not believed: its query is not in the capture".to_owned());
            }
        }
        let trusted = self.policy.is_none_or(|policy| is_trusted(policy, &flow.server));
        let answer = match dns::decode_message(&header(carried, trusted), message) {
            Ok(answer) => answer,
            Err(DecodeError::Short) if frame.length as usize > frame.bytes.len() => {
                return refused("not captured to its end".to_owned());
            }
            Err(error) => return refused(format!("not read: {error}")),
        };
        self.counts.answers += 1;
        let by_kernel =
            if *whole { self.everything.read(message, true, frame.time) } else { Reading::default() };
        let said = self.policy.map(|policy| policy.judge(&answer.chain, trusted));
        let bits = self
            .by_policy
            .as_mut()
            .filter(|_| *whole)
            .map(|binder| binder.read(message, trusted, frame.time));

        let mut lines = Vec::new();
        let by_daemon: BTreeMap<Address, u32> = answer.addresses.iter().copied().collect();
        let addresses: BTreeSet<&Address> = by_daemon.keys().chain(by_kernel.bindings.keys()).collect();
        for address in addresses {
            let kernel = by_kernel.bindings.get(address).map(|binding| binding.expiry);
            let daemon = by_daemon.get(address).map(|ttl| frame.time.saturating_add(lifetime(*ttl)));
            let (source, expiry) = match (kernel, daemon) {
                (Some(kernel), Some(daemon)) => (Source::Both, kernel.max(daemon)),
                (Some(kernel), None) => (Source::Kernel, kernel),
                (None, daemon) => (Source::Daemon, daemon.unwrap_or_default()),
            };
            let chain: &[Name] = if daemon.is_some() { &answer.chain } else { &by_kernel.chain };
            let rules = self.policy.map(|policy| {
                let mut any = said.map(|said| said.any).unwrap_or_default();
                any.intersect(&policy.allowed(address));
                let bound = bits.as_ref().and_then(|reading| reading.bindings.get(address));
                report::rules(policy, &any, &bound.map(|binding| binding.any).unwrap_or_default())
            });
            lines.push(Line::binding(carried, chain, address, expiry, source, rules));
        }
        if !answer.complete {
            lines.extend(refused("damaged behind what was read".to_owned()));
        } else if answer.unrelated > 0 {
            lines.extend(refused(format!("{} records belong to no name of the chain", answer.unrelated)));
        }
        lines
    }
}

/// What a policy says about a server; without a list of its own, all are taken for the machine's resolvers.
fn is_trusted(policy: &Compiled, server: &Address) -> bool {
    match &policy.policy.dns().trusted_resolvers {
        policy_schema::TrustedResolvers::Auto => true,
        policy_schema::TrustedResolvers::Listed(listed) => {
            listed.iter().any(|resolver| Address::from(resolver.address) == *server)
        }
    }
}

/// The circumstances of a message as the kernel programs hand them over.
fn header(Carried { flow, frame, message, whole, .. }: &Carried<'_>, trusted: bool) -> AnswerHeader {
    AnswerHeader {
        time: frame.time,
        cgroup: 0,
        server: flow.server,
        length: message.len() as u32,
        client_port: flow.port,
        trusted: trusted.into(),
        unparsed: u8::from(!whole),
        ..AnswerHeader::default()
    }
}

/// Why an IP packet that may be an answer cannot be read.
fn not_read(frame: &Frame<'_>, packet: &[u8]) -> Option<String> {
    let [first, _, _, _, _, _, f0, f1, _, protocol, ..] = packet else { return None };
    let upper = if first >> 4 == 4 { *protocol } else { *f0 };
    if first >> 4 == 4 && u16::from_be_bytes([*f0, *f1]) & 0x3fff != 0 && matches!(upper, UDP | TCP) {
        return Some("a fragment: the kernel's binder sees packets that were put together".to_owned());
    }
    let cut = frame.length as usize > frame.bytes.len();
    (cut && matches!(upper, UDP | TCP)).then(|| "not captured to its end".to_owned())
}

#[cfg(test)]
mod tests;
