"""asyncio and uvloop: many at once, cancelled at any moment, on loops that come and go."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import select
import threading
import uuid
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest
import uvloop

from jointo_credits import (
    AsyncLedger,
    Consumption,
    CreditsError,
    InsufficientCreditsError,
    InvalidStateError,
    Ledger,
    UnavailableError,
    ValidationError,
)
from jointo_credits._native import Inbox, NativeLedger

Main = Callable[[], Coroutine[Any, Any, Any]]
RUNNERS: dict[str, Callable[[Coroutine[Any, Any, Any]], Any]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}


@pytest.fixture(params=list(RUNNERS))
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Runs a coroutine on a loop of its own, once on each kind."""
    return RUNNERS[request.param]


async def opened(url: str) -> AsyncLedger:
    ledger = await AsyncLedger.connect(url)
    await ledger.migrate()
    return ledger


def test_many_at_once_share_what_is_there(run: Any, url: str, user: uuid.UUID) -> None:
    async def main() -> list[Any]:
        async with await opened(url) as ledger:
            await ledger.grant(user, 500, source="purchase")
            uses = [ledger.consume(user, amount=75) for _ in range(20)]
            return await asyncio.gather(*uses, return_exceptions=True)

    outcomes = run(main())
    assert sum(isinstance(outcome, Consumption) for outcome in outcomes) == 6
    assert sum(isinstance(outcome, InsufficientCreditsError) for outcome in outcomes) == 14


def test_one_ledger_on_loops_that_come_and_go(run: Any, sqlite: str, user: uuid.UUID) -> None:
    ledger = run(opened(sqlite))
    for amount in range(1, 6):
        run(ledger.grant(user, amount, source="gift"))
    assert run(ledger.balance(user)).available == 15

    async def from_a_thread() -> int:
        return await asyncio.to_thread(lambda: asyncio.run(ledger.balance(user)).available)

    assert run(from_a_thread()) == 15
    run(ledger.close())


def test_a_loop_that_ends_while_calls_are_under_way(sqlite: str, user: uuid.UUID) -> None:
    ledger = asyncio.run(opened(sqlite))
    asyncio.run(ledger.grant(user, 1000, source="purchase"))

    async def leave_behind() -> None:
        calls = (ledger.consume(user, amount=1, idempotency_key=f"job-{n}") for n in range(100))
        tasks = [asyncio.ensure_future(call) for call in calls]
        await asyncio.sleep(0)
        assert not all(task.done() for task in tasks)

    asyncio.run(leave_behind())
    gc.collect()

    async def again() -> None:
        await asyncio.gather(*(ledger.consume(user, amount=1, idempotency_key=f"job-{n}") for n in range(100)))
        assert (await ledger.balance(user)).held == 100
        await ledger.close()

    asyncio.run(again())


def test_cancelled_calls_are_done_or_not(run: Any, postgres: str) -> None:
    """A thousand calls, cancelled at random moments; repeated with their keys, each is done once."""
    users = [uuid.uuid4() for _ in range(20)]
    chance = random.Random(7)

    async def main() -> None:
        async with await opened(postgres) as ledger:
            await asyncio.gather(*(ledger.grant(user, 10_000, source="purchase") for user in users))

            async def use(n: int) -> None:
                call = ledger.consume(users[n % 20], amount=1, idempotency_key=f"job-{n}")
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(call, chance.choice([0, 1e-6, 1e-4, 1e-3, 5e-3, 1, None]))

            tasks = [asyncio.ensure_future(use(n)) for n in range(1000)]
            await asyncio.sleep(0.002)
            for task in chance.sample(tasks, 300):
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            again = await asyncio.gather(
                *(ledger.consume(users[n % 20], amount=1, idempotency_key=f"job-{n}") for n in range(1000))
            )
            assert len({use.id for use in again}) == 1000
            assert (await ledger.trial_balance()).held == 1000
            assert (await ledger.verify()).is_clean
            assert {(await ledger.balance(user)).held for user in users} == {50}

    run(main())
    assert asyncio.run(connections(postgres)) == 0


async def connections(url: str) -> int:
    """How many there are, once those that are closing have closed."""
    admin = await asyncpg.connect(url)
    query = """SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()"""
    try:
        for _ in range(200):
            count = int(await admin.fetchval(query))
            if count == 0:
                break
            await asyncio.sleep(0.05)
        return count
    finally:
        await admin.close()


def test_the_loop_is_free_while_a_call_waits(run: Any, postgres: str, user: uuid.UUID) -> None:
    """Another transaction holds the account's row: the loop goes on meanwhile."""

    async def main() -> None:
        async with await opened(postgres) as ledger:
            await ledger.grant(user, 10, source="gift")
            other = await asyncpg.connect(postgres)
            lock = other.transaction()
            await lock.start()
            await other.execute("SELECT 1 FROM credit_accounts WHERE user_id = $1 FOR UPDATE", user)
            waiting = asyncio.ensure_future(ledger.consume(user, amount=1))
            turns = 0
            while turns < 1000 and not waiting.done():
                await asyncio.sleep(0)
                turns += 1
            assert turns == 1000
            await lock.rollback()
            assert (await waiting).amount == 1
            await other.close()

    run(main())


