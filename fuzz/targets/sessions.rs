//! Sessions of any steps.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| parallel_dispatch::transport::fuzz_sessions(bytes));
