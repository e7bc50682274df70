//! Amounts that are prices: what the ledger keeps of how they came about, and calls that cost nothing.

use super::check;

#[test]
fn a_hold_keeps_its_quote_and_a_capture_what_was_used() {
    check(
        r#"
        at 0s  grant    alice 100 purchase as a                                   -> ok
        at 0s  consume  alice 8 request "4 s" quote "q" as h                      -> pending amount 8 quote "q"
        at 0s  confirm  h amount 3 used "1.5"                                     -> confirmed captured 3 used "1.5" available 97
        at 0s  show     h                                                         -> confirmed captured 3 quote "q" used "1.5"
        "#,
    );
}

/// What the retry is compared by is the request: prices may have changed between the two.
#[test]
fn a_retry_after_a_change_of_prices_is_the_same_request() {
    check(
        r#"
        at 0s  grant    alice 100 purchase as a                                   -> ok
        at 0s  consume  alice 8 request "4 s" quote "old" key k                   -> pending amount 8 available 92
        at 9s  consume  alice 9 request "4 s" quote "new" card_ttl 9s key k       -> replay amount 8 quote "old" available 92
        at 9s  consume  alice 8 request "5 s" quote "old" key k                   -> refused idempotency_conflict
        at 9s  consume  alice 8 key k                                             -> refused idempotency_conflict
        "#,
    );
    check(
        r#"
        at 0s  grant    alice 100 purchase as a                                   -> ok
        at 0s  consume  alice 8 request "4 s" quote "q" as h                      -> pending
        at 0s  confirm  h amount 3 used "1.5" key k                               -> confirmed captured 3
        at 0s  confirm  h amount 3 used "1.5" key k                               -> replay captured 3
        at 0s  confirm  h amount 3 used "1.6" key k                               -> refused idempotency_conflict
        at 0s  confirm  h amount 3 key k                                          -> refused idempotency_conflict
        "#,
    );
}

/// Free units make calls that cost nothing: they are held and confirmed like others, also by an account without credits.
#[test]
fn a_price_may_be_nothing() {
    check(
        r#"
        at 0s  consume  alice 0 request "1 s" quote "q" as h                      -> pending amount 0 lots none held 0 available 0
        at 0s  confirm  h                                                         -> confirmed captured 0 available 0 spent 0
        at 0s  confirm  h                                                         -> confirmed captured 0
        at 0s  refund   h                                                         -> refunded reversed 0 available 0 spent 0
        "#,
    );
    // Held for an estimate, and nothing was used; or the other way about.
    check(
        r#"
        at 0s  grant    alice 10 purchase as a                                    -> ok
        at 0s  consume  alice 8 request "?" quote "q" as h1                       -> pending available 2
        at 0s  confirm  h1 amount 0 used "0"                                      -> confirmed captured 0 lots none available 10 spent 0
        at 0s  consume  alice 0 request "?" quote "q" as h2                       -> pending available 10
        at 0s  confirm  h2 amount 3 used "9"                                      -> refused validation field amount limit 0 value 3
        at 0s  confirm  h2 amount 3 used "9" overage available                    -> confirmed captured 3 lots a:3 available 7 spent 3
        "#,
    );
    check(
        r#"
        at 0s   consume  alice 0 request "1 s" quote "q" card_ttl 60s as h        -> pending expires 60s
        at 60s  confirm  h                                                        -> refused hold_expired
        at 60s  confirm  h late recharge                                          -> confirmed captured 0
        "#,
    );
    // Without a price, nothing is still no amount; and no price is negative.
    check(
        r#"
        at 0s  consume  alice 0                                                   -> refused validation field amount limit 1 value 0
        at 0s  consume  alice -1 request "x" quote "q"                            -> refused validation field amount limit 0 value -1
        at 0s  grant    alice 10 purchase as a                                    -> ok
        at 0s  consume  alice 5 as h                                              -> pending
        at 0s  confirm  h amount 0                                                -> refused validation field amount limit 1 value 0
        at 0s  confirm  h amount -1 used "x"                                      -> refused validation field amount limit 0 value -1
        "#,
    );
}

/// The caller's word comes before the rate card's, and that before the ledger's.
#[test]
fn who_says_how_long_a_hold_lives() {
    check(
        r#"
        rules hold_ttl 100s
        at 0s  consume  alice 0 request "x" quote "q"                             -> pending expires 100s
        at 0s  consume  alice 0 request "x" quote "q" card_ttl 60s                -> pending expires 60s
        at 0s  consume  alice 0 request "x" quote "q" card_ttl 60s ttl 30s        -> pending expires 30s
        "#,
    );
}

#[test]
fn a_quote_has_a_limit() {
    check(
        r#"
        at 0s  consume  alice 0 request "x" quote x*16384 as h                    -> pending
        at 0s  consume  alice 0 request "x" quote x*16385                         -> refused validation field quote limit "16384 bytes"
        at 0s  confirm  h amount 0 used x*16385                                   -> refused validation field used limit "16384 bytes"
        at 0s  consume  alice 0 request "x" quote "q" card_ttl 500ms              -> refused validation field hold_ttl
        "#,
    );
}
