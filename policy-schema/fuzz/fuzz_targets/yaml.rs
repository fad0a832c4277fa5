//! Any bytes as a policy file.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy_schema_fuzz::yaml;

fuzz_target!(|data: &[u8]| yaml::check(data));
