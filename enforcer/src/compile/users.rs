//! Users: from names to numbers.

use super::{numbered, user_of};
use enforcer_common::Vector;
use policy_schema::PolicySet;
use std::collections::BTreeMap;

/// The rules of each user, and the names of users that do not exist here.
pub(super) fn by_id(
    policy: &PolicySet,
    user_id: impl Fn(&str) -> Option<u32>,
) -> (BTreeMap<u32, Vector>, Vec<String>) {
    let mut users: BTreeMap<u32, Vector> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (class, rule) in numbered(policy) {
        for user in rule.subjects().map_or(&[][..], |subjects| subjects.users()) {
            match user_of(user, &user_id) {
                Ok(id) => users.entry(id).or_default().insert(class),
                Err(name) => unknown.push(name),
            }
        }
    }
    unknown.sort();
    unknown.dedup();
    (users, unknown)
}
