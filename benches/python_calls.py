"""What a call costs from Python: `make bench` runs it. Prints one JSON object per kind of call.

    .venv/bin/python benches/python_calls.py [SECONDS]

On the store in memory, where nothing waits for a database: what is left is the ledger's own work and Python's. The same
calls from Rust are `load --database memory: --callers 1`. Needs `scripts/build-python --release`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import Callable

from jointo_credits import AsyncLedger, Ledger

ACCOUNTS = 1_000
# The clock is read once in so many calls.
CALLS = 200


def account(n: int) -> uuid.UUID:
    return uuid.UUID(int=(n + 1) << 64 | n * 0x9E3779B97F4A7C15 % 2**62 | 2**63)


def told(what: str, calls: int, seconds: float) -> None:
    print(json.dumps({"calls": what, "per_second": round(calls / seconds), "us": round(seconds / calls * 1e6, 2)}))


def measure(what: str, seconds: float, call: Callable[[int], object]) -> None:
    for n in range(CALLS):
        call(n)
    begin = time.perf_counter()
    calls = CALLS
    while time.perf_counter() - begin < seconds:
        for n in range(calls, calls + CALLS):
            call(n)
        calls += CALLS
    told(what, calls - CALLS, time.perf_counter() - begin)


async def measure_async(seconds: float, users: list[uuid.UUID]) -> None:
    async with await AsyncLedger.connect("memory:") as ledger:
        await ledger.migrate()
        await asyncio.gather(*(ledger.grant(user, 10**9, source="purchase") for user in users))

        async def caller(number: int, callers: int) -> int:
            n = 0
            while time.perf_counter() < end:
                user = users[(n * callers + number) % ACCOUNTS]
                await ledger.consume(user, feature="text", amount=7, idempotency_key=f"{callers}-{number}-{n}")
                n += 1
            return n

        for callers in (1, 64):
            begin = time.perf_counter()
            end = begin + seconds
            calls = sum(await asyncio.gather(*(caller(number, callers) for number in range(callers))))
            told(f"consume, async, {callers} callers", calls, time.perf_counter() - begin)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 2.0
    users = [account(n) for n in range(ACCOUNTS)]
    with Ledger.connect("memory:") as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        for user in users:
            ledger.grant(user, 10**9, source="purchase")
        hd = {"quality": "hd"}
        measure("calculate", seconds, lambda n: ledger.calculate("image_generation", 1 + n % 8, hd).credits)
        measure("balance", seconds, lambda n: ledger.balance(users[n % ACCOUNTS]))
        measure(
            "consume",
            seconds,
            lambda n: ledger.consume(users[n % ACCOUNTS], feature="text", amount=7, idempotency_key=f"key-{n}"),
        )
    asyncio.run(measure_async(seconds, users))


if __name__ == "__main__":
    main()
