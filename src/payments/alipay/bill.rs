//! The bill of a day's trades (业务明细), as it is in the ZIP that Alipay publishes:
//!
//! ```text
//! #支付宝业务明细查询
//! #账号：[20880000000000000156]
//! #起始日期：[2019年09月16日 00:00:00]   终止日期：[2019年09月17日 00:00:00]
//! #-----------------------------------------业务明细列表----------------------------------------
//! 支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,...,订单金额（元）,商家实收（元）,...,退款批次号/请求号,...
//! 2019091622001458860515315453<TAB>,order1<TAB>,交易<TAB>,...
//! 2019091622001458860515315453<TAB>,order1<TAB>,退款<TAB>,...,-0.01,-0.01,...
//! #-----------------------------------------业务明细列表结束------------------------------------
//! #交易合计：1笔，商家实收共0.01元，商家优惠共0.00元
//! #退款合计：1笔，商家实收退款共-0.01元，商家优惠退款共0.00元
//! #导出时间：[2019年09月17日 05:46:49]
//! ```
//!
//! In GBK. The form is that of a real bill of 2019 and of parsers in use in 2026; there is no page of the vendor's that
//! says more. Columns are found by their names. What a payment's order cost is 订单金额, before coupons of the merchant's
//! (商家实收 is after them); a refund's is the same column with a minus. The sums at the end have to be those of the lines.
//! Where the name of an article has line breaks, the entry goes on until it has all of its values.

use super::money;
use crate::error::{Error, Result};
use crate::payments::BillLine;
use crate::payments::bills::{self, Line, Lines};
use crate::payments::china_time;
use crate::payments::money::fen;
use csv::Position;
use std::io::{Cursor, SeekFrom};

/// Where what is wanted stands in a line.
struct Columns {
    count: usize,
    transaction_id: usize,
    order_no: usize,
    kind: usize,
    finished_at: usize,
    amount: usize,
    /// What the sums at the end are of.
    received: Option<usize>,
    refund_no: usize,
}

impl Columns {
    /// From the line of their names.
    fn of(names: &[String]) -> Option<Self> {
        let place = |wanted: &str| {
            let mut places = names.iter().enumerate().filter(|(_, name)| *name == wanted);
            let (place, _) = places.next()?;
            places.next().is_none().then_some(place)
        };
        Some(Columns {
            count: names.len(),
            transaction_id: place("支付宝交易号")?,
            order_no: place("商户订单号")?,
            kind: place("业务类型")?,
            finished_at: place("完成时间")?,
            amount: place("订单金额（元）")?,
            received: place("商家实收（元）"),
            // Older bills have the shorter name.
            refund_no: place("退款批次号/请求号").or_else(|| place("退款批次号"))?,
        })
    }
}

/// Of the lines so far that are of one kind, payments or refunds.
#[derive(Default)]
struct Totals {
    lines: i128,
    /// 商家实收, in fen.
    received: i128,
}

/// A bill that is being read, line by line.
struct Reading<'a> {
    lines: Lines<'a>,
    csv: Csv,
    columns: Option<Columns>,
    payments: Totals,
    refunds: Totals,
    /// The end of the list was read.
    ended: bool,
}

/// Reads a bill. One that is not whole is refused: it must end as Alipay's do, and have as many lines as it says, with its sums.
///
/// # Errors
/// `validation`, which names the line at fault.
pub(super) fn lines(bill: &[u8]) -> Result<impl Iterator<Item = Result<BillLine>> + Send + '_> {
    let mut reading = Reading {
        lines: Lines::of(bill)?,
        csv: Csv::new(),
        columns: None,
        payments: Totals::default(),
        refunds: Totals::default(),
        ended: false,
    };
    Ok(bills::each(move || reading.next()))
}

