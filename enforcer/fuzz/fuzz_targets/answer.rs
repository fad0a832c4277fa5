//! Any bytes as a DNS answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| enforcer_fuzz::answer::check(data));
