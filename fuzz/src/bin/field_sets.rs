//! libFuzzer's way into [`fuzz::field_sets`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::field_sets(data));
