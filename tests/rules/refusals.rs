//! Rule **refusals are data**: a refused command changes nothing, and where several reasons hold the first is given:
//! malformed, key conflict, not found, wrong state, expired, insufficient.

use crate::check;

#[test]
fn malformed_comes_before_everything() {
    check(
        "
        at 0s  grant    alice 10 purchase key k         -> ok
        at 0s  consume  alice 0 key k                   -> refused validation field amount limit 1 value 0
        at 0s  confirm  nothing amount 0 key k          -> refused validation field amount limit 1 value 0
        at 0s  refund   nothing amount -1               -> refused validation field amount limit 1 value -1
        at 0s  extend   nothing 0s                      -> refused validation field ttl
        at 0s  clawback alice nothing amount 0 key k    -> refused validation field amount limit 1 value 0
        ",
    );
}

#[test]
fn a_key_conflict_comes_before_not_found_state_expiry_and_funds() {
    check(
        "
        at 0s   grant    alice 10 purchase key k             -> ok
        at 0s   clawback alice nothing key k                 -> refused idempotency_conflict key k
        at 0s   consume  alice 99 key k                      -> refused idempotency_conflict key k
        at 0s   grant    alice 10 purchase expires 0s key k  -> refused idempotency_conflict key k
        at 0s   consume  alice 1 ttl 60s as h                -> pending
        at 0s   consume  alice 1 ttl 60s as g                -> pending
        at 0s   confirm  h                                   -> confirmed
        at 0s   extend   h 60s key k                         -> refused idempotency_conflict key k
        at 60s  confirm  g key k                             -> refused idempotency_conflict key k
        at 60s  confirm  g amount 99 late recharge overage available key k -> refused idempotency_conflict key k
        ",
    );
}

#[test]
fn not_found() {
    check(
        "
        at 0s  confirm  nothing                      -> refused not_found what consumption
        at 0s  refund   nothing amount 5             -> refused not_found what consumption
        at 0s  extend   nothing 60s                  -> refused not_found what consumption
        at 0s  confirm  nothing key k                -> refused not_found what consumption
        at 0s  clawback alice nothing                -> refused not_found what lot
        ",
    );
}

#[test]
fn wrong_state_names_the_state() {
    check(
        "
        at 0s   grant   alice 100 purchase               -> ok
        at 0s   consume alice 10 ttl 60s as confirmed    -> pending
        at 0s   consume alice 10 ttl 60s as refunded     -> pending
        at 0s   consume alice 10 ttl 60s as expired      -> pending
        at 0s   confirm confirmed                        -> confirmed
        at 0s   refund  refunded                         -> refunded
        at 99s  extend  confirmed 60s                    -> refused invalid_state state confirmed
        at 99s  extend  refunded 60s                     -> refused invalid_state state refunded
        at 99s  extend  expired 60s                      -> refused hold_expired at 60s
        at 99s  confirm confirmed amount 5               -> refused invalid_state state confirmed
        at 99s  confirm refunded amount 999              -> refused invalid_state state refunded
        at 99s  refund  refunded amount 5                -> refused invalid_state state refunded
        at 99s  confirm expired amount 999               -> refused hold_expired at 60s
        ",
    );
}

#[test]
fn expired_comes_before_insufficient() {
    check(
        "
        at 0s   grant   alice 10 purchase expires 30s           -> ok
        at 0s   consume alice 10 ttl 60s as h                   -> pending
        at 60s  confirm h amount 99 overage available           -> refused hold_expired at 60s
        at 60s  confirm h late recharge                         -> refused insufficient_credits required 10 available 0
        ",
    );
}

#[test]
fn a_refusal_changes_nothing() {
    check(
        "
        at 0s  grant   alice 10 purchase as a                   -> ok seq 1
        at 0s  consume alice 10 as h                            -> pending
        at 0s  consume alice 1                                  -> refused insufficient_credits required 1 available 0
        at 0s  confirm h amount 11                              -> refused validation field amount limit 10 value 11
        at 0s  confirm h amount 11 overage available            -> refused insufficient_credits required 1 available 0
        at 0s  refund  h amount 1                               -> refused validation field amount limit 10 value 1
        at 0s  clawback alice a amount 11                       -> refused validation field amount limit 10 value 11
        at 0s  show    h                                        -> pending lots a:10 captured 0 settled none
        at 0s  balance alice                                    -> available 0 held 10 granted 10 spent 0
        at 0s  grant   alice 1 purchase                         -> ok seq 3
        ",
    );
}

#[test]
fn insufficient_says_what_is_required_and_what_could_be_spent() {
    check(
        "
        at 0s  grant   alice 10 purchase                -> ok
        at 0s  limit   alice 5                          -> ok
        at 0s  consume alice 16                         -> refused insufficient_credits required 16 available 15
        at 0s  adjust  alice -11                        -> refused insufficient_credits required 11 available 10
        at 0s  consume alice 15                         -> pending available -5
        at 0s  consume alice 1                          -> refused insufficient_credits required 1 available 0
        at 0s  limit   alice 0                          -> ok
        at 0s  consume alice 1                          -> refused insufficient_credits required 1 available 0
        ",
    );
}
