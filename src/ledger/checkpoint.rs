//! What an account was at one of its entries, so that the entries up to there may leave the database.
//!
//! A checkpoint is made of entries alone ([`Checkpoint::advance`]), and what follows can be derived from it
//! ([`Checkpoint::state`]): it keeps the figures, what was left in each lot, and the holds that were pending. It does not
//! keep what can be read from the rows that stay, nor what no later entry can ask for: how much of a lot had expired or
//! was taken back. Of lots older than the checkpoint those two figures are known only as changes since
//! ([`State::floating`]).

use super::apply::change_account;
use super::{
    Account, Entry, Hash, Hold, HoldState, Inconsistent, Kind, Lot, LotChange, State, Status, Timestamp,
};
use alloc::{collections::BTreeMap, string::String, vec::Vec};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// An account as its entries up to number `account.seq` made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The figures, number and hash of that entry. Without bounds on deadlines.
    pub account: Account,
    /// What was left in the lots that had something left, or something to be taken back.
    pub lots: BTreeMap<Uuid, OpenLot>,
    /// The holds that were pending, without metadata and quote.
    pub holds: BTreeMap<Uuid, Hold>,
    /// The entry itself, in the form that is hashed.
    pub witness: Option<Witness>,
    /// Where an entry before it is later, for a clock has stepped back since: the latest time of all.
    pub latest: Option<Timestamp>,
}

/// An entry that has left, in the form that its hash is over: so the hash shows what was left then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Witness(Vec<u8>);

/// What a [`Witness`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Witnessed {
    /// The account.
    pub user_id: Uuid,
    /// The entry's number.
    pub seq: i64,
    /// When it was written.
    pub created_at: Timestamp,
    /// `available` afterwards.
    pub available: i64,
    /// `held` afterwards.
    pub held: i64,
}

impl Witness {
    fn of(entry: &Entry, previous: &Hash) -> Self {
        let mut form = Vec::with_capacity(320 + entry.data.len());
        entry.write_canonical(previous, &mut form);
        Witness(form)
    }

    /// The hash of the entry.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(&self.0)
    }

    /// What it says; `None` where it is not in the form of an entry. See [`Entry::chained`] for what stands where.
    #[must_use]
    pub fn says(&self) -> Option<Witnessed> {
        let bytes = self.0.strip_prefix(&[1])?;
        let user_id = Uuid::from_slice(bytes.get(32..48)?).ok()?;
        let integer = |place: usize| {
            let begin = 48 + 8 * place;
            let bytes: [u8; 8] = bytes.get(begin..begin + 8)?.try_into().ok()?;
            Some(i64::from_be_bytes(bytes))
        };
        Some(Witnessed {
            user_id,
            seq: integer(0)?,
            created_at: Timestamp::from_micros(integer(1)?),
            available: integer(4)?,
            held: integer(5)?,
        })
    }
}

/// What a checkpoint knows of a lot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "(i64, i64)", into = "(i64, i64)")]
pub struct OpenLot {
    /// Credits left.
    pub remaining: i64,
    /// Credits to be taken when they come back.
    pub claim: i64,
}

impl From<(i64, i64)> for OpenLot {
    fn from((remaining, claim): (i64, i64)) -> Self {
        OpenLot { remaining, claim }
    }
}

impl From<OpenLot> for (i64, i64) {
    fn from(lot: OpenLot) -> Self {
        (lot.remaining, lot.claim)
    }
}

/// What is stored of a checkpoint beside its account, number, hash and time.
#[derive(Serialize, Deserialize)]
struct Data {
    available: i64,
    held: i64,
    debt: i64,
    borrowed: i64,
    credit_limit: i64,
    granted: i64,
    spent: i64,
    /// When the first entry of all was written.
    #[serde(rename = "created_at_us")]
    created_at: Timestamp,
    lots: BTreeMap<Uuid, OpenLot>,
    holds: Vec<PendingHold>,
    /// In hexadecimal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    witness: Option<String>,
    #[serde(default, rename = "latest_us", skip_serializing_if = "Option::is_none")]
    latest: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
struct PendingHold {
    id: Uuid,
    amount: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    feature: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reference: Option<String>,
    #[serde(rename = "created_at_us")]
    created_at: Timestamp,
    state: HoldState,
}

impl Checkpoint {
    /// Before the first entry.
    #[must_use]
    pub fn new(user_id: Uuid) -> Self {
        Checkpoint {
            account: Account::new(user_id, Timestamp::MIN),
            lots: BTreeMap::new(),
            holds: BTreeMap::new(),
            witness: None,
            latest: None,
        }
    }

