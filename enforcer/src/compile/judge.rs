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
    /// `any` as the kernel's binder has it, which sees no in-label globs.
    pub bound: Vector,
    /// Whether the kernel's binder has anything else than this.
    pub late: bool,
}

/// `chain` is the question, then what it leads to.
pub(super) fn judge(compiled: &Compiled, chain: &[Name], trusted: bool) -> Contribution {
    let (mut whole, mut kernel) = (Sets::default(), Sets::default());
    for (position, member) in chain.iter().enumerate() {
        let (mut to, mut except) = by_image(&compiled.image, member);
        kernel.add(position, &to, &except);
        by_globs(compiled, member, &mut to, &mut except);
        whole.add(position, &to, &except);
    }
    let (any, all, except) = whole.says(&compiled.deny, trusted);
    let seen_by_kernel = kernel.says(&compiled.deny, trusted);
    Contribution { any, all, except, bound: seen_by_kernel.0, late: (any, all, except) != seen_by_kernel }
}

#[derive(Default)]
struct Sets {
    question: Vector,
    chain: Vector,
    question_except: Vector,
    chain_except: Vector,
}

impl Sets {
    /// Adds a member of the chain: rules that match it, and rules that except it.
    fn add(&mut self, position: usize, to: &Vector, except: &Vector) {
        let to = to.without(except);
        if position == 0 {
            self.question = to;
            self.question_except = *except;
        }
        self.chain.union(&to);
        self.chain_except.union(except);
    }

    /// `any`, `all` and `except` of a binding.
    fn says(&self, deny: &Vector, trusted: bool) -> (Vector, Vector, Vector) {
        let (mut any, mut all, mut except) = (Vector::EMPTY, Vector::FULL, Vector::EMPTY);
        let columns = any.0.iter_mut().zip(&mut all.0).zip(&mut except.0).enumerate();
        for (word, ((any, all), except)) in columns {
            let of = |vector: &Vector| vector.0.get(word).copied().unwrap_or_default();
            let sighting = SightingWord {
                question: of(&self.question),
                chain: of(&self.chain),
                question_except: of(&self.question_except),
                chain_except: of(&self.chain_except),
            };
            (*any, *all, *except) = sighting.says(of(deny), trusted);
        }
        (any, all, except)
    }
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
