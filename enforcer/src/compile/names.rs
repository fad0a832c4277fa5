//! The names and globs of a policy, into its image.

use super::{Compiled, numbered};
use enforcer_common::{
    image::{ImageBuilder, ImageError},
    name::Form,
};
use policy_schema::{NameSet, PolicySet, Rule};
use std::collections::BTreeMap;

/// An image that holds the names and nothing else yet.
pub(super) fn image(policy: &PolicySet, random: [u64; 8]) -> Result<ImageBuilder, ImageError> {
    let mut room = distinct(policy);
    let mut shrunk = false;
    // The table is filled in one go. That it has no room has happened in no test that gave it as much as it has here.
    for _ in 0..8 {
        match try_image(policy, room, random) {
            Err(ImageError::NoRoom) => room += room / 8 + 8,
            // The rules share more names than their digests told.
            Ok(image) if !shrunk && image.name_count() < room / 3 => {
                shrunk = true;
                room = image.name_count();
            }
            result => return result,
        }
    }
    Err(ImageError::NoRoom)
}

fn try_image(policy: &PolicySet, room: usize, random: [u64; 8]) -> Result<ImageBuilder, ImageError> {
    let mut image = ImageBuilder::new(Compiled::FIRST, policy.rules().len() as u16, room, random)?;
    for (class, rule) in numbered(policy) {
        for (set, except) in sets(rule) {
            for (form, meant) in FORMS {
                // A name of a policy is spelled as it is hashed.
                image.names(set.names().bases(form), meant, class, except)?;
                for glob in set.globs().patterns().iter().filter(|glob| glob.form() == form) {
                    image.glob(glob.text().as_bytes(), meant, class, except);
                }
            }
        }
    }
    Ok(image)
}

const FORMS: [(policy_schema::Form, &[Form]); 3] = [
    (policy_schema::Form::Exact, &[Form::Exact]),
    (policy_schema::Form::Below, &[Form::Below]),
    (policy_schema::Form::Both, &[Form::Exact, Form::Below]),
];

/// The most names there can be: rules that share their lists share their names.
fn distinct(policy: &PolicySet) -> usize {
    let sets = policy.rules().iter().flat_map(sets);
    let lengths: BTreeMap<u64, usize> =
        sets.map(|(set, _)| (set.names().digest(), set.names().len())).collect();
    lengths.values().sum()
}

fn sets(rule: &Rule) -> [(&NameSet, bool); 2] {
    [(rule.name_set(), false), (rule.except_name_set(), true)]
}
