"""What calls return: frozen dataclasses that compare, hash and pickle by value. ``to_dict()`` gives plain dicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from ._native import Quote

__all__ = [
    "Answers",
    "Balance",
    "ClawbackReceipt",
    "Consumption",
    "Expiring",
    "Explanation",
    "Fault",
    "Histogram",
    "Inspection",
    "Lot",
    "Matured",
    "Money",
    "Package",
    "Page",
    "PaidFrom",
    "PendingHolds",
    "Pin",
    "Pricing",
    "Problem",
    "Quote",
    "QuoteLine",
    "Receipt",
    "Settlement",
    "Stats",
    "Transaction",
    "TrialBalance",
    "Verification",
]

Status = Literal["pending", "confirmed", "refunded", "expired"]
Source = Literal["purchase", "bonus", "gift", "subscription", "adjustment", "reversal", "opening"]
Kind = Literal[
    "grant",
    "gift",
    "consume",
    "confirm",
    "refund",
    "reverse",
    "extend",
    "expire_hold",
    "expire_lot",
    "adjust",
    "credit_limit",
    "clawback",
]

T = TypeVar("T")


def _plain(value: Any) -> Any:
    if isinstance(value, (_Result, Quote)):
        return value.to_dict()
    if isinstance(value, tuple):
        return list(map(_plain, value))  # pyright: ignore[reportUnknownArgumentType]
    return value


class _Result:
    __slots__ = ()

    def to_dict(self) -> dict[str, Any]:
        """The fields by name; results within become dicts too, ids, times and decimals stay what they are."""
        return {part.name: _plain(getattr(self, part.name)) for part in fields(self)}  # type: ignore[arg-type]


# The library makes these by position: the order of the fields is that of `bindings/python/src/answers.rs`.


@dataclass(frozen=True, slots=True)
class Expiring(_Result):
    """Credits that will expire together."""

    at: datetime
    amount: int


@dataclass(frozen=True, slots=True)
class Balance(_Result):
    """What an account has."""

    #: Whose it is.
    user_id: UUID
    #: Credits that can be spent now, without the credit limit; below zero where the account is in debt.
    available: int
    #: Credits in live holds.
    held: int
    #: Credits owed.
    debt: int
    #: How far below zero `consume` may go.
    credit_limit: int
    #: Credits granted in the account's life.
    granted: int
    #: Credits spent in the account's life, reversals taken off.
    spent: int
    #: What will expire, and when, soonest first.
    expiring: tuple[Expiring, ...]
    #: The number of the last entry in the account's journal.
    seq: int
    #: When this was so.
    at: datetime


@dataclass(frozen=True, slots=True)
class Pin(_Result):
    """Credits of one lot that pay for a consumption."""

    lot_id: UUID
    amount: int


@dataclass(frozen=True, slots=True)
class Consumption(_Result):
    """One use of credits: a hold while `pending`, then `confirmed`, `refunded` or `expired`."""

    #: Its id, for `confirm`, `refund`, `extend`.
    id: UUID
    #: The account.
    user_id: UUID
    #: How it stands.
    status: Status
    #: Credits that were held.
    amount: int
    #: Credits that were spent.
    captured: int
    #: Credits of those that were given back.
    reversed: int
    #: Credits that no lot paid for: they are owed.
    borrowed: int
    #: The lots that pay for it.
    lots: tuple[Pin, ...]
    #: What it is for.
    feature: str | None
    #: The caller's own name for it.
    reference: str | None
    #: What the caller gave with it.
    metadata: dict[str, Any] | None = field(hash=False)
    #: When it was made.
    created_at: datetime
    #: The hold's deadline.
    expires_at: datetime
    #: When it was confirmed, refunded or expired.
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Settlement(_Result):
    """How a job ended, for the books."""

    #: Its credits are spent, or back; or the work was done and can't be paid any more.
    outcome: Literal["charged", "released", "unpaid"]
    #: How its consumption stands.
    consumption: Consumption

    @property
    def charged(self) -> int:
        """Credits that the job has cost."""
        return self.consumption.captured - self.consumption.reversed

    @classmethod
    def of(cls, consumption: Consumption, *, expired: Literal["released", "unpaid"]) -> Settlement:
        """What has become of a hold; `expired`: what it means that it has expired."""
        if consumption.status == "confirmed":
            return cls("charged", consumption)
        return cls("released" if consumption.status == "refunded" else expired, consumption)


@dataclass(frozen=True, slots=True)
class Money(_Result):
    """Money in the currency's minor unit: 990 is 9.90 CNY."""

    minor: int
    #: ISO 4217 code.
    currency: str


