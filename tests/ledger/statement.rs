//! Statements: what they begin and end with, what is in them, and that they add up, on every database.

use crate::database::{self, Database, Kind, START, clock};
use crate::history::{History, Rng};
use crate::model::{by_rules, refusal};
use crate::on_every_database;
use crate::subject::{PureSubject, Subject};
use jointo_credits::ledger::{Rules, State, apply, mature};
use jointo_credits::{
    Clawback, Confirm, Consume, Entry, Error, Gift, Grant, Kind as EntryKind, Ledger, ManualClock, Outcome,
    Refund, Refusal, STATEMENT_ENTRIES_MAX, Source, Statement, StatementBalance, StatementTotals, Timestamp,
    TransactionFilter,
};
use std::time::Duration;
use uuid::Uuid;

const ALICE: Uuid = Uuid::from_u128(0xA11CE);
const BOB: Uuid = Uuid::from_u128(0xB0B);
const HOUR: Duration = Duration::from_secs(3600);

fn later(seconds: i64) -> Timestamp {
    Timestamp::from_micros(START.as_micros() + seconds * 1_000_000)
}

fn balance(available: i64, held: i64) -> StatementBalance {
    StatementBalance { available, held }
}

fn kinds(statement: &Statement) -> Vec<EntryKind> {
    statement.entries.iter().map(|entry| entry.kind).collect()
}

