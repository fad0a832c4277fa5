//! What works, and probably not as meant: only what is sure is said.

use crate::diagnostic::{Diagnostic, Severity};
use crate::policy_set::MAX_RULES;
use crate::rule::Rule;
use crate::terms::{Action, Form, Mode, SharedAddress};

/// Allow rules with more names than this are not compared with the deny rules.
const MAX_COMPARED: usize = 10_000;

/// Too many rules, with two that could be one.
pub(super) fn too_many(rules: &[Rule], surplus: &Rule) -> Diagnostic {
    let message = format!("there are {} rules in all, the kernel has room for {MAX_RULES}", rules.len());
    let pair = rules.iter().enumerate().find_map(|(index, rule)| {
        let other = rules.iter().skip(index + 1).find(|other| differ_in_destination_only(rule, other))?;
        Some((rule, other))
    });
    let hint = match pair {
        Some((rule, other)) => format!(
            "merge rules that differ only in `to`, such as `{}` ({}) and `{}` ({}); names in one rule are not limited",
            rule.name(),
            rule.location(),
            other.name(),
            other.location()
        ),
        None => "merge rules of one action, their ports and subjects; names in one rule are not limited"
            .to_owned(),
    };
    surplus.origin.diagnostic(Severity::Error, "too-many-rules", message).hint(hint)
}

fn differ_in_destination_only(a: &Rule, b: &Rule) -> bool {
    a.action == b.action
        && a.mode == b.mode
        && a.is_any() == b.is_any()
        && a.ports == b.ports
        && a.subjects == b.subjects
        && a.shared_address == b.shared_address
        && a.errno == b.errno
        && a.hold == b.hold
        && a.spare == b.spare
        && a.refuse_lookup == b.refuse_lookup
        && a.on_deny == b.on_deny
        && a.may_resolve_to == b.may_resolve_to
        && a.pre_resolve.is_empty() == b.pre_resolve.is_empty()
}

/// Rules that can never decide. `rules` are in class order.
pub(super) fn unreachable(rules: &[Rule]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let earlier = rules.get(..index).unwrap_or_default();
        if let Some(cover) = earlier.iter().find(|cover| covers_all(cover, rule)) {
            let message = format!(
                "the rule `{}` never decides: `{}` matches everything before it",
                rule.name(),
                cover.name()
            );
            let hint = format!("take it out, or narrow the rule at {}", cover.location());
            found.push(rule.origin.diagnostic(Severity::Warning, "unreachable-rule", message).hint(hint));
        } else if let Some(cover) = denied_names(earlier, rule) {
            let message = format!(
                "every name of the rule `{}` is denied, by `{}` among others",
                rule.name(),
                cover.name()
            );
            let hint =
                format!("deny beats allow: put the names under `except` of the rule at {}", cover.location());
            found.push(rule.origin.diagnostic(Severity::Warning, "shadowed-rule", message).hint(hint));
        }
    }
    found
}

/// Whether an earlier rule always decides before this one.
fn covers_all(cover: &Rule, rule: &Rule) -> bool {
    // The networks of a deny rule reach loopback and resolvers, which `to: any` does not.
    let reaches_further = rule.action == Action::Deny && !rule.cidrs().is_empty();
    cover.is_any() && unconditional(cover) && speaks_over(cover, rule) && !reaches_further
}

/// The deny rule that covers the first name, if each name of an allow rule is covered by one.
fn denied_names<'a>(earlier: &'a [Rule], rule: &Rule) -> Option<&'a Rule> {
    let comparable = rule.action == Action::Allow
        && rule.cidrs().is_empty()
        && rule.globs().is_empty()
        && (1..=MAX_COMPARED).contains(&rule.name_set().names().len());
    if !comparable {
        return None;
    }
    let denies: Vec<&Rule> = earlier
        .iter()
        .filter(|deny| deny.action == Action::Deny && unconditional(deny) && speaks_over(deny, rule))
        .filter(|deny| deny.shared_address == SharedAddress::Any)
        .filter(|deny| deny.except_name_set().is_empty() && deny.except_cidrs().is_empty())
        .collect();
    let covering = |form, name| denies.iter().find(|deny| covers(deny, form, name)).copied();
    let mut covers = rule.names().map(|name| covering(name.form, name.name));
    let first = covers.next()??;
    covers.all(|cover| cover.is_some()).then_some(first)
}

fn covers(deny: &Rule, form: Form, name: &str) -> bool {
    let names = deny.name_set().names();
    match form {
        Form::Below => names.covers_below(name),
        Form::Both => names.covers_below(name) && names.find(name).is_some(),
        Form::Exact => names.find(name).is_some(),
    }
}

fn unconditional(rule: &Rule) -> bool {
    rule.ports().is_empty() && rule.subjects().is_none()
}

/// Whether a match of the first rule leaves nothing for the second: an audit rule leaves it what happens.
fn speaks_over(first: &Rule, second: &Rule) -> bool {
    first.mode == Mode::Enforce || second.mode == Mode::Audit
}
