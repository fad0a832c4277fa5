//! What a sighting says: the names through the same image that the kernel has, in-label globs through globset.

use super::Compiled;
use crate::name::Name;
use enforcer_common::{
    SightingWord, Vector,
    image::{self, Buckets as _, Meta},
    name::{self, Form},
};

/// What one sighting adds to the bindings of its addresses.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Contribution {
    /// Rules that it matches.
    pub any: Vector,
    /// Rules that it does not speak against.
    pub all: Vector,
    /// Rules whose exceptions it matches.
    pub except: Vector,
    /// Rules that it matches only through an in-label glob, which the kernel does not see.
    pub late: Vector,
}

/// `chain` is the question, then what it leads to.
pub(super) fn judge(compiled: &Compiled, chain: &[Name], trusted: bool) -> Contribution {
    let mut sighting = Sets::default();
    for (position, member) in chain.iter().enumerate() {
        let (plain, plain_except) = by_image(&compiled.image, member);
        let (mut to, mut except) = (plain, plain_except);
        by_globs(compiled, member, &mut to, &mut except);
        let to = to.without(&except);
        if position == 0 {
            sighting.question = to;
            sighting.question_except = except;
        }
        sighting.chain.union(&to);
        sighting.chain_except.union(&except);
        sighting.seen_by_kernel.union(&plain.without(&plain_except));
    }
    let mut said =
        Contribution { any: Vector::EMPTY, all: Vector::FULL, except: Vector::EMPTY, late: Vector::EMPTY };
    let columns = said.any.0.iter_mut().zip(&mut said.all.0).zip(&mut said.except.0).enumerate();
    for (word, ((any, all), except)) in columns {
        let of = |vector: &Vector| vector.0.get(word).copied().unwrap_or_default();
        let sighting = SightingWord {
            question: of(&sighting.question),
            chain: of(&sighting.chain),
            question_except: of(&sighting.question_except),
            chain_except: of(&sighting.chain_except),
        };
        (*any, *all, *except) = sighting.says(of(&compiled.deny), trusted);
    }
    said.late = said.any.without(&sighting.seen_by_kernel);
    said
}

#[derive(Default)]
struct Sets {
    question: Vector,
    chain: Vector,
    question_except: Vector,
    chain_except: Vector,
    seen_by_kernel: Vector,
}

/// Rules that match or except the name, by exact names and suffixes.
fn by_image(image: &Vec<Vector>, member: &Name) -> (Vector, Vector) {
    let (mut to, mut except) = (Vector::EMPTY, Vector::EMPTY);
    let (Some(meta), Some(key)) = (Meta::of(image), image.bucket(image::KEY)) else { return (to, except) };
    let mut collect = |hash, form| {
        let number = image::find(image, &meta, key, hash);
        if let Some((found, excepted)) = image::set(image, &meta, number, form) {
            to.union(found);
            except.union(excepted);
        }
    };
    let mut hash = name::START;
    collect(hash, Form::Below);
    for byte in member.as_bytes().iter().rev() {
        if *byte == b'.' {
            collect(hash, Form::Below);
        }
        hash = name::push(key, hash, *byte);
    }
    collect(hash, Form::Exact);
    (to, except)
}

fn by_globs(compiled: &Compiled, member: &Name, to: &mut Vector, except: &mut Vector) {
    if compiled.globs.is_empty() {
        return;
    }
    let text = member.to_string();
    for class in &compiled.globs {
        let Some(rule) = compiled.policy.rules().get(usize::from(*class)) else { continue };
        if rule.globs().is_match(&text) {
            to.insert(*class);
        }
        if rule.except_globs().is_match(&text) {
            except.insert(*class);
        }
    }
}
