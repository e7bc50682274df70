"""What calls about orders and bills return."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

from .._errors import CreditsError
from .base import Result
from .vocabulary import OrderStatus


@dataclass(frozen=True, slots=True)
class OrderRefund(Result):
    """Money of an order that goes back."""

    refund_no: str
    """What the channel knows it by."""
    amount: Decimal
    """How much, in the order's currency."""
    status: Literal["pending", "succeeded", "failed"]
    """``pending`` until the channel has ended it."""
    taken: int
    """Credits taken back for it."""
    shortfall: int
    """Credits that were spent already: forgiven, or booked as debt."""
    reason: str | None
    """Why, in the caller's words."""
    operator: str | None
    """Who asked for it."""
    channel_id: str | None
    """The channel's own name for it."""
    problem: str | None
    """What the channel has to say, where it did not just succeed."""
    created_at: datetime
    """When it was asked for."""
    settled_at: datetime | None
    """When it succeeded or failed."""


@dataclass(frozen=True, slots=True)
class Order(Result):
    """A purchase of a package. What it costs and brings is frozen."""

    order_no: str
    """32 hexadecimal digits: what the channel, the payer and support know it by."""
    user_id: UUID
    """Who gets the credits."""
    status: OrderStatus
    """How it stands."""
    channel: str
    """The name of the payment channel."""
    package_id: UUID
    """The package that was bought,"""
    package_version: int
    """and in which version."""
    subject: str
    """The package's name: what the payer sees."""
    price: Decimal
    """What it costs, with two digits behind the point."""
    currency: str
    """ISO 4217 code."""
    credits: int
    """Credits that are paid for."""
    bonus_credits: int
    """Credits on top."""
    validity_days: int | None
    """How long these live from the day they are granted on; for ever where None."""
    refunded: Decimal
    """Money that is back, or on its way back."""
    refunds: tuple[OrderRefund, ...]
    """Each time that money went back."""
    transaction_id: str | None
    """The channel's own name for the payment."""
    lot_id: UUID | None
    """The lot of the credits that were paid for."""
    bonus_lot_id: UUID | None
    """The lot of the credits on top."""
    created_at: datetime
    """When it was made."""
    expires_at: datetime
    """Until when it should be paid."""
    paid_at: datetime | None
    """When it was paid, as the channel says."""
    closed_at: datetime | None
    """When it was closed, if it ever was."""


@dataclass(frozen=True, slots=True)
class PaymentRequest(Result):
    """What the payer's side needs to pay."""

    parameters: dict[str, str] = field(hash=False)
    """By name, as the channel's own documentation calls them: ``code_url``, ``h5_url``, ``qr_code``, ``url``, or what
    ``WeixinJSBridge`` takes."""
    expires_at: datetime | None
    """Until when they are good, where the channel says so."""


@dataclass(frozen=True, slots=True)
class Notification(Result):
    """What became of a channel's notification."""

    event: Literal["paid", "refund", "ignored"]
    """An order was paid (now, or it was known already), something about a refund, or nothing the books have to know."""
    order: Order | None
    """The order as it stands now."""


@dataclass(frozen=True, slots=True)
class NotificationReply(Result):
    """What to answer to a channel's notification."""

    status: int
    """The HTTP status."""
    content_type: str
    """The header `Content-Type`."""
    body: str
    """The body."""


@dataclass(frozen=True, slots=True)
class OrderProblem(Result):
    """An order that could not be reconciled; it is looked at again next time."""

    order_no: str
    """The order."""
    error: CreditsError
    """What went wrong."""


@dataclass(frozen=True, slots=True)
class Reconciled(Result):
    """What a reconciliation of orders did."""

    orders: int
    """Orders that were looked at."""
    settled: int
    """Orders found paid, and settled."""
    closed: int
    """Orders closed, because their time is over and nobody has paid."""
    refunds: int
    """Refunds that were found to have ended."""
    failed: int
    """Orders about which something went wrong."""
    problems: tuple[OrderProblem, ...]
    """The first hundred of these."""


@dataclass(frozen=True, slots=True)
class BillLine(Result):
    """A line of a channel's bill of a day."""

    line: int
    """Its number in the file, the first one being 1."""
    order_no: str
    """The order, as the channel spells it."""
    transaction_id: str
    """The channel's own name for the payment."""
    refund_no: str | None
    """The refund, where it is one."""
    amount: Decimal
    """How much was paid, or went back."""
    currency: str
    """ISO 4217 code."""
    at: datetime | None
    """When, as the channel says."""


@dataclass(frozen=True, slots=True)
class StatementDifference(Result):
    """One thing that a channel's bill and the books say differently."""

    kind: Literal["unknown", "not_settled", "different", "missing_payment", "missing_refund", "other"]
    """``unknown``: the bill has it, and the books don't know the order or the refund. ``not_settled``: the books have
    the order, and not as paid. ``different``: with another amount, currency or transaction, or not as a refund that
    has succeeded. ``missing_payment`` and ``missing_refund``: the books have it, and the bill does not."""
    line: BillLine | None
    """The line of the bill, where there is one."""
    order: Order | None
    """The order, where the books know it."""
    refund_no: str | None
    """The refund that the bill does not have."""


@dataclass(frozen=True, slots=True)
class StatementReport(Result):
    """What a channel's bill and the books say differently."""

    matched: int
    """Lines of the bill that are as the books say."""
    differences: tuple[StatementDifference, ...]
    """What is not."""
