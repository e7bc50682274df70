//! Certificate mode: the serials that requests name their certificates by, and the key in Alipay's.
//!
//! A serial is the MD5 of the issuer, as RFC 2253 spells it, followed by the serial number in decimal; that of the root
//! is those of all its RSA certificates, joined by `_`. So do Alipay's own SDKs: `AntCertificationUtil.java` in
//! alipay-easysdk (`getIssuerX500Principal().getName() + getSerialNumber()`) and `antcertutil.ts` in
//! alipay-sdk-nodejs-all. The issuer is spelled here as the former's Java does it.
//!
//! The certificates are the host's own settings, so their chain and dates are not checked.

use super::keys::{AlipayKey, der_blocks};
use crate::error::{Error, Result};
use md5::{Digest, Md5};

const FORM: &str = "a certificate in PEM";

/// Object identifiers of RSA signatures begin so: 1.2.840.113549.1.1.
const RSA_SIGNATURES: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01];

const INTEGER: u8 = 0x02;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// What is wanted of a certificate.
struct Certificate<'a> {
    serial_number: &'a [u8],
    signature_algorithm: &'a [u8],
    issuer: &'a [u8],
    public_key: &'a [u8],
}

/// One value of DER.
struct Value<'a> {
    tag: u8,
    /// What is in it.
    content: &'a [u8],
    /// All of it.
    whole: &'a [u8],
    /// What follows.
    rest: &'a [u8],
}

/// Reads one value off the front.
fn value(der: &[u8]) -> Option<Value<'_>> {
    let (&[tag, first], rest) = der.split_first_chunk::<2>()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (length, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = length.iter().fold(0, |sum, &byte| sum << 8 | usize::from(byte));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    let whole = der.get(..der.len() - rest.len())?;
    Some(Value {
        tag,
        content,
        whole,
        rest,
    })
}

/// Takes one value of this tag off the front.
fn take<'a>(der: &mut &'a [u8], tag: u8) -> Option<&'a [u8]> {
    let first = value(der)?;
    *der = first.rest;
    (first.tag == tag).then_some(first.content)
}

impl<'a> Certificate<'a> {
    /// RFC 5280, 4.1.
    fn read(mut der: &'a [u8]) -> Option<Self> {
        let mut certificate = take(&mut der, SEQUENCE)?;
        let mut signed = take(&mut certificate, SEQUENCE)?;
        if value(signed)?.tag == VERSION {
            take(&mut signed, VERSION)?;
        }
        let serial_number = take(&mut signed, INTEGER)?;
        let mut algorithm = take(&mut signed, SEQUENCE)?;
        let signature_algorithm = take(&mut algorithm, OBJECT_IDENTIFIER)?;
        let issuer = take(&mut signed, SEQUENCE)?;
        let _validity = take(&mut signed, SEQUENCE)?;
        let _subject = take(&mut signed, SEQUENCE)?;
        let public_key = value(signed)?;
        (public_key.tag == SEQUENCE).then_some(Certificate {
            serial_number,
            signature_algorithm,
            issuer,
            public_key: public_key.whole,
        })
    }

    /// As requests call it.
    fn serial(&self) -> Option<String> {
        let mut md5 = Md5::new();
        md5.update(name(self.issuer)?);
        md5.update(decimal(self.serial_number)?);
        Some(hex(&md5.finalize()))
    }
}

/// A distinguished name as RFC 2253 writes it: its parts in reverse order, `CN=a,O=b`.
fn name(mut der: &[u8]) -> Option<String> {
    let mut parts = Vec::new();
    while !der.is_empty() {
        let mut attributes = take(&mut der, SET)?;
        let mut part = Vec::new();
        while !attributes.is_empty() {
            part.push(attribute(take(&mut attributes, SEQUENCE)?)?);
        }
        parts.push(part.join("+"));
    }
    parts.reverse();
    Some(parts.join(","))
}

