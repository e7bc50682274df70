//! What the bills of both channels have in common: lines of text, in UTF-8 or in GBK, that are read one after the other.

use super::BillLine;
use crate::error::{Error, Result};
use encoding_rs::{Encoding, GB18030, UTF_8};
use std::borrow::Cow;

/// The longest line that is read, in bytes. Those of bills have a few hundred; one without an end would be taken apart into
/// millions of values.
const LINE_BYTES_MAX: usize = 64 * 1024;
/// Into how many lines one entry may be broken by names that have line breaks.
const LINES_OF_AN_ENTRY_MAX: usize = 16;
/// How much is shown of what is no bill, in characters.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// What the channels answer where there is no bill of a day: WeChat Pay's APIv3 and APIv2, and Alipay.
const NO_BILL_OF_THE_DAY: [&str; 3] = ["NO_STATEMENT_EXIST", "No Bill Exist", "bill_not_exist"];

/// A line.
pub(super) struct Line<'a> {
    /// Its number, the first one being 1.
    pub(super) number: u64,
    /// Without its end.
    pub(super) text: Cow<'a, str>,
}

/// The lines of a bill. (No byte of a character in GBK or GB18030 is a line feed.)
#[derive(Clone)]
pub(super) struct Lines<'a> {
    rest: &'a [u8],
    number: u64,
    /// What the bill is written in: the first line that is not ASCII shows it.
    encoding: Option<&'static Encoding>,
}

impl<'a> Lines<'a> {
    /// Those of a bill, whose text is looked at only as it is read.
    ///
    /// # Errors
    /// `validation` where it is something else, which is named: a ZIP, a channel's answer that there is no bill.
    pub(super) fn of(bill: &'a [u8]) -> Result<Self> {
        let (problem, wanted) = match bill {
            [b'P', b'K', ..] => (
                "is a ZIP or a workbook: unpack it, or save it as CSV",
                "lines of text",
            ),
            [0x1f, 0x8b, ..] => ("is compressed by gzip: unpack it", "lines of text"),
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => ("is in UTF-16: save it as CSV in UTF-8", "UTF-8 or GBK"),
            _ => return Self::of_text(bill),
        };
        Err(Error::invalid(
            "bill",
            problem,
            wanted,
            format!("{} bytes", bill.len()),
        ))
    }

    fn of_text(bill: &'a [u8]) -> Result<Self> {
        let text = bill.strip_prefix(b"\xef\xbb\xbf");
        let lines = Lines {
            rest: text.unwrap_or(bill),
            number: 0,
            encoding: text.map(|_| UTF_8),
        };
        let start = lines.rest.trim_ascii_start();
        if !matches!(start.first(), Some(b'{' | b'<')) {
            return Ok(lines);
        }
        let start = start.get(..SHOWN_CHARACTERS_MAX * 4).unwrap_or(start);
        let start = String::from_utf8_lossy(start);
        let problem = if NO_BILL_OF_THE_DAY.iter().any(|code| start.contains(code)) {
            "says that there is no bill of that day: nothing was sold, or it is not made yet"
        } else {
            "is an answer of the channel and no bill"
        };
        let shown: String = (start.chars())
            .filter(|character| !character.is_control())
            .take(SHOWN_CHARACTERS_MAX)
            .collect();
        Err(Error::invalid("bill", problem, "the file of a day", shown))
    }

    /// The next one; `None` behind the last.
    ///
    /// # Errors
    /// `validation`, which names the line that is too long or no text.
    pub(super) fn next(&mut self) -> Result<Option<Line<'a>>> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.number += 1;
        let fault =
            |problem, wanted: &str| Error::invalid("bill", problem, wanted, format!("line {}", self.number));
        let looked_at = self.rest.get(..=LINE_BYTES_MAX).unwrap_or(self.rest);
        let end = looked_at.iter().position(|byte| *byte == b'\n');
        if end.is_none() && looked_at.len() > LINE_BYTES_MAX {
            let limit = format!("{LINE_BYTES_MAX} bytes");
            return Err(fault("has a line that is too long to be one", &limit));
        }
        let (line, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let encoding = match self.encoding {
            Some(encoding) => encoding,
            None if std::str::from_utf8(line).is_ok() => UTF_8,
            None => GB18030,
        };
        let text = encoding.decode_without_bom_handling_and_without_replacement(line);
        let text = text.ok_or_else(|| fault("has a line that is no text", encoding.name()))?;
        if !line.is_ascii() {
            self.encoding = Some(encoding);
        }
        self.rest = rest.get(1..).unwrap_or_default();
        Ok(Some(Line {
            number: self.number,
            text,
        }))
    }

    /// The entry that begins with a line which is not all of it, because a name in it has line breaks: that line and those
    /// that follow, until `is_whole`. The breaks become spaces. The line alone where it does not get whole, or `begins_another`
    /// says that something else begins.
    ///
    /// # Errors
    /// `validation`, as [`Lines::next`].
    pub(super) fn entry(
        &mut self,
        first: &Line<'a>,
        mut is_whole: impl FnMut(&str) -> bool,
        begins_another: impl Fn(&str) -> bool,
    ) -> Result<Cow<'a, str>> {
        let mut ahead = self.clone();
        let mut text = first.text.clone().into_owned();
        for _ in 1..LINES_OF_AN_ENTRY_MAX {
            match ahead.next()? {
                Some(more) if !begins_another(&more.text) => text.extend([" ", &*more.text]),
                _ => break,
            }
            if is_whole(&text) {
                *self = ahead;
                return Ok(text.into());
            }
        }
        Ok(first.text.clone())
    }
}

