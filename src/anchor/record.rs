//! An anchor as it is kept elsewhere: one line of JSON, signed.
//!
//! ```json
//! {"jointo_credits_anchor":1,"ledger":"…","number":3,"at_us":1764576000000000,"accounts":2,"available":"120","held":"5","root":"…","previous":"…","key":"…","signature":"…"}
//! ```
//!
//! The members stand in this order, without spaces. What is signed (Ed25519) is the line without `,"signature":"…"`, behind
//! the text `jointo_credits anchor 1` and a line feed. `previous` is the SHA-256 of the line of the anchor before, and `null`
//! in the first; `key` and `signature` are `null` in an anchor that is not signed.

use crate::error::Error;
use crate::ledger::{Hash, Timestamp};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer};
use serde::{Deserialize, Serialize};
use std::fmt;
use uuid::Uuid;

const VERSION: u32 = 1;
/// An anchor is a line of less than 800 bytes.
const RECORD_BYTES_MAX: usize = 4_096;
/// What stands before the 32 bytes of a key in a SubjectPublicKeyInfo of Ed25519 (RFC 8410).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The heads of all journals at one moment, to be kept where whoever can write to the database can't.
///
/// Its text is what is kept: [`Display`](fmt::Display) writes it, [`parse`](Anchor::parse) reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The ledger it is of.
    pub ledger_id: Uuid,
    /// 1, 2, 3 ... for each ledger.
    pub number: i64,
    /// When it was made, by the ledger's clock.
    pub at: Timestamp,
    /// How many accounts it covers.
    pub accounts: u64,
    /// The sum of their `available`.
    pub available: i128,
    /// The sum of their `held`.
    pub held: i128,
    /// The root of the tree of their journals' heads.
    pub root: Hash,
    /// The hash of the anchor before.
    pub previous: Option<Hash>,
    /// The public key that it is signed with; `None` where it is not signed.
    pub key: Option<PublicKey>,
    signature: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    #[serde(rename = "jointo_credits_anchor")]
    version: u32,
    ledger: Uuid,
    number: i64,
    at_us: Timestamp,
    accounts: u64,
    available: String,
    held: String,
    root: String,
    previous: Option<String>,
    key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    signature: Option<Option<String>>,
}

fn invalid(problem: &'static str, value: impl ToString) -> Error {
    let value: String = value.to_string().chars().take(120).collect();
    Error::invalid("anchor", problem, "the line that anchor() gave, unchanged", value)
}

impl Anchor {
    /// Reads an anchor. Who signed it is checked by whoever is told whom to trust.
    ///
    /// # Errors
    /// `validation` where it is not, to the byte, an anchor's text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.len() > RECORD_BYTES_MAX {
            return Err(invalid(
                "is too long to be an anchor",
                format!("{} bytes", text.len()),
            ));
        }
        let line: Line =
            serde_json::from_str(text).map_err(|error| invalid("is no anchor", error.to_string()))?;
        if line.version != VERSION {
            return Err(invalid(
                "is of a version that this release can't read",
                line.version,
            ));
        }
        let anchor = Anchor::of(line).ok_or_else(|| invalid("is no anchor", text))?;
        if anchor.to_string() != text {
            return Err(invalid("is not as it was written", text));
        }
        Ok(anchor)
    }

    fn of(line: Line) -> Option<Self> {
        let signature = match line.signature.flatten().as_deref() {
            Some(digits) => Some(
                hex::decode(digits)
                    .ok()
                    .filter(|signature| signature.len() == 64)?,
            ),
            None => None,
        };
        let hash = |digits: &str| Hash::parse(digits);
        Some(Anchor {
            ledger_id: line.ledger,
            number: line.number,
            at: line.at_us,
            accounts: line.accounts,
            available: line.available.parse().ok()?,
            held: line.held.parse().ok()?,
            root: hash(&line.root)?,
            previous: match line.previous.as_deref() {
                Some(digits) => Some(hash(digits)?),
                None => None,
            },
            key: match line.key.as_deref() {
                Some(digits) => Some(PublicKey(hash(digits)?.0)),
                None => None,
            },
            signature,
        })
    }

    #[allow(clippy::too_many_arguments)] // Each is a member of the line.
    pub(super) fn sign(
        ledger_id: Uuid,
        number: i64,
        at: Timestamp,
        (accounts, available, held): (u64, i128, i128),
        root: Hash,
        previous: Option<Hash>,
        signing: &Signing,
    ) -> Self {
        let key = match signing {
            Signing::With(key) => Some(key),
            Signing::Unsigned => None,
        };
        let mut anchor = Anchor {
            ledger_id,
            number,
            at,
            accounts,
            available,
            held,
            root,
            previous,
            key: key.map(AnchorKey::public),
            signature: None,
        };
        anchor.signature = key.map(|key| key.0.sign(anchor.signed().as_bytes()).as_ref().to_vec());
        anchor
    }

    /// The SHA-256 of its text.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash::of(self.to_string().as_bytes())
    }

    /// Checks that it is signed by whoever is trusted.
    ///
    /// # Errors
    /// `validation`, and what is wrong with it.
    pub fn check(&self, trust: &Trust) -> Result<(), Error> {
        match (trust, &self.key, &self.signature) {
            (Trust::Unsigned, None, None) => Ok(()),
            (Trust::Unsigned, ..) => Err(invalid(
                "is signed: say with which public key, instead of asking for one without a signature",
                self,
            )),
            (Trust::Key(_), None, _) => Err(invalid("is not signed", self)),
            (Trust::Key(trusted), Some(key), _) if key != trusted => {
                Err(invalid("is signed with another key than the trusted one", key))
            }
            (Trust::Key(trusted), _, signature) => {
                let key = UnparsedPublicKey::new(&ED25519, trusted.0);
                key.verify(self.signed().as_bytes(), signature.as_deref().unwrap_or_default())
                    .map_err(|_| invalid("has a signature that is not its own", self))
            }
        }
    }

    fn line(&self) -> Line {
        Line {
            version: VERSION,
            ledger: self.ledger_id,
            number: self.number,
            at_us: self.at,
            accounts: self.accounts,
            available: self.available.to_string(),
            held: self.held.to_string(),
            root: self.root.to_string(),
            previous: self.previous.map(|hash| hash.to_string()),
            key: self.key.map(|key| key.to_string()),
            signature: None,
        }
    }

    /// What is signed.
    fn signed(&self) -> String {
        // Numbers and strings only; serialising those can't fail.
        let line = serde_json::to_string(&self.line()).unwrap_or_default();
        format!("jointo_credits anchor 1\n{line}")
    }
}

