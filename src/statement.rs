//! Account statements: what an account had, what came and went, and what it had in the end.
//!
//! # The rules
//!
//! - **The interval is half-open**, `[since, until)`: an entry of the instant `since` is in it, one of `until` is not. So
//!   statements of neighbouring intervals share no entry, and one's closing is the next one's opening. `since == until` is an
//!   empty statement; a `since` after `until` is refused.
//! - **A statement is a piece of the journal without gaps.** It begins after the last entry from before `since` and ends with
//!   the last entry from before `until`, in the order of their numbers. Where the clocks of processes differ, entries are not
//!   quite in order of time; then one with a time outside the interval may stand between two that are inside.
//!   [`Ledger::transactions`] and [`Ledger::balance_at`] go by the same rule ([`last_before`]), so all three agree.
//! - **Opening and closing are the journal's**: `available` and `held` as those two entries left them, nothing where there is
//!   none. They are read, not replayed; every entry's figures are compared with those of the entry before.
//! - **`change` is the change of `available`, `held_change` that of `held`.** A hold moves credits from the one to the other
//!   and back, so it changes neither sum below. Their sum leaves the account only for a counter-account or comes from one,
//!   and by that account it is counted: `issued.*` in (`granted`) or out (`taken_back`: clawbacks, refunded orders,
//!   corrections downwards), `earned.*` out (`spent`: captured) or in (`refunded`: captures given back), `expired` out. So
//!   `opening + granted - taken_back - spent + refunded - expired = closing`, each of the two being `available + held`.
//! - **What is pending at the end is `closing.held`**: the credits of holds that were made and neither confirmed, refunded nor
//!   written down as expired by then.
//! - **A deadline counts when it is written down**, by a sweep or by the account's next command. Credits whose deadline has
//!   passed before that are still in the closing figures, and go in a later statement: a statement that somebody has been
//!   sent does not change because a sweep ran. What `balance` would say, deadlines counted, is
//!   [`effective`](Statement::effective). It can be told while the closing entry is the account's last one; where more have
//!   been written, it is `None`, and they have it.
//! - **It is consistent without a transaction**: the last entry is looked up first, and only entries up to its number are
//!   read after it. Those are never changed and have no gaps. An `until` in the future is allowed: then the statement is of
//!   what there was when it was drawn up, and a later one of the same interval has more.
//! - **Entries that have left the database for an archive** have no statement any more: the interval begins after the account's
//!   checkpoint, or is refused. (One that is in the archive can be drawn up from
//!   [`archived_transactions`](Ledger::archived_transactions).)
//! - **At most [`STATEMENT_ENTRIES_MAX`] entries**; more are refused before they are read.

use crate::error::{Error, Result, Written};
use crate::facade::Ledger;
use crate::ledger::{Checkpoint, Entry, Kind, Timestamp};
use crate::store::{EntryFilter, Reader, StoreResult};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use uuid::Uuid;

/// The most entries in one statement.
pub const STATEMENT_ENTRIES_MAX: usize = 100_000;
/// How many entries are read at once.
const PAGE: usize = 2_000;

/// What an account had, what came and went in an interval, and what it had in the end. `docs/statements.md` has the rules.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// Whose it is.
    pub user_id: Uuid,
    /// From this instant on.
    pub since: Timestamp,
    /// Before this instant.
    pub until: Timestamp,
    /// When it was drawn up. Where that is before `until`, there may be more to come.
    pub drawn_up_at: Timestamp,
    /// What there was before the first entry.
    pub opening: StatementBalance,
    /// What there was after the last one.
    pub closing: StatementBalance,
    /// `closing` with the deadlines counted that had passed by the end of the interval, or by now, and are not written
    /// down; `None` where the journal goes on after the last entry.
    pub effective: Option<StatementBalance>,
    /// What `closing` is made of, beside `opening`.
    pub totals: StatementTotals,
    /// The same by what the entries record, in the order of [`Kind::ALL`].
    pub kinds: Vec<KindTotal>,
    /// What was spent, by feature, in order of name; first what was spent on none.
    pub features: Vec<FeatureTotal>,
    /// The entries, oldest first.
    pub entries: Vec<Entry>,
}

