//! Clean-ups: the books are the same with them and without.

use crate::child::{Dice, Role, account, mixed, start};
use crate::database::{self, Database, Kind, START};
use crate::history::{History, Rng};
use crate::model::{by_rules, refusal};
use crate::on_every_database;
use crate::subject::{PureSubject, Subject};
use jointo_credits::ledger::{State, apply, mature};

use jointo_credits::{
    ArchiveKind, Balance, Cleanup, Confirm, Consume, Entry, Error, FaultKind, Gift, Grant, KEYS_KEPT, Ledger,
    ManualClock, OrderStatus, Refund, Refusal, Source, Status, Timestamp, TransactionFilter,
};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use uuid::Uuid;

const DAY: Duration = Duration::from_secs(86_400);

fn cleanup(archive: &Path, days: u32) -> Cleanup {
    Cleanup {
        older_than: DAY * days,
        archive: archive.display().to_string(),
        limit: None,
        dry_run: false,
    }
}

async fn sound(ledger: &Ledger, archive: &Path, what: &str) {
    let found = ledger.verify().await.unwrap();
    assert!(found.is_clean(), "{what}: {:#?}", found.faults);
    let whole = ledger
        .verify_archived(&archive.display().to_string())
        .await
        .unwrap();
    assert!(whole.is_clean(), "{what}, with the archive: {:#?}", whole.faults);
    assert!(ledger.trial_balance().await.unwrap().is_balanced(), "{what}");
}

async fn journal(ledger: &Ledger, user_id: Uuid, archive: &Path, lines: usize) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut filter = TransactionFilter {
        limit: lines,
        ..TransactionFilter::default()
    };
    loop {
        let page = ledger
            .archived_transactions(user_id, filter.clone(), &archive.display().to_string())
            .await
            .unwrap();
        assert!(page.items.len() <= lines);
        all.extend(page.items);
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            all.reverse();
            return all;
        }
    }
}

/// Years of a random shop, cleaned up all the time, against the model that forgets nothing.
async fn years(kind: Kind, seed: u64, steps: usize) {
    let mut history = History::of_a_shop(seed);
    let mut rng = Rng::new(seed);
    let mut model = PureSubject::new(history.rules);
    let database = Database::fresh(kind).await;
    let clock = ManualClock::starting_at(history.now());
    let ledger = database
        .open(by_rules(database.settings().clock(clock.clone()), &history.rules))
        .await;
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path();
    let (mut removed, mut kept, mut holds_gone, mut skipped) = (0, 0, 0, 0);
    for n in 0..steps {
        let step = history.next(&mut rng);
        clock.set(step.now);
        let forgotten = |entry: &Entry| entry.created_at.plus(KEYS_KEPT) < step.now;
        let key = step.command.idempotency_key.as_ref();
        let is_old = |entry: &Entry| entry.idempotency_key.as_ref() == key && forgotten(entry);
        let of_old_key = key.is_some() && model.journals.values().flatten().any(is_old);
        let of_old_hold = match step.command.target() {
            jointo_credits::ledger::Target::Consumption(id) => {
                model.consumption(id, step.now).is_some() && ledger.get_consumption(id).await.is_err()
            }
            jointo_credits::ledger::Target::Account(_) => false,
        };
        // A key that was promised for thirty days, and a consumption that has left, mean nothing any more.
        if of_old_key || of_old_hold {
            skipped += 1;
            continue;
        }
        let expected = model.run(&step.command, step.now);
        let answer = ledger
            .run(step.command.clone())
            .await
            .map_err(|error| refusal(error, kind));
        assert_eq!(answer, expected, "seed {seed}, step {n}: {:?}", step.command);
        history.answered(&step, &expected);
        if rng.percent(8) {
            let mut wanted = cleanup(archive, 30);
            wanted.limit = rng.pick(&[None, None, Some(1), Some(7)]);
            let done = ledger.cleanup_transactions(&wanted).await.unwrap();
            removed += done.removed;
            kept += done.kept;
        }
        if rng.percent(3) {
            let done = ledger
                .cleanup_consumption_logs(&cleanup(archive, 31))
                .await
                .unwrap();
            holds_gone += done.removed;
        }
        if n % 100 == 0 {
            sound(&ledger, archive, &format!("seed {seed}, step {n}")).await;
        }
    }
    let now = history.now();
    clock.set(now);
    let what = format!("seed {seed}, at the end");
    sound(&ledger, archive, &what).await;
    assert!(
        removed > 50 && kept > 5 && holds_gone > 5,
        "{what}: {removed}, {kept}, {holds_gone}, {skipped}"
    );
    let mut sums: BTreeMap<String, i128> = BTreeMap::new();
    for user_id in history.users() {
        assert_eq!(
            ledger.balance(*user_id).await.unwrap(),
            model.balance(*user_id, now),
            "{what}"
        );
        let whole = model.journals.get(user_id).cloned().unwrap_or_default();
        for entry in &whole {
            *sums.entry(entry.counter_account.to_string()).or_default() += i128::from(entry.counter_change());
        }
        let bare = |mut entry: Entry| {
            entry.effects.new_hold = None;
            entry
        };
        let expected: Vec<Entry> = whole.iter().cloned().map(bare).collect();
        for lines in [1_000, 7] {
            assert_eq!(
                journal(&ledger, *user_id, archive, lines).await,
                expected,
                "{what}"
            );
        }
        for _ in 0..8 {
            let Some(entry) = whole.get(rng.below(whole.len().max(1))) else {
                break;
            };
            let at = entry
                .created_at
                .plus(Duration::from_micros(rng.next() % 100_000_000));
            match ledger.balance_at(*user_id, at).await {
                Ok(balance) => assert_eq!(
                    balance,
                    balance_of(*user_id, &whole, at, &history),
                    "{what}, at {at}"
                ),
                Err(Error::Refused(Refusal::Invalid { field: "at", .. })) => {}
                Err(other) => panic!("{what}: {other}"),
            }
        }
    }
    let booked = ledger.trial_balance().await.unwrap().counter_accounts;
    let without_zeros = |sums: BTreeMap<String, i128>| {
        sums.into_iter()
            .filter(|(_, amount)| *amount != 0)
            .collect::<BTreeMap<_, _>>()
    };
    assert_eq!(without_zeros(booked), without_zeros(sums), "{what}");
    ledger.close().await;
}

