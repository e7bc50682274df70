"""Packages, rate cards, and what a price is made of."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from .._native import Quote
from .accounts import Consumption, Lot
from .base import Result


@dataclass(frozen=True, slots=True)
class QuoteLine(Result):
    """A step of a quote."""

    text: str
    """What it is for, for people."""
    amount: Decimal
    """What it adds, or takes off."""


@dataclass(frozen=True, slots=True)
class Package(Result):
    """A package of credits that can be bought, or could be."""

    id: UUID
    """Its id, for ever."""
    version: int
    """1, 2, 3 ... with every change."""
    name: str
    """Its name."""
    description: str
    """What it is good for."""
    price: Decimal
    """What it costs, in `currency`."""
    currency: str
    """ISO 4217 code."""
    credits: int
    """Credits that are bought."""
    bonus_credits: int
    """Credits on top."""
    validity_days: int | None
    """How many days the credits live; for ever where None."""
    sort_order: int
    """Lower stands first."""
    recommended: bool
    """Whether shops should point it out."""
    active: bool
    """Whether it can be bought."""
    purchase_limit: int | None
    """How often one account can buy it."""
    created_at: datetime
    """When it was first saved."""
    updated_at: datetime
    """When this version was saved."""


@dataclass(frozen=True, slots=True)
class Pricing(Result):
    """A version of a feature's rate card."""

    id: UUID
    """The id of this version."""
    feature: str
    """The feature."""
    version: int
    """1, 2, 3 ... for each feature."""
    name: str
    """What people call the feature."""
    user_id: UUID | None
    """The account it is for; everybody where None."""
    effective_from: datetime
    """From when it counts."""
    effective_until: datetime | None
    """Until when; as long as no later one counts where None."""
    card: dict[str, Any] = field(hash=False)
    """The rate card, as its JSON says it."""
    created_at: datetime
    """When it was added."""


@dataclass(frozen=True, slots=True)
class PaidFrom(Result):
    """Credits of one lot that paid for a consumption."""

    lot: Lot
    """The lot as it is now."""
    amount: int
    """Credits from it."""


@dataclass(frozen=True, slots=True)
class Explanation(Result):
    """Why a consumption cost what it did, and what paid for it."""

    consumption: Consumption
    """The consumption as it stands now."""
    held: Quote | None
    """The price that was held; None where an amount was given."""
    charged: Quote | None
    """The price of what was really used; None where that was not said."""
    lots: tuple[PaidFrom, ...]
    """The lots that pay for it, in the order in which they burn. What they lack was taken on credit."""
