"""The ledger of a Celery application, and its periodic tasks: they write down what has passed its deadline, and follow
up orders.

How late they run changes no answer (rule "lazy-deadlines"), and they may run twice at once: each deadline is written
down once, whoever gets there first. So several beats and workers need nothing between them.
"""

# Celery has no types.
# pyright: basic

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from os import PathLike
from typing import Any, Literal, Unpack
from uuid import UUID

from celery import Celery
from celery.schedules import crontab, schedule

from .. import CleanedUp, Consumption, Ledger, NotFoundError, UnavailableError
from .._arguments import Late, Settings
from ..jobs import Settlement
from . import _holds

_log = logging.getLogger("jointo_credits.celery")

#: When the periodic tasks run where `register` is not told otherwise, by the name of the task.
SCHEDULE: Mapping[str, Any] = {
    "expire_pending_consumptions": crontab(minute="0"),
    "expire_lots": crontab(minute="30"),
    "reconcile_orders": timedelta(minutes=2),
    "anchor_books": crontab(minute="50"),
    "anchor_all_books": crontab(minute="20", hour="3"),
    "cleanup_old_transactions": crontab(minute="10", hour="4"),
    "cleanup_old_consumption_logs": crontab(minute="40", hour="4", day_of_week="sun"),
}

#: A periodic task that has waited so long in the queue is dropped: the next one does its work.
_STALE = timedelta(hours=1)
_ATTRIBUTE = "_jointo_credits"


class Books:
    """What a Celery application knows about its ledger: connected when it is first needed, in each process."""

    def __init__(self, app: Celery, ledger: Ledger | str, prefix: str, queue: str | None, settings: Settings) -> None:
        self._app = app
        self._given = ledger
        self._settings = settings
        self._ledger: Ledger | None = None if isinstance(ledger, str) else ledger
        self._prefix = prefix
        #: Options of each message: a task's own attribute is something that Celery gives up.
        self.routed = {} if queue is None else {"queue": queue}

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        if self._ledger is None:
            assert isinstance(self._given, str)
            # Without a lock, which a fork could leave locked: of two threads that connect at once one gives way.
            connected = Ledger.connect(self._given, **self._settings)
            if self._ledger is None:
                self._ledger = connected
            else:
                connected.close()
        return self._ledger

    def settle_later(self, consumption_id: str, outcome: str, **facts: Any) -> None:
        """Has a worker settle a job once the database is back."""
        self._app.tasks[self._prefix + "settle_job"].apply_async(
            (consumption_id, outcome), facts, countdown=5, **self.routed
        )


def give_back(ledger: Ledger, consumption_id: UUID | str) -> Consumption:
    """Takes a charge back, once, however often and from wherever it is asked for: Celery has failed its task."""
    return ledger.refund(consumption_id, reason="the task has failed", idempotency_key=f"failed:{consumption_id}")


def books(app: Celery) -> Books:
    """What :func:`register` has made.

    Raises:
        RuntimeError: It was not called.
    """
    found = getattr(app, _ATTRIBUTE, None)
    if not isinstance(found, Books):
        raise RuntimeError(
            f"the Celery application {app.main!r} has no ledger: call jointo_credits.celery.register(app, ...)"
        )
    return found


