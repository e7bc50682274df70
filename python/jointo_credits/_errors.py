"""What can go wrong. Every exception of the package is a :class:`CreditsError`, with a stable ``code`` and the facts as
attributes; all can be pickled, so they cross processes (Celery) whole."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

__all__ = [
    "CreditsError",
    "HoldExpiredError",
    "IdempotencyConflictError",
    "InsufficientCreditsError",
    "InvalidStateError",
    "NotFoundError",
    "PaymentChannelError",
    "PaymentVerificationError",
    "UnavailableError",
    "ValidationError",
]


class CreditsError(Exception):
    """Base of all errors. ``str(error)`` says what is wrong and what to do.

    Nothing has changed when one is raised, with one exception: an :class:`UnavailableError` whose ``outcome`` is
    ``"unknown"``.
    """

    code: ClassVar[str] = "error"
    """A stable word for programs."""

    def __init__(self, message: str) -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        """What ``str(error)`` gives."""
        return str(self.args[0])

    def to_dict(self) -> dict[str, Any]:
        """``code``, ``message``, and the facts."""
        return {"code": self.code, "message": self.message, **self._facts()}

    def _facts(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __reduce__(self) -> tuple[Any, ...]:
        # Not through `__init__`: a host may have given it attributes, or have subclassed it.
        return _restore, (type(self), self.args), dict(vars(self))


def _restore(kind: type[CreditsError], arguments: tuple[Any, ...]) -> CreditsError:
    return kind.__new__(kind, *arguments)


class ValidationError(CreditsError, ValueError):
    """An argument is malformed, or past a limit.

    Attributes:
        field: The argument at fault.
        problem: What is wrong with it.
        limit: The limit it passes, or the form that is expected.
        value: What was given, shortened.
        path: For a rate card, where in it: a JSONPath such as ``$.components[0].rate``.
    """

    code = "validation"

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        problem: str | None = None,
        limit: str | None = None,
        value: str | None = None,
        path: str | None = None,
    ) -> None:
        super().__init__(message)
        self.field = field
        self.problem = problem
        self.limit = limit
        self.value = value
        self.path = path


class NotFoundError(CreditsError, LookupError):
    """There is no such thing.

    Attributes:
        what: ``consumption``, ``lot``, ``order``, ``package`` or ``rate card``.
        id: Its id; for a rate card the feature, for an order its number as a UUID.
    """

    code = "not_found"

    def __init__(self, message: str, *, what: str | None = None, id: UUID | str | None = None) -> None:
        super().__init__(message)
        self.what = what
        self.id = id


class InsufficientCreditsError(CreditsError):
    """More was asked for than is there.

    Attributes:
        required: Credits that the command needs.
        available: Credits the account can spend now, its credit limit included.
    """

    code = "insufficient_credits"

    def __init__(self, message: str, *, required: int = 0, available: int = 0) -> None:
        super().__init__(message)
        self.required = required
        self.available = available


class HoldExpiredError(CreditsError):
    """The hold's deadline has passed and its credits are back. Consume again, or confirm with ``late="recharge"``.

    Attributes:
        consumption_id: The consumption.
        expired_at: Its deadline.
    """

    code = "hold_expired"

    def __init__(self, message: str, *, consumption_id: UUID | None = None, expired_at: datetime | None = None) -> None:
        super().__init__(message)
        self.consumption_id = consumption_id
        self.expired_at = expired_at


class InvalidStateError(CreditsError):
    """The consumption, or the order, is in a state that does not allow this; or too many orders wait for a payment.

    Attributes:
        consumption_id: The consumption.
        order_no: The order.
        state: ``pending``, ``confirmed``, ``refunded`` or ``expired``; of an order see :class:`Order`.
        open_orders: How many orders of the account wait for a payment, where these are too many.
        limit: How many may.
    """

    code = "invalid_state"

    def __init__(
        self,
        message: str,
        *,
        consumption_id: UUID | None = None,
        order_no: str | None = None,
        state: str | None = None,
        open_orders: int | None = None,
        limit: int | None = None,
    ) -> None:
        super().__init__(message)
        self.consumption_id = consumption_id
        self.order_no = order_no
        self.state = state
        self.open_orders = open_orders
        self.limit = limit


class IdempotencyConflictError(CreditsError):
    """The idempotency key was used before, for another request. Use a new key for a new request.

    Attributes:
        key: The key.
    """

    code = "idempotency_conflict"

    def __init__(self, message: str, *, key: str | None = None) -> None:
        super().__init__(message)
        self.key = key


class PaymentVerificationError(CreditsError):
    """A payment channel's message is not to be trusted, or does not fit the order that it names.

    Attributes:
        channel: The channel, where its message is at fault.
        order_no: The order, where the payment does not fit it.
        problem: What is wrong.
        expected: What the order says.
        value: What the payment says.
    """

    code = "payment_verification"

    def __init__(
        self,
        message: str,
        *,
        channel: str | None = None,
        order_no: str | None = None,
        problem: str | None = None,
        expected: str | None = None,
        value: str | None = None,
    ) -> None:
        super().__init__(message)
        self.channel = channel
        self.order_no = order_no
        self.problem = problem
        self.expected = expected
        self.value = value


class PaymentChannelError(CreditsError):
    """A payment channel said no.

    Attributes:
        channel: The channel.
        reason: Its own code for why.
        channel_message: What it says.
    """

    code = "payment_channel"

    def __init__(
        self,
        message: str,
        *,
        channel: str | None = None,
        reason: str | None = None,
        channel_message: str | None = None,
    ) -> None:
        super().__init__(message)
        self.channel = channel
        self.reason = reason
        self.channel_message = channel_message


class UnavailableError(CreditsError):
    """The database, or the way to it, failed.

    Attributes:
        outcome: ``"not_done"``: nothing has changed, try again. ``"unknown"``: nobody can tell; repeating the call with
            the same idempotency key is safe.
        reason: What failed.
        remedy: What to do.
    """

    code = "unavailable"

    def __init__(
        self,
        message: str,
        *,
        outcome: Literal["not_done", "unknown"] = "unknown",
        reason: str | None = None,
        remedy: str | None = None,
    ) -> None:
        super().__init__(message)
        self.outcome = outcome
        self.reason = reason
        self.remedy = remedy
