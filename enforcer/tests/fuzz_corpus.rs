//! Replays what the fuzz target has found worth keeping through the same checks, with the stable toolchain.

#![expect(
    missing_docs,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "the checks report by panicking, as libFuzzer wants it"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
mod checks;

#[test]
fn answer() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/answer");
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    let fails = |path: &&PathBuf| {
        let input = fs::read(path).expect("an input can be read");
        catch_unwind(|| checks::answer::check(&input)).is_err()
    };
    let failed: Vec<&PathBuf> = paths.iter().filter(fails).collect();
    assert!(failed.is_empty(), "of {} inputs: {failed:#?}", paths.len());
    assert!(paths.len() > 20, "the corpus shrank to {} inputs", paths.len());
}
