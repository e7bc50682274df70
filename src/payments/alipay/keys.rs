//! RSA2: RSA PKCS#1 v1.5 over SHA-256, the one algorithm that is used here, whatever a message says of itself. A key in
//! PEM or as the bare base64 that Alipay's tools hand out; RSA of 2048 bits or more, which RSA2 asks for.

use crate::error::{Error, Result};
use crate::payments::rsa;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// What `sign_type` says of this algorithm.
pub(super) const SIGN_TYPE: &str = "RSA2";

/// The longest key, certificate or file of certificates that is looked at, in bytes.
const PEM_BYTES_MAX: usize = 64 * 1024;

/// A value that no error may show.
const NOT_SHOWN: &str = "something else";

/// What a setting is instead. Never the text itself: that may be a key.
pub(super) fn no_key(field: &'static str, form: &'static str) -> Error {
    Error::invalid(field, "can't be read", form, NOT_SHOWN)
}

/// The DER of every block of a PEM file, or of a text that is nothing but base64.
pub(super) fn der_blocks(text: &str) -> Option<Vec<Vec<u8>>> {
    const BEGIN: &str = "-----BEGIN ";
    const END: &str = "-----END ";
    if text.len() > PEM_BYTES_MAX {
        return None;
    }
    let decode = |base64: &str| {
        let base64: String = base64.split_ascii_whitespace().collect();
        STANDARD.decode(base64).ok().filter(|der| !der.is_empty())
    };
    if !text.contains(BEGIN) {
        return Some(vec![decode(text)?]);
    }
    let blocks = text.split(BEGIN).skip(1).map(|block| {
        let (_label, rest) = block.split_once("-----")?;
        let (base64, _) = rest.split_once(END)?;
        decode(base64)
    });
    blocks.collect()
}

/// The only block of a text.
fn der(text: &str) -> Option<Vec<u8>> {
    let mut blocks = der_blocks(text)?;
    let block = blocks.pop()?;
    blocks.is_empty().then_some(block)
}

/// The key that our requests are signed with.
pub(super) struct AppKey(KeyPair);

impl AppKey {
    /// Reads PKCS#8 or PKCS#1, in PEM or bare base64.
    ///
    /// # Errors
    /// `validation`, without the key.
    pub(super) fn read(text: &str) -> Result<Self> {
        const FORM: &str = "an RSA private key of 2048 bits or more, PKCS#8 or PKCS#1, as PEM or base64";
        let refused = || no_key("app_private_key", FORM);
        let der = der(text).ok_or_else(refused)?;
        let key = KeyPair::from_pkcs8(&der).or_else(|_| KeyPair::from_der(&der));
        key.map(AppKey).map_err(|_| refused())
    }

    /// A signature of `content`, in base64.
    ///
    /// # Errors
    /// [`Error::Unavailable`], where the cryptographic library fails; it has no reason to.
    pub(super) fn sign(&self, content: &[u8]) -> Result<String> {
        rsa::sign(&self.0, content).ok_or_else(|| Error::Unavailable {
            outcome: crate::Written::No,
            reason: "a request can't be signed with app_private_key".into(),
            remedy: "check the key".into(),
        })
    }

    /// Its public half, as `SubjectPublicKeyInfo`.
    pub(super) fn public(&self) -> Option<Vec<u8>> {
        Some(self.0.public_key().as_der().ok()?.as_ref().to_vec())
    }
}

/// The key that Alipay signs with.
pub(super) struct AlipayKey(ParsedPublicKey);

impl AlipayKey {
    /// Reads `SubjectPublicKeyInfo`, in PEM or bare base64.
    ///
    /// # Errors
    /// `validation`, without the key.
    pub(super) fn read(field: &'static str, text: &str) -> Result<Self> {
        Self::of_der(field, &der(text).unwrap_or_default())
    }

