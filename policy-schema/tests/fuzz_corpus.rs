//! Replays what the fuzz targets have found worth keeping through the same checks, with the stable toolchain.

#![expect(
    clippy::panic,
    clippy::expect_used,
    reason = "the checks report by panicking, as libFuzzer wants it"
)]

use std::fs;
use std::panic::{RefUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use policy_schema::ListFormat;

#[path = "../fuzz/src/lib.rs"]
mod checks;

/// Runs a check over the committed corpus of a target, all of it.
fn replay(target: &str, check: impl Fn(&[u8]) + RefUnwindSafe) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&folder).expect("the corpus is there");
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("the corpus can be read").path()).collect();
    let fails = |path: &&PathBuf| {
        let input = fs::read(path).expect("an input can be read");
        catch_unwind(|| check(&input)).is_err()
    };
    let failed: Vec<&PathBuf> = paths.iter().filter(fails).collect();
    assert!(failed.is_empty(), "of {} inputs: {failed:#?}", paths.len());
    assert!(paths.len() > 20, "the corpus of `{target}` shrank to {} inputs", paths.len());
}

#[test]
fn adblock() {
    replay("adblock", |data| checks::list::check(ListFormat::AdBlock, data));
}

#[test]
fn hosts() {
    replay("hosts", |data| checks::list::check(ListFormat::Hosts, data));
}

#[test]
fn plain() {
    replay("plain", |data| checks::list::check(ListFormat::Plain, data));
}

#[test]
fn rpz() {
    replay("rpz", |data| checks::list::check(ListFormat::Rpz, data));
}

#[test]
fn yaml() {
    replay("yaml", checks::yaml::check);
}
