"""Tasks that are charged for.

The hold is made before the task is queued, and its id goes with the message. Celery delivers a message at least once,
so every step may happen again, and each has a rule:

| what happens | the credits |
| --- | --- |
| not enough credits | `delay()` raises; nothing is queued |
| the broker does not take the message | released; should it arrive nevertheless, the task does not run |
| the task is retried | held on; the same hold, or where it has expired a new one for this try |
| it succeeds | what was used is charged |
| it fails for good, is rejected, revoked, or killed at its time limit | released |
| its process dies | held on while the message is delivered again, or until the hold expires |
| it runs again after it was charged (its process died before Celery knew) | charged once |
| Celery can't take its result, or that second run fails | what was charged is given back |
| two processes run it at once | charged once |
| the database is away when it begins | tried again later |
| the database is away when it ends | `settle_job` settles it once the database is back |
| it waited longer than the hold lives | held anew when it begins; with ``late="reject"`` it does not run |
| nobody has held anything (sent by name, `apply()`) | held when it begins |
"""

# Celery has no types.
# pyright: basic

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from celery import Celery, Task, signals, states
from celery.exceptions import Ignore, Reject
from celery.utils import uuid as new_task_id

from .. import (
    Consumption,
    CreditsError,
    HoldExpiredError,
    InvalidStateError,
    Ledger,
    UnavailableError,
    ValidationError,
)
from .._arguments import Duration, Late, Quantity
from ..jobs import Jobs
from ._periodic import books

_log = logging.getLogger("jointo_credits.celery")

#: The message header that carries the consumption's id.
HEADER = "jointo_credits_consumption"
#: How long a task that finds the database away waits before it is tried again: seconds, at the most.
_PAUSE_MAX = 60
_BEGIN_RETRIES_MAX = 20


@dataclass(slots=True)
class Charge:
    """The credits of the task that is running: :func:`current_charge`."""

    #: The hold.
    consumption: Consumption
    #: What was used, where the task has said so.
    usage: Quantity | None = None
    amount: int | None = None

    @property
    def consumption_id(self) -> UUID:
        """The hold's id, to link a job with."""
        return self.consumption.id

    @property
    def is_paid(self) -> bool:
        """Whether an earlier run of this very task was charged already: its result was lost on the way."""
        return self.consumption.status == "confirmed"

    def used(self, usage: Quantity | None = None, *, amount: int | None = None) -> None:
        """Says what was really used: a quantity that the hold's own card prices, or credits (0: nothing). The last word
        counts. Everything that is held is charged where a task says nothing.

        Raises:
            TypeError: Both were given, or neither.
        """
        if (usage is None) == (amount is None):
            raise TypeError("used() takes a quantity or an amount")
        self.usage, self.amount = usage, amount


_charge: ContextVar[Charge] = ContextVar("jointo_credits_charge")


def current_charge() -> Charge:
    """The credits of the task that is running.

    Raises:
        LookupError: No charged task is running here.
    """
    try:
        return _charge.get()
    except LookupError:
        raise LookupError("no charged task is running here; see jointo_credits.celery.charged_task") from None


