//! Accounts as a committer left them: their next commands need no read, or a shorter one.
//!
//! What is decided on a kept account is right only while nobody else has written to the account. The write finds that
//! out: it is void where the account's last entry is another one, or where the journal has a key that nobody has looked
//! up. So keeping accounts can cost a second attempt, and never a credit.
//!
//! - An account is *taken* out for a batch and put back only once its write is there. Whatever goes wrong in between, it
//!   is read again.
//! - Only what a command needs is kept: the figures, the lots that have something left and burn first, and pending holds that
//!   were made or seen here, which need not be all of the account's. With holds that are due it is read, and with lots that
//!   are due and may not be kept; so it is where a command takes more than what is kept.
//! - Who shares accounts with other processes finds them changed. How often is counted, for each account and for all of
//!   them. One that is changed often is *compared* before it is used: the read brings it only if it has changed. So
//!   does one whose commands would be refused: what is refused has been read.
//! - Two generations bound the memory: what was not used while the younger one filled goes with the older one.

use super::batch::Books;
use super::committer::Job;
use crate::ledger::{Action, Command, Hold, Lot, State, Status, Target, Timestamp, id};
use std::collections::{BTreeMap, HashSet};
use uuid::Uuid;

/// Pending holds that are kept of an account: the newest ones. Of another one, a confirm reads.
const HOLDS_MAX: usize = 128;
/// The same, once there is no room for all accounts: a hold that nobody settles must not take an account's place.
const HOLDS_MAX_WHEN_FULL: usize = 4;
/// Of each account so many times as many open lots are kept as are read at first.
const LOTS_KEPT: usize = 2;
/// A hold with longer texts (metadata, quote, and the like) is not kept.
const TEXT_BYTES_MAX: usize = 2_048;

/// A share, of [`Share::ALL`]: how many of the last times something was so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd)]
struct Share(u16);

impl Share {
    const ALL: u16 = 1 << 15;
    /// An account that is changed more often is compared before it is used: a write in vain costs about three reads.
    const OFTEN: Share = Share(Share::ALL / 4);
    /// From here on others are at work on the same accounts, and below a half of it they are not any more.
    const SOME: Share = Share(Share::ALL / 8);

    /// Once more: the last `weight` times or so count.
    fn note(&mut self, is_so: bool, weight: u16) {
        if is_so {
            self.0 += (Share::ALL - self.0) / weight;
        } else {
            self.0 -= self.0 / weight;
        }
    }
}

/// By route, so that the id of a consumption leads to the accounts it can belong to.
type Place = (u16, Uuid);

fn place(user_id: Uuid) -> Place {
    (id::route(user_id), user_id)
}

/// What is known of an account.
#[derive(Debug, Default)]
struct Record {
    state: Option<Box<State>>,
    /// About how much memory it takes.
    bytes: usize,
    /// How often it was found changed.
    changed: Share,
}

impl Record {
    fn set(&mut self, state: Option<Box<State>>) {
        self.bytes = size_of::<(Place, Record)>() + state.as_deref().map_or(0, bytes);
        self.state = state;
    }

    /// The state, if no hold or lot that is not in it can matter at `now`.
    fn usable(&self, now: Timestamp) -> Option<&State> {
        let state = self.state.as_deref()?;
        let account = &state.account;
        let lots = account.next_lot_deadline.filter(|_| state.lots_end.is_some());
        let deadline = account.next_hold_deadline.into_iter().chain(lots).min();
        deadline.is_none_or(|deadline| deadline > now).then_some(state)
    }
}