def test_threads_run_while_a_sync_call_waits(postgres: str, user: uuid.UUID) -> None:
    """The GIL is released: this very thread lets the other one's call go on."""

    async def hold() -> Any:
        other = await asyncpg.connect(postgres)
        await other.execute("BEGIN")
        await other.execute("SELECT 1 FROM credit_accounts WHERE user_id = $1 FOR UPDATE", user)
        return other

    with Ledger.connect(postgres) as ledger, asyncio.Runner() as runner:
        ledger.migrate()
        ledger.grant(user, 10, source="gift")
        other = runner.run(hold())
        waiting = threading.Thread(target=lambda: ledger.consume(user, amount=1))
        waiting.start()
        assert waiting.is_alive()
        runner.run(other.execute("ROLLBACK"))
        waiting.join(60)
        assert not waiting.is_alive()
        runner.run(other.close())


def test_hold_confirms_or_refunds(run: Any, url: str, user: uuid.UUID) -> None:
    async def main() -> None:
        async with await opened(url) as ledger:
            await ledger.seed_catalog()
            await ledger.grant(user, 100, source="purchase")
            async with ledger.hold(user, amount=10) as job:
                assert job.consumption.status == "pending"
            assert job.consumption.captured == 10
            async with ledger.hold(user, "video_generation", 10) as job:
                job.used(quantity=5)
            assert job.consumption.captured == (await ledger.calculate("video_generation", 5)).credits
            before = (await ledger.balance(user)).available
            with pytest.raises(ZeroDivisionError):
                async with ledger.hold(user, amount=10) as job:
                    raise ZeroDivisionError
            assert job.consumption.status == "refunded"
            held: list[Any] = []

            async def long() -> None:
                async with ledger.hold(user, amount=10) as job:
                    held.append(job)
                    await asyncio.sleep(3600)

            task = asyncio.ensure_future(long())
            while not held:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert held[0].consumption.status == "refunded"
            assert (await ledger.balance(user)).available == before
            with pytest.raises(InsufficientCreditsError):
                async with ledger.hold(user, amount=10_000):
                    pytest.fail("there is not so much")

    run(main())


def test_a_job_with_a_key_is_done_once(run: Any, url: str, user: uuid.UUID) -> None:
    """A task that is handed out again neither runs again nor takes back what it has earned."""

    async def main() -> None:
        async with await opened(url) as ledger:
            await ledger.grant(user, 100, source="purchase")
            runs = 0

            async def task(key: str, *, fails: bool) -> None:
                nonlocal runs
                async with ledger.hold(user, amount=50, idempotency_key=key):
                    runs += 1
                    if fails:
                        raise ZeroDivisionError

            await task("job", fails=False)
            with pytest.raises(InvalidStateError) as refused:
                await task("job", fails=True)
            assert (refused.value.state, runs) == ("confirmed", 1)
            assert (await ledger.balance(user)).spent == 50
            with pytest.raises(ZeroDivisionError):
                await task("another", fails=True)
            with pytest.raises(InvalidStateError) as refused:
                await task("another", fails=False)
            assert (refused.value.state, runs) == ("refunded", 2)
            # Whoever confirms in the block and fails afterwards has been paid.
            with pytest.raises(ZeroDivisionError):
                async with ledger.hold(user, amount=10) as job:
                    await ledger.confirm(job.consumption.id)
                    raise ZeroDivisionError
            assert (await ledger.balance(user)).spent == 60
            hold = ledger.hold(user, amount=10)
            async with hold:
                hold.used(amount=0)
            assert hold.consumption.status == "refunded"
            with pytest.raises(RuntimeError):
                await hold.__aenter__()

    run(main())


def test_a_cancelled_hold_is_neither_lost_nor_unpaid(run: Any, postgres: str, user: uuid.UUID) -> None:
    async def main() -> None:
        async with await opened(postgres) as ledger:
            await ledger.seed_catalog()
            await ledger.grant(user, 1000, source="purchase")
            await ledger.calculate("video_generation", 1)
            admin = await asyncpg.connect(postgres)

            async def cancelled_while_locked(task: asyncio.Task[None]) -> None:
                """Cancels it, twice, when it waits for the account that somebody else has locked."""
                async with admin.transaction():
                    await admin.execute("SELECT 1 FROM credit_accounts FOR UPDATE")
                    ready.set()
                    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
                    while await admin.fetchval(waiting) == 0:
                        await asyncio.sleep(0.001)
                    task.cancel()
                    await asyncio.sleep(0)
                    task.cancel()
                    await asyncio.sleep(0)
                    assert not task.done()
                with pytest.raises(asyncio.CancelledError):
                    await task

            async def enters() -> None:
                await ready.wait()
                async with ledger.hold(user, amount=100):
                    pytest.fail("it was cancelled before")

            async def leaves() -> None:
                async with ledger.hold(user, "video_generation", 10) as job:
                    entered.set()
                    await ready.wait()
                    job.used(quantity=5)

            ready = asyncio.Event()

            async def enters_with_a_key() -> None:
                await ready.wait()
                async with ledger.hold(user, amount=100, idempotency_key="job"):
                    pytest.fail("it was cancelled before")

            await cancelled_while_locked(asyncio.ensure_future(enters()))
            assert (await ledger.balance(user)).available == 1000
            ready = asyncio.Event()
            await cancelled_while_locked(asyncio.ensure_future(enters_with_a_key()))
            # The job that is run again goes on with what it has.
            assert (await ledger.balance(user)).held == 100
            async with ledger.hold(user, amount=100, idempotency_key="job") as job:
                job.used(amount=0)
            assert (await ledger.balance(user)).available == 1000
            ready, entered = asyncio.Event(), asyncio.Event()
            task = asyncio.ensure_future(leaves())
            await entered.wait()
            await cancelled_while_locked(task)
            spent = (await ledger.calculate("video_generation", 5)).credits
            assert (await ledger.balance(user)).spent == spent
            assert (await ledger.balance(user)).held == 0
            await admin.close()

    run(main())


