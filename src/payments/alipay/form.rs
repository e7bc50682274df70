//! The form that a notification is: names and values as the bytes that Alipay signed, decoded once and no further.
//!
//! What is signed are the parameters, joined with `&` as they are. So whoever has a genuine notification could put some of its
//! parameters into the value of the one before, as `%26name%3Dvalue`: the signed text is the same, and a refund whose marks are
//! hidden so is a payment. Therefore a text may be read in one way only, which is that each `&name=` begins a parameter: names are
//! letters, digits, `_`, `-` and `.`, and no value holds an `&` with a name and a `=` behind it. Genuine ones of our orders have none: titles
//! are sent without `&` and `=`, and nothing else that Alipay repeats. (A coupon's name could: the order is asked about, as where no
//! notification comes.) WeChat Pay's signed text has no such second reading, see `wechat/verify.rs`.

use std::collections::BTreeMap;

/// The most parameters that a form may have. A notification has about thirty.
const PARAMETERS_MAX: usize = 128;

/// Whether parameters without a value are part of what is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Empty {
    /// They are.
    Signed,
    /// They are not.
    LeftOut,
}

/// The parameters of a form, in the order in which they are signed.
pub(super) struct Form(BTreeMap<Vec<u8>, Vec<u8>>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`, strictly: each name once, every parameter with its `=`, nothing but
    /// two hexadecimal digits behind a `%`, and only what can't be read in another way.
    pub(super) fn read(body: &[u8]) -> Result<Self, &'static str> {
        // Anybody can send one: they are counted before anything is done with them.
        if body.iter().filter(|byte| **byte == b'&').count() >= PARAMETERS_MAX {
            return Err("has more than 128 parameters");
        }
        let mut parameters = BTreeMap::new();
        for parameter in body.split(|&byte| byte == b'&') {
            let mut halves = parameter.splitn(2, |&byte| byte == b'=');
            let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
                return Err("is no form: a parameter has no `=`");
            };
            let (Some(name), Some(value)) = (decoded(name), decoded(value)) else {
                return Err("is no form: two hexadecimal digits must follow a `%`");
            };
            if name.is_empty() || !name.iter().all(is_of_a_name) {
                return Err("has a parameter whose name is none");
            }
            if hides_a_parameter(&value) {
                return Err(
                    "has a parameter within the value of another one, so that it could be read in two ways",
                );
            }
            if parameters.insert(name, value).is_some() {
                return Err("has a parameter twice");
            }
        }
        Ok(Form(parameters))
    }

    /// The value of a parameter, as it came; `None` where it is missing or empty.
    pub(super) fn get(&self, name: &str) -> Option<&[u8]> {
        let value = self.0.get(name.as_bytes())?;
        (!value.is_empty()).then_some(value)
    }

    /// What is signed: `name=value`, sorted by name and joined with `&`, without those in `left_out`. Spaces at the end stay.
    pub(super) fn signed_content(&self, left_out: &[&str], empty: Empty) -> Vec<u8> {
        let kept = self.0.iter().filter(|(name, value)| {
            let is_name = |each: &&str| each.as_bytes() == name.as_slice();
            (empty == Empty::Signed || !value.is_empty()) && !left_out.iter().any(is_name)
        });
        content(kept.map(|(name, value)| (name.as_slice(), value.as_slice())))
    }
}

fn is_of_a_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || b"_-.".contains(byte)
}

/// Whether a value has a `&name=` in it, which could as well be the next parameter.
fn hides_a_parameter(value: &[u8]) -> bool {
    value.split(|byte| *byte == b'&').skip(1).any(|piece| {
        let end = piece.iter().position(|byte| !is_of_a_name(byte));
        end.is_some_and(|end| end > 0 && piece.get(end) == Some(&b'='))
    })
}

/// `name=value`, joined with `&`: what is signed, of parameters that are sorted by name.
pub(super) fn content<'a>(parameters: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Vec<u8> {
    let mut content = Vec::new();
    for (name, value) in parameters {
        if !content.is_empty() {
            content.push(b'&');
        }
        content.extend_from_slice(name);
        content.push(b'=');
        content.extend_from_slice(value);
    }
    content
}

/// `+` is a space, and `%2B` is a `+`.
fn decoded(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(&byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => u8::try_from(digit(rest.next())? * 16 + digit(rest.next())?).ok()?,
            other => other,
        });
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn content_of(body: &str) -> Result<String, &'static str> {
        let content = Form::read(body.as_bytes())?.signed_content(&["sign", "sign_type"], Empty::Signed);
        Ok(String::from_utf8(content).unwrap())
    }

    #[test]
    fn empty_values_are_signed_or_left_out() {
        let form = Form::read(b"b=&a=1&c=+&d=").unwrap();
        assert_eq!(form.signed_content(&["d"], Empty::Signed), b"a=1&b=&c= ");
        assert_eq!(form.signed_content(&[], Empty::LeftOut), b"a=1&c= ");
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_refused() {
        for body in [
            "a=x%26b=1",
            "a=x%26b%3D1&c=2",
            "a=%26b%3D",
            "a=x%26y%26a_b-c.d%3D%26",
            "a=x%26z%3D1&b=2",
        ] {
            let error = content_of(body).unwrap_err();
            assert!(error.contains("two ways"), "{body}: {error}");
        }
        for body in [
            "=1&a=2",
            "a%26b=1",
            "a%3D1%26b=2",
            "a+b=1",
            "%e4%bd%a0=1",
            "a%00=1",
        ] {
            let error = content_of(body).unwrap_err();
            assert!(error.contains("name is none"), "{body}: {error}");
        }
        // No parameter begins where there is no name, or no `=`.
        for (body, expected) in [
            ("a=x%26y", "a=x&y"),
            ("a=%26%3D1", "a=&=1"),
            ("a=%26amp;b%3D1", "a=&amp;b=1"),
            ("a=x+%26+y%3D1", "a=x & y=1"),
            ("a=b%3D1", "a=b=1"),
        ] {
            assert_eq!(content_of(body).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_signed_is_sorted_decoded_once_and_whole() {
        for (body, expected) in [
            ("b=2&a=1&sign=x&sign_type=RSA2", "a=1&b=2"),
            ("b=&a=1", "a=1&b="),
            ("b=2++&a=1%20", "a=1 &b=2  "),
            ("a=1%2B1&b=1+1", "a=1+1&b=1 1"),
            ("a=%2525", "a=%25"),
            ("a=x=y", "a=x=y"),
            ("a=%e4%bd%a0&A=1", "A=1&a=你"),
            ("a=%E4%BD%A0", "a=你"),
            ("a_b=1&aB=2&ab=3", "aB=2&a_b=1&ab=3"),
        ] {
            assert_eq!(content_of(body).as_deref(), Ok(expected), "{body}");
        }
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for (body, problem) in [
            ("", "no `=`"),
            ("a", "no `=`"),
            ("a=1&", "no `=`"),
            ("&a=1", "no `=`"),
            ("a=1&&b=2", "no `=`"),
            ("a=1&b", "no `=`"),
            ("a=%", "hexadecimal"),
            ("a=%1", "hexadecimal"),
            ("a=%1g", "hexadecimal"),
            ("a=%+1", "hexadecimal"),
            ("a=%%31", "hexadecimal"),
            ("%zz=1", "hexadecimal"),
            ("a=1&a=1", "twice"),
            ("a=1&b=2&%61=3", "twice"),
        ] {
            let error = content_of(body).unwrap_err();
            assert!(error.contains(problem), "{body}: {error}");
        }
    }

    #[test]
    fn a_form_has_so_many_parameters() {
        let of = |n: usize| -> String {
            let parameters: Vec<String> = (0..n).map(|n| format!("p{n}=")).collect();
            parameters.join("&")
        };
        assert!(content_of(&of(PARAMETERS_MAX)).is_ok());
        let error = content_of(&of(PARAMETERS_MAX + 1)).unwrap_err();
        assert!(error.contains(&format!("more than {PARAMETERS_MAX} ")), "{error}");
        // Before they are read: what stands behind them is not.
        assert_eq!(content_of(&format!("{}&%", of(33_000))), Err(error));
    }

    #[test]
    fn an_empty_value_is_none() {
        let form = Form::read(b"a=&b=+").unwrap();
        assert_eq!(form.get("a"), None);
        assert_eq!(form.get("b"), Some(&b" "[..]));
        assert_eq!(form.get("c"), None);
    }

    proptest! {
        /// Whatever is taken can be told from what is signed alone.
        #[test]
        fn what_is_signed_has_one_reading(pieces in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", "&", "=", "%26", "%3D"]), 0..16)) {
            let body = pieces.concat();
            if let Ok(form) = Form::read(body.as_bytes()) {
                let content = String::from_utf8(form.signed_content(&[], Empty::Signed)).unwrap();
                let mut again: Vec<(String, String)> = Vec::new();
                for piece in content.split('&') {
                    match piece.split_once('=') {
                        Some((name, value)) if !name.is_empty() && name.bytes().all(|byte| is_of_a_name(&byte)) => {
                            again.push((name.into(), value.into()));
                        }
                        _ => again.last_mut().unwrap().1.extend(["&", piece]),
                    }
                }
                let read = form.0.iter().map(|(name, value)| (name.clone(), value.clone()));
                let again = again.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes()));
                prop_assert!(read.eq(again), "{}", content);
            }
        }

        #[test]
        fn any_bytes_come_back(values in prop::collection::btree_map("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..20), 1..6)) {
            prop_assume!(!values.values().any(|value| hides_a_parameter(value)));
            let mut body = String::new();
            for (name, value) in &values {
                if !body.is_empty() { body.push('&'); }
                body.push_str(name);
                body.push('=');
                body.extend(form_urlencoded::byte_serialize(value));
            }
            let form = Form::read(body.as_bytes()).unwrap();
            for (name, value) in &values {
                let expected = (!value.is_empty()).then_some(value.as_slice());
                prop_assert_eq!(form.get(name), expected);
            }
        }
    }
}