@dataclass(frozen=True, slots=True)
class Lot(_Result):
    """Credits that were granted together."""

    id: UUID
    #: Where they came from.
    source: Source
    #: Credits granted.
    amount: int
    #: Credits neither held nor used, expired or taken back.
    remaining: int
    #: Credits that expired.
    expired: int
    #: Credits taken back.
    clawed: int
    #: Credits that are taken back when they return.
    claim: int
    #: Lower burns first.
    priority: int
    #: When what is left expires; never where None.
    expires_at: datetime | None
    #: What was paid for it.
    cost: Money | None
    #: The caller's own name for it.
    reference: str | None
    #: For a `reversal` lot, the lot whose credits these were.
    origin: UUID | None
    #: When it was granted.
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Transaction(_Result):
    """One entry of an account's journal."""

    user_id: UUID
    #: Its number: 1, 2, 3 ... without gaps.
    seq: int
    #: What it records.
    kind: Kind
    #: Change of `available`.
    change: int
    #: Change of `held`.
    held_change: int
    #: `available` afterwards.
    available: int
    #: `held` afterwards.
    held: int
    #: Where the credits came from or went to, such as ``issued.purchase`` or ``earned.image_generation``.
    counter_account: str
    consumption_id: UUID | None
    lot_id: UUID | None
    reference: str | None
    idempotency_key: str | None
    #: Of the entry that made a hold: what it is for.
    feature: str | None
    reason: str | None
    operator: str | None
    created_at: datetime
    #: SHA-256 that chains it to the entry before, in hexadecimal.
    hash: str


@dataclass(frozen=True, slots=True)
class Receipt(_Result):
    """What a grant, a gift, an adjustment or a new credit limit did."""

    user_id: UUID
    #: The entry's number.
    seq: int
    kind: Kind
    #: Change of `available`.
    amount: int
    #: The lot that was made.
    lot: Lot | None
    #: `available` afterwards.
    available: int
    #: The credit limit, where it was set.
    credit_limit: int | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ClawbackReceipt(_Result):
    """What a clawback found."""

    user_id: UUID
    #: The entry's number.
    seq: int
    lot_id: UUID
    #: Credits taken back.
    taken: int
    #: Credits that were not there any more.
    shortfall: int
    #: The part of the shortfall that was booked as debt.
    debt: int
    #: `available` afterwards.
    available: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Matured(_Result):
    """What a sweep wrote down."""

    #: Holds that expired.
    holds: int
    #: Credits of those that are back.
    released: int
    #: Lots that expired.
    lots: int
    #: Credits that expired with them.
    expired: int


@dataclass(frozen=True, slots=True)
class Page(_Result, Generic[T]):
    """A part of a list, newest first. Iterating gives its items."""

    items: tuple[T, ...]
    #: Where the next page begins; None after the last one.
    next_cursor: str | None

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class QuoteLine(_Result):
    """A step of a quote."""

    #: What it is for, for people.
    text: str
    #: What it adds, or takes off.
    amount: Decimal


@dataclass(frozen=True, slots=True)
class Package(_Result):
    """A package of credits that can be bought, or could be."""

    #: Its id, for ever.
    id: UUID
    #: 1, 2, 3 ... with every change.
    version: int
    name: str
    description: str
    #: What it costs, in `currency`.
    price: Decimal
    #: ISO 4217 code.
    currency: str
    #: Credits that are bought.
    credits: int
    #: Credits on top.
    bonus_credits: int
    #: How many days the credits live; for ever where None.
    validity_days: int | None
    #: Lower stands first.
    sort_order: int
    #: Whether shops should point it out.
    recommended: bool
    #: Whether it can be bought.
    active: bool
    #: How often one account can buy it.
    purchase_limit: int | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Pricing(_Result):
    """A version of a feature's rate card."""

    id: UUID
    feature: str
    #: 1, 2, 3 ... for each feature.
    version: int
    #: What people call the feature.
    name: str
    #: The account it is for; everybody where None.
    user_id: UUID | None
    #: From when it counts.
    effective_from: datetime
    #: Until when; as long as no later one counts where None.
    effective_until: datetime | None
    #: The rate card, as its JSON says it.
    card: dict[str, Any] = field(hash=False)
    created_at: datetime