/// `CN=value`, or `1.2.3=#hex` where RFC 2253 has no word for the attribute.
fn attribute(mut der: &[u8]) -> Option<String> {
    let identifier = take(&mut der, OBJECT_IDENTIFIER)?;
    let said = value(der)?;
    let word = match identifier {
        [0x55, 0x04, 0x03] => "CN",
        [0x55, 0x04, 0x06] => "C",
        [0x55, 0x04, 0x07] => "L",
        [0x55, 0x04, 0x08] => "ST",
        [0x55, 0x04, 0x09] => "STREET",
        [0x55, 0x04, 0x0a] => "O",
        [0x55, 0x04, 0x0b] => "OU",
        _ => return Some(format!("{}=#{}", dotted(identifier), hex(said.whole))),
    };
    let readable = matches!(said.tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
    let text = std::str::from_utf8(said.content).ok().filter(|_| readable)?;
    let mut spelled = format!("{word}=");
    for (index, character) in text.char_indices() {
        let at_the_edge = index == 0 || index + 1 == text.len();
        let escaped = match character {
            ',' | '+' | '"' | '\\' | '<' | '>' | ';' => true,
            ' ' => at_the_edge,
            '#' => index == 0,
            _ => false,
        };
        if escaped {
            spelled.push('\\');
        }
        spelled.push(character);
    }
    Some(spelled)
}

/// An object identifier with its dots.
fn dotted(identifier: &[u8]) -> String {
    let mut arcs = Vec::new();
    let mut arc: u128 = 0;
    for byte in identifier {
        arc = arc << 7 | u128::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            if arcs.is_empty() {
                let first = (arc / 40).min(2);
                arcs.push(first.to_string());
                arc -= first * 40;
            }
            arcs.push(arc.to_string());
            arc = 0;
        }
    }
    arcs.join(".")
}

/// A positive integer of any length, big-endian, in decimal; serial numbers have up to 20 bytes.
fn decimal(integer: &[u8]) -> Option<String> {
    if integer.is_empty() || integer.len() > 64 || integer.first().is_some_and(|byte| byte & 0x80 != 0) {
        return None;
    }
    // The last digit first.
    let mut digits = vec![0_u8];
    for &byte in integer {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            let sum = u32::from(*digit) * 256 + carry;
            *digit = (sum % 10) as u8;
            carry = sum / 10;
        }
        while carry > 0 {
            digits.push((carry % 10) as u8);
            carry /= 10;
        }
    }
    Some(
        digits
            .iter()
            .rev()
            .map(|digit| char::from(b'0' + digit))
            .collect(),
    )
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The first certificate of a file: what requests call it, and the key in it.
///
/// # Errors
/// `validation`.
pub(super) fn certificate(field: &'static str, text: &str) -> Result<(String, AlipayKey)> {
    let read = |text| {
        let block = der_blocks(text)?.into_iter().next()?;
        let certificate = Certificate::read(&block)?;
        Some((certificate.serial()?, certificate.public_key.to_vec()))
    };
    let (serial, key) = read(text).ok_or_else(|| unreadable(field))?;
    Ok((serial, AlipayKey::of_der(field, &key)?))
}

/// What requests call the roots of a file: its certificates that are signed with RSA; those with SM2 have another use.
///
/// # Errors
/// `validation`.
pub(super) fn root_serials(field: &'static str, text: &str) -> Result<String> {
    let mut serials = Vec::new();
    for block in der_blocks(text).unwrap_or_default() {
        let certificate = Certificate::read(&block).ok_or_else(|| unreadable(field))?;
        if certificate.signature_algorithm.starts_with(RSA_SIGNATURES) {
            serials.push(certificate.serial().ok_or_else(|| unreadable(field))?);
        }
    }
    if serials.is_empty() {
        return Err(unreadable(field));
    }
    Ok(serials.join("_"))
}

fn unreadable(field: &'static str) -> Error {
    super::keys::no_key(field, FORM)
}