impl Reading<'_> {
    fn next(&mut self) -> Result<Option<BillLine>> {
        while let Some(line) = self.lines.next()? {
            if let Some(remark) = line.text.strip_prefix('#') {
                self.ended |= remark.contains("业务明细列表结束");
                self.check_sums(remark, line.number)?;
                continue;
            }
            if line.text.trim().is_empty() {
                continue;
            }
            if self.ended {
                return Err(fault(
                    line.number,
                    "is behind the end of the list",
                    "a line with #",
                ));
            }
            if let Some(columns) = &self.columns {
                let values = whole(&mut self.lines, &mut self.csv, columns, &line)?;
                let read = bill_line(columns, &values, line.number)?;
                let totals = if read.refund_no.is_some() {
                    &mut self.refunds
                } else {
                    &mut self.payments
                };
                totals.lines += 1;
                totals.received += received(columns, &values, line.number)?;
                return Ok(Some(read));
            }
            let wanted = "支付宝交易号, 商户订单号, 业务类型, 完成时间, 订单金额（元）, 退款批次号/请求号";
            let names = self.csv.values(&line.text).and_then(|names| Columns::of(&names));
            self.columns =
                Some(names.ok_or_else(|| fault(line.number, "does not name the columns", wanted))?);
        }
        if self.columns.is_none() || !self.ended {
            let limit = "the list of a day with #...业务明细列表结束... behind it";
            return Err(Error::invalid(
                "bill",
                "is no bill of Alipay's, or not a whole one",
                limit,
                "its end",
            ));
        }
        Ok(None)
    }

    /// `交易合计：6笔，商家实收共8.80元，...`: there must be as many lines of the kind, with these sums.
    fn check_sums(&self, remark: &str, number: u64) -> Result<()> {
        for (name, sum_name, there) in [
            ("交易合计：", "商家实收共", &self.payments),
            ("退款合计：", "商家实收退款共", &self.refunds),
        ] {
            let Some((_, said)) = remark.split_once(name) else {
                continue;
            };
            let count = said.split_once('笔').map(|(count, _)| count.trim().parse());
            if count != Some(Ok(there.lines)) {
                let limit = format!("{}笔", there.lines);
                return Err(fault(number, "counts other lines than there are", &limit));
            }
            let has_sums = self
                .columns
                .as_ref()
                .is_some_and(|columns| columns.received.is_some());
            let Some((_, said)) = said.split_once(sum_name).filter(|_| has_sums) else {
                continue;
            };
            let sum = said.split_once('元').and_then(|(yuan, _)| signed(yuan));
            if sum != Some(there.received) {
                let problem =
                    "has a sum that is not that of the lines: the bill was changed, or is not whole";
                let limit = format!("{sum_name} {} fen", there.received);
                return Err(fault(number, problem, &limit));
            }
        }
        Ok(())
    }
}

/// Fen of an amount that may have a minus.
fn signed(yuan: &str) -> Option<i128> {
    let yuan = yuan.trim();
    let fen = fen(yuan.strip_prefix('-').unwrap_or(yuan)).map(i128::from)?;
    Some(if yuan.starts_with('-') { -fen } else { fen })
}

/// Takes lines of CSV apart. There is one for a bill: making one takes as long as reading a hundred lines.
struct Csv(csv::Reader<Cursor<Vec<u8>>>);

impl Csv {
    fn new() -> Self {
        let mut builder = csv::ReaderBuilder::new();
        let builder = builder.has_headers(false).flexible(true);
        Csv(builder.from_reader(Cursor::default()))
    }

    /// The values of a line, without the tabs that keep spreadsheets from rounding them.
    fn values(&mut self, line: &str) -> Option<Vec<String>> {
        let text = self.0.get_mut().get_mut();
        text.clear();
        text.extend_from_slice(line.as_bytes());
        self.0.seek_raw(SeekFrom::Start(0), Position::new()).ok()?;
        let mut records = self.0.records();
        let record = records.next()?.ok()?;
        let only = records.next().is_none();
        only.then(|| record.iter().map(|value| value.trim().to_owned()).collect())
    }
}

