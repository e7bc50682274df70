"""The compiled part of the package, `bindings/python`. Use the package, not this."""

from asyncio import Future
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from os import PathLike
from typing import Any, Final, Generic, TypeVar, final
from uuid import UUID

from ._arguments import Id, Quantity
from ._errors import CreditsError
from ._results import (
    ArchiveFile,
    Balance,
    ClawbackReceipt,
    CleanedUp,
    Consumption,
    Explanation,
    Inspection,
    Matured,
    Money,
    Notification,
    NotificationReply,
    Order,
    Package,
    Page,
    PaymentRequest,
    PendingHolds,
    Pricing,
    Proved,
    QuoteLine,
    Receipt,
    Reconciled,
    Statement,
    StatementReport,
    Stats,
    Transaction,
    TrialBalance,
    Verification,
)

__all__ = [
    "VERSION",
    "WORDS",
    "Alipay",
    "Entries",
    "Inbox",
    "ManualClock",
    "NativeLedger",
    "NativeOrders",
    "Operation",
    "Quote",
    "WeChatPay",
    "after_fork_in_child",
    "after_fork_in_parent",
    "before_fork",
    "check_proof",
    "flush_records",
]

_T = TypeVar("_T")

VERSION: Final[str]
WORDS: Final[dict[str, tuple[str, ...]]]

def flush_records() -> None: ...
def before_fork() -> None: ...
def after_fork_in_parent() -> None: ...
def after_fork_in_child() -> None: ...

@final
class ManualClock:
    def __new__(cls, start: datetime) -> ManualClock: ...
    def now(self) -> datetime: ...
    def set(self, to: datetime) -> None: ...
    def advance(self, by: timedelta | float) -> None: ...

