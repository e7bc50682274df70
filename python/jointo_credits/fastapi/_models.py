"""What goes over the wire: camelCase, money and exact numbers as text, times as RFC 3339 UTC."""

from __future__ import annotations

import re
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
from . import _numbers as numbers

#: Amounts are exact in JSON up to here (2^53 - 1).
AMOUNT_MAX = 2**53 - 1
#: How many items a page may have: fewer than the library's own pages, which nobody waits for in an event loop.
PAGE_MAX = 200
#: How many names a mapping may have.
NAMES_MAX = 64
KEY_BYTES_MAX = 255

T = TypeVar("T")


def _storable(text: str) -> str:
    """Text that every database takes, and UTF-8 can say."""
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("must not contain NUL characters or lone surrogates")
    return text


def short(text: str) -> str:
    """Text of up to 255 bytes."""
    if len(_storable(text).encode()) > KEY_BYTES_MAX:
        raise ValueError(f"must not be longer than {KEY_BYTES_MAX} bytes")
    return text


def _quantity(value: Any) -> Any:
    """A number, or numbers by name, each as text: the library reads it, as it does from Python."""
    if not isinstance(value, dict):
        return numbers.number(value)
    named: dict[Any, Any] = value  # pyright: ignore[reportUnknownVariableType]
    if len(named) > NAMES_MAX:
        raise ValueError(f"must not have more than {NAMES_MAX} names")
    return {name: numbers.number(each) for name, each in named.items()}


def _time(value: Any) -> Any:
    """A time is text: a number could be of seconds, or of milliseconds."""
    if not isinstance(value, str) or len(value) > 64 or not re.match(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", value):
        raise ValueError("must be a time with its offset, such as 2026-01-31T08:00:00Z")
    return value


Whole = Annotated[int, BeforeValidator(numbers.whole)]
#: A whole number in a query.
Digits = Annotated[int, BeforeValidator(numbers.digits)]
#: Text of up to 255 bytes.
Short = Annotated[str, Field(min_length=1, max_length=KEY_BYTES_MAX), AfterValidator(short)]
Text = Annotated[str, AfterValidator(_storable)]
Amount = Annotated[Whole, Field(ge=1, le=AMOUNT_MAX)]
#: A time that is sent.
Instant = Annotated[AwareDatetime, BeforeValidator(_time)]


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
_NUMBER_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "number", "minimum": 0},
        {"type": "string", "pattern": r"^(0|[1-9][0-9]{0,27})(\.[0-9]{1,28})?$", "examples": ["0.5"]},
    ]
}
#: How much: at most 28 digits.
Quantity = Annotated[
    str | dict[Short, str],
    BeforeValidator(_quantity),
    WithJsonSchema(
        {
            "anyOf": [
                *_NUMBER_SCHEMA["anyOf"],
                {"type": "object", "additionalProperties": _NUMBER_SCHEMA, "maxProperties": NAMES_MAX},
            ]
        }
    ),
]
Attributes = Annotated[dict[Short, Short], Field(max_length=NAMES_MAX)]
Metadata = Annotated[dict[str, Any], BeforeValidator(numbers.plain)]


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
    expiring_more: bool
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
    quantity: Quantity = "1"
    attributes: Attributes | None = None


class ConsumeIn(_Keyed):
    user_id: UUID | None = Field(None, description="Whose credits; a service says it, a user need not.")
    feature: Short | None = Field(None, description="What is used. A user names one that a rate card prices.")
    quantity: Quantity | None = None
    attributes: Attributes | None = None
    amount: Amount | None = Field(
        None, description="Credits, where no rate card prices the feature. Not for users, unless the host lets them."
    )
    ttl: Whole | None = Field(
        None, ge=1, le=2_592_000, description="How long the hold lives, in seconds. Not for users."
    )
    reference: Short | None = Field(None, description="A name for it. A user's is kept with `user:` in front.")
    metadata: Metadata | None = Field(None, description="A user's are kept under the name `user`.")


class _OfConsumption(_Keyed):
    consumption_id: UUID
    user_id: UUID | None = Field(None, description="Whose it must be, for a service that acts for a user.")


class ConfirmIn(_OfConsumption):
    amount: Amount | None = Field(
        None,
        description="Credits that were really used; all that is held where neither is given. Not for users, unless the "
        "host lets them, and no rate card prices the feature.",
    )
    quantity: Quantity | None = Field(None, description="How much was really used.")
    overage: Literal["reject", "available", "debt"] = Field(
        "reject", description="What to do where more was used than is held. A user's `debt` counts as `available`."
    )
    late: Literal["reject", "recharge"] = Field(
        "reject", description="What to do after the deadline. `recharge` is not for users."
    )


class RefundIn(_OfConsumption):
    amount: Amount | None = Field(None, description="A part of what was captured; all of it where none is given.")
    reason: Short | None = None
    pending_only: bool = Field(False, strict=True, description="Only a hold; what was captured stays.")


class GiftIn(_Keyed):
    user_id: UUID
    amount: Amount
    reason: Short
    expires_at: Instant | None = None


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
    amount: (
        Annotated[
            Decimal,
            Field(gt=0, max_digits=15, decimal_places=2),
            BeforeValidator(numbers.number),
            WithJsonSchema({"anyOf": [{"type": "number", "exclusiveMinimum": 0}, {"type": "string"}]}),
        ]
        | None
    ) = Field(
        None, description="How much, in the order's currency; all that has not gone back yet where none is given."
    )
    shortfall: Literal["forgive", "debt"] = "forgive"
    reason: Short | None = None


class ReconcileIn(_Question):
    min_age: Whole = Field(60, ge=0, le=2_592_000, description="Younger orders are left alone: seconds.")


class ExpireIn(_Question):
    limit: Whole | None = Field(None, ge=1, le=1_000_000)
