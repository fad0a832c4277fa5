//! What holds for any bytes as a DNS answer, checked by the fuzz target over what libFuzzer makes up, and by
//! `tests/fuzz_corpus.rs` of `enforcer` over the committed corpus.

pub mod answer;
