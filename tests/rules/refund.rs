//! Rule **refund**: a hold is released, or a capture given back.

use crate::check;

fn a_consumption(status: &str) -> String {
    let settle = match status {
        "pending" | "expired" => "",
        "confirmed" => "at 1s confirm h amount 40 -> confirmed",
        "reversed_10" => {
            "at 1s confirm h amount 40 -> confirmed\nat 1s refund h amount 10 key before -> confirmed"
        }
        "released" => "at 1s refund h -> refunded",
        "reversed" => "at 1s confirm h amount 40 -> confirmed\nat 1s refund h -> refunded",
        other => panic!("{other}"),
    };
    format!(
        "at 0s grant alice 80 purchase as lot -> ok
         at 0s consume alice 50 ttl 60s as h -> pending available 30
         {settle}\n"
    )
}

/// Every status x amount x with or without a key; then the same once more, with the same key.
#[test]
fn status_by_amount_by_key() {
    let table = "
        pending     none  -> refunded captured 0 reversed 0 available 80 held 0 lots none settled 2s
        pending     50    -> refunded available 80 held 0
        pending     49    -> refused validation field amount limit 50 value 49
        pending     51    -> refused validation field amount limit 50 value 51
        expired     none  -> expired available 80 settled 60s
        expired     49    -> expired available 80 settled 60s
        expired     999   -> expired available 80
        confirmed   none  -> refunded captured 40 reversed 40 available 80 spent 0 lots none settled 2s
        confirmed   40    -> refunded captured 40 reversed 40 available 80 spent 0
        confirmed   15    -> confirmed captured 40 reversed 15 available 55 spent 25 lots lot:25 settled 1s
        confirmed   41    -> refused validation field amount limit 40 value 41
        released    none  -> refunded available 80 settled 1s
        released    50    -> refunded available 80 settled 1s
        released    49    -> refused invalid_state state refunded
        reversed    none  -> refunded captured 40 reversed 40 available 80 settled 1s
        reversed    40    -> refunded captured 40 reversed 40 available 80
        reversed    50    -> refused invalid_state state refunded
        reversed    10    -> refused invalid_state state refunded
    ";
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (asked, expected) = row.split_once("->").unwrap();
        let [status, amount] = asked.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let amount = if amount == "none" {
            String::new()
        } else {
            format!("amount {amount}")
        };
        let when = if status == "expired" { "61s" } else { "2s" };
        for key in ["", "key k1"] {
            // A retry says the same, with a key and without, and moves nothing.
            check(&format!(
                "{}at {when} refund h {amount} {key} -> {expected}\nat {when} refund h {amount} {key} -> {expected}",
                a_consumption(status)
            ));
        }
    }
}

/// Once a part was given back, a further part needs a key: without one it can't be told from a retry.
#[test]
fn further_parts_need_a_key() {
    let table = "
        none  no_key  -> refunded reversed 40 available 80
        30    no_key  -> refused invalid_state state confirmed
        10    no_key  -> confirmed reversed 10 available 50
        none  key     -> refunded reversed 40 available 80
        30    key     -> refunded reversed 40 available 80
        10    key     -> confirmed reversed 20 available 60
        31    key     -> refused validation field amount limit 30 value 31
        31    no_key  -> refused invalid_state state confirmed
    ";
    for row in table.lines().map(str::trim).filter(|row| !row.is_empty()) {
        let (asked, expected) = row.split_once("->").unwrap();
        let [amount, key] = asked.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("{row}")
        };
        let amount = if amount == "none" {
            String::new()
        } else {
            format!("amount {amount}")
        };
        let key = if key == "key" { "key k2" } else { "" };
        check(&format!(
            "{}at 2s refund h {amount} {key} -> {expected}",
            a_consumption("reversed_10")
        ));
    }
}

/// Amount and status were written in different transactions, so that a retry refunded again.
#[test]
fn rival_new_api_5556_a_retried_refund_gives_back_once() {
    check(
        "
        at 0s  grant   alice 100 purchase     -> ok
        at 0s  consume alice 60 as h          -> pending
        at 0s  confirm h                      -> confirmed available 40
        at 1s  refund  h amount 25            -> confirmed reversed 25 available 65 spent 35
        at 2s  refund  h amount 25            -> confirmed reversed 25 available 65 spent 35
        at 3s  refund  h amount 25 key k1     -> confirmed reversed 50 available 90 spent 10
        at 4s  refund  h amount 25 key k1     -> replay reversed 50 available 90 spent 10
        at 5s  refund  h                      -> refunded reversed 60 available 100 spent 0
        at 6s  refund  h                      -> refunded reversed 60 available 100
        at 6s  refund  h amount 60            -> refunded reversed 60 available 100
        ",
    );
}

