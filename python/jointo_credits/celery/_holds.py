"""Whose a hold is, and how a task whose hold has expired gets its credits again.

A hold belongs to one task. One that was made for a task has a key of the task. One that was made elsewhere, such as by
`consume` over HTTP, is taken by the first task that extends it with a key of the hold: the extension's reason names the
task, so the same task takes it again as often as it likes, and any other one is refused. The ledger keeps both, so they
outlive workers, brokers and results.

A hold that has expired is held again, or charged late, under one key of the hold and the task. So whoever works at the
same task at the same time (a message that is delivered twice, a settlement that was put off) does one of the two, once.
"""

# Celery has no types.
# pyright: basic

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

from .. import (
    Consumption,
    HoldExpiredError,
    IdempotencyConflictError,
    InsufficientCreditsError,
    InvalidStateError,
    Ledger,
    NotFoundError,
    ValidationError,
)
from .._arguments import Late
from ..jobs import Jobs, Settlement

_MOMENT = timedelta(seconds=1)
_MONTH = timedelta(days=30)
_REASON_BYTES_MAX = 255
#: How often a hold may have expired and been held again before its task is given up.
_AGAIN_MAX = 1_000


def key_of(task_id: str) -> str:
    """The key of the hold that is made for a task."""
    return f"celery:{task_id}"


def _key_again(held: Consumption, task_id: str) -> str:
    return f"celery-again:{held.id}:{task_id}"


def _name_of(task_id: str) -> str:
    reason = f"Celery's task {task_id}"
    if len(reason.encode("utf-8", "replace")) > _REASON_BYTES_MAX:
        reason = f"Celery's task with SHA-256 {hashlib.sha256(task_id.encode('utf-8', 'replace')).hexdigest()}"
    return reason


def lifetime(held: Consumption) -> timedelta:
    """How long a hold was to live."""
    return min(max(held.expires_at - held.created_at, _MOMENT), _MONTH)


def _made_with(ledger: Ledger, held: Consumption) -> str | None:
    """The key that a hold was made with; None where it had none.

    Raises:
        InvalidStateError: The entry that made it has left the journal: nobody can tell which task it is for.
    """
    cursor = None
    while True:
        # From the newest entry of that time back. Not from the time itself on (`since`): where another clock is behind,
        # that begins after the entries of that clock, and the one that is looked for may stand before these.
        page = ledger.transactions(
            held.user_id,
            kind="consume",
            until=held.created_at + timedelta(microseconds=1),
            limit=100,
            cursor=cursor,
        )
        for entry in page.items:
            if entry.consumption_id == held.id:
                return entry.idempotency_key
        cursor = page.next_cursor
        if cursor is None:
            raise InvalidStateError(
                f"nobody can tell which task consumption {held.id} was made for: its entry has left the journal",
                consumption_id=held.id,
                state=held.status,
            )


def is_of_terms(ledger: Ledger, held: Consumption, asked: Mapping[str, Any]) -> bool:
    """Whether a hold is for what a task asks for: the feature, and as much of it as was priced. By the prices of when
    it was made, so that the answer is the same for as long as a message waits."""
    feature, amount = asked["feature"], asked["amount"]
    if held.feature != feature:
        return False
    if amount is not None:
        return held.amount >= int(amount)
    price = ledger.calculate(feature, asked["quantity"], asked["attributes"], user_id=held.user_id, at=held.created_at)
    quote = ledger.explain(held.id).held
    if quote is None:
        # An amount that somebody named: it has to reach.
        return held.amount >= price.credits
    # What was really used is priced by this quote in the end: so the attributes count as much as the credits.
    has, needs = quote.quantities, price.quantities
    return quote.attributes == price.attributes and all(has.get(name, -1) >= needs[name] for name in needs)


def check_owner(held: Consumption, asked: Mapping[str, Any]) -> None:
    """Refuses a hold that is another user's."""
    if str(held.user_id) != str(asked["user_id"]):
        raise NotFoundError(f"no consumption {held.id} of this user's", what="consumption", id=held.id)


def check_terms(ledger: Ledger, held: Consumption, asked: Mapping[str, Any]) -> None:
    """Refuses a hold for something else, or for less, than a task asks for."""
    if not is_of_terms(ledger, held, asked):
        problem = "is a hold for something else, or for less, than this task does"
        raise ValidationError(
            f"consumption_id {problem}: consumption {held.id} holds {held.amount} credits for {held.feature}",
            field="consumption_id",
            problem=problem,
            limit="a hold of the task's feature, quantities and attributes, as the task's hold() makes it",
            value=str(held.id),
        )


def take(ledger: Ledger, held: Consumption, task_id: str) -> None:
    """Takes a hold for a task: for good, and for no other task after that.

    Raises:
        InvalidStateError: Another task has it, or may have it, or it is settled.
        HoldExpiredError: It has expired, and no task had taken it.
    """
    made_with = _made_with(ledger, held) or ""
    maker, _, whose = made_with.partition(":")
    if maker == "celery-again":
        _, _, whose = whose.partition(":")
    if maker in ("celery", "celery-again"):
        if whose == task_id:
            return
    else:
        with suppress(IdempotencyConflictError):
            ledger.extend(held.id, _MOMENT, reason=_name_of(task_id), idempotency_key=f"celery-task:{held.id}")
            return
    raise InvalidStateError(
        f"consumption {held.id} is held for another task: each task needs a hold of its own",
        consumption_id=held.id,
        state=held.status,
    )


