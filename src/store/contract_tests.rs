//! The contract of `store/mod.rs`, once for every store.
//!
//! A store's tests name themselves and how to make an empty, migrated store:
//!
//! ```ignore
//! contract_tests!(fresh_file().await);
//! ```

use super::{
    AccountWrite, Committer, DUE_HOLDS_MAX, Due, EntryFilter, GiftRow, HoldFilter, KeyScope, LoadedAccount,
    Needs, Reader, StoreError, StoreResult, Writes,
};
use crate::ledger::{
    Account, Action, Clawback, Command, Confirm, Consume, Effects, Entry, Extend, Gift, Grant, Hash, Hold,
    HoldState, Kind, Late, Lot, LotChange, Metadata, Money, Outcome, Overage, Pin, Refund, Rules,
    SetCreditLimit, Shortfall, Source, State, Status, Timestamp, apply, decide, limits,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use uuid::Uuid;

/// A store under test.
pub(crate) trait Subject: Send + Sync + 'static {
    type Committer: Committer;

    fn reader(&self) -> &dyn Reader;

    fn committer(&self) -> Self::Committer;
}

/// Every test of the contract, for the store that `$fresh` (an expression that may `.await`) makes.
macro_rules! contract_tests {
    ($fresh:expr) => {
        $crate::store::contract_tests::contract_tests! { $fresh =>
            absent_things_are_absent,
            every_field_comes_back,
            every_field_can_change,
            a_history_comes_back_the_same_everywhere,
            a_consumption_leads_to_its_account,
            lots_are_loaded_that_are_open_named_or_pinned,
            due_holds_come_in_order_and_in_parts,
            due_holds_are_looked_up_when_the_deadline_has_passed,
            borrowing_holds_are_loaded_where_there_is_debt_of_theirs,
            keys_lead_to_their_entry_and_its_consumption,
            a_key_that_was_not_looked_up_is_not_written_twice,
            stale_accounts_are_named_and_left_alone,
            an_empty_append_ends_what_load_began,
            a_load_that_is_never_appended_changes_nothing,
            a_locked_account_is_never_stale,
            committers_side_by_side_lose_nothing,
            landed_finds_exactly_what_is_there,
            journals_are_read_in_pages_and_filtered,
            consumptions_are_read_in_pages_and_filtered,
            due_accounts_come_in_order_of_deadline,
            a_snapshot_does_not_move,
            a_snapshot_is_read_in_pages,
            sums_pass_2_to_the_63,
            a_closed_store_is_lost,
        }
    };
    ($fresh:expr => $($test:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
            async fn $test() {
                $crate::store::contract_tests::$test($fresh).await;
            }
        )+
    };
}
pub(crate) use contract_tests;

// --- making rows ----------------------------------------------------------------------------------------------------

const T0: Timestamp = Timestamp::from_micros(1_790_000_000_123_456);
const RULES: Rules = Rules {
    hold_ttl: Duration::from_secs(3600),
    on_lot_expired_while_held: crate::ledger::OnLotExpiredWhileHeld::Expire,
    release_grace: Duration::from_secs(7 * 24 * 3600),
    reversal_grace: Duration::from_secs(30 * 24 * 3600),
};

/// What an append returns where no account is stale.
const NOBODY: [Uuid; 0] = [];

/// Ids that do not sort as their numbers do.
fn id(n: u64) -> Uuid {
    Uuid::from_u64_pair(n.wrapping_mul(0x9E37_79B9_7F4A_7C15), n)
}

fn at(seconds: u64) -> Timestamp {
    T0.plus(Duration::from_secs(seconds))
}

fn command(action: Action) -> Command {
    Command {
        action,
        idempotency_key: None,
    }
}

fn keyed(key: &str, action: Action) -> Command {
    Command {
        action,
        idempotency_key: Some(key.into()),
    }
}

fn grant(user_id: Uuid, amount: i64) -> Grant {
    Grant {
        user_id,
        amount,
        source: Source::Purchase,
        priority: 0,
        expires_at: None,
        cost: None,
        reference: None,
    }
}

fn consume(user_id: Uuid, amount: i64) -> Consume {
    Consume {
        user_id,
        amount,
        feature: None,
        ttl: None,
        reference: None,
        metadata: None,
        priced: None,
    }
}

fn confirm(consumption_id: Uuid) -> Confirm {
    Confirm {
        consumption_id,
        amount: None,
        overage: Overage::Reject,
        late: Late::Reject,
        used: None,
    }
}

fn consumption_id(outcome: &Outcome) -> Uuid {
    match outcome {
        Outcome::Consumption(consumption) => consumption.id,
        other => panic!("{other:?}"),
    }
}

fn lot_id(outcome: &Outcome) -> Uuid {
    match outcome {
        Outcome::Receipt(receipt) => receipt.lot.as_ref().unwrap().lot_id,
        other => panic!("{other:?}"),
    }
}

/// What entries write. The engine does the same for many accounts at a time.
fn writes(before: &LoadedAccount, entries: &[Entry]) -> Writes {
    let mut state = before.state.clone();
    let (mut new_lots, mut lots) = (BTreeSet::new(), BTreeSet::new());
    let (mut new_holds, mut holds) = (BTreeSet::new(), BTreeSet::new());
    for entry in entries {
        apply(&mut state, entry).unwrap();
        new_lots.extend(entry.effects.new_lots.iter().map(|lot| lot.lot_id));
        lots.extend(entry.effects.lots.iter().map(|change| change.lot));
        new_holds.extend(entry.effects.new_hold.iter().map(|hold| hold.consumption_id));
        holds.extend(entry.consumption_id.filter(|_| entry.effects.hold.is_some()));
        holds.extend(entry.effects.funded.iter().map(|(id, _)| *id));
    }
    state.note_deadlines(
        before.looked_up_due && before.state.due_end.is_none(),
        before.next_pending,
    );
    let user_id = state.account.user_id;
    let lot = |id: &Uuid| (user_id, state.lots[id].clone());
    let gift = |entry: &Entry| {
        let lot = entry
            .effects
            .new_lots
            .first()
            .filter(|_| entry.kind == Kind::Gift)?;
        Some(GiftRow {
            user_id,
            lot_id: lot.lot_id,
            amount: lot.amount,
            reason: entry.effects.reason.clone().unwrap(),
            operator: entry.effects.operator.clone(),
            expires_at: lot.expires_at,
            created_at: entry.created_at,
        })
    };
    Writes {
        accounts: vec![AccountWrite {
            account: state.account.clone(),
            expected_seq: before.exists.then_some(before.state.account.seq),
        }],
        new_lots: new_lots.iter().map(lot).collect(),
        lots: lots.difference(&new_lots).map(lot).collect(),
        new_holds: new_holds.iter().map(|id| state.holds[id].clone()).collect(),
        holds: holds
            .difference(&new_holds)
            .map(|id| state.holds[id].clone())
            .collect(),
        gifts: entries.iter().filter_map(gift).collect(),
        entries: entries.to_vec(),
    }
}

fn together(all: impl IntoIterator<Item = Writes>) -> Writes {
    let mut sum = Writes::default();
    for writes in all {
        sum.accounts.extend(writes.accounts);
        sum.new_lots.extend(writes.new_lots);
        sum.lots.extend(writes.lots);
        sum.new_holds.extend(writes.new_holds);
        sum.holds.extend(writes.holds);
        sum.gifts.extend(writes.gifts);
        sum.entries.extend(writes.entries);
    }
    sum
}

fn needs(command: &Command, now: Timestamp) -> Needs {
    use crate::ledger::Target;
    let mut needs = Needs {
        now: Some(now),
        ..Needs::default()
    };
    match command.target() {
        Target::Account(user_id) => {
            needs.accounts.push(user_id);
            needs.lots.extend(command.lot().map(|lot| (user_id, lot)));
        }
        Target::Consumption(id) => needs.consumptions.push(id),
    }
    needs
}