@final
class Quote:
    @property
    def credits(self) -> int: ...
    @property
    def exact(self) -> Decimal: ...
    @property
    def remainder(self) -> Decimal: ...
    @property
    def feature(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def pricing_id(self) -> UUID | None: ...
    @property
    def version(self) -> int | None: ...
    @property
    def attributes(self) -> dict[str, str]: ...
    @property
    def quantities(self) -> dict[str, Decimal]: ...
    @property
    def breakdown(self) -> tuple[QuoteLine, ...]: ...
    def to_dict(self) -> dict[str, Any]: ...
    def to_json(self) -> str: ...
    @classmethod
    def from_json(cls, text: str) -> Quote: ...
    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Inbox:
    def __new__(cls) -> Inbox: ...
    def fileno(self) -> int: ...
    def deliver(self) -> None: ...

@final
class Entries:
    def take(self, count: int) -> tuple[Transaction, ...]: ...

@final
class Operation(Generic[_T]):
    def wait(self) -> _T: ...
    def start(self, inbox: Inbox, future: Future[_T]) -> None: ...
    def cancel(self) -> None: ...

@final
class WeChatPay:
    def __new__(
        cls,
        *,
        merchant_id: str,
        app_id: str,
        api_v3_key: str | PathLike[str],
        merchant_serial: str,
        merchant_key: str | PathLike[str],
        notify_url: str,
        public_keys: Mapping[str, str | PathLike[str]] | None = None,
        certificates: Iterable[str | PathLike[str]] | None = None,
        refund_notify_url: str | None = None,
        base_url: str | None = None,
        questions_at_once: int | None = None,
        patience: float | timedelta | None = None,
    ) -> WeChatPay: ...

@final
class Alipay:
    def __new__(
        cls,
        *,
        app_id: str,
        app_private_key: str | PathLike[str],
        notify_url: str,
        alipay_public_key: str | PathLike[str] | None = None,
        app_certificate: str | PathLike[str] | None = None,
        alipay_certificate: str | PathLike[str] | None = None,
        root_certificate: str | PathLike[str] | None = None,
        seller_id: str | None = None,
        gateway: str | None = None,
        qr_product_code: str | None = None,
        questions_at_once: int | None = None,
        patience: float | timedelta | None = None,
    ) -> Alipay: ...

@final
class NativeLedger:
    def __new__(
        cls, url: str, schema: str | None, clock: ManualClock | None, settings: dict[str, Any]
    ) -> NativeLedger: ...
    @property
    def orders(self) -> NativeOrders: ...
    def connect(self) -> Operation[None]: ...
    def migrate(self) -> Operation[None]: ...
    def check(self) -> Operation[None]: ...
    def seed_catalog(self) -> Operation[None]: ...
    def close(self) -> Operation[None] | None: ...
    def balance(self, user_id: Id, at: datetime | None, fresh: bool) -> Operation[Balance]: ...
    def transactions(
        self,
        user_id: Id,
        kind: str | None,
        since: datetime | None,
        until: datetime | None,
        limit: int,
        cursor: str | None,
        archive: str | PathLike[str] | None,
    ) -> Operation[Page[Transaction]]: ...
    def statement(
        self, user_id: Id, since: datetime, until: datetime, limit: int
    ) -> Operation[tuple[Statement, Entries]]: ...
    def consumption(
        self, user_id: Id, status: str | None, limit: int, cursor: str | None
    ) -> Operation[Page[Consumption]]: ...
    def get_consumption(self, consumption_id: Id) -> Operation[Consumption]: ...
    def explain(self, consumption_id: Id) -> Operation[Explanation]: ...
    def calculate(
        self,
        feature: str,
        quantity: Quantity | None,
        attributes: Mapping[str, str] | None,
        user_id: Id | None,
        at: datetime | None,
    ) -> Quote | Operation[Quote]: ...
    def consume(
        self,
        user_id: Id,
        feature: str | None,
        quantity: Quantity | None,
        attributes: Mapping[str, str] | None,
        amount: int | None,
        ttl: timedelta | float | None,
        reference: str | None,
        metadata: Mapping[str, Any] | None,
        key: str | None,
    ) -> Operation[Consumption]: ...
    def consume_many(self, items: Iterable[Mapping[str, Any]]) -> Operation[tuple[Consumption | CreditsError, ...]]: ...
    def confirm(
        self,
        consumption_id: Id,
        amount: int | None,
        quantity: Quantity | None,
        overage: str,
        late: str,
        key: str | None,
    ) -> Operation[Consumption]: ...
    def refund(
        self,
        consumption_id: Id,
        amount: int | None,
        reason: str | None,
        operator: str | None,
        pending_only: bool,
        key: str | None,
    ) -> Operation[Consumption]: ...
    def extend(
        self, consumption_id: Id, ttl: timedelta | float, reason: str | None, key: str | None
    ) -> Operation[Consumption]: ...
    def gift(
        self,
        user_id: Id,
        amount: int,
        reason: str,
        operator: str | None,
        expires_at: datetime | None,
        key: str | None,
    ) -> Operation[Receipt]: ...
    def grant(
        self,
        user_id: Id,
        amount: int,
        source: str,
        priority: int,
        expires_at: datetime | None,
        cost: Money | None,
        reference: str | None,
        key: str | None,
    ) -> Operation[Receipt]: ...
    def adjust(
        self, user_id: Id, amount: int, reason: str, operator: str | None, key: str | None
    ) -> Operation[Receipt]: ...
    def set_credit_limit(self, user_id: Id, credit_limit: int, key: str | None) -> Operation[Receipt]: ...
    def clawback(
        self,
        user_id: Id,
        lot_id: Id,
        amount: int | None,
        shortfall: str,
        reason: str | None,
        operator: str | None,
        key: str | None,
    ) -> Operation[ClawbackReceipt]: ...
    def expire_pending(self, limit: int | None) -> Operation[Matured]: ...
    def expire_lots(self, limit: int | None) -> Operation[Matured]: ...
    def packages(self) -> Operation[tuple[Package, ...]]: ...
    def package(self, package_id: Id) -> Operation[Package]: ...
    def package_versions(self, package_id: Id) -> Operation[tuple[Package, ...]]: ...
    def save_package(
        self,
        package_id: Id | None,
        name: str,
        description: str,
        price: Decimal | int | str,
        currency: str,
        credits: int,
        bonus_credits: int,
        validity_days: int | None,
        sort_order: int,
        recommended: bool,
        active: bool,
        purchase_limit: int | None,
    ) -> Operation[Package]: ...
    def pricing(self, feature: str | None) -> Operation[tuple[Pricing, ...]]: ...
    def set_pricing(
        self,
        card: str,
        user_id: Id | None,
        effective_from: datetime | None,
        effective_until: datetime | None,
    ) -> Operation[Pricing]: ...
    def stats(self) -> Operation[Stats]: ...
    def pending_holds(self) -> Operation[PendingHolds]: ...
    def inspect(self) -> Operation[Inspection]: ...
    def cleanup_transactions(
        self, older_than: timedelta | float, archive: str | PathLike[str], limit: int | None, dry_run: bool
    ) -> Operation[CleanedUp]: ...
    def cleanup_consumption_logs(
        self, older_than: timedelta | float, archive: str | PathLike[str], limit: int | None, dry_run: bool
    ) -> Operation[CleanedUp]: ...
    def archives(self) -> Operation[tuple[ArchiveFile, ...]]: ...
    def verify(
        self, archive: str | PathLike[str] | None, anchor: str | None, public_key: str | None, unsigned: bool
    ) -> Operation[Verification]: ...
    def anchor(self, key: str | None, unsigned: bool, all_accounts: bool) -> Operation[str]: ...
    def prune_anchors(self, keep: int) -> Operation[int]: ...
    def prove(self, user_id: Id, anchor: str, archive: str | PathLike[str] | None) -> Operation[str]: ...
    def trial_balance(self) -> Operation[TrialBalance]: ...

@final
class NativeOrders:
    def create(self, user_id: Id, package_id: Id, channel: str, key: str | None) -> Operation[Order]: ...
    def pay(
        self, order_no: str, method: str | None, payer: str | None, payer_ip: str | None, return_url: str | None
    ) -> Operation[PaymentRequest]: ...
    def get(self, order_no: str) -> Operation[Order]: ...
    def list(
        self, user_id: Id | None, status: str | None, limit: int, cursor: str | None
    ) -> Operation[Page[Order]]: ...
    def handle_notification(self, channel: str, headers: Mapping[str, str], body: bytes) -> Operation[Notification]: ...
    def notification_reply(self, channel: str, taken: bool) -> Operation[NotificationReply]: ...
    def settle(
        self,
        order_no: str,
        transaction_id: str,
        amount: Decimal | int | str,
        currency: str,
        paid_at: datetime | None,
    ) -> Operation[Order]: ...
    def close(self, order_no: str) -> Operation[Order]: ...
    def refund(
        self,
        order_no: str,
        amount: Decimal | int | str | None,
        shortfall: str,
        reason: str | None,
        operator: str | None,
        key: str | None,
    ) -> Operation[Order]: ...
    def reconcile(self, min_age: timedelta | float) -> Operation[Reconciled]: ...
    def reconcile_statement(
        self, channel: str, bill: bytes, since: datetime, until: datetime
    ) -> Operation[StatementReport]: ...

def check_proof(anchor: str, proof: str, public_key: str | None, unsigned: bool) -> Proved: ...
