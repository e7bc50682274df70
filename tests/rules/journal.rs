//! Rule **journal**: every accepted command appends at least one entry; sums over all accounts are zero.

use crate::books;
use jointo_credits::Timestamp;
use jointo_credits::ledger::limits::ENTRY_ROOM;
use jointo_credits::ledger::{Effects, Entry, Hash, Kind, State, apply};
use std::collections::BTreeMap;

const DAY: &str = "
    at 0s    grant    alice 100 purchase expires 10d reference order-1 key pay as a   -> ok
    at 0s    gift     alice 20 reason welcome operator root                           -> ok
    at 1s    limit    alice 50                                                        -> ok
    at 2s    consume  alice 75 ttl 60s for image reference job-1 as h1                -> pending
    at 3s    extend   h1 2h                                                           -> pending
    at 4s    confirm  h1 amount 60                                                    -> confirmed
    at 5s    consume  alice 30 ttl 60s as h2                                          -> pending
    at 6s    refund   h2 reason failed                                                -> refunded
    at 7s    refund   h1 amount 5                                                     -> confirmed
    at 8s    consume  alice 10 ttl 60s as h3                                          -> pending
    at 9s    adjust   alice -3 reason typo                                            -> ok
    at 10s   clawback alice a amount 90 shortfall debt                                -> ok
    at 2h    grant    bob 5 opening                                                   -> ok
    at 11d   mature   alice                                                           -> ok
";

fn alice() -> Vec<Entry> {
    books(DAY).journals.into_values().max_by_key(Vec::len).unwrap()
}

#[test]
fn who_asked_for_it_stands_in_the_entry() {
    let books = books(
        "
        at 0s    grant    alice 100 purchase as a                                    -> ok
        at 0s    consume  alice 30 as h1                                             -> pending
        at 0s    refund   h1 reason failed operator li                               -> refunded
        at 0s    consume  alice 30 as h2                                             -> pending
        at 0s    confirm  h2                                                         -> confirmed
        at 0s    refund   h2 amount 5 operator wang key r                            -> confirmed
        at 0s    refund   h2 amount 5 operator wang key r                            -> replay
        at 0s    refund   h2 amount 5 operator zhao key r                            -> refused idempotency_conflict
        at 0s    refund   h2 amount 5 key r                                          -> refused idempotency_conflict
        at 0s    clawback alice a amount 10 reason chargeback operator zhao          -> ok
        ",
    );
    let entries = books.journals.into_values().next().unwrap();
    let told: Vec<(&str, Option<&str>)> = (entries.iter())
        .map(|e| (e.kind.as_str(), e.effects.operator.as_deref()))
        .filter(|(_, operator)| operator.is_some())
        .collect();
    assert_eq!(
        told,
        [
            ("refund", Some("li")),
            ("reverse", Some("wang")),
            ("clawback", Some("zhao"))
        ]
    );
}

#[test]
fn each_command_appends_its_kind_and_its_counter_account() {
    let lines: Vec<String> = alice()
        .iter()
        .map(|e| {
            format!(
                "{:>2} {:<12} {:>4} {:>4} {:>4} {:>4} {}",
                e.seq,
                e.kind.as_str(),
                e.change,
                e.held_change,
                e.available,
                e.held,
                e.counter_account
            )
        })
        .collect();
    let expected = [
        // seq, kind, change, held change, available, held, counter-account
        " 1 grant         100    0  100    0 issued.purchase",
        " 2 gift           20    0  120    0 issued.gift",
        " 3 credit_limit    0    0  120    0 none",
        " 4 consume       -75   75   45   75 held",
        " 5 extend          0    0   45   75 none",
        " 6 confirm        15  -75   60    0 earned.image",
        " 7 consume       -30   30   30   30 held",
        " 8 refund         30  -30   60    0 held",
        " 9 reverse         5    0   65    0 earned.image",
        "10 consume       -10   10   55   10 held",
        "11 adjust         -3    0   52   10 issued.adjustment",
        "12 clawback      -90    0  -38   10 issued.purchase",
        "13 expire_hold    10  -10  -28    0 held",
    ];
    assert_eq!(lines, expected, "\n{}", lines.join("\n"));
}

#[test]
fn hashes_chain_from_the_account_s_genesis() {
    for (user_id, journal) in books(DAY).journals {
        let mut previous = Hash::genesis(user_id);
        for (entry, seq) in journal.iter().zip(1..) {
            assert_eq!((entry.user_id, entry.seq), (user_id, seq));
            assert_eq!(entry.hash, entry.chained(&previous));
            previous = entry.hash;
        }
    }
}

#[test]
fn any_change_of_an_entry_breaks_its_hash() {
    let journal = alice();
    let previous = Hash::genesis(journal[0].user_id);
    let honest = &journal[0];
    let forged: [fn(&mut Entry); 13] = [
        |e| e.user_id = uuid::Uuid::nil(),
        |e| e.seq += 1,
        |e| e.kind = Kind::Gift,
        |e| e.change += 1,
        |e| e.held_change += 1,
        |e| e.available += 1,
        |e| e.held += 1,
        |e| e.counter_account = "issued.gift".into(),
        |e| e.lot_id = None,
        |e| e.reference = Some("order-2".to_owned()),
        |e| e.idempotency_key = None,
        |e| e.data.push(' '),
        |e| e.created_at = Timestamp::from_micros(e.created_at.as_micros() + 1),
    ];
    for (i, forge) in forged.iter().enumerate() {
        let mut entry = honest.clone();
        forge(&mut entry);
        assert_ne!(entry.chained(&previous), honest.hash, "change {i}");
    }
    assert_ne!(
        honest.chained(&honest.hash),
        honest.hash,
        "another place in the chain"
    );
}

