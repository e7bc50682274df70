//! The trade bill of a day: <https://pay.weixin.qq.com/docs/merchant/products/bill-download/format-trade.html>.
//!
//! Lines of values between commas, a backtick before each value. The first line names the columns, which differ between
//! the three kinds of bill (`ALL`, `SUCCESS`, `REFUND`) and have become more over the years; the last two lines are the
//! sums. Values are never quoted: what ends a value is a comma with a backtick after it, so that a comma in the name of
//! an article does no harm.

use crate::Timestamp;
use crate::error::{Error, Result};
use crate::ledger::Money;
use crate::payments::BillLine;
use crate::payments::beijing::BEIJING;
use crate::payments::common::fen;

/// The first column of the sums.
const SUMS: &str = "总交易单数";

/// Where the columns are.
struct Columns {
    count: usize,
    time: usize,
    merchant: usize,
    transaction: usize,
    order: usize,
    state: usize,
    currency: usize,
    price: Option<usize>,
    refund_time: Option<usize>,
    refund_no: Option<usize>,
    refunded: Option<usize>,
}

impl Columns {
    fn of(header: &str) -> Result<Self> {
        let names: Vec<&str> = header
            .split(',')
            .map(|name| name.trim_matches(['`', ' ']))
            .collect();
        let find = |name: &str| names.iter().position(|each| *each == name);
        let want = |name: &'static str| {
            find(name).ok_or_else(|| invalid(1, "its header lacks a column of a trade bill", name))
        };
        Ok(Columns {
            count: names.len(),
            time: want("交易时间")?,
            merchant: want("商户号")?,
            transaction: want("微信订单号")?,
            order: want("商户订单号")?,
            state: want("交易状态")?,
            currency: want("货币种类")?,
            price: find("订单金额"),
            refund_time: find("退款申请时间"),
            refund_no: find("商户退款单号"),
            refunded: find("申请退款金额"),
        })
    }
}

/// Reads a bill of this merchant, line by line.
pub(super) fn lines<'a>(
    bill: &'a [u8],
    merchant_id: &'a str,
) -> Result<impl Iterator<Item = Result<BillLine>> + Send + 'a> {
    let text = std::str::from_utf8(bill).map_err(|error| {
        let before = bill.get(..error.valid_up_to()).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        invalid(line as u64, "is not UTF-8", "other bytes")
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = (1..).zip(text.lines());
    let (_, header) = lines
        .next()
        .ok_or_else(|| invalid(1, "the bill is empty", "nothing"))?;
    let columns = Columns::of(header)?;
    let (mut lines, mut last) = (Some(lines), 1);
    Ok(std::iter::from_fn(move || {
        let read = match lines.as_mut()?.next() {
            Some((number, line)) if line.trim_start_matches('`').starts_with(SUMS) => {
                return sums(lines.take()?, number).err().map(Err);
            }
            Some((number, line)) => {
                last = number;
                bill_line(number, line, &columns, merchant_id)
            }
            None => Err(invalid(
                last,
                "the bill ends before its sums: it is not whole",
                "the end",
            )),
        };
        if read.is_err() {
            lines = None;
        }
        Some(read)
    }))
}

/// One line of sums after their header, and nothing after it.
fn sums<'a>(mut lines: impl Iterator<Item = (u64, &'a str)>, header: u64) -> Result<()> {
    match lines.next() {
        Some((_, sums)) if sums.starts_with('`') => {}
        Some((number, other)) => return Err(invalid(number, "is no line of sums", other)),
        None => {
            return Err(invalid(
                header,
                "the bill ends before its sums: it is not whole",
                "the end",
            ));
        }
    }
    match lines.find(|(_, line)| !line.trim().is_empty()) {
        Some((number, more)) => Err(invalid(number, "comes after the sums", more)),
        None => Ok(()),
    }
}

fn bill_line(number: u64, line: &str, columns: &Columns, merchant_id: &str) -> Result<BillLine> {
    let values = line
        .strip_prefix('`')
        .ok_or_else(|| invalid(number, "does not start with a backtick", line))?;
    let values: Vec<&str> = values.split(",`").collect();
    if values.len() != columns.count {
        let found = format!("{} values for {} columns", values.len(), columns.count);
        return Err(invalid(
            number,
            "has another number of values than the header",
            &found,
        ));
    }
    let value = |column: usize| values.get(column).copied().unwrap_or_default().trim();
    let known = |column: Option<usize>| {
        column
            .map(value)
            .ok_or_else(|| invalid(number, "has no column for its amount", line))
    };
    if value(columns.merchant) != merchant_id {
        return Err(invalid(
            number,
            "is about another merchant",
            value(columns.merchant),
        ));
    }
    let (refund_no, amount, at) = match value(columns.state) {
        "SUCCESS" => (None, known(columns.price)?, columns.time),
        "REFUND" => {
            let refund_no = columns.refund_no.map(value).unwrap_or_default();
            if refund_no.is_empty() || refund_no == "0" {
                return Err(invalid(number, "is a refund without a number", refund_no));
            }
            let at = columns.refund_time.unwrap_or(columns.time);
            (Some(refund_no.to_owned()), known(columns.refunded)?, at)
        }
        // Payment codes only, which are not used here. Merchants report it as money that went back, with `0` for its
        // number; the documentation only says that there are such lines.
        "REVOKED" => {
            let refund_no = columns.refund_no.map(value).unwrap_or_default();
            (Some(refund_no.to_owned()), known(columns.refunded)?, columns.time)
        }
        other => return Err(invalid(number, "is neither a payment nor a refund", other)),
    };
    let minor = fen(amount).ok_or_else(|| invalid(number, "has an amount that is none", amount))?;
    let time = time(value(at)).ok_or_else(|| invalid(number, "has a time that is none", value(at)))?;
    for (column, problem) in [
        (columns.order, "has no order number"),
        (columns.transaction, "has no transaction"),
        (columns.currency, "has no currency"),
    ] {
        if value(column).is_empty() {
            return Err(invalid(number, problem, "nothing"));
        }
    }
    Ok(BillLine {
        line: number,
        refund_no,
        order_no: value(columns.order).to_owned(),
        transaction_id: value(columns.transaction).to_owned(),
        amount: Money {
            minor,
            currency: value(columns.currency).to_owned(),
        },
        at: Some(time),
    })
}

/// `yyyy-MM-dd HH:mm:ss` in Beijing.
fn time(text: &str) -> Option<Timestamp> {
    let civil = jiff::civil::DateTime::strptime("%Y-%m-%d %H:%M:%S", text).ok()?;
    let at = BEIJING.to_timestamp(civil).ok()?;
    Some(Timestamp::from_micros(at.as_microsecond())).filter(|at| at.in_range())
}

fn invalid(line: u64, problem: &'static str, value: &str) -> Error {
    let shown: String = value.chars().take(80).collect();
    Error::invalid(
        "bill",
        problem,
        "a trade bill as WeChat Pay publishes it",
        format!("line {line}: {shown}"),
    )
}
