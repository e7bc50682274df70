"""The figures of a statement."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Result
from .vocabulary import Kind


@dataclass(frozen=True, slots=True)
class StatementBalance(Result):
    """What an account had at one end of a statement."""

    available: int
    """Credits that could be spent; below zero in debt."""
    held: int
    """Credits in pending holds."""

    @property
    def total(self) -> int:
        """Both together."""
        return self.available + self.held


@dataclass(frozen=True, slots=True)
class StatementTotals(Result):
    """What came and went, none of it below zero."""

    granted: int
    """Credits that came in."""
    taken_back: int
    """Granted credits that were taken back: clawbacks, refunded orders, corrections downwards."""
    spent: int
    """Credits captured."""
    refunded: int
    """Captured credits that were given back."""
    expired: int
    """Credits that expired."""

    @property
    def net(self) -> int:
        """``closing.total - opening.total``."""
        return self.granted - self.taken_back - self.spent + self.refunded - self.expired


@dataclass(frozen=True, slots=True)
class KindTotal(Result):
    """What entries of one kind did."""

    kind: Kind
    """The kind of entry."""
    entries: int
    """How many there are."""
    change: int
    """Sum of their changes of `available`."""
    held_change: int
    """Sum of their changes of `held`."""


@dataclass(frozen=True, slots=True)
class FeatureTotal(Result):
    """What one feature cost."""

    feature: str | None
    """The feature; None for consumptions without one."""
    captures: int
    """How many consumptions were captured."""
    spent: int
    """Credits captured."""
    refunded: int
    """Captured credits that were given back, also of captures before the interval."""