#[test]
fn sums_over_accounts_and_counter_accounts_are_zero() {
    let books = books(DAY);
    let mut sums: BTreeMap<String, i64> = BTreeMap::new();
    for entry in books.journals.values().flatten() {
        *sums.entry(entry.counter_account.to_string()).or_default() += entry.counter_change();
    }
    let accounts: i64 = books.states().map(|s| s.account.available + s.account.held).sum();
    assert_eq!(accounts + sums.values().sum::<i64>(), 0);
    assert_eq!(sums["none"], 0);
    assert_eq!(sums["held"], 0);
    assert_eq!(sums["earned.image"], 55);
}

#[test]
fn the_stored_form_says_everything_again() {
    let books = books(DAY);
    for journal in books.journals.values() {
        let user_id = journal[0].user_id;
        let mut state = State::new(user_id, Timestamp::MIN);
        for entry in journal {
            let stored: Effects = serde_json::from_str(&entry.data).unwrap();
            // A new hold is stored as a row of its own.
            let read = Entry {
                effects: Effects {
                    new_hold: entry.effects.new_hold.clone(),
                    ..stored
                },
                ..entry.clone()
            };
            assert_eq!(&read, entry);
            apply(&mut state, &read).unwrap();
        }
        state.note_deadlines(true, None);
        assert_eq!(&state, books.state(user_id).unwrap());
    }
}

#[test]
fn an_entry_that_does_not_follow_is_not_applied() {
    let journal = alice();
    let mut state = State::new(journal[0].user_id, Timestamp::MIN);
    assert!(
        apply(&mut state.clone(), &journal[1]).is_err(),
        "the second before the first"
    );
    apply(&mut state, &journal[0]).unwrap();
    assert!(apply(&mut state.clone(), &journal[0]).is_err(), "the first twice");
    let forged = Entry {
        change: 7,
        ..journal[1].clone()
    };
    assert!(
        apply(&mut state.clone(), &forged).is_err(),
        "figures that do not add up"
    );
    let other = Entry {
        user_id: uuid::Uuid::nil(),
        ..journal[1].clone()
    };
    assert!(apply(&mut state, &other).is_err(), "another account's");
}

#[test]
fn claims_and_expiries_after_a_return_are_entries_of_their_own() {
    let books = books(
        "
        at 0s   grant    alice 100 purchase expires 1h as a   -> ok
        at 0s   consume  alice 100 ttl 2h for image as h      -> pending
        at 0s   clawback alice a amount 30                    -> ok
        at 90m  refund   h                                    -> refunded
        ",
    );
    let journal = books.journals.values().next().unwrap();
    let kinds: Vec<(Kind, i64, &str)> = journal[3..]
        .iter()
        .map(|e| (e.kind, e.change, e.counter_account.as_ref()))
        .collect();
    assert_eq!(
        kinds,
        [
            (Kind::Refund, 100, "held"),
            (Kind::Clawback, -30, "issued.purchase"),
            (Kind::ExpireLot, -70, "expired")
        ]
    );
}

/// An entry tells of so many holds that were paid for, and others follow: of its kind and about the same, without credits and
/// without its key.
#[test]
fn an_entry_that_pays_for_many_holds_is_continued() {
    let holds = 3 * ENTRY_ROOM as i64;
    let mut script = format!("at 0s limit alice {holds} -> ok\n");
    for _ in 0..holds {
        script.push_str("at 0s consume alice 1 ttl 1h -> pending borrowed 1\n");
    }
    script.push_str(&format!(
        "at 1s grant alice {holds} purchase reference order-1 key pay as a -> ok amount {holds} available 0 debt 0\n"
    ));
    let entries = books(&script).journals.into_values().next().unwrap();
    let (_, grant) = entries.split_at(holds as usize + 1);
    // Each hold takes two places: it is pinned to one lot.
    assert_eq!(grant.len(), 6);
    let first = &grant[0];
    assert_eq!((first.change, first.effects.continues), (holds, None));
    assert_eq!(first.idempotency_key.as_deref(), Some("pay"));
    for (place, entry) in grant.iter().enumerate() {
        assert_eq!(entry.effects.funded.len(), ENTRY_ROOM / 2);
        assert!(entry.data.len() < 64 * 1024, "{}", entry.data.len());
        assert_eq!(entry.available, 0);
        if place > 0 {
            assert_eq!(entry.effects.continues, Some(first.seq));
            assert_eq!(
                (entry.change, entry.held_change, &entry.idempotency_key),
                (0, 0, &None)
            );
            assert_eq!(
                (entry.kind, entry.lot_id, &entry.reference),
                (Kind::Grant, first.lot_id, &first.reference)
            );
            assert_eq!(entry.counter_account, "none");
        }
    }
    let borrowed: i64 = grant.iter().map(|entry| entry.effects.borrowed).sum();
    assert_eq!(borrowed, -holds);
}
