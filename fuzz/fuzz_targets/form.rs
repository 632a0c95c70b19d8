//! Hands libFuzzer's bytes to the check that the ordinary tests run too.
#![no_main]

#[path = "../bodies/form.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::run(data));
