"""Arguments that are checked before the library sees them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

from ._errors import ValidationError

#: How deep a card may be nested, by far.
_DEPTH_MAX = 32
#: More values and characters than any card may have. The library says how long one may be.
_ROOM = 256 * 1024


class _NotExact(ValueError):
    """A float, and where it is."""

    def __init__(self, path: str) -> None:
        super().__init__("is a float, which is not exact")
        self.path = path


class _Room:
    """What is left of `_ROOM`: an iterable may have no end, and a card the same part over and over."""

    def __init__(self) -> None:
        self._left = _ROOM

    def take(self, much: int) -> None:
        self._left -= much
        if self._left < 0:
            raise ValueError(f"it is longer than {_ROOM} characters")


def _exact(value: Any, room: _Room, path: str = "$", depth: int = 0) -> Any:
    """A card's part as JSON has it."""
    room.take(1 + len(value) if isinstance(value, str) else 1)
    if depth > _DEPTH_MAX:
        raise ValueError(f"it is nested more than {_DEPTH_MAX} deep")
    if isinstance(value, float):
        raise _NotExact(path)
    if isinstance(value, (Decimal, UUID)):
        return str(value)
    if isinstance(value, Mapping):
        named: Mapping[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {name: _exact(part, room, f"{path}.{name}", depth + 1) for name, part in named.items()}
    if isinstance(value, (list, tuple)):
        parts = cast(Sequence[Any], value)
        return [_exact(part, room, f"{path}[{index}]", depth + 1) for index, part in enumerate(parts)]
    return value


def card_text(card: Mapping[str, Any] | str) -> str:
    """A card as JSON.

    Raises:
        ValidationError: It can't be written as JSON, or has a float.
    """
    if isinstance(card, str):
        return card
    limit, path = "docs/rate-card.schema.json", "$"
    try:
        return json.dumps(_exact(card, _Room()), ensure_ascii=False, allow_nan=False)
    except _NotExact as error:
        problem, path = str(error), error.path
        limit = "a Decimal, an int, or text such as '0.5'"
        told = f"{path}: {problem}; write {limit}"
    except (TypeError, ValueError, RecursionError) as error:
        problem = "can't be written as JSON"
        told = f"{problem}: {error}"
    raise ValidationError(
        f"card: {told}", field="card", problem=problem, limit=limit, value=type(card).__name__, path=path
    )


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
