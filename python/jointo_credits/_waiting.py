"""How the sync ledger gets an answer."""

from __future__ import annotations

from typing import TypeVar

from ._native import Operation

T = TypeVar("T")


def run(operation: Operation[T]) -> T:
    """The answer; the GIL is released meanwhile."""
    return operation.wait()