fn needs_account(user_id: Uuid, now: Timestamp) -> Needs {
    Needs {
        now: Some(now),
        accounts: vec![user_id],
        ..Needs::default()
    }
}

/// Loads and decides; nothing is written yet.
async fn decided<C: Committer>(committer: &mut C, now: Timestamp, command: &Command) -> (Writes, Outcome) {
    let loaded = committer.load(&needs(command, now)).await.unwrap();
    assert_eq!(loaded.accounts.len(), 1);
    let account = loaded.accounts.values().next().unwrap();
    let decision = decide(&account.state, command, now, &RULES).unwrap();
    (writes(account, &decision.entries), decision.outcome)
}

/// Loads, decides, appends.
pub(crate) async fn run<C: Committer>(committer: &mut C, now: Timestamp, command: Command) -> Outcome {
    let (writes, outcome) = decided(committer, now, &command).await;
    assert_eq!(committer.append(&writes).await.unwrap(), NOBODY);
    outcome
}

async fn load_one<C: Committer>(committer: &mut C, needs: &Needs) -> LoadedAccount {
    let mut loaded = committer.load(needs).await.unwrap();
    assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
    assert_eq!(loaded.accounts.len(), 1);
    loaded.accounts.pop_first().unwrap().1
}

fn every_entry() -> EntryFilter {
    EntryFilter {
        limit: usize::MAX,
        ..EntryFilter::default()
    }
}

fn every_hold() -> HoldFilter {
    HoldFilter {
        status: None,
        now: T0,
        before: None,
        limit: usize::MAX,
    }
}

/// An account made by hand, with figures that the rules would take long to reach.
fn account_by_hand(user_id: Uuid, seq: i64) -> Account {
    Account {
        seq,
        hash: Hash::of(&seq.to_be_bytes()),
        ..Account::new(user_id, T0)
    }
}

fn hold_by_hand(user_id: Uuid, n: u64, expires_at: Timestamp) -> Hold {
    Hold {
        consumption_id: id(n),
        user_id,
        amount: 1,
        feature: None,
        reference: None,
        metadata: None,
        quote: None,
        created_at: T0,
        state: HoldState {
            status: Status::Pending,
            captured: 0,
            reversed: 0,
            borrowed: 0,
            pins: Vec::new(),
            expires_at,
            settled_at: None,
            used: None,
        },
    }
}

fn lot_by_hand(n: u64, amount: i64) -> Lot {
    Lot {
        lot_id: id(n),
        source: Source::Purchase,
        amount,
        remaining: amount,
        expired: 0,
        clawed: 0,
        claim: 0,
        priority: 0,
        expires_at: None,
        cost: None,
        reference: None,
        origin: None,
        created_at: T0,
    }
}

fn entry_by_hand(user_id: Uuid, seq: i64) -> Entry {
    let effects = Effects {
        granted: seq,
        ..Effects::default()
    };
    Entry {
        user_id,
        seq,
        kind: Kind::Grant,
        change: 1,
        held_change: 0,
        available: seq,
        held: 0,
        counter_account: "issued.purchase".into(),
        consumption_id: None,
        lot_id: None,
        reference: None,
        idempotency_key: None,
        request_hash: None,
        data: serde_json::to_string(&effects).unwrap(),
        effects,
        created_at: T0,
        hash: Hash::of(&seq.to_be_bytes()),
    }
}

fn new_account(account: Account) -> Vec<AccountWrite> {
    vec![AccountWrite {
        account,
        expected_seq: None,
    }]
}

async fn append<S: Subject>(store: &S, writes: Writes) {
    let mut committer = store.committer();
    let accounts = writes
        .accounts
        .iter()
        .map(|write| write.account.user_id)
        .collect();
    committer
        .load(&Needs {
            accounts,
            ..Needs::default()
        })
        .await
        .unwrap();
    assert_eq!(committer.append(&writes).await.unwrap(), NOBODY);
}

// --- the contract ---------------------------------------------------------------------------------------------------

