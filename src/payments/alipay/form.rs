//! The form that a notification is: names and values as the bytes that Alipay signed, decoded once and no further.

use std::collections::BTreeMap;

/// The most parameters that a form may have. A notification has about thirty.
const PARAMETERS_MAX: usize = 128;

/// The parameters of a form, in the order in which they are signed.
pub(super) struct Form(BTreeMap<Vec<u8>, Vec<u8>>);

impl Form {
    /// Reads `application/x-www-form-urlencoded`, strictly: each name once, every parameter with its `=`, and nothing but
    /// two hexadecimal digits behind a `%`.
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

    /// What is signed: `name=value`, sorted by name and joined with `&`, without those in `left_out`. Empty values and
    /// spaces at the end stay, as in `getSignCheckContentV1` of Alipay's SDK for Java.
    pub(super) fn signed_content(&self, left_out: &[&str]) -> Vec<u8> {
        let kept = self.0.iter().filter(|(name, _)| {
            let is_name = |each: &&str| each.as_bytes() == name.as_slice();
            !left_out.iter().any(is_name)
        });
        content(kept.map(|(name, value)| (name.as_slice(), value.as_slice())))
    }
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
        let content = Form::read(body.as_bytes())?.signed_content(&["sign", "sign_type"]);
        Ok(String::from_utf8(content).unwrap())
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
            ("a=x%26y%3Dz", "a=x&y=z"),
            ("a=%e4%bd%a0&A=1", "A=1&a=你"),
            ("a=%E4%BD%A0", "a=你"),
            ("a_b=1&aB=2&ab=3", "aB=2&a_b=1&ab=3"),
            ("=1&a=2", "=1&a=2"),
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
        #[test]
        fn any_bytes_come_back(values in prop::collection::btree_map("[a-z]{1,8}", prop::collection::vec(any::<u8>(), 0..20), 1..6)) {
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
