"""Tasks that are charged for.

The hold is made before the task is queued, and its id goes with the message. A task has one consumption, whatever
happens to it: its key is made of the task's id. Celery delivers a message at least once, so every step may happen
again, and each has a rule:

| what happens | the credits |
| --- | --- |
| not enough credits | `delay()` raises; nothing is queued |
| the broker does not take the message | released; should it arrive nevertheless, the task does not run |
| the same, with a task id of the caller's | held on: a message of before may be on its way; repeat it, or it expires |
| the task is retried | held on |
| it succeeds | what was used is charged |
| it fails for good, is rejected, revoked, or killed at its time limit | released |
| its process dies | held on while the message is delivered again, or until the hold expires |
| it runs again after it was charged (its process died before Celery knew) | charged once |
| Celery fails it after it was charged (its result can't be stored, the next of a chain can't be queued) | given back |
| it runs again after it was charged, and fails | given back where Celery says that it has failed |
| two processes run it at once | charged once; where one fails for good before the other succeeds, not at all |
| the database is away when it begins | tried again later, without counting as a retry |
| the database is away when it ends | `settle_job` settles it once the database is back |
| the hold is about to expire when it begins, or its countdown is long | the hold gets its whole time again |
| the hold has expired when it begins | held again; where the credits are not there any more, it does not run |
| the hold expires while it runs | charged late, if the credits are there |
| nobody has held anything (sent by name, `apply()`, the next of a chain) | held when it begins |
| the hold is another user's or another task's, or for less | `apply_async()` raises, or it does not run; it stays |
| it is retried with other arguments | it runs where the hold is enough for them |
"""

# Celery has no types.
# pyright: basic

from __future__ import annotations

import contextlib
import inspect
import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from celery import Celery, Task, signals, states
from celery.exceptions import Ignore, Reject, Retry
from celery.utils import uuid as new_task_id

from .. import (
    Consumption,
    CreditsError,
    HoldExpiredError,
    InsufficientCreditsError,
    InvalidStateError,
    Ledger,
    UnavailableError,
    ValidationError,
)
from .._arguments import Duration, Late, Quantity
from ..jobs import Jobs, Settlement
from . import _holds
from ._periodic import books, give_back

_log = logging.getLogger("jointo_credits.celery")

#: The message header that carries the consumption's id, the one that names the task whose it was found to be when it
#: was sent, and the one that counts how often the database was away.
HEADER = "jointo_credits_consumption"
CHECKED = "jointo_credits_checked"
AWAY = "jointo_credits_away"
#: How long a task that finds the database away waits before it is tried again: seconds, at the most.
_PAUSE_MAX = 60


@dataclass(slots=True)
class _Run:
    """What this process knows of a task that it runs, or has just run."""

    consumption_id: UUID
    #: This run has charged it, or has it charged later.
    has_charged: bool = False
    #: It goes on: nothing is final.
    is_retried: bool = False


#: The last runs of this process by the task's id: Celery forgets a request before it says that it has failed it.
_runs: dict[str, _Run] = {}
_RUNS_MAX = 1_000


def _remember(task_id: str, run: _Run) -> None:
    _runs.pop(task_id, None)
    _runs[task_id] = run
    while len(_runs) > _RUNS_MAX:
        # Another thread may be at it as well.
        with contextlib.suppress(StopIteration, RuntimeError):
            _runs.pop(next(iter(_runs)), None)


