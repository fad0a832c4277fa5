//! The serde mirror of one policy file, and its JSON Schema.
//!
//! No meaning is checked here: that is [`crate::build`]'s work. The only file that names `serde_yaml`.

use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};

use crate::terms::{
    Action, Errno, Inbound, LiteralAddresses, Mode, OnBadLine, OnDeny, OnError, OtherResolvers, SharedAddress,
};

pub(crate) mod cases;

/// The JSON Schema of a policy file, for editors.
pub fn json_schema() -> String {
    schema::<Document>()
}

/// The JSON Schema of a file of cases, `NAME.test.yaml`, for editors.
pub fn cases_json_schema() -> String {
    schema::<cases::CasesDocument>()
}

fn schema<T: JsonSchema>() -> String {
    serde_json::to_string_pretty(&schemars::schema_for!(T)).unwrap_or_default()
}

/// A policy of enforcer: which names and addresses processes may connect to.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schemars(title = "enforcer policy")]
pub(crate) struct Document {
    /// The version of the policy language: 1.
    pub version: u32,
    /// The policy's name in events; the file's stem if left out.
    pub name: Option<String>,
    /// The mode of every rule that has none of its own: enforce if left out.
    pub mode: Option<Mode>,
    /// What happens to a connection that no rule matches: allow if left out.
    pub default: Option<Action>,
    /// What happens when a kernel program meets an internal error: `default` if left out.
    pub on_error: Option<OnError>,
    /// Whether flows that a peer opened are judged.
    pub inbound: Option<Inbound>,
    /// What happens to an address that no lookup preceded.
    pub literal_addresses: Option<LiteralAddresses>,
    /// How long a binding lives at least after its last sighting.
    pub hold: Option<HoldDocument>,
    /// Which resolvers are believed.
    pub dns: Option<DnsDocument>,
    /// Who may open sockets that bypass the policy.
    pub sockets: Option<SocketsDocument>,
    /// The rules; deny beats allow, the order does not matter.
    pub rules: Vec<RuleDocument>,
}

/// Durations such as 90s, 10m, 1h, 1d.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct HoldDocument {
    /// For deny rules: 1h if left out.
    pub deny: Option<String>,
    /// For allow rules: 10m if left out.
    pub allow: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DnsDocument {
    /// The resolvers whose answers may allow: auto, or a list of addresses.
    pub trusted_resolvers: Option<TrustedResolversDocument>,
    /// What happens to queries sent to any other resolver.
    pub other_resolvers: Option<OtherResolvers>,
    /// NAT64 prefixes in use, such as 64:ff9b::/96.
    pub nat64: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum TrustedResolversDocument {
    Word(Auto),
    List(Vec<ResolverDocument>),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Auto {
    /// What the machine is configured to use.
    Auto,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ResolverDocument {
    Address(String),
    Bound(BoundResolver),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct BoundResolver {
    /// The resolver's address.
    pub address: String,
    /// The unit that has to hold the resolver's socket.
    pub unit: Option<String>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SocketsDocument {
    /// Units that may open packet sockets under a default of deny.
    pub exempt: Option<Vec<String>>,
}

/// One rule.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RuleDocument {
    /// The rule's name in events, unique within the file.
    pub name: String,
    /// allow or deny.
    pub action: Action,
    /// Where to: any, or a map of names, lists and cidrs.
    pub to: ToDocument,
    /// Ports such as 443, 8000-8100, 53/udp: every port if left out.
    pub ports: Option<Vec<PortDocument>>,
    /// Who connects: everyone if left out.
    pub subjects: Option<SubjectsDocument>,
    /// The rule's own mode: the policy's if left out.
    pub mode: Option<Mode>,
    /// Whether one or all names of an address have to match.
    pub shared_address: Option<SharedAddress>,
    /// Deny rules: the error a refused call returns.
    pub errno: Option<Errno>,
    /// How long a binding of this rule lives at least.
    pub hold: Option<HoldDocument>,
    /// Deny rules: also refuse the DNS query itself.
    pub refuse_lookup: Option<bool>,
    /// Deny rules: what happens to live flows when the rule comes into force.
    pub on_deny: Option<OnDeny>,
    /// Allow rules: the special-use ranges the names may resolve to.
    pub may_resolve_to: Option<Vec<String>>,
    /// Allow rules: resolve the written names at start.
    pub pre_resolve: Option<bool>,
    /// Accept `*` and wildcards over a public suffix.
    pub allow_broad: Option<bool>,
    /// What a list's unknown line does: skip or refuse.
    pub on_bad_line: Option<OnBadLine>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum ToDocument {
    Word(Any),
    Map(DestinationsDocument),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Any {
    /// Every destination.
    Any,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct DestinationsDocument {
    /// Names: example.com, *.example.com, .example.com, ads-*.example.com.
    pub names: Option<Vec<String>>,
    /// Files or directories of names, relative to the policy file.
    pub lists: Option<Vec<String>>,
    /// Networks such as 203.0.113.0/24, or single addresses.
    pub cidrs: Option<Vec<String>>,
    /// What is carved out.
    pub except: Option<ExceptDocument>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ExceptDocument {
    /// Names that the rule does not mean.
    pub names: Option<Vec<String>>,
    /// Networks that the rule does not mean.
    pub cidrs: Option<Vec<String>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum PortDocument {
    Number(u16),
    Text(String),
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct SubjectsDocument {
    /// Paths of cgroups: /ci/** is everything below /ci.
    pub cgroups: Option<Vec<String>>,
    /// systemd units.
    pub units: Option<Vec<String>>,
    /// User names or numbers.
    pub users: Option<Vec<UserDocument>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(crate) enum UserDocument {
    Number(u32),
    Name(String),
}

/// What the typed reader says about a text, where it knows.
pub(crate) struct Complaint {
    pub message: String,
    pub line: usize,
    pub column: usize,
}

/// Reads the text of a file.
pub(crate) fn from_yaml<T: DeserializeOwned>(text: &str) -> Result<T, Complaint> {
    serde_yaml::from_str(text).map_err(|error| {
        let (line, column) = error.location().map_or((1, 1), |at| (at.line(), at.column()));
        Complaint { message: error.to_string(), line, column }
    })
}

/// Reads what is left of a file once its faults are cut out, to find the faults of the rest.
pub(crate) fn from_rest<T: DeserializeOwned>(rest: serde_json::Value) -> Option<T> {
    serde_json::from_value(rest).ok()
}

#[cfg(test)]
mod tests;