pub(crate) async fn absent_things_are_absent(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let needs = Needs {
        now: Some(T0),
        accounts: vec![user],
        consumptions: vec![id(2)],
        lots: vec![(user, id(3))],
        keys: vec![
            (KeyScope::Account(user), "key".into()),
            (KeyScope::Consumption(id(2)), "key".into()),
        ],
        lock: true,
    };
    let loaded = committer.load(&needs).await.unwrap();
    assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
    assert_eq!(loaded.accounts.len(), 1);
    let account = &loaded.accounts[&user];
    assert_eq!(account.state, State::new(user, T0));
    assert!(!account.exists && !account.looked_up_due && account.next_pending.is_none());
    assert!(loaded.owners.is_empty() && loaded.priors.is_empty());
    assert_eq!(
        committer.landed(&[(user, 1, Hash::genesis(user))]).await.unwrap(),
        [false]
    );

    let reader = store.reader();
    assert!(reader.account(user, T0).await.unwrap().is_none());
    assert!(reader.entries(user, every_entry()).await.unwrap().is_empty());
    assert!(reader.holds(user, every_hold()).await.unwrap().is_empty());
    assert!(reader.hold(id(2)).await.unwrap().is_none());
    assert!(
        reader
            .due(Due::Holds, Timestamp::MAX, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    assert!(
        reader
            .due(Due::Lots, Timestamp::MAX, None, 10)
            .await
            .unwrap()
            .is_empty()
    );
    let mut snapshot = reader.snapshot().await.unwrap();
    assert!(
        snapshot
            .accounts(None, 10)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .is_empty()
    );
    assert!(
        snapshot
            .entries(None, 10)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .is_empty()
    );
    assert_eq!(snapshot.sums().await.unwrap(), Default::default());
    reader.check_schema().await.unwrap();
    reader.migrate().await.unwrap();
}

/// Each optional field once with a value and once without, each word, and the extremes of each type.
fn full_rows(user: Uuid) -> Writes {
    let most = limits::CREDITS_MAX;
    let long: String = "字".repeat(limits::REFERENCE_BYTES_MAX / 3);
    let account = Account {
        user_id: user,
        seq: Kind::ALL.len() as i64,
        hash: Hash::of(b"last"),
        available: most,
        held: most - 1,
        debt: most - 2,
        borrowed: most - 3,
        credit_limit: most - 4,
        granted: most - 5,
        spent: most - 6,
        next_hold_deadline: Some(Timestamp::MAX),
        next_lot_deadline: Some(Timestamp::MIN),
        created_at: T0,
        updated_at: at(1),
    };
    let plain = lot_by_hand(100, most);
    let mut lots = vec![(user, plain.clone())];
    for (n, source) in Source::ALL.iter().enumerate() {
        let lot = Lot {
            lot_id: id(101 + n as u64),
            source: *source,
            amount: 100,
            remaining: 10,
            expired: 20,
            clawed: 30,
            claim: 40,
            priority: if n % 2 == 0 {
                -limits::PRIORITY_MAX
            } else {
                limits::PRIORITY_MAX
            },
            expires_at: Some(Timestamp::MAX),
            cost: Some(Money {
                minor: most,
                currency: "CNY".into(),
            }),
            reference: Some(long.clone()),
            origin: Some(id(7)),
            created_at: Timestamp::MIN,
        };
        lots.push((user, lot));
    }
    let metadata = format!("{{\"k\":\"{}\"}}", "x".repeat(limits::METADATA_BYTES_MAX - 8));
    let mut holds = vec![hold_by_hand(user, 200, at(9))];
    for (n, status) in Status::ALL.iter().enumerate() {
        let (captured, reversed) = match status {
            Status::Confirmed => (75, 5),
            Status::Refunded => (75, 75),
            _ => (0, 0),
        };
        holds.push(Hold {
            consumption_id: id(201 + n as u64),
            user_id: user,
            amount: most,
            feature: Some(long.clone()),
            reference: Some("it's \"quoted\"; \\ % _".into()),
            metadata: Some(Metadata::parse(&metadata).unwrap()),
            quote: Some(long.clone()),
            created_at: T0,
            state: HoldState {
                status: *status,
                captured,
                reversed,
                borrowed: 3,
                pins: vec![
                    Pin {
                        lot_id: id(100),
                        amount: most,
                    },
                    Pin {
                        lot_id: id(101),
                        amount: 1,
                    },
                ],
                expires_at: Timestamp::MAX,
                settled_at: (*status != Status::Pending).then_some(at(5)),
                used: (*status != Status::Pending).then(|| long.clone()),
            },
        });
    }
    let entries = Kind::ALL.iter().enumerate().map(|(n, kind)| {
        let full = n % 2 == 0;
        let effects = if full {
            Effects {
                lots: vec![LotChange {
                    lot: id(100),
                    remaining: -1,
                    expired: 2,
                    clawed: 3,
                    claim: -4,
                }],
                new_lots: vec![plain.clone()],
                hold: Some(holds[1].state.clone()),
                funded: vec![(id(201), holds[2].state.clone())],
                reason: Some("为什么".into()),
                ..Effects::default()
            }
        } else {
            Effects::default()
        };
        Entry {
            kind: *kind,
            change: -most,
            held_change: most,
            available: -most,
            held: most,
            counter_account: "earned.图片".into(),
            consumption_id: full.then(|| id(201)),
            lot_id: full.then(|| id(100)),
            reference: full.then(|| long.clone()),
            idempotency_key: full.then(|| format!("{n:0>255}")),
            request_hash: full.then(|| Hash::of(b"request")),
            data: serde_json::to_string(&effects).unwrap(),
            effects,
            ..entry_by_hand(user, n as i64 + 1)
        }
    });
    let gift = |n: u64, full: bool| GiftRow {
        user_id: user,
        lot_id: id(n),
        amount: most,
        reason: long.clone(),
        operator: full.then(|| long.clone()),
        expires_at: full.then_some(Timestamp::MAX),
        created_at: T0,
    };
    Writes {
        accounts: new_account(account),
        new_lots: lots,
        new_holds: holds.clone(),
        gifts: vec![gift(1, true), gift(2, false)],
        entries: entries.collect(),
        ..Writes::default()
    }
}

async fn assert_rows(store: &impl Subject, user: Uuid, account: &Account, rows: &Writes) {
    let loaded = load_one(&mut store.committer(), &needs_account(user, T0)).await;
    assert_eq!(loaded.state.account, *account);
    let lots: BTreeMap<Uuid, Lot> = rows
        .new_lots
        .iter()
        .map(|(_, lot)| (lot.lot_id, lot.clone()))
        .collect();
    let open = lots
        .clone()
        .into_iter()
        .filter(|(_, lot)| lot.remaining > 0)
        .collect();
    assert_eq!(loaded.state.lots, open);

    let mut holds = rows.new_holds.clone();
    holds.sort_by_key(|hold| std::cmp::Reverse(hold.consumption_id));
    assert_eq!(store.reader().holds(user, every_hold()).await.unwrap(), holds);
    for hold in &holds {
        assert_eq!(
            store.reader().hold(hold.consumption_id).await.unwrap().as_ref(),
            Some(hold)
        );
    }
    let newest_first: Vec<Entry> = rows.entries.iter().rev().cloned().collect();
    assert_eq!(
        store.reader().entries(user, every_entry()).await.unwrap(),
        newest_first
    );

    let mut snapshot = store.reader().snapshot().await.unwrap();
    assert_eq!(
        snapshot.accounts(None, 10).await.unwrap().decode().unwrap(),
        std::slice::from_ref(account)
    );
    let stored: Vec<(Uuid, Lot)> = lots.into_values().map(|lot| (user, lot)).collect();
    assert_eq!(snapshot.lots(None, 100).await.unwrap().decode().unwrap(), stored);
    holds.reverse();
    assert_eq!(snapshot.holds(None, 100).await.unwrap().decode().unwrap(), holds);
    let entries: Vec<Entry> = snapshot
        .entries(None, 100)
        .await
        .unwrap()
        .decode()
        .unwrap()
        .into_iter()
        .map(Result::unwrap)
        .collect();
    assert_eq!(entries, rows.entries);
}

pub(crate) async fn every_field_comes_back(store: impl Subject) {
    let user = id(1);
    let rows = full_rows(user);
    append(&store, rows.clone()).await;
    assert_rows(&store, user, &rows.accounts[0].account, &rows).await;

    let bare = account_by_hand(id(2), 1);
    let accounts = new_account(bare.clone());
    append(
        &store,
        Writes {
            accounts,
            entries: vec![entry_by_hand(id(2), 1)],
            ..Writes::default()
        },
    )
    .await;
    let loaded = load_one(&mut store.committer(), &needs_account(id(2), T0)).await;
    assert_eq!(loaded.state.account, bare);
}

pub(crate) async fn every_field_can_change(store: impl Subject) {
    let user = id(1);
    let mut rows = full_rows(user);
    append(&store, rows.clone()).await;
    let seq = rows.entries.len() as i64 + 1;
    // `created_at` stays as it is.
    let mut account = Account {
        created_at: T0,
        updated_at: at(7),
        ..account_by_hand(user, seq)
    };
    account.next_hold_deadline = Some(at(3));
    for (_, lot) in &mut rows.new_lots {
        // Closed ones open and open ones close; and some stay open.
        lot.remaining = if lot.priority > 0 { 0 } else { 1 };
        lot.expired += 1;
        lot.clawed = 2;
        lot.claim = 3;
        lot.amount = lot.amount.max(100);
    }
    rows.new_lots
        .retain(|(_, lot)| lot.remaining + lot.expired + lot.clawed <= lot.amount);
    for hold in &mut rows.new_holds {
        hold.state = HoldState {
            status: Status::Refunded,
            captured: 9,
            reversed: 9,
            borrowed: 0,
            pins: vec![Pin {
                lot_id: id(3),
                amount: 4,
            }],
            expires_at: at(11),
            settled_at: Some(at(12)),
            used: Some("{}".into()),
        };
    }
    let change = Writes {
        accounts: vec![AccountWrite {
            account: account.clone(),
            expected_seq: Some(seq - 1),
        }],
        lots: rows.new_lots.clone(),
        holds: rows.new_holds.clone(),
        entries: vec![entry_by_hand(user, seq)],
        ..Writes::default()
    };
    append(&store, change).await;
    rows.entries.push(entry_by_hand(user, seq));
    assert_rows(&store, user, &account, &rows).await;

    // And back: deadlines go, lots reopen.
    account = account_by_hand(user, seq + 1);
    for (_, lot) in &mut rows.new_lots {
        lot.remaining = 1 - lot.remaining;
    }
    let change = Writes {
        accounts: vec![AccountWrite {
            account: account.clone(),
            expected_seq: Some(seq),
        }],
        lots: rows.new_lots.clone(),
        entries: vec![entry_by_hand(user, seq + 1)],
        ..Writes::default()
    };
    append(&store, change).await;
    rows.entries.push(entry_by_hand(user, seq + 1));
    assert_rows(&store, user, &account, &rows).await;
}

/// A life by the rules, compared with the books that `apply` makes of the entries.
pub(crate) async fn a_history_comes_back_the_same_everywhere(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let mut model = State::new(user, T0);
    let mut now = 0;
    let mut held: Vec<Uuid> = Vec::new();
    let mut granted: Vec<Uuid> = Vec::new();
    for step in 0..120u64 {
        now += 200;
        let oldest = |held: &mut Vec<Uuid>| (!held.is_empty()).then(|| held.remove(0));
        let action = match step % 12 {
            0 => Action::Grant(Grant {
                expires_at: Some(at(now + 4000)),
                cost: Some(Money {
                    minor: 990,
                    currency: "CNY".into(),
                }),
                reference: Some(format!("order-{step}")),
                ..grant(user, 400)
            }),
            1 => Action::Gift(Gift {
                user_id: user,
                amount: 90,
                reason: "welcome".into(),
                operator: None,
                expires_at: None,
            }),
            2 => Action::SetCreditLimit(SetCreditLimit {
                user_id: user,
                credit_limit: 500,
            }),
            3 | 4 | 5 | 8 => Action::Consume(Consume {
                feature: Some("image".into()),
                metadata: Some(Metadata::parse("{\"a\":[1,null]}").unwrap()),
                ..consume(user, 70 + step as i64)
            }),
            6 | 9 => match oldest(&mut held) {
                Some(id) => Action::Confirm(Confirm {
                    amount: Some(50),
                    late: Late::Recharge,
                    ..confirm(id)
                }),
                None => continue,
            },
            7 => match oldest(&mut held) {
                Some(consumption_id) => Action::Refund(Refund {
                    consumption_id,
                    amount: None,
                    reason: None,
                }),
                None => continue,
            },
            10 => match held.last() {
                Some(&consumption_id) => Action::Extend(Extend {
                    consumption_id,
                    ttl: Duration::from_secs(5000),
                }),
                None => continue,
            },
            _ => match granted.pop() {
                Some(lot_id) => Action::Clawback(Clawback {
                    user_id: user,
                    lot_id,
                    amount: None,
                    shortfall: Shortfall::Forgive,
                    reason: None,
                }),
                None => continue,
            },
        };
        let command = keyed(&format!("key-{step}"), action);
        let loaded = committer.load(&needs(&command, at(now))).await.unwrap();
        let Some(account) = loaded.accounts.get(&user) else {
            panic!("step {step}: not loaded")
        };
        let Ok(decision) = decide(&account.state, &command, at(now), &RULES) else {
            committer.append(&Writes::default()).await.unwrap();
            continue;
        };
        let written = writes(account, &decision.entries);
        assert_eq!(committer.append(&written).await.unwrap(), NOBODY);
        for entry in &decision.entries {
            apply(&mut model, entry).unwrap();
        }
        model.account = written
            .accounts
            .first()
            .map_or(model.account, |write| write.account.clone());
        match &decision.outcome {
            Outcome::Consumption(c) if matches!(command.action, Action::Consume(_)) => held.push(c.id),
            Outcome::Receipt(receipt) => granted.extend(receipt.lot.as_ref().map(|lot| lot.lot_id)),
            _ => {}
        }
    }
    assert!(model.account.seq > 100, "{:?}", model.account);
    let mut snapshot = store.reader().snapshot().await.unwrap();
    assert_eq!(
        snapshot.accounts(None, 10).await.unwrap().decode().unwrap(),
        [model.account.clone()]
    );
    let lots: BTreeMap<Uuid, Lot> = snapshot
        .lots(None, 1000)
        .await
        .unwrap()
        .decode()
        .unwrap()
        .into_iter()
        .map(|(_, lot)| (lot.lot_id, lot))
        .collect();
    assert_eq!(lots, model.lots);
    let holds: BTreeMap<Uuid, Hold> = snapshot
        .holds(None, 1000)
        .await
        .unwrap()
        .decode()
        .unwrap()
        .into_iter()
        .map(|h| (h.consumption_id, h))
        .collect();
    assert_eq!(holds, model.holds);
    let mut previous = Hash::genesis(user);
    for entry in snapshot.journal(user, 0, usize::MAX).await.unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.chained(&previous), entry.hash, "entry {}", entry.seq);
        previous = entry.hash;
    }
    assert_eq!(previous, model.account.hash);
    let sums = snapshot.sums().await.unwrap();
    assert_eq!(
        sums.available + sums.held + sums.counter_accounts.values().sum::<i128>(),
        0
    );
    assert_eq!(sums.held, i128::from(model.account.held));
}

