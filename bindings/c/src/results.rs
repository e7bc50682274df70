//! Structs that go out: numbers, ids and text of fixed size, so that nothing in them has to be freed.

use crate::error::credits_code;
use crate::strings::field;
use crate::text::time;
use crate::uuid::credits_uuid;
use jointo_credits::{
    Balance, ClawbackReceipt, Consumption, Entry, Kind, Lot, Matured, Package, PendingHolds, Receipt, Source,
    Status, TrialBalance, Verification,
};
use std::ffi::c_char;

/// The bytes of a text field: 255 bytes of UTF-8 and a NUL.
pub const CREDITS_TEXT: usize = 256;
/// The bytes of a counter-account's name, with its NUL.
pub const CREDITS_ACCOUNT_TEXT: usize = 320;
/// The bytes of a number in text, with its NUL.
pub const CREDITS_NUMBER_TEXT: usize = 48;
/// The bytes of a page's cursor, with its NUL.
pub const CREDITS_CURSOR_TEXT: usize = 64;
/// The bytes of the name of a payment channel, or of a parameter, with its NUL.
pub const CREDITS_NAME_TEXT: usize = 40;
/// The bytes of an order's number, or of a refund's, with its NUL.
pub const CREDITS_ORDER_NO_TEXT: usize = 48;
/// The bytes of what a payer scans or opens, with its NUL.
pub const CREDITS_LINK_TEXT: usize = 8192;

/// A consumption's status: its credits are held.
pub const CREDITS_PENDING: i32 = 1;
/// What was used is spent.
pub const CREDITS_CONFIRMED: i32 = 2;
/// Everything was given back.
pub const CREDITS_REFUNDED: i32 = 3;
/// The hold's deadline has passed; everything is back.
pub const CREDITS_EXPIRED: i32 = 4;
/// A lot's source: bought.
pub const CREDITS_SOURCE_PURCHASE: i32 = 1;
/// On top of a purchase.
pub const CREDITS_SOURCE_BONUS: i32 = 2;
/// A present.
pub const CREDITS_SOURCE_GIFT: i32 = 3;
/// Of a subscription.
pub const CREDITS_SOURCE_SUBSCRIPTION: i32 = 4;
/// Of a correction.
pub const CREDITS_SOURCE_ADJUSTMENT: i32 = 5;
/// Reversed after its own lot had expired.
pub const CREDITS_SOURCE_REVERSAL: i32 = 6;
/// An opening balance from another system.
pub const CREDITS_SOURCE_OPENING: i32 = 7;
/// An entry's kind: credits were granted.
pub const CREDITS_KIND_GRANT: i32 = 1;
/// A present was given.
pub const CREDITS_KIND_GIFT: i32 = 2;
/// Credits were held.
pub const CREDITS_KIND_CONSUME: i32 = 3;
/// A hold was captured.
pub const CREDITS_KIND_CONFIRM: i32 = 4;
/// A hold was released.
pub const CREDITS_KIND_REFUND: i32 = 5;
/// A capture was reversed.
pub const CREDITS_KIND_REVERSE: i32 = 6;
/// A hold's deadline was moved.
pub const CREDITS_KIND_EXTEND: i32 = 7;
/// A hold expired.
pub const CREDITS_KIND_EXPIRE_HOLD: i32 = 8;
/// A lot expired.
pub const CREDITS_KIND_EXPIRE_LOT: i32 = 9;
/// The balance was corrected.
pub const CREDITS_KIND_ADJUST: i32 = 10;
/// The credit limit was set.
pub const CREDITS_KIND_CREDIT_LIMIT: i32 = 11;
/// Granted credits were taken back.
pub const CREDITS_KIND_CLAWBACK: i32 = 12;
/// An order was made, or changed without moving credits.
pub const CREDITS_KIND_ORDER: i32 = 13;

