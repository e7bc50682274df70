"""Nothing is left behind by a call: objects and file descriptors are counted, and memory is measured."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import time
import uuid
import weakref
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from jointo_credits import AsyncLedger, CreditsError, Ledger

CALLS = 1_000_000
ROUND = 50_000


def resident() -> int:
    """MiB of memory that this process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def growth() -> tuple[int, int]:
    """What a million calls leave behind, in MiB and descriptors: prices, balances, refusals, wrong arguments."""
    user = uuid.uuid4()
    with Ledger.connect("memory:") as ledger:
        ledger.migrate()
        ledger.seed_catalog()

        def calls(count: int) -> None:
            for n in range(count // 4):
                ledger.calculate("image_generation", 1 + n % 5, {"quality": "hd"}).to_dict() if n % 50 == 0 else None
                ledger.calculate("text_processing", {"input_tokens": n, "output_tokens": 5})
                ledger.balance(user)
                for wrong in ({"amount": 10}, {"amount": -1}):
                    try:
                        ledger.consume(user, **wrong)
                    except CreditsError as error:
                        error.to_dict()

        calls(ROUND)  # what is allocated once
        gc.collect()
        before, open_before = resident(), descriptors()
        calls(CALLS)
        gc.collect()
        return resident() - before, descriptors() - open_before


def test_a_million_calls() -> None:
    # In a process of its own: other tests of this one leave things that are cleared away meanwhile.
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        memory, opened = process.submit(growth).result()
    # A leak of 24 bytes a call would be 23 MiB.
    assert memory < 16
    assert opened == 0


def left(url: str, closed: bool, asynchronous: bool) -> tuple[int, int]:
    """How many threads and descriptors ledgers leave behind that come and go."""

    def threads() -> int:
        return len(os.listdir("/proc/self/task"))

    def use() -> None:
        ledger = Ledger.connect(url)
        ledger.migrate()
        ledger.balance(uuid.uuid4())
        if closed:
            ledger.close()
            KEPT.append(ledger)  # closed is enough: nobody has to forget it as well

    async def use_async() -> None:
        ledger = await AsyncLedger.connect(url)
        await ledger.migrate()
        await ledger.balance(uuid.uuid4())
        if closed:
            await ledger.close()
            KEPT.append(ledger)

    def round_() -> None:
        if asynchronous:
            asyncio.run(use_async())
        else:
            use()
        gc.collect()

    def settled(most: tuple[int, int] | None) -> tuple[int, int]:
        """When those on their way out are gone; without `most`, when nothing has changed for a while."""
        last, same = (threads(), descriptors()), 0
        for _ in range(3_000):
            now = (threads(), descriptors())
            same = same + 1 if now == last else 0
            last = now
            if same > 30 if most is None else now[0] <= most[0] and now[1] <= most[1]:
                break
            time.sleep(0.01)
        return last

    round_()
    before = settled(None)
    for _ in range(10):
        round_()
    after = settled(before)
    return after[0] - before[0], after[1] - before[1]


KEPT: list[object] = []


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
@pytest.mark.parametrize("closed", [True, False], ids=["closed", "dropped"])
@pytest.mark.parametrize("url", ["memory:", "sqlite::memory:", "file"])
def test_ledgers_give_back_threads_and_descriptors(url: str, closed: bool, asynchronous: bool, sqlite: str) -> None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        threads, opened = process.submit(left, sqlite if url == "file" else url, closed, asynchronous).result()
    assert threads <= 0
    assert opened <= 0


def test_a_refused_call_keeps_nothing_alive() -> None:
    """An error knows where it was raised, and so the call, which must not know the error."""

    async def use(ledger: AsyncLedger) -> None:
        with contextlib.suppress(CreditsError):
            await ledger.consume(uuid.uuid4(), amount=1)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(ledger.balance(uuid.uuid4()), 0)
        await asyncio.wait_for(ledger.balance(uuid.uuid4()), 60)

    ledger = asyncio.run(AsyncLedger.connect("memory:"))
    asyncio.run(use(ledger))
    alive = weakref.ref(ledger)
    del ledger
    gc.collect()
    assert alive() is None


def test_ledgers_and_loops_that_come_and_go(sqlite: str) -> None:
    async def use() -> None:
        async with await AsyncLedger.connect(sqlite) as ledger:
            await ledger.migrate()
            await asyncio.gather(*(ledger.balance(uuid.uuid4()) for _ in range(20)))

            # Some that nobody waits for when the loop ends.
            left = [asyncio.ensure_future(ledger.balance(uuid.uuid4())) for _ in range(5)]
            await asyncio.sleep(0)
        # Those that came too late have an error that nobody has asked for.
        await asyncio.gather(*left[1:], return_exceptions=True)
        left[0].cancel()

    for _ in range(3):
        asyncio.run(use())
    gc.collect()
    threads, before = len(os.listdir("/proc/self/task")), descriptors()
    for _ in range(30):
        asyncio.run(use())
    gc.collect()
    # Threads and files of the last ones may still be on their way out.
    ends = time.monotonic() + 60
    while descriptors() > before + 4 or len(os.listdir("/proc/self/task")) > threads:
        assert time.monotonic() < ends, (descriptors(), before, os.listdir("/proc/self/task"), threads)
        gc.collect()
        time.sleep(0.01)
