"""The ends of a job. `_jobs.py` is made from this file by `scripts/make-sync`."""

from __future__ import annotations

import logging
from typing import Literal

from ._arguments import Id, Late, Quantity
from ._async_ledger import AsyncLedger
from ._errors import HoldExpiredError, InsufficientCreditsError, InvalidStateError, ValidationError
from ._results import Settlement

_log = logging.getLogger("jointo_credits.jobs")
_REASON_BYTES_MAX = 255


def _storable(reason: str | None) -> str | None:
    """What somebody else's error has to say must not keep a hold from being released."""
    if not reason:
        return None
    text = reason.replace("\0", " ").encode("utf-8", "replace")
    return text[:_REASON_BYTES_MAX].decode("utf-8", "ignore")


class AsyncJobs:
    """Callbacks for a service that does jobs: they settle the hold that a job was started with.

    Safe to repeat, and to arrive in any order or after the hold has expired:

    | what is reported | the hold is | what happens | outcome |
    | --- | --- | --- | --- |
    | success | pending | what was used is charged | `charged` |
    | success | pending, and credits or limits don't allow that much | what is held is charged | `charged` |
    | success | of an amount that no card priced, and a quantity is reported | what is held is charged | `charged` |
    | success | confirmed | nothing: it was reported before | `charged` |
    | success | expired | the credits are taken anew (``late="recharge"``) | `charged` |
    | success | expired, and the credits are not there any more, or ``late="reject"`` | nothing | `unpaid` |
    | success | refunded | nothing: the failure was reported before | `released` |
    | failure | pending | everything goes back | `released` |
    | failure | expired or refunded | nothing: it is back already | `released` |
    | failure | confirmed | nothing: the success was reported before | `charged` |

    So the first final word counts, and a job is never charged and failed. Each row is one command, decided by the
    ledger: two reports that arrive at once are decided one after the other.

    Args:
        ledger: Where the holds are.
        overage: Where more was used than is held: take what is ``"available"``, or book it as ``"debt"``. Where even
            that is refused what is held is charged, and a warning logged.
        late: Where the hold has expired: ``"recharge"`` takes the credits anew, ``"reject"`` leaves the job unpaid.

    >>> from jointo_credits.jobs import AsyncJobs
    >>> jobs = AsyncJobs(ledger)
    >>> hold = await ledger.consume(user, "video_generation", 10)
    >>> (await jobs.on_job_succeeded(hold.id, 5)).outcome
    'charged'
    >>> (await jobs.on_job_failed(hold.id, "too late to fail")).outcome
    'charged'
    """

    __slots__ = ("_late", "_ledger", "_overage")

    def __init__(
        self, ledger: AsyncLedger, *, overage: Literal["available", "debt"] = "available", late: Late = "recharge"
    ) -> None:
        self._ledger = ledger
        self._overage: Literal["available", "debt"] = overage
        self._late: Late = late

    async def on_job_succeeded(
        self, consumption_id: Id, usage: Quantity | None = None, *, amount: int | None = None
    ) -> Settlement:
        """Charges a job.

        Args:
            consumption_id: The hold.
            usage: How much was really used, priced by the card that the hold was made with. Everything that is held is
                charged where neither this nor `amount` is given, and where no card priced the hold: then whoever made
                it named what the job costs.
            amount: Credits that were really used; 0 releases the hold.

        Raises:
            NotFoundError: There is no such consumption.
            ValidationError: That can't be what was used.
            UnavailableError: The database is away: report it again.

        >>> from jointo_credits.jobs import AsyncJobs
        >>> hold = await ledger.consume(user, amount=30)
        >>> (await AsyncJobs(ledger).on_job_succeeded(hold.id, amount=20)).charged
        20
        """
        try:
            if amount == 0 and usage is None:
                done = await self._ledger.refund(consumption_id, reason="nothing was used", pending_only=True)
            else:
                done = await self._ledger.confirm(
                    consumption_id, amount=amount, quantity=usage, overage=self._overage, late=self._late
                )
        except InsufficientCreditsError as refusal:
            return await self._charge_what_is_held(consumption_id, refusal)
        except ValidationError as refusal:
            if usage is None or amount is not None or await self._is_priced(consumption_id):
                raise
            _log.warning(
                "consumption %s was not priced by a card; what is held is charged: %s", consumption_id, refusal
            )
            return await self.on_job_succeeded(consumption_id)
        except (InvalidStateError, HoldExpiredError):
            done = await self._ledger.get_consumption(consumption_id)
        return Settlement.of(done, expired="unpaid")

    async def _is_priced(self, consumption_id: Id) -> bool:
        return (await self._ledger.explain(consumption_id)).held is not None

    async def _charge_what_is_held(self, consumption_id: Id, refusal: InsufficientCreditsError) -> Settlement:
        found = await self._ledger.get_consumption(consumption_id)
        if found.status != "pending":
            return Settlement.of(found, expired="unpaid")
        _log.warning("consumption %s: more was used than can be paid: %s", found.id, refusal)
        try:
            return Settlement.of(await self._ledger.confirm(consumption_id), expired="unpaid")
        except (InvalidStateError, HoldExpiredError):
            return Settlement.of(await self._ledger.get_consumption(consumption_id), expired="unpaid")

    async def on_job_failed(self, consumption_id: Id, reason: str | None = None) -> Settlement:
        """Releases a job's hold, once it is certain that nothing comes of the job any more.

        Args:
            consumption_id: The hold.
            reason: Why, for the journal; what is beyond 255 bytes is cut off.

        Raises:
            NotFoundError: There is no such consumption.
            UnavailableError: The database is away: report it again, or let the hold expire.

        >>> from jointo_credits.jobs import AsyncJobs
        >>> hold = await ledger.consume(user, amount=30)
        >>> (await AsyncJobs(ledger).on_job_failed(hold.id, "out of memory")).outcome
        'released'
        """
        try:
            done = await self._ledger.refund(consumption_id, reason=_storable(reason), pending_only=True)
        except InvalidStateError:
            done = await self._ledger.get_consumption(consumption_id)
        return Settlement.of(done, expired="released")