@dataclass(frozen=True, slots=True)
class PaidFrom(_Result):
    """Credits of one lot that paid for a consumption."""

    #: The lot as it is now.
    lot: Lot
    #: Credits from it.
    amount: int


@dataclass(frozen=True, slots=True)
class Explanation(_Result):
    """Why a consumption cost what it did, and what paid for it."""

    #: The consumption as it stands now.
    consumption: Consumption
    #: The price that was held; None where an amount was given.
    held: Quote | None
    #: The price of what was really used; None where that was not said.
    charged: Quote | None
    #: The lots that pay for it, in the order in which they burn. What they lack was taken on credit.
    lots: tuple[PaidFrom, ...]


@dataclass(frozen=True, slots=True)
class Problem(_Result):
    """Something about a database that should be put right."""

    #: What is wrong.
    what: str
    #: What to do.
    remedy: str


@dataclass(frozen=True, slots=True)
class Inspection(_Result):
    """What a look at the database found."""

    #: The database and its version, such as ``PostgreSQL 15.18``.
    database: str
    #: How long one question took.
    round_trip: timedelta
    #: The database's clock less the ledger's; None where it has no clock of its own.
    clock_skew: timedelta | None
    #: What should be put right, worst first.
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class Answers(_Result):
    """How many commands of a kind ended in the same way."""

    #: Which command: ``consume``, ``confirm``, ...; ``expire`` for a sweep's.
    operation: str
    #: ``ok``, or the error's ``code``.
    outcome: str
    count: int


@dataclass(frozen=True, slots=True)
class Histogram(_Result):
    """Values by size."""

    #: What the values are of: an operation, or ``batches``.
    name: str
    #: Each bucket's upper bound, and how many values are in it and not in one before.
    buckets: tuple[tuple[int, int], ...]
    #: How many are above all bounds.
    above: int
    #: The sum of all values.
    sum: int


@dataclass(frozen=True, slots=True)
class Stats(_Result):
    """What this process's ledger has done since it was connected. Counts only grow."""

    #: How many commands ended how; those that never did are not listed.
    answers: tuple[Answers, ...]
    #: How long callers waited, in microseconds, by operation: from the queue to the answer.
    latencies: tuple[Histogram, ...]
    #: How many commands were read, decided and written together.
    batches: Histogram
    #: Commands that wait for their turn just now.
    queued: int
    #: What was written down as past its deadline, by sweeps and by other commands on the way.
    matured: Matured


@dataclass(frozen=True, slots=True)
class PendingHolds(_Result):
    """The holds of all accounts that wait for their job's end."""

    #: How many are live.
    holds: int
    #: The credits in them.
    credits: int
    #: How many more have passed their deadline, and nobody has written that down yet: how late `expire_pending` is.
    overdue: int


@dataclass(frozen=True, slots=True)
class Fault(_Result):
    """Something in the books that does not fit."""

    user_id: UUID
    #: The entry, where it is about one.
    seq: int | None
    #: The lot or consumption, where it is about one; for a gift, the lot that was given.
    id: UUID | None
    kind: Literal["sequence", "hash", "entry", "account", "lot", "hold", "gift"]
    #: What is there, and what should be.
    detail: str


@dataclass(frozen=True, slots=True)
class Verification(_Result):
    """What an audit found."""

    #: Accounts audited.
    accounts: int
    #: Entries audited.
    entries: int
    #: Lots audited.
    lots: int
    #: Consumptions audited.
    holds: int
    #: Faults found.
    fault_count: int
    #: The first thousand of them.
    faults: tuple[Fault, ...]

    @property
    def is_clean(self) -> bool:
        """Whether everything fits."""
        return self.fault_count == 0


@dataclass(frozen=True, slots=True)
class TrialBalance(_Result):
    """All accounts against all counter-accounts."""

    #: Sum of all `available`.
    available: int
    #: Sum of all `held`.
    held: int
    #: What was booked on each counter-account: negative where credits came from, positive where they went.
    counter_accounts: dict[str, int] = field(hash=False)

    @property
    def total(self) -> int:
        """Everything together: zero, or credits came from nowhere."""
        return self.available + self.held + sum(self.counter_accounts.values())

    @property
    def is_balanced(self) -> bool:
        """Whether the total is zero."""
        return self.total == 0
