use super::*;
use crate::repeat::HostLoop;
use proptest::prelude::*;

/// A segment, and what the program remembers of the connection it belongs to.
#[derive(Debug)]
struct Connection<'a> {
    segment: &'a [u8],
    partial: &'a mut Vec<u8>,
    taken: Vec<u8>,
    judged: &'a mut Vec<Vec<u8>>,
    refuses: bool,
}

impl Bytes for Connection<'_> {
    type Loop = HostLoop;

    fn load<const N: usize>(&self, at: u32) -> Option<[u8; N]> {
        self.segment.load(at)
    }

    fn length(&self) -> u32 {
        self.segment.length()
    }
}

impl Messages for Connection<'_> {
    fn take(&mut self, at: u32, length: u32) -> bool {
        self.taken = self.segment[at as usize..][..length as usize].to_vec();
        true
    }

    fn keep(&mut self, at: u32, offset: u32, length: u32) -> bool {
        assert!(length as usize <= PIECE_MAX && offset as usize <= MESSAGE_MAX);
        self.partial.resize(size_of::<Partial>(), 0);
        self.partial[offset as usize..][..length as usize]
            .copy_from_slice(&self.segment[at as usize..][..length as usize]);
        true
    }

    fn assemble(&mut self, length: u32) -> bool {
        self.taken = self.partial[..length as usize].to_vec();
        true
    }

    fn judge(&mut self, length: u32) -> bool {
        assert_eq!(self.taken.len(), length as usize);
        if self.refuses {
            return false;
        }
        self.judged.push(self.taken.clone());
        true
    }

    fn number(&self, at: u32) -> u16 {
        let byte = |at: u32| self.taken.get(at as usize).copied().unwrap_or(0);
        u16::from_be_bytes([byte(at), byte(at + 1)])
    }
}

/// A connection with the socket at its end.
#[derive(Debug)]
struct Model {
    stream: Stream,
    partial: Vec<u8>,
    judged: Vec<Vec<u8>>,
    /// What the socket has taken.
    socket: Vec<u8>,
    /// What came early.
    waiting: Vec<(u32, Vec<u8>)>,
    /// Sequence number of the first byte.
    start: u32,
}

impl Model {
    fn new(start: u32) -> Self {
        let stream = Stream::new(0, start);
        Self {
            stream,
            partial: Vec::new(),
            judged: Vec::new(),
            socket: Vec::new(),
            waiting: Vec::new(),
            start,
        }
    }

    fn expected(&self) -> u32 {
        self.start.wrapping_add(self.socket.len() as u32)
    }

    /// A segment arrives; returns whether it is delivered. `refuses` a message in it, if it has one.
    fn arrives(&mut self, sequence: u32, segment: &[u8], refuses: bool) -> bool {
        let length = segment.len() as u32;
        let head = || segment.first_chunk().copied();
        let skip = match self.stream.order(sequence, length, self.expected(), head) {
            Order::Old => return true,
            Order::Next(skip) => skip,
            Order::Out | Order::Unknown => return false,
        };
        let mut reader = self.stream.reader(skip, length, sequence.wrapping_add(length));
        let Self { partial, judged, .. } = self;
        let mut connection = Connection { segment, partial, taken: Vec::new(), judged, refuses };
        if reader.read(&mut connection) == End::Done {
            self.stream.advance(&reader);
            true
        } else {
            self.stream.stay(&reader);
            false
        }
    }

    /// What TCP makes of a segment that is delivered: one that comes early waits until it fits.
    fn takes(&mut self, sequence: u32, segment: &[u8]) {
        self.waiting.push((sequence, segment.to_vec()));
        let fits = |expected: u32, (sequence, segment): &(u32, Vec<u8>)| {
            (expected.wrapping_sub(*sequence) as usize) < segment.len()
        };
        while let Some(at) = self.waiting.iter().position(|waiting| fits(self.expected(), waiting)) {
            let (sequence, segment) = self.waiting.swap_remove(at);
            let known = self.expected().wrapping_sub(sequence);
            self.socket.extend(&segment[known as usize..]);
        }
    }
}

/// The messages in a stream, as far as they are judged.
fn messages(mut stream: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((length, rest)) = stream.split_first_chunk() {
        let length = usize::from(u16::from_be_bytes(*length));
        let judged = if length < 12 { 0 } else { length.min(MESSAGE_MAX) };
        if judged > 0 && rest.len() >= judged {
            found.push(rest[..judged].to_vec());
        }
        let Some(rest) = rest.get(length..) else { break };
        stream = rest;
    }
    found
}

fn stream_of(lengths: &[u16]) -> Vec<u8> {
    let message = |(number, length): (usize, &u16)| {
        let body = (0..*length).map(move |at| (usize::from(at) * 7 + number) as u8);
        length.to_be_bytes().into_iter().chain(body)
    };
    lengths.iter().enumerate().flat_map(message).collect()
}

fn lengths() -> impl Strategy<Value = Vec<u16>> {
    let length = prop_oneof![0_u16..40, 40_u16..600, 4000_u16..4200, 4096_u16..20_000];
    prop::collection::vec(length, 1..8)
}

