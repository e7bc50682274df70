//! An account with more rows than are kept is audited as thoroughly as a small one. (What is damaged on real databases,
//! and named: `tests/ledger/damage.rs`.)

use super::*;
use crate::ledger::limits::ENTRY_ROOM;
use crate::ledger::{
    Action, Clawback, Command, Confirm, Consume, Entry, Extend, Gift, Grant, Kind, Metadata, Outcome, Refund,
    SetCreditLimit, Shortfall, Source,
};
use crate::store::contract_tests::run;
use crate::store::memory::{Books as Tables, MemoryCommitter, MemoryStore};
use std::time::Duration;

const USER: Uuid = Uuid::from_u128(0xA11CE);
const OTHER: Uuid = Uuid::from_u128(0xB0B);
const START: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);
/// Nothing is kept that can be put aside; a little; everything.
const KEPT: [usize; 3] = [0, 7, books::KEPT_MAX];

/// One command a second.
struct Scribe {
    committer: MemoryCommitter,
    now: Timestamp,
}

impl Scribe {
    async fn run(&mut self, action: Action, key: Option<&str>) -> Outcome {
        self.now = self.now.plus(Duration::from_secs(1));
        let idempotency_key = key.map(String::from);
        run(
            &mut self.committer,
            self.now,
            Command {
                action,
                idempotency_key,
            },
        )
        .await
    }

    async fn consume(&mut self, consume: Consume) -> Uuid {
        match self.run(Action::Consume(consume), None).await {
            Outcome::Consumption(consumption) => consumption.id,
            other => panic!("{other:?}"),
        }
    }
}

