//! libFuzzer's way into [`fuzz::cel`].

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::cel(data));
