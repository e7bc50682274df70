"""What goes over the wire: camelCase, money and exact numbers as text, times as RFC 3339 UTC."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel

from .. import Receipt
from .._plain import rfc3339
from .._results import Kind, OrderStatus, Source, Status

#: Amounts are exact in JSON up to here (2^53 - 1).
AMOUNT_MAX = 2**53 - 1
#: How many items a page may have.
PAGE_MAX = 1_000
_KEY_BYTES_MAX = 255

T = TypeVar("T")


def _storable(text: str) -> str:
    """Text that every database takes, and UTF-8 can say."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain NUL characters or lone surrogates")
    return text


def _short(text: str) -> str:
    if len(_storable(text).encode()) > _KEY_BYTES_MAX:
        raise ValueError(f"must not be longer than {_KEY_BYTES_MAX} bytes")
    return text


def _whole(number: Any) -> Any:
    """JSON has one kind of numbers, so 5.0 is 5; but "5" and true are none."""
    if isinstance(number, bool | str):
        raise ValueError("must be a whole number")
    return int(number) if isinstance(number, float) and number.is_integer() else number


Whole = Annotated[int, BeforeValidator(_whole)]
#: Text of up to 255 bytes.
Short = Annotated[str, Field(min_length=1, max_length=_KEY_BYTES_MAX), AfterValidator(_short)]
Text = Annotated[str, AfterValidator(_storable)]
Amount = Annotated[Whole, Field(ge=1, le=AMOUNT_MAX)]


Time = Annotated[
    datetime, PlainSerializer(rfc3339, return_type=str), WithJsonSchema({"type": "string", "format": "date-time"})
]
#: A price: two decimals at least.
Price = Annotated[
    Decimal,
    PlainSerializer(lambda price: f"{price:.2f}" if price == round(price, 2) else f"{price:f}", return_type=str),
    WithJsonSchema({"type": "string", "examples": ["9.90"]}),
]
#: An exact number, as text.
Exact = Annotated[
    Decimal, PlainSerializer(lambda number: f"{number:f}", return_type=str), WithJsonSchema({"type": "string"})
]
_NUMBER = Annotated[Decimal, Field(ge=0, max_digits=28, allow_inf_nan=False)]
Quantity = _NUMBER | dict[Short, _NUMBER]


class _Answer(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, from_attributes=True)


class _Question(BaseModel):
    # An unknown name is a mistake: a misspelt limit or key must not pass for none.
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=False, extra="forbid")


class Envelope(BaseModel, Generic[T]):
    """Every answer."""

    code: int = 200
    message: str = "Success"
    data: T


class ErrorFacts(BaseModel):
    """What went wrong, for programs; the facts depend on it (`required` and `available` credits, the `state`, ...)."""

    model_config = ConfigDict(extra="allow")

    error: str = Field(description="A stable word.", examples=["insufficient_credits"])


class ErrorEnvelope(BaseModel):
    """An answer that is an error. `code` is the HTTP status."""

    code: int
    message: str
    data: ErrorFacts


class Items(_Answer, Generic[T]):
    """A page of a list, newest first. `nextCursor` is where the next one begins; null after the last."""

    items: list[T]
    next_cursor: str | None


class ExpiringOut(_Answer):
    at: Time
    amount: int


class BalanceOut(_Answer):
    user_id: UUID
    available: int
    held: int
    debt: int
    credit_limit: int
    granted: int
    spent: int
    expiring: list[ExpiringOut]
    at: Time


class TransactionOut(_Answer):
    seq: int
    kind: Kind
    change: int
    held_change: int
    available: int
    held: int
    counter_account: str
    consumption_id: UUID | None
    lot_id: UUID | None
    reference: str | None
    feature: str | None
    reason: str | None
    created_at: Time


class StatementBalanceOut(_Answer):
    available: int
    held: int
    total: int


class StatementTotalsOut(_Answer):
    granted: int
    taken_back: int
    spent: int
    refunded: int
    expired: int
    net: int


class KindTotalOut(_Answer):
    kind: Kind
    entries: int
    change: int
    held_change: int


class FeatureTotalOut(_Answer):
    feature: str | None
    captures: int
    spent: int
    refunded: int


class StatementOut(_Answer):
    user_id: UUID
    since: Time
    until: Time
    drawn_up_at: Time
    opening: StatementBalanceOut
    closing: StatementBalanceOut
    effective: StatementBalanceOut | None
    totals: StatementTotalsOut
    kinds: list[KindTotalOut]
    features: list[FeatureTotalOut]
    entries: list[TransactionOut]


class ConsumptionOut(_Answer):
    consumption_id: UUID = Field(validation_alias="id")
    user_id: UUID
    status: Status
    amount: int
    captured: int
    reversed: int
    feature: str | None
    reference: str | None
    metadata: dict[str, Any] | None
    created_at: Time
    expires_at: Time
    settled_at: Time | None


class QuoteLineOut(_Answer):
    text: str
    amount: Exact


