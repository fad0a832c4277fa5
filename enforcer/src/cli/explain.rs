//! `explain`: what becomes of a connection, and why.

use super::{Failure, Instance, ModeName, OutputFormat};
use crate::{
    cgroups,
    compile::Compiled,
    control::{self, ControlError, Request},
    explain::{self, Live, Report},
    live::{Known, KnownAddress, Topic},
    load::{self, Loaded},
    process::{self, User},
    session,
};
use clap::{Args, ValueEnum};
use enforcer_common::Address;
use policy_schema::{Connection, DEFAULT_PORT, Endpoint, Host, Protocol};
use std::{path::PathBuf, process::ExitCode};

/// Arguments of `explain`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  enforcer explain --policy ci-guard.yaml https://www.example.com/
  enforcer explain --policy policies/ 203.0.113.7:8443 --user www-data --cgroup /ci/job
  enforcer explain www.example.com     (by the policy of the running daemon)

A name is explained as if it had just been looked up: its address and its aliases are not known then. If a daemon runs, \
the addresses that it knows for the name follow, each with its verdict. An address is explained with the names that the \
daemon knows for it; without a daemon, as one that no lookup preceded.

Exit status: 0 explained, whatever the verdict; 1 it did not work; 2 wrong usage, or a policy with errors; 70 internal \
error.")]
pub(super) struct Explain {
    /// Where to: a name, an address, either with a port, or a URL.
    #[arg(value_name = "NAME|IP|URL", value_parser = endpoint)]
    to: Endpoint,
    /// Policy file or directory; repeatable. By default those of the running daemon.
    #[arg(long = "policy", value_name = "PATH")]
    policies: Vec<PathBuf>,
    /// Override the mode of all files.
    #[arg(long, requires = "policies")]
    mode: Option<ModeName>,
    /// Destination port; that of the URL, or else 443, by default.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// Transport.
    #[arg(long, default_value = "tcp")]
    protocol: ProtocolName,
    /// Number of the user who connects.
    #[arg(long, conflicts_with = "user")]
    uid: Option<u32>,
    /// Name of the user who connects.
    #[arg(long)]
    user: Option<String>,
    /// Cgroup of who connects: a path below the root, or a directory.
    #[arg(long, value_name = "PATH", value_parser = cgroup)]
    cgroup: Option<String>,
    #[command(flatten)]
    instance: Instance,
    /// How it is printed.
    #[arg(long, default_value = "text")]
    format: OutputFormat,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ProtocolName {
    Tcp,
    Udp,
}

/// Prints the explanation.
pub(super) async fn main(explain: Explain) -> Result<ExitCode, Failure> {
    let Explain { to: Endpoint { host, port: own }, port, .. } = &explain;
    let port = match (own, port) {
        (Some(own), Some(port)) if own != port => return Err(Failure::two_ports(*own, *port)),
        (own, port) => port.or(*own).unwrap_or(DEFAULT_PORT),
    };
    let known = known(&explain).await?;
    let (loaded, mut notes) = load(&explain, known.as_ref())?;
    let resolvers = match &known {
        Some(known) if explain.policies.is_empty() => {
            known.resolvers.iter().map(|address| Address::from(*address)).collect()
        }
        Some(_) | None => session::trusted(&loaded.policy),
    };
    let compiled = explain::compile(loaded.policy, process::user_id)?;
    notes.extend(compiled.unknown_users.iter().map(|name| format!("this machine has no user `{name}`")));
    let connection = connection(&explain, &compiled, port)?;
    let to = |known: &KnownAddress| Connection {
        address: known.address,
        sightings: Vec::new(),
        resolver: resolvers.contains(&Address::from(known.address).destination()),
        ..connection.clone()
    };

    // What is known of an address counts; for a name, the question is what would become of a lookup.
    let bare = |address| KnownAddress { address, sightings: Vec::new() };
    let mut report = match host {
        Host::Name(_) => {
            let explanation = explain::explain(&compiled, &connection)?;
            Report::new(host, &connection, &compiled, &explanation)
        }
        Host::Address(address) => {
            let known_address = known.iter().flat_map(|known| &known.addresses).next();
            let known_address = known_address.cloned().unwrap_or_else(|| bare(*address));
            let connection = to(&known_address);
            let now = known.as_ref().map_or(0, |known| known.now);
            let explanation = explain::explain_live(&compiled, &connection, &known_address.sightings, now)?;
            Report::new(host, &connection, &compiled, &explanation)
        }
    };
    if let Some(Known { addresses, now, more, .. }) = &known {
        let live = addresses.iter().map(|address| {
            let explanation = explain::explain_live(&compiled, &to(address), &address.sightings, *now)?;
            Ok(Live::new(address, &compiled, &explanation, *now))
        });
        report.live = Some(live.collect::<Result<_, Failure>>()?);
        if *more > 0 {
            notes.push(format!("{more} further addresses have this name"));
        }
    }
    report.notes = notes;
    match explain.format {
        OutputFormat::Text => print!("{report}"),
        OutputFormat::Json => println!("{}", serde_json::to_value(&report).unwrap_or_default()),
    }
    Ok(ExitCode::SUCCESS)
}

/// What the daemon knows of the destination, if one runs. Who names a policy needs none, and no right to ask it.
async fn known(explain: &Explain) -> Result<Option<Known>, Failure> {
    let Explain { to, policies, instance: Instance { instance }, .. } = explain;
    let topic = match &to.host {
        Host::Address(address) => Topic::Address(*address),
        Host::Name(name) => Topic::Name(name.to_string()),
    };
    match control::ask(instance, Request::Names(topic)).await {
        Ok(answer) => Ok(Some(serde_json::from_value(answer).map_err(Failure::unknown_answer)?)),
        Err(ControlError::NotRunning(_)) if policies.is_empty() => Err(Failure::no_policy(instance)),
        Err(_) if !policies.is_empty() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The policies that are named, else those of the daemon.
fn load(explain: &Explain, known: Option<&Known>) -> Result<(Loaded, Vec<String>), Failure> {
    let Explain { policies, mode, .. } = explain;
    let Some(known) = known.filter(|_| policies.is_empty()) else {
        return Ok((load::load(policies, mode.map(Into::into))?, Vec::new()));
    };
    let loaded = load::load(&known.policies, known.mode)?;
    let note = (loaded.fingerprint != known.fingerprint).then(|| {
        format!(
            "the policy files say something else than version {}, which is in force",
            known.policy_version
        )
    });
    Ok((loaded, note.into_iter().collect()))
}

fn connection(explain: &Explain, compiled: &Compiled, port: u16) -> Result<Connection, Failure> {
    let Explain { to, protocol, uid, user, cgroup, .. } = explain;
    let protocol = match protocol {
        ProtocolName::Tcp => Protocol::Tcp,
        ProtocolName::Udp => Protocol::Udp,
    };
    let mut connection = Connection::to(&to.host, compiled.policy.neutral_address(), port, protocol);
    connection.cgroup.clone_from(cgroup);
    if let Some(uid) = uid {
        connection.uid = Some(*uid);
        connection.user = User::by_id(*uid).ok().map(|user| user.name);
    }
    if let Some(name) = user {
        connection.uid = Some(User::by_name(name)?.uid);
        connection.user = Some(name.clone());
    }
    Ok(connection)
}

fn endpoint(text: &str) -> Result<Endpoint, String> {
    Endpoint::parse(text).map_err(|error| format!("{error}; {}", error.hint()))
}

/// The path below the mount point of the hierarchy.
fn cgroup(text: &str) -> Result<String, String> {
    let root = cgroups::mount_point().ok();
    let below = root.and_then(|root| std::path::Path::new(text).strip_prefix(root).ok().map(PathBuf::from));
    let path = below.map_or_else(|| text.to_owned(), |below| format!("/{}", below.display()));
    if path.starts_with('/') {
        Ok(path)
    } else {
        Err("write a path from the cgroup root, such as `/ci/job`".to_owned())
    }
}