def keep_until(ledger: Ledger, consumption_id: UUID, begins: datetime) -> None:
    """Has a hold live as long after that time as it was to live anyway, 30 days from now at the most."""
    held = ledger.get_consumption(consumption_id)
    whole = lifetime(held)
    if held.status == "pending" and held.expires_at - begins < whole / 2:
        ledger.extend(held.id, min(max(begins + whole - datetime.now(UTC), _MOMENT), _MONTH))


def renewed(ledger: Ledger, held: Consumption) -> Consumption:
    """A hold with most of its time left: what is about to expire gets its whole time again.

    Raises:
        HoldExpiredError: It has just expired.
    """
    whole = lifetime(held)
    if held.expires_at - datetime.now(UTC) < whole / 2:
        return ledger.extend(held.id, whole)
    return held


def held_again(ledger: Ledger, held: Consumption, task_id: str) -> Consumption:
    """The hold of a task whose first one has expired: made anew, for the same at the prices of now, or the one that
    another run of the task has made. Where the expired one was charged or given up meanwhile, that one, as it stands.

    Raises:
        InsufficientCreditsError: The credits are not there any more.
        InvalidStateError: The task was given up.
        NotFoundError: Nothing prices it any more.
    """
    for _ in range(_AGAIN_MAX):
        if held.status != "expired":
            return held
        expired = held
        quote = ledger.explain(held.id).held
        asked: dict[str, Any]
        if quote is None:
            asked = {"amount": held.amount}
        else:
            # As it was asked for then, without what the card has made of what was not said.
            frozen = json.loads(quote.to_json())
            given = {name: how["given"] for name, how in frozen["quantities"].items() if "given" in how}
            asked = {"quantity": given or None, "attributes": frozen["attributes"] or None}
        try:
            made = ledger.consume(
                held.user_id,
                held.feature,
                ttl=lifetime(held),
                reference=held.reference,
                metadata=held.metadata,
                idempotency_key=_key_again(held, task_id),
                **asked,
            )
        except IdempotencyConflictError:
            held = ledger.get_consumption(expired.id)
            if held.status == "expired":
                raise InvalidStateError(
                    f"task {task_id} was given up before it began", consumption_id=held.id, state=held.status
                ) from None
            return held
        # As they stand now. What a slower process has charged just before the deadline needs no second hold.
        expired = ledger.get_consumption(expired.id)
        if expired.status != "expired":
            with suppress(InvalidStateError):
                ledger.refund(made.id, reason="its task was settled meanwhile", pending_only=True)
            return expired
        held = ledger.get_consumption(made.id)
    raise HoldExpiredError(
        f"the hold of task {task_id} expires again and again; give it a longer ttl",
        consumption_id=held.id,
        expired_at=held.expires_at,
    )


def charge(
    ledger: Ledger,
    consumption_id: UUID | str,
    task_id: str | None,
    usage: Any,
    amount: int | None,
    overage: Literal["available", "debt"],
    late: Late,
) -> Settlement:
    """Charges a task that has succeeded, once, whoever else works at it."""
    if task_id is None:
        # A message of an older version.
        return Jobs(ledger, overage=overage, late=late).on_job_succeeded(consumption_id, usage, amount=amount)
    jobs = Jobs(ledger, overage=overage, late="reject")
    settled = jobs.on_job_succeeded(consumption_id, usage, amount=amount)
    while settled.outcome == "unpaid" and late == "recharge" and amount != 0:
        expired = settled.consumption
        try:
            done = ledger.confirm(
                expired.id,
                amount=amount,
                quantity=usage,
                overage=overage,
                late="recharge",
                idempotency_key=_key_again(expired, task_id),
            )
            return Settlement.of(done, expired="unpaid")
        except InsufficientCreditsError:
            return settled
        except InvalidStateError:
            return Settlement.of(ledger.get_consumption(expired.id), expired="unpaid")
        except IdempotencyConflictError:
            # Another run has held the credits again, charged it, or given it up.
            try:
                held = held_again(ledger, expired, task_id)
            except (InvalidStateError, InsufficientCreditsError):
                return settled
            settled = jobs.on_job_succeeded(held.id, usage, amount=amount)
    return settled


def give_up(ledger: Ledger, consumption_id: UUID | str, task_id: str | None, reason: str) -> Settlement:
    """Releases what is held for a task that has failed for good, also where that was held again meanwhile."""
    jobs = Jobs(ledger)
    settled = jobs.on_job_failed(consumption_id, reason)
    for _ in range(_AGAIN_MAX):
        expired = settled.consumption
        if expired.status != "expired" or task_id is None:
            break
        try:
            # From now on nobody holds again for it.
            ledger.refund(expired.id, reason="its task was given up", idempotency_key=_key_again(expired, task_id))
            break
        except IdempotencyConflictError:
            try:
                held = held_again(ledger, expired, task_id)
            except (InvalidStateError, InsufficientCreditsError):
                break
            settled = jobs.on_job_failed(held.id, reason)
    return settled


def plain(usage: Any) -> Any:
    """As JSON has it; exact."""
    if isinstance(usage, Mapping):
        return {name: plain(number) for name, number in usage.items()}
    return str(usage) if isinstance(usage, Decimal) else usage
