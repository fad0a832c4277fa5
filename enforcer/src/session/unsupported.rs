//! What a policy asks for and this version does not do: said in the status, so that nobody relies on it.

use policy_schema::{PolicySet, Rule};

/// One reason for each key.
pub(super) fn reasons(policy: &PolicySet) -> Vec<String> {
    let dns = policy.dns();
    let any = |asks: fn(&Rule) -> bool| policy.rules().iter().any(asks);
    [
        (!dns.nat64.is_empty(), "`dns.nat64`"),
        (any(Rule::refuse_lookup), "`refuseLookup`"),
    ]
    .into_iter()
    .filter(|(asked, _)| *asked)
    .map(|(_, key)| format!("{key} is not enforced in this version"))
    .collect()
}
