//! Which daemon is meant; `confirm` and `detach`.

use super::Failure;
use crate::control::{self, ControlError, Request};
use clap::Args;
use std::process::ExitCode;

/// Which daemon is meant.
#[derive(Args, Debug)]
pub(super) struct Instance {
    /// Name of the daemon, where several run.
    #[arg(long, default_value = "default", value_parser = instance_name)]
    pub(super) instance: String,
}

/// Keeps the policy that is on trial.
pub(super) async fn confirm(Instance { instance }: Instance) -> Result<ExitCode, Failure> {
    let answer = control::ask(&instance, Request::Confirm).await?;
    let confirmed = answer.get("confirmed").and_then(serde_json::Value::as_bool).unwrap_or(false);
    println!("{}", if confirmed { "confirmed" } else { "nothing waits to be confirmed" });
    Ok(ExitCode::SUCCESS)
}

/// Has the daemon let go of everything and end.
pub(super) async fn detach(Instance { instance }: Instance) -> Result<ExitCode, Failure> {
    match control::ask(&instance, Request::Detach).await {
        Ok(_) => println!("detached"),
        Err(ControlError::NotRunning(_)) => println!("nothing is attached by instance `{instance}`"),
        Err(error) => return Err(error.into()),
    }
    Ok(ExitCode::SUCCESS)
}

fn instance_name(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() || text.len() > 64 || text.starts_with('.') || !text.chars().all(plain) {
        return Err("an instance is named by letters, digits, `-`, `_` and `.`".to_owned());
    }
    Ok(text.to_owned())
}
