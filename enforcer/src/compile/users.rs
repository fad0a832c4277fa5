//! Users: from names to numbers.

use super::numbered;
use enforcer_common::Vector;
use policy_schema::{PolicySet, User};
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

fn user_of(user: &User, user_id: &impl Fn(&str) -> Option<u32>) -> Result<u32, String> {
    match user {
        User::Id(id) => Ok(*id),
        User::Name(name) => user_id(name).ok_or_else(|| name.to_string()),
    }
}
