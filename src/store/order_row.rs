//! An order as a row. `data` is the order as the journal has it; the other columns repeat what queries and people look
//! for. Read back, they have to say the same.

use super::StoreResult;
use crate::ledger::{Order, OrderNo, Timestamp};
use uuid::Uuid;

/// The columns of `credit_orders`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderRow {
    pub(crate) order_no: String,
    pub(crate) user_id: Uuid,
    pub(crate) status: String,
    pub(crate) channel: String,
    pub(crate) package_id: Uuid,
    pub(crate) price_minor: i64,
    pub(crate) currency: String,
    pub(crate) credits: i64,
    pub(crate) bonus_credits: i64,
    pub(crate) refunded_minor: i64,
    pub(crate) transaction_id: Option<String>,
    pub(crate) lot_id: Option<Uuid>,
    pub(crate) bonus_lot_id: Option<Uuid>,
    pub(crate) data: String,
    pub(crate) created_at: Timestamp,
    pub(crate) expires_at: Timestamp,
    pub(crate) paid_at: Option<Timestamp>,
}

/// An order read back, which need not be sound.
pub(crate) type StoredOrder = Result<Order, DamagedOrder>;

/// A row that can't be an order.
#[derive(Debug, Clone)]
pub(crate) struct DamagedOrder {
    pub(crate) user_id: Uuid,
    pub(crate) order_no: OrderNo,
    pub(crate) problem: String,
}

impl OrderRow {
    pub(crate) fn of(order: &Order) -> Self {
        OrderRow {
            order_no: order.order_no.to_string(),
            user_id: order.user_id,
            status: order.state.status.as_str().into(),
            channel: order.channel.clone(),
            package_id: order.package_id,
            price_minor: order.price.minor,
            currency: order.price.currency.clone(),
            credits: order.credits,
            bonus_credits: order.bonus_credits,
            refunded_minor: order.refunded(),
            transaction_id: order.state.transaction_id.clone(),
            lot_id: order.state.lot_id,
            bonus_lot_id: order.state.bonus_lot_id,
            // Numbers, strings and lists only; serialising those can't fail.
            data: serde_json::to_string(order).unwrap_or_default(),
            created_at: order.created_at,
            expires_at: order.expires_at,
            paid_at: order.state.paid_at,
        }
    }

    /// The order. A row whose number is none is an error: nobody could ask for the page after it.
    pub(crate) fn stored(self) -> StoreResult<StoredOrder> {
        let Ok(order_no) = self.order_no.parse() else {
            return Err(super::StoreError::Failed {
                problem: format!("an order of account {} has no number", self.user_id),
                remedy: "the books are damaged; restore them from a backup",
            });
        };
        let damaged = |user_id, problem| DamagedOrder {
            user_id,
            order_no,
            problem,
        };
        let order: Order = match serde_json::from_str(&self.data) {
            Ok(order) => order,
            Err(error) => {
                return Ok(Err(damaged(
                    self.user_id,
                    format!("its data can't be read: {error}"),
                )));
            }
        };
        if OrderRow::of(&order) == self {
            Ok(Ok(order))
        } else {
            let problem = "its columns and its data say different things".into();
            Ok(Err(damaged(self.user_id, problem)))
        }
    }

    /// The order, where nothing can be done with a damaged one.
    pub(crate) fn sound(self) -> StoreResult<Order> {
        self.stored()?.map_err(|damaged| super::StoreError::Failed {
            problem: format!(
                "order {} of account {}: {}",
                damaged.order_no, damaged.user_id, damaged.problem
            ),
            remedy: "the books are damaged; run verify()",
        })
    }
}