pub(crate) async fn a_consumption_leads_to_its_account(store: impl Subject) {
    let (a, b) = (id(1), id(2));
    let mut committer = store.committer();
    for user in [a, b] {
        run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    let of_a = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(a, 10)))).await);
    let of_b = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(b, 20)))).await);
    let wanted = Needs {
        now: Some(T0),
        accounts: vec![a],
        consumptions: vec![of_b, id(99), of_a],
        ..Needs::default()
    };
    let loaded = committer.load(&wanted).await.unwrap();
    committer.append(&Writes::default()).await.unwrap();
    assert_eq!(loaded.owners.len(), 2);
    assert_eq!((loaded.owners[&of_a], loaded.owners[&of_b]), (a, b));
    assert_eq!(
        loaded.accounts.keys().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from([a, b])
    );
    let holds = |user: &Uuid| {
        loaded.accounts[user]
            .state
            .holds
            .keys()
            .copied()
            .collect::<Vec<_>>()
    };
    assert_eq!((holds(&a), holds(&b)), (vec![of_a], vec![of_b]));
    assert!(
        loaded
            .accounts
            .values()
            .all(|account| account.exists && !account.looked_up_due)
    );
}

pub(crate) async fn lots_are_loaded_that_are_open_named_or_pinned(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let mut lot =
        async |amount| lot_id(&run(&mut committer, T0, command(Action::Grant(grant(user, amount)))).await);
    let (spent, pinned, open) = (lot(10).await, lot(20).await, lot(30).await);
    let other = lot_id(&run(&mut committer, T0, command(Action::Grant(grant(id(2), 5)))).await);
    let first = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 10)))).await);
    run(&mut committer, T0, command(Action::Confirm(confirm(first)))).await;
    let second = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 20)))).await);

    let mut lots = async |needs: Needs| -> BTreeSet<Uuid> {
        let mut loaded = committer.load(&needs).await.unwrap();
        committer.append(&Writes::default()).await.unwrap();
        loaded
            .accounts
            .remove(&user)
            .unwrap()
            .state
            .lots
            .into_keys()
            .collect()
    };
    let plain = needs_account(user, T0);
    assert_eq!(lots(plain.clone()).await, BTreeSet::from([open]));
    let named = vec![(user, spent), (user, id(98)), (id(2), other), (user, other)];
    assert_eq!(
        lots(Needs {
            lots: named,
            ..plain.clone()
        })
        .await,
        BTreeSet::from([open, spent])
    );
    let held = Needs {
        consumptions: vec![second],
        ..Needs::default()
    };
    assert_eq!(lots(held).await, BTreeSet::from([open, pinned]));
    let confirmed = Needs {
        consumptions: vec![first],
        ..Needs::default()
    };
    assert_eq!(lots(confirmed).await, BTreeSet::from([open, spent]));
    // Holds that are due, too.
    assert_eq!(
        lots(needs_account(user, at(3600))).await,
        BTreeSet::from([open, pinned])
    );
}

/// An account with holds that are due one second apart, two at a time, and one that is due much later.
async fn with_due_holds(store: &impl Subject, user: Uuid, count: u64) -> Vec<Uuid> {
    let first = 1000 * user.as_u64_pair().1;
    let mut holds: Vec<Hold> = (0..count)
        .map(|n| hold_by_hand(user, first + n, at(1 + n / 2)))
        .collect();
    holds.push(hold_by_hand(user, first + 998, at(1_000_000)));
    let mut settled = hold_by_hand(user, first + 999, at(1));
    settled.state.status = Status::Expired;
    settled.state.settled_at = Some(at(1));
    holds.push(settled);
    let account = Account {
        available: 0,
        held: count as i64 + 1,
        next_hold_deadline: Some(at(1)),
        ..account_by_hand(user, 1)
    };
    let entries = vec![entry_by_hand(user, 1)];
    append(
        store,
        Writes {
            accounts: new_account(account),
            new_holds: holds.clone(),
            entries,
            ..Writes::default()
        },
    )
    .await;
    holds.truncate(count as usize);
    holds.sort_by_key(|hold| (hold.state.expires_at, hold.consumption_id));
    holds.into_iter().map(|hold| hold.consumption_id).collect()
}