def register(
    app: Celery,
    ledger: Ledger | str,
    *,
    schedule: Mapping[str, Any] | None = None,
    prefix: str = "jointo_credits.",
    queue: str | None = None,
    archive: str | PathLike[str] | None = None,
    transactions_kept: timedelta = timedelta(days=365),
    consumption_logs_kept: timedelta = timedelta(days=365),
    anchor_key: str | None = None,
    keep_anchor: Callable[[str], object] | None = None,
    anchors_kept: int = 1000,
    **settings: Unpack[Settings],
) -> Books:
    """Gives a Celery application a ledger, and the tasks that keep its books tidy:

    - ``expire_pending_consumptions``, hourly: writes down the holds that have expired.
    - ``expire_lots``, hourly: writes down the lots that have expired.
    - ``cleanup_old_transactions``, daily, and ``cleanup_old_consumption_logs``, weekly: move what is old into an
      archive. Without one they keep everything.
    - ``anchor_books``, hourly: makes an anchor and gives it to ``keep_anchor``. Without that it does nothing.
    - ``anchor_all_books``, daily: the same, and looks at all accounts, as ``Ledger.anchor(all_accounts=True)`` does.

    Each gives counts as its result and logs them. Call it where the application is made, in every process: workers,
    beats, and whoever queues charged tasks.

    Args:
        app: The application.
        ledger: A ledger, or the URL of one: connected when it is first needed.
        schedule: Changes :data:`SCHEDULE`: by the name of a task, anything beat takes, or None to leave it out.
        prefix: What the names of the tasks and of their entries in beat's schedule begin with.
        queue: Where these tasks wait, so that they don't wait behind jobs: workers have to serve it
            (``celery worker -Q celery,credits``). The application's default queue without.
        archive: Where old entries and consumptions go: see ``Ledger.cleanup_transactions``. All workers must reach it.
        transactions_kept: How long entries are kept in the database; 30 days at the least.
        anchor_key: What anchors are signed with: PEM, see ``Ledger.anchor``. Without one they are not signed.
        keep_anchor: Puts an anchor where nobody can change it who can write to the database: a bucket, another machine.
            Called with its line; what it raises fails the task.
        anchors_kept: How many anchors the database keeps, so that they can be verified with.
        consumption_logs_kept: How long consumptions are; a consumption stays at least as long as its entries.
        settings: As those of ``Ledger.connect``, where a URL is given.

    Returns:
        The books; ``.ledger`` is the ledger.

    Raises:
        ValueError: The schedule names a task that there is not, or the application has a ledger already.
    """
    if hasattr(app, _ATTRIBUTE):
        raise ValueError(f"the Celery application {app.main!r} has a ledger already")
    if settings and not isinstance(ledger, str):
        raise ValueError("settings go with a URL; this ledger has its own")
    unknown = set(schedule or ()) - set(SCHEDULE)
    if unknown:
        raise ValueError(f"no such periodic task: {', '.join(sorted(unknown))}; there are {', '.join(SCHEDULE)}")
    made = Books(app, ledger, prefix, queue, settings)
    setattr(app, _ATTRIBUTE, made)

    def expire_pending_consumptions() -> dict[str, int]:
        """Writes down the holds that have expired."""
        return made.ledger.expire_pending().to_dict()

    def expire_lots() -> dict[str, int]:
        """Writes down the lots that have expired."""
        return made.ledger.expire_lots().to_dict()

    def reconcile_orders() -> dict[str, int]:
        """Asks the payment channels about the orders that wait: for payments nobody has told of, and for refunds."""
        done = made.ledger.reconcile_orders().to_dict()
        problems = done.pop("problems")
        for problem in problems:
            _log.error("order %s: %s", problem["order_no"], problem["error"])
        return done

    def cleanup(work: Callable[..., CleanedUp], kept: timedelta) -> dict[str, int]:
        if archive is None:
            return {"archived": 0, "removed": 0}
        done = work(kept, archive)
        return {"archived": done.archived, "removed": done.removed}

    def cleanup_old_transactions() -> dict[str, int]:
        """Moves old entries into the archive."""
        return cleanup(made.ledger.cleanup_transactions, transactions_kept)

    def cleanup_old_consumption_logs() -> dict[str, int]:
        """Moves consumptions that are over into the archive."""
        return cleanup(made.ledger.cleanup_consumption_logs, consumption_logs_kept)

    def anchor(all_accounts: bool) -> dict[str, int]:
        if keep_anchor is None:
            return {"anchors": 0}
        keep_anchor(made.ledger.anchor(key=anchor_key, unsigned=anchor_key is None, all_accounts=all_accounts))
        return {"anchors": 1, "pruned": made.ledger.prune_anchors(anchors_kept)}

    def anchor_books() -> dict[str, int]:
        """Makes an anchor, and has it kept elsewhere."""
        return anchor(all_accounts=False)

    def anchor_all_books() -> dict[str, int]:
        """Makes an anchor that looks at all accounts, and has it kept elsewhere."""
        return anchor(all_accounts=True)

    works: list[Callable[[], dict[str, int]]] = [
        expire_pending_consumptions,
        expire_lots,
        reconcile_orders,
        anchor_books,
        anchor_all_books,
        cleanup_old_transactions,
        cleanup_old_consumption_logs,
    ]
    chosen = {**SCHEDULE, **(schedule or {})}
    options: dict[str, Any] = {
        # Not, as Celery's are, for every application of the process: they keep this one's books.
        "shared": False,
        "autoretry_for": (UnavailableError,),
        "retry_backoff": True,
        "max_retries": 5,
        "acks_late": True,
    }
    planned: list[tuple[str, Any, Any]] = []
    for work in works:
        name = prefix + work.__name__
        task: Any = app.task(_logged(work, name), name=name, **options)
        if chosen[work.__name__] is not None:
            planned.append((name, _as_schedule(chosen[work.__name__]), task))

    def plan(**_: Any) -> None:
        for name, when, task in planned:
            app.add_periodic_task(when, task.s(), name=name, expires=_STALE.total_seconds(), **made.routed)

    # Late, so that a schedule which the host sets as a whole does not take theirs away.
    finalized: Any = app.on_after_finalize
    finalized.connect(plan, weak=False)
    if app.finalized:
        plan()

    def settle_job(
        consumption_id: str,
        outcome: Literal["succeeded", "failed", "undone"],
        *,
        usage: Any = None,
        amount: int | None = None,
        reason: str | None = None,
        task_id: str | None = None,
        overage: Literal["available", "debt"] = "available",
        late: Late = "recharge",
    ) -> dict[str, Any]:
        """Settles a job that could not be settled when it ended."""
        with contextlib.suppress(NotFoundError):
            if outcome == "succeeded":
                settled = _holds.charge(made.ledger, consumption_id, task_id, usage, amount, overage, late)
            else:
                settled = _holds.give_up(made.ledger, consumption_id, task_id, reason or "")
                if outcome == "undone" and settled.outcome == "charged":
                    settled = Settlement.of(give_back(made.ledger, settled.consumption.id), expired="released")
            return {"outcome": settled.outcome, "charged": settled.charged}
        return {"outcome": "unknown consumption", "charged": 0}

    # As long as it takes: a database may be away for days, and the hold says how long the job can still be paid.
    patient = {**options, "max_retries": None, "retry_backoff_max": 600}
    app.task(settle_job, name=prefix + "settle_job", **patient)
    return made


def _as_schedule(when: Any) -> Any:
    return schedule(when) if isinstance(when, timedelta) else when


def _logged(work: Callable[[], dict[str, int]], name: str) -> Callable[[], dict[str, int]]:
    def logged() -> dict[str, int]:
        counts = work()
        told = ", ".join(f"{what} {count}" for what, count in counts.items())
        _log.info("%s: %s", name, told, extra={"task": name, **counts})
        return counts

    logged.__name__, logged.__doc__ = work.__name__, work.__doc__
    return logged
