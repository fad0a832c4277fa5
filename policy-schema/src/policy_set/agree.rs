//! Whether the global keys of several files agree.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Duration;

use crate::diagnostic::{Diagnostic, Severity};
use crate::policy::{Policy, Set, Settings};
use crate::terms::Mode;

/// What the files read so far set.
pub(super) struct Joined {
    pub settings: Settings,
    /// Enforce if a file that sets `default` enforces, or none sets it.
    pub default_mode: Mode,
    /// The same for `literalAddresses`.
    pub literal_mode: Mode,
    pub others_mode: Mode,
    /// The longest `hold.allow` of the files.
    pub longest_allowance: Duration,
}

impl Default for Joined {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            default_mode: Mode::Enforce,
            literal_mode: Mode::Enforce,
            others_mode: Mode::Enforce,
            longest_allowance: Duration::ZERO,
        }
    }
}

impl Joined {
    pub(super) fn join(&mut self, settings: Settings, mode: Mode, found: &mut Vec<Diagnostic>) {
        let Settings {
            default,
            on_error,
            inbound,
            literal_addresses,
            trusted_resolvers,
            other_resolvers,
            nat64,
            exempt,
        } = settings;
        let own = &mut self.settings;
        join_mode(&mut self.default_mode, own.default.is_some(), default.is_some(), mode);
        join_mode(&mut self.others_mode, own.other_resolvers.is_some(), other_resolvers.is_some(), mode);
        join_mode(&mut self.literal_mode, own.literal_addresses.is_some(), literal_addresses.is_some(), mode);
        found.extend(join("default", &mut own.default, default));
        found.extend(join("onError", &mut own.on_error, on_error));
        found.extend(join("inbound", &mut own.inbound, inbound));
        found.extend(join("literalAddresses", &mut own.literal_addresses, literal_addresses));
        found.extend(join("dns.trustedResolvers", &mut own.trusted_resolvers, trusted_resolvers));
        found.extend(join("dns.otherResolvers", &mut own.other_resolvers, other_resolvers));
        found.extend(join("dns.nat64", &mut own.nat64, nat64));
        found.extend(join("sockets.exempt", &mut own.exempt, exempt));
    }
}

/// Names that events would confuse.
pub(super) fn check_names(policies: &[Policy]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let mut seen = BTreeMap::new();
    for policy in policies {
        for rule in policy.rules() {
            let Some(first) = seen.insert(rule.name(), rule) else { continue };
            if first.policy() == rule.policy() {
                let message = format!(
                    "the policy `{}` has a second rule named `{}`, the first is at {}",
                    rule.policy(),
                    rule.name(),
                    first.location()
                );
                let hint = "give the files different names with `name:`, or the rules";
                found.push(rule.origin.diagnostic(Severity::Warning, "same-rule-name", message).hint(hint));
            } else {
                let message = format!("a rule of `{}` is named `{}` too", first.policy(), rule.name());
                let hint = "events tell them apart by their policy; different names are easier to read";
                found.push(rule.origin.diagnostic(Severity::Warning, "same-rule-name", message).hint(hint));
            }
        }
    }
    found
}

fn join_mode(joined: &mut Mode, before: bool, now: bool, mode: Mode) {
    if now {
        *joined = if before { (*joined).max(mode) } else { mode };
    }
}

fn join<T: Debug + PartialEq>(
    key: &str,
    own: &mut Option<Set<T>>,
    new: Option<Set<T>>,
) -> Option<Diagnostic> {
    let new = new?;
    let Some(first) = own else {
        *own = Some(new);
        return None;
    };
    if first.value == new.value {
        return None;
    }
    let message = format!(
        "`{key}` is set in {} and, differently, in {}",
        new.origin.file().display(),
        first.origin.location
    );
    let hint = "set it in one file, or to the same value in both";
    Some(new.origin.diagnostic(Severity::Error, "conflict", message).hint(hint))
}