    /// The same, in DER.
    ///
    /// # Errors
    /// `validation`, without the key.
    pub(super) fn of_der(field: &'static str, der: &[u8]) -> Result<Self> {
        let key = ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, der);
        let form = "an RSA public key of 2048 bits or more, as PEM or base64";
        key.map(AlipayKey).map_err(|_| no_key(field, form))
    }

    /// Whether `signature`, in base64, is one of `content`.
    pub(super) fn verifies(&self, content: &[u8], signature: &[u8]) -> bool {
        let signature = STANDARD.decode(signature);
        signature.is_ok_and(|signature| self.0.verify_sig(content, &signature).is_ok())
    }

    /// Itself, as `SubjectPublicKeyInfo`.
    pub(super) fn public(&self) -> Option<Vec<u8>> {
        Some(self.0.as_der().ok()?.as_ref().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payments::alipay::tests::keys::{OURS, THEIRS, pem};
    use aws_lc_rs::encoding::{Pkcs8V1Der, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::RSA_PKCS1_SHA256;

    fn pkcs8() -> Vec<u8> {
        let der: Pkcs8V1Der<'_> = OURS.as_der().unwrap();
        der.as_ref().to_vec()
    }

    /// The `RSAPrivateKey` inside, which is what the file's last 2048 bits and all before them are about.
    fn pkcs1() -> Vec<u8> {
        let der = pkcs8();
        // SEQUENCE, version, AlgorithmIdentifier of rsaEncryption, then an OCTET STRING with a length of two bytes.
        der[4 + 3 + 15 + 4..].to_vec()
    }

    #[test]
    fn a_private_key_is_read_in_every_form() {
        let bare = STANDARD.encode(pkcs8());
        let wrapped: Vec<&str> = bare
            .as_bytes()
            .chunks(64)
            .map(|c| std::str::from_utf8(c).unwrap())
            .collect();
        for text in [
            bare.clone(),
            wrapped.join("\r\n"),
            pem("PRIVATE KEY", &pkcs8()),
            format!("some words before\n{}", pem("PRIVATE KEY", &pkcs8())),
            STANDARD.encode(pkcs1()),
            pem("RSA PRIVATE KEY", &pkcs1()),
        ] {
            let key = AppKey::read(&text).unwrap_or_else(|e| panic!("{e}\n{text}"));
            let signature = key.sign(b"content").unwrap();
            let public: PublicKeyX509Der<'_> = OURS.public_key().as_der().unwrap();
            let public = AlipayKey::of_der("alipay_public_key", public.as_ref()).unwrap();
            assert!(public.verifies(b"content", signature.as_bytes()));
            assert_eq!(key.public(), public.public());
        }
    }

    #[test]
    fn what_is_no_private_key_is_refused_and_not_shown() {
        let secret = STANDARD.encode(pkcs8());
        let public = STANDARD.encode(THEIRS.public_key().as_ref());
        for text in [
            String::new(),
            "no key".into(),
            secret[..secret.len() / 2].into(),
            public,
            format!("-----BEGIN PRIVATE KEY-----\n{secret}"),
            format!(
                "{}\n{}",
                pem("PRIVATE KEY", &pkcs8()),
                pem("PRIVATE KEY", &pkcs8())
            ),
            format!("{}{secret}", "A".repeat(PEM_BYTES_MAX)),
        ] {
            let error = AppKey::read(&text)
                .err()
                .unwrap_or_else(|| panic!("{text} is no key"));
            let shown = format!("{error} {error:?}");
            assert!(shown.contains("app_private_key"), "{shown}");
            assert_eq!(error.code(), "validation");
            assert!(!shown.contains(&secret[40..60]), "{shown}");
        }
    }

    #[test]
    fn a_public_key_is_read_in_every_form() {
        let spki: PublicKeyX509Der<'_> = THEIRS.public_key().as_der().unwrap();
        for text in [
            STANDARD.encode(spki.as_ref()),
            pem("PUBLIC KEY", spki.as_ref()),
            STANDARD.encode(THEIRS.public_key().as_ref()), // PKCS#1
        ] {
            let key = AlipayKey::read("alipay_public_key", &text).unwrap();
            assert_eq!(key.public().unwrap(), spki.as_ref());
        }
        let error = AlipayKey::read("alipay_public_key", "no key").err().unwrap();
        assert!(error.to_string().contains("alipay_public_key"), "{error}");
    }

    #[test]
    fn a_signature_of_another_algorithm_is_none() {
        use aws_lc_rs::signature::{RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding};
        let key = AlipayKey::of_der("k", THEIRS.public_key().as_ref()).unwrap();
        let sign = |algorithm: &'static dyn RsaEncoding| {
            let mut signature = vec![0; THEIRS.public_modulus_len()];
            THEIRS
                .sign(algorithm, &SystemRandom::new(), b"content", &mut signature)
                .unwrap();
            STANDARD.encode(signature)
        };
        assert!(key.verifies(b"content", sign(&RSA_PKCS1_SHA256).as_bytes()));
        assert!(!key.verifies(b"content", sign(&RSA_PKCS1_SHA512).as_bytes()));
        assert!(!key.verifies(b"content", sign(&RSA_PSS_SHA256).as_bytes()));
        assert!(!key.verifies(b"content", b""));
        assert!(!key.verifies(b"content", b"*"));
    }
}
