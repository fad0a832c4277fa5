//! How often each feature of the language decides: taken away from a case, it leaves another decision.

use super::policy_text::{PolicyText, RuleText, is_glob};
use super::reference::{Outcome, References};
use super::slot::Slot;
use super::world::{Connect, Seen, World};
use crate::compile::Prefix;
use enforcer_common::{Binding, CidrEntry, Vector, image};
use std::{collections::BTreeMap, fmt};

/// What was judged, and how often each feature decided.
#[derive(Default)]
pub(super) struct Tally {
    pub policies: u64,
    pub cases: u64,
    measured: u64,
    decided: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// Judges half of the attempts again, without each of the features.
    pub(super) fn measure(&mut self, world: &World, references: &References, slot: &Slot) {
        let attempts: Vec<(&Connect, Outcome)> =
            world.attempts.iter().step_by(2).map(|connect| (connect, slot.judge(connect))).collect();
        self.measured += attempts.len() as u64;
        let mut compare = |feature, judge: &dyn Fn(&Connect) -> Outcome| {
            let differ = attempts.iter().filter(|(connect, whole)| judge(connect) != *whole).count();
            *self.decided.entry(feature).or_default() += differ as u64;
        };
        let written = world.policy.to_string();
        for Feature(feature, strip) in IN_POLICIES {
            let mut text = world.policy.clone();
            strip(&mut text);
            if text.to_string() == written {
                continue;
            }
            let stripped = References::new(&text);
            compare(feature, &|connect| stripped.judge(connect, &world.seen[connect.host]));
        }
        for Feature(feature, strip) in IN_CASES {
            compare(feature, &|connect| {
                let mut case = Case(*connect, world.seen[connect.host].clone());
                strip(&mut case);
                references.judge(&case.0, &case.1)
            });
        }
        for Feature(feature, strip) in IN_SLOTS {
            let mut stripped = slot.clone();
            strip(&mut stripped);
            compare(feature, &|connect| stripped.judge(connect));
        }
    }

    /// The features that decide too seldom for the test to mean much.
    pub(super) fn rare(&self) -> Vec<&'static str> {
        let features = IN_POLICIES.iter().map(|Feature(feature, _)| *feature);
        let features = features.chain(IN_CASES.iter().map(|Feature(feature, _)| *feature));
        let features = features.chain(IN_SLOTS.iter().map(|Feature(feature, _)| *feature));
        features.filter(|feature| self.decided.get(feature).unwrap_or(&0) * 100 < self.measured).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { policies, cases, measured, decided } = self;
        writeln!(f, "{cases} cases of {policies} policies; of {measured} cases, decided by")?;
        for (feature, times) in decided {
            writeln!(f, "{:5.1} %  {feature}", *times as f64 * 100.0 / *measured as f64)?;
        }
        Ok(())
    }
}

