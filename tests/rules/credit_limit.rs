//! Terms **available**, **debt**, **credit_limit**: `available` is what the lots have left, less debt; only a limit or a
//! clawback (or an overage booked as debt) makes it negative, and what comes in pays debt first.

use crate::check;

#[test]
fn consume_goes_below_zero_as_far_as_the_limit_goes() {
    check(
        "
        at 0s  grant   alice 30 purchase as a   -> ok
        at 0s  consume alice 31                 -> refused insufficient_credits required 31 available 30
        at 0s  limit   alice 20                 -> ok limit 20 available 30
        at 0s  consume alice 51                 -> refused insufficient_credits required 51 available 50
        at 0s  consume alice 50 as h            -> pending lots a:30 borrowed 20 available -20 held 50 debt 20
        at 0s  consume alice 1                  -> refused insufficient_credits required 1 available 0
        at 0s  adjust  alice -1                 -> refused insufficient_credits required 1 available 0
        ",
    );
}

#[test]
fn a_release_gives_back_what_was_borrowed() {
    check(
        "
        at 0s   grant   alice 30 purchase       -> ok
        at 0s   limit   alice 20                -> ok
        at 0s   consume alice 50 ttl 60s as h1  -> pending available -20 debt 20
        at 1s   refund  h1                      -> refunded available 30 held 0 debt 0 borrowed 0
        at 1s   consume alice 45 ttl 60s as h2  -> pending available -15 debt 15
        at 61s  balance alice                   -> available 30 held 0 debt 0
        ",
    );
}

#[test]
fn a_grant_pays_what_is_owed_then_what_pending_holds_borrowed() {
    check(
        "
        at 0s  limit   alice 100                -> ok
        at 0s  consume alice 20 as h1           -> pending borrowed 20
        at 0s  consume alice 30 as h2           -> pending borrowed 30
        at 0s  consume alice 40 as h3           -> pending borrowed 40 available -90
        at 0s  confirm h2                       -> confirmed borrowed 30 debt 90
        at 1s  grant   alice 35 purchase as a   -> ok amount 35 available -55 debt 55
        at 1s  show    h1                       -> pending lots a:5 borrowed 15
        at 1s  show    h2                       -> confirmed lots none borrowed 30
        at 1s  grant   alice 20 purchase as b   -> ok available -35
        at 1s  show    h1                       -> pending lots a:5+b:15 borrowed 0
        at 1s  show    h3                       -> pending lots b:5 borrowed 35
        at 1s  refund  h1                       -> refunded available -15
        at 1s  show    h3                       -> pending lots b:20+a:5 borrowed 15
        ",
    );
}

/// However many entries tell of it.
#[test]
fn what_pays_for_many_borrowers_does_so_at_once() {
    for room in ["1", "4", "250"] {
        let table = "
        rules entry_room ROOM
        at 0s  limit   alice 100                   -> ok
        at 0s  consume alice 10 ttl 1h as h1       -> pending borrowed 10
        at 0s  consume alice 10 ttl 1h as h2       -> pending borrowed 10
        at 0s  consume alice 10 ttl 1h as h3       -> pending borrowed 10
        at 0s  consume alice 10 ttl 1h as h4       -> pending borrowed 10 available -40
        at 0s  grant   alice 25 purchase key k as a  -> ok amount 25 available -15 debt 15
        at 0s  show    h2                          -> pending lots a:10 borrowed 0
        at 0s  show    h3                          -> pending lots a:5 borrowed 5
        at 0s  gift    alice 20 reason welcome as b  -> ok amount 20 available 5 debt 0
        at 0s  grant   alice 25 purchase key k     -> replay
        at 0s  show    h3                          -> pending lots a:5+b:5 borrowed 0
        at 0s  consume alice 105 as h5             -> pending lots b:5 borrowed 100 available -100 debt 100
        at 0s  refund  h1                          -> refunded available -90
        at 0s  show    h5                          -> pending lots b:5+a:10 borrowed 90
        at 0s  balance alice                       -> available -90 held 135 debt 90
        ";
        check(&table.replace("ROOM", room));
    }
}