    /// When the latest of the entries up to it was written.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.latest.unwrap_or(self.account.updated_at)
    }

    /// The checkpoint one entry later.
    ///
    /// # Errors
    /// [`Inconsistent`] where the entry does not follow; the checkpoint is then not to be used any more.
    pub fn advance(&mut self, entry: &Entry) -> Result<(), Inconsistent> {
        self.follow(entry).map_err(|problem| Inconsistent {
            user_id: entry.user_id,
            seq: entry.seq,
            problem,
        })
    }

    fn follow(&mut self, entry: &Entry) -> Result<(), &'static str> {
        if self.account.user_id != entry.user_id || self.account.seq + 1 != entry.seq {
            return Err("the number does not follow");
        }
        for lot in &entry.effects.new_lots {
            self.change_lot(lot.lot_id, lot.remaining, lot.claim)?;
        }
        for LotChange {
            lot,
            remaining,
            claim,
            ..
        } in &entry.effects.lots
        {
            self.change_lot(*lot, *remaining, *claim)?;
        }
        if let (Kind::Consume, Some(hold)) = (entry.kind, entry.made_hold()) {
            self.holds.insert(hold.consumption_id, hold);
        }
        if let Some(after) = &entry.effects.hold {
            let id = entry.consumption_id.ok_or("it changes a hold it does not name")?;
            self.change_hold(id, after)?;
        }
        for (id, after) in &entry.effects.funded {
            self.change_hold(*id, after)?;
        }
        let account = &mut self.account;
        change_account(account, entry)?;
        if account.available != entry.available || account.held != entry.held {
            return Err("its balance does not follow");
        }
        let latest = self.latest.unwrap_or(account.updated_at);
        self.latest = Some(latest).filter(|latest| account.seq > 0 && *latest > entry.created_at);
        self.witness = Some(Witness::of(entry, &account.hash));
        account.seq = entry.seq;
        account.hash = entry.hash;
        account.updated_at = entry.created_at;
        if entry.seq == 1 {
            account.created_at = entry.created_at;
        }
        Ok(())
    }

    fn change_lot(&mut self, lot_id: Uuid, remaining: i64, claim: i64) -> Result<(), &'static str> {
        let lot = self.lots.entry(lot_id).or_default();
        lot.remaining += remaining;
        lot.claim += claim;
        if lot.remaining < 0 || lot.claim < 0 {
            return Err("a lot would hold less than nothing");
        }
        if *lot == OpenLot::default() {
            self.lots.remove(&lot_id);
        }
        Ok(())
    }

    fn change_hold(&mut self, id: Uuid, after: &HoldState) -> Result<(), &'static str> {
        if after.status != Status::Pending {
            self.holds.remove(&id);
            return Ok(());
        }
        let hold = self.holds.get_mut(&id).ok_or("it changes an unknown hold")?;
        hold.state.clone_from(after);
        Ok(())
    }

    /// Of a state that has every lot and hold of the account.
    #[must_use]
    pub fn of(state: &State) -> Self {
        let open = |lot: &Lot| OpenLot {
            remaining: lot.remaining,
            claim: lot.claim,
        };
        let lots = state.lots.values().map(|lot| (lot.lot_id, open(lot)));
        let holds = state.holds.values();
        let pending = holds.filter(|hold| hold.state.status == Status::Pending);
        let bare = |hold: &Hold| Hold {
            metadata: None,
            quote: None,
            ..hold.clone()
        };
        Checkpoint {
            account: Account {
                next_hold_deadline: None,
                next_lot_deadline: None,
                ..state.account.clone()
            },
            lots: lots.filter(|(_, open)| *open != OpenLot::default()).collect(),
            holds: pending.map(|hold| (hold.consumption_id, bare(hold))).collect(),
            witness: None,
            latest: None,
        }
    }

    /// What later entries are applied to. `lots`: the rows of the lots that it names, as they are now.
    ///
    /// # Errors
    /// The id of a lot without a row.
    pub fn state(&self, lots: impl IntoIterator<Item = Lot>) -> Result<State, Uuid> {
        let mut state = State::new(self.account.user_id, self.account.created_at);
        state.account = self.account.clone();
        self.holds.values().for_each(|hold| state.put_hold(hold.clone()));
        for lot in lots {
            let then = self.lots.get(&lot.lot_id).copied().unwrap_or_default();
            state.recall(lot, then);
        }
        match self.lots.keys().find(|id| !state.lots.contains_key(*id)) {
            Some(missing) => Err(*missing),
            None => Ok(state),
        }
    }

    /// As it is stored, beside account, number, hash and time.
    #[must_use]
    pub fn data(&self) -> String {
        let account = &self.account;
        let data = Data {
            available: account.available,
            held: account.held,
            debt: account.debt,
            borrowed: account.borrowed,
            credit_limit: account.credit_limit,
            granted: account.granted,
            spent: account.spent,
            created_at: account.created_at,
            lots: self.lots.clone(),
            holds: self.holds.values().map(PendingHold::of).collect(),
            witness: self.witness.as_ref().map(|witness| hex::encode(&witness.0)),
            latest: self.latest,
        };
        // Numbers, strings and lists only; serialising those can't fail.
        serde_json::to_string(&data).unwrap_or_default()
    }

    /// As it was stored.
    ///
    /// # Errors
    /// What can't be read.
    pub fn parse(
        user_id: Uuid,
        seq: i64,
        hash: Hash,
        at: Timestamp,
        data: &str,
    ) -> Result<Self, serde_json::Error> {
        let data: Data = serde_json::from_str(data)?;
        let no_form = |_| serde::de::Error::custom("its entry is not in hexadecimal");
        let witness = data
            .witness
            .as_deref()
            .map(|text| hex::decode(text).map(Witness).map_err(no_form));
        let holds = data
            .holds
            .into_iter()
            .map(|hold| (hold.id, hold.of_user(user_id)));
        Ok(Checkpoint {
            account: Account {
                seq,
                hash,
                available: data.available,
                held: data.held,
                debt: data.debt,
                borrowed: data.borrowed,
                credit_limit: data.credit_limit,
                granted: data.granted,
                spent: data.spent,
                created_at: data.created_at,
                updated_at: at,
                ..Account::new(user_id, data.created_at)
            },
            lots: data.lots,
            holds: holds.collect(),
            witness: witness.transpose()?,
            latest: data.latest,
        })
    }
}

