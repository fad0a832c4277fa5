//! What holds for any policy file and any list, checked by the fuzz targets over what libFuzzer makes up, and by
//! `tests/fuzz_corpus.rs` of `policy-schema` over the committed corpus.
//!
//! Only the public interface is used, so that the insides can be rewritten under these checks.

pub mod finding;
pub mod list;
pub mod yaml;
