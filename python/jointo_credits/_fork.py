"""What has to happen around `os.fork`, which Celery's prefork workers begin with.

A ledger's threads and connections belong to one process. A child makes its own when it first calls; here is only what
the parent has to do before: no connection to a SQLite file may be open while it forks.
"""

from __future__ import annotations

import os
from weakref import WeakSet

from ._native import NativeLedger

_ledgers: WeakSet[NativeLedger] = WeakSet()
# The forking thread's: other threads may make or drop ledgers while it waits.
_suspended: list[list[NativeLedger]] = []


def remember(ledger: NativeLedger) -> NativeLedger:
    """Counts a ledger among those that a fork has to wait for."""
    _ledgers.add(ledger)
    return ledger


def _before() -> None:
    ledgers = list(_ledgers)
    _suspended.append(ledgers)
    for ledger in ledgers:
        ledger.before_fork()


def _after_in_parent() -> None:
    for ledger in _suspended.pop():
        ledger.after_fork_in_parent()


def _after_in_child() -> None:
    _suspended.clear()
    for ledger in list(_ledgers):
        ledger.after_fork_in_child()


os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
