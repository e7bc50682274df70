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
    StatementReport,
    Stats,
    Transaction,
    TrialBalance,
    Verification,
)
from ._statement.statement import Statement

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
    """A clock that stands still until it is moved: a test runs a year in a second."""
    def __new__(cls, start: datetime) -> ManualClock: ...
    def now(self) -> datetime:
        """What it shows: an aware datetime in UTC."""
    def set(self, to: datetime) -> None:
        """Shows `to` from now on, an aware datetime, which may lie in the past."""
    def advance(self, by: timedelta | float) -> None:
        """Moves forward by a timedelta, or a number of seconds."""

@final
class Quote:
    """The price of a call: whole credits, the exact figure behind them, and how it comes about."""
    @property
    def credits(self) -> int:
        """The price in whole credits."""
    @property
    def exact(self) -> Decimal:
        """The exact figure before rounding."""
    @property
    def remainder(self) -> Decimal:
        """What rounding added (positive) or dropped (negative): credits less exact."""
    @property
    def feature(self) -> str:
        """The feature."""
    @property
    def name(self) -> str:
        """What people call the feature."""
    @property
    def pricing_id(self) -> UUID | None:
        """The id of the rate card that priced it."""
    @property
    def version(self) -> int | None:
        """The version of the rate card."""
    @property
    def attributes(self) -> dict[str, str]:
        """What the price went by, given or assumed."""
    @property
    def quantities(self) -> dict[str, Decimal]:
        """How much of each was priced, given or assumed, by the names that the rate card has for them."""
    @property
    def breakdown(self) -> tuple[QuoteLine, ...]:
        """The steps; their amounts add up to the exact figure."""
    def to_dict(self) -> dict[str, Any]:
        """The same as a dict."""
    def to_json(self) -> str:
        """The quote as text, with its rate card: `from_json` reads it."""
    @classmethod
    def from_json(cls, text: str) -> Quote:
        """Reads what `to_json` wrote; the price is worked out again and compared."""
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
    """WeChat Pay (APIv3), as the channel ``"wechat"``: one of the setting ``channels`` of ``Ledger.connect``.

    Keys and certificates are text as PEM, or a ``pathlib.Path`` of the file. None of them is ever shown or logged.

    Args:
        merchant_id: The merchant (``mchid``).
        app_id: The app that is bound to it (``appid``).
        api_v3_key: The APIv3 key, 32 characters.
        merchant_serial: The serial number of the merchant's certificate.
        merchant_key: The private key of that certificate: ``apiclient_key.pem``.
        notify_url: Where WeChat Pay shall tell of payments: ``https``, without a query.
        public_keys: WeChat Pay's own keys, by their names ``PUB_KEY_ID_...``.
        certificates: Platform certificates, for merchants that have these (also).
        refund_notify_url: Where it shall tell of refunds; ``notify_url`` without.
        base_url: Another address of WeChat Pay, for tests.
        questions_at_once: How many orders ``reconcile_orders`` asks about side by side: 1 to 100, 8 by default.
        patience: How long the ledger waits for an answer, in seconds or as a ``timedelta``: 1 ms to 10 min, 30 s by
            default. A single request ends after 15 s; some questions need two.

    Raises:
        ValidationError: Something can't be right; ``field`` names it.
    """
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
    """Alipay, as the channel ``"alipay"``: one of the setting ``channels`` of ``Ledger.connect``.

    Keys and certificates are text, or a ``pathlib.Path`` of the file. None of them is ever shown or logged. Give
    ``alipay_public_key``, or in certificate mode the three certificates.

    Args:
        app_id: The app.
        app_private_key: Its private key, as PEM or bare base64.
        notify_url: Where Alipay shall tell of payments: ``https``, without a query.
        alipay_public_key: Alipay's public key for this app (支付宝公钥, not 应用公钥).
        app_certificate: ``appCertPublicKey_*.crt``.
        alipay_certificate: ``alipayCertPublicKey_RSA2.crt``.
        root_certificate: ``alipayRootCert.crt``.
        seller_id: The seller ("PID"): notifications for others are refused.
        gateway: Another address of Alipay's, such as the sandbox's.
        qr_product_code: ``QR_CODE_OFFLINE`` (the default) or ``FACE_TO_FACE_PAYMENT``, as the contract says.
        questions_at_once: How many orders ``reconcile_orders`` asks about side by side: 1 to 100, 8 by default.
        patience: How long the ledger waits for an answer, in seconds or as a ``timedelta``: 1 ms to 10 min, 30 s by
            default. A single request ends after 15 s; some questions need two.

    Raises:
        ValidationError: Something can't be right; ``field`` names it.
    """
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