on_every_database! {
    async fn a_statement_says_what_came_and_went(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        let gift = Gift::new(ALICE, 40, "开业").expires_at(later(7200));
        ledger.gift(gift, None).await.unwrap();
        let bought = ledger.grant(Grant::new(ALICE, 500, Source::Purchase), None).await.unwrap();
        clock.set(later(3600));
        let image = ledger.consume(Consume::new(ALICE, 75).feature("image"), None).await.unwrap();
        ledger.confirm(Confirm::amount(image.id, 60), None).await.unwrap();
        ledger.refund(Refund::part(image.id, 10), Some("part")).await.unwrap();
        let other = ledger.consume(Consume::new(ALICE, 5), None).await.unwrap();
        ledger.confirm(Confirm::all(other.id), None).await.unwrap();
        ledger.confirm(Confirm::all(other.id), Some("again")).await.unwrap();
        ledger.consume(Consume::new(ALICE, 20).feature("video").ttl(HOUR), None).await.unwrap();
        let lot = bought.lot.unwrap().lot_id;
        ledger.clawback(Clawback { amount: Some(100), ..Clawback::all(ALICE, lot) }, None).await.unwrap();

        let all = ledger.statement(ALICE, START, later(3601)).await.unwrap();
        assert_eq!((all.opening, all.closing), (balance(0, 0), balance(365, 20)));
        assert_eq!(
            all.totals,
            StatementTotals { granted: 540, taken_back: 100, spent: 65, refunded: 10, expired: 0 }
        );
        assert_eq!(all.entries.iter().map(|entry| entry.seq).collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
        let features: Vec<_> = all
            .features
            .iter()
            .map(|f| (f.feature.as_deref(), f.captures, f.spent, f.refunded))
            .collect();
        assert_eq!(features, [(None, 1, 5, 0), (Some("image"), 1, 60, 10)]);
        let by_kind: Vec<_> =
            all.kinds.iter().map(|k| (k.kind.as_str(), k.entries, k.change, k.held_change)).collect();
        let expected = [
            ("grant", 1, 500, 0),
            ("gift", 1, 40, 0),
            ("consume", 3, -100, 100),
            ("confirm", 3, 15, -80),
            ("reverse", 1, 10, 0),
            ("clawback", 1, -100, 0),
        ];
        assert_eq!(by_kind, expected);

        // [since, until): the first half ends where the second one begins.
        let first = ledger.statement(ALICE, START, later(3600)).await.unwrap();
        let second = ledger.statement(ALICE, later(3600), later(3601)).await.unwrap();
        assert_eq!((first.entries.len(), second.entries.len()), (2, 8));
        assert_eq!((first.closing, second.opening), (balance(540, 0), balance(540, 0)));
        assert_eq!(second.totals.granted, 0);
        let none = ledger.statement(ALICE, later(3600), later(3600)).await.unwrap();
        assert_eq!((none.opening, none.closing, none.entries.len()), (balance(540, 0), balance(540, 0), 0));
        let before = ledger.statement(ALICE, Timestamp::MIN, START).await.unwrap();
        assert_eq!((before.closing, before.entries.len()), (balance(0, 0), 0));
        let one = Timestamp::from_micros(START.as_micros() + 1);
        assert_eq!(kinds(&ledger.statement(ALICE, START, one).await.unwrap()), [EntryKind::Gift, EntryKind::Grant]);

        // An account that nobody has used.
        let empty = ledger.statement(BOB, Timestamp::MIN, Timestamp::MAX).await.unwrap();
        assert_eq!((empty.opening, empty.closing, empty.effective), (balance(0, 0), balance(0, 0), Some(balance(0, 0))));
        assert_eq!((empty.totals, empty.entries.len()), (StatementTotals::default(), 0));
        assert_eq!((empty.kinds.len(), empty.features.len()), (0, 0));
        ledger.close().await;
    }
}

on_every_database! {
    async fn deadlines_count_when_they_are_written_down(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.grant(Grant::new(ALICE, 100, Source::Purchase).expires_at(later(86_400)), None).await.unwrap();
        ledger.consume(Consume::new(ALICE, 30).ttl(HOUR), None).await.unwrap();
        clock.set(later(10 * 86_400));
        let asked = |since, until| {
            let ledger = ledger.clone();
            async move { ledger.statement(ALICE, later(since), later(until)).await.unwrap() }
        };
        let (hour, day) = (3_600, 86_400);
        // Up to the deadline itself, which is not in the interval; and right behind it.
        let before = asked(0, hour).await;
        assert_eq!((before.closing, before.effective), (balance(70, 30), Some(balance(70, 30))));
        assert_eq!(asked(0, hour + 1).await.effective, Some(balance(100, 0)));
        assert_eq!(asked(0, day).await.effective, Some(balance(100, 0)));
        let lapsed = asked(0, day + 1).await;
        assert_eq!((lapsed.closing, lapsed.effective), (balance(70, 30), Some(balance(0, 0))));
        // What is still to come has not passed.
        clock.set(later(hour));
        assert_eq!(asked(0, 2 * day).await.effective, Some(balance(100, 0)));

        // A sweep writes it down later: the statement of before stays as it was, and the next one has it.
        clock.set(later(10 * day));
        ledger.expire_pending(None).await.unwrap();
        ledger.expire_lots(None).await.unwrap();
        let swept = asked(0, day + 1).await;
        assert_eq!((swept.closing, swept.entries.clone()), (lapsed.closing, lapsed.entries));
        assert_eq!(swept.effective, None);
        let next = asked(day + 1, 11 * day).await;
        assert_eq!((next.opening, next.closing, next.effective), (swept.closing, balance(0, 0), Some(balance(0, 0))));
        assert_eq!((next.totals.expired, next.totals.net()), (100, -100));
        assert_eq!(next.drawn_up_at, later(10 * day));
        ledger.close().await;
    }
}

on_every_database! {
    async fn a_balance_counts_entries_that_deadlines_will_write(database: Database) {
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        ledger.grant(Grant::new(ALICE, 100, Source::Purchase).expires_at(later(86_400)), None).await.unwrap();
        ledger.consume(Consume::new(ALICE, 30).ttl(HOUR), None).await.unwrap();
        assert_eq!(ledger.balance(ALICE).await.unwrap().seq, 2);
        clock.set(later(10 * 86_400));
        let before = ledger.balance(ALICE).await.unwrap();
        assert_eq!((before.seq, before.available), (4, 0), "a hold and a lot have expired");
        ledger.expire_pending(None).await.unwrap();
        ledger.expire_lots(None).await.unwrap();
        let written = ledger.transactions(ALICE, TransactionFilter::default()).await.unwrap();
        assert_eq!(written.items[0].seq, before.seq);
        assert_eq!(ledger.balance(ALICE).await.unwrap().seq, before.seq);
        ledger.close().await;
    }
}

on_every_database! {
    async fn what_can_be_no_interval_is_refused(database: Database) {
        let ledger = database.ledger().await;
        ledger.grant(Grant::new(ALICE, 1, Source::Gift), None).await.unwrap();
        let (early, late) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        for (since, until, at_fault) in [
            (later(1), START, "until"),
            (early, START, "since"),
            (START, late, "until"),
            (late, early, "since"),
        ] {
            let error = ledger.statement(ALICE, since, until).await.unwrap_err();
            let Error::Refused(Refusal::Invalid { field, .. }) = error else { panic!("{error}") };
            assert_eq!(field, at_fault);
        }
        ledger.close().await;
    }
}

/// More than one page, up to the limit, and one more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_has_a_limit() {
    let database = Database::fresh(Kind::Memory).await;
    let clock = clock();
    let ledger = database.open(database.settings().clock(clock.clone())).await;
    ledger
        .grant(Grant::new(ALICE, 1_000_000, Source::Purchase), None)
        .await
        .unwrap();
    for _ in 0..STATEMENT_ENTRIES_MAX / 1_000 {
        let many = vec![(Consume::new(ALICE, 1), None); 1_000];
        assert!(ledger.consume_many(many).await.unwrap().iter().all(Result::is_ok));
    }
    clock.set(later(1));
    ledger
        .grant(Grant::new(ALICE, 1, Source::Gift), None)
        .await
        .unwrap();
    let error = ledger.statement(ALICE, START, later(1)).await.unwrap_err();
    assert_eq!(error.code(), "validation");
    let text = error.to_string();
    assert!(
        text.contains("100001 entries") && text.contains("shorter"),
        "{text}"
    );
    let found = ledger.statement(ALICE, later(1), later(2)).await.unwrap();
    assert_eq!(
        (found.opening, found.entries.len()),
        (balance(900_000, 100_000), 1)
    );
    // Whoever has less room says so.
    clock.set(later(2));
    ledger
        .grant(Grant::new(ALICE, 1, Source::Gift), None)
        .await
        .unwrap();
    let two = (ALICE, later(1), later(3));
    let found = ledger.statement_within(two.0, two.1, two.2, 2).await.unwrap();
    assert_eq!(found.entries.len(), 2);
    for (entries_max, told) in [
        (1, "2 entries"),
        (0, "limit"),
        (STATEMENT_ENTRIES_MAX + 1, "limit"),
    ] {
        let error = ledger
            .statement_within(two.0, two.1, two.2, entries_max)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "validation");
        assert!(error.to_string().contains(told), "{error}");
    }
    ledger.close().await;
}

