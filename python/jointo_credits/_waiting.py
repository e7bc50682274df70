"""How the sync ledger gets an answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ._native import Operation

T = TypeVar("T")


def run(operation: Operation[T]) -> T:
    """The answer; the GIL is released meanwhile."""
    return operation.wait()


def pause() -> None:
    """Nobody else waits for a sync ledger's thread."""


def finish(result: T) -> T:
    """What a call gave: nothing cuts a sync one off."""
    return result


def acquire(result: T, undo: Callable[[T], object]) -> T:
    """What a call gave: nothing comes between it and its caller."""
    return result