/// The values of the entry that begins with a line: more than its own, where a name in it has line breaks.
fn whole<'a>(
    lines: &mut Lines<'a>,
    csv: &mut Csv,
    columns: &Columns,
    line: &Line<'a>,
) -> Result<Vec<String>> {
    let no_csv = || fault(line.number, "is no CSV", "values and commas");
    let own = csv.values(&line.text).ok_or_else(no_csv)?;
    if own.len() >= columns.count {
        return Ok(own);
    }
    let is_whole = |text: &str| {
        let values = csv.values(text);
        values.is_some_and(|values| values.len() == columns.count)
    };
    let entry = lines.entry(line, is_whole, |text| text.starts_with('#'))?;
    csv.values(&entry).ok_or_else(no_csv)
}

/// 商家实收 of a line, in fen; a refund's has a minus. 0 where the bill does not have it.
fn received(columns: &Columns, values: &[String], number: u64) -> Result<i128> {
    let Some(column) = columns.received else {
        return Ok(0);
    };
    let amount = values.get(column).and_then(|amount| signed(amount));
    amount.ok_or_else(|| {
        fault(
            number,
            "has a 商家实收（元） that is no amount",
            "yuan such as 9.90",
        )
    })
}

fn bill_line(columns: &Columns, values: &[String], number: u64) -> Result<BillLine> {
    if values.len() != columns.count {
        let limit = format!("{} values", columns.count);
        return Err(fault(
            number,
            "has another number of values than there are columns",
            &limit,
        ));
    }
    let value = |column: usize| values.get(column).map_or("", String::as_str);
    let must_have = |column: usize, name: &'static str| match value(column) {
        "" => Err(fault(number, "lacks a value", name)),
        text => Ok(text.to_owned()),
    };
    let is_refund = match value(columns.kind) {
        "交易" => false,
        "退款" => true,
        _ => return Err(fault(number, "is of an unknown 业务类型", "交易 or 退款")),
    };
    let amount = value(columns.amount);
    let amount = match amount.strip_prefix('-') {
        Some(amount) if is_refund => amount,
        _ => amount,
    };
    let amount = money::money(amount).ok_or_else(|| {
        fault(
            number,
            "has a 订单金额（元） that is no amount",
            "yuan such as 9.90",
        )
    })?;
    let at = china_time::instant(value(columns.finished_at))
        .ok_or_else(|| fault(number, "has a 完成时间 that is no time", "yyyy-MM-dd HH:mm:ss"))?;
    Ok(BillLine {
        line: number,
        refund_no: is_refund.then(|| value(columns.refund_no).to_owned()),
        order_no: must_have(columns.order_no, "商户订单号")?,
        transaction_id: must_have(columns.transaction_id, "支付宝交易号")?,
        amount,
        at: Some(at),
    })
}

