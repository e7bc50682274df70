//! Rule **confirm**: a hold becomes spent credits.

use crate::check;

/// A consumption of 50 in one of the states it can be in, with 30 credits and a credit limit of 10 beside it.
fn a_consumption(status: &str) -> String {
    let settle = match status {
        "pending" | "expired" => "",
        "confirmed" => "at 1s confirm h -> confirmed",
        "confirmed_less" => {
            "at 1s confirm h amount 20 -> confirmed captured 20\nat 1s adjust alice -30 -> ok"
        }
        "released" => "at 1s refund h -> refunded\nat 1s adjust alice -50 -> ok",
        "reversed" => {
            "at 1s confirm h -> confirmed\nat 1s refund h -> refunded\nat 1s adjust alice -50 -> ok"
        }
        "expired_poor" => "at 61s adjust alice -50 -> ok",
        other => panic!("{other}"),
    };
    format!(
        "at 0s grant alice 80 purchase as lot -> ok
         at 0s limit alice 10 -> ok
         at 0s consume alice 50 ttl 60s as h -> pending available 30
         {settle}\n"
    )
}

/// Every status x amount x overage x late. `expired` has the 50 back (80 free); `expired_poor` has 30.
#[test]
fn overage_by_late_by_status() {
    let table = "
        pending        less  reject    reject   -> confirmed captured 40 available 40 held 0 spent 40 lots lot:40
        pending        less  available recharge -> confirmed captured 40 available 40
        pending        less  debt      recharge -> confirmed captured 40 available 40 debt 0
        pending        all   reject    reject   -> confirmed captured 50 available 30 held 0 spent 50 lots lot:50
        pending        all   available reject   -> confirmed captured 50 available 30
        pending        all   debt      recharge -> confirmed captured 50 available 30
        pending        more  reject    reject   -> refused validation field amount limit 50 value 80
        pending        more  reject    recharge -> refused validation field amount limit 50 value 80
        pending        more  available reject   -> confirmed captured 80 available 0 spent 80 lots lot:80 borrowed 0
        pending        more  debt      reject   -> confirmed captured 80 available 0 debt 0
        pending        limit available reject   -> confirmed captured 90 available -10 debt 10 borrowed 10 lots lot:80
        pending        much  available reject   -> refused insufficient_credits required 41 available 40
        pending        much  debt      reject   -> confirmed captured 91 available -11 debt 11 borrowed 11 lots lot:80
        expired        all   reject    reject   -> refused hold_expired at 60s
        expired        less  available reject   -> refused hold_expired at 60s
        expired        more  debt      reject   -> refused hold_expired at 60s
        expired        less  reject    recharge -> confirmed captured 40 available 40 spent 40 lots lot:40 settled 61s
        expired        all   reject    recharge -> confirmed captured 50 available 30 spent 50 lots lot:50
        expired        all   debt      recharge -> confirmed captured 50 available 30
        expired        more  reject    recharge -> refused validation field amount limit 50 value 80
        expired        more  available recharge -> confirmed captured 80 available 0 lots lot:80
        expired        limit available recharge -> confirmed captured 90 available -10 debt 10 borrowed 10
        expired        much  available recharge -> refused insufficient_credits required 91 available 90
        expired        much  debt      recharge -> confirmed captured 91 available -11 debt 11 borrowed 11
        expired_poor   less  reject    recharge -> confirmed captured 40 available -10 debt 10 borrowed 10 lots lot:30
        expired_poor   all   reject    recharge -> refused insufficient_credits required 50 available 40
        expired_poor   all   available recharge -> refused insufficient_credits required 50 available 40
        expired_poor   all   debt      recharge -> refused insufficient_credits required 50 available 40
        expired_poor   more  debt      recharge -> refused insufficient_credits required 50 available 40
        confirmed      all   reject    reject   -> confirmed captured 50 available 30 settled 1s
        confirmed      all   debt      recharge -> confirmed captured 50 available 30 settled 1s
        confirmed      less  reject    reject   -> refused invalid_state state confirmed
        confirmed      more  reject    reject   -> refused invalid_state state confirmed
        confirmed      more  debt      recharge -> refused invalid_state state confirmed
        confirmed_less all   reject    reject   -> refused invalid_state state confirmed
        released       all   reject    reject   -> refused invalid_state state refunded
        released       all   debt      recharge -> refused invalid_state state refunded
        reversed       all   reject    reject   -> refused invalid_state state refunded
        reversed       less  available recharge -> refused invalid_state state refunded
    ";
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (asked, expected) = row.split_once("->").unwrap();
        let [status, amount, overage, late] = asked.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let amount = match amount {
            "all" => "",
            "less" => "amount 40",
            "more" => "amount 80",
            "limit" => "amount 90",
            "much" => "amount 91",
            other => panic!("{other}"),
        };
        let when = if status.starts_with("expired") {
            "61s"
        } else {
            "2s"
        };
        check(&format!(
            "{}at {when} confirm h {amount} overage {overage} late {late} -> {expected}",
            a_consumption(status)
        ));
    }
}

