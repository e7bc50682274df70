//! Rule **lot-expires-while-held**: the hold keeps its credits; released afterwards, they expire or get a grace period.

use crate::check;

/// A sweep expired a lot that a hold still covered, and the release made the credits immortal.
#[test]
fn rival_rustlavel_a_release_after_the_lot_s_expiry_does_not_make_credits_immortal() {
    check(
        "
        at 0s   grant   alice 100 purchase expires 1h as a    -> ok
        at 0s   consume alice 60 ttl 2h as h                  -> pending
        at 1h   mature  alice                                 -> ok lots 1 expired 40 available 0 held 60
        at 90m  refund  h                                     -> refunded available 0 held 0
        at 90m  balance alice                                 -> available 0 expiring none
        at 90m  consume alice 1                               -> refused insufficient_credits required 1 available 0
        ",
    );
    // Unswept, and the hold left to expire: the same.
    check(
        "
        at 0s   grant   alice 100 purchase expires 1h as a    -> ok
        at 0s   consume alice 60 ttl 2h as h                  -> pending
        at 3h   balance alice                                 -> available 0 held 0
        at 3h   mature  alice                                 -> ok holds 1 released 60 lots 2 expired 100
        ",
    );
}

#[test]
fn the_hold_keeps_its_credits_and_may_be_confirmed() {
    check(
        "
        at 0s   grant   alice 100 purchase expires 1h as a    -> ok
        at 0s   consume alice 60 ttl 2h as h                  -> pending
        at 90m  confirm h                                     -> confirmed captured 60 lots a:60 available 0 spent 60
        ",
    );
    // The part that was not used has nowhere to live.
    check(
        "
        at 0s   grant   alice 100 purchase expires 1h as a    -> ok
        at 0s   grant   alice 5 purchase as b                 -> ok
        at 0s   consume alice 105 ttl 2h as h                 -> pending lots a:100+b:5
        at 90m  confirm h amount 40                           -> confirmed captured 40 lots a:40 available 5
        ",
    );
}

#[test]
fn with_grace_what_comes_back_lives_on_in_a_new_lot() {
    check(
        "
        rules on_lot_expired_while_held grace
        rules release_grace 10m
        at 0s       grant   alice 100 purchase expires 1h priority 7 as a -> ok
        at 0s       consume alice 60 ttl 2h as h                          -> pending
        at 90m      refund  h                                             -> refunded available 60 expiring 60@6000s
        at 90m      consume alice 10 as h2                                -> pending lots lot1:10
        at 91m      refund  h2                                            -> refunded available 60 expiring 60@6000s
        at 100m     balance alice                                         -> available 0
        ",
    );
    // Counted from the deadline where the hold expires, not from when somebody looks.
    check(
        "
        rules on_lot_expired_while_held grace
        rules release_grace 10m
        at 0s        grant   alice 100 purchase expires 1h as a            -> ok
        at 0s        consume alice 60 ttl 2h as h                          -> pending
        at 2h+5m     balance alice                                         -> available 60 expiring 60@7800s
        at 2h+9m     mature  alice                                         -> ok holds 1 released 60 lots 1 expired 40
        at 2h+10m    balance alice                                         -> available 0
        ",
    );
    // A partial confirm gives the rest a grace period too.
    check(
        "
        rules on_lot_expired_while_held grace
        rules release_grace 10m
        at 0s        grant   alice 100 purchase expires 1h as a            -> ok
        at 0s        consume alice 60 ttl 2h as h                          -> pending
        at 90m       confirm h amount 45                                   -> confirmed available 15 expiring 15@6000s
        ",
    );
}

#[test]
fn with_grace_a_live_lot_still_takes_its_credits_back_itself() {
    check(
        "
        rules on_lot_expired_while_held grace
        at 0s   grant   alice 10 purchase expires 1h as a     -> ok
        at 0s   grant   alice 10 purchase expires 2d as b     -> ok
        at 0s   consume alice 20 ttl 1d as h                  -> pending
        at 2h   refund  h                                     -> refunded available 20 expiring 10@2d+10@7d+7200s
        ",
    );
}

/// A claim of a clawback comes before a grace period, and is taken once for all pins of a lot.
#[test]
fn with_grace_what_a_clawback_claims_is_taken_and_only_that() {
    check(
        "
        rules on_lot_expired_while_held grace
        at 0s   grant    alice 100 purchase expires 1h as a    -> ok
        at 0s   consume  alice 60 ttl 2h as h1                 -> pending
        at 0s   consume  alice 40 ttl 2h as h2                 -> pending
        at 0s   clawback alice a amount 50                     -> ok taken 0 shortfall 50 booked 0 available 0
        at 90m  refund   h1                                    -> refunded available 10 granted 50
        at 90m  refund   h2                                    -> refunded available 50 granted 50
        ",
    );
    check(
        "
        rules on_lot_expired_while_held grace
        at 0s   grant    alice 100 purchase expires 1h as a    -> ok
        at 0s   limit    alice 100                             -> ok
        at 0s   consume  alice 40 ttl 2h as h1                 -> pending lots a:40
        at 0s   consume  alice 90 ttl 2h as h2                 -> pending lots a:60 borrowed 30
        at 0s   refund   h1                                    -> refunded available 10
        at 0s   show     h2                                    -> pending lots a:90 borrowed 0
        at 0s   consume  alice 10 ttl 2h as h3                 -> pending
        at 0s   clawback alice a amount 50                     -> ok taken 0 shortfall 50
        at 90m  refund   h2                                    -> refunded available 40 granted 50
        ",
    );
}
