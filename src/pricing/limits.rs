//! The limits of cards and quotes. Amounts of credits have the ledger's own ([`crate::ledger::limits`]).

/// The longest rate card, in bytes of JSON, as given and in its canonical form.
pub const CARD_BYTES_MAX: usize = 64 * 1024;
/// The longest feature, name, label, quantity, attribute or value, in bytes of UTF-8.
pub const TEXT_BYTES_MAX: usize = 255;
/// The most components of a card.
pub const COMPONENTS_MAX: usize = 16;
/// The most tiers of a component.
pub const TIERS_MAX: usize = 100;
/// The most multipliers of a card, or of a component.
pub const MULTIPLIERS_MAX: usize = 8;
/// The most factors of a multiplier.
pub const FACTORS_MAX: usize = 500;
/// The most attributes that one multiplier goes by.
pub const ATTRIBUTES_PER_MULTIPLIER_MAX: usize = 2;
/// The most digits of a number, behind the point as well as altogether.
pub const DIGITS_MAX: u32 = 28;
/// The largest quantity, 2^53 - 1.
pub const QUANTITY_MAX: i64 = crate::ledger::limits::CREDITS_MAX;
/// The longest frozen quote that is read, in bytes of JSON: room for the largest card with the longest value for each of
/// its attributes, every byte of it escaped.
pub const FROZEN_BYTES_MAX: usize = 16 * CARD_BYTES_MAX;