#[test]
fn what_was_not_used_goes_back_to_its_own_lots() {
    check(
        "
        at 0s  grant   alice 10 purchase expires 10d as a -> ok
        at 0s  grant   alice 10 purchase expires 20d as b -> ok
        at 0s  grant   alice 10 purchase as c             -> ok
        at 0s  consume alice 25 as h                      -> pending lots a:10+b:10+c:5
        at 1s  confirm h amount 12                        -> confirmed lots a:10+b:2 available 18 expiring 8@20d
        at 1s  consume alice 18                           -> pending lots b:8+c:10
        ",
    );
}

#[test]
fn confirm_keeps_lots_first_and_returns_what_was_borrowed() {
    check(
        "
        at 0s  grant   alice 30 purchase as a     -> ok
        at 0s  limit   alice 100                  -> ok
        at 0s  consume alice 50 as h1             -> pending lots a:30 borrowed 20 available -20 debt 20
        at 0s  confirm h1 amount 35               -> confirmed lots a:30 borrowed 5 available -5 debt 5 held 0
        at 0s  consume alice 50 as h2             -> pending lots none borrowed 50 available -55
        at 0s  confirm h2 amount 1                -> confirmed lots none borrowed 1 available -6 debt 6
        ",
    );
}

#[test]
fn repeating_a_confirm_without_a_key_is_safe() {
    check(
        "
        at 0s   grant   alice 100 purchase         -> ok
        at 0s   consume alice 75 ttl 60s as h      -> pending
        at 1s   confirm h amount 50                -> confirmed captured 50 available 50 settled 1s
        at 2s   confirm h amount 50                -> confirmed captured 50 available 50 settled 1s
        at 99d  confirm h amount 50                -> confirmed captured 50 settled 1s # the deadline is of no concern now
        at 99d  confirm h                          -> refused invalid_state state confirmed
        at 99d  refund  h amount 10                -> confirmed captured 50 reversed 10 available 60
        at 99d  confirm h amount 50                -> confirmed captured 50 reversed 10 available 60
        ",
    );
}

#[test]
fn a_late_confirm_takes_the_credits_afresh_from_what_is_there_now() {
    check(
        "
        at 0s    grant   alice 50 purchase expires 1h as old  -> ok
        at 0s    consume alice 50 ttl 60s as h                -> pending lots old:50
        at 2h    confirm h late recharge                      -> refused insufficient_credits required 50 available 0
        at 2h    grant   alice 60 purchase as new             -> ok
        at 2h    confirm h late recharge                      -> confirmed lots new:50 available 10 spent 50
        at 2h    refund  h                                    -> refunded reversed 50 available 60 spent 0
        ",
    );
}

/// After a partial confirm and after a reversal, nothing is left to recharge.
#[test]
fn a_settled_consumption_is_never_recharged() {
    check(
        "
        at 0s    grant   alice 100 purchase              -> ok
        at 0s    consume alice 50 ttl 60s as h           -> pending
        at 1s    confirm h amount 20                     -> confirmed captured 20 available 80
        at 99s   confirm h amount 20 late recharge       -> confirmed captured 20 available 80
        at 99s   confirm h amount 50 late recharge       -> refused invalid_state state confirmed
        at 99s   refund  h amount 5                      -> confirmed captured 20 reversed 5 available 85
        at 99s   confirm h amount 20 late recharge       -> confirmed captured 20 reversed 5 available 85
        at 99s   refund  h                               -> refunded
        at 99s   confirm h amount 20 late recharge       -> refused invalid_state state refunded
        at 99s   confirm h late recharge overage debt    -> refused invalid_state state refunded
        ",
    );
}
