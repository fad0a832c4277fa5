//! Compiled policy and reference evaluator agree: the same random worlds go through `PolicySet::decide`, and through the
//! image, the binder, the name table and the `decide` that the kernel runs.

use super::features::Tally;
use super::reference::References;
use super::slot::Slot;
use super::world::world;
use crate::compile::Compiled;
use policy_schema::PolicySet;
use proptest::{prelude::*, test_runner::TestRunner};
use std::{cell::RefCell, sync::Arc};

/// Policies, with a hundred attempts each on the average.
const POLICIES: u32 = 10_500;
/// The least that is judged in one run.
const CASES: u64 = 1_000_000;
/// Of so many policies one is measured, with half of its attempts: 50,000 cases.
const MEASURED: u64 = 10;

#[test]
fn compiled_and_reference_agree() {
    let tally = RefCell::new(Tally::default());
    let config = ProptestConfig { cases: POLICIES, failure_persistence: None, ..ProptestConfig::default() };
    let agreement = TestRunner::new(config).run(&world(), |world| {
        let references = References::new(&world.policy);
        let policy = references.policy();
        let compiled = Arc::new(Compiled::new(PolicySet::clone(policy), KEY, |_| None).unwrap());
        let slot = Slot::new(&compiled, world.answers());
        for connect in &world.attempts {
            let seen = &world.seen[connect.host];
            let (expected, found) = (references.judge(connect, seen), slot.judge(connect));
            prop_assert_eq!(&expected, &found, "{:#?}\nsightings of the address: {:#?}", connect, seen);
        }
        let mut tally = tally.borrow_mut();
        tally.policies += 1;
        tally.cases += world.attempts.len() as u64;
        if tally.policies % MEASURED == 0 {
            tally.measure(&world, &references, &slot);
        }
        Ok(())
    });
    if let Err(error) = agreement {
        panic!("{error}");
    }
    let tally = tally.into_inner();
    println!("{tally}");
    assert!(tally.cases >= CASES, "{} cases", tally.cases);
    assert_eq!(tally.rare(), [""; 0], "these decide fewer than 1 % of the cases");
}

const KEY: [u64; 8] = [3, 5, 7, 11, 13, 17, 19, 23];
