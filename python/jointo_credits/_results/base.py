"""What all results have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar

from .._native import Quote

T = TypeVar("T")


def plain(value: Any) -> Any:
    if isinstance(value, (Result, Quote)):
        return value.to_dict()
    if isinstance(value, tuple):
        return list(map(plain, value))  # pyright: ignore[reportUnknownArgumentType]
    return value


class Result:
    """A result: frozen, without a dictionary."""

    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; results within become dicts too, ids, times and decimals stay what they are."""
        return {part.name: plain(getattr(self, part.name)) for part in fields(self)}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Page(Result, Generic[T]):
    """A part of a list, newest first. Iterating gives its items."""

    items: tuple[T, ...]
    """The items, newest first."""
    next_cursor: str | None
    """Where the next page begins; None after the last one."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)
