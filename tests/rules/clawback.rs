//! Rule **clawback**: what remains of a lot is taken back; the shortfall is forgiven or booked as debt.

use crate::check;

#[test]
fn what_remains_is_taken() {
    check(
        "
        at 0s  grant    alice 100 purchase as a             -> ok available 100 granted 100
        at 0s  clawback alice a amount 30 reason refund     -> ok taken 30 shortfall 0 available 70 granted 70
        at 0s  clawback alice a                             -> ok taken 70 shortfall 0 available 0 granted 0
        at 0s  clawback alice a                             -> ok taken 0 shortfall 0 available 0
        at 0s  clawback alice a amount 1                    -> refused validation field amount limit 0 value 1
        ",
    );
}

#[test]
fn a_shortfall_is_reported_and_forgiven() {
    check(
        "
        at 0s  grant    alice 100 purchase as a        -> ok
        at 0s  grant    alice 10 purchase              -> ok
        at 0s  consume  alice 60 as h                  -> pending lots a:60
        at 0s  confirm  h                              -> confirmed available 50
        at 0s  clawback alice a                        -> ok taken 40 shortfall 60 booked 0 available 10 granted 70
        ",
    );
}

#[test]
fn a_shortfall_is_booked_as_debt() {
    check(
        "
        at 0s  grant    alice 100 purchase as a        -> ok
        at 0s  consume  alice 60 as h                  -> pending
        at 0s  confirm  h                              -> confirmed available 40
        at 0s  clawback alice a shortfall debt         -> ok taken 40 shortfall 60 booked 60 available -60 debt 60 granted 0
        at 0s  consume  alice 1                        -> refused insufficient_credits required 1 available 0
        at 1s  grant    alice 100 purchase             -> ok available 40 debt 0
        ",
    );
    // Other lots pay at once.
    check(
        "
        at 0s  grant    alice 100 purchase as a        -> ok
        at 0s  grant    alice 50 purchase as b         -> ok
        at 0s  consume  alice 100 as h                 -> pending lots a:100
        at 0s  clawback alice a shortfall debt         -> ok taken 0 shortfall 100 booked 100 available -50 debt 50 held 100
        at 0s  refund   h                              -> refunded available 50 debt 0 granted 50
        ",
    );
}

/// A shortfall that was booked is not booked again (found by the auditor: it was, as often as one asked).
#[test]
fn a_shortfall_is_booked_once() {
    check(
        "
        at 0s  grant    alice 100 purchase as a              -> ok
        at 0s  consume  alice 100 as h                       -> pending
        at 0s  confirm  h                                    -> confirmed
        at 0s  clawback alice a amount 40 shortfall debt     -> ok taken 0 shortfall 40 booked 40 debt 40
        at 0s  clawback alice a amount 61 shortfall debt     -> refused validation field amount limit 60 value 61
        at 0s  clawback alice a shortfall debt               -> ok shortfall 60 booked 60 debt 100
        at 0s  clawback alice a shortfall debt               -> ok taken 0 shortfall 0 debt 100 granted 0
        at 0s  clawback alice a shortfall forgive            -> ok taken 0 shortfall 0 debt 100
        ",
    );
}

/// Credits that an operator corrected away are not taken a second time (found by the auditor: `granted` fell below 0).
#[test]
fn what_was_corrected_away_is_not_taken_again() {
    check(
        "
        at 0s  grant    alice 100 purchase as a     -> ok
        at 0s  adjust   alice -70                   -> ok available 30 granted 30
        at 0s  clawback alice a amount 31           -> refused validation field amount limit 30 value 31
        at 0s  clawback alice a shortfall debt      -> ok taken 30 shortfall 0 available 0 granted 0
        ",
    );
}

#[test]
fn what_expired_is_not_taken_back() {
    check(
        "
        at 0s  grant    alice 100 purchase expires 1h as a   -> ok
        at 0s  consume  alice 30 ttl 2h as h                 -> pending
        at 1h  clawback alice a shortfall debt               -> ok taken 0 shortfall 30 booked 30 available -30 granted 70
        ",
    );
}

