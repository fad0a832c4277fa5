//! The serde mirror of a file of cases.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::terms::{Action, Errno, Mode};

/// Cases for policies of enforcer: connections, and the verdict that each must get.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "enforcer policy test")]
pub(crate) struct CasesDocument {
    /// Policy files and directories, relative to this file: NAME.yaml beside NAME.test.yaml if left out.
    pub policies: Option<Vec<String>>,
    /// The mode that overrides that of every file and rule, as --mode does.
    pub mode: Option<Mode>,
    /// The connections.
    pub cases: Vec<CaseDocument>,
}

/// One connection, and what has to become of it. What is left out below `verdict` is not compared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct CaseDocument {
    /// What the case is about, for the reader.
    pub about: Option<String>,
    /// Where to: a name, an address, either with a port, or a URL.
    pub to: String,
    /// The port: that of `to`, or else 443, if left out.
    pub port: Option<u16>,
    /// The protocol is UDP: TCP if left out.
    pub udp: Option<bool>,
    /// The DNS answers that led to the address: question > alias > alias.
    pub seen: Option<Vec<String>>,
    /// The number of the user who connects: nobody whom a rule names if left out.
    pub uid: Option<u32>,
    /// The name of the user who connects.
    pub user: Option<String>,
    /// The path of the cgroup of who connects, such as /ci/job.
    pub cgroup: Option<String>,
    /// The systemd unit of who connects: short for /system.slice/UNIT as cgroup.
    pub unit: Option<String>,
    /// The address is a trusted resolver.
    pub resolver: Option<bool>,
    /// What the rules say, audit rules included.
    pub verdict: Action,
    /// The rule that says so: its name, policy/name, or one of default, builtin, literalAddresses.
    pub rule: Option<String>,
    /// What happens.
    pub effective: Option<Action>,
    /// The rule that makes it happen.
    pub effective_rule: Option<String>,
    /// The error of the refused call.
    pub errno: Option<Errno>,
}
