//! Any body, any content and any bill of WeChat Pay: what is believed means something, and nothing panics.
#![no_main]

#[path = "../wechat_checks.rs"]
#[allow(dead_code, reason = "each target uses its part")]
mod checks;

use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static STAND: LazyLock<checks::Stand> = LazyLock::new(checks::Stand::new);

fuzz_target!(|input: &[u8]| {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    match kind % 4 {
        0 => drop(STAND.body(rest)),
        1 => drop(STAND.content("TRANSACTION.SUCCESS", "transaction", rest)),
        2 => drop(STAND.content("REFUND.SUCCESS", "refund", rest)),
        _ => STAND.bill(rest),
    }
});