/// A line that can't be read.
fn fault(number: u64, problem: &'static str, wanted: &str) -> Error {
    Error::invalid("bill", problem, wanted, format!("line {number}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Timestamp;
    use encoding_rs::GBK;

    fn read(bill: &[u8]) -> Result<Vec<BillLine>> {
        lines(bill)?.collect()
    }

    const NAMES: &str = "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,\
                         订单金额（元）,商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,\
                         券名称,商家红包消费金额（元）,卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注";
    const END: &str =
        "#-----------------------------------------业务明细列表结束------------------------------------";

    fn row(kind: &str, amount: &str, refund_no: &str) -> String {
        let received = if kind == "退款" { amount } else { "8.80" };
        format!(
            "2026112222001400000000000001\t,019aab00000070008000000000000001\t,{kind}\t,积分,2026-11-22 16:09:50,\
             2026-11-22 16:10:00,\t,\t,\t,\t,*水(602***@qq.com)\t,{amount},{received},0.00,0.00,0.00,1.10,0.00,,0.00\t,0.00,\
             {refund_no}\t,-0.06,0.00,"
        )
    }

    fn bill_of(rows: &[String], sums: &str) -> String {
        let start = "#支付宝业务明细查询\n#账号：[20880000000000000156]\n\
                     #起始日期：[2026年11月22日 00:00:00]   终止日期：[2026年11月23日 00:00:00]\n\
                     #-----------------------------------------业务明细列表----------------------------------------";
        format!(
            "{start}\n{NAMES}\n{}\n{END}\n{sums}#导出时间：[2026年11月23日 05:46:49]\n",
            rows.join("\n")
        )
    }

    fn gbk(text: &str) -> Vec<u8> {
        let (bytes, _, unknown) = GBK.encode(text);
        assert!(!unknown, "{text}");
        bytes.into_owned()
    }

    /// Of so many payments and refunds of 8.80 and 3.30 yuan.
    fn sums(payments: i64, refunds: i64) -> String {
        format!(
            "#交易合计：{payments}笔，商家实收共{}元，商家优惠共1.10元\n\
             #退款合计：{refunds}笔，商家实收退款共{}元，商家优惠退款共0.00元\n",
            money::yuan(payments * 880),
            money::yuan(refunds * -330),
        )
    }

    fn whole() -> String {
        let rows = [
            row("交易", "9.90", ""),
            row("退款", "-3.30", "019aab00000070008000000000000001R1"),
        ];
        bill_of(&rows, &sums(1, 1))
    }

    fn refused(bill: &str) -> String {
        let error = read(&gbk(bill)).unwrap_err();
        assert_eq!(error.code(), "validation");
        error.to_string()
    }

    #[test]
    fn payments_and_refunds_are_read() {
        let at = Some("2026-11-22T08:10:00Z".parse::<Timestamp>().unwrap());
        let payment = BillLine {
            line: 6,
            refund_no: None,
            order_no: "019aab00000070008000000000000001".into(),
            transaction_id: "2026112222001400000000000001".into(),
            amount: money::money("9.90").unwrap(),
            at,
        };
        let refund = BillLine {
            line: 7,
            refund_no: Some("019aab00000070008000000000000001R1".into()),
            amount: money::money("3.30").unwrap(),
            ..payment.clone()
        };
        let expected = vec![payment, refund];
        let text = whole();
        for bill in [
            gbk(&text),
            gbk(&text.replace('\n', "\r\n")),
            text.clone().into_bytes(),
            format!("\u{feff}{text}").into_bytes(),
            gbk(&text.replace("退款批次号/请求号", "退款批次号")),
            gbk(&text.replace("-3.30,-3.30,", "3.30,-3.30,")),
            gbk(&text.replace(",积分,", ",\"积分, \"\"viele\"\"\",")),
            gbk(&text.replace(&sums(1, 1), "")),
        ] {
            assert_eq!(read(&bill).unwrap(), expected);
        }
    }

    #[test]
    fn a_day_without_trades_is_a_bill() {
        assert_eq!(read(&gbk(&bill_of(&[], &sums(0, 0)))).unwrap(), []);
    }

    #[test]
    fn columns_are_found_by_their_names() {
        let moved = format!(
            "#\n商户订单号,业务类型,退款批次号/请求号,完成时间,支付宝交易号,订单金额（元）\n\
                             1,交易,,2026-11-22 16:10:00,2,0.01\n{END}\n"
        );
        let lines = read(&gbk(&moved)).unwrap();
        assert_eq!(
            (
                lines[0].order_no.as_str(),
                lines[0].transaction_id.as_str(),
                lines[0].line
            ),
            ("1", "2", 3)
        );
        for name in [
            "商户订单号",
            "业务类型",
            "退款批次号/请求号",
            "完成时间",
            "支付宝交易号",
            "订单金额（元）",
        ] {
            let error = refused(&moved.replacen(name, "x", 1));
            assert!(
                error.contains("does not name the columns") && error.contains("line 2"),
                "{error}"
            );
            let error = refused(&moved.replacen("#\n", &format!("#\n{name},"), 1));
            assert!(error.contains("line 2"), "{error}");
        }
    }

    #[test]
    fn a_line_that_can_not_be_read_is_named() {
        for (from, to, problem) in [
            (",9.90,", ",9.901,", "no amount"),
            (",9.90,", ",-9.90,", "no amount"),
            (",9.90,", ",9.9e1,", "no amount"),
            (",9.90,", ",,", "no amount"),
            (",交易\t,", ",转账\t,", "业务类型"),
            (",交易\t,", ",\t,", "业务类型"),
            (",2026-11-22 16:10:00,", ",2026-11-22,", "完成时间"),
            (",2026-11-22 16:10:00,", ",2026-11-31 16:10:00,", "完成时间"),
            ("2026112222001400000000000001\t,", "\t,", "lacks a value"),
            (",019aab00000070008000000000000001\t,", ",\t,", "lacks a value"),
            (",积分,", ",积分,,", "number of values"),
            (",积分,", ",", "number of values"),
            (",积分,", ",\"积分,", "number of values"),
        ] {
            let error = refused(&whole().replacen(from, to, 1));
            assert!(error.contains(problem) && error.contains("line 6"), "{error}");
        }
        for amounts in ["--3.30,-3.30,", "-3.30,--3.30,", "-3.30,,"] {
            let error = refused(&whole().replace("-3.30,-3.30,", amounts));
            assert!(error.contains("line 7"), "{error}");
        }
    }

    #[test]
    fn a_bill_that_is_not_whole_is_refused() {
        let text = whole();
        let (list, _) = text.split_once(END).unwrap();
        assert!(refused(list).contains("not a whole one"));
        assert!(refused("").contains("not a whole one"));
        assert!(refused(&format!("{END}\n")).contains("not a whole one"));
        let error = refused(&text.replace("交易合计：1笔", "交易合计：2笔"));
        assert!(
            error.contains("counts other lines") && error.contains("line 9"),
            "{error}"
        );
        let error = refused(&text.replace("退款合计：1笔", "退款合计：很多笔"));
        assert!(
            error.contains("counts other lines") && error.contains("line 10"),
            "{error}"
        );
        for (said, other) in [
            ("共8.80元", "共8.81元"),
            ("共8.80元", "共-8.80元"),
            ("共8.80元", "共元"),
        ] {
            let error = refused(&text.replace(said, other));
            assert!(error.contains("has a sum") && error.contains("line 9"), "{error}");
        }
        let error = refused(&text.replace("退款共-3.30元", "退款共3.30元"));
        assert!(
            error.contains("has a sum") && error.contains("line 10"),
            "{error}"
        );
        let error = refused(&format!("{text}{}\n", row("交易", "9.90", "")));
        assert!(error.contains("behind the end"), "{error}");
        // Wherever it is cut off before its end is written.
        let bytes = gbk(list);
        for length in 0..bytes.len() {
            assert!(read(&bytes[..length]).is_err(), "{length}");
        }
    }

    #[test]
    fn what_is_no_bill_is_refused() {
        let error = read(b"PK\x03\x04").unwrap_err().to_string();
        assert!(error.contains("unpack it"), "{error}");
        let error = read(b"\xff\xff\xff").unwrap_err().to_string();
        assert!(error.contains("no text"), "{error}");
    }

    #[test]
    fn a_line_break_in_a_name_does_not_refuse_the_bill() {
        let text = whole();
        let expected = read(&gbk(&text)).unwrap();
        let moved = |mut line: BillLine| {
            line.line += 2;
            line
        };
        for name in [
            "积\n\n分",
            "\"积\r\n\r\n分\"",
            "\n\n",
            "积分\n2026112222001400000000000001\n",
        ] {
            let broken = text.replacen(",积分,", &format!(",{name},"), 1);
            let lines = read(&gbk(&broken)).unwrap();
            assert_eq!(lines, [expected[0].clone(), moved(expected[1].clone())], "{name}");
        }
        // Where it does not get whole, the line that began it is named.
        let error = refused(&text.replacen(",积分,", &format!(",{},", "\n".repeat(100)), 1));
        assert!(
            error.contains("number of values") && error.contains("line 6"),
            "{error}"
        );
    }

    #[test]
    fn a_refund_may_have_no_number() {
        let text = bill_of(&[row("退款", "-9.90", "")], "");
        assert_eq!(read(&gbk(&text)).unwrap()[0].refund_no.as_deref(), Some(""));
    }

    #[test]
    fn a_long_day_is_read() {
        let rows = vec![row("交易", "9.90", ""); 20_000];
        assert_eq!(
            read(&gbk(&bill_of(&rows, &sums(20_000, 0)))).unwrap().len(),
            20_000
        );
    }
}