impl fmt::Display for Anchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = Line {
            signature: Some(self.signature.as_deref().map(hex::encode)),
            ..self.line()
        };
        f.write_str(&serde_json::to_string(&line).unwrap_or_default())
    }
}

/// What anchors are signed with: an Ed25519 key. It is used and never stored.
pub struct AnchorKey(Ed25519KeyPair);

impl fmt::Debug for AnchorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AnchorKey({})", self.public())
    }
}

impl AnchorKey {
    /// From the PEM text that `openssl genpkey -algorithm ed25519` writes.
    ///
    /// # Errors
    /// `validation` where it is none.
    pub fn from_pem(pem: &str) -> Result<Self, Error> {
        let wrong = || {
            // The text is not shown: it may be a key of another kind.
            Error::invalid(
                "key",
                "is no private key for anchors",
                "a PEM file made by: openssl genpkey -algorithm ed25519",
                format!("{} bytes", pem.len()),
            )
        };
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| wrong())?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der.secret_pkcs8_der()).map_err(|_| wrong())?;
        Ok(AnchorKey(pair))
    }

    /// The key that its signatures are checked with.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        let key = self.0.public_key().as_ref();
        bytes.iter_mut().zip(key).for_each(|(to, from)| *to = *from);
        PublicKey(bytes)
    }
}

/// What signatures of anchors are checked with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// From 64 hexadecimal digits, as they stand in an anchor, or from the PEM text that `openssl pkey -pubout` writes.
    ///
    /// # Errors
    /// `validation` where it is neither.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let wrong = || {
            let shown: String = text.chars().take(80).collect();
            let limit = "64 hexadecimal digits, or a PEM file made by: openssl pkey -pubout";
            Error::invalid("public_key", "is no public key of anchors", limit, shown)
        };
        if !text.starts_with("-----") {
            let mut key = [0; 32];
            return hex::decode_to_slice(text, &mut key)
                .map(|()| PublicKey(key))
                .map_err(|_| wrong());
        }
        let der = SubjectPublicKeyInfoDer::from_pem_slice(text.as_bytes()).map_err(|_| wrong())?;
        let key = der.as_ref().strip_prefix(&SPKI).ok_or_else(wrong)?;
        key.try_into().map(PublicKey).map_err(|_| wrong())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether an anchor is signed.
#[derive(Debug)]
pub enum Signing {
    /// With this key.
    With(AnchorKey),
    /// Not at all: then it has to be kept where nobody can change it.
    Unsigned,
}

/// Whose anchors are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Those that are signed with this key.
    Key(PublicKey),
    /// Those that are not signed: whoever keeps them answers for them.
    Unsigned,
}
