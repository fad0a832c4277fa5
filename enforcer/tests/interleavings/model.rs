//! The protocol between the binder, a decision and the daemon, as a state machine whose every interleaving is explored.
//!
//! A program of the kernel's reads and writes in any order relative to the others; a fence, and whatever replaces an
//! inner map, waits for the programs that run at that moment. Loads and stores of one side are seen in their order
//! (x86-64: none passes another of its kind; the reads of a decision are calls of helpers).

use std::array;

use stateright::{Model, Property};

/// Answers, each with a binder of its own, for a denied name with an address of its own.
pub const ANSWERS: usize = 2;
/// The property that must always hold.
pub const RIGHT: &str = "no gap, no mixture, nothing nameless, nothing undone";
/// The program that decides, among [`State::running`].
const DECIDER: u8 = 1 << ANSWERS;
/// The mark of a binding that was judged by two policies. Others bear `1 << version`.
const MIXED: u8 = 1 << 7;

/// What the daemon does to the kernel, or to its memory, at once.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Step {
    BothSlots,
    ClearEnded,
    EmptyFresh,
    EmptyTruth,
    Fence,
    Flip,
    NextEpoch,
    OneSlot,
    ReadBefore,
    ReadEnded,
    SetImage,
    SetTruth,
    TakeOver,
}

impl Step {
    /// Whether it puts an inner map in the place of another.
    fn replaces(self) -> bool {
        use Step::{ClearEnded, EmptyFresh, EmptyTruth, SetImage, SetTruth};
        matches!(self, ClearEnded | EmptyFresh | EmptyTruth | SetImage | SetTruth)
    }
}

/// What a decision reads, other than the control words.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Read {
    Fresh,
    Older,
    Truth,
}

/// What the two sides do, in order.
#[derive(Clone, Debug)]
pub struct Protocol {
    pub turn: Vec<Step>,
    pub reload: Vec<Step>,
    pub reads: [Read; 3],
    /// Whether the kernel, when it has replaced an inner map, waits as it does for a fence.
    pub replacing_waits: bool,
}

/// The protocol, and how much of it is explored.
#[derive(Clone, Debug)]
pub struct Exploration {
    pub protocol: Protocol,
    /// Turns and reloads, in any mixture.
    pub operations: u8,
    /// Steps of the daemon that the kernel may refuse.
    pub failures: u8,
    /// Answers that come, at most [`ANSWERS`].
    pub answers: usize,
}

/// One answer of a bitmap for each version: which policies' bits a map holds for its address.
type Bindings = [u8; ANSWERS];

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct State {
    // Maps.
    version: u8,
    epoch: u8,
    slots: u8,
    images: [u8; 2],
    fresh: [Bindings; 4],
    truth: [Bindings; 2],
    /// Answers in the ring.
    ring: u8,
    // Programs.
    binders: [Binder; ANSWERS],
    decider: Decider,
    // The daemon.
    daemon: Daemon,
    // What must not happen, but for a loss.
    /// A decision saw nothing of an answer that was delivered before it began.
    gap: bool,
    /// A decision read what was meant for another policy.
    mixed: bool,
    /// A binding was kept as one without a name, although its record was not lost.
    nameless: bool,
    /// An operation came to its end and has not done what it is for.
    undone: bool,
    /// Answers whose record was lost.
    lost: u8,
}

/// `bind_answer` for each slot, then `hand_over`, then the packet is queued.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Binder {
    Awaited,
    Parse { slots: u8 },
    Bind { slots: u8, slot: u8, image: u8 },
    Fetch { slots: u8, slot: u8, image: u8, epoch: u8 },
    Insert { slots: u8, image: u8, place: u8, replaced: bool },
    HandOver,
    Deliver,
    Delivered,
}

/// `judge`, for an address that was delivered before it began.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Decider {
    Idle,
    Version { answer: u8 },
    Epoch { answer: u8, version: u8 },
    Image { answer: u8, version: u8, epoch: u8 },
    Read { answer: u8, version: u8, epoch: u8, seen: bool, at: u8 },
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
struct Daemon {
    operation: Option<Operation>,
    at: u8,
    /// The programs that the kernel waits for before the step is over.
    awaits: Option<u8>,
    version: u8,
    epoch: u8,
    /// The version in force when the operation began, and the one that it is about.
    old: u8,
    new: u8,
    /// The epoch when the operation began.
    ended: u8,
    /// Read from fresh bindings.
    bound: u8,
    /// In the name table, with a name or without.
    known: u8,
    operations: u8,
    failures: u8,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Operation {
    Reload,
    Turn,
}

/// Who goes on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    Begin(Operation),
    Bind(u8),
    Connect(u8),
    Decide,
    Drain,
    Fail,
    LoseRecord(u8),
    Operate,
}