fn balance_of(user_id: Uuid, journal: &[Entry], at: Timestamp, history: &History) -> Balance {
    let mut state = State::new(user_id, at);
    for entry in journal.iter().take_while(|entry| entry.created_at <= at) {
        apply(&mut state, entry).unwrap();
    }
    for entry in mature(&state, at, &history.rules) {
        apply(&mut state, &entry).unwrap();
    }
    Balance::of(&state, at)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_with_clean_ups_are_as_years_without_in_memory() {
    for seed in 1..=3 {
        years(Kind::Memory, seed, 700).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_with_clean_ups_are_as_years_without_on_sqlite() {
    for seed in 11..=12 {
        years(Kind::SqliteFile, seed, 700).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn years_with_clean_ups_are_as_years_without_on_postgres() {
    for seed in 21..=22 {
        years(Kind::Postgres, seed, 700).await;
    }
}

// --- one thing at a time --------------------------------------------------------------------------------------------

/// When most of what [`Old`] has done is old.
pub const LATER: Timestamp = Timestamp::from_micros(START.as_micros() + 200 * 86_400_000_000);

/// A ledger with some old books, and an archive.
struct Old {
    ledger: Ledger,
    clock: ManualClock,
    folder: tempfile::TempDir,
}

impl Old {
    async fn open(database: &Database) -> Old {
        let clock = ManualClock::starting_at(START);
        let ledger = database.open(database.settings().clock(clock.clone())).await;
        for n in 0..10 {
            ledger
                .grant(
                    Grant::new(account(n), 1_000_000, Source::Purchase),
                    Some("opening"),
                )
                .await
                .unwrap();
        }
        Old {
            ledger,
            clock,
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// With some thousand entries of every kind, and then nothing for a long time.
    async fn busy(database: &Database) -> Old {
        let old = Old::open(database).await;
        mixed(&old.ledger, 1, 60, 8).await;
        old.clock.set(START.plus(DAY * 100));
        old.ledger.expire_pending(None).await.unwrap();
        old.clock.set(LATER);
        old
    }

    fn archive(&self) -> &Path {
        self.folder.path()
    }

    fn cleanup(&self) -> Cleanup {
        cleanup(self.archive(), 90)
    }

    async fn entries(&self, user_id: Uuid) -> Vec<Entry> {
        journal(&self.ledger, user_id, self.archive(), 1_000).await
    }

    async fn all_entries(&self) -> Vec<Entry> {
        let mut all = Vec::new();
        for n in 0..10 {
            all.extend(self.entries(account(n)).await);
        }
        all
    }

    async fn left(&self, user_id: Uuid) -> usize {
        let filter = TransactionFilter {
            limit: 1_000,
            ..TransactionFilter::default()
        };
        self.ledger
            .transactions(user_id, filter)
            .await
            .unwrap()
            .items
            .len()
    }
}

on_every_database! {
    async fn what_has_to_stay_stays(database: Database) {
        let old = Old::open(&database).await;
        let (ledger, alice, bob) = (&old.ledger, account(1), account(2));
        let mut package = jointo_credits::SavePackage::new("a", "9.90".parse().unwrap(), 100);
        package.bonus_credits = 10;
        let package = ledger.save_package(package).await.unwrap();
        let order = ledger.create_order(alice, package.package_id, "manual", None).await.unwrap();
        ledger.pay_order(order.order_no, &jointo_credits::payments::Checkout::default()).await.unwrap();
        let paid = jointo_credits::OrderPayment { transaction_id: "4200".into(), amount: order.price.clone(), paid_at: None };
        ledger.settle_order(order.order_no, paid).await.unwrap();
        ledger.gift(Gift::new(bob, 50, "welcome"), None).await.unwrap();
        let used = ledger.consume(Consume::new(alice, 30).feature("video"), Some("used")).await.unwrap();
        ledger.confirm(Confirm::all(used.id), None).await.unwrap();
        let before = (old.entries(alice).await, old.entries(bob).await);
        // A hold that lives for ever, as far as it is extended.
        old.clock.set(START.plus(DAY));
        let hold = ledger.consume(Consume::new(bob, 10).ttl(DAY * 30), Some("kept")).await.unwrap();
        let after_hold = ledger.consume(Consume::new(bob, 1), None).await.unwrap();
        ledger.refund(Refund::all(after_hold.id), None).await.unwrap();
        for month in 1..6 {
            old.clock.set(START.plus(DAY + DAY * 29 * month));
            ledger.extend(jointo_credits::Extend::new(hold.id, DAY * 30), None).await.unwrap();
        }
        let mut dry = old.cleanup();
        dry.older_than = DAY * 30;
        dry.dry_run = true;
        let would = ledger.cleanup_transactions(&dry).await.unwrap();
        assert_eq!(ledger.archives().await.unwrap(), [], "a dry run writes nothing");
        dry.dry_run = false;
        let done = ledger.cleanup_transactions(&dry).await.unwrap();
        assert_eq!((done.archived, done.removed, done.kept), (would.archived, would.removed, would.kept));
        assert!(!done.more && done.bytes > 0 && done.files.len() == 1, "{done:?}");
        // Alice's order, its steps and what it bought; Bob's from the hold on.
        let of_orders = before.0.iter().filter(|entry| entry.is_of_an_order()).count();
        assert!(of_orders >= 4, "{of_orders}");
        assert_eq!(old.left(alice).await, of_orders);
        assert_eq!(old.left(bob).await, 8);
        assert_eq!((old.entries(alice).await, old.entries(bob).await[..2].to_vec()), before);
        assert_eq!(ledger.order(order.order_no).await.unwrap().state.status, OrderStatus::Paid);
        sound(ledger, old.archive(), "after the first").await;
        // A key inside its promise replays, and one outside of it is free again.
        let replayed = ledger.consume(Consume::new(bob, 10).ttl(DAY * 30), Some("kept")).await.unwrap();
        assert_eq!(replayed.id, hold.id);
        let anew = ledger.consume(Consume::new(alice, 30).feature("video"), Some("used")).await.unwrap();
        assert_ne!(anew.id, used.id);
        // The consumption is there as long as nobody cleans it up, and can be given back.
        assert_eq!(ledger.get_consumption(used.id).await.unwrap().captured, 30);
        assert_eq!(ledger.refund(Refund { amount: Some(10), ..Refund::all(used.id) }, Some("some")).await.unwrap().reversed, 10);
        let mut nothing = ledger.cleanup_consumption_logs(&dry).await.unwrap();
        assert_eq!((nothing.archived, nothing.removed), (0, 0), "it has just changed: {nothing:?}");
        old.clock.set(LATER);
        ledger.refund(Refund::all(hold.id), None).await.unwrap();
        ledger.expire_pending(None).await.unwrap();
        old.clock.set(LATER.plus(DAY * 100));
        let rest = ledger.cleanup_transactions(&old.cleanup()).await.unwrap();
        assert!(rest.removed > 8, "{rest:?}");
        nothing = ledger.cleanup_consumption_logs(&old.cleanup()).await.unwrap();
        // Those of the last hour before the checkpoint wait for the next one.
        assert!(nothing.removed >= 2, "{nothing:?}");
        assert_eq!(ledger.get_consumption(used.id).await.unwrap_err().code(), "not_found");
        sound(ledger, old.archive(), "after the last").await;
        // Accounts without any entry left go on.
        assert_eq!(old.left(bob).await, 0);
        let balance = ledger.balance(bob).await.unwrap();
        let hold = ledger.consume(Consume::new(bob, 5), None).await.unwrap();
        assert_eq!((hold.status, ledger.balance(bob).await.unwrap().seq), (Status::Pending, balance.seq + 1));
        sound(ledger, old.archive(), "and after that").await;
        ledger.close().await;
    }
}

on_every_database! {
    async fn what_can_t_be_cleaned_up_is_refused(database: Database) {
        let old = Old::busy(&database).await;
        let field = |error: Error| match error {
            Error::Refused(Refusal::Invalid { field, .. }) => field,
            other => panic!("{other}"),
        };
        let mut young = old.cleanup();
        young.older_than = KEYS_KEPT - Duration::from_secs(1);
        assert_eq!(field(old.ledger.cleanup_transactions(&young).await.unwrap_err()), "older_than");
        assert_eq!(field(old.ledger.cleanup_consumption_logs(&young).await.unwrap_err()), "older_than");
        for place in ["", "ftp://somewhere/else"] {
            let nowhere = Cleanup { archive: place.into(), ..old.cleanup() };
            assert_eq!(field(old.ledger.cleanup_transactions(&nowhere).await.unwrap_err()), "archive");
            assert_eq!(field(old.ledger.verify_archived(place).await.unwrap_err()), "archive");
        }
        let in_a_file = old.archive().join("a file");
        std::fs::write(&in_a_file, "x").unwrap();
        let error = old.ledger.cleanup_transactions(&cleanup(&in_a_file, 90)).await.unwrap_err();
        assert_eq!(field(error), "archive");
        assert_eq!(old.ledger.archives().await.unwrap(), []);
        // Balances of a time that is in the archive.
        let before = old.ledger.balance_at(account(1), START).await.unwrap();
        assert!(before.seq > 0 && before.held > 0, "{before:?}");
        old.ledger.cleanup_transactions(&old.cleanup()).await.unwrap();
        assert_eq!(field(old.ledger.balance_at(account(1), START).await.unwrap_err()), "at");
        assert_eq!(old.ledger.balance_at(account(1), LATER).await.unwrap(), old.ledger.balance(account(1)).await.unwrap());
        sound(&old.ledger, old.archive(), "after that").await;
        // And statements: one that begins after the checkpoint opens with what that left.
        let gone = old.ledger.statement(account(1), START, LATER).await.unwrap_err();
        let Error::Refused(Refusal::Invalid { field: "since", limit, .. }) = gone else { panic!("{gone}") };
        let first: Timestamp = limit.split(' ').next().unwrap().parse().unwrap();
        let balance = old.ledger.balance(account(1)).await.unwrap();
        let since_then = old.ledger.statement(account(1), first, LATER.plus(DAY)).await.unwrap();
        assert_eq!(since_then.entries.len(), 0);
        assert_eq!((since_then.opening.available, since_then.closing.held), (balance.available, balance.held));
        old.ledger.consume(Consume::new(account(1), 5), None).await.unwrap();
        let statement = old.ledger.statement(account(1), first, LATER.plus(DAY)).await.unwrap();
        assert_eq!((statement.opening, statement.entries.len()), (since_then.closing, 1));
        assert_eq!(statement.closing.held, balance.held + 5);
        old.ledger.close().await;
    }
}

on_every_database! {
    async fn a_damaged_archive_is_found(database: Database) {
        let old = Old::busy(&database).await;
        let limited = Cleanup { limit: Some(100), ..old.cleanup() };
        while old.ledger.cleanup_transactions(&limited).await.unwrap().more {}
        old.ledger.cleanup_consumption_logs(&old.cleanup()).await.unwrap();
        let files = old.ledger.archives().await.unwrap();
        assert!(files.len() > 3 && files.iter().any(|file| file.kind == ArchiveKind::Consumptions));
        assert!(files.iter().all(|file| file.removed_at.is_some()));
        let mut dice = Dice::new(7);
        for file in &files {
            let path = old.archive().join(&file.name);
            let whole = std::fs::read(&path).unwrap();
            assert_eq!(whole.len() as u64, file.bytes);
            let mut changed = whole.clone();
            let at = dice.roll(whole.len() as u64) as usize;
            changed[at] ^= 1 << dice.roll(8);
            let mut longer = whole.clone();
            longer.push(0);
            for damaged in [Some(changed), Some(whole[..whole.len() - 1].to_vec()), Some(longer), Some(Vec::new()), None] {
                match damaged {
                    Some(bytes) => std::fs::write(&path, bytes).unwrap(),
                    None => std::fs::remove_file(&path).unwrap(),
                }
                let found = old.ledger.verify_archived(&old.archive().display().to_string()).await.unwrap();
                let kinds: Vec<FaultKind> = found.faults.iter().map(|fault| fault.kind).collect();
                assert_eq!(kinds, [FaultKind::Archive], "{:?}", found.faults);
                assert!(found.faults[0].detail.contains(&file.name));
            }
            std::fs::write(&path, whole).unwrap();
        }
        sound(&old.ledger, old.archive(), "when all is as it was").await;
        old.ledger.close().await;
    }
}

on_every_database! {
    async fn two_clean_ups_and_traffic_at_once(database: Database) {
        let old = Old::busy(&database).await;
        let before = old.all_entries().await;
        let small = Cleanup { limit: Some(200), ..old.cleanup() };
        let cleaning = || {
            let (ledger, small) = (old.ledger.clone(), small.clone());
            tokio::spawn(async move { while ledger.cleanup_transactions(&small).await.unwrap().more {} })
        };
        let (one, two) = (cleaning(), cleaning());
        mixed(&old.ledger, 2, 40, 8).await;
        one.await.unwrap();
        two.await.unwrap();
        old.ledger.cleanup_consumption_logs(&old.cleanup()).await.unwrap();
        sound(&old.ledger, old.archive(), "after all").await;
        let after = old.all_entries().await;
        let of = |entries: &[Entry], n: u64| -> Vec<Entry> {
            entries.iter().filter(|entry| entry.user_id == account(n)).cloned().collect()
        };
        for n in 0..10 {
            let (before, after) = (of(&before, n), of(&after, n));
            assert_eq!(after[..before.len()], before[..], "account {n}");
            assert!(old.left(account(n)).await <= after.len() - before.len(), "account {n}");
        }
        old.ledger.close().await;
    }
}

// --- what dies in the middle ----------------------------------------------------------------------------------------

/// What the child does: ends when nothing old is left.
pub async fn clean_up(ledger: &Ledger, archive: &Path) {
    let small = Cleanup {
        limit: Some(300),
        ..cleanup(archive, 90)
    };
    while ledger.cleanup_transactions(&small).await.unwrap().more {}
    ledger.cleanup_consumption_logs(&small).await.unwrap();
}

async fn killed_while_cleaning_up(kind: Kind) {
    let database = Database::fresh(kind).await;
    let old = Old::busy(&database).await;
    let before = old.all_entries().await;
    let archive = old.archive().display().to_string();
    let mut dice = Dice::new(3);
    let mut left = usize::MAX;
    for round in 0..12 {
        let mut child = start(Role::CleanUp, &database, round).await;
        child.tell(&archive).await;
        tokio::time::sleep(Duration::from_millis(dice.roll(90))).await;
        child.child.kill().await.unwrap(); // SIGKILL
        sound(&old.ledger, old.archive(), &format!("round {round}")).await;
        assert_eq!(old.all_entries().await, before, "round {round}");
        let mut now = 0;
        for n in 0..10 {
            now += old.left(account(n)).await;
        }
        assert!(now <= left);
        left = now;
    }
    clean_up(&old.ledger, old.archive()).await;
    sound(&old.ledger, old.archive(), "in the end").await;
    assert_eq!(old.all_entries().await, before);
    assert!(
        old.ledger
            .archives()
            .await
            .unwrap()
            .iter()
            .all(|file| file.removed_at.is_some())
    );
    for n in 0..10 {
        assert_eq!(old.left(account(n)).await, 0);
    }
    old.ledger.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_while_it_cleans_up_on_postgres() {
    killed_while_cleaning_up(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_is_killed_while_it_cleans_up_on_sqlite() {
    killed_while_cleaning_up(Kind::SqliteFile).await;
}

/// What is changed behind the ledger's back, `verify` names also where the past is in the archive; some of it only with the
/// archive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_after_a_clean_up_is_named() {
    let database = Database::fresh(Kind::Postgres).await;
    let old = Old::busy(&database).await;
    old.ledger.cleanup_transactions(&old.cleanup()).await.unwrap();
    mixed(&old.ledger, 2, 10, 4).await;
    sound(&old.ledger, old.archive(), "before").await;
    let archive = old.archive().display().to_string();
    let mut connection = PgConnection::connect(&database.url).await.unwrap();
    connection
        .execute("SET session_replication_role = replica")
        .await
        .unwrap();
    let one = "(SELECT min(user_id::text)::uuid FROM credit_checkpoints)";
    let of_first = |set: &str| format!("{set} AND user_id = {one}");
    let empty = "(SELECT min(lot_id::text)::uuid FROM credit_lots WHERE remaining = 0)";
    let confirmed =
        "(SELECT min(consumption_id::text)::uuid FROM credit_consumption_logs WHERE status = 'confirmed'";
    let next = "(SELECT c.seq + 1 FROM credit_checkpoints c WHERE c.user_id = e.user_id)";
    // What is done, and what is named: with the archive, and without.
    for (sql, with, without) in [
        (
            of_first(
                "UPDATE credit_checkpoints SET data = replace(data, '\"spent\":', '\"spent\":1') WHERE true",
            ),
            Some(FaultKind::Checkpoint),
            Some(FaultKind::Account),
        ),
        (
            of_first("UPDATE credit_checkpoints SET seq = seq + 1 WHERE true"),
            Some(FaultKind::Checkpoint),
            Some(FaultKind::Sequence),
        ),
        (
            of_first("UPDATE credit_checkpoints SET hash = decode(repeat('00', 32), 'hex') WHERE true"),
            Some(FaultKind::Checkpoint),
            Some(FaultKind::Hash),
        ),
        (
            of_first("DELETE FROM credit_checkpoints WHERE true"),
            Some(FaultKind::Archive),
            Some(FaultKind::Sequence),
        ),
        (
            of_first("UPDATE credit_lots SET remaining = remaining - 1, expired = 0 WHERE remaining > 1"),
            Some(FaultKind::Lot),
            Some(FaultKind::Lot),
        ),
        (
            of_first("UPDATE credit_accounts SET available = available + 1 WHERE true"),
            Some(FaultKind::Account),
            Some(FaultKind::Account),
        ),
        (
            of_first(&format!("DELETE FROM credit_transactions e WHERE seq = {next}")),
            Some(FaultKind::Sequence),
            Some(FaultKind::Sequence),
        ),
        (
            format!(
                "UPDATE credit_consumption_logs SET captured = captured + 1 WHERE consumption_id = {confirmed} AND user_id = {one})"
            ),
            Some(FaultKind::Hold),
            None,
        ),
        (
            format!("UPDATE credit_lots SET clawed = clawed + 5 WHERE lot_id = {empty}"),
            Some(FaultKind::Lot),
            None,
        ),
        (
            "UPDATE credit_archived_sums SET amount = amount + 1".into(),
            Some(FaultKind::Archive),
            Some(FaultKind::Archive),
        ),
    ] {
        let mut kept = Vec::new();
        for table in [
            "credit_checkpoints",
            "credit_lots",
            "credit_accounts",
            "credit_transactions",
            "credit_consumption_logs",
            "credit_archived_sums",
        ] {
            kept.push(format!(
                "DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table}; DROP TABLE kept_{table}"
            ));
            let copy = format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}");
            connection.execute(AssertSqlSafe(copy)).await.unwrap();
        }
        let changed = connection
            .execute(AssertSqlSafe(sql.clone()))
            .await
            .unwrap()
            .rows_affected();
        assert!(changed > 0, "{sql}");
        if sql.contains("archived_sums") {
            assert!(!old.ledger.trial_balance().await.unwrap().is_balanced());
        }
        let named = |found: &jointo_credits::Verification, kind: Option<FaultKind>| match kind {
            Some(kind) => found.faults.iter().any(|fault| fault.kind == kind),
            None => found.is_clean(),
        };
        let whole = old.ledger.verify_archived(&archive).await.unwrap();
        assert!(named(&whole, with), "{sql}: {:#?}", whole.faults);
        let found = old.ledger.verify().await.unwrap();
        assert!(named(&found, without), "{sql}: {:#?}", found.faults);
        for statement in kept {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        sound(&old.ledger, old.archive(), "when all is as it was").await;
    }
    old.ledger.close().await;
}
