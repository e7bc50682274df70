"""Numbers that come over the wire. They keep their text until it is known that they can be computed with.

A number in JSON and a number in text are read alike, and by the same reader that reads them from Python: the core's
`parse_decimal` gets their text. So 0.1 is a tenth, and 1e1000000000 no work.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

#: The longest number, in characters: more than twice the digits that one may have.
CHARACTERS_MAX = 64
#: As `parse_decimal` of the core reads it, without a sign. Its exponent is small enough to be computed with.
_NUMBER = re.compile(r"(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,4})?")


@dataclass(frozen=True, slots=True)
class Written:
    """A number of a JSON text that is no plain whole one, as it stands there."""

    text: str


def number(value: Any) -> str:
    """A number of 0 or more, as text that means exactly what was sent."""
    if isinstance(value, Written):
        text = value.text
    elif isinstance(value, str):
        text = value
    elif isinstance(value, int) and not isinstance(value, bool):
        text = str(value)
    else:
        raise ValueError("must be a number, or text of one")
    if len(text) > CHARACTERS_MAX or not _NUMBER.fullmatch(text):
        raise ValueError("must be a number of 0 or more, such as 5, 0.5 or 1e3")
    return text


def whole(value: Any) -> int:
    """A whole number. JSON has one kind of numbers, so 5.0 and 1e2 are some; "5" and true are none."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if not isinstance(value, Written):
        raise ValueError("must be a whole number")
    exact = Decimal(number(value))
    # Not made an `int` before it is known to be a short one.
    if exact.adjusted() > 18:
        raise ValueError("is too large")
    found = int(exact)
    if found != exact:
        raise ValueError("must be a whole number")
    return found


def digits(value: Any) -> int:
    """A whole number in a query, which is text: nothing but digits, and these of ASCII."""
    if not isinstance(value, str):
        return whole(value)  # the default
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise ValueError("must be a whole number, in digits")
    return int(value)


def plain(value: Any) -> Any:
    """What was sent, for who does not count with it: numbers are those of Python's JSON."""
    if isinstance(value, Written):
        if value.text == "-0":
            return 0
        found = float(value.text)
        if len(value.text) > CHARACTERS_MAX or found in (float("inf"), float("-inf")):
            raise ValueError("has a number that is too large, or too long")
        return found
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}  # pyright: ignore[reportUnknownVariableType]
    if isinstance(value, list):
        return [plain(each) for each in value]  # pyright: ignore[reportUnknownVariableType]
    return value


__all__ = ["CHARACTERS_MAX", "Written", "digits", "number", "plain", "whole"]
