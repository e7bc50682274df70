//! Any bytes: a bill of Alipay's or a refusal.
#![no_main]

#[path = "../alipay.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod alipay;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| alipay::bill(bytes));
