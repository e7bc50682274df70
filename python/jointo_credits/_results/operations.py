"""What operators ask for: sweeps, clean-ups, audits, figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from .accounts import Transaction
from .base import Result


@dataclass(frozen=True, slots=True)
class Matured(Result):
    """What a sweep wrote down."""

    holds: int
    """Holds that expired."""
    released: int
    """Credits of those that are back."""
    lots: int
    """Lots that expired."""
    expired: int
    """Credits that expired with them."""


@dataclass(frozen=True, slots=True)
class CleanedUp(Result):
    """What a clean-up did."""

    before: datetime
    """What is older has left, unless it had to stay."""
    archived: int
    """Rows that were written into the archive; with ``dry_run``, that would be."""
    removed: int
    """Rows that left the database; with ``dry_run``, that would."""
    kept: int
    """Rows that are in the archive and stayed, because an order needs them."""
    files: tuple[str, ...]
    """The files that were written."""
    bytes: int
    """Their size in bytes."""
    more: bool
    """Whether the limit ended it: another call goes on, if anything is left."""


@dataclass(frozen=True, slots=True)
class ArchiveFile(Result):
    """A file of the archive, as the database knows it."""

    name: str
    """Its name in the archive."""
    kind: Literal["transactions", "consumptions"]
    """What its rows are."""
    older_than: datetime
    """Everything in it is older."""
    lines: int
    """Rows."""
    bytes: int
    """Its size."""
    sha256: str
    """Its SHA-256, in hexadecimal."""
    created_at: datetime
    """When it was written."""
    removed_at: datetime | None
    """When everything in it had left the database."""


@dataclass(frozen=True, slots=True)
class Problem(Result):
    """Something about a database that should be put right."""

    what: str
    """What is wrong."""
    remedy: str
    """What to do."""


@dataclass(frozen=True, slots=True)
class Inspection(Result):
    """What a look at the database found."""

    database: str
    """The database and its version, such as ``PostgreSQL 15.18``."""
    round_trip: timedelta
    """How long one question took."""
    clock_skew: timedelta | None
    """The database's clock less the ledger's; None where it has no clock of its own."""
    problems: tuple[Problem, ...]
    """What should be put right, worst first."""


@dataclass(frozen=True, slots=True)
class Answers(Result):
    """How many commands of a kind ended in the same way."""

    operation: str
    """Which command: ``consume``, ``confirm``, ...; ``expire`` for a sweep's."""
    outcome: str
    """``ok``, or the error's ``code``."""
    count: int
    """How many."""


@dataclass(frozen=True, slots=True)
class Histogram(Result):
    """Values by size."""

    name: str
    """What the values are of: an operation, or ``batches``."""
    buckets: tuple[tuple[int, int], ...]
    """Each bucket's upper bound, and how many values are in it and not in one before."""
    above: int
    """How many are above all bounds."""
    sum: int
    """The sum of all values."""


@dataclass(frozen=True, slots=True)
class CacheStats(Result):
    """What this process's cache for balances has done. Counts only grow."""

    hits: int
    """Balances that were told from the cache."""
    misses: int
    """Balances that were looked up in the cache, and read from the database."""
    away: int
    """Calls that the cache was away for: balances read without it, and batches whose balances were not put."""


@dataclass(frozen=True, slots=True)
class Stats(Result):
    """What this process's ledger has done since it was connected. Counts only grow."""

    answers: tuple[Answers, ...]
    """How many commands ended how; those that never did are not listed."""
    latencies: tuple[Histogram, ...]
    """How long callers waited, in microseconds, by operation: from the queue to the answer."""
    batches: Histogram
    """How many commands were read, decided and written together."""
    queued: int
    """Commands that wait for their turn just now."""
    matured: Matured
    """What was written down as past its deadline, by sweeps and by other commands on the way."""
    cache: CacheStats | None
    """What the cache for balances has done; ``None`` without one."""


@dataclass(frozen=True, slots=True)
class PendingHolds(Result):
    """The holds of all accounts that wait for their job's end."""

    holds: int
    """How many are live."""
    credits: int
    """The credits in them."""
    overdue: int
    """How many more have passed their deadline, and nobody has written that down yet: how late `expire_pending` is."""


@dataclass(frozen=True, slots=True)
class Fault(Result):
    """Something in the books that does not fit."""

    user_id: UUID
    """The account; all zeros where it is about none."""
    seq: int | None
    """The entry, where it is about one."""
    id: UUID | None
    """The lot, consumption, order, package or rate card, where it is about one; for a gift, the lot that was given."""
    kind: Literal[
        "sequence",
        "hash",
        "entry",
        "account",
        "lot",
        "hold",
        "gift",
        "order",
        "archive",
        "checkpoint",
        "package",
        "pricing",
        "schema",
        "anchor",
    ]
    """What kind of fault."""
    detail: str
    """What is there, and what should be."""


@dataclass(frozen=True, slots=True)
class Verification(Result):
    """What an audit found."""

    accounts: int
    """Accounts audited."""
    entries: int
    """Entries audited."""
    lots: int
    """Lots audited."""
    holds: int
    """Consumptions audited."""
    orders: int
    """Orders audited."""
    anchored: int
    """Accounts that were compared with an anchor."""
    anchored_archived: int
    """Of these, those whose anchored entry has left the database, so that only the archive can show it."""
    fault_count: int
    """Faults found."""
    faults: tuple[Fault, ...]
    """The first thousand of them."""

    @property
    def is_clean(self) -> bool:
        """Whether everything fits."""
        return self.fault_count == 0


@dataclass(frozen=True, slots=True)
class Proved(Result):
    """What a proof shows of an account."""

    user_id: UUID
    """The account."""
    last: Transaction
    """Its last entry when the anchor was made."""
    first_seq: int
    """The number of the first entry that the proof has: 1, unless older ones have left the database."""
    entries: int
    """How many entries it has."""


@dataclass(frozen=True, slots=True)
class TrialBalance(Result):
    """All accounts against all counter-accounts."""

    available: int
    """Sum of all `available`."""
    held: int
    """Sum of all `held`."""
    counter_accounts: dict[str, int] = field(hash=False)
    """What was booked on each counter-account: negative where credits came from, positive where they went."""

    @property
    def total(self) -> int:
        """Everything together: zero, or credits came from nowhere."""
        return self.available + self.held + sum(self.counter_accounts.values())

    @property
    def is_balanced(self) -> bool:
        """Whether the total is zero."""
        return self.total == 0
