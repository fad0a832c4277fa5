//! The steps of the daemon and of a decision, in the order in which the code takes them: read from the code itself, so
//! that what is explored is what runs. A call that the model does not know stops the test.

use crate::model::{Protocol, Read, Step};

const RELOAD: &str = include_str!("../../src/engine/reload.rs");
const TURN: &str = include_str!("../../src/engine/turn.rs");
const KERNEL: &str = include_str!("../../src/kernel.rs");
const DECIDE: &str = include_str!("../../../enforcer-ebpf/common/src/decide.rs");

/// Calls of the engine, without white space, and what they are here.
const ENGINE_CALLS: &[(&str, &[Step])] = &[
    ("self.kernel.control(Control::Epoch,", &[Step::NextEpoch]),
    ("self.kernel.control(Control::OnError,", &[]),
    ("self.kernel.control(Control::OtherResolvers,", &[]),
    ("self.kernel.control(Control::Slots,both)", &[Step::BothSlots]),
    ("self.kernel.control(Control::Slots,slot_bit(self.version))", &[Step::OneSlot]),
    ("self.kernel.control(Control::Version,", &[Step::Flip]),
    ("self.kernel.clear_fresh(", &[Step::ClearEnded]),
    ("self.kernel.fence(", &[Step::Fence]),
    ("self.kernel.fresh(", &[Step::ReadEnded]),
    ("self.kernel.set_resolvers(", &[]),
    ("self.kernel.set_truth(", &[Step::SetTruth]),
    // The epoch and the one before.
    ("self.fresh(", &[Step::ReadEnded, Step::ReadBefore]),
    ("self.take_over(", &[Step::TakeOver]),
];

/// The same of `Kernel::install`. The other tables are replaced as the image is.
const INSTALL_CALLS: &[(&str, &[Step])] = &[
    ("tables::set_image(", &[Step::SetImage]),
    ("self.set_truth(", &[Step::EmptyTruth]),
    ("tables::clear_fresh(", &[Step::EmptyFresh]),
];

const DECISION_CALLS: &[(&str, &[Read])] = &[
    ("lookup.fresh(", &[Read::Fresh]),
    ("lookup.older(", &[Read::Older]),
    ("lookup.truth(", &[Read::Truth]),
];

/// The protocol as it is in the code.
pub fn protocol() -> Protocol {
    in_order(
        &body(RELOAD, "reload"),
        &["self.kernel.fence(", "self.kernel.install(", "self.prepare(", "self.commit(", "self.settle("],
    );
    in_order(&body(TURN, "take_over"), &["self.drain_answers(", "self.names.adopt("]);
    let reload = [
        vec![Step::Fence],
        steps(&body(KERNEL, "install"), INSTALL_CALLS),
        engine_steps(RELOAD, "prepare"),
        engine_steps(RELOAD, "commit"),
        engine_steps(RELOAD, "settle"),
    ];
    let decide: String = DECIDE.split_whitespace().collect();
    let reads = steps(&decide, DECISION_CALLS).try_into().expect("a decision reads three maps");
    Protocol { turn: engine_steps(TURN, "turn"), reload: reload.concat(), reads, replacing_waits: true }
}

fn engine_steps(source: &str, function: &str) -> Vec<Step> {
    let body = body(source, function);
    for (place, _) in body.match_indices("self.kernel.") {
        let known = ENGINE_CALLS.iter().any(|(call, _)| body[place..].starts_with(call));
        assert!(known, "the model does not know this call in `{function}`: {}", &body[place..]);
    }
    steps(&body, ENGINE_CALLS)
}

/// What the calls are here, in the order in which the text has them.
fn steps<T: Copy>(text: &str, calls: &[(&str, &[T])]) -> Vec<T> {
    let found =
        calls.iter().flat_map(|(call, steps)| text.match_indices(call).map(|(place, _)| (place, *steps)));
    let mut found: Vec<_> = found.collect();
    found.sort_by_key(|(place, _)| *place);
    found.into_iter().flat_map(|(_, steps)| steps).copied().collect()
}

/// The function's text without white space and comments.
fn body(source: &str, function: &str) -> String {
    let start = source.find(&format!("fn {function}(")).expect("the function is there");
    let end = source[start..].find("\n    }\n").expect("the function ends");
    let code = source[start..start + end].lines().map(|line| line.split("//").next().unwrap_or_default());
    code.flat_map(str::split_whitespace).collect()
}

fn in_order(text: &str, calls: &[&str]) {
    let places: Vec<_> = calls.iter().map(|call| text.find(call)).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{calls:?}: {places:?}");
}
