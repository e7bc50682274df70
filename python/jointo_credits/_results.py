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
    #: What will expire, and when, soonest first: of the hundred lots that expire first.
    expiring: tuple[Expiring, ...]
    #: The number of the last entry in the account's journal.
    seq: int
    #: When this was so.
    at: datetime
    #: Whether other lots expire after those: at the last of these times, or later.
    expiring_more: bool


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
    #: For a `reversal` lot, the lot where these credits were granted.
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
class CleanedUp(_Result):
    """What a clean-up did."""

    #: What is older has left, unless it had to stay.
    before: datetime
    #: Rows that were written into the archive; with ``dry_run``, that would be.
    archived: int
    #: Rows that left the database; with ``dry_run``, that would.
    removed: int
    #: Rows that are in the archive and stayed, because an order needs them.
    kept: int
    #: The files that were written.
    files: tuple[str, ...]
    #: Their size in bytes.
    bytes: int
    #: Whether the limit ended it: another call goes on, if anything is left.
    more: bool


@dataclass(frozen=True, slots=True)
class ArchiveFile(_Result):
    """A file of the archive, as the database knows it."""

    name: str
    kind: Literal["transactions", "consumptions"]
    #: Everything in it is older.
    older_than: datetime
    #: Rows.
    lines: int
    #: Its size.
    bytes: int
    #: Its SHA-256, in hexadecimal.
    sha256: str
    #: When it was written.
    created_at: datetime
    #: When everything in it had left the database.
    removed_at: datetime | None


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
class StatementBalance(_Result):
    """What an account had at one end of a statement."""

    #: Credits that could be spent; below zero in debt.
    available: int
    #: Credits in pending holds.
    held: int

    @property
    def total(self) -> int:
        """Both together."""
        return self.available + self.held


@dataclass(frozen=True, slots=True)
class StatementTotals(_Result):
    """What came and went, none of it below zero."""

    #: Credits that came in.
    granted: int
    #: Granted credits that were taken back: clawbacks, refunded orders, corrections downwards.
    taken_back: int
    #: Credits captured.
    spent: int
    #: Captured credits that were given back.
    refunded: int
    #: Credits that expired.
    expired: int

    @property
    def net(self) -> int:
        """``closing.total - opening.total``."""
        return self.granted - self.taken_back - self.spent + self.refunded - self.expired


@dataclass(frozen=True, slots=True)
class KindTotal(_Result):
    """What entries of one kind did."""

    kind: Kind
    #: How many there are.
    entries: int
    #: Sum of their changes of `available`.
    change: int
    #: Sum of their changes of `held`.
    held_change: int


@dataclass(frozen=True, slots=True)
class FeatureTotal(_Result):
    """What one feature cost."""

    #: The feature; None for consumptions without one.
    feature: str | None
    #: How many consumptions were captured.
    captures: int
    #: Credits captured.
    spent: int
    #: Captured credits that were given back, also of captures before the interval.
    refunded: int


@dataclass(frozen=True, slots=True)
class Statement(_Result):
    """What an account had, what came and went in ``[since, until)``, and what it had in the end.

    ``opening.total + totals.net == closing.total``. `docs/statements.md` has the rules.
    """

    user_id: UUID
    #: From this time on.
    since: datetime
    #: Before this time.
    until: datetime
    #: When it was drawn up. Where that is before `until`, there may be more to come.
    drawn_up_at: datetime
    #: What there was before the first entry.
    opening: StatementBalance
    #: What there was after the last one.
    closing: StatementBalance
    #: `closing` with the deadlines counted that had passed by then and are not written down; None where the journal
    #: goes on after the last entry.
    effective: StatementBalance | None
    totals: StatementTotals
    #: The same by what the entries record.
    kinds: tuple[KindTotal, ...]
    #: What was spent, by feature.
    features: tuple[FeatureTotal, ...]
    #: The entries, oldest first.
    entries: tuple[Transaction, ...]

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

    #: What the channel knows it by.
    refund_no: str
    #: How much, in the order's currency.
    amount: Decimal
    #: ``pending`` until the channel has ended it.
    status: Literal["pending", "succeeded", "failed"]
    #: Credits taken back for it.
    taken: int
    #: Credits that were spent already: forgiven, or booked as debt.
    shortfall: int
    #: Why, in the caller's words.
    reason: str | None
    #: Who asked for it.
    operator: str | None
    #: The channel's own name for it.
    channel_id: str | None
    #: What the channel has to say, where it did not just succeed.
    problem: str | None
    created_at: datetime
    #: When it succeeded or failed.
    settled_at: datetime | None


