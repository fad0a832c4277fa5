//! What `names` asks of a running daemon, and the pages that it gets. Pure.

use crate::{compile::Compiled, name::Name};
use enforcer_common::{Address, Vector};
use ipnet::IpNet;
use policy_schema::{Action, DomainPattern, Form, GlobSet, parse_cidr};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// Which names are asked for: all that is said must hold.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Query {
    /// A name or pattern as policies have them; the name asked for or one of its aliases matches.
    pub pattern: Option<String>,
    /// The address is this one, or in this network.
    pub network: Option<String>,
    /// This rule matches, by its name or as `policy/name`.
    pub rule: Option<String>,
    /// Some deny rule matches.
    pub denied: bool,
    /// From behind this address: the `next` of the page before.
    pub after: Option<IpAddr>,
}

/// Some rows, in the order of their addresses.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The policy in force.
    pub policy_version: u64,
    /// Names with their addresses.
    pub rows: Vec<Row>,
    /// Where the next page begins; `None` on the last one.
    pub next: Option<IpAddr>,
    /// Why there are no rows.
    pub error: Option<String>,
}

/// A name with one of its addresses.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// The name that was asked for.
    pub name: String,
    /// What it led to.
    pub aliases: Vec<String>,
    /// The address.
    pub address: IpAddr,
    /// The hosts file says so, as long as it does.
    pub hosts_file: bool,
    /// The hosts file or a trusted resolver said so.
    pub trusted: bool,
    /// Seconds since it was answered last.
    pub seconds_ago: u64,
    /// Seconds that the last answer is good for.
    pub ttl: u64,
    /// Seconds until no rule holds it any longer; `None` = no end is known.
    pub seconds_left: Option<u64>,
    /// Cgroups that asked, the latest first, at most eight; `#ID` for one that is gone.
    pub asked_by: Vec<String>,
    /// The rules that match by this name, and still hold it; ports and subjects are not looked at.
    pub rules: Vec<RowRule>,
}

/// A rule that matches a name.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RowRule {
    /// Its policy.
    pub policy: String,
    /// Its name.
    pub rule: String,
    /// What it says.
    pub action: Action,
    /// Seconds for which it matches; `None` = no end is known.
    pub seconds_left: Option<u64>,
}

/// A query that was understood.
#[derive(Clone, Debug)]
pub struct Filter {
    pattern: Option<Pattern>,
    network: Option<IpNet>,
    /// Rules of which one has to match.
    rules: Option<Vector>,
}

#[derive(Clone, Debug)]
enum Pattern {
    Glob(GlobSet),
    Name(Form, Name),
}

impl Filter {
    /// Understands a query by the policy in force.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn new(query: &Query, policy: &Compiled) -> Result<Self, String> {
        let Query { pattern, network, rule, denied, after: _ } = query;
        let pattern = pattern.as_deref().map(Pattern::parse).transpose()?;
        let network = network.as_deref().map(crate::listing::network).transpose()?;
        let mut rules = denied.then_some(policy.deny);
        if let Some(wanted) = rule {
            let named = named(wanted, policy);
            if named.is_empty() {
                return Err(format!("the policy in force has no rule `{wanted}`"));
            }
            rules.get_or_insert(Vector::FULL).intersect(&named);
        }
        Ok(Self { pattern, network, rules })
    }

    /// Whether an address is meant.
    pub fn has_address(&self, address: &Address) -> bool {
        self.network.is_none_or(|network| network.contains(&IpAddr::from(*address)))
    }

    /// Whether one of the rules that match is meant.
    pub fn has_rules(&self, matching: &Vector) -> bool {
        self.rules.is_none_or(|rules| matching.meets(&rules))
    }

    /// Whether one of the names is meant.
    pub fn has_name(&self, chain: &[Name]) -> bool {
        self.pattern.as_ref().is_none_or(|pattern| chain.iter().any(|name| pattern.is_match(name)))
    }
}

/// An address, or a network.
///
/// # Errors
/// What is wrong with it, for people.
pub fn network(text: &str) -> Result<IpNet, String> {
    parse_cidr(text).map_err(|error| format!("`{text}` is no address or network: {error}"))
}

/// Whether a name or pattern can be asked for.
///
/// # Errors
/// What is wrong with it, for people.
pub fn check_pattern(text: &str) -> Result<(), String> {
    Pattern::parse(text).map(drop)
}

impl Pattern {
    fn parse(text: &str) -> Result<Self, String> {
        let failed = |error: &dyn std::fmt::Display| format!("`{text}` is no name or pattern: {error}");
        Ok(match DomainPattern::parse(text).map_err(|error| failed(&error))? {
            DomainPattern::Below(name) => Self::Name(Form::Below, (&name).into()),
            DomainPattern::Both(name) => Self::Name(Form::Both, (&name).into()),
            DomainPattern::Exact(name) => Self::Name(Form::Exact, (&name).into()),
            DomainPattern::Glob(glob) => {
                Self::Glob(GlobSet::new(vec![glob]).map_err(|error| failed(&error))?)
            }
        })
    }

    fn is_match(&self, name: &Name) -> bool {
        let (form, base) = match self {
            Self::Glob(globs) => return globs.is_match(&name.to_string()),
            Self::Name(form, base) => (form, base.as_bytes()),
        };
        let name = name.as_bytes();
        let below = || base.is_empty() || name.strip_suffix(base).is_some_and(|rest| rest.ends_with(b"."));
        match form {
            Form::Below => below(),
            Form::Both => name == base || below(),
            Form::Exact => name == base,
        }
    }
}

/// The rules of this name, or of this policy and name.
fn named(wanted: &str, policy: &Compiled) -> Vector {
    let mut named = Vector::EMPTY;
    for (class, rule) in (0_u16..).zip(policy.policy.rules()) {
        if rule.name() == wanted
            || wanted
                .strip_prefix(rule.policy())
                .is_some_and(|rest| rest.strip_prefix('/') == Some(rule.name()))
        {
            named.insert(class);
        }
    }
    named
}

#[cfg(test)]
mod tests;