pub(crate) async fn due_holds_come_in_order_and_in_parts(store: impl Subject) {
    let max = DUE_HOLDS_MAX;
    let mut committer = store.committer();
    for (user, count) in [
        (id(1), max - 1),
        (id(2), max),
        (id(3), max + 1),
        (id(4), 2 * max + 7),
    ] {
        let in_order = with_due_holds(&store, user, count as u64).await;
        let last = at(1 + count as u64);
        let account = load_one(&mut committer, &needs_account(user, last)).await;
        assert!(account.looked_up_due);
        assert_eq!(account.state.due_end.is_some(), count > max, "{count}");
        assert_eq!(account.next_pending, Some(at(1_000_000)));
        let expected: BTreeSet<Uuid> = in_order.iter().take(max).copied().collect();
        assert_eq!(
            account.state.holds.into_keys().collect::<BTreeSet<_>>(),
            expected,
            "{count}"
        );

        let all = store.reader().account(user, last).await.unwrap().unwrap();
        assert!(all.state.due_end.is_none() && all.looked_up_due && all.exists);
        assert_eq!(all.next_pending, Some(at(1_000_000)));
        let expected: BTreeSet<Uuid> = in_order.into_iter().collect();
        assert_eq!(
            all.state.holds.into_keys().collect::<BTreeSet<_>>(),
            expected,
            "{count}"
        );
    }
}

pub(crate) async fn due_holds_are_looked_up_when_the_deadline_has_passed(store: impl Subject) {
    let user = id(1);
    with_due_holds(&store, user, 4).await;
    let mut committer = store.committer();
    let just_before = Timestamp::from_micros(at(1).as_micros() - 1);
    let account = load_one(&mut committer, &needs_account(user, just_before)).await;
    assert!(!account.looked_up_due && account.state.holds.is_empty() && account.next_pending.is_none());
    let account = load_one(&mut committer, &needs_account(user, at(1))).await;
    assert!(account.looked_up_due && account.state.due_end.is_none());
    assert_eq!(account.state.holds.len(), 2);
    assert_eq!(account.next_pending, Some(at(2)));
    let account = load_one(&mut committer, &needs_account(user, at(2_000_000))).await;
    assert_eq!((account.state.holds.len(), account.next_pending), (5, None));
    // Nobody asks for a time: nothing is due.
    let timeless = Needs {
        accounts: vec![user],
        ..Needs::default()
    };
    let account = load_one(&mut committer, &timeless).await;
    assert!(!account.looked_up_due && account.state.holds.is_empty());
}

pub(crate) async fn borrowing_holds_are_loaded_where_there_is_debt_of_theirs(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 10)))).await;
    let limit = SetCreditLimit {
        user_id: user,
        credit_limit: 100,
    };
    run(&mut committer, T0, command(Action::SetCreditLimit(limit))).await;
    let paid = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 4)))).await);
    let half = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 16)))).await);
    let all = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 20)))).await);
    let spent = consumption_id(&run(&mut committer, T0, command(Action::Consume(consume(user, 1)))).await);
    run(&mut committer, T0, command(Action::Confirm(confirm(spent)))).await;
    let account = load_one(&mut committer, &needs_account(user, T0)).await;
    assert_eq!(account.state.account.borrowed, 30);
    assert_eq!(
        account.state.holds.keys().copied().collect::<BTreeSet<_>>(),
        BTreeSet::from([half, all])
    );
    assert_eq!(
        account.state.lots.len(),
        1,
        "the lot that `half` is pinned to is closed but needed"
    );

    run(&mut committer, T0, command(Action::Grant(grant(user, 1000)))).await;
    let account = load_one(&mut committer, &needs_account(user, T0)).await;
    assert_eq!(account.state.account.borrowed, 0);
    assert!(account.state.holds.is_empty());
    assert!(
        store
            .reader()
            .hold(paid)
            .await
            .unwrap()
            .is_some_and(|hold| hold.state.borrowed == 0)
    );
    let funded = store.reader().hold(all).await.unwrap().unwrap();
    assert_eq!(
        (funded.state.borrowed, funded.state.pins.len()),
        (0, 1),
        "written though no command named it"
    );
}

pub(crate) async fn keys_lead_to_their_entry_and_its_consumption(store: impl Subject) {
    let (a, b) = (id(1), id(2));
    let mut committer = store.committer();
    for user in [a, b] {
        run(
            &mut committer,
            T0,
            keyed("grant", Action::Grant(grant(user, 100))),
        )
        .await;
    }
    let held = run(&mut committer, T0, keyed("take", Action::Consume(consume(a, 10)))).await;
    let taken = consumption_id(&held);
    let confirmed = run(&mut committer, T0, keyed("keep", Action::Confirm(confirm(taken)))).await;

    let wanted = Needs {
        now: Some(T0),
        accounts: vec![a, b],
        consumptions: vec![taken],
        keys: vec![
            (KeyScope::Account(a), "grant".into()),
            (KeyScope::Account(a), "take".into()),
            (KeyScope::Account(b), "take".into()),
            (KeyScope::Account(b), "none".into()),
            (KeyScope::Consumption(taken), "keep".into()),
            (KeyScope::Consumption(taken), "Keep".into()),
            (KeyScope::Consumption(id(99)), "keep".into()),
        ],
        ..Needs::default()
    };
    let loaded = committer.load(&wanted).await.unwrap();
    committer.append(&Writes::default()).await.unwrap();
    let found: BTreeSet<(Uuid, &str)> = loaded
        .priors
        .keys()
        .map(|(user, key)| (*user, key.as_str()))
        .collect();
    assert_eq!(found, BTreeSet::from([(a, "grant"), (a, "take"), (a, "keep")]));
    let prior = |key: &str| &loaded.priors[&(a, key.to_owned())];
    assert!(prior("grant").hold.is_none());
    assert_eq!(prior("take").entry.seq, 2);
    let hold = prior("take").hold.as_ref().unwrap();
    assert_eq!(
        (hold.consumption_id, hold.state.status),
        (taken, Status::Confirmed),
        "as it is by now"
    );
    let replay = |key: &str, action| prior(key).replay(&command(action).fingerprint()).unwrap();
    assert_eq!(
        replay("take", Action::Consume(consume(a, 10))),
        held,
        "as it was then"
    );
    assert_eq!(replay("keep", Action::Confirm(confirm(taken))), confirmed);
}

