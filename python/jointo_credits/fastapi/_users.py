"""What users may do with credits themselves, and what stays the host's.

A price is not what the payer says it is. So a user names *what* is used, and a rate card says what it costs:

| a user may not give | because |
| --- | --- |
| `amount`, where a rate card prices the feature, or at all | one credit would pay for a job of 480 |
| `ttl` | a hold that expires in a second pays for no job; its credits are free for the next one meanwhile |
| a `reference` or `metadata` of the host's | the host would find what a user made up: they are kept apart |
| `overage="debt"` | a user owes no more than they could have spent: it counts as `"available"` |
| `late="recharge"` | a hold of before a change of prices would keep its price for ever: consume anew |
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from inspect import isawaitable
from typing import Any, TypeAlias
from uuid import UUID

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from .. import AsyncLedger, Consumption, NotFoundError, ValidationError
from . import _models as models
from ._failures import Refused

#: How much of a user's metadata is kept, in bytes of JSON.
USERS_METADATA_BYTES_MAX = 4 * 1024


@dataclass(frozen=True, slots=True)
class UsersConsume:
    """What a user wants to consume: what goes to `AsyncLedger.consume`."""

    feature: str | None = None
    """What is used."""
    quantity: str | Mapping[str, str] | None = None
    """How much of it: exact numbers, as text."""
    attributes: Mapping[str, str] | None = None
    """What the price goes by."""
    amount: int | None = None
    """Credits to hold: None where a user has not said any, or may not; a host's terms may give one."""
    ttl: timedelta | float | None = None
    """How long the hold lives: None from a user; a host's terms may give one."""
    reference: str | None = None
    """The user's name for it, with `user:` before it."""
    metadata: Mapping[str, Any] | None = None
    """The user's facts, under the name `user`."""


Terms: TypeAlias = Callable[[Request, UUID, UsersConsume], UsersConsume | Awaitable[UsersConsume]]
"""Looks at what a user wants to consume: gives what is held, or raises an `HTTPException`."""


def _not_for_users(field: str, problem: str) -> Refused:
    return Refused(403, "forbidden", f"{field}: {problem}", field=field, problem=problem)


async def _is_priced(books: AsyncLedger, user: UUID, feature: str | None) -> bool:
    if feature is None:
        return False
    try:
        await books.calculate(feature, None, user_id=user)
    except NotFoundError:
        return False
    except ValidationError:
        pass  # there is a card, which wants to know more
    return True


async def _check_amount(books: AsyncLedger, user: UUID, feature: str | None, allowed: bool) -> None:
    if not allowed:
        raise _not_for_users("amount", "users name a feature, whose rate card says what it costs")
    if await _is_priced(books, user, feature):
        raise _not_for_users("amount", f"a rate card says what {feature} costs")


def _apart(asked: models.ConsumeIn) -> tuple[str | None, dict[str, Any] | None]:
    """A user's reference and metadata, where none of the host's can be."""
    reference = None if asked.reference is None else f"user:{asked.reference}"
    if reference is not None and len(reference.encode()) > models.KEY_BYTES_MAX:
        problem = f"must not be longer than {models.KEY_BYTES_MAX - len('user:')} bytes"
        raise ValidationError(f"reference: {problem}", field="reference", problem=problem)
    if asked.metadata is None:
        return reference, None
    if len(json.dumps(asked.metadata, ensure_ascii=False).encode("utf-8", "replace")) > USERS_METADATA_BYTES_MAX:
        problem = f"must not be longer than {USERS_METADATA_BYTES_MAX} bytes"
        raise ValidationError(f"metadata: {problem}", field="metadata", problem=problem)
    return reference, {"user": asked.metadata}


async def users_consume(
    books: AsyncLedger,
    request: Request,
    user: UUID,
    asked: models.ConsumeIn,
    terms: Terms | None,
    may_name_amounts: bool,
) -> UsersConsume:
    """What is held for a user.

    Raises:
        Refused: They say what is the host's to say.
    """
    if asked.ttl is not None:
        raise _not_for_users("ttl", "how long a hold lives is not for users to say")
    if asked.amount is not None:
        await _check_amount(books, user, asked.feature, may_name_amounts)
    elif asked.feature is None and terms is None:
        raise _not_for_users("feature", "is missing: name what is used; its rate card says what it costs")
    reference, metadata = _apart(asked)
    wanted = UsersConsume(
        asked.feature, asked.quantity, asked.attributes, asked.amount, reference=reference, metadata=metadata
    )
    if terms is None:
        return wanted
    # A plain function may take its time, too.
    held = await run_in_threadpool(terms, request, user, wanted)
    return await held if isawaitable(held) else held


async def check_users_confirm(
    books: AsyncLedger, user: UUID, asked: models.ConfirmIn, of: Consumption, may_name_amounts: bool
) -> None:
    """Whether a user may confirm like that.

    Raises:
        Refused: They say what is the host's to say.
    """
    if asked.late != "reject":
        raise _not_for_users("late", "a hold whose time is over is not for users to charge; consume anew")
    if asked.amount is not None:
        await _check_amount(books, user, of.feature, may_name_amounts)


__all__ = ["Terms", "UsersConsume", "check_users_confirm", "users_consume"]
