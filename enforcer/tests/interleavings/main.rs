//! Every interleaving of the kernel's programs with turns of the epoch and reloads, in a model that takes the daemon's
//! steps from its code; and what the model finds when a step is missing or two are the wrong way round.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a test may stop at the first surprise")]

mod model;
mod source;

use model::{Exploration, Operation, Protocol, RIGHT, Read, Step};
use stateright::{Checker as _, Model as _};

#[test]
fn nothing_goes_wrong() {
    let protocol = source::protocol();
    println!("{protocol:?}");
    assert_eq!(explore(three_operations(protocol.clone())), None);
    assert_eq!(explore(Exploration { protocol, operations: 2, failures: 1, answers: 2 }), None);
}

#[test]
fn each_step_is_needed() {
    let harmless = mutants(|steps, at| (at < steps.len()).then(|| vec![steps.remove(at)]));
    let expected: &[(_, usize, &[_])] = &[
        // `SetTruth` comes before anybody looks.
        (Operation::Reload, 2, &[Step::EmptyTruth]),
        // Orders two stores that x86-64 keeps in order; another processor need not.
        (Operation::Reload, 12, &[Step::Fence]),
    ];
    assert_eq!(
        harmless,
        expected.iter().map(|&(of, at, steps)| (of, at, steps.to_vec())).collect::<Vec<_>>()
    );
}

#[test]
fn the_order_of_the_steps_is_needed() {
    let harmless = mutants(|steps, at| {
        let pair = steps.get_mut(at..at + 2)?;
        pair.swap(0, 1);
        Some(pair.to_vec())
    });
    let expected: &[(_, usize, &[_])] = &[
        // Nobody uses the slot that is filled; what is bound there too early is bound in the old one as well.
        (Operation::Reload, 1, &[Step::EmptyTruth, Step::SetImage]),
        (Operation::Reload, 2, &[Step::EmptyFresh, Step::EmptyTruth]),
        (Operation::Reload, 3, &[Step::BothSlots, Step::EmptyFresh]),
        // What the epoch before holds, if a turn failed, does not change any more.
        (Operation::Reload, 6, &[Step::ReadBefore, Step::ReadEnded]),
        (Operation::Reload, 7, &[Step::Fence, Step::ReadBefore]),
        // As in `each_step_is_needed`.
        (Operation::Reload, 11, &[Step::Fence, Step::Flip]),
        (Operation::Reload, 12, &[Step::OneSlot, Step::Fence]),
    ];
    assert_eq!(
        harmless,
        expected.iter().map(|&(of, at, steps)| (of, at, steps.to_vec())).collect::<Vec<_>>()
    );
}

#[test]
fn a_decision_reads_in_any_order_because_replacing_waits() {
    let code = source::protocol();
    for reads in [[Read::Fresh, Read::Older, Read::Truth], [Read::Truth, Read::Older, Read::Fresh]] {
        assert_eq!(explore(three_operations(Protocol { reads, ..code.clone() })), None);
        let hasty = Protocol { reads, replacing_waits: false, ..code.clone() };
        assert!(explore(three_operations(hasty)).is_some(), "{reads:?}");
    }
}

fn three_operations(protocol: Protocol) -> Exploration {
    Exploration { protocol, operations: 3, failures: 1, answers: 1 }
}

/// Explores everything; the way to what went wrong, if anything did.
fn explore(exploration: Exploration) -> Option<String> {
    let checker = exploration.checker().spawn_bfs().join();
    let wrong = checker.discovery(RIGHT).map(|path| path.to_string());
    if wrong.is_none() {
        println!("{} states", checker.unique_state_count());
        // What has to be possible, or too little was explored.
        checker.assert_properties();
    }
    wrong
}

/// Mutates a turn and a reload at each place; those mutants that do no harm, with the steps that `mutate` gives.
fn mutants(
    mutate: impl Fn(&mut Vec<Step>, usize) -> Option<Vec<Step>>,
) -> Vec<(Operation, usize, Vec<Step>)> {
    let mut harmless = Vec::new();
    for operation in [Operation::Turn, Operation::Reload] {
        for at in 0.. {
            let mut protocol = source::protocol();
            let steps = match operation {
                Operation::Reload => &mut protocol.reload,
                Operation::Turn => &mut protocol.turn,
            };
            let Some(mutated) = mutate(steps, at) else { break };
            if explore(three_operations(protocol)).is_none() {
                harmless.push((operation, at, mutated));
            }
        }
    }
    harmless
}