#[test]
fn what_comes_back_to_a_forgiven_shortfall_is_taken() {
    check(
        "
        at 0s  grant    alice 100 purchase as a      -> ok
        at 0s  consume  alice 60 as h1               -> pending
        at 0s  consume  alice 30 as h2               -> pending
        at 0s  clawback alice a amount 80            -> ok taken 10 shortfall 70 available 0 granted 90
        at 0s  refund   h1                           -> refunded available 0 granted 30
        at 0s  refund   h2                           -> refunded available 20 granted 20
        at 0s  clawback alice a                      -> ok taken 20 shortfall 0 available 0 granted 0
        ",
    );
    // Of a reversal too, and of a lot that expired meanwhile.
    check(
        "
        at 0s  grant    alice 100 purchase expires 1h as a      -> ok
        at 0s  consume  alice 100 as h                          -> pending
        at 0s  confirm  h                                       -> confirmed
        at 0s  clawback alice a amount 70                       -> ok taken 0 shortfall 70
        at 2h  refund   h                                       -> refunded available 30 granted 30 expiring 30@30d+7200s
        ",
    );
}

/// A claim is taken before anything else that comes back may pay debt.
#[test]
fn a_claim_comes_before_debt() {
    check(
        "
        at 0s  grant    alice 100 purchase as a             -> ok
        at 0s  limit    alice 50                            -> ok
        at 0s  consume  alice 100 as h1                     -> pending
        at 0s  consume  alice 20 as h2                      -> pending borrowed 20 debt 20
        at 0s  clawback alice a amount 90                   -> ok taken 0 shortfall 90
        at 0s  refund   h1                                  -> refunded available -10 debt 10 granted 10
        at 0s  show     h2                                  -> pending lots a:10 borrowed 10
        ",
    );
}

/// Debt that a later grant paid comes back as a lot without a source of its own, so that a correction and a
/// clawback can take all that was granted while an earlier claim still waits. That claim then takes nothing.
#[test]
fn a_claim_takes_no_more_than_was_ever_granted() {
    let books = |expiry: &str, end: &str| {
        check(&format!(
            "
            at 0s  grant    alice 100 purchase {expiry} as a    -> ok
            at 0s  consume  alice 1 as h1                       -> pending
            at 0s  clawback alice a                             -> ok taken 99 shortfall 1 granted 1
            at 0s  limit    alice 50                            -> ok
            at 0s  consume  alice 2 as h2                       -> pending borrowed 2
            at 0s  confirm  h2                                  -> confirmed debt 2
            at 0s  grant    alice 75 bonus as b                 -> ok available 73 granted 76
            at 0s  consume  alice 73 as h3                      -> pending available 0
            at 0s  refund   h2                                  -> refunded available 2
            at 0s  adjust   alice -1                            -> ok available 1 granted 75
            at 0s  clawback alice b shortfall debt              -> ok taken 0 shortfall 75 granted 0 debt 74
            {end}
            "
        ));
    };
    books(
        "",
        "at 2s  refund h1  -> refunded available -73 debt 73 granted 0",
    );
    // The lot has expired by then: its credit expires, and pays nothing.
    books(
        "expires 1s",
        "at 2s  refund h1  -> refunded available -74 debt 74 granted 0",
    );
}

#[test]
fn unknown_lots_and_lots_of_others_are_not_found() {
    check(
        "
        at 0s  clawback alice a                             -> refused not_found what lot
        at 0s  grant    alice 10 purchase as a              -> ok
        at 0s  clawback bob a                               -> refused not_found what lot
        at 0s  clawback alice a amount 11                   -> refused validation field amount limit 10 value 11
        ",
    );
}

#[test]
fn a_receipt_is_replayed_as_it_was() {
    check(
        "
        at 0s  grant    alice 100 purchase as a                    -> ok
        at 0s  consume  alice 60 as h                              -> pending
        at 0s  clawback alice a amount 50 shortfall debt key k1    -> ok taken 40 shortfall 10 booked 10 available -10
        at 9s  refund   h                                          -> refunded available 50
        at 9s  clawback alice a amount 50 shortfall debt key k1    -> replay taken 40 shortfall 10 available 50
        ",
    );
}

/// Credits of an expired lot that moved to a `reversal` lot: taking both back takes no more than was granted.
#[test]
fn a_lot_and_the_lot_its_credits_moved_to_are_not_both_charged() {
    check(
        "
        at 0s  grant    alice 100 purchase expires 1h as a      -> ok
        at 0s  consume  alice 100 as h                          -> pending
        at 0s  confirm  h                                       -> confirmed
        at 2h  refund   h                                       -> refunded available 100 granted 100
        at 2h  consume  alice 1 ttl 1s as h2                    -> pending lots lot1:1
        at 3h  clawback alice lot1                              -> ok taken 100 available 0 granted 0
        at 3h  clawback alice a shortfall debt                  -> ok taken 0 shortfall 0 available 0 debt 0 granted 0
        ",
    );
}