/// A feature, and how to do without it.
struct Feature<T>(&'static str, fn(&mut T));

/// What is known of the address, and who connects.
struct Case(Connect, Vec<Seen>);

const IN_POLICIES: &[Feature<PolicyText>] = &[
    Feature("allow rules", |policy| disarm(policy, false)),
    Feature("audit rules", |policy| each(policy, |rule| rule.audit = false)),
    Feature("cidrs", |policy| each(policy, |rule| rule.cidrs.clear())),
    Feature("default", |policy| policy.default_deny ^= true),
    Feature("deny rules", |policy| disarm(policy, true)),
    Feature("errno", |policy| each(policy, |rule| rule.errno = "EPERM")),
    Feature("except.cidrs", |policy| each(policy, |rule| rule.except_cidrs.clear())),
    Feature("except.names", |policy| each(policy, |rule| rule.except_names.clear())),
    Feature("hold of a rule", |policy| each(policy, |rule| rule.hold = None)),
    Feature("in-label globs", |policy| each(policy, |rule| rule.names.retain(|name| !is_glob(name)))),
    Feature("literalAddresses", |policy| policy.literal = "allow"),
    Feature("mayResolveTo", |policy| each(policy, |rule| rule.may_resolve_to.clear())),
    Feature("mode of the default", |policy| policy.audit = false),
    Feature("names", |policy| each(policy, |rule| rule.names.retain(|name| is_glob(name)))),
    Feature("ports", |policy| each(policy, |rule| rule.ports.clear())),
    Feature("ports: protocol", |policy| each(policy, |rule| rule.ports.iter_mut().for_each(forget_protocol))),
    Feature("sharedAddress: all", |policy| each(policy, |rule| rule.all = false)),
    Feature("special-use ranges", |policy| {
        each(policy, |rule| rule.may_resolve_to = vec!["0.0.0.0/0", "::/0"]);
    }),
    Feature("subjects: cgroups", |policy| each(policy, |rule| rule.cgroups.clear())),
    Feature("subjects: units", |policy| each(policy, |rule| rule.units.clear())),
    Feature("subjects: users", |policy| each(policy, |rule| rule.users.clear())),
    Feature("to: any", |policy| each(policy, |rule| rule.any = false)),
];

const IN_CASES: &[Feature<Case>] = &[
    Feature("CNAME chains", |Case(_, seen)| seen.iter_mut().for_each(|seen| seen.chain.truncate(1))),
    Feature("bindings that expired", |Case(connect, _)| connect.late = 0),
    Feature("cgroups not classified", |Case(connect, _)| connect.classified = true),
    Feature("several sightings", |Case(_, seen)| seen.truncate(1)),
    Feature("sightings that are over", |Case(_, seen)| seen.iter_mut().for_each(|seen| seen.age = 0)),
    Feature("untrusted sightings", |Case(_, seen)| seen.iter_mut().for_each(|seen| seen.trusted = true)),
];

const IN_SLOTS: &[Feature<Slot>] = &[
    Feature("bindings in truth", |slot| slot.truth.clear()),
    Feature("bindings of the epoch before", |slot| slot.older.clear()),
    Feature("bindings of this epoch", |slot| slot.fresh.clear()),
    Feature("cidrs around cidrs", |slot| slot.cidrs = unfolded(slot)),
    Feature("except.cidrs over names", |slot| {
        for entry in slot.cidrs.values_mut() {
            entry.to = entry.to.without(&entry.except);
            entry.except = Vector::EMPTY;
        }
    }),
    Feature("except.names over cidrs", |slot| {
        let Slot { fresh, older, truth, .. } = slot;
        let bindings = [fresh, older, truth].into_iter().flat_map(BTreeMap::values_mut);
        bindings.for_each(|binding: &mut Binding| binding.except = Vector::EMPTY);
    }),
    Feature("protected loopback", |slot| slot.protects_loopback = false),
    Feature("protected resolvers", |slot| slot.protects_resolvers = false),
    Feature("rules past the 64th", |slot| slot.image[image::META as usize].0[7] = 1),
];

fn each(policy: &mut PolicyText, strip: impl Fn(&mut RuleText)) {
    policy.rules.iter_mut().for_each(strip);
}

/// Rules of an action match nothing, and keep their places.
fn disarm(policy: &mut PolicyText, deny: bool) {
    for rule in policy.rules.iter_mut().filter(|rule| rule.deny == deny) {
        rule.any = false;
        rule.names.clear();
        rule.cidrs.clear();
    }
}

fn forget_protocol(ports: &mut &'static str) {
    *ports = ports.split_once('/').map_or(*ports, |(ports, _)| ports);
}

/// The prefixes without what the prefixes around them say.
fn unfolded(slot: &Slot) -> BTreeMap<Prefix, CidrEntry> {
    let mut entries: BTreeMap<Prefix, CidrEntry> = BTreeMap::new();
    for (class, rule) in (0..).zip(slot.compiled.policy.rules()) {
        for cidr in rule.cidrs() {
            entries.entry(Prefix::new(cidr)).or_default().to.insert(class);
        }
        for cidr in rule.except_cidrs() {
            entries.entry(Prefix::new(cidr)).or_default().except.insert(class);
        }
    }
    entries
}
