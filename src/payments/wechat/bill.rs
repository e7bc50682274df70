//! The trade bill of a day: <https://pay.weixin.qq.com/docs/merchant/products/bill-download/format-trade.html>.
//!
//! Lines of values between commas, a backtick before each value. The first line names the columns, which differ between
//! the three kinds of bill (`ALL`, `SUCCESS`, `REFUND`) and have become more over the years; the last two lines are the
//! sums, which have to be those of the lines. Values are never quoted: what ends a value is a comma with a backtick after
//! it, so that a comma in the name of an article does no harm. A line break in one does none either: an entry goes on until it has all
//! of its values.
//!
//! The API gives UTF-8. What is saved from the merchant platform may be GBK.
//!
//! Bills of merchants without 免充值券 still have the early form, as that page says: 总金额 in the place of 应结订单金额 and
//! 订单金额, 退款金额 without 申请退款金额. Only such coupons make a difference between these, and there are none: so what an
//! order cost is 总金额 then.

use crate::error::{Error, Result};
use crate::ledger::Money;
use crate::ledger::Timestamp;
use crate::payments::BillLine;
use crate::payments::bills::{self, Line, Lines};
use crate::payments::china_time::BEIJING;
use crate::payments::money::fen;

/// The first column of the sums.
const SUMS: &str = "总交易单数";
/// What the orders cost altogether, in bills of today and in early ones.
const PAID: [&str; 2] = ["订单总金额", "总交易额"];
/// What went back altogether.
const RETURNED: [&str; 2] = ["申请退款总金额", "总退款金额"];

/// The names in a header.
fn names(header: &str) -> impl Iterator<Item = &str> {
    header.split(',').map(|name| name.trim_matches(['`', ' ']))
}

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
        let names: Vec<&str> = names(header).collect();
        let find = |name: &str| names.iter().position(|each| *each == name);
        let want = |name: &'static str| {
            find(name).ok_or_else(|| invalid(1, "its header lacks a column of a trade bill", name))
        };
        // 退款金额 stands in bills of today too, and is something else there.
        let early = find("总金额").filter(|_| find("应结订单金额").is_none());
        Ok(Columns {
            count: names.len(),
            time: want("交易时间")?,
            merchant: want("商户号")?,
            transaction: want("微信订单号")?,
            order: want("商户订单号")?,
            state: want("交易状态")?,
            currency: want("货币种类")?,
            price: find("订单金额").or(early),
            refund_time: find("退款申请时间"),
            refund_no: find("商户退款单号"),
            refunded: find("申请退款金额").or_else(|| early.and_then(|_| find("退款金额"))),
        })
    }
}

/// What the lines so far add up to.
#[derive(Default)]
struct Totals {
    lines: i128,
    paid: i128,
    returned: i128,
}

/// A bill that is being read.
struct Reading<'a> {
    lines: Lines<'a>,
    columns: Columns,
    merchant_id: &'a str,
    totals: Totals,
    /// The number of the last line that was read.
    last: u64,
}

/// Reads a bill of this merchant, line by line. One that is not whole is refused: it must end as WeChat Pay's do, with the sums of
/// its lines.
///
/// # Errors
/// `validation`, which names the line at fault.
pub(super) fn lines<'a>(
    bill: &'a [u8],
    merchant_id: &'a str,
) -> Result<impl Iterator<Item = Result<BillLine>> + Send + 'a> {
    let mut lines = Lines::of(bill)?;
    let header = lines.next()?;
    let header = header.ok_or_else(|| invalid(1, "the bill is empty", "nothing"))?;
    let mut reading = Reading {
        columns: Columns::of(&header.text)?,
        lines,
        merchant_id,
        totals: Totals::default(),
        last: header.number,
    };
    Ok(bills::each(move || reading.next()))
}

fn begins_sums(line: &str) -> bool {
    line.trim_start_matches('`').starts_with(SUMS)
}

impl Reading<'_> {
    fn next(&mut self) -> Result<Option<BillLine>> {
        let Some(line) = self.lines.next()? else {
            return Err(cut_off(self.last));
        };
        if begins_sums(&line.text) {
            return self.sums(&line).map(|()| None);
        }
        self.last = line.number;
        let count = |text: &str| text.matches(",`").count() + 1;
        let is_whole = |text: &str| count(text) == self.columns.count;
        let begins_another = |text: &str| text.starts_with('`') || begins_sums(text);
        let text = if count(&line.text) < self.columns.count {
            self.lines.entry(&line, is_whole, begins_another)?
        } else {
            line.text
        };
        let read = bill_line(line.number, &text, &self.columns, self.merchant_id)?;
        let minor = i128::from(read.amount.minor);
        self.totals.lines += 1;
        *(if read.refund_no.is_some() {
            &mut self.totals.returned
        } else {
            &mut self.totals.paid
        }) += minor;
        Ok(Some(read))
    }

    /// One line of sums after their header, and nothing after it. Of the sums there are those that concern this kind of bill.
    fn sums(&mut self, header: &Line<'_>) -> Result<()> {
        let sums = self.lines.next()?.ok_or_else(|| cut_off(header.number))?;
        let values = sums.text.strip_prefix('`');
        let values = values.ok_or_else(|| invalid(sums.number, "is no line of sums", &sums.text))?;
        let mut values = values.split(",`").map(str::trim);
        for name in names(&header.text) {
            let said = values.next().unwrap_or_default();
            let (said_number, there) = if name == SUMS {
                (said.parse().ok(), self.totals.lines)
            } else if PAID.contains(&name) {
                (fen(said).map(i128::from), self.totals.paid)
            } else if RETURNED.contains(&name) {
                (fen(said).map(i128::from), self.totals.returned)
            } else {
                continue;
            };
            if said_number != Some(there) {
                let problem =
                    "has a sum that is not that of the lines: the bill was changed, or is not whole";
                let unit = if name == SUMS { "lines" } else { "fen" };
                let given = format!("{name} {said}, and the lines have {there} {unit}");
                return Err(invalid(sums.number, problem, &given));
            }
        }
        while let Some(more) = self.lines.next()? {
            if !more.text.trim().is_empty() {
                return Err(invalid(more.number, "comes after the sums", &more.text));
            }
        }
        Ok(())
    }
}

fn cut_off(last: u64) -> Error {
    invalid(last, "the bill ends before its sums: it is not whole", "the end")
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