#[test]
fn a_release_goes_back_to_its_lots_with_their_expiry() {
    check(
        "
        at 0s  grant   alice 10 purchase expires 10d as a   -> ok
        at 0s  grant   alice 10 purchase expires 20d as b   -> ok
        at 0s  consume alice 15 ttl 30d as h                -> pending lots a:10+b:5 expiring 5@20d
        at 1d  refund  h reason failed                      -> refunded available 20 expiring 10@10d+10@20d
        ",
    );
}

#[test]
fn a_reversal_gives_back_what_came_last_first() {
    check(
        "
        at 0s  grant   alice 10 purchase expires 10d as a -> ok
        at 0s  grant   alice 10 purchase expires 20d as b -> ok
        at 0s  limit   alice 50                           -> ok
        at 0s  consume alice 30 as h                      -> pending lots a:10+b:10 borrowed 10
        at 0s  confirm h                                  -> confirmed available -10 debt 10
        at 1s  refund  h amount 4 key k1                  -> confirmed borrowed 6 lots a:10+b:10 available -6 debt 6
        at 1s  refund  h amount 9 key k2                  -> confirmed borrowed 0 lots a:10+b:7 available 3 debt 0 expiring 3@20d
        at 1s  refund  h amount 9 key k3                  -> confirmed lots a:8 available 12 expiring 2@10d+10@20d
        ",
    );
}

#[test]
fn credits_of_an_expired_lot_come_back_as_a_reversal_lot_with_a_grace_period() {
    check(
        "
        at 0s      grant   alice 10 purchase expires 1d priority 5 as a     -> ok
        at 0s      grant   alice 10 purchase priority 5 as b                -> ok
        at 0s      consume alice 20 as h                                    -> pending
        at 0s      confirm h                                                -> confirmed available 0
        at 2d      refund  h                                                -> refunded available 20 spent 0 expiring 10@32d
        at 2d      consume alice 20 ttl 1s as h2                            -> pending lots lot1:10+b:10
        at 32d     balance alice                                            -> available 10 expiring none
        ",
    );
    check(
        "
        rules reversal_grace 1h
        at 0s      grant   alice 10 purchase expires 1d as a                -> ok
        at 0s      consume alice 10 as h                                    -> pending
        at 0s      confirm h                                                -> confirmed
        at 1d-1us  refund  h amount 3 key k1                                -> confirmed available 3 expiring 3@1d
        at 1d      refund  h amount 3 key k2                                -> confirmed available 3 expiring 3@1d+3600s
        at 1d      refund  h amount 4 key k3                                -> refunded available 7 expiring 7@1d+3600s
        at 1d+1h   balance alice                                            -> available 0
        ",
    );
}

/// What was borrowed and repaid meanwhile comes back as a lot.
#[test]
fn a_repaid_borrowing_comes_back_as_a_reversal_lot() {
    check(
        "
        at 0s  limit   alice 50                   -> ok
        at 0s  consume alice 30 as h              -> pending borrowed 30 available -30
        at 0s  confirm h                          -> confirmed borrowed 30 debt 30
        at 1s  grant   alice 20 purchase          -> ok available -10 debt 10
        at 2s  refund  h                          -> refunded available 20 debt 0 spent 0 expiring 20@30d+2s
        ",
    );
}

#[test]
fn what_comes_back_pays_debt_first() {
    check(
        "
        at 0s  grant   alice 50 purchase as a                    -> ok
        at 0s  consume alice 40 as h1                            -> pending
        at 0s  confirm h1                                        -> confirmed available 10
        at 0s  consume alice 10 as h2                            -> pending
        at 0s  confirm h2 amount 35 overage debt                 -> confirmed available -25 debt 25
        at 1s  refund  h1 amount 20                              -> confirmed available -5 debt 5
        at 1s  refund  h1                                        -> refunded reversed 40 available 15 debt 0
        ",
    );
}

/// A late failure takes nothing back that was earned.
#[test]
fn pending_only_leaves_a_capture_alone() {
    for (status, answer) in [
        ("pending", "refunded available 80 held 0"),
        ("expired", "expired available 80"),
        ("confirmed", "refused invalid_state state confirmed"),
        ("reversed_10", "refused invalid_state state confirmed"),
        ("released", "refunded available 80"),
        ("reversed", "refunded available 80"),
    ] {
        let at = if status == "expired" { "61s" } else { "2s" };
        check(&format!(
            "{}at {at} refund h pending_only yes -> {answer}",
            a_consumption(status)
        ));
    }
    // It is part of the request: the same key with another promise is another one.
    check(&format!(
        "{}at 2s refund h key k pending_only yes -> refunded\nat 2s refund h key k -> refused idempotency_conflict",
        a_consumption("pending")
    ));
}