pub(crate) async fn a_key_that_was_not_looked_up_is_not_written_twice(store: impl Subject) {
    let (a, b) = (id(1), id(2));
    let mut committer = store.committer();
    for user in [a, b] {
        run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    run(&mut committer, T0, keyed("once", Action::Consume(consume(a, 10)))).await;
    // Decided without asking for the key.
    let (again, _) = decided(
        &mut committer,
        T0,
        &keyed("once", Action::Consume(consume(a, 10))),
    )
    .await;
    committer.append(&Writes::default()).await.unwrap();
    let (neighbour, _) = decided(
        &mut committer,
        T0,
        &keyed("once", Action::Consume(consume(b, 10))),
    )
    .await;
    let both = together([again, neighbour]);
    let wrote_neighbour = match committer.append(&both).await {
        Ok(stale) => {
            assert_eq!(stale, [a], "decide it again");
            true
        }
        Err(StoreError::Busy(_)) => false,
        Err(other) => panic!("{other}"),
    };
    let held = async |user| {
        store
            .reader()
            .account(user, T0)
            .await
            .unwrap()
            .unwrap()
            .state
            .account
            .held
    };
    assert_eq!(held(a).await, 10);
    assert_eq!(held(b).await, if wrote_neighbour { 10 } else { 0 });
    assert_eq!(store.reader().holds(a, every_hold()).await.unwrap().len(), 1);
    assert_eq!(store.reader().entries(a, every_entry()).await.unwrap().len(), 2);
    // And the committer is fine.
    run(
        &mut committer,
        T0,
        keyed("twice", Action::Consume(consume(a, 10))),
    )
    .await;
}

pub(crate) async fn stale_accounts_are_named_and_left_alone(store: impl Subject) {
    let (a, b, c) = (id(1), id(2), id(3));
    let (mut late, mut early) = (store.committer(), store.committer());
    for user in [a, b] {
        run(&mut early, T0, command(Action::Grant(grant(user, 100)))).await;
    }
    let mut plans = Vec::new();
    for action in [
        Action::Consume(consume(a, 10)),
        Action::Consume(consume(b, 10)),
        Action::Gift(Gift {
            user_id: c,
            amount: 5,
            reason: "x".into(),
            operator: None,
            expires_at: None,
        }),
    ] {
        plans.push(decided(&mut late, T0, &command(action)).await.0);
        late.append(&Writes::default()).await.unwrap();
    }
    // Meanwhile somebody else makes account c and moves a on.
    run(&mut early, T0, command(Action::Consume(consume(a, 60)))).await;
    run(&mut early, T0, command(Action::Grant(grant(c, 7)))).await;
    let mut stale = late.append(&together(plans)).await.unwrap();
    stale.sort_unstable();
    let mut expected = [a, c];
    expected.sort_unstable();
    assert_eq!(stale, expected);

    let account = async |user| store.reader().account(user, T0).await.unwrap().unwrap().state;
    let (state_a, state_b, state_c) = (account(a).await, account(b).await, account(c).await);
    assert_eq!((state_a.account.seq, state_a.account.held), (2, 60));
    assert_eq!(
        (state_b.account.seq, state_b.account.held),
        (2, 10),
        "a neighbour is not held up"
    );
    assert_eq!((state_c.account.seq, state_c.account.available), (1, 7));
    assert_eq!(
        state_a.lots.values().map(|lot| lot.remaining).collect::<Vec<_>>(),
        [40]
    );
    assert_eq!(state_c.lots.len(), 1);
    for (user, holds, entries) in [(a, 1, 2), (b, 1, 2), (c, 0, 1)] {
        assert_eq!(
            store.reader().holds(user, every_hold()).await.unwrap().len(),
            holds
        );
        assert_eq!(
            store.reader().entries(user, every_entry()).await.unwrap().len(),
            entries
        );
    }
    let mut snapshot = store.reader().snapshot().await.unwrap();
    assert_eq!(snapshot.lots(None, 100).await.unwrap().decode().unwrap().len(), 3);
    assert_eq!(
        snapshot.holds(None, 100).await.unwrap().decode().unwrap().len(),
        2
    );
}

pub(crate) async fn an_empty_append_ends_what_load_began(store: impl Subject) {
    let user = id(1);
    let (mut first, mut second) = (store.committer(), store.committer());
    let locking = Needs {
        lock: true,
        ..needs_account(user, T0)
    };
    first.load(&locking).await.unwrap();
    assert_eq!(first.append(&Writes::default()).await.unwrap(), NOBODY);
    run(&mut second, T0, command(Action::Grant(grant(user, 100)))).await;
    first.load(&locking).await.unwrap();
    assert_eq!(first.append(&Writes::default()).await.unwrap(), NOBODY);
    run(&mut second, T0, command(Action::Grant(grant(user, 100)))).await;
}

pub(crate) async fn a_load_that_is_never_appended_changes_nothing(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let (abandoned, _) = decided(&mut committer, T0, &command(Action::Grant(grant(user, 1)))).await;
    drop(abandoned);
    run(&mut committer, T0, command(Action::Grant(grant(user, 100)))).await;
    decided(&mut committer, T0, &command(Action::Grant(grant(user, 1)))).await;
    committer.reconnect().await.unwrap();
    run(&mut committer, T0, command(Action::Grant(grant(user, 10)))).await;
    decided(&mut committer, T0, &command(Action::Grant(grant(user, 1)))).await;
    drop(committer);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 1)))).await;
    let account = store
        .reader()
        .account(user, T0)
        .await
        .unwrap()
        .unwrap()
        .state
        .account;
    assert_eq!((account.seq, account.available), (3, 111));
}

pub(crate) async fn a_locked_account_is_never_stale(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 1000)))).await;
    let take = command(Action::Consume(consume(user, 1)));
    let locking = Needs {
        lock: true,
        ..needs_account(user, T0)
    };
    let loaded = committer.load(&locking).await.unwrap();
    // Another committer, on a thread of its own since it may block, tries as hard as it can to come between.
    let mut rival = store.committer();
    let rival = std::thread::spawn({
        let take = take.clone();
        let runtime = tokio::runtime::Handle::current();
        move || {
            runtime.block_on(async move {
                loop {
                    let (writes, _) = decided(&mut rival, T0, &take).await;
                    match rival.append(&writes).await {
                        Ok(stale) if stale.is_empty() => return,
                        Ok(_) | Err(StoreError::Busy(_)) => {}
                        Err(other) => panic!("{other}"),
                    }
                }
            });
        }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let account = &loaded.accounts[&user];
    let decision = decide(&account.state, &take, T0, &RULES).unwrap();
    assert_eq!(
        committer
            .append(&writes(account, &decision.entries))
            .await
            .unwrap(),
        NOBODY
    );
    rival.join().unwrap();
    let account = store
        .reader()
        .account(user, T0)
        .await
        .unwrap()
        .unwrap()
        .state
        .account;
    assert_eq!((account.seq, account.held), (3, 2));
}

pub(crate) async fn committers_side_by_side_lose_nothing(store: impl Subject) {
    const EACH: usize = 50;
    let users: Vec<Uuid> = (1..=3).map(id).collect();
    let mut committer = store.committer();
    for user in &users {
        run(&mut committer, T0, command(Action::Grant(grant(*user, 500)))).await;
    }
    drop(committer);
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let mut committer = store.committer();
            let users = users.clone();
            let runtime = tokio::runtime::Handle::current();
            std::thread::spawn(move || {
                runtime.block_on(async move {
                    let mut granted = 0;
                    for n in 0..EACH {
                        let take = command(Action::Consume(consume(users[n % users.len()], 75)));
                        loop {
                            let loaded = match committer.load(&needs(&take, T0)).await {
                                Ok(loaded) => loaded,
                                Err(StoreError::Busy(_)) => continue,
                                Err(other) => panic!("{other}"),
                            };
                            let account = loaded.accounts.values().next().unwrap();
                            let decided = decide(&account.state, &take, T0, &RULES);
                            let writes = decided
                                .as_ref()
                                .map_or_else(|_| Writes::default(), |d| writes(account, &d.entries));
                            match committer.append(&writes).await {
                                Ok(stale) if stale.is_empty() => {
                                    granted += usize::from(decided.is_ok());
                                    break;
                                }
                                Ok(_) | Err(StoreError::Busy(_)) => {}
                                Err(other) => panic!("{other}"),
                            }
                        }
                    }
                    granted
                })
            })
        })
        .collect();
    let granted: usize = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert_eq!(granted, users.len() * (500 / 75), "rule hold-at-consume");
    for user in users {
        let state = store.reader().account(user, T0).await.unwrap().unwrap().state;
        assert_eq!(
            (state.account.available, state.account.held, state.account.seq),
            (50, 450, 7)
        );
        assert_eq!(state.lots.values().map(|lot| lot.remaining).sum::<i64>(), 50);
        assert_eq!(store.reader().holds(user, every_hold()).await.unwrap().len(), 6);
    }
}

