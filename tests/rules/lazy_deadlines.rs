//! Rule **lazy-deadlines**: what has passed its deadline is so at once, swept or not.

use crate::check;

/// Confirming after the deadline but before the sweep slipped through.
#[test]
fn rival_tigerbeetle_2000_confirm_after_deadline_before_sweep() {
    check(
        "
        at 0s    grant   alice 100 purchase expires 10d          -> ok available 100
        at 0s    consume alice 75 ttl 60s as h1                  -> pending available 25 held 75
        at 61s   confirm h1                                      -> refused hold_expired at 60s
        at 61s   balance alice                                   -> available 100 held 0
        at 61s   mature  alice                                   -> ok holds 1 released 75 lots 0 expired 0
        at 61s   confirm h1                                      -> refused hold_expired at 60s
        at 61s   balance alice                                   -> available 100 held 0
        ",
    );
}

/// Expired credits stayed spendable until a job ran.
#[test]
fn rival_vm0_10299_expired_credits_are_not_spendable_before_the_sweep() {
    check(
        "
        at 0s    grant   alice 100 purchase expires 10d   -> ok
        at 0s    grant   alice 30 purchase                -> ok available 130
        at 10d   consume alice 31                         -> refused insufficient_credits required 31 available 30
        at 10d   consume alice 30                         -> pending available 0 held 30
        at 10d   mature  alice                            -> ok lots 0 expired 0
        ",
    );
}

/// The balance went negative when credits expired that had been spent.
#[test]
fn rival_balance_negative_after_expiry() {
    check(
        "
        at 0s    grant   alice 100 purchase expires 10d   -> ok
        at 0s    consume alice 80 ttl 30d as h1           -> pending available 20
        at 0s    consume alice 20 as h2                   -> pending available 0
        at 0s    confirm h2                               -> confirmed available 0
        at 10d   balance alice                            -> available 0 held 80 debt 0
        at 10d   mature  alice                            -> ok lots 0 expired 0 available 0
        at 29d   confirm h1                               -> confirmed available 0 spent 100
        ",
    );
}

#[test]
fn an_expired_hold_is_spendable_again_at_once() {
    check(
        "
        at 0s    grant   alice 100 purchase               -> ok
        at 0s    consume alice 75 ttl 60s as h1           -> pending
        at 59s   consume alice 75                         -> refused insufficient_credits required 75 available 25
        at 60s   consume alice 75 ttl 60s as h2           -> pending available 25 held 75
        at 60s   show    h1                               -> expired settled 60s
        at 300d  balance alice                            -> available 100 held 0
        ",
    );
}

#[test]
fn sweeps_write_down_what_is_due_and_only_once() {
    check(
        "
        at 0s    grant   alice 100 purchase expires 10d   -> ok
        at 0s    grant   alice 50 purchase expires 20d    -> ok
        at 0s    consume alice 120 ttl 60s as h1          -> pending
        at 0s    mature  alice                            -> ok holds 0 released 0 lots 0 expired 0
        at 15d   mature  alice                            -> ok holds 1 released 120 lots 1 expired 100
        at 15d   mature  alice                            -> ok holds 0 released 0 lots 0 expired 0
        at 15d   balance alice                            -> available 50
        at 20d   mature  nobody                           -> ok holds 0 lots 0
        at 20d   mature  alice                            -> ok lots 1 expired 50 available 0
        ",
    );
}

#[test]
fn a_refused_command_writes_nothing_down() {
    check(
        "
        at 0s    grant   alice 100 purchase expires 10d   -> ok
        at 10d   consume alice 1                          -> refused insufficient_credits required 1 available 0
        at 10d   mature  alice                            -> ok lots 1 expired 100
        ",
    );
}

#[test]
fn at_one_instant_lots_expire_before_holds() {
    check(
        "
        at 0s    grant   alice 100 purchase expires 60s   -> ok
        at 0s    consume alice 40 ttl 60s as h1           -> pending
        at 60s   mature  alice                            -> ok holds 1 released 40 lots 2 expired 100
        at 60s   balance alice                            -> available 0 held 0
        ",
    );
}

/// Each deadline is applied at its own instant, however late somebody looks: a hold released before its lot expires
/// gives back live credits, which pay a debt that is there at that moment.
#[test]
fn deadlines_apply_in_their_order_however_late() {
    let script = |look: &str| {
        format!(
            "
            at 0s    grant   alice 100 purchase expires 90s as a     -> ok
            at 0s    limit   alice 50                                -> ok
            at 0s    consume alice 100 ttl 60s as h1                 -> pending available 0
            at 0s    consume alice 50 ttl 2h as h2                   -> pending available -50 debt 50 borrowed 50
            {look}
            at 1h    show    h2                                      -> pending borrowed 0 lots a:50
            at 1h    balance alice                                   -> available 0 held 50 debt 0
            "
        )
    };
    check(&script(""));
    check(&script("at 60s mature alice -> ok holds 1 available 50 debt 0"));
    check(&script(
        "at 95s mature alice -> ok holds 1 lots 1 expired 50 available 0",
    ));
}

#[test]
fn a_year_passes_in_one_step() {
    check(
        "
        rules on_lot_expired_while_held grace
        rules release_grace 1d
        at 0s    grant   alice 100 purchase expires 1h           -> ok
        at 0s    consume alice 60 ttl 2h as h1                   -> pending
        at 0s    consume alice 10 ttl 3h as h2                   -> pending
        at 365d  balance alice                                   -> available 0 held 0
        at 3h    balance alice                                   -> available 70 expiring 60@1d+7200s+10@1d+10800s
        at 365d  mature  alice                                   -> ok holds 2 released 70 lots 3 expired 100
        ",
    );
}
