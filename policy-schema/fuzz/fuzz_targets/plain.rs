//! Any bytes as a list of one name a line.
#![no_main]

use libfuzzer_sys::fuzz_target;
use policy_schema::ListFormat;
use policy_schema_fuzz::list;

fuzz_target!(|data: &[u8]| list::check(ListFormat::Plain, data));