/// What a released hold gives back pays for others too, by a command and by a deadline.
#[test]
fn a_release_pays_for_many_borrowers() {
    for (room, event) in [
        ("1", "refund h0"),
        ("250", "refund h0"),
        ("1", "mature alice"),
        ("250", "mature alice"),
    ] {
        let after = if event.starts_with("refund") {
            "refunded"
        } else {
            "ok"
        };
        let table = "
        rules entry_room ROOM
        at 0s   grant   alice 30 purchase as a      -> ok
        at 0s   limit   alice 100                   -> ok
        at 0s   consume alice 30 ttl 60s as h0      -> pending lots a:30
        at 0s   consume alice 10 ttl 1h as h1       -> pending borrowed 10
        at 0s   consume alice 10 ttl 1h as h2       -> pending borrowed 10
        at 0s   consume alice 20 ttl 1h as h3       -> pending borrowed 20 available -40
        at 60s  EVENT                               -> AFTER
        at 60s  show    h1                          -> pending lots a:10 borrowed 0
        at 60s  show    h2                          -> pending lots a:10 borrowed 0
        at 60s  show    h3                          -> pending lots a:10 borrowed 10
        at 60s  balance alice                       -> available -10 held 40 debt 10
        ";
        let table = table
            .replace("ROOM", room)
            .replace("EVENT", event)
            .replace("AFTER", after);
        // A refund comes while the hold lives.
        let table = if after == "refunded" {
            table.replace("at 60s", "at 59s")
        } else {
            table
        };
        check(&table);
    }
}

/// Borrowing, being funded and releasing makes no credits.
#[test]
fn limit_grant_release_makes_no_credits() {
    check(
        "
        at 0s  limit   alice 100                       -> ok
        at 0s  consume alice 100 as h                  -> pending available -100
        at 0s  grant   alice 60 purchase expires 1d    -> ok available -40 granted 60
        at 0s  refund  h                               -> refunded available 60 debt 0
        at 0s  refund  h                               -> refunded available 60
        at 0s  consume alice 160 as h2                 -> pending available -100
        at 1d  refund  h2                              -> expired available 0 debt 0
        ",
    );
}

/// Released after the expiry of the lot that funded it, a hold gives back nothing that would live on.
#[test]
fn a_funded_hold_keeps_its_credits_as_any_other() {
    check(
        "
        at 0s   limit   alice 100                          -> ok
        at 0s   consume alice 50 ttl 2h as h1              -> pending
        at 0s   consume alice 50 ttl 2h as h2              -> pending
        at 0s   grant   alice 100 purchase expires 1h as a -> ok available 0
        at 90m  confirm h1                                 -> confirmed lots a:50 borrowed 0 available 0 debt 0
        at 90m  refund  h2                                 -> refunded available 0 debt 0
        ",
    );
}

#[test]
fn extending_a_funded_hold_keeps_its_lots() {
    check(
        "
        at 0s   limit   alice 100                          -> ok
        at 0s   consume alice 50 ttl 60s as h              -> pending borrowed 50
        at 1s   grant   alice 20 purchase as a             -> ok
        at 2s   extend  h 1h                               -> pending lots a:20 borrowed 30 expires 3602s
        at 2s   grant   alice 20 purchase as b             -> ok available -10
        at 2s   refund  h                                  -> refunded available 40 debt 0
        ",
    );
}

#[test]
fn a_lower_limit_only_concerns_what_comes_next() {
    check(
        "
        at 0s  limit   alice 100            -> ok
        at 0s  consume alice 80 as h        -> pending
        at 0s  limit   alice 10             -> ok available -80
        at 0s  consume alice 1              -> refused insufficient_credits required 1 available 0
        at 0s  confirm h                    -> confirmed available -80 debt 80
        at 0s  grant   alice 75 purchase    -> ok available -5
        at 0s  consume alice 5              -> pending available -10 debt 10
        at 0s  limit   alice 0              -> ok available -10
        ",
    );
}

#[test]
fn debt_and_free_credits_never_stand_beside_each_other() {
    check(
        "
        at 0s  grant   alice 10 purchase as a                 -> ok
        at 0s  grant   alice 10 purchase as b                 -> ok
        at 0s  consume alice 10 as h1                         -> pending lots a:10
        at 0s  consume alice 10 as h2                         -> pending lots b:10
        at 0s  confirm h1 amount 25 overage debt              -> confirmed lots a:10 borrowed 15 available -15 debt 15
        at 0s  confirm h2 amount 3                            -> confirmed available -8 debt 8
        at 0s  adjust  alice 8                                -> ok available 0 debt 0
        at 0s  adjust  alice 1                                -> ok available 1 debt 0
        ",
    );
}

/// What a release frees is never part of the hold's own overage.
#[test]
fn an_overage_on_debt_is_paid_by_the_next_thing_that_comes_back() {
    check(
        "
        at 0s   grant   alice 100 purchase as a            -> ok
        at 0s   consume alice 50 as h1                     -> pending
        at 0s   consume alice 50 ttl 60s as h2             -> pending available 0
        at 0s   confirm h1 amount 80 overage debt          -> confirmed borrowed 30 available -30
        at 60s  balance alice                              -> available 20 debt 0
        at 60s  refund  h1                                 -> refunded available 100 debt 0 spent 0
        ",
    );
}