/// What an account had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatementBalance {
    /// Credits that could be spent; below zero in debt.
    pub available: i64,
    /// Credits in pending holds.
    pub held: i64,
}

impl StatementBalance {
    fn after(entry: &Entry) -> Self {
        StatementBalance {
            available: entry.available,
            held: entry.held,
        }
    }

    /// Both together.
    #[must_use]
    pub fn total(self) -> i64 {
        self.available.saturating_add(self.held)
    }
}

/// Sums of a statement, none below zero. In 128 bits: credits may come and go any number of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StatementTotals {
    /// Credits that came in.
    pub granted: i128,
    /// Granted credits that were taken back.
    pub taken_back: i128,
    /// Credits captured.
    pub spent: i128,
    /// Captured credits that were given back.
    pub refunded: i128,
    /// Credits that expired.
    pub expired: i128,
}

impl StatementTotals {
    /// `closing - opening`, each of the two being `available + held`.
    #[must_use]
    pub fn net(&self) -> i128 {
        self.granted - self.taken_back - self.spent + self.refunded - self.expired
    }
}

/// What entries of one kind did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KindTotal {
    /// What they record.
    pub kind: Kind,
    /// How many there are.
    pub entries: u64,
    /// Sum of their changes of `available`.
    pub change: i128,
    /// Sum of their changes of `held`.
    pub held_change: i128,
}

/// What one feature cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureTotal {
    /// The feature; `None` for consumptions without one.
    pub feature: Option<String>,
    /// How many consumptions were captured.
    pub captures: u64,
    /// Credits captured.
    pub spent: i128,
    /// Captured credits that were given back, also of captures before the interval.
    pub refunded: i128,
}

/// A piece of a journal.
#[derive(Debug)]
struct Excerpt {
    /// The number of the last entry before it, and what that left; 0 where there is none.
    before: (i64, StatementBalance),
    /// How many entries it has.
    count: usize,
    /// These, oldest first; none where they are too many.
    entries: Vec<Entry>,
}

/// Reads the entries of an interval: the one place that knows where entries are. Where some of them have left the database:
/// since when it has all of them.
async fn excerpt(
    reader: &dyn Reader,
    user_id: Uuid,
    since: Timestamp,
    until: Timestamp,
    entries_max: usize,
) -> StoreResult<Result<Excerpt, Timestamp>> {
    loop {
        let checkpoint = reader.checkpoints(vec![user_id]).await?.pop();
        let excerpt = excerpt_after(reader, checkpoint.clone(), user_id, since, until, entries_max).await?;
        // A clean-up may have been at work meanwhile.
        if reader.checkpoints(vec![user_id]).await?.pop() == checkpoint {
            return Ok(excerpt);
        }
    }
}

/// The last entry, by number, from before `at`; of those before number `before`.
///
/// That is what "until `at`" means, for statements, balances and pages alike: everything up to that entry. Where clocks
/// differ or step back, it may stand behind others with a later time, which were written before it all the same.
pub(crate) async fn last_before(
    reader: &dyn Reader,
    user_id: Uuid,
    at: Timestamp,
    before: Option<i64>,
) -> StoreResult<Option<Entry>> {
    let last = EntryFilter {
        until: Some(at),
        before,
        limit: 1,
        ..EntryFilter::default()
    };
    Ok(reader.entries(user_id, last).await?.pop())
}

