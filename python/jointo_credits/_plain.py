"""Results where only text goes: on the command line and over HTTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID


def rfc3339(at: datetime) -> str:
    """A time as text, in UTC."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return rfc3339(value)
    if isinstance(value, (UUID, Decimal)):
        return str(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"{type(value).__name__} has no JSON")


def as_json(value: Any) -> str:
    """JSON in one line: ids and decimals as text, times in RFC 3339."""
    return json.dumps(value, default=_plain, ensure_ascii=False)
