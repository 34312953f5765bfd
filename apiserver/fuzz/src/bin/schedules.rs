#![no_main]

#[path = "../../targets.rs"]
#[allow(dead_code, reason = "each program uses its target")]
mod targets;

libfuzzer_sys::fuzz_target!(|text: &str| targets::schedules(text));