proptest! {
    #[test]
    fn every_message_is_judged_wherever_segments_end(
        lengths in lengths(),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
        start in any::<u32>(),
    ) {
        let stream = stream_of(&lengths);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len())).collect();
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let mut model = Model::new(start);
        for ends in cuts.windows(2).filter(|ends| ends[0] < ends[1]) {
            let sequence = start.wrapping_add(ends[0] as u32);
            prop_assert!(model.arrives(sequence, &stream[ends[0]..ends[1]], false));
            model.takes(sequence, &stream[ends[0]..ends[1]]);
        }
        prop_assert_eq!(model.judged, messages(&stream));
    }

    /// Segments come in any order, are lost, repeat themselves and say something else the second time; some are refused,
    /// some delivered and then not taken. What the socket takes in the end was judged, as the socket takes it.
    #[test]
    fn the_socket_takes_nothing_that_was_not_judged(
        start in any::<u32>(),
        segments in prop::collection::vec(
            (
                -4_i32..4,
                prop::collection::vec(prop::sample::select(vec![0_u8, 0, 0, 0, 1, 12, 13, 14, 15, 30]), 1..60),
                prop::bool::weighted(0.1),
                prop::bool::weighted(0.2),
            ),
            1..60,
        ),
    ) {
        let mut model = Model::new(start);
        for (from, segment, refuses, lost) in &segments {
            // Mostly the next bytes, so that something gets through.
            let from = if *from % 2 == 0 { 0 } else { *from };
            let sequence = model.expected().wrapping_add(from as u32);
            if model.arrives(sequence, segment, *refuses) && !lost {
                model.takes(sequence, segment);
            }
        }
        let mut judged = model.judged.iter();
        for message in messages(&model.socket) {
            prop_assert!(judged.any(|found| *found == message), "{message:?} was not judged");
        }
    }
}

#[test]
fn one_byte_at_a_time() {
    let stream = stream_of(&[12, 0, 300, 5, 5000, 13]);
    let mut model = Model::new(u32::MAX - 100);
    for (at, byte) in stream.iter().enumerate() {
        let sequence = model.start.wrapping_add(at as u32);
        assert!(model.arrives(sequence, &[*byte], false));
        model.takes(sequence, &[*byte]);
    }
    assert_eq!(model.judged, messages(&stream));
    assert_eq!(model.judged.len(), 4);
}

#[test]
fn what_was_refused_is_refused_again() {
    let stream = stream_of(&[100, 100]);
    let mut model = Model::new(7);
    assert!(model.arrives(7, &stream[..50], true));
    model.takes(7, &stream[..50]);
    for _ in 0..3 {
        assert!(!model.arrives(57, &stream[50..], true));
    }
    assert!(model.arrives(57, &stream[50..], false), "it was refused for a reason that has gone");
    assert_eq!(model.judged, messages(&stream));
}

#[test]
fn a_segment_that_may_not_have_been_taken_is_not_read_as_another_one() {
    let (first, second) = (stream_of(&[20]), [0, 20].into_iter().chain([9; 20]).collect::<Vec<u8>>());
    let mut model = Model::new(0);
    // Delivered, and dropped by TCP, for its checksum say.
    assert!(model.arrives(0, &first, false));
    assert!(!model.arrives(0, &second, false));
}

#[test]
fn a_stream_not_seen_from_its_start_is_known_from_an_answer_on() {
    let answer = [0, 12, 1, 2, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
    let mut stream = Stream::new(1000, 50);
    let mut order = |sequence, expected, segment: &[u8]| {
        stream.order(sequence, segment.len() as u32, expected, || segment.first_chunk().copied())
    };
    assert_eq!(order(50, 50, &[7; 40]), Order::Unknown);
    assert_eq!(order(50, 50, &answer[1..]), Order::Unknown);
    assert_eq!(order(60, 50, &answer), Order::Unknown);
    assert_eq!(order(40, 54, &answer), Order::Old);
    assert_eq!(order(50, 50, &answer), Order::Next(0));
    assert_eq!(order(64, 50, &[1]), Order::Out);
}

#[test]
fn doubt_outlives_a_gap() {
    let answer = [0, 12, 1, 2, 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0];
    let mut stream = Stream::new(0, 50);
    assert!(!stream.is_doubted());
    stream.doubt();
    stream.lose();
    assert_eq!(stream.order(50, 14, 50, || Some(answer)), Order::Next(0));
    assert!(stream.is_doubted());
}

#[test]
fn what_was_kept_is_not_taken_for_that_of_another_message() {
    let stream = stream_of(&[20]);
    let mut model = Model::new(0);
    assert!(model.arrives(0, &stream[..12], false));
    model.takes(0, &stream[..12]);
    // The rest, nothing many times, and the beginning of a long message, which is kept in two pieces.
    let nothing = vec![0; (PIECES_MAX as usize - 2) * 2];
    let long = [&4000_u16.to_be_bytes()[..], &[9; 3000]].concat();
    assert!(!model.arrives(12, &[&stream[12..], &nothing, &long].concat(), false));
    model.judged.clear();
    assert!(!model.arrives(12, &stream[12..], false));
    assert_eq!(model.judged, Vec::<Vec<u8>>::new());
}

#[test]
fn messages_without_a_question_are_those_of_a_zone_transfer() {
    let message = |questions: u8, question: &[u8]| {
        let message = [&[1, 2, 0x84, 0, 0, questions, 0, 1, 0, 0, 0, 0], question].concat();
        [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat()
    };
    let judged = |kind: u8| {
        let question = [&b"\x04zone\x07example\0\0"[..], &[kind, 0, 1]].concat();
        let stream = [message(1, &question), message(0, b"records"), message(0, b"more")].concat();
        let mut model = Model::new(0);
        assert!(model.arrives(0, &stream[..40], false));
        model.takes(0, &stream[..40]);
        assert!(model.arrives(40, &stream[40..], false));
        model.judged.len()
    };
    assert_eq!((judged(252), judged(251)), (1, 1));
    assert_eq!((judged(1), judged(255)), (3, 3));
}

#[test]
fn more_messages_than_are_read_of_one_segment() {
    let stream = stream_of(&vec![0; PIECES_MAX as usize + 1]);
    let mut model = Model::new(0);
    assert!(!model.arrives(0, &stream, false));
}
