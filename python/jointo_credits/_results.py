"""What calls return: frozen dataclasses that compare, hash and pickle by value. ``to_dict()`` gives plain dicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta, tzinfo
from decimal import Decimal
from os import PathLike
from typing import Any, Generic, Literal, TypeVar
from uuid import UUID

from ._errors import CreditsError
from ._native import Quote

__all__ = [
    "Answers",
    "ArchiveFile",
    "Balance",
    "BillLine",
    "ClawbackReceipt",
    "CleanedUp",
    "Consumption",
    "Expiring",
    "Explanation",
    "Fault",
    "FeatureTotal",
    "Histogram",
    "Inspection",
    "KindTotal",
    "Lot",
    "Matured",
    "Money",
    "Notification",
    "NotificationReply",
    "Order",
    "OrderProblem",
    "OrderRefund",
    "Package",
    "Page",
    "PaidFrom",
    "PaymentRequest",
    "PendingHolds",
    "Pin",
    "Pricing",
    "Problem",
    "Proved",
    "Quote",
    "QuoteLine",
    "Receipt",
    "Reconciled",
    "Settlement",
    "Statement",
    "StatementBalance",
    "StatementDifference",
    "StatementReport",
    "StatementTotals",
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
    "order",
]
Language = Literal["zh", "en"]
OrderStatus = Literal["created", "paying", "paid", "closed", "refunding", "refunded", "partially_refunded"]

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


# The library makes these by position: the order of the fields is that of `bindings/python/src/results.rs`.


@dataclass(frozen=True, slots=True)
class Expiring(_Result):
    """Credits that will expire together."""

    at: datetime
    """When."""
    amount: int
    """How many credits."""


@dataclass(frozen=True, slots=True)
class Balance(_Result):
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
class Pin(_Result):
    """Credits of one lot that pay for a consumption."""

    lot_id: UUID
    """The lot."""
    amount: int
    """How many of its credits."""


@dataclass(frozen=True, slots=True)
class Consumption(_Result):
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
class Settlement(_Result):
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
class Money(_Result):
    """Money in the currency's minor unit: 990 is 9.90 CNY."""

    minor: int
    """The amount, in the currency's minor unit."""
    currency: str
    """ISO 4217 code."""


@dataclass(frozen=True, slots=True)
class Lot(_Result):
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
class Transaction(_Result):
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
class Receipt(_Result):
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
class ClawbackReceipt(_Result):
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


@dataclass(frozen=True, slots=True)
class Matured(_Result):
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
class CleanedUp(_Result):
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
class ArchiveFile(_Result):
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
class Page(_Result, Generic[T]):
    """A part of a list, newest first. Iterating gives its items."""

    items: tuple[T, ...]
    """The items, newest first."""
    next_cursor: str | None
    """Where the next page begins; None after the last one."""

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class QuoteLine(_Result):
    """A step of a quote."""

    text: str
    """What it is for, for people."""
    amount: Decimal
    """What it adds, or takes off."""


@dataclass(frozen=True, slots=True)
class Package(_Result):
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
class Pricing(_Result):
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
class PaidFrom(_Result):
    """Credits of one lot that paid for a consumption."""

    lot: Lot
    """The lot as it is now."""
    amount: int
    """Credits from it."""


@dataclass(frozen=True, slots=True)
class Explanation(_Result):
    """Why a consumption cost what it did, and what paid for it."""

    consumption: Consumption
    """The consumption as it stands now."""
    held: Quote | None
    """The price that was held; None where an amount was given."""
    charged: Quote | None
    """The price of what was really used; None where that was not said."""
    lots: tuple[PaidFrom, ...]
    """The lots that pay for it, in the order in which they burn. What they lack was taken on credit."""


@dataclass(frozen=True, slots=True)
class StatementBalance(_Result):
    """What an account had at one end of a statement."""

    available: int
    """Credits that could be spent; below zero in debt."""
    held: int
    """Credits in pending holds."""

    @property
    def total(self) -> int:
        """Both together."""
        return self.available + self.held


@dataclass(frozen=True, slots=True)
class StatementTotals(_Result):
    """What came and went, none of it below zero."""

    granted: int
    """Credits that came in."""
    taken_back: int
    """Granted credits that were taken back: clawbacks, refunded orders, corrections downwards."""
    spent: int
    """Credits captured."""
    refunded: int
    """Captured credits that were given back."""
    expired: int
    """Credits that expired."""

    @property
    def net(self) -> int:
        """``closing.total - opening.total``."""
        return self.granted - self.taken_back - self.spent + self.refunded - self.expired


@dataclass(frozen=True, slots=True)
class KindTotal(_Result):
    """What entries of one kind did."""

    kind: Kind
    """The kind of entry."""
    entries: int
    """How many there are."""
    change: int
    """Sum of their changes of `available`."""
    held_change: int
    """Sum of their changes of `held`."""


@dataclass(frozen=True, slots=True)
class FeatureTotal(_Result):
    """What one feature cost."""

    feature: str | None
    """The feature; None for consumptions without one."""
    captures: int
    """How many consumptions were captured."""
    spent: int
    """Credits captured."""
    refunded: int
    """Captured credits that were given back, also of captures before the interval."""


