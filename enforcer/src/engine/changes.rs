//! What a reload changes.

use crate::compile::Compiled;
use enforcer_common::Vector;
use policy_schema::{PolicySet, Rule};
use std::collections::BTreeMap;

/// Rules that came, went, or say something else, each as `policy/rule`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Changes {
    /// Version of the new policy.
    pub version: u64,
    /// New rules.
    pub added: Vec<String>,
    /// Rules that are gone.
    pub removed: Vec<String>,
    /// Rules that say something else.
    pub changed: Vec<String>,
}

impl Changes {
    pub(super) fn between(old: Option<&PolicySet>, new: &Compiled) -> Self {
        let before = by_name(old.map_or(&[][..], PolicySet::rules));
        let after = by_name(new.policy.rules());
        let missing = |from: &BTreeMap<String, &Rule>, in_: &BTreeMap<String, &Rule>| {
            from.keys().filter(|name| !in_.contains_key(*name)).cloned().collect()
        };
        let differs = |name: &&String| match (before.get(*name), after.get(*name)) {
            (Some(old), Some(new)) => !same(old, new),
            _ => false,
        };
        Self {
            version: new.version,
            added: missing(&after, &before),
            removed: missing(&before, &after),
            changed: after.keys().filter(differs).cloned().collect(),
        }
    }
}

/// For each class of the old policy, the class of the same rule in the new one.
pub(super) fn translation(old: &PolicySet, new: &PolicySet) -> Vec<Option<u16>> {
    let classes: BTreeMap<String, u16> =
        new.rules().iter().enumerate().map(|(class, rule)| (full_name(rule), class as u16)).collect();
    old.rules().iter().map(|rule| classes.get(&full_name(rule)).copied()).collect()
}

/// The same rules in the new policy.
pub(super) fn translate(translation: &[Option<u16>], vector: &Vector) -> Vector {
    let mut translated = Vector::EMPTY;
    for class in vector.classes() {
        if let Some(Some(class)) = translation.get(usize::from(class)) {
            translated.insert(*class);
        }
    }
    translated
}

fn by_name(rules: &[Rule]) -> BTreeMap<String, &Rule> {
    rules.iter().map(|rule| (full_name(rule), rule)).collect()
}

fn full_name(rule: &Rule) -> String {
    format!("{}/{}", rule.policy(), rule.name())
}

/// Whether two rules mean the same.
fn same(one: &Rule, two: &Rule) -> bool {
    let meaning = |rule: &Rule| {
        (
            (rule.action(), rule.mode(), rule.is_any(), rule.shared_address(), rule.errno(), rule.hold()),
            (
                rule.cidrs().to_vec(),
                rule.except_cidrs().to_vec(),
                rule.ports().to_vec(),
                rule.subjects().cloned(),
            ),
            (
                rule.may_resolve_to().to_vec(),
                rule.refuse_lookup(),
                rule.on_deny(),
                rule.pre_resolve().to_vec(),
            ),
        )
    };
    meaning(one) == meaning(two)
        && one.name_set().names().digest() == two.name_set().names().digest()
        && one.except_name_set().names().digest() == two.except_name_set().names().digest()
        && one.globs().patterns() == two.globs().patterns()
        && one.except_globs().patterns() == two.except_globs().patterns()
}
