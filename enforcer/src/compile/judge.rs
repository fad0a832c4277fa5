//! What a sighting says, by the same image that the kernel has.

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
}

/// `chain` is the question, then what it leads to.
pub(super) fn judge(compiled: &Compiled, chain: &[Name], trusted: bool) -> Contribution {
    let mut sets = Sets::default();
    for (position, member) in chain.iter().enumerate() {
        let (to, except) = by_image(&compiled.image, member);
        sets.add(position, &to, &except);
    }
    let (any, all, except) = sets.says(&compiled.deny, trusted);
    Contribution { any, all, except }
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

/// Rules that match or except the name.
fn by_image(image: &Vec<Vector>, member: &Name) -> (Vector, Vector) {
    let (mut to, mut except) = (Vector::EMPTY, Vector::EMPTY);
    let (Some(meta), Some(key)) = (Meta::of(image), image.bucket(image::KEY)) else { return (to, except) };
    let mut add = |number, form| {
        if let Some((found, excepted)) = image::set(image, &meta, number, form) {
            to.union(found);
            except.union(excepted);
        }
    };
    let globs = meta.globs();
    let (mut hash, mut glob) = (name::START, globs.start());
    add(image::find(image, &meta, key, hash), Form::Below);
    for byte in member.as_bytes().iter().rev() {
        if *byte == b'.' {
            add(image::find(image, &meta, key, hash), Form::Below);
        }
        hash = name::push(key, hash, *byte);
        if glob != 0 {
            glob = globs.step(image, glob, *byte);
        }
    }
    add(image::find(image, &meta, key, hash), Form::Exact);
    if glob != 0 {
        add(globs.set(image, glob), Form::Exact);
    }
    (to, except)
}
