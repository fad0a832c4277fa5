//! The two sets of hooks that can judge connects.

use serde::Serialize;
use std::{fmt, str::FromStr};

/// Which hooks judge.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Backend {
    /// `cgroup/connect4` and `connect6`.
    Cgroup,
    /// `lsm/socket_connect`.
    Lsm,
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cgroup => "cgroup",
            Self::Lsm => "lsm",
        })
    }
}

/// There is no such backend.
#[derive(Debug, thiserror::Error)]
#[error("there is no backend `{0}`")]
pub struct UnknownBackend(String);

impl FromStr for Backend {
    type Err = UnknownBackend;

    fn from_str(text: &str) -> Result<Self, UnknownBackend> {
        match text {
            "cgroup" => Ok(Self::Cgroup),
            "lsm" => Ok(Self::Lsm),
            other => Err(UnknownBackend(other.to_owned())),
        }
    }
}