/// The numbers that stand for the words of the ledger's own types; 0 for none that is known here.
pub(crate) fn status_number(status: Status) -> i32 {
    match status {
        Status::Pending => CREDITS_PENDING,
        Status::Confirmed => CREDITS_CONFIRMED,
        Status::Refunded => CREDITS_REFUNDED,
        Status::Expired => CREDITS_EXPIRED,
        _ => 0,
    }
}

pub(crate) fn source_number(source: Source) -> i32 {
    match source {
        Source::Purchase => CREDITS_SOURCE_PURCHASE,
        Source::Bonus => CREDITS_SOURCE_BONUS,
        Source::Gift => CREDITS_SOURCE_GIFT,
        Source::Subscription => CREDITS_SOURCE_SUBSCRIPTION,
        Source::Adjustment => CREDITS_SOURCE_ADJUSTMENT,
        Source::Reversal => CREDITS_SOURCE_REVERSAL,
        Source::Opening => CREDITS_SOURCE_OPENING,
        _ => 0,
    }
}

pub(crate) fn kind_number(kind: Kind) -> i32 {
    match kind {
        Kind::Grant => CREDITS_KIND_GRANT,
        Kind::Gift => CREDITS_KIND_GIFT,
        Kind::Consume => CREDITS_KIND_CONSUME,
        Kind::Confirm => CREDITS_KIND_CONFIRM,
        Kind::Refund => CREDITS_KIND_REFUND,
        Kind::Reverse => CREDITS_KIND_REVERSE,
        Kind::Extend => CREDITS_KIND_EXTEND,
        Kind::ExpireHold => CREDITS_KIND_EXPIRE_HOLD,
        Kind::ExpireLot => CREDITS_KIND_EXPIRE_LOT,
        Kind::Adjust => CREDITS_KIND_ADJUST,
        Kind::CreditLimit => CREDITS_KIND_CREDIT_LIMIT,
        Kind::Clawback => CREDITS_KIND_CLAWBACK,
        Kind::Order => CREDITS_KIND_ORDER,
        _ => 0,
    }
}

/// What stands for a number that a program gives; `None` where it is none.
pub(crate) fn by_number<T: Copy>(all: &[T], number_of: fn(T) -> i32, number: i32) -> Option<T> {
    all.iter().copied().find(|value| number_of(*value) == number)
}

/// What an account has. Times are microseconds since 1970 UTC.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_balance {
    /// Whose it is.
    pub user_id: credits_uuid,
    /// Credits that can be spent now, without the credit limit; below zero where the account is in debt.
    pub available: i64,
    /// Credits in live holds.
    pub held: i64,
    /// Credits owed.
    pub debt: i64,
    /// How far below zero credits_consume() may go.
    pub credit_limit: i64,
    /// Credits granted in the account's life.
    pub granted: i64,
    /// Credits spent in the account's life, reversals taken off.
    pub spent: i64,
    /// Credits that will expire next, and when; 0 where none will. Of the hundred lots that expire first: where more expire
    /// together, it is less than all of them.
    pub next_expiring: i64,
    /// See `next_expiring`.
    pub next_expires_at: i64,
    /// The number of the last entry that this includes. Where a deadline has passed and its entry is not written yet, it is
    /// the number that this entry will have: a later balance never has a smaller number.
    pub seq: i64,
    /// When this was so.
    pub at: i64,
}

impl From<&Balance> for credits_balance {
    fn from(of: &Balance) -> Self {
        let next = of.expiring.first();
        credits_balance {
            user_id: of.user_id.into(),
            available: of.available,
            held: of.held,
            debt: of.debt,
            credit_limit: of.credit_limit,
            granted: of.granted,
            spent: of.spent,
            next_expiring: next.map_or(0, |part| part.amount),
            next_expires_at: time(next.map(|part| part.at)),
            seq: of.seq,
            at: of.at.as_micros(),
        }
    }
}

