//! Rule **one-instant**: a deadline has passed when `now >= deadline`.

use crate::check;

#[test]
fn a_hold_lives_until_its_deadline_and_not_at_it() {
    check(
        "
        at 0s         grant   alice 100 purchase          -> ok available 100
        at 0s         consume alice 40 ttl 60s as h1      -> pending expires 60s held 40
        at 60s-1us    balance alice                       -> available 60 held 40
        at 60s        balance alice                       -> available 100 held 0
        at 60s-1us    show h1                             -> pending settled none
        at 60s        show h1                             -> expired settled 60s
        at 60s-1us    extend h1 60s                       -> pending expires 119s+999999us
        at 120s-1us   confirm h1                          -> refused hold_expired at 119s+999999us
        ",
    );
    check(
        "
        at 0s         grant   alice 100 purchase          -> ok
        at 0s         consume alice 40 ttl 60s as h1      -> pending
        at 60s-1us    confirm h1                          -> confirmed captured 40 settled 59s+999999us
        ",
    );
}

#[test]
fn a_lot_can_be_spent_until_its_expiry_and_not_at_it() {
    check(
        "
        at 0s      grant   alice 100 gift expires 10d     -> ok available 100 expiring 100@10d
        at 10d-1us balance alice                          -> available 100 expiring 100@10d
        at 10d     balance alice                          -> available 0 expiring none
        at 10d-1us consume alice 60 as h1                 -> pending available 40
        at 10d     consume alice 1                        -> refused insufficient_credits required 1 available 0
        ",
    );
}

#[test]
fn nothing_can_be_granted_that_has_expired_already() {
    check(
        "
        at 1d      grant alice 10 purchase expires 1d     -> refused validation field expires_at
        at 1d      gift  alice 10 expires 1d-1us          -> refused validation field expires_at
        at 1d      grant alice 10 purchase expires 1d+1us -> ok available 10
        at 1d+1us  balance alice                          -> available 0 granted 10
        ",
    );
}

#[test]
fn a_ttl_left_out_is_the_ledger_s() {
    check(
        "
        rules hold_ttl 90s
        at 5s   grant   alice 100 purchase   -> ok
        at 5s   consume alice 10 as h1       -> pending expires 95s
        at 95s  confirm h1                   -> refused hold_expired at 95s
        ",
    );
}

#[test]
fn extend_never_makes_a_deadline_earlier() {
    check(
        "
        at 0s   grant   alice 100 purchase      -> ok
        at 0s   consume alice 10 ttl 1h as h1   -> pending expires 3600s
        at 0s   extend  h1 60s                  -> pending expires 3600s held 10
        at 10s  extend  h1 30d                  -> pending expires 30d+10s
        at 30d  confirm h1                      -> confirmed
        at 30d  extend  h1 60s                  -> refused invalid_state state confirmed
        ",
    );
}