@dataclass(slots=True)
class Charge:
    """The credits of the task that is running: :func:`current_charge`."""

    consumption: Consumption
    """The hold."""
    task_id: str
    """The task's id."""
    usage: Quantity | None = None
    """What was used, where the task has said so as a quantity."""
    amount: int | None = None
    """What was used, where the task has said so in credits."""

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
    """Whose credits: the name of the task's argument that says it, or a function."""
    feature: str | Callable[..., str] | None
    """What is used."""
    quantity: Any
    """How much of it, as an estimate."""
    attributes: Any
    """What the price goes by."""
    amount: Any
    """Credits to hold, in place of a price."""
    reference: Any
    """A name of the host's for the consumption."""
    metadata: Any
    """Facts of the host's."""
    ttl: Duration | None
    """How long the hold lives."""
    used: Callable[[Any], Any] | None
    """What was really used, from the task's result."""
    overage: Literal["available", "debt"]
    """Where more was used than is held: take what is available, or book the rest as debt."""
    late: Late
    """Where the hold has expired when the task begins or ends: refuse, or charge anew."""

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
    """What the task costs."""

    @property
    def _ledger(self) -> Ledger:
        return books(self.app).ledger

    def hold(self, args: Any = None, kwargs: Any = None, task_id: str | None = None) -> Consumption:
        """Holds what a task with these arguments may cost, without queueing it: for a host that keeps the consumption's
        id with its job first. Then ``apply_async(args, kwargs, task_id, consumption_id=held.id)`` queues the task.

        Args:
            args: The task's arguments.
            kwargs: Those by name.
            task_id: The task's id: repeated with it, this gives the same hold, as it was at first.

        Raises:
            InsufficientCreditsError: There are not enough credits.
            NotFoundError: No rate card prices this.
            ValidationError: A wrong quantity, attribute or id.
        """
        return self._hold(args, kwargs, None if task_id is None else _holds.key_of(task_id))

    def _asked(self, args: Any, kwargs: Any) -> dict[str, Any]:
        bound = inspect.signature(self.run).bind(*(args or ()), **(kwargs or {}))
        bound.apply_defaults()
        return self.terms.asked(bound.arguments)

    def _hold(self, args: Any, kwargs: Any, key: str | None) -> Consumption:
        return self._ledger.consume(**self._asked(args, kwargs), idempotency_key=key)

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
            consumption_id: A hold that was made before, by :meth:`hold` or by ``consume``, for this task alone; none is
                made then. It has to be its user's, of its feature, and for at least as much; no other task can have it
                afterwards. Where the task may have to be queued again, give a `task_id` of your own.

        Returns:
            The result, with the hold's id as ``consumption_id``; None where it is held when the task begins.

        Raises:
            InsufficientCreditsError: There are not enough credits.
            HoldExpiredError: The hold has expired.
            InvalidStateError: The task of this `task_id`, or the hold, was settled before; or another task has it.
            NotFoundError: There is no such hold of this user's.
            ValidationError: The hold is for something else, or for less.
        """
        sent = dict(headers or {})
        is_ours_alone = False
        # A retry, and what was put off, are on their way already.
        if HEADER not in sent and AWAY not in sent:
            is_ours_alone = task_id is None
            task_id = task_id or new_task_id()
            try:
                held_id = self._for_message(args, kwargs, task_id, consumption_id, is_new=is_ours_alone).id
            except CreditsError:
                # The next of a chain, or a callback: Celery queues it in the run of another task, which has succeeded.
                # Its own run will say what is wrong.
                if options.get("parent_id") is None or consumption_id is not None:
                    raise
            else:
                sent[HEADER], sent[CHECKED] = str(held_id), task_id
        begins = self._begins(options)
        if begins is not None and HEADER in sent and AWAY not in sent:
            try:
                _holds.keep_until(self._ledger, UUID(sent[HEADER]), begins)
            except CreditsError as error:
                _log.warning("consumption %s is not kept until its task begins: %s", sent[HEADER], error)
        try:
            result: Any = super().apply_async(
                args, kwargs, task_id, producer, link, link_error, shadow, headers=sent, **options
            )
        except Exception:
            # Nobody else knows the task's id, so nobody can queue it again.
            if is_ours_alone and HEADER in sent:
                self._release(UUID(sent[HEADER]), "the task could not be queued")
            raise
        result.consumption_id = UUID(sent[HEADER]) if HEADER in sent else None
        return result

    def _for_message(
        self, args: Any, kwargs: Any, task_id: str, given: UUID | str | None, *, is_new: bool
    ) -> Consumption:
        """The hold of a message's task."""
        if given is not None:
            held = self._ledger.get_consumption(given)
            asked = self._asked(args, kwargs)
            _holds.check_owner(held, asked)
            self._check_open(held)
            _holds.check_terms(self._ledger, held, asked)
            _holds.take(self._ledger, held, task_id)
            return held
        held = self._hold(args, kwargs, _holds.key_of(task_id))
        if not is_new:
            # As it stands now: a repeated consume gives its first answer.
            held = self._ledger.get_consumption(held.id)
            self._check_open(held)
        return held

    def _begins(self, options: Mapping[str, Any]) -> datetime | None:
        """When a task begins that has to wait."""
        countdown, eta = options.get("countdown"), options.get("eta")
        if countdown:
            return datetime.now(UTC) + timedelta(seconds=float(countdown))
        if isinstance(eta, str):
            eta = datetime.fromisoformat(eta)
        if not isinstance(eta, datetime):
            return None
        return eta if eta.tzinfo is not None else eta.replace(tzinfo=self.app.timezone)

    @staticmethod
    def _check_open(held: Consumption) -> None:
        if held.status in ("confirmed", "refunded"):
            raise InvalidStateError(
                f"the task of consumption {held.id} is {held.status} already; to do it again, take a new task_id",
                consumption_id=held.id,
                state=held.status,
            )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        request = self.request
        outer = _charge.get(None)
        if request.called_directly or (outer is not None and outer.task_id == request.id):
            # A function like any other: nobody has queued a job, or this is a job that calls its own function.
            return self.run(*args, **kwargs)
        # What an earlier run in this process has left says nothing about this one.
        _runs.pop(request.id, None)
        held = self._begin(args, kwargs)
        charge, run = Charge(held, request.id), _Run(held.id)
        _remember(request.id, run)
        token = _charge.set(charge)
        try:
            result = self.run(*args, **kwargs)
            if not run.is_retried:
                self._succeeded(charge, run, result)
            return result
        except (Ignore, Reject) as end:
            if not run.is_retried and not getattr(end, "requeue", False):
                self._release(held.id, type(end).__name__)
            raise
        except Exception as error:
            if request.is_eager and not isinstance(error, Retry):
                # Where the caller wants the error itself Celery tells nobody of it.
                self._undo(request.id, run, type(error).__name__)
            raise
        except SystemExit as error:
            if type(error) is not SystemExit:  # the worker's own end
                raise
            # It would end the process, and the message would be delivered to the next one.
            raise RuntimeError(f"the task called sys.exit({error.code!r})") from error
        finally:
            _charge.reset(token)

    def retry(self, *args: Any, **kwargs: Any) -> Any:
        """As Celery's. A task that goes on after ``retry(throw=False)`` is not charged by this run."""
        run = _runs.get(self.request.id)
        try:
            retried = super().retry(*args, **kwargs)
        except Retry:
            if run is not None:
                run.is_retried = True
            raise
        if run is not None:
            run.is_retried = True
        return retried

    def replace(self, sig: Any) -> Any:
        """Refused: the new task would have this one's id, and so its credits."""
        raise RuntimeError("a task that is charged for can't be replaced by another one; queue that and return")

    def _one_by_one(self, *_: Any, **__: Any) -> Any:
        """Refused: Celery would run them all as one task, and nobody would be charged."""
        raise RuntimeError("tasks that are charged for are queued one by one: use a group")

    map = starmap = chunks = _one_by_one

    def _begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Consumption:
        """The hold of this run."""
        request = self.request
        try:
            return self._held(args, kwargs)
        except UnavailableError as error:
            if request.is_eager:
                raise
            # Not by retry(): that would use up what the task has for itself.
            times = (request.headers or {}).get(AWAY, 0)
            pause = min(2**times, _PAUSE_MAX)
            headers = {**(request.headers or {}), AWAY: times + 1}
            again: Any = self.signature_from_request(request, countdown=pause, retries=request.retries, headers=headers)
            try:
                again.apply_async()
            except Exception as failure:
                raise Reject(failure, requeue=False) from failure
            raise Retry(exc=error, when=pause, sig=again) from error

    def _held(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Consumption:
        request, ledger = self.request, self._ledger
        sent, is_checked = _sent(request), _is_checked(request)
        if sent is None:
            sent, is_checked = self._hold(args, kwargs, _holds.key_of(request.id)).id, True
        # As it stands now: a repeated consume gives its first answer.
        held = ledger.get_consumption(sent)
        if not is_checked or request.retries:
            # Nobody has looked at this hold, or not for these arguments.
            asked = self._asked(args, kwargs)
            _holds.check_owner(held, asked)
            _holds.check_terms(ledger, held, asked)
        if not is_checked:
            # One that has expired is no longer anybody's: this task holds its own.
            with contextlib.suppress(HoldExpiredError):
                _holds.take(ledger, held, request.id)
        if held.status == "pending":
            try:
                held = _holds.renewed(ledger, held)
            except (HoldExpiredError, InvalidStateError):
                held = ledger.get_consumption(held.id)
        if held.status == "expired":
            held = self._again(held)
        request.update(headers={**(request.headers or {}), HEADER: str(held.id), CHECKED: request.id})
        if held.status == "refunded":
            raise InvalidStateError(
                f"the credits of task {request.id} were released before it began",
                consumption_id=held.id,
                state=held.status,
            )
        return held

    def _again(self, held: Consumption) -> Consumption:
        """What a task has instead of a hold that has expired."""
        task_id = self.request.id
        if self.terms.late == "reject":
            raise HoldExpiredError(
                f"the hold of task {task_id} had expired when it began; give it a longer ttl",
                consumption_id=held.id,
                expired_at=held.expires_at,
            )
        try:
            return _holds.held_again(self._ledger, held, task_id)
        except InsufficientCreditsError as refusal:
            raise InsufficientCreditsError(
                f"the hold of task {task_id} has expired, and its {refusal.required} credits are not there any more",
                required=refusal.required,
                available=refusal.available,
            ) from refusal

    def _succeeded(self, charge: Charge, run: _Run, result: Any) -> None:
        task_id, held = charge.task_id, charge.consumption
        usage, amount = charge.usage, charge.amount
        try:
            if self.terms.used is not None and usage is None and amount is None:
                usage = self.terms.used(result)
            usage = _exact(usage)
            settled = self._settled(run, charge, usage, amount)
        except Exception as error:
            # The work is done, and worth what was held for it.
            _log.error("task %s: what it used can't be charged, so what was held is: %s", task_id, error)
            settled = self._settled(run, charge, None, None)
        if settled is None:
            return
        run.has_charged = not charge.is_paid
        facts = {"consumption_id": str(held.id), "outcome": settled.outcome, "credits": settled.charged}
        if settled.outcome == "charged":
            _log.info("task %s: charged %s credits", task_id, settled.charged, extra=facts)
        else:
            _log.error("task %s is done, and not paid: its credits were %s", task_id, settled.outcome, extra=facts)

    def _settled(self, run: _Run, charge: Charge, usage: Any, amount: int | None) -> Settlement | None:
        """None where it is charged once the database is back."""
        held_id, terms = charge.consumption_id, self.terms
        try:
            settled = _holds.charge(self._ledger, held_id, charge.task_id, usage, amount, terms.overage, terms.late)
        except UnavailableError as error:
            _log.warning("consumption %s will be charged later: %s", held_id, error)
            run.has_charged = True
            books(self.app).settle_later(
                str(held_id),
                "succeeded",
                usage=_holds.plain(usage),
                amount=amount,
                task_id=charge.task_id,
                overage=terms.overage,
                late=terms.late,
            )
            return None
        # Where another run has held it again, that is what Celery's failure of this one gives back.
        run.consumption_id = settled.consumption.id
        return settled

    def failed(self, task_id: str, reason: str, request: Any = None, args: Any = None, kwargs: Any = None) -> None:
        """Celery has given the task up: nothing may have been charged for it."""
        run = _runs.get(task_id)
        if run is None:
            # Not in this process: what the message says, or what the key finds.
            sent = None if request is None else _sent(request)
            if sent is not None and not _is_checked(request):
                # It may be another task's. If it is nobody's it expires.
                _log.warning("task %s has failed, and is not known to have consumption %s", task_id, sent)
                return
            if sent is None:
                try:
                    sent = self._hold(args, kwargs, _holds.key_of(task_id)).id
                except (CreditsError, TypeError) as error:
                    _log.warning("task %s has failed, and its hold is not known: %s", task_id, error)
                    return
            run = _Run(sent)
        if not run.is_retried:
            self._undo(task_id, run, reason)

    def _undo(self, task_id: str, run: _Run, reason: str) -> None:
        try:
            settled = _holds.give_up(self._ledger, run.consumption_id, task_id, reason)
            if settled.outcome == "charged" and (run.has_charged or self._is_known_as_failed(task_id)):
                give_back(self._ledger, settled.consumption.id)
        except UnavailableError as error:
            _log.warning("task %s has failed, and is settled later: %s", task_id, error)
            outcome = "undone" if run.has_charged else "failed"
            books(self.app).settle_later(str(run.consumption_id), outcome, reason=reason, task_id=task_id)
        except CreditsError as error:
            _log.error("task %s has failed, and its credits are not back: %s", task_id, error)

    def _is_known_as_failed(self, task_id: str) -> bool:
        """Whether that is what Celery tells the caller, whatever an earlier run did."""
        try:
            return bool(self.AsyncResult(task_id).state == states.FAILURE)
        except Exception as error:
            _log.warning("what became of task %s can't be found out: %s", task_id, error)
            return False

    def _release(self, consumption_id: UUID, reason: str) -> None:
        """Where that fails the hold expires by itself."""
        try:
            Jobs(self._ledger).on_job_failed(consumption_id, reason)
        except CreditsError as error:
            _log.warning("consumption %s was not released: %s", consumption_id, error)


def _sent(request: Any) -> UUID | None:
    sent = (request.headers or {}).get(HEADER)
    return None if sent is None else UUID(sent)


def _is_checked(request: Any) -> bool:
    """Whether whoever queued this very task has found the message's hold to be the task's."""
    return bool((request.headers or {}).get(CHECKED) == request.id)


def _exact(usage: Any) -> Any:
    """A float, as JSON's numbers are read, means the number that it was written as."""
    if isinstance(usage, Mapping):
        return {name: _exact(number) for name, number in usage.items()}
    return Decimal(repr(usage)) if isinstance(usage, float) else usage


def _on_failure(
    sender: Any = None,
    task_id: str | None = None,
    exception: Any = None,
    args: Any = None,
    kwargs: Any = None,
    **_: Any,
) -> None:
    if isinstance(sender, ChargedTask) and task_id is not None:
        request = sender.request if sender.request.id == task_id else None
        sender.failed(task_id, type(exception).__name__, request, args, kwargs)


def _on_revoked(sender: Any = None, request: Any = None, **_: Any) -> None:
    if isinstance(sender, ChargedTask) and request is not None:
        sender.failed(request.id, "revoked", request, request.args, request.kwargs)


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
        late: Where the hold has expired when the task begins or ends: ``"recharge"`` takes the credits anew, before it
            begins or when it has succeeded. With ``"reject"`` it does not begin any more, and where it ends too late it
            is not charged.
        options: As those of ``app.task``. `acks_late` and `reject_on_worker_lost` are set.
    """
    if feature is None and amount is None:
        raise ValidationError("a charged task needs a feature, or an amount", field="amount")
    terms = Terms(user_id, feature, quantity, attributes, amount, reference, metadata, ttl, used, overage, late)

    # The application's own base, or the one that is asked for, is kept.
    given = options.pop("base", None) or app.Task
    base = given if issubclass(given, ChargedTask) else type("ChargedTask", (ChargedTask, given), {"abstract": True})

    def decorate(function: Callable[..., Any]) -> Any:
        # Not shared, as Celery's are, with every application of the process: it is charged to this one's ledger.
        return app.task(**{"base": base, "shared": False, **options, "terms": terms})(function)

    return decorate