/// Lots that empty and get credits back, and consumptions that are looked at again long after they were settled.
async fn tables() -> Tables {
    let store = MemoryStore::new();
    let mut scribe = Scribe {
        committer: store.committer(),
        now: START,
    };
    scribe
        .run(Action::Grant(Grant::new(OTHER, 5, Source::Bonus)), None)
        .await;
    let (mut settled, mut lots) = (Vec::new(), Vec::new());
    for n in 0..20 {
        let grant = Action::Grant(Grant::new(USER, 10, Source::Purchase));
        if let Outcome::Receipt(receipt) = scribe.run(grant, None).await {
            lots.extend(receipt.lot);
        }
        scribe
            .run(Action::Gift(Gift::new(USER, 3, "welcome")), None)
            .await;
        let metadata = Metadata::parse(&format!(r#"{{"n": {n}}}"#)).unwrap();
        let first = scribe.consume(Consume::new(USER, 12).metadata(metadata)).await;
        let second = scribe.consume(Consume::new(USER, 1)).await;
        scribe
            .run(
                Action::Extend(Extend::new(second, Duration::from_secs(90_000)).reason("for a job")),
                None,
            )
            .await;
        scribe.run(Action::Confirm(Confirm::amount(first, 9)), None).await;
        settled.push(first);
    }
    for (n, id) in settled.into_iter().enumerate() {
        match n % 4 {
            // The same again, with a key: an entry that changes nothing.
            0 => {
                let key = format!("again-{n}");
                scribe
                    .run(Action::Confirm(Confirm::amount(id, 9)), Some(&key))
                    .await;
            }
            1 => drop(scribe.run(Action::Refund(Refund::all(id)), None).await),
            2 => drop(scribe.run(Action::Refund(Refund::part(id, 4)), None).await),
            _ => {}
        }
    }
    for lot in lots.iter().skip(5).take(3) {
        let clawback = Clawback::all(USER, lot.lot_id).shortfall(Shortfall::Debt);
        scribe.run(Action::Clawback(clawback), None).await;
    }
    store.copy()
}

async fn verified(tables: &Tables, kept_max: usize) -> Verification {
    verify_keeping(&mut tables.clone(), Past::Checkpoint.into(), kept_max)
        .await
        .unwrap()
}

#[tokio::test]
async fn what_is_put_aside_is_audited_all_the_same() {
    let tables = tables().await;
    let whole = verified(&tables, books::KEPT_MAX).await;
    assert!(whole.is_clean(), "{:#?}", whole.faults);
    assert_eq!((whole.accounts, whole.lots, whole.holds), (2, 41, 40));
    for kept_max in KEPT {
        assert_eq!(verified(&tables, kept_max).await, whole);
    }
}

/// What is done to the tables, and the kind of fault that is named, with the row's id or without.
type Damage = (&'static str, fn(&mut Tables), FaultKind, bool);

const DAMAGE: &[Damage] = &[
    (
        "a lot has more",
        |t| first(&mut t.lots).remaining += 1,
        FaultKind::Lot,
        true,
    ),
    (
        "a closed lot has another source",
        |t| first(&mut t.lots).source = Source::Opening,
        FaultKind::Lot,
        true,
    ),
    ("a lot is gone", |t| drop(t.lots.pop_last()), FaultKind::Lot, true),
    (
        "a lot is in no entry",
        |t| forge(&mut t.lots, |lot, id| lot.lot_id = id),
        FaultKind::Lot,
        false,
    ),
    (
        "a consumption has another feature",
        |t| first(&mut t.holds).feature = Some("x".into()),
        FaultKind::Hold,
        true,
    ),
    (
        "a consumption was captured once more",
        |t| first(&mut t.holds).state.captured += 1,
        FaultKind::Hold,
        true,
    ),
    (
        "a consumption lost its metadata",
        |t| first(&mut t.holds).metadata = None,
        FaultKind::Hold,
        true,
    ),
    (
        "a consumption is gone",
        |t| drop(t.holds.pop_last()),
        FaultKind::Hold,
        true,
    ),
    (
        "a consumption is in no entry",
        |t| forge(&mut t.holds, |hold, id| hold.consumption_id = id),
        FaultKind::Hold,
        false,
    ),
    (
        "a gift has another reason",
        |t| first(&mut t.gifts).reason.push('!'),
        FaultKind::Gift,
        true,
    ),
    (
        "a gift is gone",
        |t| drop(t.gifts.pop_last()),
        FaultKind::Gift,
        true,
    ),
    (
        "a gift is in no entry",
        |t| forge(&mut t.gifts, |gift, id| gift.lot_id = id),
        FaultKind::Gift,
        false,
    ),
    (
        "the account has more",
        |t| first_account(t).available += 1,
        FaultKind::Account,
        true,
    ),
    (
        "the account's deadline is gone",
        |t| first_account(t).next_hold_deadline = None,
        FaultKind::Account,
        true,
    ),
];

/// The user's first row.
fn first<T>(table: &mut BTreeMap<(Uuid, Uuid), T>) -> &mut T {
    table.range_mut((USER, Uuid::nil())..).next().unwrap().1
}

fn first_account(tables: &mut Tables) -> &mut crate::ledger::Account {
    tables.accounts.get_mut(&USER).unwrap()
}

/// A copy of the user's first row under another id.
fn forge<T: Clone>(table: &mut BTreeMap<(Uuid, Uuid), T>, name: fn(&mut T, Uuid)) {
    let (mut row, id) = (first(table).clone(), Uuid::from_u128(1));
    name(&mut row, id);
    table.insert((USER, id), row);
}

#[tokio::test]
async fn what_is_damaged_is_named_whether_it_was_kept_or_not() {
    let sound = tables().await;
    for (what, damage, kind, with_id) in DAMAGE {
        let mut tables = sound.clone();
        damage(&mut tables);
        for kept_max in KEPT {
            let found = verified(&tables, kept_max).await;
            let named = |fault: &&Fault| fault.user_id == USER && fault.kind == *kind;
            let fault = found.faults.iter().find(named);
            let fault = fault.unwrap_or_else(|| panic!("{what}, {kept_max} kept: {:#?}", found.faults));
            if *with_id || kept_max == books::KEPT_MAX {
                assert_eq!(
                    fault.id.is_some(),
                    *kind != FaultKind::Account,
                    "{what}, {kept_max} kept: {fault}"
                );
            }
        }
    }
}

/// An account whose last entries continue each other: a grant that pays for more holds than one entry tells of.
async fn continued() -> Tables {
    let store = MemoryStore::new();
    let mut scribe = Scribe {
        committer: store.committer(),
        now: START,
    };
    let holds = ENTRY_ROOM as i64;
    let limit = SetCreditLimit {
        user_id: USER,
        credit_limit: holds,
    };
    scribe.run(Action::SetCreditLimit(limit), None).await;
    for _ in 0..holds {
        scribe.consume(Consume::new(USER, 1)).await;
    }
    let grant = Action::Grant(Grant::new(USER, holds, Source::Purchase));
    scribe.run(grant, None).await;
    store.copy()
}

#[tokio::test]
async fn what_an_entry_may_continue_is_known() {
    let sound = continued().await;
    assert!(verified(&sound, books::KEPT_MAX).await.is_clean());
    let last = sound.accounts[&USER].seq;
    assert_eq!(sound.entries[&(USER, last)].effects.continues, Some(last - 1));
    type Forge = fn(&mut Entry);
    let forged: [(&str, Forge); 5] = [
        ("another one", |e| e.effects.continues = Some(1)),
        ("itself", |e| e.effects.continues = Some(e.seq)),
        ("one of another kind", |e| e.kind = Kind::Gift),
        ("one of another lot", |e| e.lot_id = Some(OTHER)),
        ("it has a key", |e| e.idempotency_key = Some("key".into())),
    ];
    for (what, forge) in forged {
        let mut tables = sound.clone();
        let before = tables.entries[&(USER, last - 1)].hash;
        let entry = tables.entries.get_mut(&(USER, last)).unwrap();
        forge(entry);
        // Whoever forges it makes its hash anew.
        entry.data = serde_json::to_string(&entry.effects).unwrap();
        entry.hash = entry.chained(&before);
        first_account(&mut tables).hash = tables.entries[&(USER, last)].hash;
        for kept_max in KEPT {
            let found = verified(&tables, kept_max).await;
            let named = |fault: &Fault| {
                fault.kind == FaultKind::Entry && fault.seq == Some(last) && fault.detail.contains("continue")
            };
            assert!(found.faults.iter().any(named), "{what}: {:#?}", found.faults);
        }
    }
}

/// The thread that audits ends when nobody waits for its answer any more.
#[tokio::test]
async fn an_audit_that_is_broken_off_ends() {
    let (server, tables) = feed::halves(None);
    let auditing =
        tokio::task::spawn_blocking(move || audit(tables, Past::Checkpoint.into(), None, books::KEPT_MAX));
    drop(server);
    assert!(matches!(auditing.await.unwrap(), Err(StoreError::Lost(_))));
}