@dataclass(frozen=True, slots=True)
class Statement(_Result):
    """What an account had, what came and went in ``[since, until)``, and what it had in the end.

    ``opening.total + totals.net == closing.total``. `docs/statements.md` has the rules.
    """

    user_id: UUID
    """The account."""
    since: datetime
    """From this time on."""
    until: datetime
    """Before this time."""
    drawn_up_at: datetime
    """When it was drawn up. Where that is before `until`, there may be more to come."""
    opening: StatementBalance
    """What there was before the first entry."""
    closing: StatementBalance
    """What there was after the last one."""
    effective: StatementBalance | None
    """`closing` with the deadlines counted that had passed by then and are not written down; None where the journal
    goes on after the last entry."""
    totals: StatementTotals
    """What came and went in between."""
    kinds: tuple[KindTotal, ...]
    """The same by what the entries record."""
    features: tuple[FeatureTotal, ...]
    """What was spent, by feature."""
    entries: tuple[Transaction, ...]
    """The entries, oldest first."""

    def to_csv(self, *, language: Language | None = None, bom: bool = False) -> str:
        """The entries as CSV (RFC 4180), oldest first, between a line for the opening and one for the closing balance.
        Times are in UTC.

        Text that a spreadsheet would take for a formula gets a ``'`` in front.

        Args:
            language: For people: headings and kinds in their words. The stable words without.
            bom: Begins with a byte order mark, without which Excel does not know that it is UTF-8.
        """
        from ._statement.table import to_csv

        return to_csv(self, language, bom)

    def to_html(
        self,
        *,
        language: Language = "zh",
        timezone: str | tzinfo = "UTC",
        title: str | None = None,
        issuer: str | None = None,
        customer: str | None = None,
    ) -> str:
        """A page to be sent to a customer, made to be printed on A4: one file that loads nothing and runs nothing.

        Args:
            language: ``"zh"`` or ``"en"``.
            timezone: What times are shown in: a name such as ``"Asia/Shanghai"``, or a `tzinfo`.
            title: The page's heading, in place of "Credit statement".
            issuer: Who sends it.
            customer: Whose it is; the account's id stands below.

        Raises:
            ValidationError: There is no such language or time zone.
        """
        from ._statement.page import to_html
        from ._statement.view import View

        return to_html(View.of(self, language, timezone, title, issuer, customer))

    def to_pdf(
        self,
        *,
        language: Language = "zh",
        timezone: str | tzinfo = "UTC",
        title: str | None = None,
        issuer: str | None = None,
        customer: str | None = None,
        font: str | PathLike[str] | None = None,
    ) -> bytes:
        """The same page as :meth:`to_html` as PDF, with the same arguments and one more. Needs the extra ``[pdf]``.

        Args:
            font: A TrueType font (``.ttf``) to embed. Without one Chinese is shown in the reader's own Chinese font,
                and not at all where it has none.

        Raises:
            ValidationError: There is no such language, time zone or font.
            ModuleNotFoundError: ReportLab is not installed.
        """
        from ._statement.document import to_pdf
        from ._statement.view import View

        return to_pdf(View.of(self, language, timezone, title, issuer, customer), font)


@dataclass(frozen=True, slots=True)
class OrderRefund(_Result):
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
class Order(_Result):
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
class PaymentRequest(_Result):
    """What the payer's side needs to pay."""

    parameters: dict[str, str] = field(hash=False)
    """By name, as the channel's own documentation calls them: ``code_url``, ``h5_url``, ``qr_code``, ``url``, or what
    ``WeixinJSBridge`` takes."""
    expires_at: datetime | None
    """Until when they are good, where the channel says so."""


@dataclass(frozen=True, slots=True)
class Notification(_Result):
    """What became of a channel's notification."""

    event: Literal["paid", "refund", "ignored"]
    """An order was paid (now, or it was known already), something about a refund, or nothing the books have to know."""
    order: Order | None
    """The order as it stands now."""


@dataclass(frozen=True, slots=True)
class NotificationReply(_Result):
    """What to answer to a channel's notification."""

    status: int
    """The HTTP status."""
    content_type: str
    """The header `Content-Type`."""
    body: str
    """The body."""


@dataclass(frozen=True, slots=True)
class OrderProblem(_Result):
    """An order that could not be reconciled; it is looked at again next time."""

    order_no: str
    """The order."""
    error: CreditsError
    """What went wrong."""


@dataclass(frozen=True, slots=True)
class Reconciled(_Result):
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
class BillLine(_Result):
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
class StatementDifference(_Result):
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
class StatementReport(_Result):
    """What a channel's bill and the books say differently."""

    matched: int
    """Lines of the bill that are as the books say."""
    differences: tuple[StatementDifference, ...]
    """What is not."""


@dataclass(frozen=True, slots=True)
class Problem(_Result):
    """Something about a database that should be put right."""

    what: str
    """What is wrong."""
    remedy: str
    """What to do."""


@dataclass(frozen=True, slots=True)
class Inspection(_Result):
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
class Answers(_Result):
    """How many commands of a kind ended in the same way."""

    operation: str
    """Which command: ``consume``, ``confirm``, ...; ``expire`` for a sweep's."""
    outcome: str
    """``ok``, or the error's ``code``."""
    count: int
    """How many."""


@dataclass(frozen=True, slots=True)
class Histogram(_Result):
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
class CacheStats(_Result):
    """What this process's cache for balances has done. Counts only grow."""

    hits: int
    """Balances that were told from the cache."""
    misses: int
    """Balances that were looked up in the cache, and read from the database."""
    away: int
    """Calls that the cache was away for: balances read without it, and batches whose balances were not put."""


@dataclass(frozen=True, slots=True)
class Stats(_Result):
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
class PendingHolds(_Result):
    """The holds of all accounts that wait for their job's end."""

    holds: int
    """How many are live."""
    credits: int
    """The credits in them."""
    overdue: int
    """How many more have passed their deadline, and nobody has written that down yet: how late `expire_pending` is."""


@dataclass(frozen=True, slots=True)
class Fault(_Result):
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
class Verification(_Result):
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
class Proved(_Result):
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
class TrialBalance(_Result):
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
