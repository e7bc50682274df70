"""Signatures: of sign-in tokens, and of what the AI service calls back with."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import time
import uuid
from collections.abc import Mapping
from typing import Any

#: A callback that is older could be somebody's recording.
FRESH_SECONDS = 300


def _mac(secret: str, *parts: bytes) -> str:
    return hmac.new(secret.encode(), b".".join(parts), hashlib.sha256).hexdigest()


def token(secret: str, user_id: uuid.UUID) -> str:
    """What a user shows to be who they are."""
    return f"{user_id}.{_mac(secret, b'user', user_id.bytes)}"


def user_of(secret: str, token: str) -> uuid.UUID | None:
    """Whose token it is; None where it is nobody's."""
    name, _, signature = token.partition(".")
    try:
        user_id = uuid.UUID(name)
    except ValueError:
        return None
    return user_id if hmac.compare_digest(_mac(secret, b"user", user_id.bytes).encode(), signature.encode()) else None


def signed(secret: str, message: Mapping[str, Any]) -> tuple[bytes, dict[str, str]]:
    """A callback's body and headers."""
    body, at = json.dumps(message, ensure_ascii=False).encode(), str(int(time.time()))
    signature = _mac(secret, b"callback", at.encode(), body)
    return body, {"Content-Type": "application/json", "X-Timestamp": at, "X-Signature": signature}


def is_genuine(secret: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Whether the raw body of a callback is from whom it should be, and fresh."""
    at, signature = headers.get("x-timestamp", ""), headers.get("x-signature", "")
    if not re.fullmatch("[0-9]{1,12}", at) or abs(time.time() - int(at)) > FRESH_SECONDS:
        return False
    return hmac.compare_digest(_mac(secret, b"callback", at.encode(), body).encode(), signature.encode())