/// A year of entries on one account, page after page.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_are_put_together() {
    for kind in [Kind::SqliteFile, Kind::Postgres] {
        let database = Database::fresh(kind).await;
        let ledger = database.ledger().await;
        for _ in 0..5 {
            ledger
                .grant(Grant::new(ALICE, 1_000, Source::Purchase), None)
                .await
                .unwrap();
            let many = vec![(Consume::new(ALICE, 1), None); 1_000];
            assert!(ledger.consume_many(many).await.unwrap().iter().all(Result::is_ok));
        }
        let found = ledger
            .statement(ALICE, Timestamp::MIN, Timestamp::MAX)
            .await
            .unwrap();
        assert_eq!(
            found.entries.iter().map(|e| e.seq).collect::<Vec<_>>(),
            (1..=5_005).collect::<Vec<_>>()
        );
        assert_eq!(found.closing, balance(0, 5_000));
        ledger.close().await;
    }
}

/// The last entry from before `at`.
fn cut(journal: &[Entry], at: Timestamp) -> usize {
    let last = journal.iter().rposition(|entry| entry.created_at < at);
    last.map_or(0, |place| place + 1)
}

fn at_cut(journal: &[Entry], end: usize) -> StatementBalance {
    match journal[..end].last() {
        Some(entry) => balance(entry.available, entry.held),
        None => StatementBalance::default(),
    }
}

/// Against what the rules alone have written: by the entries' effects, not by counter-accounts.
fn assert_adds_up(statement: &Statement, journal: &[Entry], told: &str) {
    let (begin, end) = (cut(journal, statement.since), cut(journal, statement.until));
    let expected = &journal[begin..end.max(begin)];
    let named = |entries: &[Entry]| entries.iter().map(|e| (e.seq, e.hash)).collect::<Vec<_>>();
    assert_eq!(named(&statement.entries), named(expected), "{told}");
    assert_eq!(statement.opening, at_cut(journal, begin), "{told}");
    assert_eq!(statement.closing, at_cut(journal, end), "{told}");

    let Statement {
        opening,
        closing,
        totals,
        ..
    } = statement;
    let wide = i128::from;
    assert_eq!(
        wide(opening.total()) + totals.net(),
        wide(closing.total()),
        "{told}"
    );
    let sum = |of: fn(&Entry) -> i64| expected.iter().map(|entry| wide(of(entry))).sum::<i128>();
    assert_eq!(
        totals.granted - totals.taken_back,
        sum(|e| e.effects.granted),
        "{told}"
    );
    assert_eq!(totals.spent - totals.refunded, sum(|e| e.effects.spent), "{told}");
    assert_eq!(
        totals.expired,
        sum(|e| e.effects.lots.iter().map(|lot| lot.expired).sum()),
        "{told}"
    );
    for figure in [
        totals.granted,
        totals.taken_back,
        totals.spent,
        totals.refunded,
        totals.expired,
    ] {
        assert!(figure >= 0, "{told}: {totals:?}");
    }
    let kinds = &statement.kinds;
    assert_eq!(
        kinds.iter().map(|k| k.entries).sum::<u64>(),
        expected.len() as u64,
        "{told}"
    );
    let available = wide(closing.available) - wide(opening.available);
    assert_eq!(kinds.iter().map(|k| k.change).sum::<i128>(), available, "{told}");
    let held = wide(closing.held) - wide(opening.held);
    assert_eq!(kinds.iter().map(|k| k.held_change).sum::<i128>(), held, "{told}");
    let features = &statement.features;
    assert_eq!(
        features.iter().map(|f| f.spent).sum::<i128>(),
        totals.spent,
        "{told}"
    );
    assert_eq!(
        features.iter().map(|f| f.refunded).sum::<i128>(),
        totals.refunded,
        "{told}"
    );
}

