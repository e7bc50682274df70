//! What is inside a notification.
//!
//! The body is an envelope whose `resource` is encrypted with the APIv3 key, AES-256-GCM, a nonce of 12 bytes, the tag
//! in the last 16 bytes: <https://pay.weixin.qq.com/wiki/doc/apiv3/apis/chapter3_2_5.shtml>. Three things say what it
//! is about, and have to agree: the event, the resource's original type, and what the content looks like.

use super::Identity;
use super::answers::{self, Problem, Transaction};
use crate::payments::Notice;
use aws_lc_rs::aead::{Aad, LessSafeKey, Nonce};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

#[derive(Deserialize)]
struct Envelope {
    event_type: String,
    resource_type: String,
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    algorithm: String,
    original_type: String,
    ciphertext: String,
    nonce: String,
    /// May be empty, or missing.
    #[serde(default)]
    associated_data: String,
}

/// Reads the body of a notification whose signature is good.
pub(super) fn read(body: &[u8], key: &LessSafeKey, us: &Identity) -> Result<Notice, Problem> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|_| "the body is not a notification")?;
    if envelope.resource_type != "encrypt-resource" || envelope.resource.algorithm != "AEAD_AES_256_GCM" {
        return Err("it is encrypted in another way than AEAD_AES_256_GCM".into());
    }
    let content = open(&envelope.resource, key)?;
    let event = envelope.event_type;
    match (event.split_once('.'), envelope.resource.original_type.as_str()) {
        (Some(("TRANSACTION", what)), "transaction") => {
            let transaction = Transaction::parse(&content, us)?;
            transaction_notice(what == "SUCCESS", event, transaction)
        }
        (Some(("REFUND", status)), "refund") => {
            answers::refund_notification(&content, status, us).map(Notice::Refund)
        }
        (Some(("TRANSACTION" | "REFUND", _)), _) | (_, "transaction" | "refund") => {
            Err("its event says something else than its type".into())
        }
        // Coupons, contracts and the like: the APIv3 key, which is the merchant's, has opened it.
        _ => Ok(Notice::Other {
            order_no: None,
            event,
        }),
    }
}

/// Only `SUCCESS` twice is a payment. A transaction that is being refunded already is left to a query.
fn transaction_notice(success: bool, event: String, transaction: Transaction) -> Result<Notice, Problem> {
    match (success, transaction.trade_state.as_str()) {
        (true, "SUCCESS") => transaction.payment().map(Notice::Paid),
        (true, "REFUND") | (false, _) => Ok(Notice::Other {
            order_no: Some(transaction.out_trade_no),
            event,
        }),
        (true, _) => Err("its event says something else than its content".into()),
    }
}

fn open(resource: &Resource, key: &LessSafeKey) -> Result<Vec<u8>, Problem> {
    let mut text = STANDARD
        .decode(&resource.ciphertext)
        .map_err(|_| "its content is not base64")?;
    let nonce = Nonce::try_assume_unique_for_key(resource.nonce.as_bytes())
        .map_err(|_| "the nonce of its content is not of 12 bytes")?;
    let length = key
        .open_in_place(nonce, Aad::from(resource.associated_data.as_bytes()), &mut text)
        .map_err(|_| "the APIv3 key does not open it")?
        .len();
    text.truncate(length);
    Ok(text)
}
