//! The bypass matrix: every way out that is known, tried without us and with us. What counts is what arrives on the far
//! side of a link, seen by somebody who sits there, not what the one who tried is told.
//!
//! A vector counts if it gets through without us. While we enforce, nothing of it may arrive, except for what
//! docs/BYPASSES.md says gets through; what it says and is not so any more fails the test too.

mod leaks;
pub mod rig;

use std::collections::{BTreeMap, BTreeSet};
use std::env;

use enforcer_tests::{Machine, Target, announce, wait_for};

use self::leaks::{Hooks, Place, Setting};
use self::rig::{Outcome, Rig, Vector, vectors};
use crate::scenario::SOON;

/// What connects as everybody does: if this one is not refused, nothing else says anything.
const CANARY: &str = "tcp-connect";

/// The number of no vector.
const UNLISTED: u8 = 250;

/// The option that leaves out every hook but those of `connect`.
const ONLY_CONNECT: &str = "--only-connect";

/// What a policy says of the denied addresses.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum List {
    /// Everything is allowed but them.
    Deny,
    /// Everything is denied, them too, but the allowed ones.
    Allow,
}

impl List {
    fn policy(self) -> String {
        let ranges = |ranges: &[&str]| format!("{ranges:?}");
        let (default, action, cidrs) = match self {
            Self::Deny => ("allow", "deny", ranges(&Target::DENIED)),
            Self::Allow => ("deny", "allow", ranges(&Target::ALLOWED)),
        };
        format!(
            "version: 1\ndefault: {default}\nrules:\n  - {{ name: listed, action: {action}, to: {{ cidrs: {cidrs} }} }}\n"
        )
    }
}

#[test]
fn nothing_gets_around_it() {
    let machine = Machine::current();
    let vectors = vectors();
    let (off, ()) = Rig::new(&vectors).attempt(&[], || ());
    let place = if machine.is_guest() { Place::Root } else { Place::Child };
    let mut columns = Vec::new();
    for &backend in machine.backends() {
        for list in [List::Deny, List::Allow] {
            let setting = Setting { backend, hooks: Hooks::All, place, list };
            columns.push((setting, enforced(&vectors, setting)));
        }
        let setting = Setting { backend, hooks: Hooks::Connect, place, list: List::Deny };
        columns.push((setting, enforced(&vectors, setting)));
    }
    announce(&table(&vectors, &off, &columns));

    let release = machine.release();
    let works = getting_through(&vectors, &off);
    announce(&format!("MATRIX {release}: {} of {} vectors count", works.len(), vectors.len()));
    assert!(works.len() >= leaks::least(), "{works:?}");
    let tried = columns.iter().map(|(setting, outcomes)| (*setting, getting_through(&vectors, outcomes)));
    let tried: Vec<(Setting, BTreeSet<&str>)> = tried.collect();
    for (setting, leaking) in &tried {
        announce(&format!("MATRIX {release} {setting}: {} of {} get through", leaking.len(), works.len()));
    }
    for (setting, leaking) in &tried {
        if setting.hooks == Hooks::Connect {
            assert!(leaking.len() >= leaks::NAIVE, "{setting}: {leaking:?}");
            continue;
        }
        let listed: BTreeSet<&str> = leaks::listed(*setting).intersection(&works).copied().collect();
        let new: Vec<_> = leaking.difference(&listed).collect();
        let closed: Vec<_> = listed.difference(leaking).collect();
        assert!(
            new.is_empty() && closed.is_empty(),
            "{setting}: gets through: {new:?}; no longer: {closed:?}"
        );
    }
}

/// The names of those of which something has arrived.
fn getting_through<'name>(
    vectors: &'name BTreeMap<u8, Vector>,
    outcomes: &BTreeMap<u8, Outcome>,
) -> BTreeSet<&'name str> {
    let through = outcomes.iter().filter(|(_, outcome)| outcome.arrived.packets > 0);
    through.map(|(number, _)| vectors[number].name.as_str()).collect()
}

/// What was open when a policy came into force is judged by the next one too.
#[test]
fn a_reload_stops_what_is_open() {
    let machine = Machine::current();
    let vectors = vectors();
    let early: Vec<&str> =
        vectors.values().filter(|vector| vector.early).map(|vector| vector.name.as_str()).collect();
    let place = if machine.is_guest() { Place::Root } else { Place::Child };
    Machine::each_backend(|backend| {
        let rig = Rig::new(&vectors);
        let daemon = machine.daemon(backend, &rig.cgroup).policy("matrix", "version: 1\nrules: []\n");
        let mut daemon = daemon.start().unwrap();
        let (before, ()) = rig.attempt(&early, || ());
        assert_eq!(getting_through(&vectors, &before), early.iter().copied().collect());
        let unlisted = Target::new(UNLISTED).denied4().to_string();
        let refused = || {
            let attempts = rig.client().connect(&unlisted, Target::PORT).unwrap();
            attempts.iter().all(|attempt| attempt.errno() == Some("EPERM")).then_some(())
        };
        let (outcomes, reloaded) = rig.attempt(&early, || {
            daemon.write_policy("matrix", &List::Deny.policy()).unwrap();
            wait_for(SOON, refused)
        });
        assert!(reloaded.is_some(), "{}", daemon.stderr().unwrap());
        let setting = Setting { backend, hooks: Hooks::All, place, list: List::Deny };
        let listed: BTreeSet<&str> = early.iter().copied().collect();
        let listed = leaks::listed(setting).intersection(&listed).copied().collect();
        assert_eq!(getting_through(&vectors, &outcomes), listed, "{setting}: {outcomes:?}");
        assert!(daemon.stop().unwrap().success());
    });
}

