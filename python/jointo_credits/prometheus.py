"""Prometheus: what a process's ledger does, and how many holds are open.

>>> from prometheus_client import REGISTRY
>>> from jointo_credits import Ledger
>>> from jointo_credits.prometheus import CreditsCollector
>>> ledger = Ledger.connect("sqlite::memory:")
>>> collector = CreditsCollector(ledger)
>>> REGISTRY.register(collector)
>>> REGISTRY.unregister(collector)
>>> ledger.close()
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
    from prometheus_client.registry import Collector
except ModuleNotFoundError as missing:
    if missing.name != "prometheus_client":
        raise
    hint = "jointo_credits.prometheus needs its client: pip install 'jointo-credits[prometheus]'"
    raise ModuleNotFoundError(hint, name=missing.name) from None

from . import AsyncLedger, CreditsError, Histogram, Ledger, PendingHolds
from ._waiting import run

__all__ = ["CreditsCollector"]

#: How long a scrape waits for the database.
_HOLDS_SECONDS = 2.0
_log = logging.getLogger("jointo_credits.prometheus")


class CreditsCollector(Collector):
    """Shows a ledger to Prometheus: ``prometheus_client.REGISTRY.register(CreditsCollector(ledger))``.

    | metric | meaning |
    | --- | --- |
    | ``jointo_credits_commands_total{operation,outcome}`` | commands by how they ended |
    | ``jointo_credits_command_seconds{operation}`` | how long their callers waited, from the queue to the answer |
    | ``jointo_credits_batch_commands`` | commands that shared a write |
    | ``jointo_credits_queued_commands`` | commands that wait for their turn |
    | ``jointo_credits_expired_holds_total`` | holds that expired |
    | ``jointo_credits_released_credits_total`` | credits that these gave back |
    | ``jointo_credits_expired_lots_total`` | lots that expired |
    | ``jointo_credits_expired_credits_total`` | credits that expired with them |
    | ``jointo_credits_cache_lookups_total{result}`` | what a cache was asked: ``hit``, ``miss``, ``away`` |
    | ``jointo_credits_pending_holds`` | holds that wait for their job's end |
    | ``jointo_credits_pending_credits`` | credits in them |
    | ``jointo_credits_overdue_holds`` | expired holds that nobody has written down: how late the sweep is |

    All but the last three are of this process: scrape each process by itself (prometheus_client's multiprocess mode
    carries no collectors). The last three are read from the whole database at every scrape.

    Args:
        ledger: The ledger, sync or async. A scrape blocks its thread: with an `AsyncLedger` let it run outside the
            event loop, as ``jointo_credits.fastapi.metrics_router`` does.
        pending: Whether to read the open holds.
    """

    def __init__(self, ledger: Ledger | AsyncLedger, *, pending: bool = True) -> None:
        self._native = ledger._native  # pyright: ignore[reportPrivateUsage]
        self._pending = pending
        self._reading: threading.Thread | None = None
        self._holds_read: PendingHolds | None = None

    def describe(self) -> Iterator[Metric]:
        """Nothing: registering must not ask the database."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """What is so now."""
        try:
            stats = run(self._native.stats())
        except CreditsError as error:
            _log.warning("no figures: %s", error)
            return
        commands = CounterMetricFamily(
            "jointo_credits_commands", "Commands by how they ended.", labels=["operation", "outcome"]
        )
        for each in stats.answers:
            commands.add_metric([each.operation, each.outcome], each.count)
        yield commands
        waits = HistogramMetricFamily(
            "jointo_credits_command_seconds", "How long callers waited for a command.", labels=["operation"]
        )
        for latency in stats.latencies:
            waits.add_metric([latency.name], _buckets(latency, 1_000_000), latency.sum / 1_000_000)
        yield waits
        batches = HistogramMetricFamily("jointo_credits_batch_commands", "Commands that shared a write.")
        batches.add_metric([], _buckets(stats.batches, 1), stats.batches.sum)
        yield batches
        yield GaugeMetricFamily("jointo_credits_queued_commands", "Commands that wait for their turn.", stats.queued)
        matured = stats.matured
        for name, text, value in (
            ("expired_holds", "Holds that expired.", matured.holds),
            ("released_credits", "Credits that expired holds gave back.", matured.released),
            ("expired_lots", "Lots that expired.", matured.lots),
            ("expired_credits", "Credits that expired with their lots.", matured.expired),
        ):
            yield CounterMetricFamily(f"jointo_credits_{name}", text, value)
        if stats.cache is not None:
            lookups = CounterMetricFamily(
                "jointo_credits_cache_lookups", "What the cache for balances was asked.", labels=["result"]
            )
            for result, count in (("hit", stats.cache.hits), ("miss", stats.cache.misses), ("away", stats.cache.away)):
                lookups.add_metric([result], count)
            yield lookups
        if self._pending:
            yield from self._holds()

    def _holds(self) -> Iterator[Metric]:
        holds = self._read_holds()
        if holds is None:
            return
        for name, text, value in (
            ("pending_holds", "Holds that wait for their job's end.", holds.holds),
            ("pending_credits", "Credits in them.", holds.credits),
            ("overdue_holds", "Expired holds that nobody has written down.", holds.overdue),
        ):
            yield GaugeMetricFamily(f"jointo_credits_{name}", text, value)

    def _read_holds(self) -> PendingHolds | None:
        """Not for longer than a scrape can wait: what is known without the database must not be lost with it."""
        if self._reading is None or not self._reading.is_alive():
            self._holds_read = None
            self._reading = threading.Thread(target=self._read, name="jointo_credits_metrics", daemon=True)
            self._reading.start()
        self._reading.join(_HOLDS_SECONDS)
        return self._holds_read

    def _read(self) -> None:
        try:
            self._holds_read = run(self._native.pending_holds())
        except CreditsError as error:
            _log.warning("the open holds can't be counted: %s", error)


def _buckets(of: Histogram, unit: int) -> list[tuple[str, float]]:
    """As Prometheus has them: each with all that is below it; `unit` is how many make one of its own."""
    below, buckets = 0, list[tuple[str, float]]()
    for bound, count in of.buckets:
        below += count
        buckets.append((str(bound / unit), below))
    return [*buckets, ("+Inf", below + of.above)]
