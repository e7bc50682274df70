"""A prepaid-credit ledger that runs inside your process, on your own SQLite or PostgreSQL.

>>> from jointo_credits import Ledger
>>> ledger = Ledger.connect("sqlite::memory:")
>>> ledger.migrate()
>>> user = "00000000-0000-0000-0000-000000000001"
>>> receipt = ledger.gift(user, 100, reason="welcome", idempotency_key="welcome")
>>> with ledger.hold(user, amount=75) as job:
...     job.used(amount=60)
>>> ledger.balance(user).available
40
>>> ledger.close()
"""

from __future__ import annotations

import atexit as _atexit
import os as _os
import sys as _sys

if not getattr(_sys, "_is_gil_enabled", lambda: True)():
    raise ImportError(
        "jointo_credits has not been tried on Python without the GIL; "
        "run Python with the GIL (PYTHON_GIL=1, or -X gil=1)"
    )

from ._arguments import (
    ConsumeItem,
    Duration,
    Id,
    Late,
    Number,
    Overage,
    Quantity,
    Settings,
    Shortfall,
)
from ._async_ledger import AsyncHold, AsyncLedger
from ._errors import (
    CreditsError,
    HoldExpiredError,
    IdempotencyConflictError,
    InsufficientCreditsError,
    InvalidStateError,
    NotFoundError,
    PaymentChannelError,
    PaymentVerificationError,
    UnavailableError,
    ValidationError,
)
from ._ledger import Hold, Ledger
from ._native import VERSION as __version__
from ._native import Alipay, ManualClock, WeChatPay
from ._native import after_fork_in_child as _after_fork_in_child
from ._native import after_fork_in_parent as _after_fork_in_parent
from ._native import before_fork as _before_fork
from ._native import flush_records as _flush_records
from ._proof import check_proof
from ._results import (
    Answers,
    ArchiveFile,
    Balance,
    BillLine,
    CacheStats,
    ClawbackReceipt,
    CleanedUp,
    Consumption,
    Expiring,
    Explanation,
    Fault,
    FeatureTotal,
    Histogram,
    Inspection,
    Kind,
    KindTotal,
    Language,
    Lot,
    Matured,
    Money,
    Notification,
    NotificationReply,
    Order,
    OrderProblem,
    OrderRefund,
    OrderStatus,
    Package,
    Page,
    PaidFrom,
    PaymentRequest,
    PendingHolds,
    Pin,
    Pricing,
    Problem,
    Proved,
    Quote,
    QuoteLine,
    Receipt,
    Reconciled,
    Source,
    StatementBalance,
    StatementDifference,
    StatementReport,
    StatementTotals,
    Stats,
    Status,
    Transaction,
    TrialBalance,
    Verification,
)
from ._statement.statement import Statement

__all__ = [
    "Alipay",
    "Answers",
    "ArchiveFile",
    "AsyncHold",
    "AsyncLedger",
    "Balance",
    "BillLine",
    "CacheStats",
    "ClawbackReceipt",
    "CleanedUp",
    "ConsumeItem",
    "Consumption",
    "CreditsError",
    "Duration",
    "Expiring",
    "Explanation",
    "Fault",
    "FeatureTotal",
    "Histogram",
    "Hold",
    "HoldExpiredError",
    "Id",
    "IdempotencyConflictError",
    "Inspection",
    "InsufficientCreditsError",
    "InvalidStateError",
    "Kind",
    "KindTotal",
    "Language",
    "Late",
    "Ledger",
    "Lot",
    "ManualClock",
    "Matured",
    "Money",
    "NotFoundError",
    "Notification",
    "NotificationReply",
    "Number",
    "Order",
    "OrderProblem",
    "OrderRefund",
    "OrderStatus",
    "Overage",
    "Package",
    "Page",
    "PaidFrom",
    "PaymentChannelError",
    "PaymentRequest",
    "PaymentVerificationError",
    "PendingHolds",
    "Pin",
    "Pricing",
    "Problem",
    "Proved",
    "Quantity",
    "Quote",
    "QuoteLine",
    "Receipt",
    "Reconciled",
    "Settings",
    "Shortfall",
    "Source",
    "Statement",
    "StatementBalance",
    "StatementDifference",
    "StatementReport",
    "StatementTotals",
    "Stats",
    "Status",
    "Transaction",
    "TrialBalance",
    "UnavailableError",
    "ValidationError",
    "Verification",
    "WeChatPay",
    "__version__",
    "check_proof",
]

# A ledger's threads and connections belong to one process, and a child makes its own when it first calls. What has to
# happen at the fork itself: no connection to a SQLite file may be open just then.
_os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
# What was logged after the last call.
_atexit.register(_flush_records)
