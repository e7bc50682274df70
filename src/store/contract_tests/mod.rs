//! The contract of `store/mod.rs`, once for every store.
//!
//! A store's tests name themselves and how to make an empty, migrated store:
//!
//! ```ignore
//! contract_tests!(fresh_file().await);
//! ```

mod loading;
mod orders;
mod parts;
mod reading;
mod rows;
mod snapshots;
mod writing;

pub(crate) use {loading::*, orders::*, parts::*, reading::*, rows::*, snapshots::*, writing::*};

use super::{
    AccountWrite, Claim, Committer, DUE_HOLDS_MAX, DUE_LOTS_MAX, Due, EntryFilter, Extent, GiftRow,
    HoldFilter, KeyScope, LoadedAccount, Needs, OrderNeed, Reader, StoreError, StoreResult, Writes,
};
use crate::ledger::{
    Account, Action, Clawback, Command, Confirm, Consume, Effects, Entry, Extend, Gift, Grant, Hash, Hold,
    HoldState, Kind, Late, Lot, LotChange, Metadata, Money, OrderNo, Outcome, Pin, Refund, Rules,
    SetCreditLimit, Shortfall, Source, State, Status, Timestamp, Undecided, apply, decide, decide_on_part,
    limits,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
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
            of_an_account_that_is_as_known_nothing_is_found,
            lots_are_loaded_that_are_open_named_or_pinned,
            due_holds_come_in_order_and_in_parts,
            due_holds_are_looked_up_when_the_deadline_has_passed,
            borrowing_holds_are_loaded_where_there_is_debt_of_theirs,
            lots_are_loaded_in_burn_order_and_in_parts,
            lots_that_are_due_are_loaded_in_order_and_in_parts,
            borrowing_holds_are_loaded_in_order_and_in_parts,
            what_expires_first_is_read_of_many_lots,
            lots_that_came_of_an_order_are_loaded_with_it,
            keys_lead_to_their_entry_and_its_consumption,
            a_key_that_was_not_looked_up_is_not_written_twice,
            a_key_is_looked_up_by_the_write,
            another_entry_of_the_same_number_is_another,
            stale_accounts_are_named_and_left_alone,
            an_account_is_written_without_an_entry,
            a_price_confirmed_in_its_own_batch_is_kept_whole,
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
            orders_come_back_with_their_lots,
            orders_are_read_in_pages_and_filtered,
            an_order_of_a_stale_account_is_not_written,
            a_payment_is_claimed_once,
            late_payments_bring_what_counts_against_the_limit,
            orders_that_wait_are_loaded_for_a_new_one,
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
    order_ttl: Duration::from_secs(30 * 60),
    late_payment: crate::ledger::LatePayment::Settle,
    max_open_orders: 20,
    entry_room: crate::ledger::limits::ENTRY_ROOM,
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
    Grant::new(user_id, amount, Source::Purchase)
}

fn consume(user_id: Uuid, amount: i64) -> Consume {
    Consume::new(user_id, amount)
}

fn confirm(consumption_id: Uuid) -> Confirm {
    Confirm::all(consumption_id)
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
    let all_due = !before.state.is_due_in_parts();
    if let Some(next) = before.next_lot.filter(|_| all_due) {
        state.account.next_lot_deadline = next;
    }
    state.note_deadlines(before.looked_up_due && all_due, before.next_pending);
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
            before: before.exists.then(|| before.state.account.clone()),
        }],
        new_lots: new_lots.iter().map(lot).collect(),
        lots: lots.difference(&new_lots).map(lot).collect(),
        new_holds: new_holds.iter().map(|id| state.holds[id].clone()).collect(),
        holds: holds
            .difference(&new_holds)
            .map(|id| state.holds[id].clone())
            .collect(),
        gifts: entries.iter().filter_map(gift).collect(),
        orders: entries
            .iter()
            .filter_map(|entry| entry.effects.order.as_deref().cloned())
            .collect(),
        claims: entries
            .iter()
            .filter_map(|entry| newly_settled(before, entry))
            .collect(),
        entries: entries.to_vec(),
        keys: Vec::new(),
        only_remaining: false,
        clock: None,
    }
}

fn newly_settled(before: &LoadedAccount, entry: &Entry) -> Option<Claim> {
    let order = entry.effects.order.as_deref()?;
    let known = before.state.orders.get(&order.order_no);
    Claim::of(order).filter(|_| known.and_then(Claim::of).is_none())
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
        sum.orders.extend(writes.orders);
        sum.claims.extend(writes.claims);
        sum.entries.extend(writes.entries);
        sum.keys.extend(writes.keys);
    }
    sum
}

/// As writes carry them.
fn shared<T: Clone>(rows: &[T]) -> Vec<Arc<T>> {
    rows.iter().cloned().map(Arc::new).collect()
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
            if let Some((order_no, package_id)) = command.order() {
                needs.orders.push((user_id, OrderNeed::Number(order_no)));
                needs
                    .orders
                    .extend(package_id.map(|id| (user_id, OrderNeed::OfPackage(id))));
                let payment = command.payment();
                needs.payments.extend(
                    payment.map(|(order_no, transaction)| (user_id, order_no, transaction.to_owned())),
                );
                let waiting = command.opens_an_order().then_some((user_id, OrderNeed::Waiting));
                needs.orders.extend(waiting);
            }
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

/// An account with so many open lots and borrowing holds.
fn needs_more(user_id: Uuid, now: Timestamp, rows: usize) -> Needs {
    Needs {
        more: [(user_id, rows)].into(),
        ..needs_account(user_id, now)
    }
}

/// Loads and decides; nothing is written yet.
async fn decided<C: Committer>(committer: &mut C, now: Timestamp, command: &Command) -> (Writes, Outcome) {
    let mut needs = needs(command, now);
    loop {
        let loaded = committer.load(&needs).await.unwrap();
        assert_eq!(loaded.accounts.len(), 1);
        let account = loaded.accounts.values().next().unwrap();
        match decide_on_part(&account.state, command, now, &RULES) {
            Ok(decision) => return (writes(account, &decision.entries), decision.outcome),
            Err(Undecided::KnowsTooLittle) if needs.more.is_empty() => {
                assert_eq!(committer.append(&Writes::default()).await.unwrap(), NOBODY);
                needs.more.insert(account.state.account.user_id, 1_000_000);
            }
            Err(undecided) => panic!("{undecided:?}"),
        }
    }
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
        before: None,
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
