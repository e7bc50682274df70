//! Rule **burn-order**: priority, then expiry (none last), then promotional before paid, then oldest, then lot id.

use crate::check;

/// Credits were deducted in the wrong order.
#[test]
fn rival_autumn_2508_soonest_to_expire_burns_first() {
    check(
        "
        at 0s  grant   alice 10 purchase as never            -> ok
        at 0s  grant   alice 10 purchase expires 20d as late -> ok
        at 0s  grant   alice 10 purchase expires 10d as soon -> ok
        at 1s  consume alice 25                              -> pending lots soon:10+late:10+never:5
        ",
    );
}

#[test]
fn priority_comes_before_everything() {
    check(
        "
        at 0s  grant   alice 10 gift expires 1d as soon                     -> ok
        at 0s  grant   alice 10 purchase priority -1 as first               -> ok
        at 0s  grant   alice 10 gift expires 1d priority 1 as last          -> ok
        at 1s  consume alice 30                                             -> pending lots first:10+soon:10+last:10
        ",
    );
}

#[test]
fn promotional_burns_before_paid_where_they_expire_together() {
    check(
        "
        at 0s  grant   alice 1 purchase     expires 1d as purchase     -> ok
        at 0s  grant   alice 1 subscription expires 1d as subscription -> ok
        at 0s  grant   alice 1 adjustment   expires 1d as adjustment   -> ok
        at 0s  grant   alice 1 opening      expires 1d as opening      -> ok
        at 1s  grant   alice 1 bonus        expires 1d as bonus        -> ok
        at 2s  gift    alice 1              expires 1d as gift         -> ok
        at 3s  consume alice 6 -> pending lots bonus:1+gift:1+purchase:1+subscription:1+adjustment:1+opening:1
        ",
    );
}

#[test]
fn the_oldest_burns_first_and_at_one_instant_the_first_made() {
    check(
        "
        at 0s  grant   alice 1 purchase as a                 -> ok
        at 0s  grant   alice 1 purchase as b                 -> ok
        at 1us grant   alice 1 purchase as c                 -> ok
        at 1s  consume alice 3                               -> pending lots a:1+b:1+c:1
        ",
    );
}

#[test]
fn a_lot_that_expires_at_the_end_of_time_burns_before_one_that_never_does() {
    check(
        "
        at 0s  grant   alice 1 purchase as never                                    -> ok
        at 0s  grant   alice 1 purchase expires 2912115d+57600s as last_instant     -> ok
        at 1s  consume alice 1                                                      -> pending lots last_instant:1
        ",
    );
}

#[test]
fn an_overage_and_a_late_confirm_burn_in_order_too() {
    check(
        "
        at 0s   grant   alice 10 purchase as paid                         -> ok
        at 0s   consume alice 5 ttl 60s as h1                             -> pending lots paid:5
        at 1s   gift    alice 3 as gift                                   -> ok
        at 2s   confirm h1 amount 9 overage available                     -> confirmed lots paid:6+gift:3
        at 2s   consume alice 4 ttl 60s as h2                             -> pending lots paid:4
        at 63s  gift    alice 3 expires 10d as fresh                      -> ok
        at 64s  confirm h2 late recharge                                  -> confirmed lots fresh:3+paid:1
        ",
    );
}
