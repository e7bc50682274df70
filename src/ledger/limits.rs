//! The limits of design rule **limits**: everything that a caller can send has one.

use core::time::Duration;

/// The largest number of credits anywhere, 2^53 - 1: exact in JSON and in a double.
pub const CREDITS_MAX: i64 = (1 << 53) - 1;
/// The longest idempotency key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 255;
/// The longest reference, feature, reason or operator, in bytes of UTF-8.
pub const REFERENCE_BYTES_MAX: usize = 255;
/// The largest metadata object, in bytes of its compact JSON.
pub const METADATA_BYTES_MAX: usize = 16 * 1024;
/// The most levels of objects and arrays in metadata, itself included: far from the depth at which anything that reads
/// JSON gives up.
pub const METADATA_LEVELS_MAX: usize = 64;
/// The largest frozen quote, and the largest list of quantities really used, in bytes.
pub const QUOTE_BYTES_MAX: usize = 16 * 1024;
/// The shortest time a hold can live.
pub const TTL_MIN: Duration = Duration::from_secs(1);
/// The longest time a hold can live (each `extend` starts anew).
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);
/// The longest grace period.
pub const GRACE_MAX: Duration = Duration::from_secs(3660 * 24 * 3600);
/// The most commands in one `consume_many`.
pub const BATCH_COMMANDS_MAX: usize = 1_000;
/// Lot priorities run from minus this to this; lower burns first.
pub const PRIORITY_MAX: i32 = 1_000_000;
/// The most lots that a balance looks at for what will expire.
pub const EXPIRING_LOTS_MAX: usize = 100;
/// The most holds whose borrowed credits one entry pays, counting also the lots that they are pinned to then (the last of
/// these holds may be pinned to more). For others, entries follow that continue it.
pub const ENTRY_ROOM: usize = 250;
/// The longest name of a payment channel.
pub const CHANNEL_BYTES_MAX: usize = 32;
/// The longest that credits of a package live, in days.
pub const VALIDITY_DAYS_MAX: u32 = 36_600;
/// The shortest time an order can be paid: WeChat Pay takes no less than a minute.
pub const ORDER_TTL_MIN: Duration = Duration::from_secs(60);
/// The longest time an order can be paid.
pub const ORDER_TTL_MAX: Duration = Duration::from_secs(15 * 24 * 3600);
/// The most orders of an account that wait for a payment at once, whatever a ledger's settings say.
pub const OPEN_ORDERS_MAX: u32 = 1_000;
/// The most refunds of one order: WeChat Pay takes no more.
pub const REFUNDS_MAX: usize = 50;
