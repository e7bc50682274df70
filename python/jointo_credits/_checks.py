"""Arguments that are checked before the library sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from ._errors import ValidationError


def _part(value: Any) -> Any:
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, Mapping):
        return dict(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    raise TypeError(f"{type(value).__name__} has no place in a rate card")


def card_text(card: Mapping[str, Any] | str) -> str:
    """A card as JSON.

    Raises:
        ValidationError: It can't be written as JSON.
    """
    if isinstance(card, str):
        return card
    try:
        return json.dumps(card, default=_part, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValidationError(
            f"card: can't be written as JSON: {error}",
            field="card",
            problem="can't be written as JSON",
            limit="docs/rate-card.schema.json",
            value=type(card).__name__,
            path="$",
        ) from error


def check_credits(field: str, amount: object) -> None:
    """Checks a number of credits, 0 included.

    Raises:
        ValidationError: It is none.
    """
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
        problem = "must be a whole number of credits, 0 or more"
        value = repr(amount)[:80]
        raise ValidationError(
            f"{field}: {problem} (got {value})", field=field, problem=problem, limit="0 or more", value=value
        )