@dataclass(frozen=True, slots=True)
class Terms:
    """What a task costs. Functions take those of the task's arguments that they name."""

    user_id: str | Callable[..., Any]
    feature: str | Callable[..., str] | None
    quantity: Any
    attributes: Any
    amount: Any
    reference: Any
    metadata: Any
    ttl: Duration | None
    used: Callable[[Any], Any] | None
    overage: Literal["available", "debt"]
    late: Late

    def asked(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """What to ask of `consume` for a task with these arguments."""
        if isinstance(self.user_id, str):
            if self.user_id not in arguments:
                raise TypeError(f"the task has no argument {self.user_id!r}: say whose credits it uses with user_id=")
            user_id = arguments[self.user_id]
        else:
            user_id = _call(self.user_id, arguments)
        asked: dict[str, Any] = {"user_id": user_id, "ttl": self.ttl}
        for name in ("feature", "quantity", "attributes", "amount", "reference", "metadata"):
            value = getattr(self, name)
            asked[name] = _call(value, arguments) if callable(value) else value
        return asked


def _call(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Any:
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return function(**arguments)
    return function(**{each.name: arguments[each.name] for each in parameters if each.name in arguments})


class ChargedTask(Task):  # type: ignore[misc]
    """The base of charged tasks; :func:`charged_task` makes one of a function."""

    abstract = True
    # A process that dies gives its task back; Celery's own way would lose it, and the customer the work.
    acks_late = True
    reject_on_worker_lost = True
    Request = "jointo_credits.celery._request:ChargedRequest"
    terms: Terms

    @property
    def _ledger(self) -> Ledger:
        return books(self.app).ledger

    @property
    def _jobs(self) -> Jobs:
        return Jobs(self._ledger, overage=self.terms.overage, late=self.terms.late)

    def hold(self, args: Any = None, kwargs: Any = None, task_id: str | None = None) -> Consumption:
        """Holds what a task with these arguments may cost, without queueing it: for a host that keeps the consumption's
        id with its job first. Then ``apply_async(args, kwargs, task_id, consumption_id=held.id)`` queues the task.

        Args:
            args: The task's arguments.
            kwargs: Those by name.
            task_id: The task's id: repeated with it, this gives the same hold.

        Raises:
            InsufficientCreditsError: There are not enough credits.
            NotFoundError: No rate card prices this.
            ValidationError: A wrong quantity, attribute or id.
        """
        return self._hold(tuple(args or ()), kwargs or {}, None if task_id is None else _key(task_id))

    def _hold(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], key: str | None) -> Consumption:
        bound = inspect.signature(self.run).bind(*args, **kwargs)
        bound.apply_defaults()
        return self._ledger.consume(**self.terms.asked(bound.arguments), idempotency_key=key)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        *,
        consumption_id: UUID | str | None = None,
        headers: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Holds the credits and queues the task. As Celery's, with one argument more.

        Args:
            consumption_id: A hold that was made before, by :meth:`hold` or by ``consume``; none is made then.

        Returns:
            The result, with the hold's id as ``consumption_id``.

        Raises:
            InsufficientCreditsError: There are not enough credits.
            InvalidStateError: The task of this `task_id` was settled before.
        """
        sent = dict(headers or {})
        own = None
        if HEADER not in sent:  # a retry has it
            fresh = task_id is None
            task_id = task_id or new_task_id()
            if consumption_id is None:
                own = self._hold(tuple(args or ()), kwargs or {}, _key(task_id))
                if not fresh:
                    own = self._ledger.get_consumption(own.id)
                    if own.status != "pending":
                        raise InvalidStateError(
                            f"the task {task_id} is {own.status} already; to do it again, take a new task_id",
                            consumption_id=own.id,
                            state=own.status,
                        )
                consumption_id = own.id
            sent[HEADER] = str(consumption_id)
        try:
            result: Any = super().apply_async(
                args, kwargs, task_id, producer, link, link_error, shadow, headers=sent, **options
            )
        except Exception:
            if own is not None:
                self._release(own.id, "the task could not be queued")
            raise
        result.consumption_id = UUID(sent[HEADER])
        return result

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self.request.called_directly:
            # A function like any other: nobody has queued a job.
            return self.run(*args, **kwargs)
        charge = Charge(self._begin(args, kwargs))
        token = _charge.set(charge)
        try:
            result = self.run(*args, **kwargs)
            if not self.request.get("jointo_credits_retried"):
                self._succeeded(charge, result)
            return result
        except (Ignore, Reject) as end:
            if not getattr(end, "requeue", False):
                self._release(charge.consumption_id, type(end).__name__)
            raise
        finally:
            _charge.reset(token)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """As Celery's. A task that goes on after ``retry(throw=False)`` is not charged by this run."""
        retried = super().retry(*args, **kwargs)
        self.request.update(jointo_credits_retried=True)
        return retried

    def _begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Consumption:
        """The hold of this run."""
        try:
            return self._held(args, kwargs)
        except UnavailableError as error:
            pause = min(2**self.request.retries, _PAUSE_MAX)
            raise self.retry(exc=error, countdown=pause, max_retries=_BEGIN_RETRIES_MAX) from error

    def _held(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Consumption:
        request = self.request
        sent = _sent(request)
        if sent is None:
            sent = self._hold(args, kwargs, _key(request.id)).id
        # As it stands now: a repeated consume gives its first answer.
        held = self._ledger.get_consumption(sent)
        if held.status == "expired" and self.terms.late == "recharge":
            # It waited too long. One new hold for each try: a task that always kills its process comes to an end.
            fresh = self._hold(args, kwargs, f"{_key(request.id)}:{request.retries}")
            held = self._ledger.get_consumption(fresh.id)
        if held.status == "expired":
            raise HoldExpiredError(
                f"the hold of task {request.id} had expired when it began; give it a longer ttl",
                consumption_id=held.id,
                expired_at=held.expires_at,
            )
        if held.status == "refunded":
            raise InvalidStateError(
                f"the credits of task {request.id} were released before it began",
                consumption_id=held.id,
                state=held.status,
            )
        request.update(headers={**(request.headers or {}), HEADER: str(held.id)})
        return held

    def _succeeded(self, charge: Charge, result: Any) -> None:
        terms = self.terms
        if terms.used is not None and charge.usage is None and charge.amount is None:
            charge.usage = terms.used(result)
        try:
            settled = self._jobs.on_job_succeeded(charge.consumption_id, charge.usage, amount=charge.amount)
        except UnavailableError as error:
            _log.warning("task %s will be charged later: %s", self.request.id, error)
            books(self.app).settle_later(
                str(charge.consumption_id),
                "succeeded",
                usage=_plain(charge.usage),
                amount=charge.amount,
                overage=terms.overage,
                late=terms.late,
            )
            return
        facts = {"consumption_id": str(charge.consumption_id), "outcome": settled.outcome, "credits": settled.charged}
        if settled.outcome == "charged":
            _log.info("task %s: charged %s credits", self.request.id, settled.charged, extra=facts)
        else:
            _log.warning("task %s is done and %s", self.request.id, settled.outcome, extra=facts)

    def failed(self, request: Any, reason: str) -> None:
        """Celery has given the task up: nothing may have been charged for it."""
        consumption_id = _sent(request)
        if consumption_id is None:
            return
        settled = self._release(consumption_id, reason)
        if settled == "charged" and not self._is_known_as_done(request.id):
            try:
                self._ledger.refund(consumption_id, reason=reason, idempotency_key=f"{_key(request.id)}:failed")
            except CreditsError as error:
                _log.error("task %s has failed and is charged: %s", request.id, error)

    def _is_known_as_done(self, task_id: str) -> bool:
        """Whether an earlier run's success is what Celery tells the caller."""
        try:
            return bool(self.AsyncResult(task_id).state == states.SUCCESS)
        except Exception as error:
            _log.warning("what became of task %s can't be found out: %s", task_id, error)
            return True

    def _release(self, consumption_id: UUID, reason: str) -> str | None:
        """Where that fails the hold expires by itself."""
        try:
            return self._jobs.on_job_failed(consumption_id, reason[:_REASON_MAX]).outcome
        except CreditsError as error:
            _log.warning("consumption %s was not released: %s", consumption_id, error)
            return None


#: Bytes of a reason are limited; four for each character at the most.
_REASON_MAX = 60


def _key(task_id: str) -> str:
    return f"celery:{task_id}"


def _sent(request: Any) -> UUID | None:
    sent = (request.headers or {}).get(HEADER)
    return None if sent is None else UUID(sent)


def _plain(usage: Any) -> Any:
    """As JSON has it; exact."""
    if isinstance(usage, Mapping):
        return {name: _plain(number) for name, number in usage.items()}
    return str(usage) if isinstance(usage, Decimal) else usage


def _on_failure(sender: Any = None, exception: Any = None, **_: Any) -> None:
    # Of a request that is being worked on, here or in the child that died of it.
    if isinstance(sender, ChargedTask) and sender.request.id is not None:
        sender.failed(sender.request, type(exception).__name__)


def _on_revoked(sender: Any = None, request: Any = None, **_: Any) -> None:
    if isinstance(sender, ChargedTask) and request is not None:
        sender.failed(request, "revoked")


signals.task_failure.connect(_on_failure, weak=False, dispatch_uid="jointo_credits")
signals.task_revoked.connect(_on_revoked, weak=False, dispatch_uid="jointo_credits")


def charged_task(
    app: Celery,
    *,
    feature: str | Callable[..., str] | None = None,
    quantity: Any = None,
    attributes: Any = None,
    amount: Any = None,
    user_id: str | Callable[..., Any] = "user_id",
    ttl: Duration | None = None,
    reference: Any = None,
    metadata: Any = None,
    used: Callable[[Any], Any] | None = None,
    overage: Literal["available", "debt"] = "available",
    late: Late = "recharge",
    **options: Any,
) -> Callable[[Callable[..., Any]], Any]:
    """Makes a Celery task that is charged for, of a function. The application needs a ledger: `register`.

    What it costs is said as to `consume`: plainly, or by a function of the task's arguments, of which it gets those
    that it names. The table at the top of this module says what happens to the credits whatever happens to the task.

    Args:
        app: The application.
        feature: What it is for.
        quantity: How much of it.
        attributes: What the rate card wants to know besides.
        amount: Credits, in place of `feature` and `quantity`, or with a feature that is not priced.
        user_id: The task's argument that says whose credits they are, or a function that finds out.
        ttl: How long the hold lives: longer than the task may wait and run.
        reference: Your own name for it.
        metadata: What else should stand with it.
        used: Of the task's result: how much was really used. Or the task says so: ``current_charge().used(...)``.
        overage: Where more was used than is held: take what is ``"available"``, or book it as ``"debt"``.
        late: Where the hold has expired when the task begins or ends: ``"recharge"`` takes the credits anew. With
            ``"reject"`` it does not begin any more, and where it ends too late it is not charged.
        options: As those of ``app.task``. `acks_late` and `reject_on_worker_lost` are set.
    """
    if feature is None and amount is None:
        raise ValidationError("a charged task needs a feature, or an amount", field="amount")
    terms = Terms(user_id, feature, quantity, attributes, amount, reference, metadata, ttl, used, overage, late)

    def decorate(function: Callable[..., Any]) -> Any:
        # Not shared, as Celery's are, with every application of the process: it is charged to this one's ledger.
        return app.task(**{"base": ChargedTask, "shared": False, **options, "terms": terms})(function)

    return decorate
