//! Many names, cheaply: a name of a list stays where the list lies, and costs 8 bytes and its place in an index.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use hashbrown::hash_table::{self, HashTable};
use serde::Serialize;

use crate::domain::{DomainName, DomainPattern, NameGlob, parent, written};
use crate::glob::GlobSet;
use crate::source::Bytes;
use crate::terms::Form;

/// One for all sets of the process, so that their digests can be compared. With a key: lists are not to be trusted.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// A name of a rule, borrowed from where it lies.
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
    texts: Texts,
    entries: Vec<Entry>,
    /// Where each entry stands, found by its base and form.
    index: HashTable<u32>,
    digest: u64,
}

/// The set takes no more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Full;

impl Names {
    /// Adds a name; says whether it is new. A set takes 4 Gi names, and 4 GiB of those that it has to copy.
    pub(crate) fn insert(&mut self, form: Form, name: &str) -> Result<bool, Full> {
        self.insert_at(form, name.as_bytes(), OWN, self.texts.own.len())
    }

    /// Adds a name that lies at `start` of the last list in its one spelling.
    pub(crate) fn insert_listed(&mut self, form: Form, name: &[u8], start: usize) -> Result<bool, Full> {
        match self.texts.lists.len().checked_sub(1).and_then(|last| u16::try_from(last).ok()) {
            Some(last) if last != OWN && u32::try_from(start).is_ok() => {
                self.insert_at(form, name, last, start)
            }
            Some(_) | None => self.insert_at(form, name, OWN, self.texts.own.len()),
        }
    }

    /// Takes in a list; [`Names::insert_listed`] takes names out of it. `names` is how many it may hold.
    pub(crate) fn add_list(&mut self, list: Bytes, names: usize) {
        let Self { texts, entries, index, .. } = self;
        texts.lists.push(list);
        entries.reserve(names);
        index.reserve(names, |&at| texts.hash_of(entries, at));
    }

    fn insert_at(&mut self, form: Form, name: &[u8], text: u16, start: usize) -> Result<bool, Full> {
        let Self { texts, entries, index, digest } = self;
        let hash = hash(form, name);
        let same = |&at: &u32| texts.is(entries, at, form, name);
        let hash_table::Entry::Vacant(place) = index.entry(hash, same, |&at| texts.hash_of(entries, at))
        else {
            return Ok(false);
        };
        let (Ok(start), Ok(length), Ok(at)) =
            (u32::try_from(start), u8::try_from(name.len()), u32::try_from(entries.len()))
        else {
            return Err(Full);
        };
        place.insert(at);
        entries.push(Entry { start, text, length, form });
        if text == OWN {
            texts.own.extend_from_slice(name);
        }
        *digest = digest.wrapping_add(hash);
        Ok(true)
    }

    /// All names.
    pub fn iter(&self) -> impl Iterator<Item = NameRef<'_>> {
        self.entries.iter().map_while(|entry| {
            Some(NameRef { name: str::from_utf8(self.texts.bytes(*entry)?).ok()?, form: entry.form })
        })
    }

    /// The bases of one form, as ASCII.
    pub fn bases(&self, form: Form) -> impl Iterator<Item = &[u8]> {
        let entries = self.entries.iter().filter(move |entry| entry.form == form);
        entries.map_while(|entry| self.texts.bytes(*entry))
    }

    /// How many names there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The same for sets of the same names in any order, as long as the process lives; what was forgotten still counts.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// The nearest entry that matches a name.
    pub fn find<'a>(&'a self, name: &'a str) -> Option<NameRef<'a>> {
        let own = [Form::Exact, Form::Both].map(|form| NameRef { name, form });
        let above = std::iter::successors(parent(name), |name| parent(name)).chain([""]);
        let inherited = above.flat_map(|name| [Form::Below, Form::Both].map(|form| NameRef { name, form }));
        own.into_iter().chain(inherited).find(|wanted| self.contains(*wanted))
    }

    /// Whether every name below `name` is matched by one entry.
    pub(crate) fn covers_below(&self, name: &str) -> bool {
        let mut bases = std::iter::successors(Some(name), |name| parent(name)).chain([""]);
        bases.any(|name| [Form::Below, Form::Both].iter().any(|&form| self.contains(NameRef { name, form })))
    }

    fn contains(&self, NameRef { name, form }: NameRef<'_>) -> bool {
        let same = |&at: &u32| self.texts.is(&self.entries, at, form, name.as_bytes());
        self.index.find(hash(form, name.as_bytes()), same).is_some()
    }
}

fn hash(form: Form, name: &[u8]) -> u64 {
    HASHER.hash_one((form as u8, name))
}

/// Where names lie.
#[derive(Clone, Default)]
struct Texts {
    /// The bases that no list holds in their one spelling, one behind the other.
    own: Vec<u8>,
    lists: Vec<Bytes>,
}

/// INVARIANT (entry in text): `start..start + length` is a range of its text that holds ASCII, seen when the entry was made.
#[derive(Clone, Copy)]
struct Entry {
    start: u32,
    /// A number of [`Texts::lists`], or [`OWN`].
    text: u16,
    length: u8,
    form: Form,
}

const OWN: u16 = u16::MAX;

impl Texts {
    fn bytes(&self, Entry { start, text, length, .. }: Entry) -> Option<&[u8]> {
        let start = usize::try_from(start).ok()?;
        let text = match text {
            OWN => &self.own,
            list => (**self.lists.get(usize::from(list))?).as_ref(),
        };
        text.get(start..start + usize::from(length))
    }

    fn entry(entries: &[Entry], at: u32) -> Option<Entry> {
        entries.get(usize::try_from(at).ok()?).copied()
    }

    fn is(&self, entries: &[Entry], at: u32, form: Form, name: &[u8]) -> bool {
        Self::entry(entries, at)
            .is_some_and(|entry| entry.form == form && self.bytes(entry).is_some_and(|known| known == name))
    }

    fn hash_of(&self, entries: &[Entry], at: u32) -> u64 {
        let known = Self::entry(entries, at).and_then(|entry| Some((entry.form, self.bytes(entry)?)));
        known.map_or(0, |(form, name)| hash(form, name))
    }
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

    /// Lets go of all names but the globs.
    pub(crate) fn forget(&mut self) {
        self.names = Names { digest: self.names.digest, ..Names::default() };
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
    pub(crate) fn insert(&mut self, pattern: DomainPattern) -> Result<bool, Full> {
        match pattern {
            DomainPattern::Below(name) => self.names.insert(Form::Below, name.as_str()),
            DomainPattern::Both(name) => self.names.insert(Form::Both, name.as_str()),
            DomainPattern::Exact(name) => self.names.insert(Form::Exact, name.as_str()),
            DomainPattern::Glob(glob) => {
                self.globs.push(glob);
                Ok(true)
            }
        }
    }
}

#[cfg(test)]
mod tests;