class QuoteOut(_Answer):
    feature: str
    name: str
    credits: int
    exact: Exact
    breakdown: list[QuoteLineOut]
    attributes: dict[str, str]
    pricing_id: UUID | None
    version: int | None


class PackageOut(_Answer):
    package_id: UUID = Field(validation_alias="id")
    name: str
    description: str
    price: Price
    currency: str
    credits: int
    bonus_credits: int
    validity_days: int | None
    recommended: bool
    active: bool
    purchase_limit: int | None
    sort_order: int


class GiftOut(_Answer):
    user_id: UUID
    amount: int
    available: int
    lot_id: UUID | None
    source: Source | None
    expires_at: Time | None
    created_at: Time

    @classmethod
    def of(cls, receipt: Receipt) -> GiftOut:
        lot = receipt.lot
        return cls(
            user_id=receipt.user_id,
            amount=receipt.amount,
            available=receipt.available,
            lot_id=lot.id if lot else None,
            source=lot.source if lot else None,
            expires_at=lot.expires_at if lot else None,
            created_at=receipt.created_at,
        )


class ExpiredOut(_Answer):
    """What was written down: holds that expired, and credits that came back with them."""

    holds: int
    released: int


class _Keyed(_Question):
    idempotency_key: Short | None = Field(None, description="As the header `Idempotency-Key`.")


class CalculateIn(_Question):
    feature: Short
    quantity: Quantity = Decimal(1)
    attributes: dict[Short, Short] | None = None


class ConsumeIn(_Keyed):
    user_id: UUID | None = Field(None, description="Whose credits; a service says it, a user need not.")
    feature: Short | None = None
    quantity: Quantity | None = None
    attributes: dict[Short, Short] | None = None
    amount: Amount | None = Field(None, description="Credits, where no rate card prices the feature.")
    ttl: Whole | None = Field(None, ge=1, le=2_592_000, description="How long the hold lives, in seconds.")
    reference: Short | None = None
    metadata: dict[str, Any] | None = None


class _OfConsumption(_Keyed):
    consumption_id: UUID
    user_id: UUID | None = Field(None, description="Whose it must be, for a service that acts for a user.")


class ConfirmIn(_OfConsumption):
    amount: Amount | None = Field(
        None, description="Credits that were really used; all that is held where neither is given."
    )
    quantity: Quantity | None = Field(None, description="How much was really used.")
    overage: Literal["reject", "available", "debt"] = "reject"
    late: Literal["reject", "recharge"] = "reject"


class RefundIn(_OfConsumption):
    amount: Amount | None = Field(None, description="A part of what was captured; all of it where none is given.")
    reason: Short | None = None
    pending_only: bool = Field(False, strict=True, description="Only a hold; what was captured stays.")


class GiftIn(_Keyed):
    user_id: UUID
    amount: Amount
    reason: Short
    expires_at: AwareDatetime | None = None


OrderNo = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]


class OrderRefundOut(_Answer):
    refund_no: str
    amount: Price
    status: Literal["pending", "succeeded", "failed"]
    reason: str | None
    created_at: Time
    settled_at: Time | None


class OrderOut(_Answer):
    order_no: str
    user_id: UUID
    status: OrderStatus
    channel: str
    package_id: UUID
    subject: str
    price: Price
    currency: str
    credits: int
    bonus_credits: int
    refunded: Price
    refunds: list[OrderRefundOut]
    created_at: Time
    expires_at: Time
    paid_at: Time | None
    closed_at: Time | None


class PaymentOut(_Answer):
    """What the payer's side needs, by the channel's own names."""

    parameters: dict[str, str]
    expires_at: Time | None


class OrderedOut(_Answer):
    order: OrderOut
    payment: PaymentOut


class ReconciledOut(_Answer):
    """How many orders were looked at, and what became of them."""

    orders: int
    settled: int
    closed: int
    refunds: int
    failed: int


class CheckoutIn(_Question):
    """How somebody is going to pay."""

    method: Short | None = Field(None, description="`native`, `jsapi`, `h5`; `page`, `qr`.")
    payer: Short | None = Field(None, description="The payer as the channel knows him, such as an `openid`.")
    payer_ip: Short | None = Field(None, description="The payer's address, where it is not the caller's.")
    return_url: Annotated[Text, Field(max_length=2048)] | None = None


class OrderIn(CheckoutIn):
    package_id: UUID
    channel: Short
    idempotency_key: Short | None = Field(None, description="As the header `Idempotency-Key`.")


class OrderRefundIn(_Keyed):
    amount: Annotated[Decimal, Field(gt=0, max_digits=15, decimal_places=2)] | None = Field(
        None, description="How much, in the order's currency; all that has not gone back yet where none is given."
    )
    shortfall: Literal["forgive", "debt"] = "forgive"
    reason: Short | None = None


class ReconcileIn(_Question):
    min_age: Whole = Field(60, ge=0, le=2_592_000, description="Younger orders are left alone: seconds.")


class ExpireIn(_Question):
    limit: Whole | None = Field(None, ge=1, le=1_000_000)