/// One use of credits.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_consumption {
    /// Its id, for credits_confirm(), credits_refund(), credits_extend().
    pub id: credits_uuid,
    /// Whose it is.
    pub user_id: credits_uuid,
    /// CREDITS_PENDING, CREDITS_CONFIRMED, CREDITS_REFUNDED or CREDITS_EXPIRED.
    pub status: i32,
    /// Whether it has metadata: credits_metadata(). 1 or 0.
    pub has_metadata: i32,
    /// Credits that were held.
    pub amount: i64,
    /// Credits that were spent.
    pub captured: i64,
    /// Credits of those that were given back.
    pub reversed: i64,
    /// Credits that no lot paid for: they are owed.
    pub borrowed: i64,
    /// When it was made.
    pub created_at: i64,
    /// The hold's deadline.
    pub expires_at: i64,
    /// When it was confirmed, refunded or expired; 0 where it was not.
    pub settled_at: i64,
    /// What it is for; "" where that was not said.
    pub feature: [c_char; CREDITS_TEXT],
    /// The caller's own name for it; "" where there is none.
    pub reference: [c_char; CREDITS_TEXT],
}

impl From<&Consumption> for credits_consumption {
    fn from(of: &Consumption) -> Self {
        credits_consumption {
            id: of.id.into(),
            user_id: of.user_id.into(),
            status: status_number(of.status),
            has_metadata: i32::from(of.metadata.is_some()),
            amount: of.amount,
            captured: of.captured,
            reversed: of.reversed,
            borrowed: of.borrowed,
            created_at: of.created_at.as_micros(),
            expires_at: of.expires_at.as_micros(),
            settled_at: time(of.settled_at),
            feature: field(of.feature.as_deref()),
            reference: field(of.reference.as_deref()),
        }
    }
}

/// What became of one item of credits_consume_many().
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_outcome {
    /// CREDITS_OK, or why not.
    pub code: credits_code,
    /// Of CREDITS_INSUFFICIENT_CREDITS: what it needs, and what is there.
    pub required: i64,
    /// See `required`.
    pub available: i64,
    /// The hold; all zeros where there is none.
    pub consumption: credits_consumption,
    /// What is wrong, shortened; "" where nothing is.
    pub message: [c_char; CREDITS_TEXT],
}

/// One entry of an account's journal.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_transaction {
    /// Whose it is.
    pub user_id: credits_uuid,
    /// The consumption it is about; all zeros where it is about none.
    pub consumption_id: credits_uuid,
    /// The lot it is about; all zeros where it is about none.
    pub lot_id: credits_uuid,
    /// Its number: 1, 2, 3 ... without gaps.
    pub seq: i64,
    /// CREDITS_KIND_*.
    pub kind: i32,
    /// Zero.
    pub reserved: i32,
    /// Change of `available`.
    pub change: i64,
    /// Change of `held`.
    pub held_change: i64,
    /// `available` afterwards.
    pub available: i64,
    /// `held` afterwards.
    pub held: i64,
    /// When.
    pub created_at: i64,
    /// SHA-256 that chains it to the entry before.
    pub hash: [u8; 32],
    /// Where the credits came from or went to, such as "issued.purchase".
    pub counter_account: [c_char; CREDITS_ACCOUNT_TEXT],
    /// The caller's own name for it.
    pub reference: [c_char; CREDITS_TEXT],
    /// The key it was done with.
    pub idempotency_key: [c_char; CREDITS_TEXT],
    /// Of the entry that made a hold: what it is for.
    pub feature: [c_char; CREDITS_TEXT],
    /// Why.
    pub reason: [c_char; CREDITS_TEXT],
    /// By whom.
    pub operator_name: [c_char; CREDITS_TEXT],
}

impl From<&Entry> for credits_transaction {
    fn from(of: &Entry) -> Self {
        credits_transaction {
            user_id: of.user_id.into(),
            consumption_id: of.consumption_id.into(),
            lot_id: of.lot_id.into(),
            seq: of.seq,
            kind: kind_number(of.kind),
            reserved: 0,
            change: of.change,
            held_change: of.held_change,
            available: of.available,
            held: of.held,
            created_at: of.created_at.as_micros(),
            hash: of.hash.0,
            counter_account: field(Some(&of.counter_account)),
            reference: field(of.reference.as_deref()),
            idempotency_key: field(of.idempotency_key.as_deref()),
            feature: field(of.effects.feature.as_deref()),
            reason: field(of.effects.reason.as_deref()),
            operator_name: field(of.effects.operator.as_deref()),
        }
    }
}

