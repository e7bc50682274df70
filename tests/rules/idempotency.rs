//! Rule **idempotency**: the same key with the same request returns the first result, as it was.

use crate::check;

#[test]
fn every_command_replays_its_first_result_whatever_happened_since() {
    check(
        "
        at 0s   grant    alice 100 purchase expires 10d key grant as a           -> ok seq 1
        at 0s   gift     alice 7 reason hello key gift                           -> ok seq 2
        at 0s   adjust   alice -7 key adjust                                     -> ok seq 3
        at 0s   limit    alice 5 key limit                                       -> ok seq 4
        at 0s   consume  alice 50 ttl 60s key consume as h                       -> pending held 50
        at 1s   extend   h 1h key extend                                         -> pending expires 3601s
        at 2s   confirm  h amount 40 key confirm                                 -> confirmed captured 40
        at 3s   refund   h amount 10 key part                                    -> confirmed reversed 10
        at 4s   refund   h key rest                                              -> refunded reversed 40
        at 5s   clawback alice a amount 20 key clawback                          -> ok taken 20
        at 20d  grant    alice 100 purchase expires 10d key grant                -> replay amount 100 seq 1 available 7
        at 20d  gift     alice 7 reason hello key gift                           -> replay amount 7 seq 2
        at 20d  adjust   alice -7 key adjust                                     -> replay amount -7 seq 3
        at 20d  limit    alice 5 key limit                                       -> replay limit 5 seq 4
        at 20d  consume  alice 50 ttl 60s key consume                            -> replay amount 50 captured 0 settled none
        at 20d  extend   h 1h key extend                                         -> replay expires 3601s captured 0
        at 20d  confirm  h amount 40 key confirm                                 -> replay captured 40 reversed 0
        at 20d  refund   h amount 10 key part                                    -> replay reversed 10
        at 20d  refund   h key rest                                              -> replay reversed 40
        at 20d  clawback alice a amount 20 key clawback                          -> replay taken 20
        ",
    );
}

/// With a key made of the hold, whatever happens since: how a task takes a hold that others may want too.
#[test]
fn one_of_two_reasons_gets_the_key() {
    check(
        "
        at 0s   grant    alice 100 purchase                      -> ok
        at 0s   consume  alice 50 ttl 60s as h                   -> pending
        at 1s   extend   h 1s reason one key job-h               -> pending expires 60s
        at 2s   extend   h 1s reason two key job-h               -> refused idempotency_conflict key job-h
        at 2s   extend   h 1s key job-h                          -> refused idempotency_conflict key job-h
        at 3s   extend   h 1s reason one key job-h               -> replay expires 60s
        at 60s  extend   h 1s reason one key job-h               -> replay expires 60s
        at 60s  extend   h 1s reason two key job-h               -> refused idempotency_conflict key job-h
        at 60s  consume  alice 50 as g                           -> pending
        at 60s  confirm  g                                       -> confirmed
        at 60s  extend   g 1s reason one key job-g               -> refused invalid_state state confirmed
        at 60s  extend   h 1s reason one key job-again           -> refused hold_expired
        ",
    );
}

#[test]
fn another_request_with_the_key_is_a_conflict() {
    check(
        "
        at 0s  grant    alice 100 purchase key k as a            -> ok
        at 0s  grant    alice 101 purchase key k                 -> refused idempotency_conflict key k
        at 0s  grant    alice 100 bonus key k                    -> refused idempotency_conflict key k
        at 0s  grant    alice 100 purchase priority 1 key k      -> refused idempotency_conflict key k
        at 0s  grant    alice 100 purchase expires 9d key k      -> refused idempotency_conflict key k
        at 0s  grant    alice 100 purchase reference r key k     -> refused idempotency_conflict key k
        at 0s  grant    alice 100 purchase cost 1CNY key k       -> refused idempotency_conflict key k
        at 0s  gift     alice 100 key k                          -> refused idempotency_conflict key k
        at 0s  adjust   alice 100 key k                          -> refused idempotency_conflict key k
        at 0s  limit    alice 100 key k                          -> refused idempotency_conflict key k
        at 0s  consume  alice 100 key k                          -> refused idempotency_conflict key k
        at 0s  clawback alice a key k                            -> refused idempotency_conflict key k
        at 0s  consume  alice 10 key c as h                      -> pending
        at 0s  consume  alice 11 key c                           -> refused idempotency_conflict key c
        at 0s  consume  alice 10 ttl 5s key c                    -> refused idempotency_conflict key c
        at 0s  consume  alice 10 for image key c                 -> refused idempotency_conflict key c
        at 0s  consume  alice 10 reference r key c               -> refused idempotency_conflict key c
        at 0s  consume  alice 10 metadata {} key c               -> refused idempotency_conflict key c
        at 0s  confirm  h key c                                  -> refused idempotency_conflict key c
        at 0s  refund   h key c                                  -> refused idempotency_conflict key c
        at 0s  extend   h 60s key c                              -> refused idempotency_conflict key c
        at 0s  confirm  h key d                                  -> confirmed
        at 0s  confirm  h amount 10 key d                        -> refused idempotency_conflict key d
        at 0s  confirm  h overage debt key d                     -> refused idempotency_conflict key d
        at 0s  confirm  h late recharge key d                    -> refused idempotency_conflict key d
        at 0s  clawback alice a amount 1 key e                   -> ok
        at 0s  clawback alice a amount 1 shortfall debt key e    -> refused idempotency_conflict key e
        at 0s  clawback alice a amount 1 reason x key e          -> refused idempotency_conflict key e
        at 0s  refund   h amount 5 key f                         -> confirmed
        at 0s  refund   h amount 5 reason x key f                -> refused idempotency_conflict key f
        ",
    );
}

