//! Any body of a notification: refused, or read for what it is.
#![no_main]

#[path = "../alipay.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod alipay;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| alipay::notification(body));