/// What a grant, a gift, an adjustment or a new credit limit did.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_receipt {
    /// The account.
    pub user_id: credits_uuid,
    /// The lot that was made; all zeros where none was.
    pub lot_id: credits_uuid,
    /// The entry's number.
    pub seq: i64,
    /// CREDITS_KIND_*.
    pub kind: i32,
    /// The lot's source, CREDITS_SOURCE_*; 0 where there is no lot.
    pub source: i32,
    /// Change of `available`.
    pub amount: i64,
    /// `available` afterwards.
    pub available: i64,
    /// The credit limit, where it was set.
    pub credit_limit: i64,
    /// When the lot expires; 0 for never.
    pub expires_at: i64,
    /// When it was done.
    pub created_at: i64,
}

impl From<&Receipt> for credits_receipt {
    fn from(of: &Receipt) -> Self {
        let lot: Option<&Lot> = of.lot.as_ref();
        credits_receipt {
            user_id: of.user_id.into(),
            lot_id: lot.map(|lot| lot.lot_id).into(),
            seq: of.seq,
            kind: kind_number(of.kind),
            source: lot.map_or(0, |lot| source_number(lot.source)),
            amount: of.amount,
            available: of.available,
            credit_limit: of.credit_limit.unwrap_or(0),
            expires_at: time(lot.and_then(|lot| lot.expires_at)),
            created_at: of.created_at.as_micros(),
        }
    }
}

/// What a clawback found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_clawed_back {
    /// The account.
    pub user_id: credits_uuid,
    /// The lot.
    pub lot_id: credits_uuid,
    /// The entry's number.
    pub seq: i64,
    /// Credits taken back.
    pub taken: i64,
    /// Credits that were not there any more.
    pub shortfall: i64,
    /// The part of the shortfall that was booked as debt.
    pub debt: i64,
    /// `available` afterwards.
    pub available: i64,
    /// When.
    pub created_at: i64,
}

impl From<&ClawbackReceipt> for credits_clawed_back {
    fn from(of: &ClawbackReceipt) -> Self {
        credits_clawed_back {
            user_id: of.user_id.into(),
            lot_id: of.lot_id.into(),
            seq: of.seq,
            taken: of.taken,
            shortfall: of.shortfall,
            debt: of.debt,
            available: of.available,
            created_at: of.created_at.as_micros(),
        }
    }
}

/// What a sweep wrote down.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_matured {
    /// Holds that expired.
    pub holds: u64,
    /// Credits of those that are back.
    pub released: i64,
    /// Lots that expired.
    pub lots: u64,
    /// Credits that expired with them.
    pub expired: i64,
}

impl From<Matured> for credits_matured {
    fn from(of: Matured) -> Self {
        credits_matured {
            holds: of.holds,
            released: of.released,
            lots: of.lots,
            expired: of.expired,
        }
    }
}

/// The holds of all accounts that wait for their job's end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_pending {
    /// How many are live.
    pub holds: u64,
    /// The credits in them.
    pub credits: i64,
    /// How many more have passed their deadline, and nobody has written that down yet.
    pub overdue: u64,
}

impl From<PendingHolds> for credits_pending {
    fn from(of: PendingHolds) -> Self {
        credits_pending {
            holds: of.holds,
            credits: of.credits,
            overdue: of.overdue,
        }
    }
}

/// What something costs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_quote {
    /// In whole credits: what credits_consume() would hold.
    pub credits: i64,
    /// The rate card's version that priced it; 0 where it has none.
    pub version: i64,
    /// Its id; all zeros where it has none.
    pub pricing_id: credits_uuid,
    /// Before rounding, as a decimal number.
    pub exact: [c_char; CREDITS_NUMBER_TEXT],
}

