//! Any text: a rate card or a refusal, and what is a card can be stored, quoted, frozen and read back.
#![no_main]

#[path = "../checks.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod checks;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| checks::card(text));