/// What is worth keeping of an account; `None` where it has to be read anyway.
fn worth_keeping(mut state: State, holds_max: usize, lots_max: usize) -> Option<Box<State>> {
    if state.is_due_in_parts() {
        return None;
    }
    let is_kept = |hold: &Hold| hold.state.status == Status::Pending && text_bytes(hold) <= TEXT_BYTES_MAX;
    state.holds.retain(|_, hold| is_kept(hold));
    while state.holds.len() > holds_max {
        state.holds.pop_first();
    }
    // Which of them are all those up to an id, nobody knows any more.
    state.borrowers_end = (state.account.borrowed > 0).then(Uuid::nil);
    let open = state.lots.values().filter(|lot| lot.remaining > 0).count();
    if state.lots_end.is_none() && open > lots_max {
        state.note_open(lots_max);
    }
    if open < state.lots.len() || state.lots_end.is_some() {
        let end = state.lots_end;
        let pins = state.holds.values().flat_map(|hold| &hold.state.pins);
        let pinned: HashSet<Uuid> = pins.map(|pin| pin.lot_id).collect();
        let burns_first = |lot: &Lot| lot.remaining > 0 && end.is_none_or(|end| lot.burn_order() <= end);
        state
            .lots
            .retain(|id, lot| burns_first(lot) || pinned.contains(id));
    }
    state.orders.clear();
    state.claims.clear();
    Some(Box::new(state))
}

/// About how much memory a state takes, its maps' nodes included.
fn bytes(state: &State) -> usize {
    const ENTRY: usize = size_of::<(Uuid, usize)>() * 2;
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let lots = state.lots.values();
    let lots = lots.map(|lot| ENTRY + size_of::<Lot>() + len(&lot.reference));
    let holds = state
        .holds
        .values()
        .map(|hold| ENTRY + size_of::<Hold>() + size_of_val(hold.state.pins.as_slice()) + text_bytes(hold));
    size_of::<State>() + lots.sum::<usize>() + holds.sum::<usize>()
}

fn text_bytes(hold: &Hold) -> usize {
    let len = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let metadata = hold
        .metadata
        .as_ref()
        .map_or(0, |metadata| metadata.as_str().len());
    metadata + len(&hold.feature) + len(&hold.reference) + len(&hold.quote) + len(&hold.state.used)
}

/// See the module.
#[derive(Debug)]
pub(super) struct Kept {
    /// What each of the two generations may take; 0 where nothing is kept.
    bytes_max: usize,
    lots_max: usize,
    young: BTreeMap<Place, Record>,
    young_bytes: usize,
    old: BTreeMap<Place, Record>,
    /// How often any account was found changed.
    changed: Share,
    others_write: bool,
}

/// What a batch gets of what is kept.
#[derive(Debug, Default)]
pub(super) struct Lent {
    /// For each command: its account, where it is decided without a read.
    pub(super) unread: Vec<Option<Uuid>>,
    /// Accounts to be read only if they are not like this any more.
    pub(super) to_compare: Vec<State>,
}

/// How the commands of a batch need an account.
#[derive(Default)]
struct Wanted {
    /// With more than is kept.
    whole: HashSet<Uuid>,
    /// One of these, whichever a consumption belongs to.
    routes: HashSet<u16>,
}

impl Kept {
    /// `lots_first`: how many open lots of an account are read at first.
    pub(super) fn new(bytes_max: usize, lots_first: usize) -> Self {
        Kept {
            bytes_max: bytes_max / 2,
            lots_max: lots_first.saturating_mul(LOTS_KEPT),
            young: BTreeMap::new(),
            young_bytes: 0,
            old: BTreeMap::new(),
            changed: Share::default(),
            others_write: false,
        }
    }

