//! One line for people.

use std::fmt;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use policy_schema::Diagnostic;

use super::clock::TimeOfDay;
use super::escape::{line, word};
use super::{ClosedFlow, Connect, Event, IpProtocol, RuleName};
use crate::name::Name;

/// ANSI colour of a verdict.
#[derive(Clone, Copy)]
enum Colour {
    Green = 32,
    Red = 31,
    Yellow = 33,
}

/// Writes the event and ends the line; a refused policy has one line for each finding.
pub(super) fn write(event: &Event, colours: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let paint = |colour| colours.then_some(colour);
    match event {
        Event::AnswerRejected { time, cause, server, question, count } => {
            head(out, TimeOfDay(*time), "DOUBT", paint(Colour::Yellow))?;
            write!(out, "{count} answers not believed: {cause}, the latest from {server}")?;
            match question {
                Some(question) => writeln!(out, " about {question}"),
                None => writeln!(out),
            }
        }
        Event::DnsQueryRefused { question, attempt } => {
            let server = SocketAddr::new(attempt.address, attempt.port);
            let what = match question {
                Some(name) => format!("lookup of {name} at {server}"),
                None => format!("unreadable query to {server}"),
            };
            write_attempt(attempt, &what, colours, out)
        }
        Event::EventsLost { time, count } => {
            head(out, TimeOfDay(*time), "LOST", paint(Colour::Red))?;
            writeln!(out, "{count} events")
        }
        Event::FlowClosed(flow) => write_closed(flow, colours, out),
        Event::NetPacketDenied(attempt) | Event::NetTcpConnect(attempt) | Event::NetUdpSend(attempt) => {
            let Connect { address, port, results, protocol, .. } = attempt;
            write_attempt(attempt, &destination(address, *port, results, *protocol), colours, out)
        }
        Event::PolicyRejected { time, diagnostics } => {
            for finding in diagnostics {
                head(out, TimeOfDay(*time), "REJECTED", paint(Colour::Red))?;
                let Diagnostic { file, line: row, column, message, hint, .. } = finding;
                write!(out, "{}:{row}:{column}: {}", line(&file.to_string_lossy()), line(message))?;
                match hint {
                    Some(hint) => writeln!(out, " (hint: {})", line(hint))?,
                    None => writeln!(out)?,
                }
            }
            Ok(())
        }
        Event::PolicyReloaded { time, version, added, removed, changed } => {
            head(out, TimeOfDay(*time), "RELOADED", paint(Colour::Green))?;
            write!(out, "version {version}")?;
            for (what, rules) in [("added", added), ("removed", removed), ("changed", changed)] {
                if !rules.is_empty() {
                    write!(out, ", {what}: {}", line(&rules.join(" ")))?;
                }
            }
            writeln!(out)
        }
        Event::ProtectedAddress { time, name, address, rule } => {
            head(out, TimeOfDay(*time), "PROTECTED", paint(Colour::Yellow))?;
            writeln!(out, "{name} has the address {address}, which no name denies  {}", By(rule))
        }
        Event::StatusChanged { time, from, to, reasons } => {
            head(out, TimeOfDay(*time), "STATUS", paint(Colour::Yellow))?;
            write!(out, "{} -> {}", line(from), line(to))?;
            match reasons.as_slice() {
                [] => writeln!(out),
                reasons => writeln!(out, ": {}", line(&reasons.join("; "))),
            }
        }
    }
}

fn write_attempt(connect: &Connect, what: &str, colours: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let (verdict, colour, rule) = match (connect.blocked, connect.would_deny()) {
        (true, _) => ("DENY", Colour::Red, &connect.effective_rule),
        (false, true) => ("WOULD-DENY", Colour::Yellow, &connect.rule),
        (false, false) => ("ALLOW", Colour::Green, &connect.rule),
    };
    head(out, TimeOfDay(connect.time), verdict, colours.then_some(colour))?;
    let process = process(connect.pid, connect.uid, &connect.comm);
    writeln!(out, "{what:<44} {process:<28} {}", By(rule))
}

fn write_closed(flow: &ClosedFlow, colours: bool, out: &mut Vec<u8>) -> io::Result<()> {
    let ClosedFlow { address, port, results, protocol, .. } = flow;
    head(out, TimeOfDay(flow.time), "CLOSED", colours.then_some(Colour::Red))?;
    let to = destination(address, *port, results, *protocol);
    let process = process(flow.pid, flow.uid, &flow.comm);
    write!(out, "{to:<44} {process:<28} {}", By(&flow.rule))?;
    match flow.age {
        Some(age) => writeln!(out, " after {:.1}s", age.as_secs_f64()),
        None => writeln!(out),
    }
}

fn process(pid: u32, uid: u32, comm: &str) -> String {
    match pid {
        0 => format!("uid={uid}"),
        pid => format!("{}[{pid}] uid={uid}", word(comm)),
    }
}

/// `www.example.com:443 (203.0.113.7)`, `203.0.113.7:443`; further names as their number.
fn destination(address: &IpAddr, port: u16, results: &[Name], protocol: IpProtocol) -> String {
    let transport = match protocol {
        IpProtocol::TCP => String::new(),
        protocol => format!("/{protocol}"),
    };
    match results {
        [] => format!("{}{transport}", SocketAddr::new(*address, port)),
        [name] => format!("{name}:{port}{transport} ({address})"),
        [name, more @ ..] => format!("{name}:{port}{transport} ({address}, +{} names)", more.len()),
    }
}

fn head(out: &mut Vec<u8>, time: TimeOfDay, what: &str, colour: Option<Colour>) -> io::Result<()> {
    match colour {
        Some(colour) => write!(out, "{time} \x1b[{}m{what:<10}\x1b[0m ", colour as u8),
        None => write!(out, "{time} {what:<10} "),
    }
}

struct By<'a>(&'a RuleName);

impl fmt::Display for By<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(policy) = self.0.policy() {
            write!(f, "{}/", word(policy))?;
        }
        f.write_str(&word(self.0.rule().unwrap_or("default")))
    }
}
