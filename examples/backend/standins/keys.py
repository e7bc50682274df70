"""Keys of channels and merchants: they live as long as the process that makes them."""

from __future__ import annotations

import base64
import functools
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID


@functools.cache
def key_of(who: str) -> rsa.RSAPrivateKey:
    """Somebody's key: the same for as long as this process lives."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(who: str) -> str:
    return key_of(who).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(who: str) -> str:
    return key_of(who).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(who: str, message: bytes, digest: HashAlgorithm | None = None) -> str:
    """RSA PKCS#1 v1.5, in base64; with SHA-256 where nothing else is said."""
    return base64.b64encode(key_of(who).sign(message, padding.PKCS1v15(), digest or SHA256())).decode()


def has_signed(who: str, message: bytes, signature: str) -> bool:
    try:
        decoded = base64.b64decode(signature, validate=True)
        key_of(who).public_key().verify(decoded, message, padding.PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


@functools.cache
def certificate(who: str, issuer: str) -> x509.Certificate:
    """Somebody's certificate, which is good for a day."""

    def name(of: str) -> x509.Name:
        parts = {
            NameOID.COUNTRY_NAME: "CN",
            NameOID.ORGANIZATION_NAME: "A stand-in",
            NameOID.ORGANIZATIONAL_UNIT_NAME: "Tests",
            NameOID.COMMON_NAME: of,
        }
        return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts.items()])

    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name(issuer), name(who), key_of(who).public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=12)).not_valid_after(now + timedelta(hours=12))
    return builder.sign(key_of(issuer), SHA256())


def certificate_pem(who: str, issuer: str) -> str:
    return certificate(who, issuer).public_bytes(Encoding.PEM).decode()
