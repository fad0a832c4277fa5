//! `run`: the daemon.

use super::{
    Failure, exit,
    instance::Instance,
    session::{Policies, load, may_run, options, sinks},
};
use crate::{
    control::Listener,
    daemon::{self, End},
    resolved,
    session::Session,
};
use clap::Args;
use std::{process::ExitCode, time::Duration};

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(super) struct Run {
    #[command(flatten)]
    policies: Policies,
    #[command(flatten)]
    instance: Instance,
    /// Go back to the former state unless `enforcer confirm` is called within this time, e.g. 60s.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    confirm: Option<Duration>,
    /// Have a running systemd-resolved forget its cache at the start. Names that it has cached are looked up again, and
    /// with that seen. Other caches, in browsers or nscd, stay as they are.
    #[arg(long)]
    flush_caches: bool,
}

/// Runs the daemon until asked to end.
pub(super) async fn main(run: Run) -> Result<ExitCode, Failure> {
    let Run { policies, instance: Instance { instance }, confirm, flush_caches } = run;
    let (options, mut specs) = options(policies);
    if specs.is_empty() {
        specs.push("-".parse().map_err(Failure::from)?);
    }
    // A pipe without a reader holds this up: nothing is loaded yet.
    let sinks = sinks(&specs)?;
    // The policy next: its errors are the ones to mend, privileges or not.
    let loaded = load(&options)?;
    may_run()?;
    let listener = Listener::bind(&instance)?;
    let session = Session::start(options, loaded, sinks)?;
    for line in session.greeting() {
        eprintln!("enforcer: {line}");
    }
    if let Some(line) = resolved_cache(session.resolved_path(), flush_caches).await {
        eprintln!("enforcer: {line}");
    }
    if let Some(time) = confirm {
        let instance = if instance == "default" { String::new() } else { format!(" --instance {instance}") };
        eprintln!("enforcer: confirm with `enforcer confirm{instance}` within {} s", time.as_secs());
    }
    match daemon::run(session, listener, confirm, ready, |line| eprintln!("enforcer: {line}")).await? {
        End::Asked => Ok(ExitCode::SUCCESS),
        End::NotConfirmed => {
            eprintln!("enforcer: not confirmed in time: nothing is enforced any more");
            Ok(exit(4))
        }
    }
}

/// Deals with what systemd-resolved knows from before the start; what is to be said about it. The programs are attached:
/// every answer that follows is seen.
async fn resolved_cache(socket: &std::path::Path, flush: bool) -> Option<String> {
    if !flush {
        let risk = "systemd-resolved may know names from before the start: a process that got an address from it then is judged by \
                    the address alone; `--flush-caches` has it forget them";
        return socket.exists().then(|| risk.to_owned());
    }
    match resolved::flush(socket).await {
        Ok(true) => Some("systemd-resolved has forgotten its cache".to_owned()),
        Ok(false) => Some("systemd-resolved does not run: no cache to forget".to_owned()),
        Err(error) => Some(format!("systemd-resolved cannot be told to forget its cache: {error}")),
    }
}

/// Tells whoever started the daemon that it judges: systemd, or a reader of standard error.
fn ready() {
    match sd_notify::notify(&[sd_notify::NotifyState::Ready]) {
        Ok(()) => {}
        Err(error) => tracing::warn!(%error, "systemd could not be told"),
    }
    eprintln!("enforcer is ready");
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("`{text}` is no time; write `60s`, `5m` or `1h`")),
    };
    let number: u64 =
        number.parse().map_err(|_| format!("`{text}` is no time; write `60s`, `5m` or `1h`"))?;
    match number.checked_mul(seconds) {
        Some(0) | None => Err(format!("`{text}` is out of range")),
        Some(seconds) => Ok(Duration::from_secs(seconds)),
    }
}
