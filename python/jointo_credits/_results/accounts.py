"""What commands and reads of an account return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from .base import Result
from .vocabulary import Kind, Source, Status

# The library makes these by position: the order of the fields is that of `bindings/python/src/results.rs`.


@dataclass(frozen=True, slots=True)
class Expiring(Result):
    """Credits that will expire together."""

    at: datetime
    """When."""
    amount: int
    """How many credits."""


@dataclass(frozen=True, slots=True)
class Balance(Result):
    """What an account has."""

    user_id: UUID
    """Whose it is."""
    available: int
    """Credits that can be spent now, without the credit limit; below zero where the account is in debt."""
    held: int
    """Credits in live holds."""
    debt: int
    """Credits owed."""
    credit_limit: int
    """How far below zero `consume` may go."""
    granted: int
    """Credits granted in the account's life."""
    spent: int
    """Credits spent in the account's life, reversals taken off."""
    expiring: tuple[Expiring, ...]
    """What will expire, and when, soonest first: of the hundred lots that expire first."""
    seq: int
    """The number of the last entry that this includes. Where a deadline has passed and its entry is not written yet, it
    is the number that this entry will have: a later balance never has a smaller number."""
    at: datetime
    """When this was so."""
    expiring_more: bool
    """Whether other lots expire after those: at the last of these times, or later."""


@dataclass(frozen=True, slots=True)
class Pin(Result):
    """Credits of one lot that pay for a consumption."""

    lot_id: UUID
    """The lot."""
    amount: int
    """How many of its credits."""


@dataclass(frozen=True, slots=True)
class Consumption(Result):
    """One use of credits: a hold while `pending`, then `confirmed`, `refunded` or `expired`."""

    id: UUID
    """Its id, for `confirm`, `refund`, `extend`."""
    user_id: UUID
    """The account."""
    status: Status
    """How it stands."""
    amount: int
    """Credits that were held."""
    captured: int
    """Credits that were spent."""
    reversed: int
    """Credits of those that were given back."""
    borrowed: int
    """Credits that no lot paid for: they are owed."""
    lots: tuple[Pin, ...]
    """The lots that pay for it."""
    feature: str | None
    """What it is for."""
    reference: str | None
    """The caller's own name for it."""
    metadata: dict[str, Any] | None = field(hash=False)
    """What the caller gave with it."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime
    """The hold's deadline."""
    settled_at: datetime | None
    """When it was confirmed, refunded or expired."""


@dataclass(frozen=True, slots=True)
class Settlement(Result):
    """How a job ended, for the books."""

    outcome: Literal["charged", "released", "unpaid"]
    """Its credits are spent, or back; or the work was done and can't be paid any more."""
    consumption: Consumption
    """How its consumption stands."""

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
class Money(Result):
    """Money in the currency's minor unit: 990 is 9.90 CNY."""

    minor: int
    """The amount, in the currency's minor unit."""
    currency: str
    """ISO 4217 code."""


@dataclass(frozen=True, slots=True)
class Lot(Result):
    """Credits that were granted together."""

    id: UUID
    """Its id, for `clawback`."""
    source: Source
    """Where they came from."""
    amount: int
    """Credits granted."""
    remaining: int
    """Credits neither held nor used, expired or taken back."""
    expired: int
    """Credits that expired."""
    clawed: int
    """Credits taken back."""
    claim: int
    """Credits that are taken back when they return."""
    priority: int
    """Lower burns first."""
    expires_at: datetime | None
    """When what is left expires; never where None."""
    cost: Money | None
    """What was paid for it."""
    reference: str | None
    """The caller's own name for it."""
    origin: UUID | None
    """For a `reversal` lot, the lot where these credits were granted."""
    created_at: datetime
    """When it was granted."""


@dataclass(frozen=True, slots=True)
class Transaction(Result):
    """One entry of an account's journal."""

    user_id: UUID
    """The account."""
    seq: int
    """Its number: 1, 2, 3 ... without gaps."""
    kind: Kind
    """What it records."""
    change: int
    """Change of `available`."""
    held_change: int
    """Change of `held`."""
    available: int
    """`available` afterwards."""
    held: int
    """`held` afterwards."""
    counter_account: str
    """Where the credits came from or went to, such as ``issued.purchase`` or ``earned.image_generation``."""
    consumption_id: UUID | None
    """The consumption, where it is about one."""
    lot_id: UUID | None
    """The lot, where it is about one."""
    reference: str | None
    """The caller's own name for what it is about."""
    idempotency_key: str | None
    """The key that the call was made with."""
    feature: str | None
    """Of the entry that made a hold: what it is for."""
    reason: str | None
    """Why, in the caller's words."""
    operator: str | None
    """Who asked for it."""
    created_at: datetime
    """When it was written."""
    hash: str
    """SHA-256 that chains it to the entry before, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Receipt(Result):
    """What a grant, a gift, an adjustment or a new credit limit did."""

    user_id: UUID
    """The account."""
    seq: int
    """The entry's number."""
    kind: Kind
    """What the entry records."""
    amount: int
    """Change of `available`."""
    lot: Lot | None
    """The lot that was made."""
    available: int
    """`available` afterwards."""
    credit_limit: int | None
    """The credit limit, where it was set."""
    created_at: datetime
    """When it was done."""


@dataclass(frozen=True, slots=True)
class ClawbackReceipt(Result):
    """What a clawback found."""

    user_id: UUID
    """The account."""
    seq: int
    """The entry's number."""
    lot_id: UUID
    """The lot."""
    taken: int
    """Credits taken back."""
    shortfall: int
    """Credits that were not there any more."""
    debt: int
    """The part of the shortfall that was booked as debt."""
    available: int
    """`available` afterwards."""
    created_at: datetime
    """When it was done."""
