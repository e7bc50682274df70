"""Made by `scripts/make-sync` from `_async_ledger.py`: change that one, not this."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from types import TracebackType
from typing import Any, Never, Self, Unpack

from ._arguments import ConsumeItem, Duration, Id, Late, Number, Overage, Place, Quantity, Settings, Shortfall
from ._waiting import acquire, finish, pause, run
from ._checks import card_text, check_credits
from ._errors import CreditsError, InvalidStateError
from ._native import ManualClock, NativeLedger
from ._results import (
    ArchiveFile,
    Balance,
    ClawbackReceipt,
    CleanedUp,
    Consumption,
    Explanation,
    Inspection,
    Kind,
    Matured,
    Money,
    Notification,
    NotificationReply,
    Order,
    OrderStatus,
    Package,
    Page,
    PaymentRequest,
    PendingHolds,
    Pricing,
    Quote,
    Receipt,
    Reconciled,
    Source,
    StatementReport,
    Stats,
    Status,
    Transaction,
    TrialBalance,
    Verification,
)
from ._statement.statement import Statement

__all__ = ["Hold", "Ledger"]

_log = logging.getLogger("jointo_credits")
#: How many of a statement's entries are made before others have their turn.
_PIECE = 500


class Ledger:
    """A credit ledger in a database of yours. Open one with :meth:`connect` and keep it: it is meant to be shared by
    all threads and tasks, and works in processes that are forked later.

    Every method that changes an account's credits takes an ``idempotency_key``: repeated with the same key, it gives
    the first answer again and changes nothing. That makes it safe to repeat after a timeout, a cancellation or an
    :class:`UnavailableError`. What takes no key is safe to repeat as it is: the further steps of an order, sweeps, and
    changes of packages and rate cards. ``docs/python.md`` says why.

    Ids are `uuid.UUID` (text of one is accepted), amounts are whole credits (`int`), prices are `decimal.Decimal`,
    times are aware `datetime`. All errors are :class:`CreditsError`; every method can raise :class:`UnavailableError`
    where the database fails, and :class:`ValidationError` for an argument that can't be.

    >>> from jointo_credits import Ledger
    >>> ledger = Ledger.connect("sqlite::memory:")
    >>> ledger.migrate()
    >>> user = "00000000-0000-0000-0000-000000000001"
    >>> receipt = ledger.grant(user, 100, source="purchase", idempotency_key="order-1")
    >>> hold = ledger.consume(user, amount=75, idempotency_key="job-1")
    >>> ledger.balance(user).available
    25
    >>> ledger.confirm(hold.id, amount=60).captured
    60
    >>> ledger.balance(user).available
    40
    >>> ledger.close()
    """

    __slots__ = ("__weakref__", "_native")

    def __init__(self, native: NativeLedger | None = None, **settings: Never) -> None:
        """Not to be called: see :meth:`connect`."""
        if settings or not isinstance(native, NativeLedger):
            raise TypeError("Ledger(...) opens nothing; write `Ledger.connect(url)`")
        self._native = native

    @classmethod
    def connect(
        cls,
        url: str,
        *,
        schema: str | None = None,
        clock: ManualClock | None = None,
        **settings: Unpack[Settings],
    ) -> Self:
        """Opens a ledger. The tables need not be there yet: see :meth:`migrate`.

        Args:
            url: ``sqlite:///credits.db`` (relative to the working directory), ``sqlite:////var/lib/app/credits.db``
                (absolute), ``sqlite::memory:``, ``postgresql://user:password@host:5432/database?sslmode=verify-full``,
                or ``memory:`` (no database at all, for tests). Every part of it is honoured or refused by name:
                ``docs/production.md`` has the list.
            schema: The PostgreSQL schema that the tables are in; the role's ``search_path`` decides without.
            clock: A :class:`ManualClock` for tests; the system's time without.
            settings: See :class:`Settings`: ``hold_ttl``, ``max_connections``, ``pgbouncer`` and others.

        Raises:
            ValidationError: The URL or a setting can't be; ``field`` names it.
            UnavailableError: The database can't be reached or opened.

        >>> ledger = Ledger.connect("sqlite::memory:", hold_ttl=900)
        >>> ledger.close()
        """
        native = NativeLedger(url, schema, clock, dict(settings))
        run(native.connect())
        return cls(native)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Takes no more calls, answers those that wait, and gives the connections back. Closing twice is no error; the
        second time waits too, where the first was cancelled."""
        closing = self._native.close()
        if closing is not None:
            run(closing)

    def migrate(self) -> None:
        """Makes the tables, or brings them up to date. Safe to run twice, and from several processes at once.

        Raises:
            UnavailableError: The database can't be changed, or is newer than this library.
        """
        return run(self._native.migrate())

    def check(self) -> None:
        """Checks that the tables are there and of this library's version.

        Raises:
            UnavailableError: They are not; the message says what to do.
        """
        return run(self._native.check())

    def seed_catalog(self) -> None:
        """Installs the packages and rate cards that the library comes with, where they are not there yet. What an
        operator has changed stays as it is, however often this runs."""
        return run(self._native.seed_catalog())

    # --- what there is

    def balance(self, user_id: Id, at: datetime | None = None, *, fresh: bool = False) -> Balance:
        """What an account has now, or had at a time. One that was never used has nothing.

        Args:
            user_id: The account.
            at: An aware datetime; the answer then comes from the journal, and takes as long as that is.
            fresh: From the database, whatever a cache says.

        >>> ledger.balance(user).available
        1000
        """
        return run(self._native.balance(user_id, at, fresh))

    def transactions(
        self,
        user_id: Id,
        *,
        kind: Kind | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
        archive: Place | None = None,
    ) -> Page[Transaction]:
        """A page of an account's journal, newest first. Cursors stay valid while entries are added.

        Args:
            user_id: The account.
            kind: Only entries of this kind.
            since: From this time on.
            until: Before this time.
            limit: How many, 1 to 1,000.
            cursor: The page before's ``next_cursor``.
            archive: Where entries are that have left the database: from the first one on.

        >>> [entry.kind for entry in ledger.transactions(user)]
        ['grant']
        """
        return run(self._native.transactions(user_id, kind, since, until, limit, cursor, archive))

    def all_transactions(
        self,
        user_id: Id,
        *,
        kind: Kind | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        archive: Place | None = None,
    ) -> Generator[Transaction, None, None]:
        """All of an account's journal, newest first, fetched page by page while it is iterated; with an ``archive``,
        also what has left the database.

        >>> [entry.change for entry in ledger.all_transactions(user)]
        [1000]
        """
        cursor: str | None = None
        while True:
            page = self.transactions(
                user_id, kind=kind, since=since, until=until, limit=1000, cursor=cursor, archive=archive
            )
            for entry in page:
                yield entry
            cursor = page.next_cursor
            if cursor is None:
                return

    def statement(self, user_id: Id, since: datetime, until: datetime, *, limit: int = 100_000) -> Statement:
        """An account's statement of an interval: opening and closing balance, the entries in between, and what they add
        up to; as data, CSV, and a page for the customer. See ``docs/statements.md``.

        Args:
            user_id: The account.
            since: From this time on.
            until: Before this time.
            limit: The most entries that it may have, up to 100,000. Each takes about 2 KB of memory.

        Raises:
            ValidationError: `since` is after `until`, or the interval has more entries than `limit`: then none is read.

        >>> from datetime import datetime, timezone
        >>> start, end = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (2020, 2100))
        >>> statement = ledger.statement(user, start, end)
        >>> (statement.opening.total, statement.totals.granted, statement.closing.total)
        (0, 1000, 1000)
        >>> print(statement.to_csv(language="en").splitlines()[0])
        No.,Time,Entry,Available +/-,Held +/-,Available,Held,Feature,Reference,Reason,Counter-account,Consumption,Lot
        """
        summary, left = run(self._native.statement(user_id, since, until, limit))
        entries: list[Transaction] = []
        while piece := left.take(_PIECE):
            entries += piece
            pause()
        return replace(summary, entries=tuple(entries))

    def consumption(
        self, user_id: Id, *, status: Status | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[Consumption]:
        """A page of an account's consumptions, newest first.

        Args:
            user_id: The account.
            status: Only those that stand like this now.
            limit: How many, 1 to 1,000.
            cursor: The page before's ``next_cursor``.

        >>> hold = ledger.consume(user, amount=5)
        >>> [use.status for use in ledger.consumption(user)]
        ['pending']
        """
        return run(self._native.consumption(user_id, status, limit, cursor))

    def get_consumption(self, consumption_id: Id) -> Consumption:
        """One consumption, as it stands now.

        Raises:
            NotFoundError: There is none with that id.

        >>> hold = ledger.consume(user, amount=5)
        >>> ledger.get_consumption(hold.id) == hold
        True
        """
        return run(self._native.get_consumption(consumption_id))

    def explain(self, consumption_id: Id) -> Explanation:
        """Why a consumption cost what it did, and which lots paid for it.

        Raises:
            NotFoundError: There is no such consumption.

        >>> hold = ledger.consume(user, "image_generation", 2)
        >>> why = ledger.explain(hold.id)
        >>> (why.held.credits, [(paid.lot.source, paid.amount) for paid in why.lots])
        (8, [('purchase', 8)])
        """
        return run(self._native.explain(consumption_id))

    # --- prices

    def calculate(
        self,
        feature: str,
        quantity: Quantity | None = 1,
        attributes: Mapping[str, str] | None = None,
        *,
        user_id: Id | None = None,
        at: datetime | None = None,
    ) -> Quote:
        """What a call would cost. Changes nothing.

        Args:
            feature: What is used.
            quantity: How much: a number, or a mapping such as ``{"input_tokens": 1200, "output_tokens": 700}`` where
                the card meters several quantities. None where it is not known yet: the card's estimate is taken.
            attributes: What the price goes by, such as ``{"quality": "hd"}``.
            user_id: The account, which may have a rate card of its own.
            at: The price of another time.

        Raises:
            NotFoundError: No rate card is in force.
            ValidationError: The card does not price such a call.

        >>> quote = ledger.calculate("image_generation", 2, {"quality": "hd"})
        >>> (quote.credits, quote.exact)
        (12, Decimal('12'))
        >>> print(quote)
        图片生成 (image_generation), version 1
                   8  图片（张）: 2 at 4
                   0  resolution 1024x1024: 8 times 1
                   4  quality hd: 8 times 1.5
                  12  exact
                  12  credits
        """
        price = self._native.calculate(feature, quantity, attributes, user_id, at)
        return price if isinstance(price, Quote) else run(price)

    # --- spending

    def consume(
        self,
        user_id: Id,
        feature: str | None = None,
        quantity: Quantity | None = None,
        attributes: Mapping[str, str] | None = None,
        *,
        amount: int | None = None,
        ttl: Duration | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Consumption:
        """Holds credits for a job that is about to begin: the price of a feature, or an amount.

        The hold's price is frozen: :meth:`confirm` with a quantity prices by the same card. A hold that is neither
        confirmed nor refunded gives its credits back when its time is over.

        Args:
            user_id: The account.
            feature: What is used. Without an ``amount`` its rate card prices it.
            quantity: See :meth:`calculate`; None where it is not known yet.
            attributes: See :meth:`calculate`.
            amount: Credits to hold, in place of a price.
            ttl: How long the hold lives, 1 s to 30 d; the card's, or the ledger's ``hold_ttl``, without.
            reference: A name of your own for it, such as a job's id.
            metadata: Facts of your own: a dict of what JSON can say (names are text, whole numbers have 64 bits), up to
                16 KiB as JSON and 64 levels.
            idempotency_key: Makes repeating it safe.

        Raises:
            InsufficientCreditsError: With ``required`` and ``available``.
            NotFoundError: No rate card is in force for the feature.
            IdempotencyConflictError: The key was used for another request.

        >>> ledger.consume(user, amount=30, ttl=600).status
        'pending'
        >>> ledger.consume(user, "image_generation", 2, {"quality": "hd"}).amount
        12
        """
        return run(
            self._native.consume(
                user_id, feature, quantity, attributes, amount, ttl, reference, metadata, idempotency_key
            )
        )

    def consume_many(self, items: Iterable[ConsumeItem]) -> list[Consumption | CreditsError]:
        """Holds credits for up to 1,000 jobs, each accepted or refused on its own.

        Args:
            items: For each job a dict of :meth:`consume`'s arguments.

        Returns:
            In the same order: the consumption, or the error that it would have been alone (returned, not raised).

        >>> outcomes = ledger.consume_many([{"user_id": user, "amount": 10}, {"user_id": user, "amount": 5000}])
        >>> [type(outcome).__name__ for outcome in outcomes]
        ['Consumption', 'InsufficientCreditsError']
        """
        outcomes = run(self._native.consume_many(items))
        return list(outcomes)

    def confirm(
        self,
        consumption_id: Id,
        *,
        amount: int | None = None,
        quantity: Quantity | None = None,
        overage: Overage = "reject",
        late: Late = "reject",
        idempotency_key: str | None = None,
    ) -> Consumption:
        """Spends what a hold keeps, or what was really used; the rest goes back.

        Args:
            consumption_id: The hold.
            amount: Credits that were really used.
            quantity: How much was really used: priced by the card that the hold was made with.
            overage: What to do where more was used than is held: ``"reject"``; ``"available"``: take the difference
                where all of it is there, and refuse otherwise; ``"debt"``: take it all and book what is missing.
            late: What to do after the deadline: ``"reject"``, or ``"recharge"``: take the credits anew.
            idempotency_key: Makes repeating it safe.

        Raises:
            NotFoundError: There is no such consumption.
            InvalidStateError: It is settled already.
            HoldExpiredError: Its deadline has passed.
            ValidationError: More was used than is held, and ``overage`` is ``"reject"``.
            InsufficientCreditsError: ``late="recharge"``, and there are not enough credits any more.

        >>> hold = ledger.consume(user, amount=30)
        >>> ledger.confirm(hold.id, amount=25).captured
        25
        """
        return run(self._native.confirm(consumption_id, amount, quantity, overage, late, idempotency_key))

    def refund(
        self,
        consumption_id: Id,
        *,
        amount: int | None = None,
        reason: str | None = None,
        operator: str | None = None,
        pending_only: bool = False,
        idempotency_key: str | None = None,
    ) -> Consumption:
        """Gives credits back: of a hold all, of a confirmed consumption all or a part.

        Args:
            consumption_id: The consumption.
            amount: How many of a confirmed one's credits; all without.
            reason: Why.
            operator: Who asks for it.
            pending_only: Refuses to reverse a capture: for whoever gives up a job and can't know whether somebody else
                has finished it meanwhile.
            idempotency_key: Makes repeating it safe.

        Raises:
            NotFoundError: There is no such consumption.
            InvalidStateError: There is nothing to give back, or it is confirmed and ``pending_only``.

        >>> hold = ledger.consume(user, amount=30)
        >>> ledger.refund(hold.id, reason="the job failed").status
        'refunded'
        """
        return run(self._native.refund(consumption_id, amount, reason, operator, pending_only, idempotency_key))

    def extend(
        self, consumption_id: Id, ttl: Duration, *, reason: str | None = None, idempotency_key: str | None = None
    ) -> Consumption:
        """Gives a hold more time, counted from now; never less than it has.

        Args:
            consumption_id: The hold.
            ttl: From now on.
            reason: Why, or for whom. Of two that give the same key and different reasons one is refused, so a key made
                of the hold's id says whom a hold is for.
            idempotency_key: Makes repeating it safe.

        Raises:
            NotFoundError: There is no such consumption.
            InvalidStateError: It is no hold any more.
            HoldExpiredError: Its deadline has passed.

        >>> hold = ledger.consume(user, amount=30, ttl=60)
        >>> ledger.extend(hold.id, 3600).expires_at > hold.expires_at
        True
        """
        return run(self._native.extend(consumption_id, ttl, reason, idempotency_key))

    def hold(
        self,
        user_id: Id,
        feature: str | None = None,
        quantity: Quantity | None = None,
        attributes: Mapping[str, str] | None = None,
        *,
        amount: int | None = None,
        ttl: Duration | None = None,
        reference: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
        overage: Overage = "reject",
        late: Late = "reject",
    ) -> Hold:
        """Holds credits for a block of code: confirmed when it ends, refunded when it raises (which goes on).

        The arguments are those of :meth:`consume`, and ``overage`` and ``late`` of :meth:`confirm`. Where the block
        says nothing, all that is held is spent; ``used()`` says what was really used. Where the confirmation is refused
        (more was used than is held) the error is raised, and the hold stays until it expires or is confirmed otherwise.

        With an idempotency key the block runs once: where the key's hold is settled already, entering raises
        :class:`InvalidStateError` with its ``state``. So a job that was done is not done again, and one that failed
        takes a new key to be tried again. A capture is never taken back, whatever the block raises. The key names the
        job: two blocks that have it at once both run, as runs of one job do, and are charged once.

        >>> with ledger.hold(user, amount=50) as job:
        ...     job.used(amount=20)
        >>> job.consumption.captured
        20
        """
        asked: ConsumeItem = {
            "user_id": user_id,
            "feature": feature,
            "quantity": quantity,
            "attributes": attributes,
            "amount": amount,
            "ttl": ttl,
            "reference": reference,
            "metadata": metadata,
            "idempotency_key": idempotency_key,
        }
        return Hold(self, asked, overage, late)

    # --- granting

    def grant(
        self,
        user_id: Id,
        amount: int,
        *,
        source: Source,
        priority: int = 0,
        expires_at: datetime | None = None,
        cost: Money | None = None,
        reference: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Grants credits, as a lot of their own. Debt is paid first.

        Args:
            user_id: The account.
            amount: How many.
            source: Where they come from: ``purchase``, ``bonus``, ``subscription``, ``opening`` ...
            priority: Lots with a lower one burn first; within one priority what expires soonest, then promotional
                before paid credits, then the oldest.
            expires_at: When what is left of them expires.
            cost: What was paid for them, for reports.
            reference: A name of your own, such as an order's number.
            idempotency_key: Makes repeating it safe.

        >>> receipt = ledger.grant(user, 100, source="purchase", reference="order-7", idempotency_key="order-7")
        >>> (receipt.lot.amount, receipt.available)
        (100, 1100)
        """
        return run(
            self._native.grant(user_id, amount, source, priority, expires_at, cost, reference, idempotency_key)
        )

    def gift(
        self,
        user_id: Id,
        amount: int,
        *,
        reason: str,
        operator: str | None = None,
        expires_at: datetime | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Grants credits as a present, and writes it into the register of gifts.

        >>> ledger.gift(user, 20, reason="an outage", operator="li", idempotency_key="outage-7").amount
        20
        """
        return run(self._native.gift(user_id, amount, reason, operator, expires_at, idempotency_key))

    def adjust(
        self,
        user_id: Id,
        amount: int,
        *,
        reason: str,
        operator: str | None = None,
        idempotency_key: str | None = None,
    ) -> Receipt:
        """Corrects a balance, up or down.

        Raises:
            InsufficientCreditsError: Less is available than is to be taken.

        >>> ledger.adjust(user, -5, reason="counted twice").available
        995
        """
        return run(self._native.adjust(user_id, amount, reason, operator, idempotency_key))

    def set_credit_limit(self, user_id: Id, credit_limit: int, *, idempotency_key: str | None = None) -> Receipt:
        """Sets how far below zero :meth:`consume` may take the balance; 0 for not at all.

        >>> ledger.set_credit_limit(user, 50).credit_limit
        50
        """
        return run(self._native.set_credit_limit(user_id, credit_limit, idempotency_key))

    def clawback(
        self,
        user_id: Id,
        lot_id: Id,
        *,
        amount: int | None = None,
        shortfall: Shortfall = "forgive",
        reason: str | None = None,
        operator: str | None = None,
        idempotency_key: str | None = None,
    ) -> ClawbackReceipt:
        """Takes granted credits back, such as those of a payment that was returned.

        Args:
            user_id: The account.
            lot_id: The lot that was granted.
            amount: How many of its credits; all without.
            shortfall: What to do about those that are spent: ``"forgive"``, or book them as ``"debt"``.
            reason: Why.
            operator: Who asks for it.
            idempotency_key: Makes repeating it safe.

        Raises:
            NotFoundError: The account has no such lot.

        >>> bought = ledger.grant(user, 100, source="purchase")
        >>> ledger.clawback(user, bought.lot.id, reason="chargeback").taken
        100
        """
        return run(self._native.clawback(user_id, lot_id, amount, shortfall, reason, operator, idempotency_key))

    # --- orders

    def create_order(
        self, user_id: Id, package_id: Id, channel: str, *, idempotency_key: str | None = None
    ) -> Order:
        """Writes down that somebody buys a package. Price and credits are frozen; :meth:`pay_order` is next.

        Args:
            user_id: Who gets the credits.
            package_id: What is bought.
            channel: Through which payment channel: one of those the ledger was connected with, or ``"manual"``.
            idempotency_key: Makes repeating it safe.

        Raises:
            NotFoundError: There is no such package.
            ValidationError: It is not for sale, the account has bought it as often as it may, or the channel takes no
                such price.

        >>> package = ledger.packages()[0]
        >>> order = ledger.create_order(user, package.id, "manual", idempotency_key="checkout-1")
        >>> (order.status, order.price, order.currency)
        ('created', Decimal('9.90'), 'CNY')
        """
        return run(self._native.orders.create(user_id, package_id, channel, idempotency_key))

    def pay_order(
        self,
        order_no: str,
        *,
        method: str | None = None,
        payer: str | None = None,
        payer_ip: str | None = None,
        return_url: str | None = None,
    ) -> PaymentRequest:
        """Tells the channel of an order, and gets what the payer needs. Repeated, it gets that anew; so a payer can
        change his mind about how to pay.

        Args:
            order_no: The order.
            method: In which way: ``native``, ``jsapi`` or ``h5`` for WeChat Pay, ``page`` or ``qr`` for Alipay; the
                first of these without.
            payer: The payer as the channel knows him, such as the ``openid`` of WeChat Pay's JSAPI.
            payer_ip: The payer's IP address, which WeChat Pay's H5 wants.
            return_url: Where the payer's browser goes afterwards.

        Raises:
            NotFoundError: There is no such order.
            InvalidStateError: It can't be paid any more.
            ValidationError: The channel needs something else.
            PaymentChannelError: The channel says no.
            UnavailableError: The channel can't be reached; repeating the call is safe.

        >>> package = ledger.packages()[0]
        >>> order = ledger.create_order(user, package.id, "manual")
        >>> ledger.pay_order(order.order_no).parameters == {"reference": order.order_no}
        True
        """
        return run(self._native.orders.pay(order_no, method, payer, payer_ip, return_url))

    def order(self, order_no: str) -> Order:
        """One order, as it stands.

        Raises:
            NotFoundError: There is none with that number.

        >>> package = ledger.packages()[0]
        >>> order = ledger.create_order(user, package.id, "manual")
        >>> ledger.order(order.order_no) == order
        True
        """
        return run(self._native.orders.get(order_no))

    def orders(
        self,
        *,
        user_id: Id | None = None,
        status: OrderStatus | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Order]:
        """A page of orders, newest first.

        Args:
            user_id: Only this account's.
            status: Only those that stand like this.
            limit: How many, 1 to 1,000.
            cursor: The page before's ``next_cursor``.

        >>> [order.status for order in ledger.orders(user_id=user)]
        []
        """
        return run(self._native.orders.list(user_id, status, limit, cursor))

    def handle_notification(self, channel: str, headers: Mapping[str, str], body: bytes) -> Notification:
        """Reads what a channel sends, and settles what it says is paid: once, however often it comes. Answer with
        :meth:`notification_reply`.

        Args:
            channel: Whose notification it is; each channel has a URL of its own.
            headers: The request's.
            body: The request's, byte for byte.

        Raises:
            PaymentVerificationError: It is not genuine, or not about what was sold.
            NotFoundError: The order is not one of ours.
            UnavailableError: The database is away; the channel will send it again.

        >>> ledger.handle_notification("manual", {}, b"paid!")
        Traceback (most recent call last):
            ...
        jointo_credits._errors.PaymentVerificationError: manual: nobody notifies of manual payments; settle_order does
        """
        return run(self._native.orders.handle_notification(channel, headers, body))

    def notification_reply(self, channel: str, taken: bool) -> NotificationReply:
        """What to answer to a channel's notification.

        Args:
            channel: The channel.
            taken: Whether :meth:`handle_notification` has raised nothing; else the channel shall send it again.

        >>> ledger.notification_reply("manual", taken=True).status
        200
        """
        return run(self._native.orders.notification_reply(channel, taken))

    def settle_order(
        self,
        order_no: str,
        *,
        transaction_id: str,
        amount: Number,
        currency: str = "CNY",
        paid_at: datetime | None = None,
    ) -> Order:
        """Settles an order by hand: for the channel ``manual``, and for operators who see the money.

        Args:
            order_no: The order.
            transaction_id: What names the payment. Another one for a settled order is refused.
            amount: What was paid; it has to be the order's price.
            currency: In which currency.
            paid_at: When.

        Raises:
            NotFoundError: There is no such order.
            PaymentVerificationError: Amount, currency or transaction are not the order's.

        >>> package = ledger.packages()[0]
        >>> order = ledger.create_order(user, package.id, "manual")
        >>> paid = ledger.settle_order(order.order_no, transaction_id="transfer 7", amount="9.90")
        >>> (paid.status, ledger.balance(user).available)
        ('paid', 1110)
        """
        return run(self._native.orders.settle(order_no, transaction_id, amount, currency, paid_at))

    def close_order(self, order_no: str) -> Order:
        """Makes sure that nobody can pay an order any more. One that was paid meanwhile is settled, and returned so.

        Raises:
            NotFoundError: There is no such order.
            InvalidStateError: It was paid.
            UnavailableError: The channel can't be reached.

        >>> package = ledger.packages()[0]
        >>> order = ledger.create_order(user, package.id, "manual")
        >>> ledger.close_order(order.order_no).status
        'closed'
        """
        return run(self._native.orders.close(order_no))

    def refund_order(
        self,
        order_no: str,
        *,
        amount: Number | None = None,
        shortfall: Shortfall = "forgive",
        reason: str | None = None,
        operator: str | None = None,
        idempotency_key: str | None = None,
    ) -> Order:
        """Sends money of an order back, and takes back the credits that it bought, in proportion. What the channel has
        not ended yet is ``refunding``; :meth:`reconcile_orders` follows it up.

        Args:
            order_no: The order.
            amount: How much, in the order's currency; all that has not gone back yet without.
            shortfall: What to do about credits that are spent: ``"forgive"``, or book them as ``"debt"``.
            reason: Why.
            operator: Who asks for it.
            idempotency_key: Makes repeating it safe. Further parts of an order need one each.

        Raises:
            NotFoundError: There is no such order.
            InvalidStateError: It was not paid, or all of it went back.
            PaymentChannelError: The channel refuses; the credits are back.

        >>> package = ledger.packages()[0]
        >>> order = ledger.create_order(user, package.id, "manual")
        >>> paid = ledger.settle_order(order.order_no, transaction_id="transfer 8", amount="9.90")
        >>> back = ledger.refund_order(order.order_no, amount="4.95", reason="half of it was not needed")
        >>> (back.status, back.refunded, back.refunds[0].taken)
        ('partially_refunded', Decimal('4.95'), 55)
        """
        return run(self._native.orders.refund(order_no, amount, shortfall, reason, operator, idempotency_key))

    def reconcile_orders(self, min_age: Duration = 60) -> Reconciled:
        """Asks the channels about every order that waits: settles the paid ones whose notification never came, closes
        those whose time is over, follows up refunds. Run it every few minutes, from as many processes as you like.

        Args:
            min_age: Younger orders are left alone: their notification may be on its way.

        >>> ledger.reconcile_orders().failed
        0
        """
        return run(self._native.orders.reconcile(min_age))

    def reconcile_statement(
        self, channel: str, bill: bytes, *, since: datetime, until: datetime
    ) -> StatementReport:
        """Compares a channel's bill with the books. Changes nothing.

        Args:
            channel: Whose bill it is.
            bill: The file, as the channel publishes it.
            since: The time that the bill is of begins here,
            until: and ends before this.

        Raises:
            ValidationError: It is no bill of this channel's; the message names the line.

        >>> from datetime import UTC, datetime, timedelta
        >>> day = datetime(2026, 11, 1, tzinfo=UTC)
        >>> ledger.reconcile_statement("manual", b"", since=day, until=day + timedelta(days=1))
        Traceback (most recent call last):
            ...
        jointo_credits._errors.ValidationError: bill: can't be: nobody publishes one
        (expected another channel, got manual)
        """
        return run(self._native.orders.reconcile_statement(channel, bill, since, until))

    # --- upkeep

    def expire_pending(self, limit: int | None = None) -> Matured:
        """Writes down the holds that have expired; with a limit, at least that many if there are, and then stops.

        Balances are right without it: run it now and then, from as many processes as you like.

        >>> ledger.expire_pending().holds
        0
        """
        return run(self._native.expire_pending(limit))

    def expire_lots(self, limit: int | None = None) -> Matured:
        """Writes down the lots that have expired; with a limit, at least that many if there are, and then stops.

        >>> ledger.expire_lots().lots
        0
        """
        return run(self._native.expire_lots(limit))

    def cleanup_transactions(
        self, older_than: Duration, archive: Place, *, limit: int | None = None, dry_run: bool = False
    ) -> CleanedUp:
        """Moves old entries of the journal into an archive, and puts a checkpoint for each account in their place. The
        books lose nothing by it. Safe at any time, from several processes, and to be broken off: the next call goes on.

        What an order needs, holds that are pending, and idempotency keys of the last 30 days stay.

        Args:
            older_than: How old an entry must be: 30 days at the least.
            archive: A directory, which has to be there; or ``s3://bucket/prefix``, with what the environment's usual
                ``AWS_*`` variables say.
            limit: Ends once so many rows are archived, or a few more.
            dry_run: Counts what would leave, and changes nothing.

        Raises:
            ValidationError: The age is too low, or the archive is none.
            UnavailableError: The archive or the database fails. Nothing is lost: call it again.

        >>> import tempfile
        >>> from datetime import timedelta
        >>> with tempfile.TemporaryDirectory() as archive:
        ...     (ledger.cleanup_transactions(timedelta(days=365), archive)).removed
        0
        """
        return run(self._native.cleanup_transactions(older_than, archive, limit, dry_run))

    def cleanup_consumption_logs(
        self, older_than: Duration, archive: Place, *, limit: int | None = None, dry_run: bool = False
    ) -> CleanedUp:
        """Moves consumptions that are over into an archive, once all their entries have left the journal
        (:meth:`cleanup_transactions`). One that has left can't be refunded any more.

        Args:
            older_than: How long ago it must have changed for the last time: 30 days at the least.
            archive: As of :meth:`cleanup_transactions`, and so is everything else.

        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as archive:
        ...     ledger.cleanup_consumption_logs(365 * 86_400, archive, dry_run=True).removed
        0
        """
        return run(self._native.cleanup_consumption_logs(older_than, archive, limit, dry_run))

    def archives(self) -> tuple[ArchiveFile, ...]:
        """The files of the archive, oldest first, as the database knows them.

        >>> ledger.archives()
        ()
        """
        return run(self._native.archives())

    def stats(self) -> Stats:
        """What this process's ledger has done: commands by outcome, how long they took, how many shared a write.
        Asks no database. ``jointo_credits.prometheus`` shows it to Prometheus.

        >>> [(each.operation, each.outcome) for each in ledger.stats().answers]
        [('grant', 'ok')]
        """
        return run(self._native.stats())

    def pending_holds(self) -> PendingHolds:
        """How many holds wait for their job's end, in the whole database. The cost grows with their number.

        >>> ledger.pending_holds().holds
        0
        """
        return run(self._native.pending_holds())

    def inspect(self) -> Inspection:
        """Looks at the database: whether it has the tables of this version, all indexes and triggers, keeps what it has
        acknowledged, and agrees about the time. Changes nothing.

        >>> ledger.inspect().problems
        ()
        """
        return run(self._native.inspect())

    def verify(
        self,
        archive: Place | None = None,
        *,
        anchor: str | None = None,
        public_key: str | None = None,
        unsigned: bool = False,
    ) -> Verification:
        """Derives every balance, lot, hold, number and hash from the journal again, and names what does not fit; also
        of the catalogue and of the schema.

        It reads one picture of the database while traffic goes on. Where entries have left the database it begins at
        the accounts' checkpoints.

        Args:
            archive: Where they are: audited with the database as one chain, file by file.
            anchor: What :meth:`anchor` gave, from where it was kept: then everything before it has to be what it was,
                and entries or accounts that are gone are named.
            public_key: Whose anchors are believed: 64 hexadecimal digits, or PEM.
            unsigned: Believes an anchor that is not signed.

        Raises:
            ValidationError: The anchor is another ledger's, or not signed with that key.

        >>> ledger.verify().is_clean
        True
        """
        return run(self._native.verify(archive, anchor, public_key, unsigned))

    def anchor(self, *, key: str | None = None, unsigned: bool = False, all_accounts: bool = False) -> str:
        """Makes an anchor: a line of text over everything in the books, to be kept where whoever can write to the
        database can't change it. It costs what changed since the last one.

        Args:
            key: What it is signed with: the PEM text that ``openssl genpkey -algorithm ed25519`` writes. It is not
                stored.
            unsigned: Signs it with nothing.
            all_accounts: Looks at every account, whether anything seems to have changed or not.

        Raises:
            ValidationError: The key is none.
            UnavailableError: The database failed; or it does not go on from the last anchor, and no anchor was made.

        >>> anchor = ledger.anchor(unsigned=True)
        >>> ledger.verify(anchor=anchor, unsigned=True).is_clean
        True
        """
        return run(self._native.anchor(key, unsigned, all_accounts))

    def prune_anchors(self, keep: int) -> int:
        """Removes all but the newest anchors, and what only they need, from the database. Says how many. What was
        removed can't be verified with any more.

        Args:
            keep: How many stay; 2 at the least.

        >>> ledger.prune_anchors(100)
        0
        """
        return run(self._native.prune_anchors(keep))

    def prove(self, user_id: Id, anchor: str, *, archive: Place | None = None) -> str:
        """Proves an account's entries, up to the one that was anchored, to somebody who has only the anchor:
        :func:`jointo_credits.check_proof`.

        Args:
            user_id: The account.
            anchor: What :meth:`anchor` gave.
            archive: Where old entries are that have left the database; without, the proof begins after them.

        Raises:
            NotFoundError: The anchor does not cover that account.

        >>> from jointo_credits import check_proof
        >>> anchor = ledger.anchor(unsigned=True)
        >>> proof = ledger.prove(user, anchor)
        >>> check_proof(anchor, proof, unsigned=True).last.available
        1000
        """
        return run(self._native.prove(user_id, anchor, archive))

    def trial_balance(self) -> TrialBalance:
        """Sums all accounts and all counter-accounts. Together they are zero.

        >>> books = ledger.trial_balance()
        >>> (books.available, books.counter_accounts, books.is_balanced)
        (1000, {'issued.purchase': -1000}, True)
        """
        return run(self._native.trial_balance())

    # --- the catalogue

    def packages(self) -> tuple[Package, ...]:
        """The packages, in the order in which a shop shows them; those that can't be bought too.

        >>> [(package.name, package.price) for package in ledger.packages()][:1]
        [('入门套餐', Decimal('9.90'))]
        """
        return run(self._native.packages())

    def package(self, package_id: Id) -> Package:
        """One package as it is now.

        Raises:
            NotFoundError: There is none with that id.
        """
        return run(self._native.package(package_id))

    def package_versions(self, package_id: Id) -> tuple[Package, ...]:
        """Every version of a package, oldest first.

        Raises:
            NotFoundError: There is none with that id.
        """
        return run(self._native.package_versions(package_id))

    def save_package(
        self,
        name: str,
        price: Number,
        credits: int,
        *,
        package_id: Id | None = None,
        description: str = "",
        currency: str = "CNY",
        bonus_credits: int = 0,
        validity_days: int | None = None,
        sort_order: int = 0,
        recommended: bool = False,
        active: bool = True,
        purchase_limit: int | None = None,
    ) -> Package:
        """Saves a package: a new one, or, with ``package_id``, all of an old one anew. Every version is kept. Where
        one is there that is so in every field, nothing is added and it is returned: so the call is safe to repeat.

        Raises:
            ValidationError: A field can't be.
            NotFoundError: There is no package with that id.

        >>> package = ledger.save_package("尝鲜", "1.00", 10, purchase_limit=1)
        >>> (package.version, package.price)
        (1, Decimal('1.00'))
        """
        return run(
            self._native.save_package(
                package_id,
                name,
                description,
                price,
                currency,
                credits,
                bonus_credits,
                validity_days,
                sort_order,
                recommended,
                active,
                purchase_limit,
            )
        )

    def pricing(self, feature: str | None = None) -> tuple[Pricing, ...]:
        """Every version of a feature's rate card, or of all features', by feature and version.

        >>> [card.version for card in ledger.pricing("image_generation")]
        [1]
        """
        return run(self._native.pricing(feature))

    def set_pricing(
        self,
        card: Mapping[str, Any] | str,
        *,
        user_id: Id | None = None,
        effective_from: datetime | None = None,
        effective_until: datetime | None = None,
    ) -> Pricing:
        """Adds a version of a feature's rate card. Setting the card that is in force anyway adds nothing, so the call
        is safe to repeat. A card that says ``"retired": True``, and the feature and its name, ends the feature's price.

        Args:
            card: The card, as a mapping or as JSON; it names the feature. Its form is in ``docs/rate-cards.md``. Rates
                are text, ints or Decimals.
            user_id: The account it is for; everybody without.
            effective_from: From when it counts; from now on without.
            effective_until: Until when; as long as no later one counts without.

        Raises:
            ValidationError: With the ``path`` of the fault in the card.

        >>> card = {"feature": "upscaling", "name": "放大", "components": [{"model": "flat", "rate": "2"}]}
        >>> ledger.set_pricing(card).version
        1
        """
        return run(self._native.set_pricing(card_text(card), user_id, effective_from, effective_until))


class Hold:
    """Credits that are held for a block of code: see :meth:`Ledger.hold`."""

    __slots__ = ("_asked", "_consumption", "_entered", "_late", "_ledger", "_overage", "_used")

    def __init__(self, ledger: Ledger, asked: ConsumeItem, overage: Overage, late: Late) -> None:
        self._ledger = ledger
        self._asked = asked
        self._overage: Overage = overage
        self._late: Late = late
        self._entered = False
        self._used: tuple[int | None, Quantity | None] = (None, None)
        self._consumption: Consumption | None = None

    @property
    def consumption(self) -> Consumption:
        """The hold; after the block, what has become of it."""
        if self._consumption is None:
            raise RuntimeError("nothing is held yet: enter the block first")
        return self._consumption

    def used(self, *, amount: int | None = None, quantity: Quantity | None = None) -> None:
        """Says what was really used: credits (0: nothing, all of it goes back), or a quantity that the hold's own card
        prices. The last word counts.

        Raises:
            ValidationError: That can't be a number of credits.
            TypeError: Both were given, or neither.
        """
        if (amount is None) == (quantity is None):
            raise TypeError("used() takes an amount or a quantity")
        if amount is not None:
            check_credits("amount", amount)
        self._used = (amount, quantity)

    def __enter__(self) -> Self:
        if self._entered:
            raise RuntimeError("this hold was entered before; call hold() for each block")
        self._entered = True
        if self._asked.get("idempotency_key") is None:
            held = acquire(self._ledger.consume(**self._asked), self._release)
        else:
            # Cancelled here it stays held: another run of the same job may have it already, or go on with it.
            held = finish(self._ledger.consume(**self._asked))
            # A repetition has the first answer, whatever has become of it since.
            held = self._ledger.get_consumption(held.id)
            if held.status != "pending":
                raise InvalidStateError(
                    f"the job of this idempotency key is {held.status} already (consumption {held.id}); "
                    "to do it again, take a new key",
                    consumption_id=held.id,
                    state=held.status,
                )
        self._consumption = held
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held = self.consumption
        if kind is None:
            amount, quantity = self._used
            if amount == 0:
                self._consumption = finish(self._release(held, reason="nothing was used"))
            else:
                self._consumption = finish(
                    self._ledger.confirm(
                        held.id, amount=amount, quantity=quantity, overage=self._overage, late=self._late
                    )
                )
            return
        try:
            self._consumption = finish(self._release(held, reason=kind.__name__))
        except CreditsError as failure:
            # What the block raised is what its caller has to see. A hold expires by itself.
            _log.warning("consumption %s was not refunded: %s", held.id, failure)
            if error is not None:
                error.add_note(f"jointo_credits: consumption {held.id} was not refunded: {failure}")

    def _release(self, held: Consumption, reason: str = "cancelled") -> Consumption:
        return self._ledger.refund(held.id, reason=reason, pending_only=True)
