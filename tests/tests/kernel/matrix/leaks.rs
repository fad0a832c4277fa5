//! What gets through, and where: what docs/BYPASSES.md says. It only gets less.

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

/// Which programs judge.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Hooks {
    /// All there are.
    All,
    /// Only those of `connect`, as in most tools of the kind: what the others are good for.
    Connect,
}

/// What is in force.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub backend: Backend,
    pub hooks: Hooks,
    pub place: Place,
    pub list: List,
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, hooks, place: _, list } = self;
        let list = match (hooks, list) {
            (Hooks::All, List::Allow) => "allow-list",
            (Hooks::All, List::Deny) => "deny-list",
            (Hooks::Connect, _) => "connect only",
        };
        write!(formatter, "{backend} {list}")
    }
}

/// How many vectors get through without us, at least: a rig that does not work proves nothing.
pub fn least() -> usize {
    if Machine::current().is_guest() { 110 } else { 90 }
}

/// How many get through at least where only `connect` is judged.
pub const NAIVE: usize = 25;

/// The tables, as they are published.
const PUBLISHED: &str = include_str!("../../../../docs/BYPASSES.md");

/// A row of the tables.
#[derive(Debug)]
pub struct Row {
    pub vector: &'static str,
    pub rights: &'static str,
    leaks: Vec<Leak>,
}

/// Where a vector gets through.
#[derive(Debug)]
struct Leak {
    place: &'static str,
    list: Option<List>,
    /// The kernel that put an end to it, if one did.
    before: Option<(u32, u32)>,
}

/// Every row of the tables of vectors.
pub fn rows() -> Vec<Row> {
    let (_, vectors) = PUBLISHED.split_once("\n## The vectors\n").unwrap();
    let rows = vectors.lines().filter_map(|line| {
        let cells: Vec<&str> = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let [vector, rights, _, _, leaks] = *cells else { panic!("five cells: {line}") };
        let vector = vector.strip_prefix('`')?.strip_suffix('`')?;
        let leaks = leaks.split(", ").filter(|leak| !leak.is_empty()).map(Leak::parse).collect();
        Some(Row { vector, rights, leaks })
    });
    rows.collect()
}

/// The names of those that get through, if they do without us.
pub fn listed(setting: Setting) -> BTreeSet<&'static str> {
    let leaking = rows().into_iter().filter(|row| row.leaks.iter().any(|leak| leak.is_at(setting)));
    leaking.map(|row| row.vector).collect()
}

impl Leak {
    fn parse(text: &'static str) -> Self {
        let (text, before) = match text.split_once(" before ") {
            Some((text, release)) => {
                let (major, minor) = release.split_once('.').unwrap();
                (text, Some((major.parse().unwrap(), minor.parse().unwrap())))
            }
            None => (text, None),
        };
        let (place, list) = text.split_once(" (").unwrap_or((text, ""));
        let list = match list {
            "" => None,
            "allow list)" => Some(List::Allow),
            "deny list)" => Some(List::Deny),
            _ => panic!("no list: {text}"),
        };
        assert!(["cgroup", "child", "everywhere", "lsm"].contains(&place), "no place: {text}");
        Self { place, list, before }
    }

    fn is_at(&self, setting: Setting) -> bool {
        let place = match self.place {
            "cgroup" => setting.backend == Backend::Cgroup,
            // A socket belongs to the cgroup that it was made in.
            "child" => setting.place == Place::Child,
            "lsm" => setting.backend == Backend::Lsm,
            _ => true,
        };
        let newer = |(major, minor)| Machine::current().kernel_at_least(major, minor);
        place && self.list.is_none_or(|list| list == setting.list) && !self.before.is_some_and(newer)
    }
}