impl PendingHold {
    fn of(hold: &Hold) -> Self {
        PendingHold {
            id: hold.consumption_id,
            amount: hold.amount,
            feature: hold.feature.clone(),
            reference: hold.reference.clone(),
            created_at: hold.created_at,
            state: hold.state.clone(),
        }
    }

    fn of_user(self, user_id: Uuid) -> Hold {
        Hold {
            consumption_id: self.id,
            user_id,
            amount: self.amount,
            feature: self.feature,
            reference: self.reference,
            metadata: None,
            quote: None,
            created_at: self.created_at,
            state: self.state,
        }
    }
}

impl State {
    /// Takes up a lot that is older than the state's checkpoint, from its row: what was left in it then is known, and what
    /// had expired or was taken back counts from nought.
    pub fn recall(&mut self, row: Lot, then: OpenLot) {
        self.floating.insert(row.lot_id);
        let lot = Lot {
            remaining: then.remaining,
            claim: then.claim,
            expired: 0,
            clawed: 0,
            ..row
        };
        self.put_lot(lot);
    }

    /// The lots that an entry changes, and this state does not have: where it began at a checkpoint, they were empty then.
    #[must_use]
    pub fn lots_missing(&self, entry: &Entry) -> Vec<Uuid> {
        let effects = &entry.effects;
        let made = |id: &Uuid| effects.new_lots.iter().any(|lot| lot.lot_id == *id);
        let mut ids: Vec<Uuid> = effects.lots.iter().map(|change| change.lot).collect();
        ids.sort_unstable();
        ids.dedup();
        ids.retain(|id| !self.lots.contains_key(id) && !made(id));
        ids
    }
}
