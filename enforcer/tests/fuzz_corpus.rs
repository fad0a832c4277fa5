//! Replays what the fuzz target has found worth keeping through the same checks, with the stable toolchain.

#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the checks report by panicking, as libFuzzer wants it"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[path = "../fuzz/src/lib.rs"]
mod checks;

/// The committed corpus, each input with its file.
fn corpus() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/answer");
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    paths.sort();
    paths.into_iter().map(|path| (path.clone(), fs::read(path).expect("an input can be read"))).collect()
}

fn fails(input: &[u8]) -> bool {
    catch_unwind(|| checks::answer::check(input)).is_err()
}

#[test]
fn answer() {
    let corpus = corpus();
    let failed: Vec<_> = corpus.iter().filter(|(_, input)| fails(input)).map(|(path, _)| path).collect();
    assert!(failed.is_empty(), "of {} inputs: {failed:#?}", corpus.len());
    assert!(corpus.len() > 20, "the corpus shrank to {} inputs", corpus.len());
}

/// What blind changes make of the corpus: a fuzzer for those without nightly. With `ENFORCER_SOAK` ten minutes.
#[test]
fn changed_answers() {
    let corpus: Vec<Vec<u8>> = corpus().into_iter().map(|(_, input)| input).collect();
    let time = Duration::from_secs(if std::env::var_os("ENFORCER_SOAK").is_some() { 600 } else { 5 });
    let (start, mut random, mut count) = (Instant::now(), Random(0x9e37_79b9_7f4a_7c15), 0_u64);
    while start.elapsed() < time || count < 10_000 {
        let mut input = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(6) {
            change(&mut input, &corpus, &mut random);
        }
        if fails(&input) {
            let hex: String = input.iter().map(|byte| format!("{byte:02x}")).collect();
            panic!("after {count} inputs: {hex}");
        }
        count += 1;
    }
    println!("{count} inputs");
}

/// One change at a place of its own: a byte, part of another input, a piece less, a piece twice.
fn change(input: &mut Vec<u8>, corpus: &[Vec<u8>], random: &mut Random) {
    const TELLING: [u8; 16] = [0, 1, 2, 4, 5, 6, 12, 16, 28, 39, 64, 65, 0x80, 0xc0, 0xc1, 0xff];
    let place = random.below(input.len() + 1);
    let length = random.below(24).min(input.len() - place);
    match random.below(6) {
        0 if place < input.len() => input[place] = TELLING[random.below(TELLING.len())],
        1 if place < input.len() => input[place] = random.below(256) as u8,
        2 if place < input.len() => input[place] ^= 1 << random.below(8),
        3 => drop(input.drain(place..place + length)),
        4 => {
            let piece = input[place..place + length].to_vec();
            let to = random.below(input.len() + 1);
            input.splice(to..to, piece);
        }
        _ => {
            let other = &corpus[random.below(corpus.len())];
            let from = random.below(other.len() + 1);
            let piece = other[from..(from + random.below(60)).min(other.len())].to_vec();
            input.splice(place..place, piece);
        }
    }
    input.truncate(4200);
}

/// xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        ((self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize) % bound.max(1)
    }
}