pub(crate) async fn landed_finds_exactly_what_is_there(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    let (writes, _) = decided(&mut committer, T0, &command(Action::Grant(grant(user, 100)))).await;
    let entry = &writes.entries[0];
    let here = (user, 1, entry.hash);
    committer.append(&Writes::default()).await.unwrap();
    assert_eq!(committer.landed(&[here]).await.unwrap(), [false]);
    committer.load(&needs_account(user, T0)).await.unwrap();
    committer.append(&writes).await.unwrap();
    let asked = [
        (user, 2, entry.hash),
        here,
        (user, 1, Hash::genesis(user)),
        (id(2), 1, entry.hash),
    ];
    assert_eq!(
        committer.landed(&asked).await.unwrap(),
        [false, true, false, false]
    );
    committer.reconnect().await.unwrap();
    assert_eq!(committer.landed(&[here]).await.unwrap(), [true]);
    assert!(committer.landed(&[]).await.unwrap().is_empty());
}

pub(crate) async fn journals_are_read_in_pages_and_filtered(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(id(2), 10)))).await;
    for n in 0..9 {
        let action = match n % 3 {
            0 => Action::Grant(grant(user, 10)),
            1 => Action::SetCreditLimit(SetCreditLimit {
                user_id: user,
                credit_limit: n,
            }),
            _ => Action::Consume(consume(user, 1)),
        };
        run(&mut committer, at(n as u64), command(action)).await;
    }
    let read = async |filter: EntryFilter| -> Vec<i64> {
        let entries = store.reader().entries(user, filter).await.unwrap();
        assert!(entries.iter().all(|entry| entry.user_id == user));
        entries.iter().map(|entry| entry.seq).collect()
    };
    assert_eq!(read(every_entry()).await, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(
        read(EntryFilter {
            limit: 3,
            ..every_entry()
        })
        .await,
        [9, 8, 7]
    );
    assert_eq!(
        read(EntryFilter {
            limit: 3,
            before: Some(7),
            ..every_entry()
        })
        .await,
        [6, 5, 4]
    );
    assert!(
        read(EntryFilter {
            before: Some(1),
            ..every_entry()
        })
        .await
        .is_empty()
    );
    assert!(
        read(EntryFilter {
            limit: 0,
            ..every_entry()
        })
        .await
        .is_empty()
    );
    assert_eq!(
        read(EntryFilter {
            kind: Some(Kind::Consume),
            ..every_entry()
        })
        .await,
        [9, 6, 3]
    );
    assert!(
        read(EntryFilter {
            kind: Some(Kind::Gift),
            ..every_entry()
        })
        .await
        .is_empty()
    );
    assert_eq!(
        read(EntryFilter {
            since: Some(at(6)),
            ..every_entry()
        })
        .await,
        [9, 8, 7]
    );
    assert_eq!(
        read(EntryFilter {
            until: Some(at(2)),
            ..every_entry()
        })
        .await,
        [2, 1]
    );
    let all = EntryFilter {
        kind: Some(Kind::Grant),
        since: Some(at(1)),
        until: Some(at(7)),
        before: Some(7),
        limit: 5,
    };
    assert_eq!(read(all).await, [4]);
}

