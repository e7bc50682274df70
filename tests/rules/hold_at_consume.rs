//! Rule **hold-at-consume**: `consume` checks the balance and pins the credits in one step.

use crate::check;

/// Concurrent spends pass one check (also BerriAI/litellm #34732, songquanpeng/one-api #2440): whatever order they are
/// decided in, each sees what the one before took.
#[test]
fn rival_new_api_5690_twenty_consumes_of_75_on_500_grant_exactly_6() {
    let mut script = "at 0s grant alice 500 purchase -> ok\n".to_owned();
    for i in 1..=20 {
        let expected = match i {
            1..=6 => format!("pending available {} held {}", 500 - 75 * i, 75 * i),
            _ => "refused insufficient_credits required 75 available 50".to_owned(),
        };
        script += &format!("at 0s consume alice 75 -> {expected}\n");
    }
    script += "at 0s balance alice -> available 50 held 450";
    check(&script);
}

/// What was held was not counted in the check.
#[test]
fn rival_blnk_181_what_is_held_counts_in_every_check() {
    check(
        "
        at 0s  grant   alice 100 purchase                        -> ok
        at 0s  consume alice 60 as h1                            -> pending available 40 held 60
        at 0s  consume alice 50                                  -> refused insufficient_credits required 50 available 40
        at 0s  adjust  alice -41                                 -> refused insufficient_credits required 41 available 40
        at 0s  confirm h1 amount 101 overage available           -> refused insufficient_credits required 41 available 40
        at 0s  confirm h1                                        -> confirmed available 40 held 0 spent 60
        at 0s  consume alice 41                                  -> refused insufficient_credits required 41 available 40
        ",
    );
}

/// A retried reserve held twice.
#[test]
fn rival_midaz_2279_a_retried_reserve_holds_once() {
    check(
        "
        at 0s  grant   alice 100 purchase          -> ok
        at 0s  consume alice 60 key k1 as h1       -> pending available 40 held 60
        at 1s  consume alice 60 key k1             -> replay available 40 held 60
        ",
    );
}

#[test]
fn a_consumption_says_what_it_is_for_and_where_it_came_from() {
    check(
        r#"
        at 0s  grant   alice 30 purchase as a -> ok
        at 0s  grant   alice 30 purchase as b -> ok
        at 0s  consume alice 40 ttl 5m for image_generation reference job-7 metadata "{\"b\": 1, \"a\": [true]}" as h -> pending amount 40 captured 0 lots a:30+b:10 expires 300s for image_generation reference job-7 metadata "{\"a\":[true],\"b\":1}"
        at 0s  consume bob 1                  -> refused insufficient_credits required 1 available 0
        at 1s  show    h                      -> pending for image_generation reference job-7 lots a:30+b:10
        at 1s  show    nothing                -> nothing
        "#,
    );
}

#[test]
fn accounts_do_not_touch_each_other() {
    check(
        "
        at 0s  grant   alice 100 purchase as a                   -> ok
        at 0s  grant   bob   10 purchase                         -> ok
        at 0s  consume bob   11                                  -> refused insufficient_credits required 11 available 10
        at 0s  clawback bob a                                    -> refused not_found what lot
        at 0s  balance alice                                     -> available 100
        ",
    );
}