/// Each vector is in the tables once, with the rights it needs.
#[test]
fn every_vector_is_published() {
    let rows = leaks::rows();
    let published: BTreeMap<&str, &str> = rows.iter().map(|row| (row.vector, row.rights)).collect();
    assert_eq!(published.len(), rows.len());
    let vectors = vectors();
    let tried = vectors.values().map(|Vector { name, user, early: _ }| {
        let rights = if user == "nobody" { "" } else { user.as_str() };
        (name.as_str(), rights)
    });
    assert_eq!(published, tried.collect());
}

/// Another thread changes the address while the kernel reads it: what is judged is what is used.
#[test]
fn an_address_that_changes_is_judged_as_it_is_used() {
    let machine = Machine::current();
    let target = Target::new(UNLISTED);
    let count = match (machine.is_guest(), env::var_os("ENFORCER_SOAK").is_some()) {
        (_, true) => 1_000_000,
        (true, false) => 5_000,
        (false, false) => 100_000,
    };
    let vectors = vectors();
    let (_, arrived) = Rig::new(&vectors).flip(target, count / 10);
    assert!(arrived.packets > u64::from(count / 100), "{arrived:?}");
    Machine::each_backend(|backend| {
        let rig = Rig::new(&vectors);
        let mut daemon =
            machine.daemon(backend, &rig.cgroup).policy("matrix", &List::Deny.policy()).start().unwrap();
        let ([connects, sends], arrived) = rig.flip(target, count);
        announce(&format!(
            "FLIP {} {backend}: connects {connects:?} sends {sends:?} (refused, not): {arrived:?}",
            machine.release()
        ));
        // Both addresses were there when it mattered.
        for (refused, passed) in [connects, sends] {
            assert!(refused > count / 100 && passed > count / 100, "{connects:?} {sends:?}");
        }
        assert_eq!(arrived.packets, 0);
        assert!(daemon.stop().unwrap().success());
        let (_, arrived) = rig.flip(target, count / 10);
        assert!(arrived.packets > 0);
    });
}

/// What becomes of the vectors while a policy is in force.
fn enforced(vectors: &BTreeMap<u8, Vector>, setting: Setting) -> BTreeMap<u8, Outcome> {
    let Setting { backend, hooks, place: _, list } = setting;
    let rig = Rig::new(vectors);
    let mut daemon = Machine::current().daemon(backend, &rig.cgroup).policy("matrix", &list.policy());
    if hooks == Hooks::Connect {
        daemon = daemon.argument(ONLY_CONNECT);
    }
    let (outcomes, mut daemon) = rig.attempt(&[], || daemon.start().unwrap());
    let (number, _) = vectors.iter().find(|(_, vector)| vector.name == CANARY).unwrap();
    let canary = &outcomes[number];
    assert_eq!((canary.said.as_str(), canary.arrived.packets), ("EPERM", 0), "{setting}");
    let allowed = Target::new(*number).allowed4().to_string();
    let attempts = rig.client().connect(&allowed, Target::PORT).unwrap();
    assert!(attempts.iter().all(|attempt| attempt.is_ok()), "{setting}: {attempts:?}");

    assert!(daemon.stop().unwrap().success(), "{}", daemon.stderr().unwrap());
    let (after, ()) = rig.attempt(&[CANARY], || ());
    assert!(after[number].arrived.packets > 0, "{setting}: {after:?}");
    outcomes
}

/// A line for each vector: whose rights it needs, what arrives without us, and for each setting what it is told and how
/// many packets arrive.
fn table(
    vectors: &BTreeMap<u8, Vector>,
    off: &BTreeMap<u8, Outcome>,
    columns: &[(Setting, BTreeMap<u8, Outcome>)],
) -> String {
    let mut lines = vec![format!("{:<24} {:<9} {:>20}", "vector", "user", "without us")];
    for (setting, _) in columns {
        lines[0] += &format!(" {:>20}", setting.to_string());
    }
    for (number, vector) in vectors {
        let mut line = format!("{:<24} {:<9}", vector.name, vector.user);
        for outcomes in [off].into_iter().chain(columns.iter().map(|(_, outcomes)| outcomes)) {
            let said = outcomes.get(number).map_or("-".to_owned(), |Outcome { said, arrived }| {
                format!("{said} {}/{}", arrived.packets, arrived.payloads)
            });
            line += &format!(" {said:>20}");
        }
        lines.push(line);
    }
    let release = Machine::current().release();
    lines.iter().map(|line| format!("MATRIX {release} {line}\n")).collect()
}
