"""Idempotency keys that come over the network.

- **They have a space of their own**, one for users, one for services and one for administrators: what is kept begins
  with ``jointo.http/`` and who it was. So no user can use up a key that a service, an administrator, or the host's own
  code has for another request of the same account.
- **A key is the text that was sent**, the same as a header and as a field: a header is UTF-8, as a body is. Nothing is
  normalised: two texts that look alike are two keys.
- **One request has one key.** A header that comes twice is refused, also where both say the same; so is a header that
  says something else than the field.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import Header, Request

from .. import IdempotencyConflictError, ValidationError
from ._models import KEY_BYTES_MAX, short

Caller = Literal["user", "service", "admin"]

_NAME = "Idempotency-Key"


def _wrong(problem: str) -> ValidationError:
    return ValidationError(f"{_NAME}: {problem}", field="idempotency_key", problem=problem)


_documented: Any = Header(
    None,
    alias=_NAME,
    description="Makes repeating it safe: the same key gives the first answer. Text in UTF-8, taken as it is.",
    json_schema_extra={"minLength": 1, "maxLength": KEY_BYTES_MAX},
)


def idempotency_key(request: Request, documented: str | None = _documented) -> str | None:
    """A dependency that gives the header ``Idempotency-Key``: None where none was sent.

    Raises:
        ValidationError: It was sent more than once, is not UTF-8, is empty or longer than 255 bytes, or has a NUL.
    """
    sent = [value for name, value in request.headers.raw if name.lower() == b"idempotency-key"]
    if not sent:
        return None
    if len(sent) > 1:
        raise _wrong("the header was sent more than once; send it once")
    try:
        # Not as the server has decoded it: that is latin-1, which makes another text of what a body says in UTF-8.
        key = sent[0].decode("utf-8")
    except UnicodeDecodeError:
        raise _wrong("the header is not UTF-8") from None
    if not key:
        raise _wrong("the header is empty")
    try:
        return short(key)
    except ValueError as error:
        raise _wrong(str(error)) from None


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key: as it was sent, and as it is kept."""

    sent: str | None
    kept: str | None

    @classmethod
    def of(cls, caller: Caller, header: str | None, field: str | None) -> Key:
        """The key, which comes as a header or as a field."""
        if header is not None and field is not None and header != field:
            raise _wrong("the header and the field differ; send one of them")
        sent = header if header is not None else field
        if sent is None:
            return cls(None, None)
        kept = f"jointo.http/{caller}/{sent}"
        if len(kept.encode()) > KEY_BYTES_MAX:
            # No key that is short enough begins like this.
            kept = f"jointo.http/{caller}#{hashlib.sha256(sent.encode()).hexdigest()}"
        return cls(sent, kept)

    @contextmanager
    def told(self) -> Generator[str | None]:
        """Gives the key to be kept; what goes wrong is told with the one that was sent."""
        try:
            yield self.kept
        except IdempotencyConflictError as conflict:
            message = conflict.message.replace(str(self.kept), str(self.sent))
            raise IdempotencyConflictError(message, key=self.sent) from None


__all__ = ["Caller", "Key", "idempotency_key"]
