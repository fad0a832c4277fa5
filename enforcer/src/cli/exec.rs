//! `exec`: one command, confined.

use super::{
    Failure, exit,
    session::{Policies, load, may_run, options, sinks},
};
use crate::{
    exec::{self, Confined},
    process::User,
};
use clap::Args;
use std::{ffi::OsString, process::ExitCode};

/// Arguments of `exec`.
#[derive(Args, Debug)]
pub(super) struct Exec {
    #[command(flatten)]
    policies: Policies,
    /// Run the command as this user; by default the one who called sudo.
    #[arg(long)]
    user: Option<String>,
    /// Leave the command CAP_NET_RAW where only the cgroup backend works, which cannot judge packet sockets.
    #[arg(long)]
    keep_net_raw: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Runs the command; its exit status, or what kept it from running confined.
pub(super) async fn main(exec: Exec) -> Result<ExitCode, Failure> {
    let Exec { policies, user, keep_net_raw, command } = exec;
    let result = async {
        let (mut options, specs) = options(policies);
        options.net_raw = keep_net_raw;
        let sinks = sinks(&specs)?;
        let loaded = load(&options)?;
        may_run()?;
        let confined = Confined { command, user: exec_user(user)? };
        Ok::<i32, Failure>(exec::run(options, loaded, confined, sinks).await?)
    };
    result.await.map(exit).map_err(Failure::of_exec)
}

/// The user that `--user` names, else the one who called sudo, else nobody else.
fn exec_user(named: Option<String>) -> Result<Option<User>, Failure> {
    if let Some(name) = named {
        return Ok(Some(match name.parse() {
            Ok(uid) => User::by_id(uid)?,
            Err(_) => User::by_name(&name)?,
        }));
    }
    match std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok()) {
        Some(uid) => Ok(Some(User::by_id(uid)?)),
        None => Ok(None),
    }
}