    /// Forgets every account.
    pub(super) fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
        self.young_bytes = 0;
    }

    /// Whether other processes are at work on the same accounts.
    pub(super) fn others_write(&self) -> bool {
        self.others_write
    }

    /// Takes out what the commands need. What needs no read is handed to `books`.
    pub(super) fn lend(&mut self, jobs: &[Job], now: Timestamp, books: &mut Books<'_>) -> Lent {
        // All commands of an account are decided on one picture.
        let mut wanted = Wanted::default();
        let mut owners = Vec::with_capacity(jobs.len());
        for job in jobs {
            let owner = match job.command.target() {
                Target::Account(user_id) => Some(user_id),
                Target::Consumption(id) => self.owner(id, now),
            };
            match (owner, job.command.target()) {
                (Some(user_id), _) if job.stale > 0 || job.rows.is_some() || needs_more(&job.command) => {
                    wanted.whole.insert(user_id);
                }
                (None, Target::Consumption(id)) => {
                    wanted.routes.insert(id::route_of_consumption(id));
                }
                // A hold is read together with its account, or not at all.
                (Some(user_id), Target::Consumption(_)) if !self.is_trusted(user_id) => {
                    wanted.whole.insert(user_id);
                }
                _ => {}
            }
            owners.push(owner);
        }
        let mut lent = Lent::default();
        let mut compared = HashSet::new();
        for (owner, job) in owners.into_iter().zip(jobs) {
            let whole = |user_id: &Uuid| {
                wanted.whole.contains(user_id) || wanted.routes.contains(&id::route(*user_id))
            };
            let owner = owner.filter(|user_id| !whole(user_id));
            let unread = owner.filter(|user_id| {
                books.remembers(*user_id)
                    || (!compared.contains(user_id) && self.is_trusted(*user_id) && {
                        let state = self.take(*user_id, now);
                        state.map(|state| books.remember(state)).is_some()
                    })
            });
            lent.unread.push(unread);
            match (unread, owner) {
                (Some(user_id), _) => {
                    if let Target::Consumption(id) = job.command.target() {
                        books.note_owner(id, user_id);
                    }
                }
                (None, Some(user_id)) => {
                    if compared.insert(user_id) {
                        lent.to_compare.extend(self.take(user_id, now));
                    }
                }
                (None, None) => {}
            }
        }
        lent
    }

    fn record(&self, user_id: Uuid) -> Option<&Record> {
        let place = place(user_id);
        self.young.get(&place).or_else(|| self.old.get(&place))
    }

    fn is_trusted(&self, user_id: Uuid) -> bool {
        self.record(user_id)
            .is_some_and(|record| record.changed <= Share::OFTEN)
    }

    /// Whose a consumption is, if its hold and its account are kept and can be used.
    fn owner(&self, consumption_id: Uuid, now: Timestamp) -> Option<Uuid> {
        let route = id::route_of_consumption(consumption_id);
        let of_route = (route, Uuid::nil())..=(route, Uuid::max());
        let records = self.young.range(of_route.clone()).chain(self.old.range(of_route));
        let mut states = records.filter_map(|(_, record)| record.usable(now));
        let owner = states.find(|state| state.holds.contains_key(&consumption_id))?;
        Some(owner.account.user_id)
    }

    fn take(&mut self, user_id: Uuid, now: Timestamp) -> Option<State> {
        let place = place(user_id);
        let record = match self.young.get_mut(&place) {
            Some(record) => record,
            None => self.old.get_mut(&place)?,
        };
        record.usable(now)?;
        record.state.take().map(|state| *state)
    }

    /// Keeps an account as it was written.
    pub(super) fn put(&mut self, state: State) {
        if self.bytes_max == 0 {
            return;
        }
        let holds_max = if self.old.is_empty() {
            HOLDS_MAX
        } else {
            HOLDS_MAX_WHEN_FULL
        };
        let place = place(state.account.user_id);
        let changed = self.changed;
        let record = self.young.entry(place).or_insert_with(|| {
            let new = Record {
                changed,
                ..Record::default()
            };
            let record = self.old.remove(&place).unwrap_or(new);
            self.young_bytes += record.bytes;
            record
        });
        self.young_bytes -= record.bytes;
        record.set(worth_keeping(state, holds_max, self.lots_max));
        self.young_bytes += record.bytes;
        if self.young_bytes > self.bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
    }

    /// Takes note of whether an account was still as it was kept.
    pub(super) fn found(&mut self, user_id: Uuid, is_changed: bool) {
        self.changed.note(is_changed, 64);
        let bound = if self.others_write {
            Share(Share::SOME.0 / 2)
        } else {
            Share::SOME
        };
        self.others_write = self.changed > bound;
        let place = place(user_id);
        let record = match self.young.get_mut(&place) {
            Some(record) => Some(record),
            None => self.old.get_mut(&place),
        };
        if let Some(record) = record {
            record.changed.note(is_changed, 8);
        }
    }
}

