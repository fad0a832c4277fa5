//! What a policy asks for and this version does not do: said in the status, so that nobody relies on it.

use policy_schema::PolicySet;

/// One reason for each key.
pub(super) fn reasons(policy: &PolicySet) -> Vec<String> {
    let nat64 = !policy.dns().nat64.is_empty();
    nat64.then(|| "`dns.nat64` is not enforced in this version".to_owned()).into_iter().collect()
}
