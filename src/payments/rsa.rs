//! RSA signatures, as both channels make them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PKCS1_SHA256;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A signature in base64: RSA PKCS#1 v1.5 with SHA-256, which is all that either channel takes. `None` where the
/// cryptographic library fails; it has no reason to.
pub(super) fn sign(key: &KeyPair, message: &[u8]) -> Option<String> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
        .ok()?;
    Some(STANDARD.encode(signature))
}