/// Whether a command needs what is not kept: a lot by its id, orders, or all that is due.
fn needs_more(command: &Command) -> bool {
    matches!(command.action, Action::Mature { .. }) || command.lot().is_some() || command.order().is_some()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::ledger::{Consume, HoldState, Pin, Rules};
    use crate::store::LOTS_FIRST;
    use std::time::Duration;

    const NOW: Timestamp = Timestamp::from_micros(1_790_000_000_000_000);

    fn user(n: u64) -> Uuid {
        Uuid::from_u64_pair(n.wrapping_mul(0x9E37_79B9_7F4A_7C15), n)
    }

    fn lot(n: u64, remaining: i64) -> Lot {
        Lot {
            lot_id: user(1_000_000 + n),
            source: crate::ledger::Source::Purchase,
            amount: 100,
            remaining,
            expired: 0,
            clawed: 0,
            claim: 0,
            priority: 0,
            expires_at: None,
            cost: None,
            reference: None,
            origin: None,
            created_at: NOW,
        }
    }

    fn hold(n: u64, status: Status, lot_id: Uuid) -> Hold {
        Hold {
            consumption_id: user(2_000_000 + n),
            user_id: user(1),
            amount: 1,
            feature: None,
            reference: None,
            metadata: None,
            quote: None,
            created_at: NOW,
            state: HoldState {
                status,
                captured: 0,
                reversed: 0,
                borrowed: 0,
                pins: vec![Pin { lot_id, amount: 1 }],
                expires_at: NOW.plus(Duration::from_secs(60)),
                settled_at: None,
                used: None,
            },
        }
    }

    /// As after a write, with one open lot.
    fn written(n: u64) -> State {
        let mut state = State::new(user(n), NOW);
        state.account.seq = 1;
        state.put_lot(lot(n, 100));
        state
    }

    fn job(n: u64) -> Job {
        Job::of(Action::Consume(Consume::new(user(n), 1)).with_key(None))
    }

    /// What becomes of an account's next command. Takes the account out.
    #[derive(Debug, PartialEq)]
    enum Needs {
        Nothing,
        ToCompare,
        ToRead,
    }

    fn lend(kept: &mut Kept, jobs: &[Job]) -> Lent {
        let rules = Rules::default();
        kept.lend(jobs, NOW, &mut Books::new(NOW, &rules))
    }

    fn needs(kept: &mut Kept, n: u64) -> Needs {
        let Lent { unread, to_compare } = lend(kept, &[job(n)]);
        match (unread.as_slice(), to_compare.as_slice()) {
            ([Some(_)], []) => Needs::Nothing,
            ([None], [_]) => Needs::ToCompare,
            ([None], []) => Needs::ToRead,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_account_is_lent_once_and_comes_back_when_it_was_written() {
        let mut kept = Kept::new(1 << 20, LOTS_FIRST);
        assert_eq!(needs(&mut kept, 1), Needs::ToRead);
        kept.put(written(1));
        assert_eq!(needs(&mut kept, 1), Needs::Nothing);
        // It is out: nobody knows what became of its write.
        assert_eq!(needs(&mut kept, 1), Needs::ToRead);
        kept.put(written(1));
        assert_eq!(needs(&mut kept, 1), Needs::Nothing);
        kept.put(written(1));
        kept.clear();
        assert_eq!(needs(&mut kept, 1), Needs::ToRead);
    }

    #[test]
    fn what_is_due_is_read() {
        let mut kept = Kept::new(1 << 20, LOTS_FIRST);
        for (deadline, expected) in [
            (NOW, Needs::ToRead),
            (NOW.plus(Duration::from_micros(1)), Needs::Nothing),
        ] {
            let mut state = written(1);
            state.account.next_hold_deadline = Some(deadline);
            kept.put(state);
            assert_eq!(needs(&mut kept, 1), expected);
        }
    }

    #[test]
    fn settled_holds_long_ones_and_empty_lots_are_not_kept() {
        let mut state = written(1);
        for (n, remaining) in [(10, 0), (11, 0), (12, 5)] {
            state.put_lot(lot(n, remaining));
        }
        let (empty, pinned) = (user(1_000_010), user(1_000_011));
        state.put_hold(hold(1, Status::Pending, pinned));
        state.put_hold(hold(2, Status::Confirmed, empty));
        let mut long = hold(3, Status::Pending, empty);
        long.quote = Some("x".repeat(TEXT_BYTES_MAX + 1));
        state.put_hold(long);
        let state = worth_keeping(state, HOLDS_MAX, 64).unwrap();
        assert_eq!(state.holds.keys().copied().collect::<Vec<_>>(), [user(2_000_001)]);
        assert!(state.lots.contains_key(&pinned) && state.lots.contains_key(&user(1_000_012)));
        assert!(!state.lots.contains_key(&empty));
    }

    #[test]
    fn of_many_lots_those_are_kept_that_burn_first() {
        let mut many = State::new(user(1), NOW);
        for n in 0..10 {
            many.put_lot(Lot {
                priority: 10 - i32::try_from(n).unwrap(),
                ..lot(n, 1)
            });
        }
        let pinned = user(1_000_000);
        many.put_hold(hold(1, Status::Pending, pinned));
        let kept_of = |state: &State| -> Vec<i32> {
            let mut kept: Vec<i32> = state.lots.values().map(|lot| lot.priority).collect();
            kept.sort_unstable();
            kept
        };
        let mut few = *worth_keeping(many, HOLDS_MAX, 4).unwrap();
        assert_eq!(kept_of(&few), [1, 2, 3, 4, 10]);
        assert_eq!(few.lots_end.unwrap().0, 4);
        // A new lot that burns before the last of them is kept, another is not; and the end stays, with what burns.
        for (n, priority) in [(20, 2), (21, 5)] {
            few.put_lot(Lot {
                priority,
                ..lot(n, 1)
            });
        }
        few.put_lot(Lot {
            priority: 1,
            ..lot(9, 0)
        });
        let few = worth_keeping(few, HOLDS_MAX, 4).unwrap();
        assert_eq!(kept_of(&few), [2, 2, 3, 4, 10]);
        assert_eq!(few.lots_end.unwrap().0, 4);
    }

    #[test]
    fn what_may_be_due_among_lots_that_are_not_kept_is_read() {
        let mut kept = Kept::new(1 << 20, LOTS_FIRST);
        for (is_part, expected) in [(false, Needs::Nothing), (true, Needs::ToRead)] {
            let mut state = written(1);
            state.account.next_lot_deadline = Some(NOW);
            state.lots_end = is_part.then(|| lot(1, 100).burn_order());
            kept.put(state);
            assert_eq!(needs(&mut kept, 1), expected);
        }
    }

    #[test]
    fn of_holds_that_have_borrowed_nobody_knows_which_are_kept() {
        let mut state = written(1);
        (state.account.debt, state.account.borrowed) = (5, 5);
        let state = worth_keeping(state, HOLDS_MAX, 64).unwrap();
        assert_eq!(state.borrowers_end, Some(Uuid::nil()));
    }

    #[test]
    fn the_newest_holds_are_kept() {
        let mut state = written(1);
        for n in 0..HOLDS_MAX as u64 + 5 {
            let mut hold = hold(n, Status::Pending, user(1_000_001));
            hold.consumption_id = Uuid::from_u128(u128::from(n) + 1);
            state.put_hold(hold);
        }
        let state = worth_keeping(state, HOLDS_MAX, 64).unwrap();
        assert_eq!(state.holds.len(), HOLDS_MAX);
        assert_eq!(*state.holds.keys().next().unwrap(), Uuid::from_u128(6));
    }

    #[test]
    fn memory_is_bounded_and_what_is_used_stays() {
        let mut kept = Kept::new(400_000, LOTS_FIRST);
        let all = |kept: &Kept| -> usize {
            let records = kept.young.values().chain(kept.old.values());
            records.map(|record| record.bytes).sum()
        };
        let mut most = 0;
        kept.put(written(0));
        for n in 1..2_000 {
            kept.put(written(n));
            // The first one is used all the time.
            assert_eq!(needs(&mut kept, 0), Needs::Nothing, "{n}");
            kept.put(written(0));
            most = most.max(all(&kept));
        }
        assert!((200_000..=402_000).contains(&most), "{most}");
        assert_eq!(needs(&mut kept, 1_999), Needs::Nothing);
        assert_eq!(needs(&mut kept, 1), Needs::ToRead);
        let young: usize = kept.young.values().map(|record| record.bytes).sum();
        assert_eq!(kept.young_bytes, young, "as counted");

        let mut none = Kept::new(0, LOTS_FIRST);
        none.put(written(1));
        assert_eq!(needs(&mut none, 1), Needs::ToRead);
    }

    #[test]
    fn an_account_that_others_change_is_compared_until_they_stop() {
        let mut kept = Kept::new(1 << 20, LOTS_FIRST);
        kept.put(written(1));
        for _ in 0..3 {
            assert_eq!(needs(&mut kept, 1), Needs::Nothing, "once does not make often");
            kept.found(user(1), true);
            kept.put(written(1));
        }
        assert_eq!(needs(&mut kept, 1), Needs::ToCompare);
        for _ in 0..3 {
            kept.found(user(1), false);
        }
        kept.put(written(1));
        assert_eq!(needs(&mut kept, 1), Needs::Nothing);
    }

    #[test]
    fn where_others_write_new_accounts_are_compared_too() {
        let mut kept = Kept::new(1 << 20, LOTS_FIRST);
        let mut compared_first = None;
        for n in 0..100 {
            kept.put(written(n));
            if needs(&mut kept, n) == Needs::ToCompare {
                compared_first.get_or_insert(n);
            }
            kept.found(user(n), true);
        }
        assert!((10..30).contains(&compared_first.unwrap()), "{compared_first:?}");
        assert!(kept.others_write());
        for n in 0..300 {
            kept.found(user(n), false);
        }
        assert!(!kept.others_write());
        kept.put(written(1_001));
        assert_eq!(needs(&mut kept, 1_001), Needs::Nothing);
    }

    #[test]
    fn all_commands_of_an_account_are_decided_on_one_picture() {
        let mut kept = Kept::new(1 << 20, LOTS_FIRST);
        let confirm = |id| {
            Job::of(Command {
                action: Action::Confirm(crate::ledger::Confirm {
                    consumption_id: id,
                    amount: None,
                    overage: crate::ledger::Overage::Reject,
                    late: crate::ledger::Late::Reject,
                    used: None,
                }),
                idempotency_key: None,
            })
        };
        let own = id::derive(user(1), 5, &crate::ledger::Hash::genesis(user(1)), 0, NOW);
        let foreign = id::derive(user(1), 6, &crate::ledger::Hash::genesis(user(1)), 0, NOW);
        let mut state = written(1);
        let mut of_own = hold(1, Status::Pending, user(1_000_001));
        of_own.consumption_id = own;
        state.put_hold(of_own);
        kept.put(state.clone());
        kept.put(written(2));
        let lent = lend(&mut kept, &[job(1), confirm(own), job(2)]);
        assert_eq!(lent.unread, [Some(user(1)), Some(user(1)), Some(user(2))]);
        // A hold of the same account that has to be read, by its id alone; or a command that was decided before.
        kept.put(state.clone());
        kept.put(written(2));
        let lent = lend(&mut kept, &[job(1), confirm(foreign), job(2)]);
        assert_eq!(
            (lent.unread, lent.to_compare.len()),
            (vec![None, None, Some(user(2))], 0)
        );
        let mut again = job(1);
        again.stale = 1;
        let lent = lend(&mut kept, &[job(1), again]);
        assert_eq!((lent.unread, lent.to_compare.len()), (vec![None, None], 0));
        // One that is compared, with two commands; and with a hold, which is then read with its account.
        for _ in 0..10 {
            kept.found(user(1), true);
        }
        let lent = lend(&mut kept, &[job(1), job(1)]);
        assert_eq!((lent.unread, lent.to_compare.len()), (vec![None, None], 1));
        kept.put(state);
        let lent = lend(&mut kept, &[job(1), confirm(own)]);
        assert_eq!((lent.unread, lent.to_compare.len()), (vec![None, None], 0));
    }
}