async fn excerpt_after(
    reader: &dyn Reader,
    checkpoint: Option<Checkpoint>,
    user_id: Uuid,
    since: Timestamp,
    until: Timestamp,
    entries_max: usize,
) -> StoreResult<Result<Excerpt, Timestamp>> {
    if let Some(checkpoint) = checkpoint.as_ref().filter(|c| since <= c.account.updated_at) {
        let first = checkpoint.account.updated_at.plus(Duration::from_micros(1));
        return Ok(Err(first));
    }
    let last = last_before(reader, user_id, until, None).await?;
    let end = last.map_or(1, |entry| entry.seq + 1);
    let before = last_before(reader, user_id, since, Some(end)).await?;
    let mut before = before.map_or((0, StatementBalance::default()), |entry| {
        (entry.seq, StatementBalance::after(&entry))
    });
    // What stayed of older entries is no beginning: others between them and the checkpoint have left.
    if let Some(account) = checkpoint
        .map(|c| c.account)
        .filter(|account| account.seq > before.0)
    {
        let StatementBalance { available, held } = &mut before.1;
        (before.0, *available, *held) = (account.seq, account.available, account.held);
    }
    let end = end.max(before.0 + 1);
    let first = before.0 + 1;
    let count = usize::try_from(end - first).unwrap_or_default();
    let mut entries: Vec<Entry> = Vec::new();
    while count <= entries_max && entries.len() < count {
        let page = EntryFilter {
            before: Some(entries.last().map_or(end, |entry| entry.seq)),
            limit: PAGE.min(count - entries.len()),
            ..EntryFilter::default()
        };
        let page = reader.entries(user_id, page).await?;
        if page.is_empty() {
            break; // an entry is missing, which is noticed where they are added up
        }
        entries.extend(page);
    }
    entries.reverse();
    Ok(Ok(Excerpt {
        before,
        count,
        entries,
    }))
}

/// What entries add up to.
#[derive(Default)]
struct Sums {
    totals: StatementTotals,
    kinds: BTreeMap<Kind, KindTotal>,
    features: BTreeMap<Option<String>, FeatureTotal>,
}

impl Sums {
    /// Fails where credits went to, or came from, a counter-account that there is none of.
    fn add(&mut self, entry: &Entry) -> Result<(), &'static str> {
        let kind = self.kinds.entry(entry.kind).or_insert(KindTotal {
            kind: entry.kind,
            entries: 0,
            change: 0,
            held_change: 0,
        });
        kind.entries += 1;
        kind.change += i128::from(entry.change);
        kind.held_change += i128::from(entry.held_change);

        let net = -i128::from(entry.counter_change());
        let (came, went) = (net.max(0), (-net).max(0));
        let (account, name) = match entry.counter_account.split_once('.') {
            Some((account, name)) => (account, Some(name)),
            None => (entry.counter_account.as_ref(), None),
        };
        match account {
            "issued" => {
                self.totals.granted += came;
                self.totals.taken_back += went;
            }
            "earned" => {
                self.totals.spent += went;
                self.totals.refunded += came;
                let feature = name.map(str::to_owned);
                let total = self
                    .features
                    .entry(feature)
                    .or_insert_with_key(|feature| FeatureTotal {
                        feature: feature.clone(),
                        captures: 0,
                        spent: 0,
                        refunded: 0,
                    });
                total.captures += u64::from(entry.kind == Kind::Confirm);
                total.spent += went;
                total.refunded += came;
            }
            "expired" if came == 0 => self.totals.expired += went,
            _ if net == 0 => {}
            _ => return Err("its credits came from nowhere"),
        }
        Ok(())
    }
}

/// Adds up entries that follow what is `before` them, and finds out whether they do.
fn add_up(before: (i64, StatementBalance), entries: &[Entry]) -> Result<Sums, (i64, &'static str)> {
    let mut sums = Sums::default();
    let (mut seq, mut balance) = before;
    for entry in entries {
        if entry.seq != seq + 1 {
            return Err((seq + 1, "it is missing"));
        }
        let follows = balance.available.checked_add(entry.change) == Some(entry.available)
            && balance.held.checked_add(entry.held_change) == Some(entry.held);
        if !follows {
            return Err((entry.seq, "its balance does not follow"));
        }
        sums.add(entry).map_err(|problem| (entry.seq, problem))?;
        seq = entry.seq;
        balance = StatementBalance::after(entry);
    }
    Ok(sums)
}

fn check(since: Timestamp, until: Timestamp) -> Result<()> {
    for (field, at) in [("since", since), ("until", until)] {
        if !at.in_range() {
            let limit = format!("{} .. {}", Timestamp::MIN, Timestamp::MAX);
            return Err(Error::invalid(field, "is out of range", limit, at));
        }
    }
    if since > until {
        let limit = format!("{since} or later");
        return Err(Error::invalid("until", "must not be before since", limit, until));
    }
    Ok(())
}