impl Model for Exploration {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let daemon = Daemon {
            operation: None,
            at: 0,
            awaits: None,
            version: 1,
            epoch: 0,
            old: 0,
            new: 0,
            ended: 0,
            bound: 0,
            known: 0,
            operations: self.operations,
            failures: self.failures,
        };
        vec![State {
            version: 1,
            epoch: 0,
            slots: 1 << 1,
            images: [0, 1],
            fresh: [[0; ANSWERS]; 4],
            truth: [[0; ANSWERS]; 2],
            ring: 0,
            binders: [Binder::Awaited; ANSWERS],
            decider: Decider::Idle,
            daemon,
            gap: false,
            mixed: false,
            nameless: false,
            undone: false,
            lost: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.is_wrong() {
            return;
        }
        for answer in 0..self.answers as u8 {
            match state.binders[usize::from(answer)] {
                Binder::Delivered if state.decider == Decider::Idle => actions.push(Action::Connect(answer)),
                Binder::Delivered => {}
                Binder::HandOver => actions.extend([Action::Bind(answer), Action::LoseRecord(answer)]),
                _ => actions.push(Action::Bind(answer)),
            }
        }
        if state.decider != Decider::Idle {
            actions.push(Action::Decide);
        }
        let Daemon { operation, at, awaits, operations, failures, .. } = state.daemon;
        match operation {
            None => {
                if operations > 0 {
                    actions.extend([Action::Begin(Operation::Turn), Action::Begin(Operation::Reload)]);
                }
                if state.ring != 0 {
                    actions.push(Action::Drain);
                }
            }
            Some(_) if awaits.is_some_and(|programs| programs != 0) => {}
            Some(_) => {
                actions.push(Action::Operate);
                let step = self.steps(state)[usize::from(at)];
                if failures > 0 && awaits.is_none() && step != Step::TakeOver {
                    actions.push(Action::Fail);
                }
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Begin(operation) => {
                let daemon = &mut state.daemon;
                daemon.operations -= 1;
                daemon.operation = Some(operation);
                (daemon.old, daemon.ended) = (daemon.version, daemon.epoch);
                daemon.new = daemon.version + u8::from(operation == Operation::Reload);
            }
            Action::Bind(answer) => state.bind(answer),
            Action::Connect(answer) => state.decider = Decider::Version { answer },
            Action::Decide => state.decide(&self.protocol.reads),
            Action::Drain => state.drain(),
            Action::Fail => state.fail(),
            Action::LoseRecord(answer) => {
                state.lost |= 1 << answer;
                state.binders[usize::from(answer)] = Binder::Deliver;
            }
            Action::Operate => state.operate(self.steps(last), self.protocol.replacing_waits),
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(RIGHT, |_, state: &State| !state.is_wrong()),
            Property::sometimes("an answer whose record was lost is kept", |_, state: &State| {
                state.lost & state.daemon.known != 0
            }),
            Property::sometimes("an answer is bound for both policies", |_, state: &State| {
                state.fresh[0][0] != 0 && state.fresh[2][0] != 0
            }),
            Property::sometimes("what was learned is only in truth", |_, state: &State| {
                let fresh = state.fresh.iter().any(|bindings| bindings[0] != 0);
                !fresh && state.truth[usize::from(state.version & 1)][0] != 0
            }),
        ]
    }
}

impl Exploration {
    fn steps(&self, state: &State) -> &[Step] {
        match state.daemon.operation {
            Some(Operation::Reload) => &self.protocol.reload,
            Some(Operation::Turn) => &self.protocol.turn,
            None => &[],
        }
    }
}

impl State {
    fn is_wrong(&self) -> bool {
        self.gap || self.mixed || self.nameless || self.undone
    }

    /// The programs that run.
    fn running(&self) -> u8 {
        let mut running = if self.decider == Decider::Idle { 0 } else { DECIDER };
        for (number, binder) in self.binders.iter().enumerate() {
            if !matches!(binder, Binder::Awaited | Binder::Delivered) {
                running |= 1 << number;
            }
        }
        running
    }

    fn end(&mut self, program: u8) {
        if let Some(programs) = &mut self.daemon.awaits {
            *programs &= !program;
        }
    }

    fn bind(&mut self, answer: u8) {
        let number = usize::from(answer);
        self.binders[number] = match self.binders[number] {
            Binder::Awaited => Binder::Parse { slots: self.slots },
            Binder::Parse { slots } => {
                let slot = u8::from(slots & 1 == 0);
                Binder::Bind { slots: slots & !(1 << slot), slot, image: 1 << self.images[usize::from(slot)] }
            }
            Binder::Bind { slots, slot, image } => {
                let mixed = image != 1 << self.images[usize::from(slot)];
                Binder::Fetch { slots, slot, image: if mixed { MIXED } else { image }, epoch: self.epoch & 1 }
            }
            Binder::Fetch { slots, slot, image, epoch } => {
                Binder::Insert { slots, image, place: slot * 2 + epoch, replaced: false }
            }
            Binder::Insert { slots, image, place, replaced } => {
                if !replaced {
                    self.fresh[usize::from(place)][number] |= image;
                }
                if slots == 0 { Binder::HandOver } else { Binder::Parse { slots } }
            }
            Binder::HandOver => {
                self.ring |= 1 << answer;
                Binder::Deliver
            }
            Binder::Deliver | Binder::Delivered => {
                self.end(1 << answer);
                Binder::Delivered
            }
        };
    }

    fn decide(&mut self, reads: &[Read; 3]) {
        self.decider = match self.decider {
            Decider::Idle => Decider::Idle,
            Decider::Version { answer } => Decider::Epoch { answer, version: self.version },
            Decider::Epoch { answer, version } => Decider::Image { answer, version, epoch: self.epoch & 1 },
            Decider::Image { answer, version, epoch } => {
                self.mixed |= self.images[usize::from(version & 1)] != version;
                Decider::Read { answer, version, epoch, seen: false, at: 0 }
            }
            Decider::Read { answer, version, epoch, seen, at } => {
                let slot = version & 1;
                let map = match reads[usize::from(at)] {
                    Read::Fresh => &self.fresh[usize::from(slot * 2 + epoch)],
                    Read::Older => &self.fresh[usize::from(slot * 2 + (epoch ^ 1))],
                    Read::Truth => &self.truth[usize::from(slot)],
                };
                let binding = map[usize::from(answer)];
                self.mixed |= binding & !(1 << version) != 0;
                let seen = seen || binding != 0;
                if at < 2 {
                    Decider::Read { answer, version, epoch, seen, at: at + 1 }
                } else {
                    self.gap |= !seen;
                    self.end(DECIDER);
                    Decider::Idle
                }
            }
        };
    }

    fn drain(&mut self) {
        self.daemon.known |= self.ring;
        self.ring = 0;
    }

    /// One step of the daemon's, or the end of its waiting.
    fn operate(&mut self, steps: &[Step], replacing_waits: bool) {
        let step = steps[usize::from(self.daemon.at)];
        if self.daemon.awaits.is_none() {
            self.take(step);
            let waits = step == Step::Fence || replacing_waits && step.replaces();
            if waits && self.running() != 0 {
                self.daemon.awaits = Some(self.running());
                return;
            }
        }
        self.daemon.awaits = None;
        self.daemon.at += 1;
        if usize::from(self.daemon.at) == steps.len() {
            let Daemon { operation, old, new, ended, .. } = self.daemon;
            self.undone = match operation {
                Some(Operation::Reload) => (self.version, self.slots) != (new, 1 << (new & 1)),
                _ => self.epoch == ended || self.fresh[place(old, ended)] != [0; ANSWERS],
            };
            self.rest();
        }
    }

    fn rest(&mut self) {
        let idle = Daemon {
            operation: None,
            at: 0,
            awaits: None,
            old: 0,
            new: 0,
            ended: 0,
            bound: 0,
            ..self.daemon
        };
        self.daemon = idle;
    }

    /// The kernel refuses the step: the operation ends there, as `Engine::turn` and `Engine::reload` end it.
    fn fail(&mut self) {
        let Daemon { operation, version, old, .. } = self.daemon;
        if operation == Some(Operation::Reload) && version == old {
            self.slots = 1 << (old & 1);
        }
        self.daemon.failures -= 1;
        self.rest();
    }

    fn take(&mut self, step: Step) {
        let Daemon { old, new, ended, known, .. } = self.daemon;
        match step {
            Step::BothSlots => self.slots = 1 << (old & 1) | 1 << (new & 1),
            Step::ClearEnded => self.clear(old, ended),
            Step::EmptyFresh => {
                self.clear(new, 0);
                self.clear(new, 1);
            }
            Step::EmptyTruth => self.truth[usize::from(new & 1)] = [0; ANSWERS],
            Step::Fence => {}
            Step::Flip => (self.version, self.daemon.version) = (new, new),
            Step::NextEpoch => (self.epoch, self.daemon.epoch) = (ended + 1, ended + 1),
            Step::OneSlot => self.slots = 1 << (self.daemon.version & 1),
            Step::ReadBefore => self.read(old, ended.wrapping_sub(1)),
            Step::ReadEnded => self.read(old, ended),
            Step::SetImage => self.images[usize::from(new & 1)] = new,
            Step::SetTruth => {
                let binding = |answer| if known & (1_u8 << answer) == 0 { 0 } else { 1 << new };
                self.truth[usize::from(new & 1)] = array::from_fn(binding);
            }
            Step::TakeOver => {
                self.drain();
                let bound = self.daemon.bound;
                self.nameless |= bound & !self.daemon.known & !self.lost != 0;
                self.daemon.known |= bound;
            }
        }
    }

    fn read(&mut self, version: u8, epoch: u8) {
        for (answer, binding) in self.fresh[place(version, epoch)].iter().enumerate() {
            if *binding != 0 {
                self.daemon.bound |= 1 << answer;
            }
        }
    }

    /// Puts an empty map in the place of fresh bindings. Who has found the old one writes there.
    fn clear(&mut self, version: u8, epoch: u8) {
        let cleared = place(version, epoch);
        self.fresh[cleared] = [0; ANSWERS];
        for binder in &mut self.binders {
            if let Binder::Insert { place, replaced, .. } = binder
                && usize::from(*place) == cleared
            {
                *replaced = true;
            }
        }
    }
}

fn place(version: u8, epoch: u8) -> usize {
    usize::from((version & 1) * 2 + (epoch & 1))
}