/// A package of credits that can be bought, or could be.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_package {
    /// Its id, for ever.
    pub id: credits_uuid,
    /// 1, 2, 3 ... with every change.
    pub version: i64,
    /// Credits that are bought.
    pub credits: i64,
    /// Credits on top.
    pub bonus_credits: i64,
    /// How many days the credits live; 0 for ever.
    pub validity_days: u32,
    /// How often one account can buy it; 0 as often as it likes.
    pub purchase_limit: u32,
    /// Lower stands first.
    pub sort_order: i32,
    /// Whether shops should point it out: 1 or 0.
    pub recommended: i32,
    /// Whether it can be bought: 1 or 0.
    pub active: i32,
    /// Zero.
    pub reserved: i32,
    /// When it was first saved.
    pub created_at: i64,
    /// When this version was saved.
    pub updated_at: i64,
    /// ISO 4217 code, such as "CNY".
    pub currency: [c_char; 4],
    /// What it costs, with two decimals at least, such as "9.90".
    pub price: [c_char; CREDITS_NUMBER_TEXT],
    /// What people call it.
    pub name: [c_char; CREDITS_TEXT],
}

impl From<&Package> for credits_package {
    fn from(of: &Package) -> Self {
        let mut price = of.price;
        price.rescale(2); // it has no more digits, and is written with two
        credits_package {
            id: of.package_id.into(),
            version: i64::from(of.version),
            credits: of.credits,
            bonus_credits: of.bonus_credits,
            validity_days: of.validity_days.unwrap_or(0),
            purchase_limit: of.purchase_limit.unwrap_or(0),
            sort_order: of.sort_order,
            recommended: i32::from(of.recommended),
            active: i32::from(of.active),
            reserved: 0,
            created_at: of.created_at.as_micros(),
            updated_at: of.updated_at.as_micros(),
            currency: field(Some(&of.currency)),
            price: field(Some(&price.to_string())),
            name: field(Some(&of.name)),
        }
    }
}

/// What an audit found.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_verification {
    /// Accounts audited.
    pub accounts: u64,
    /// Entries audited.
    pub entries: u64,
    /// Lots audited.
    pub lots: u64,
    /// Consumptions audited.
    pub consumptions: u64,
    /// Orders audited.
    pub orders: u64,
    /// Faults found: 0 where everything fits.
    pub faults: u64,
}

impl From<&Verification> for credits_verification {
    fn from(of: &Verification) -> Self {
        credits_verification {
            accounts: of.accounts,
            entries: of.entries,
            lots: of.lots,
            consumptions: of.holds,
            orders: of.orders,
            faults: of.fault_count,
        }
    }
}

/// The sums over all accounts. Together with those of the counter-accounts they are zero.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct credits_sums {
    /// Sum of all `available`; the largest or smallest number there is where it is beyond that.
    pub available: i64,
    /// Sum of all `held`; likewise.
    pub held: i64,
    /// Whether everything adds up to zero: 1 or 0.
    pub is_balanced: i32,
    /// Zero.
    pub reserved: i32,
}

impl From<&TrialBalance> for credits_sums {
    fn from(of: &TrialBalance) -> Self {
        let narrow = |sum: i128| i64::try_from(sum).unwrap_or(if sum < 0 { i64::MIN } else { i64::MAX });
        credits_sums {
            available: narrow(of.available),
            held: narrow(of.held),
            is_balanced: i32::from(of.is_balanced()),
            reserved: 0,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn check<T: Copy>(all: &[T], number_of: fn(T) -> i32) {
        let mut numbers: Vec<i32> = all.iter().map(|word| number_of(*word)).collect();
        numbers.sort_unstable();
        let expected: Vec<i32> = (1..).take(all.len()).collect();
        assert_eq!(numbers, expected);
    }

    /// A new word of the ledger's needs a number here.
    #[test]
    fn every_word_has_a_number_of_its_own() {
        check(Status::ALL, status_number);
        check(Source::ALL, source_number);
        check(Kind::ALL, kind_number);
    }
}