/// What `next` reads, up to the end or the first fault.
pub(super) fn each<'a>(
    mut next: impl FnMut() -> Result<Option<BillLine>> + Send + 'a,
) -> impl Iterator<Item = Result<BillLine>> + Send + 'a {
    let mut is_over = false;
    std::iter::from_fn(move || {
        if is_over {
            return None;
        }
        let read = next().transpose();
        is_over = !matches!(read, Some(Ok(_)));
        read
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bill: &[u8]) -> Result<Vec<(u64, String)>> {
        let mut lines = Lines::of(bill)?;
        let mut read = Vec::new();
        while let Some(line) = lines.next()? {
            read.push((line.number, line.text.into_owned()));
        }
        Ok(read)
    }

    fn gbk(text: &str) -> Vec<u8> {
        GB18030.encode(text).0.into_owned()
    }

    #[test]
    fn text_in_utf8_or_gbk_is_read_whatever_ends_its_lines() {
        // The last character has four bytes in GB18030.
        let text = "交易时间\na\n\n积分𠮷";
        let expected = ["交易时间", "a", "", "积分𠮷"];
        let expected: Vec<(u64, String)> = (1..).zip(expected.map(String::from)).collect();
        for bill in [
            text.as_bytes().to_vec(),
            format!("\u{feff}{text}\n").into_bytes(),
            text.replace('\n', "\r\n").into_bytes(),
            gbk(text),
            gbk(&text.replace('\n', "\r\n")),
        ] {
            assert_eq!(read(&bill).unwrap(), expected);
        }
        assert_eq!(read(b"").unwrap(), []);
    }

    #[test]
    fn what_is_something_else_is_named() {
        for (bill, problem) in [
            (&b"PK\x03\x04"[..], "unpack it"),
            (b"\x1f\x8b\x08\x00", "gzip"),
            (b"\xff\xfea\0", "UTF-16"),
            (
                br#"{"code":"NO_STATEMENT_EXIST","message":"none"}"#,
                "no bill of that day",
            ),
            (
                b"\n<xml><return_msg>No Bill Exist</return_msg></xml>",
                "no bill of that day",
            ),
            (
                br#"{"r":{"sub_code":"isp.bill_not_exist"}}"#,
                "no bill of that day",
            ),
            (
                br#"{"code":"SIGN_ERROR"}"#,
                r#"no bill (expected the file of a day, got {"code":"SIGN_ERROR"})"#,
            ),
            (b"\xef\xbb\xbf<html>", "answer of the channel"),
        ] {
            let error = read(bill).unwrap_err();
            assert_eq!(error.code(), "validation");
            assert!(error.to_string().contains(problem), "{error}");
        }
        let long = format!("{{\u{7}{}", "积".repeat(1_000_000));
        let shown = read(long.as_bytes()).unwrap_err().to_string();
        assert!(shown.len() < 1_000 && !shown.contains('\u{7}'), "{shown}");
    }

    #[test]
    fn a_byte_that_is_no_text_names_its_line() {
        for (bill, encoding) in [
            ("交易\n积分\n".as_bytes().to_vec(), "UTF-8"),
            (gbk("交易\n积分\n"), "gb18030"),
        ] {
            let mut bill = [bill, b"a\xff\n".to_vec()].concat();
            let error = read(&bill).unwrap_err().to_string();
            assert!(error.contains("line 3") && error.contains(encoding), "{error}");
            // Whoever reads no further does not see it.
            bill.extend([0xff; 100]);
            let mut lines = Lines::of(&bill).unwrap();
            assert!(lines.next().is_ok() && lines.next().is_ok() && lines.next().is_err());
        }
    }

    #[test]
    fn a_line_has_a_limit() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(read(format!("{longest}\n{longest}").as_bytes()).unwrap().len(), 2);
        let error = read(format!("a\n{longest}x\n").as_bytes())
            .unwrap_err()
            .to_string();
        assert!(error.contains("line 2") && error.contains("too long"), "{error}");
    }

    #[test]
    fn an_entry_goes_on_until_it_is_whole() {
        let bill = b"a\n\nb\nc";
        let whole = |wanted: &'static str| move |text: &str| text == wanted;
        for (wanted, another, entry, next) in [
            ("a", "", "a", Some("")),
            ("a  b", "", "a", Some("")),
            ("a  b", "c", "a  b", Some("c")),
            ("a  b c", "d", "a  b c", None),
            ("a  b c", "c", "a", Some("")),
            ("x", "d", "a", Some("")),
        ] {
            let mut lines = Lines::of(bill).unwrap();
            let first = lines.next().unwrap().unwrap();
            let read = lines
                .entry(&first, whole(wanted), |text| text == another)
                .unwrap();
            assert_eq!((&*read, wanted), (entry, wanted));
            let after = lines.next().unwrap().map(|line| line.text);
            assert_eq!(after.as_deref(), next);
        }
        let endless = "a\n".repeat(100);
        let mut lines = Lines::of(endless.as_bytes()).unwrap();
        let first = lines.next().unwrap().unwrap();
        let never = lines.entry(&first, |text| text.len() > 50, |_| false).unwrap();
        assert_eq!(never, "a");
    }
}