def test_calls_of_a_loop_that_ends_give_their_places_back(
    sqlite: str, unlock: Callable[[], object], user: uuid.UUID
) -> None:
    """A queue of two, a database that can't be written, fifty calls, and then nobody who waits for them."""
    ledger = asyncio.run(AsyncLedger.connect(sqlite, queue_limit=2))
    tasks: list[Any] = []

    async def leave_behind() -> None:
        tasks.extend(asyncio.ensure_future(ledger.consume(user, amount=1)) for _ in range(50))
        await asyncio.sleep(0.05)

    asyncio.run(leave_behind())
    unlock()
    with pytest.raises(InsufficientCreditsError):
        asyncio.run(asyncio.wait_for(ledger.consume(user, amount=1), 60))
    asyncio.run(ledger.close())


def test_one_answer_that_can_t_be_given_starves_no_other() -> None:
    class Broken:
        def done(self) -> bool:
            return False

        def set_result(self, result: object) -> None:
            raise KeyboardInterrupt

        def cancel(self) -> None:
            cancelled.append(self)

    class Told(Broken):
        def set_result(self, result: object) -> None:
            told.append(result)

    told: list[object] = []
    cancelled: list[object] = []
    native = NativeLedger("memory:", None, None, {})
    native.connect().wait()
    inbox = Inbox()
    operations = [native.balance(uuid.uuid4(), None, False) for _ in range(50)]
    interrupts = 0
    for n, operation in enumerate(operations):
        try:
            operation.start(inbox, Broken() if n % 10 == 3 else Told())  # type: ignore[arg-type]
        except KeyboardInterrupt:  # it was answered at once
            interrupts += 1
    while len(told) < 45 or len(cancelled) < 5:
        select.select([inbox.fileno()], [], [], 60)
        try:
            inbox.deliver()
        except KeyboardInterrupt:
            interrupts += 1
    assert 1 <= interrupts <= 5


def test_a_failed_refund_does_not_hide_why_the_block_failed(sqlite: str, user: uuid.UUID, caplog: Any) -> None:
    with Ledger.connect(sqlite) as ledger:
        ledger.migrate()
        ledger.grant(user, 100, source="purchase")
        with pytest.raises(ZeroDivisionError) as failed, ledger.hold(user, amount=10) as job:
            ledger.close()
            raise ZeroDivisionError
        assert "was not refunded" in failed.value.__notes__[0]
        assert "was not refunded" in caplog.text
    with Ledger.connect(sqlite) as ledger:
        with pytest.raises(TypeError), ledger.hold(user, amount=10) as job:
            job.used(amount=1, quantity=1)
        for wrong in (-1, 1.5, "5", True):
            with pytest.raises(ValidationError), ledger.hold(user, amount=10) as job:
                job.used(amount=wrong)  # type: ignore[arg-type]
        assert ledger.balance(user).held == 10  # that of the ledger that was closed
        with pytest.raises(CreditsError), ledger.hold(user, amount=10) as job:
            job.used(amount=11_000)
        with pytest.raises(RuntimeError):
            _ = ledger.hold(user, amount=1).consumption


def test_a_cancelled_close_can_be_repeated(
    run: Any, sqlite: str, unlock: Callable[[], object], user: uuid.UUID
) -> None:
    async def main() -> None:
        ledger = await AsyncLedger.connect(sqlite)
        spending = asyncio.ensure_future(ledger.consume(user, amount=1))
        await asyncio.sleep(0)
        for _ in range(2):
            closing = asyncio.ensure_future(ledger.close())
            await asyncio.sleep(0.05)
            closing.cancel()
            await asyncio.wait([closing])
            assert closing.cancelled()
            assert not spending.done()
        unlock()
        await ledger.close()
        with pytest.raises(InsufficientCreditsError):
            await spending
        with pytest.raises(UnavailableError, match="closed"):
            await ledger.balance(user)

    run(main())
