//! The sets of an image: which rules a name matches and which except it.

use super::ImageError;
use crate::{Vector, name::Form};
use std::collections::HashMap;

/// The vectors of a set, see [`crate::image::set`].
type Set = [Vector; 4];

/// What a rule says of a name.
#[derive(Clone, Copy)]
pub(super) struct Meant {
    pub class: u16,
    /// The rule excepts it.
    pub except: bool,
    pub forms: &'static [Form],
}

/// The sets that names have, by number. Set 0 is that of no name.
#[derive(Debug)]
pub(super) struct Sets {
    numbers: HashMap<Set, u16>,
    /// Each with how many names have it.
    list: Vec<(Set, u64)>,
    /// Numbers that were given back.
    free: Vec<u16>,
}

impl Sets {
    pub(super) fn new() -> Self {
        let none = [Vector::EMPTY; 4];
        Self { numbers: HashMap::from([(none, 0)]), list: vec![(none, 1)], free: Vec::new() }
    }

    /// Moves a name from a set to the one with a further rule; returns its number.
    pub(super) fn change(&mut self, from: u16, meant: Meant) -> Result<u16, ImageError> {
        let mut set = self.list.get(usize::from(from)).map_or([Vector::EMPTY; 4], |(set, _)| *set);
        for form in meant.forms {
            if let Some(vector) = set.get_mut(*form as usize + usize::from(meant.except)) {
                vector.insert(meant.class);
            }
        }
        let to = match self.numbers.get(&set) {
            Some(number) => *number,
            None => self.add(set)?,
        };
        self.enter(to);
        self.leave(from);
        Ok(to)
    }

    /// Counts a further name of a set.
    pub(super) fn enter(&mut self, number: u16) {
        if let Some((_, names)) = self.list.get_mut(usize::from(number)) {
            *names += 1;
        }
    }

    /// The vectors, set by set. A number that was given back has empty ones.
    pub(super) fn vectors(self) -> impl Iterator<Item = Vector> {
        self.list.into_iter().flat_map(|(set, _)| set)
    }

    fn add(&mut self, set: Set) -> Result<u16, ImageError> {
        let number = match self.free.pop() {
            Some(number) => number,
            None => {
                let number = u16::try_from(self.list.len()).map_err(|_| ImageError::TooManySets)?;
                self.list.push(([Vector::EMPTY; 4], 0));
                number
            }
        };
        if let Some(place) = self.list.get_mut(usize::from(number)) {
            *place = (set, 0);
        }
        self.numbers.insert(set, number);
        Ok(number)
    }

    /// Gives a number back that no name has any longer.
    fn leave(&mut self, number: u16) {
        let Some((set, names)) = self.list.get_mut(usize::from(number)).filter(|_| number != 0) else {
            return;
        };
        *names = names.saturating_sub(1);
        if *names == 0 {
            self.numbers.remove(set);
            *set = [Vector::EMPTY; 4];
            self.free.push(number);
        }
    }
}
