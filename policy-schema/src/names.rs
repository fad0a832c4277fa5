//! Many names, cheaply: about 13 bytes and the name itself for each.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use serde::Serialize;

use crate::domain::{DomainName, DomainPattern, NameGlob, parent, written};
use crate::glob::GlobSet;
use crate::terms::Form;

/// A name of a rule, borrowed from where all names of the rule lie.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct NameRef<'a> {
    /// The base, normalised; empty for a bare `*`.
    pub name: &'a str,
    /// What the name matches.
    pub form: Form,
}

impl std::fmt::Display for NameRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&written(self.form, self.name))
    }
}

/// A set of names without globs, in the order they came.
#[derive(Clone, Default)]
pub struct Names {
    /// All bases, one behind the other.
    text: String,
    entries: Vec<Entry>,
    /// Where each entry stands, found by its base and form.
    index: HashTable<u32>,
    hasher: RandomState,
}

/// INVARIANT (entry in text): `start..start + length` is a range of `text`, set once in [`Names::insert`].
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    length: u8,
    form: Form,
}

impl Names {
    /// Adds a name; says whether it is new. A set of more than 4 GiB takes no more.
    pub(crate) fn insert(&mut self, form: Form, name: &str) -> bool {
        let Self { text, entries, index, hasher } = self;
        let hash = hasher.hash_one((form, name));
        let same =
            |&at: &u32| resolve(text, entries, at).is_some_and(|known| known == NameRef { name, form });
        if index.find(hash, same).is_some() {
            return false;
        }
        let (Ok(start), Ok(length), Ok(at)) =
            (u32::try_from(text.len()), u8::try_from(name.len()), u32::try_from(entries.len()))
        else {
            return false;
        };
        text.push_str(name);
        entries.push(Entry { start, length, form });
        index.insert_unique(hash, at, |&at| match resolve(text, entries, at) {
            Some(known) => hasher.hash_one((known.form, known.name)),
            None => 0,
        });
        true
    }

    /// Makes room for a list of so many bytes.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        let names = bytes / 20;
        let Self { text, entries, index, hasher } = self;
        text.reserve(bytes);
        entries.reserve(names);
        index.reserve(names, |&at| match resolve(text, entries, at) {
            Some(known) => hasher.hash_one((known.form, known.name)),
            None => 0,
        });
    }

    /// All names.
    pub fn iter(&self) -> impl Iterator<Item = NameRef<'_>> {
        (0u32..).map_while(|at| resolve(&self.text, &self.entries, at))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The nearest entry that matches a name.
    pub fn find<'a>(&'a self, name: &'a str) -> Option<NameRef<'a>> {
        let own = [Form::Exact, Form::Both].map(|form| NameRef { name, form });
        let above = std::iter::successors(parent(name), |name| parent(name)).chain([""]);
        let inherited = above.flat_map(|name| [Form::Below, Form::Both].map(|form| NameRef { name, form }));
        own.into_iter().chain(inherited).find(|wanted| self.contains(wanted.form, wanted.name))
    }

    /// Whether every name below `name` is matched by one entry.
    pub(crate) fn covers_below(&self, name: &str) -> bool {
        let mut bases = std::iter::successors(Some(name), |name| parent(name)).chain([""]);
        bases.any(|base| self.contains(Form::Below, base) || self.contains(Form::Both, base))
    }

    fn contains(&self, form: Form, name: &str) -> bool {
        let hash = self.hasher.hash_one((form, name));
        let same = |&at: &u32| {
            resolve(&self.text, &self.entries, at).is_some_and(|known| known == NameRef { name, form })
        };
        self.index.find(hash, same).is_some()
    }
}

fn resolve<'a>(text: &'a str, entries: &[Entry], at: u32) -> Option<NameRef<'a>> {
    let Entry { start, length, form } = *entries.get(usize::try_from(at).ok()?)?;
    let start = usize::try_from(start).ok()?;
    Some(NameRef { name: text.get(start..start + usize::from(length))?, form })
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.iter().take(8).map(|name| name.to_string())).finish()
    }
}

/// Everything that can stand under `names`: plain names and globs.
#[derive(Clone, Debug, Default)]
pub struct NameSet {
    names: Names,
    globs: GlobSet,
}

impl NameSet {
    pub(crate) fn new(names: Names, globs: GlobSet) -> Self {
        Self { names, globs }
    }

    /// The names without globs.
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The globs.
    pub fn globs(&self) -> &GlobSet {
        &self.globs
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty() && self.globs.is_empty()
    }

    /// What matches the name, as it is written in a policy.
    pub fn find(&self, name: &DomainName) -> Option<String> {
        if let Some(found) = self.names.find(name.as_str()) {
            return Some(found.to_string());
        }
        self.globs.find(name.as_str()).map(ToString::to_string)
    }

    /// Whether a name is in the set.
    pub fn is_match(&self, name: &DomainName) -> bool {
        self.names.find(name.as_str()).is_some() || self.globs.is_match(name.as_str())
    }
}

/// A [`NameSet`] that is being filled.
#[derive(Default)]
pub(crate) struct NameSetBuilder {
    pub names: Names,
    pub globs: Vec<NameGlob>,
}

impl NameSetBuilder {
    /// Adds a pattern; says whether it is new, as far as plain names go.
    pub(crate) fn insert(&mut self, pattern: DomainPattern) -> bool {
        match pattern {
            DomainPattern::Below(name) => self.names.insert(Form::Below, name.as_str()),
            DomainPattern::Both(name) => self.names.insert(Form::Both, name.as_str()),
            DomainPattern::Exact(name) => self.names.insert(Form::Exact, name.as_str()),
            DomainPattern::Glob(glob) => {
                self.globs.push(glob);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests;