/// A field that is absent is not the same as an empty one, and neighbours do not run together.
#[test]
fn requests_that_only_look_alike_are_told_apart() {
    check(
        r#"
        at 0s  grant    alice 100 purchase                            -> ok
        at 0s  consume  alice 1 for ab reference c key k1             -> pending
        at 0s  consume  alice 1 for a reference bc key k1             -> refused idempotency_conflict key k1
        at 0s  consume  alice 1 for ab key k2                         -> pending
        at 0s  consume  alice 1 reference ab key k2                   -> refused idempotency_conflict key k2
        at 0s  consume  alice 1 key k3                                -> pending
        at 0s  consume  alice 1 reference "" key k3                   -> refused idempotency_conflict key k3
        at 0s  consume  alice 1 metadata "{\"a\":1,\"b\":2}" key k4   -> pending
        at 0s  consume  alice 1 metadata "{\"b\":2, \"a\":1}" key k4  -> replay held 4
        "#,
    );
}

#[test]
fn a_rejected_command_does_not_burn_its_key() {
    check(
        "
        at 0s  consume alice 10 key k         -> refused insufficient_credits required 10 available 0
        at 0s  grant   alice 10 purchase      -> ok
        at 0s  consume alice 5 key k as h     -> pending
        at 0s  confirm h amount 9 key c       -> refused validation field amount limit 5 value 9
        at 0s  confirm h amount 5 key c       -> confirmed
        at 0s  extend  h 60s key e            -> refused invalid_state state confirmed
        at 0s  refund  h key e                -> refunded
        ",
    );
}

#[test]
fn keys_are_scoped_to_the_account() {
    check(
        "
        at 0s  grant   alice 10 purchase key k      -> ok
        at 0s  grant   bob   20 purchase            -> ok
        at 0s  consume bob   5 key k as h           -> pending
        at 0s  consume alice 5 as g                 -> pending
        at 0s  confirm g key k                      -> refused idempotency_conflict key k
        at 0s  confirm h key j                      -> confirmed
        at 0s  confirm g key j                      -> confirmed
        ",
    );
}

/// A confirm or refund that finds its outcome there already records its key, so that it stays true.
#[test]
fn a_repeat_with_a_key_is_recorded_and_one_without_is_not() {
    check(
        "
        at 0s   grant   alice 100 purchase          -> ok seq 1
        at 0s   consume alice 50 ttl 60s as h       -> pending
        at 0s   confirm h                           -> confirmed
        at 0s   confirm h                           -> confirmed
        at 0s   limit   alice 0                     -> ok seq 4
        at 0s   confirm h key k                     -> confirmed reversed 0
        at 0s   limit   alice 0                     -> ok seq 6
        at 0s   refund  h                           -> refunded
        at 0s   confirm h                           -> refused invalid_state state refunded
        at 0s   confirm h key k                     -> replay reversed 0
        at 0s   refund  h key j                     -> refunded reversed 50
        at 0s   refund  h key j                     -> replay
        at 0s   consume alice 50 ttl 60s as g       -> pending
        at 60s  refund  g key m                     -> expired
        at 60s  grant   alice 1 purchase            -> ok
        at 60s  confirm g late recharge             -> confirmed
        at 60s  refund  g key m                     -> replay captured 0
        at 60s  show    g                           -> confirmed captured 50
        ",
    );
}

/// The same request a second time is a retry and not a second part, whatever came between.
#[test]
fn rival_midaz_2485_a_retry_after_a_timeout_applies_once() {
    check(
        "
        at 0s  grant   alice 100 purchase key pay-1   -> ok available 100
        at 0s  grant   alice 100 purchase key pay-1   -> replay available 100
        at 0s  consume alice 60 as h                  -> pending
        at 0s  confirm h                              -> confirmed
        at 0s  refund  h amount 20 key r1             -> confirmed reversed 20 available 60
        at 0s  refund  h amount 20 key r2             -> confirmed reversed 40 available 80
        at 9d  refund  h amount 20 key r1             -> replay reversed 20 available 80
        ",
    );
}

/// A retry after the lot expired built a different request and conflicted; here, what the ledger fills in (a default
/// TTL, the day's price, an expiry that has passed since) is no part of the request.
#[test]
fn rival_formance_wallets_109_a_retry_across_an_expiry_is_the_same_request() {
    check(
        "
        at 0s   grant   alice 100 purchase expires 1h key g      -> ok
        at 0s   grant   alice 40 purchase as b                   -> ok
        at 0s   consume alice 120 key k as h                     -> pending
        at 2h   consume alice 120 key k                          -> replay amount 120 available 40
        at 2h   grant   alice 100 purchase expires 1h key g      -> replay amount 100 available 40
        ",
    );
}

/// The same key twice in one batch crashed: the second one replays.
#[test]
fn rival_formance_stack_1633_one_key_twice_is_one_command() {
    check(
        "
        at 0s  grant   alice 100 purchase     -> ok
        at 0s  consume alice 60 key k         -> pending available 40
        at 0s  consume alice 60 key k         -> replay available 40
        at 0s  consume alice 61 key k         -> refused idempotency_conflict key k
        ",
    );
}

/// Top-up twice for one payment: the order's number is the key.
#[test]
fn rival_lago_5870_one_payment_tops_up_once() {
    check(
        "
        at 0s  grant   alice 600 purchase reference order-1 cost 4990CNY key order-1  -> ok available 600
        at 5s  grant   alice 600 purchase reference order-1 cost 4990CNY key order-1  -> replay available 600
        ",
    );
}