struct Books {
    ledger: Ledger,
    clock: ManualClock,
    kind: Kind,
}

/// The balance as of the end, and the pages of the interval, are of the same entries as the statement.
async fn assert_agrees(books: &Books, rules: &Rules, statement: &Statement, journal: &[Entry], told: &str) {
    let Statement {
        user_id,
        since,
        until,
        ..
    } = *statement;
    let at = Timestamp::from_micros(until.as_micros() - 1);
    let mut state = State::new(user_id, at);
    for entry in &journal[..cut(journal, until)] {
        apply(&mut state, entry).unwrap();
    }
    for entry in mature(&state, at, rules) {
        apply(&mut state, &entry).unwrap();
    }
    let found = books.ledger.balance_at(user_id, at).await.unwrap();
    let account = &state.account;
    assert_eq!(
        (found.available, found.held, found.debt, found.spent),
        (account.available, account.held, account.debt, account.spent),
        "{told}"
    );
    let mut filter = TransactionFilter {
        since: Some(since),
        until: Some(until),
        limit: 100,
        ..TransactionFilter::default()
    };
    let mut entries = Vec::new();
    loop {
        let page = books.ledger.transactions(user_id, filter.clone()).await.unwrap();
        entries.extend(page.items);
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    entries.reverse();
    assert_eq!(entries, statement.entries, "{told}");
}

/// A random history; with `skew`, of processes whose clocks differ. Then statements of any intervals.
async fn adds_up(database: &Database, seed: u64, steps: usize, skew: bool) {
    let mut history = History::of_a_shop(seed);
    let mut rng = Rng::new(seed);
    let mut model = PureSubject::new(history.rules);
    let clock = ManualClock::starting_at(history.now());
    let settings = by_rules(database.settings().clock(clock.clone()), &history.rules);
    let books = Books {
        ledger: database.open(settings).await,
        clock,
        kind: database.kind,
    };
    let mut instants = vec![Timestamp::MIN, Timestamp::MAX];
    for n in 0..steps {
        let mut step = history.next(&mut rng);
        if skew {
            let back = rng.pick(&[0, 0, 1, 1_000_000, 60_000_000, 86_400_000_000]);
            step.now = Timestamp::from_micros(step.now.as_micros() - back);
        }
        books.clock.set(step.now);
        let expected = model.run(&step.command, step.now);
        let answer: Result<Outcome, Refusal> = books
            .ledger
            .run(step.command.clone())
            .await
            .map_err(|error| refusal(error, books.kind));
        assert_eq!(answer, expected, "seed {seed}, step {n}, {:?}", books.kind);
        history.answered(&step, &answer);
        let beside = rng.pick(&[-1, 0, 0, 1]);
        instants.push(Timestamp::from_micros(step.now.as_micros() + beside));
    }
    let now = history.now();
    books.clock.set(now);
    for round in 0..40 {
        let mut chosen = [rng.pick(&instants), rng.pick(&instants), rng.pick(&instants)];
        chosen.sort_unstable();
        let [a, b, c] = chosen;
        for user_id in history.users() {
            let told = format!("seed {seed}, {:?}, {round}, {user_id}: {a} {b} {c}", books.kind);
            let none = Vec::new();
            let journal = model.journals.get(user_id).unwrap_or(&none);
            let mut parts = Vec::new();
            for (since, until) in [(a, b), (b, c), (a, c)] {
                let statement = books.ledger.statement(*user_id, since, until).await.unwrap();
                assert_adds_up(&statement, journal, &told);
                let end = Timestamp::from_micros(until.as_micros() - 1).min(now);
                let last = cut(journal, until).max(cut(journal, since)) == journal.len();
                let effective = last.then(|| {
                    let account = model.matured(*user_id, end).account;
                    balance(account.available, account.held)
                });
                assert_eq!(statement.effective, effective, "{told}");
                assert_agrees(&books, &history.rules, &statement, journal, &told).await;
                parts.push(statement);
            }
            let [first, second, whole] = &parts[..] else {
                panic!("three")
            };
            assert_eq!(first.closing, second.opening, "{told}");
            assert_eq!(
                [&first.entries[..], &second.entries[..]].concat(),
                whole.entries,
                "{told}"
            );
        }
    }
    assert_eq!(books.ledger.verify().await.unwrap().faults, [], "seed {seed}");
    books.ledger.close().await;
}

on_every_database! {
    async fn statements_of_random_histories_add_up(database: Database) {
        let seed = 100 + database.kind as u64;
        adds_up(&database, seed, 400, false).await;
    }
}

on_every_database! {
    async fn statements_add_up_where_clocks_differ(database: Database) {
        let seed = 200 + database.kind as u64;
        adds_up(&database, seed, 250, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn statements_of_many_histories_add_up() {
    for seed in 1..=30 {
        let database = Database::fresh(Kind::Memory).await;
        adds_up(&database, seed, 300, seed % 3 == 0).await;
    }
}

on_every_database! {
    /// Until a time is up to the last entry from before it, whatever the times of those between.
    async fn a_clock_that_steps_back_has_one_answer(database: Database) {
        // The times of ten grants of 1, 2, 4 ...; then up to which of them there is what, until a time.
        let times = [0, 10, 900, 20, 30, 20, 5, 40, 1_000, 50];
        let clock = clock();
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        for (n, time) in times.iter().enumerate() {
            clock.set(later(*time));
            ledger.grant(Grant::new(ALICE, 1 << n, Source::Purchase), None).await.unwrap();
        }
        clock.set(later(2_000));
        for (until, entries) in [
            (0, 0), (1, 1), (5, 1), (6, 7), (10, 7), (20, 7), (21, 7), (30, 7), (31, 7), (40, 7), (41, 8),
            (50, 8), (51, 10), (900, 10), (1_000, 10), (1_001, 10), (2_000, 10),
        ] {
            let (until, sum) = (later(until), (1 << entries) - 1);
            let at = Timestamp::from_micros(until.as_micros() - 1);
            let statement = ledger.statement(ALICE, START, until).await.unwrap();
            assert_eq!((statement.closing.available, statement.entries.len()), (sum, entries), "{until}");
            assert_eq!(ledger.balance_at(ALICE, at).await.unwrap().available, sum, "{until}");
            let filter = TransactionFilter { until: Some(until), ..TransactionFilter::default() };
            let page = ledger.transactions(ALICE, filter).await.unwrap();
            assert_eq!(page.items.first().map_or(0, |entry| entry.available), sum, "{until}");
            assert_eq!(page.items.len(), entries, "{until}");
        }
        ledger.close().await;
    }
}

/// What was changed behind the ledger's back is no statement.
#[tokio::test]
async fn entries_that_do_not_follow_are_no_statement() {
    for (damage, told) in [
        (
            "UPDATE credit_transactions SET change = change + 1 WHERE seq = 3",
            "does not follow",
        ),
        (
            "UPDATE credit_transactions SET available = available + 1 WHERE seq = 2",
            "does not follow",
        ),
        ("DELETE FROM credit_transactions WHERE seq = 2", "missing"),
        ("DELETE FROM credit_transactions WHERE seq = 1", "missing"),
        (
            "UPDATE credit_transactions SET counter_account = 'nowhere' WHERE seq = 3",
            "nowhere",
        ),
    ] {
        let database = Database::fresh(Kind::SqliteFile).await;
        let ledger = database.ledger().await;
        for _ in 0..4 {
            ledger
                .grant(Grant::new(ALICE, 10, Source::Gift), None)
                .await
                .unwrap();
        }
        let other = rusqlite::Connection::open(database.sqlite_path()).unwrap();
        other
            .execute_batch(&format!(
                "DROP TRIGGER credit_transactions_no_update; DROP TRIGGER credit_transactions_no_delete; {damage}"
            ))
            .unwrap();
        let error = ledger
            .statement(ALICE, Timestamp::MIN, Timestamp::MAX)
            .await
            .unwrap_err();
        assert_eq!(error.code(), "unavailable", "{damage}");
        let text = error.to_string();
        assert!(
            text.contains(told) && text.contains("verify()"),
            "{damage}: {text}"
        );
        ledger.close().await;
    }
}
