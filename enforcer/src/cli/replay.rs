//! `replay`: what recorded traffic would have bound.

use super::{Failure, OutputFormat};
use crate::{
    compile::CompileError,
    compile::Compiled,
    load::{self, LoadError},
    replay::{self, CaptureError, Counts, Replay},
};
use clap::Args;
use std::{
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

/// Arguments of `replay`.
#[derive(Args, Debug)]
#[command(after_help = "\
Reads pcap and pcapng: Ethernet (VLAN), Linux cooked, raw IP, null and loopback frames; DNS answers over UDP and TCP \
from port 53. Needs no privileges and changes nothing.
  tcpdump -i any -w dns.pcap port 53
  enforcer replay --pcap dns.pcap --policy /etc/enforcer/policies

Each line: packet number, the question and the names it leads to, an address, until when the binding counts (the \
packet's time and the least TTL on the way; a policy's `hold` may prolong it), and who makes it. `kernel and daemon`: \
bound before the application reads the answer. `daemon`: late, because the kernel's binder cannot read it. Answers that \
are not read, or not believed, are listed with the reason.

JSON is one object a line: `packet`, `time`, and either `name`, `chain`, `address`, `ttl` (seconds), `expiry`, `source` \
(both, kernel, daemon), `server`, `transport` (udp, tcp), with --policy `rules`, a list of objects with `policy`, `rule`, \
`action` and `late`; or `refused`, the reason.

Exit status: 0 every file was read to its end; 1 some was not; 2 wrong usage, or a policy with errors.")]
pub(super) struct Arguments {
    /// Capture file of tcpdump, dumpcap or wireshark; repeatable.
    #[arg(long = "pcap", value_name = "FILE", required = true, num_args = 1..)]
    captures: Vec<PathBuf>,
    /// Policy file, or directory of policy files: also tell which rules match; repeatable.
    #[arg(long = "policy", value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// Read answers whose query is not in the capture too; the kernel would not believe them.
    #[arg(long)]
    unasked: bool,
    /// How lines are printed.
    #[arg(long, default_value = "text")]
    format: OutputFormat,
}

/// Prints what the files say. A file that cannot be read does not keep others from being read.
pub(super) fn main(
    Arguments { captures, policies, unasked, format }: Arguments,
) -> Result<ExitCode, Failure> {
    let compiled = compiled(&policies)?;
    let everything =
        replay::image_of_everything().map_err(|error| LoadError::from(CompileError::Image(error)))?;
    let mut replay = Replay::new(&everything, compiled.as_ref(), unasked);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let mut errors: Vec<CaptureError> = Vec::new();
    let mut written = Ok(());
    for path in &captures {
        replay.next_capture();
        if captures.len() > 1 && format == OutputFormat::Text {
            written = written.and_then(|()| writeln!(out, "{}:", path.display()));
        }
        let read = replay::read(path, |frame| {
            for line in replay.take(&frame) {
                if written.is_ok() {
                    written = match format {
                        OutputFormat::Text => writeln!(out, "{line}"),
                        OutputFormat::Json => serde_json::to_writer(&mut out, &line)
                            .map_err(io::Error::from)
                            .and_then(|()| writeln!(out)),
                    };
                }
            }
        });
        errors.extend(read.err());
    }
    if format == OutputFormat::Text && errors.len() < captures.len() {
        let Counts { packets, answers, bindings, refused } = replay.counts();
        written = written.and_then(|()| {
            writeln!(out, "{packets} packets, {answers} answers, {bindings} bindings, {refused} not read or not believed")
        });
    }
    match written.and_then(|()| out.flush()) {
        // Whoever reads has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(Failure::output(&error)),
        _ => {}
    }
    let Some(last) = errors.pop() else { return Ok(ExitCode::SUCCESS) };
    for error in errors {
        eprintln!("error: {error}\n  help: {}", error.help());
    }
    Err(last.into())
}

fn compiled(policies: &[PathBuf]) -> Result<Option<Compiled>, Failure> {
    if policies.is_empty() {
        return Ok(None);
    }
    let loaded = load::load(policies, None)?;
    for warning in &loaded.warnings {
        eprintln!("{}", warning.render());
    }
    Ok(Some(load::compile(loaded.policy)?))
}
