//! Payment channels: how a channel is asked and understood. What follows for the books is decided by
//! [`ledger`](crate::ledger) alone.
//!
//! Each channel is a [`Channel`]. What it signs, verifies, decrypts and parses is pure; requests go through [`http`],
//! which has the timeouts. `wechat` and `alipay` are the two that ship, `manual` is for operators and tests, and a host
//! can bring others.
//!
//! # How a channel can mislead us, and what stands against it
//!
//! | failure | what prevents it |
//! | --- | --- |
//! | a forged notification | the signature is verified over the raw bytes before anything is parsed, with a pinned algorithm, by a key that the configuration names |
//! | an old one again | the order's state: a settled order is settled; on WeChat Pay also five minutes on the ledger's clock |
//! | a genuine one of another app or merchant | both are compared with the configuration |
//! | a genuine one of another order, or of another amount | number, amount and currency are compared with the order by the rules |
//! | a notice of a refund taken for a payment | only what says that it is paid, and is no refund, is a [`Notice::Paid`] |
//! | unknown serials or huge bodies that cost us work | nothing is fetched because of what a notification says; a body has a limit |
//! | a request whose answer is lost | every request can be repeated: the order's or the refund's number makes it the same; unknown outcomes are asked about |
//! | a request to us that the channel never sends | `reconcile_orders` asks about every open order |
//! | a key in a log | keys are never part of an error, and their `Debug` says nothing |

#[cfg(feature = "payments")]
mod address;
#[cfg(feature = "payments")]
pub mod alipay;
#[cfg(feature = "payments")]
mod bills;
mod channel;
#[cfg(feature = "payments")]
mod china_time;
#[cfg(feature = "payments")]
pub mod http;
#[cfg(any(feature = "payments", feature = "s3"))]
#[cfg(test)]
pub(crate) mod loopback;
mod manual;
#[cfg(feature = "payments")]
mod money;
#[cfg(feature = "payments")]
mod rsa;
#[cfg(feature = "payments")]
pub mod wechat;

pub use channel::{
    Asking, BILL_BYTES_MAX, BILL_LINES_MAX, BillLine, BillLines, Channel, Checkout, Headers,
    NOTIFICATION_BYTES_MAX, Notice, Pace, Payment, Prepared, RefundNotice, RefundStanding, Reply, Standing,
};
pub use manual::Manual;