pub(crate) async fn consumptions_are_read_in_pages_and_filtered(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    for other in [user, id(2)] {
        run(&mut committer, T0, command(Action::Grant(grant(other, 1000)))).await;
        run(&mut committer, T0, command(Action::Consume(consume(other, 1)))).await;
    }
    let mut ids = vec![store.reader().holds(user, every_hold()).await.unwrap()[0].consumption_id];
    for n in 1..8 {
        let ttl = Some(Duration::from_secs(if n < 4 { 100 } else { 10_000 }));
        let taken = Action::Consume(Consume {
            ttl,
            ..consume(user, 1)
        });
        ids.push(consumption_id(&run(&mut committer, at(n), command(taken)).await));
    }
    run(&mut committer, at(9), command(Action::Confirm(confirm(ids[6])))).await;
    let refund = Refund {
        consumption_id: ids[7],
        amount: None,
        reason: None,
    };
    run(&mut committer, at(9), command(Action::Refund(refund))).await;
    // Written down as expired: 1. Due but not written down: 2 and 3. Live: 0, 4 and 5.
    let mut hold = store.reader().hold(ids[1]).await.unwrap().unwrap();
    hold.state = HoldState {
        status: Status::Expired,
        settled_at: Some(hold.state.expires_at),
        pins: Vec::new(),
        ..hold.state
    };
    let loaded = load_one(&mut committer, &needs_account(user, T0)).await;
    let seq = loaded.state.account.seq;
    let account = Account {
        seq: seq + 1,
        ..loaded.state.account
    };
    let accounts = vec![AccountWrite {
        account,
        expected_seq: Some(seq),
    }];
    let entries = vec![entry_by_hand(user, seq + 1)];
    append(
        &store,
        Writes {
            accounts,
            holds: vec![hold],
            entries,
            ..Writes::default()
        },
    )
    .await;

    let read = async |filter: HoldFilter| -> Vec<usize> {
        let holds = store.reader().holds(user, filter).await.unwrap();
        holds
            .iter()
            .map(|hold| ids.iter().position(|id| *id == hold.consumption_id).unwrap())
            .collect()
    };
    let late = HoldFilter {
        now: at(3000),
        ..every_hold()
    };
    let status = |status| HoldFilter {
        status: Some(status),
        ..late.clone()
    };
    assert_eq!(read(late.clone()).await, [7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!(
        read(HoldFilter {
            limit: 3,
            ..late.clone()
        })
        .await,
        [7, 6, 5]
    );
    assert_eq!(
        read(HoldFilter {
            limit: 3,
            before: Some(ids[5]),
            ..late.clone()
        })
        .await,
        [4, 3, 2]
    );
    assert!(
        read(HoldFilter {
            before: Some(ids[0]),
            ..late.clone()
        })
        .await
        .is_empty()
    );
    assert_eq!(
        read(HoldFilter {
            before: Some(Uuid::max()),
            limit: 1,
            ..late.clone()
        })
        .await,
        [7]
    );
    assert_eq!(read(status(Status::Pending)).await, [5, 4, 0]);
    assert_eq!(read(status(Status::Expired)).await, [3, 2, 1]);
    assert_eq!(read(status(Status::Confirmed)).await, [6]);
    assert_eq!(read(status(Status::Refunded)).await, [7]);
    assert_eq!(
        read(HoldFilter {
            before: Some(ids[3]),
            ..status(Status::Expired)
        })
        .await,
        [2, 1]
    );
    let due = |now| HoldFilter {
        now,
        ..status(Status::Expired)
    };
    assert_eq!(
        read(due(at(102))).await,
        [2, 1],
        "a deadline has passed when now >= deadline"
    );
    assert_eq!(
        read(due(Timestamp::from_micros(at(102).as_micros() - 1))).await,
        [1]
    );
}

pub(crate) async fn due_accounts_come_in_order_of_deadline(store: impl Subject) {
    let mut rows = Writes::default();
    let mut in_order = Vec::new();
    for n in 0..20 {
        let user = id(n + 1);
        // Two accounts share each deadline, and some have none.
        let deadline = (n % 5 != 4).then(|| at(n / 2));
        let account = Account {
            next_hold_deadline: deadline,
            next_lot_deadline: deadline.map(|t| t.plus(Duration::from_secs(100))),
            ..account_by_hand(user, 1)
        };
        rows.accounts.push(AccountWrite {
            account,
            expected_seq: None,
        });
        rows.entries.push(entry_by_hand(user, 1));
        in_order.extend(deadline.map(|t| (t, user)));
    }
    append(&store, rows).await;
    in_order.sort_unstable();
    let now = at(7);
    let due: Vec<_> = in_order.iter().copied().filter(|(t, _)| *t <= now).collect();
    assert!(due.len() > 10 && due.len() < in_order.len());
    let reader = store.reader();
    assert_eq!(reader.due(Due::Holds, now, None, 100).await.unwrap(), due);
    let mut paged = Vec::new();
    loop {
        let page = reader
            .due(Due::Holds, now, paged.last().copied(), 3)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 3);
        paged.extend(page);
    }
    assert_eq!(paged, due);
    assert!(reader.due(Due::Lots, now, None, 100).await.unwrap().is_empty());
    let lots = reader.due(Due::Lots, at(107), None, 100).await.unwrap();
    assert_eq!(
        lots.iter().map(|(_, user)| user).collect::<Vec<_>>(),
        due.iter().map(|(_, user)| user).collect::<Vec<_>>()
    );
}

pub(crate) async fn a_snapshot_does_not_move(store: impl Subject) {
    let users: Vec<Uuid> = (1..=3).map(id).collect();
    let mut committer = store.committer();
    for user in &users {
        run(&mut committer, T0, command(Action::Grant(grant(*user, 100)))).await;
    }
    let mut snapshot = store.reader().snapshot().await.unwrap();
    for user in &users {
        run(&mut committer, T0, command(Action::Consume(consume(*user, 40)))).await;
    }
    run(&mut committer, T0, command(Action::Grant(grant(id(4), 1)))).await;
    let accounts = snapshot.accounts(None, 100).await.unwrap().decode().unwrap();
    assert_eq!(accounts.len(), 3);
    for user in &users {
        run(&mut committer, T0, command(Action::Consume(consume(*user, 40)))).await;
    }
    assert!(
        accounts
            .iter()
            .all(|account| account.seq == 1 && account.available == 100)
    );
    assert_eq!(
        snapshot.entries(None, 100).await.unwrap().decode().unwrap().len(),
        3
    );
    assert!(
        snapshot
            .holds(None, 100)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .is_empty()
    );
    assert!(
        snapshot
            .lots(None, 100)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .iter()
            .all(|(_, lot)| lot.remaining == 100)
    );
    let sums = snapshot.sums().await.unwrap();
    assert_eq!((sums.available, sums.held), (300, 0));
    assert_eq!(
        sums.counter_accounts,
        BTreeMap::from([("issued.purchase".into(), -300)])
    );
    assert_eq!(
        store
            .reader()
            .snapshot()
            .await
            .unwrap()
            .entries(None, 100)
            .await
            .unwrap()
            .decode()
            .unwrap()
            .len(),
        10
    );
}

pub(crate) async fn a_snapshot_is_read_in_pages(store: impl Subject) {
    let mut committer = store.committer();
    for n in 0..7 {
        let user = id(n + 1);
        for _ in 0..=n % 3 {
            run(&mut committer, T0, command(Action::Grant(grant(user, 10)))).await;
            run(&mut committer, T0, command(Action::Consume(consume(user, 1)))).await;
        }
        let gift = Gift {
            user_id: user,
            amount: 3,
            reason: "welcome".into(),
            operator: (n == 0).then(|| "Zoë".into()),
            expires_at: (n == 1).then(|| at(60)),
        };
        run(&mut committer, T0, command(Action::Gift(gift))).await;
    }
    let mut snapshot = store.reader().snapshot().await.unwrap();
    macro_rules! pages {
        ($read:ident, $key:expr) => {{
            let whole = snapshot.$read(None, usize::MAX).await.unwrap().decode().unwrap();
            let keys: Vec<_> = whole.iter().map($key).collect();
            assert!(keys.is_sorted());
            let mut paged = Vec::new();
            loop {
                let page = snapshot
                    .$read(paged.last().copied(), 4)
                    .await
                    .unwrap()
                    .decode()
                    .unwrap();
                if page.is_empty() {
                    break;
                }
                assert!(page.len() <= 4);
                paged.extend(page.iter().map($key));
            }
            assert_eq!(paged, keys);
            keys.len()
        }};
    }
    assert_eq!(pages!(accounts, |account| account.user_id), 7);
    assert_eq!(pages!(lots, |(user, lot)| (*user, lot.lot_id)), 20);
    assert_eq!(pages!(gifts, |gift| (gift.user_id, gift.lot_id)), 7);
    assert_eq!(pages!(holds, |hold| (hold.user_id, hold.consumption_id)), 13);
    assert_eq!(
        pages!(entries, |entry| {
            let entry = entry.as_ref().unwrap();
            (entry.user_id, entry.seq)
        }),
        33
    );
    // By their ids: of the account, and of those only what is there.
    macro_rules! named {
        ($table:ident, $of:ident, $key:expr) => {{
            let mut rows = snapshot.$table(None, usize::MAX).await.unwrap().decode().unwrap();
            let all = rows.iter().map($key).map(|(_, id)| id).chain([id(99)]).collect();
            rows.retain(|row| $key(row).0 == id(3));
            let mut named = snapshot.$of(id(3), all).await.unwrap().decode().unwrap();
            named.sort_by_key($key);
            assert_eq!(named, rows);
            named.len()
        }};
    }
    assert_eq!(
        named!(lots, lots_of, |(user, lot): &(Uuid, Lot)| (*user, lot.lot_id)),
        4
    );
    assert_eq!(
        named!(holds, holds_of, |hold: &Hold| (hold.user_id, hold.consumption_id)),
        3
    );
    assert_eq!(
        named!(gifts, gifts_of, |gift: &GiftRow| (gift.user_id, gift.lot_id)),
        1
    );
    let mut numbers = async |after, limit| -> Vec<i64> {
        let journal = snapshot.journal(id(3), after, limit).await.unwrap();
        journal.into_iter().map(|entry| entry.unwrap().seq).collect()
    };
    assert_eq!(numbers(0, 4).await, [1, 2, 3, 4]);
    assert_eq!(numbers(4, 4).await, [5, 6, 7]);
    assert!(numbers(7, 4).await.is_empty());
}

pub(crate) async fn sums_pass_2_to_the_63(store: impl Subject) {
    let most = limits::CREDITS_MAX;
    let mut rows = Writes::default();
    for n in 0..1_100 {
        let user = id(n + 1);
        let account = Account {
            available: most,
            held: most,
            ..account_by_hand(user, 2)
        };
        rows.accounts.push(AccountWrite {
            account,
            expected_seq: None,
        });
        for (seq, counter_account) in [(1, "issued.purchase"), (2, "held")] {
            rows.entries.push(Entry {
                change: most,
                held_change: most,
                counter_account: counter_account.into(),
                ..entry_by_hand(user, seq)
            });
        }
    }
    append(&store, rows).await;
    let sums = store.reader().snapshot().await.unwrap().sums().await.unwrap();
    let total = 1_100 * i128::from(most);
    assert!(total > i128::from(i64::MAX));
    assert_eq!((sums.available, sums.held), (total, total));
    let counter = BTreeMap::from([
        ("issued.purchase".into(), -2 * total),
        ("held".into(), -2 * total),
    ]);
    assert_eq!(sums.counter_accounts, counter);
}

pub(crate) async fn a_closed_store_is_lost(store: impl Subject) {
    let user = id(1);
    let mut committer = store.committer();
    run(&mut committer, T0, command(Action::Grant(grant(user, 1)))).await;
    drop(committer);
    let reader = store.reader();
    assert!(reader.account(user, T0).await.unwrap().is_some());
    reader.close().await.unwrap();
    reader.close().await.unwrap();
    fn lost<T>(result: StoreResult<T>) -> bool {
        matches!(result, Err(StoreError::Lost(_)))
    }
    assert!(lost(reader.account(user, T0).await));
    assert!(lost(reader.entries(user, every_entry()).await));
    assert!(lost(reader.hold(user).await));
    assert!(lost(reader.snapshot().await.map(drop)));
}
