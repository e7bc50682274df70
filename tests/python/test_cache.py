"""The cache for balances, in the process and in Redis."""

from __future__ import annotations

import asyncio
import dataclasses
import multiprocessing
import time
import uuid
from typing import Any

import pytest
from conftest import Redis
from prometheus_client import CollectorRegistry

from jointo_credits import AsyncLedger, CacheStats, InsufficientCreditsError, Ledger, ValidationError
from jointo_credits.prometheus import CreditsCollector


def cached(ledger: Ledger) -> CacheStats:
    stats = ledger.stats().cache
    assert stats is not None
    return stats


def settings(redis: Redis) -> dict[str, Any]:
    return {"cache": redis.url, "cache_prefix": "shop", "cache_timeout": 1, "cache_max_age": 3600}


@pytest.fixture
def old_redis(redis: Redis) -> Redis:
    """One that has run for as long as a cache wants it to."""
    time.sleep(3)
    return redis


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"cache": "memcached://localhost"}, "cache"),
        ({"cache": 5}, "cache"),
        ({"cache": "redis://localhost"}, "cache_prefix"),
        ({"cache": "redis://localhost", "cache_prefix": "a shop"}, "cache_prefix"),
        ({"cache": "redis://localhost", "cache_prefix": "shop", "cache_timeout": 0}, "cache_timeout"),
        ({"cache": "redis://localhost", "cache_prefix": "shop", "cache_accounts": 5}, "cache_accounts"),
        ({"cache": "process", "cache_prefix": "shop"}, "cache_prefix"),
        ({"cache": "process", "cache_timeout": 1}, "cache_timeout"),
        ({"cache": "process", "cache_accounts": 0}, "cache_accounts"),
        ({"cache": "process", "cache_max_age": 0}, "cache_max_age"),
        ({"cache_prefix": "shop"}, "cache_prefix"),
    ],
)
def test_wrong_settings_name_themselves(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Ledger.connect("memory:", **given)
    assert refused.value.field == field


def test_without_a_cache_there_are_no_figures_of_one(user: uuid.UUID) -> None:
    with Ledger.connect("memory:", cache=None) as ledger:
        assert ledger.balance(user, fresh=True).available == 0
        assert ledger.stats().cache is None


def test_in_the_process(url: str, user: uuid.UUID) -> None:
    with Ledger.connect(url, cache="process", cache_max_age=3600, cache_accounts=1000) as ledger:
        ledger.migrate()
        assert ledger.balance(user).available == 0
        ledger.grant(user, 100, source="purchase")
        assert ledger.balance(user).available == 100
        hold = ledger.consume(user, amount=30)
        assert (ledger.balance(user).available, ledger.balance(user).held) == (70, 30)
        ledger.refund(hold.id)
        with pytest.raises(InsufficientCreditsError):
            ledger.consume(user, amount=101)
        told, read = ledger.balance(user), ledger.balance(user, fresh=True)
        assert dataclasses.replace(told, at=read.at) == read
        stats = cached(ledger)
        assert (stats.misses, stats.away) == (1, 0)
        assert stats.hits >= 3


def test_async_and_sync_share_a_redis(url: str, old_redis: Redis, user: uuid.UUID) -> None:
    async def main(ledger: Ledger) -> None:
        async with await AsyncLedger.connect(url, **settings(old_redis)) as other:
            assert (await other.balance(user)).available == 100
            assert ledger.balance(user).available == 100
            hold = await other.consume(user, amount=40)
            assert ledger.balance(user).available == 60
            ledger.confirm(hold.id, amount=10)
            assert (await other.balance(user)).available == 90
            stats = (await other.stats()).cache
            assert stats is not None
            assert cached(ledger).hits + stats.hits >= 3

    with Ledger.connect(url, **settings(old_redis)) as ledger:
        ledger.migrate()
        ledger.grant(user, 100, source="purchase")
        asyncio.run(main(ledger))


def spend(url: str, given: dict[str, Any], user: uuid.UUID, told: Any) -> None:
    """A process that spends, and reads what it and others have spent."""
    with Ledger.connect(url, **given) as ledger:
        for n in range(1, 51):
            with ledger.hold(user, amount=1):
                pass
            spent = ledger.balance(user).spent
            with told.get_lock():
                assert spent >= n
                told.value = max(told.value, spent)
            before = told.value
            assert ledger.balance(user).spent >= before


@pytest.mark.parametrize("how", ["fork", "spawn"])
def test_processes_never_go_back_in_time(url: str, old_redis: Redis, user: uuid.UUID, how: str) -> None:
    given = settings(old_redis)
    with Ledger.connect(url, **given) as ledger:
        ledger.migrate()
        ledger.grant(user, 1000, source="purchase")
        assert ledger.balance(user).available == 1000
    context: Any = multiprocessing.get_context(how)
    told = context.Value("q", 0)
    children = [context.Process(target=spend, args=(url, given, user, told)) for _ in range(3)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    with Ledger.connect(url, **given) as ledger:
        assert (ledger.balance(user).spent, ledger.balance(user, fresh=True).spent) == (150, 150)


def test_a_ledger_made_before_a_fork_has_a_cache_of_its_own_after_it(
    url: str, old_redis: Redis, user: uuid.UUID
) -> None:
    context = multiprocessing.get_context("fork")
    for given in (settings(old_redis), {"cache": "process", "cache_max_age": 0.01}):
        with Ledger.connect(url, **given) as ledger:
            ledger.migrate()
            ledger.grant(user, 100, source="purchase")
            before = ledger.balance(user).available

            def child(ledger: Ledger = ledger, before: int = before) -> None:
                assert ledger.balance(user).available == before
                ledger.grant(user, 1, source="purchase")
                assert ledger.balance(user).available == before + 1

            process = context.Process(target=child)
            process.start()
            process.join()
            assert process.exitcode == 0
            assert ledger.balance(user, fresh=True).available == before + 1
            assert ledger.balance(user).available == before + 1


def test_redis_comes_and_goes(url: str, redis: Redis, user: uuid.UUID) -> None:
    with Ledger.connect(url, **settings(redis)) as ledger:
        ledger.migrate()
        ledger.grant(user, 100, source="purchase")
        assert ledger.balance(user).available == 100
        redis.stop()
        for n in range(1, 11):
            ledger.consume(user, amount=1)
            assert ledger.balance(user).available == 100 - n
        assert cached(ledger).away > 0
        redis.start()
        before = cached(ledger).hits
        while cached(ledger).hits == before:
            assert ledger.balance(user).available == 90
        ledger.consume(user, amount=1)
        assert ledger.balance(user).available == 89


def test_prometheus_tells_of_it(user: uuid.UUID) -> None:
    with Ledger.connect("memory:", cache="process") as ledger:
        registry = CollectorRegistry()
        registry.register(CreditsCollector(ledger))
        ledger.balance(user)
        ledger.balance(user)
        for result, count in (("hit", 1), ("miss", 1), ("away", 0)):
            assert registry.get_sample_value("jointo_credits_cache_lookups_total", {"result": result}) == count
