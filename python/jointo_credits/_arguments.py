"""The types of arguments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from decimal import Decimal
from os import PathLike
from typing import Any, Literal, TypeAlias, TypedDict
from uuid import UUID

from ._native import Alipay, WeChatPay

Id: TypeAlias = UUID | str
"""An id."""
Number: TypeAlias = Decimal | int | str
"""An exact number. Floats are refused: ``0.1`` is not what it says."""
Quantity: TypeAlias = Number | Mapping[str, Number]
"""How much of a feature: a number, or a number for each name where its card meters several quantities."""
Duration: TypeAlias = timedelta | float
"""A timedelta, or seconds."""
Place: TypeAlias = str | PathLike[str]
"""Where an archive is: a directory, or ``s3://bucket/prefix``."""
Overage: TypeAlias = Literal["reject", "available", "debt"]
"""What `confirm` does where more was used than is held: refuse, take what is available, or book the rest as debt."""
Late: TypeAlias = Literal["reject", "recharge"]
"""What `confirm` does after the deadline: refuse, or charge anew."""
Shortfall: TypeAlias = Literal["forgive", "debt"]
"""What a clawback does about credits that are spent: let them go, or book them as debt."""


class _ConsumeRequired(TypedDict):
    user_id: Id
    """The account."""


class ConsumeItem(_ConsumeRequired, total=False):
    """One item of `consume_many`: the arguments of `consume`."""

    feature: str | None
    """What is used."""
    quantity: Quantity | None
    """How much."""
    attributes: Mapping[str, str] | None
    """What the price goes by."""
    amount: int | None
    """Credits to hold, in place of a price."""
    ttl: Duration | None
    """How long the hold lives."""
    reference: str | None
    """A name of your own."""
    metadata: Mapping[str, Any] | None
    """Facts of your own."""
    idempotency_key: str | None
    """Makes repeating it safe."""


class Settings(TypedDict, total=False):
    """What can be chosen about a ledger when it is opened."""

    hold_ttl: Duration
    """How long a hold lives where neither `consume` nor the feature's rate card says: 1 s to 30 d, 1 h by default."""
    on_lot_expired_while_held: Literal["expire", "grace"]
    """What happens to credits of a hold that is released after their lot's expiry."""
    release_grace: Duration
    """How long such credits live with ``"grace"``: 7 d by default."""
    reversal_grace: Duration
    """How long reversed credits live whose lot has expired: 30 d by default."""
    max_connections: int
    """Connections for reads, in each process; 8 by default. Commands have two of their own."""
    committers: int
    """Connections for commands on PostgreSQL: 2 by default."""
    batch_limit: int
    """The most commands in one write: 1,000 by default."""
    queue_limit: int
    """The most commands that wait; further callers wait to be let in. 10,000 by default."""
    account_memory_bytes: int
    """How much memory each process has to keep accounts in from one command to the next: 32 MiB by default; 0 keeps
    none. A command of a kept account needs no read. No answer depends on it."""
    patience: Duration
    """How long a database that is away is tried again before calls fail: 10 s by default."""
    connect_timeout: Duration
    """How long to wait for a connection, and for another process that writes a SQLite file: 5 s by default."""
    max_clock_skew: Duration
    """How far the database's clock may be from this process's, before or behind: 5 min by default; with a ``clock`` of
    your own none, unless it is set. Beyond it no command is done. See docs/clocks.md."""
    channels: Iterable[WeChatPay | Alipay]
    """The payment channels that orders can be paid through, besides ``"manual"``."""
    order_ttl: Duration
    """How long an order can be paid: 30 min by default."""
    late_payment: Literal["settle", "refund"]
    """What becomes of a payment that arrives when its order is closed: the order is settled after all (the default), or
    the money goes back."""
    max_open_orders: int
    """How many orders of an account may wait for a payment at once: 20 by default, 1,000 at the most."""
    pgbouncer: bool
    """Whether a pooler in transaction mode (PgBouncer) stands before PostgreSQL."""
    cache: str | None
    """A cache for `balance`: ``"process"``, or the URL of a Redis or Valkey (``redis://host:6379/0``, ``rediss://``).
    No command asks it. See docs/cache.md."""
    cache_prefix: str | None
    """What its keys in Redis begin with: the same in all processes of this ledger, another one for every other
    ledger."""
    cache_max_age: Duration
    """How long a balance is told after it was read or written, at the most: 1 s by default in the process, 30 s in
    Redis."""
    cache_timeout: Duration
    """How long a call waits for Redis, before the database answers: 20 ms by default."""
    cache_accounts: int
    """How many accounts each process remembers with ``"process"``: 100,000 by default."""


__all__ = [
    "ConsumeItem",
    "Duration",
    "Id",
    "Late",
    "Number",
    "Overage",
    "Quantity",
    "Settings",
    "Shortfall",
]