@dataclass(frozen=True, slots=True)
class Order(_Result):
    """A purchase of a package. What it costs and brings is frozen."""

    #: 32 hexadecimal digits: what the channel, the payer and support know it by.
    order_no: str
    #: Who gets the credits.
    user_id: UUID
    status: OrderStatus
    #: The name of the payment channel.
    channel: str
    package_id: UUID
    package_version: int
    #: The package's name: what the payer sees.
    subject: str
    #: What it costs, with two digits behind the point.
    price: Decimal
    currency: str
    #: Credits that are paid for.
    credits: int
    #: Credits on top.
    bonus_credits: int
    #: How long these live from the day they are granted on; for ever where None.
    validity_days: int | None
    #: Money that is back, or on its way back.
    refunded: Decimal
    refunds: tuple[OrderRefund, ...]
    #: The channel's own name for the payment.
    transaction_id: str | None
    #: The lot of the credits that were paid for.
    lot_id: UUID | None
    #: The lot of the credits on top.
    bonus_lot_id: UUID | None
    created_at: datetime
    #: Until when it should be paid.
    expires_at: datetime
    #: When it was paid, as the channel says.
    paid_at: datetime | None
    #: When it was closed, if it ever was.
    closed_at: datetime | None


@dataclass(frozen=True, slots=True)
class PaymentRequest(_Result):
    """What the payer's side needs to pay."""

    #: By name, as the channel's own documentation calls them: ``code_url``, ``h5_url``, ``qr_code``, ``url``, or what
    #: ``WeixinJSBridge`` takes.
    parameters: dict[str, str] = field(hash=False)
    #: Until when they are good, where the channel says so.
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class Notification(_Result):
    """What became of a channel's notification."""

    #: An order was paid (now, or it was known already), something about a refund, or nothing the books have to know.
    event: Literal["paid", "refund", "ignored"]
    #: The order as it stands now.
    order: Order | None


@dataclass(frozen=True, slots=True)
class NotificationReply(_Result):
    """What to answer to a channel's notification."""

    #: The HTTP status.
    status: int
    content_type: str
    body: str


@dataclass(frozen=True, slots=True)
class OrderProblem(_Result):
    """An order that could not be reconciled; it is looked at again next time."""

    order_no: str
    #: What went wrong.
    error: CreditsError


@dataclass(frozen=True, slots=True)
class Reconciled(_Result):
    """What a reconciliation of orders did."""

    #: Orders that were looked at.
    orders: int
    #: Orders found paid, and settled.
    settled: int
    #: Orders closed, because their time is over and nobody has paid.
    closed: int
    #: Refunds that were found to have ended.
    refunds: int
    #: Orders about which something went wrong.
    failed: int
    #: The first hundred of these.
    problems: tuple[OrderProblem, ...]


@dataclass(frozen=True, slots=True)
class BillLine(_Result):
    """A line of a channel's bill of a day."""

    #: Its number in the file, the first one being 1.
    line: int
    #: The order, as the channel spells it.
    order_no: str
    #: The channel's own name for the payment.
    transaction_id: str
    #: The refund, where it is one.
    refund_no: str | None
    #: How much was paid, or went back.
    amount: Decimal
    currency: str
    at: datetime | None


@dataclass(frozen=True, slots=True)
class StatementDifference(_Result):
    """One thing that a channel's bill and the books say differently."""

    #: ``unknown``: the bill has it, and the books don't know the order or the refund. ``not_settled``: the books have
    #: the order, and not as paid. ``different``: with another amount or transaction, or not as a refund that has
    #: succeeded. ``missing_payment`` and ``missing_refund``: the books have it, and the bill does not.
    kind: Literal["unknown", "not_settled", "different", "missing_payment", "missing_refund", "other"]
    line: BillLine | None
    order: Order | None
    #: The refund that the bill does not have.
    refund_no: str | None


@dataclass(frozen=True, slots=True)
class StatementReport(_Result):
    """What a channel's bill and the books say differently."""

    #: Lines of the bill that are as the books say.
    matched: int
    differences: tuple[StatementDifference, ...]


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
class CacheStats(_Result):
    """What this process's cache for balances has done. Counts only grow."""

    #: Balances that were told from the cache.
    hits: int
    #: Balances that were looked up in the cache, and read from the database.
    misses: int
    #: Calls that the cache was away for: balances read without it, and batches whose balances were not put.
    away: int


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
    #: What the cache for balances has done; ``None`` without one.
    cache: CacheStats | None


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

    #: The account; all zeros where it is about none.
    user_id: UUID
    #: The entry, where it is about one.
    seq: int | None
    #: The lot, consumption, order, package or rate card, where it is about one; for a gift, the lot that was given.
    id: UUID | None
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
    #: Orders audited.
    orders: int
    #: Accounts that were compared with an anchor.
    anchored: int
    #: Of these, those whose anchored entry has left the database, so that only the archive can show it.
    anchored_archived: int
    #: Faults found.
    fault_count: int
    #: The first thousand of them.
    faults: tuple[Fault, ...]

    @property
    def is_clean(self) -> bool:
        """Whether everything fits."""
        return self.fault_count == 0


@dataclass(frozen=True, slots=True)
class Proved(_Result):
    """What a proof shows of an account."""

    user_id: UUID
    #: Its last entry when the anchor was made.
    last: Transaction
    #: The number of the first entry that the proof has: 1, unless older ones have left the database.
    first_seq: int
    #: How many entries it has.
    entries: int


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
