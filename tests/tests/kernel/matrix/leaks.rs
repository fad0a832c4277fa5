//! What gets through, by name. This list only gets shorter.

use std::collections::BTreeSet;
use std::fmt;

use enforcer_tests::{Backend, Machine};

use super::List;

/// Where the programs are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Place {
    /// In a cgroup of the test's own: what is judged is what sockets of this cgroup do.
    Child,
    /// At the root cgroup: everything is judged.
    Root,
}

/// What is in force.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub backend: Backend,
    pub place: Place,
    pub list: List,
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, place: _, list } = self;
        let list = match list {
            List::Deny => "deny",
            List::Allow => "allow",
        };
        write!(formatter, "{backend} {list}-list")
    }
}

/// How many vectors get through without us, at least: a rig that does not work is no proof.
pub fn least() -> usize {
    if Machine::current().is_guest() { 49 } else { 40 }
}

pub fn listed(_setting: Setting) -> BTreeSet<&'static str> {
    BTreeSet::new()
}