impl Ledger {
    /// An account's statement of `[since, until)`: opening and closing balance, the entries in between, and what they
    /// add up to. An account that was never used has an empty one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
    /// use jointo_credits::{Confirm, Consume, Grant, Ledger, Source, Timestamp};
    /// let ledger = Ledger::connect("sqlite::memory:").await?;
    /// ledger.migrate().await?;
    /// let user = uuid::Uuid::from_u128(1);
    /// ledger.grant(Grant::new(user, 100, Source::Purchase), None).await?;
    /// let hold = ledger.consume(Consume::new(user, 30).feature("image"), None).await?;
    /// ledger.confirm(Confirm::all(hold.id), None).await?;
    /// let all = ledger.statement(user, Timestamp::MIN, Timestamp::MAX).await?;
    /// assert_eq!((all.opening.total(), all.closing.total(), all.entries.len()), (0, 70, 3));
    /// assert_eq!((all.totals.granted, all.totals.spent), (100, 30));
    /// assert_eq!(all.features[0].feature.as_deref(), Some("image"));
    /// # Ok(()) }) }
    /// ```
    ///
    /// # Errors
    /// `validation` where `since` is after `until`, or before what the database still knows, or the interval has more than [`STATEMENT_ENTRIES_MAX`] entries: ask
    /// for shorter ones, or page through [`Ledger::transactions`]. `unavailable`, also where the entries do not follow
    /// each other.
    pub async fn statement(&self, user_id: Uuid, since: Timestamp, until: Timestamp) -> Result<Statement> {
        self.statement_within(user_id, since, until, STATEMENT_ENTRIES_MAX)
            .await
    }

    /// The same of at most `entries_max` entries, for whoever has less room: more are counted and refused before they
    /// are read.
    ///
    /// # Errors
    /// As [`statement`](Self::statement); `validation` also where `entries_max` is 0 or above
    /// [`STATEMENT_ENTRIES_MAX`].
    pub async fn statement_within(
        &self,
        user_id: Uuid,
        since: Timestamp,
        until: Timestamp,
        entries_max: usize,
    ) -> Result<Statement> {
        check(since, until)?;
        if !(1..=STATEMENT_ENTRIES_MAX).contains(&entries_max) {
            let limit = format!("1 .. {STATEMENT_ENTRIES_MAX}");
            return Err(Error::invalid("limit", "is out of range", limit, entries_max));
        }
        let now = self.now();
        // Nothing later is in the interval, and nothing that is still to come has passed.
        let end = Timestamp::from_micros(until.as_micros() - 1).min(now);
        let excerpt = self
            .read(move |reader: Arc<dyn Reader>| async move {
                excerpt(reader.as_ref(), user_id, since, until, entries_max).await
            })
            .await?;
        let Excerpt {
            before,
            count,
            entries,
        } = excerpt.map_err(|first| Error::archived("since", first, since))?;
        if count > entries_max {
            return Err(Error::invalid(
                "since",
                "is too early: the interval has too many entries; ask for shorter ones, or page through transactions()",
                format!("{entries_max} entries"),
                format!("{count} entries"),
            ));
        }
        let sums = add_up(before, &entries).map_err(|(seq, problem)| Error::Unavailable {
            outcome: Written::No,
            reason: format!("entry {seq} of account {user_id}: {problem}"),
            remedy: "the books are damaged; run verify()".into(),
        })?;
        let last = entries
            .last()
            .map_or(before, |entry| (entry.seq, StatementBalance::after(entry)));
        let (state, written) = self.outline(user_id, end, false).await?;
        Ok(Statement {
            user_id,
            since,
            until,
            drawn_up_at: now,
            opening: before.1,
            closing: last.1,
            // Deadlines are counted where the last entry is the account's.
            effective: (written == last.0).then_some(StatementBalance {
                available: state.account.available,
                held: state.account.held,
            }),
            totals: sums.totals,
            kinds: sums.kinds.into_values().collect(),
            features: sums.features.into_values().collect(),
            entries,
        })
    }
}
