"""Real Celery workers on a real Redis: a ledger that the parent has used works in its children, and a killed one costs
nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from jointo_credits import Ledger

HERE = Path(__file__).parent
JOBS = 1000


# Celery's own default, what it offers besides, what needs no processes, and greenlets.
POOLS = {
    "fork": ["--pool=prefork", "--concurrency=2"],
    "spawn": ["--pool=prefork", "--concurrency=2", "--pool-start-method=spawn"],
    "threads": ["--pool=threads", "--concurrency=4"],
    "solo": ["--pool=solo"],
    "gevent": ["--pool=gevent", "--concurrency=20"],
    "eventlet": ["--pool=eventlet", "--concurrency=20"],
}


@pytest.mark.parametrize("pool", POOLS)
def test_workers(pool: str, postgres: str, broker: str, tmp_path: Path) -> None:
    with Ledger.connect(postgres) as ledger:
        ledger.migrate()
        jobs = JOBS if pool == "fork" else 100
        mark = tmp_path / "killed"
        environment = {
            **os.environ,
            "TEST_BROKER": broker,
            "TEST_DATABASE": postgres,
            "TEST_MARK": str(mark),
            "PYTHONPATH": str(HERE),
            "PYTHONWARNINGS": "ignore",
        }
        program = f"""
import celery_app as c
for user in c.USERS:
    c.ledger.grant(user, 100000, source="purchase", idempotency_key="opening")
results = [c.job.delay(n) for n in range({jobs})]
print(sorted(set(result.get(timeout=240) for result in results)))
c.ledger.close()
"""
        command = [sys.executable, "-m", "celery", "-A", "celery_app", "worker", "--loglevel=WARNING", *POOLS[pool]]
        log = tmp_path / "worker.log"
        with open(log, "w", encoding="utf-8") as out:
            worker = subprocess.Popen(
                command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )
            try:
                client = subprocess.run(
                    [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=280
                )
                assert client.returncode == 0, client.stderr + log.read_text()
                assert client.stdout == "['10', '5', 'refunded']\n"
            finally:
                worker.terminate()
                try:
                    status = worker.wait(60)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    pytest.fail("the worker hangs at its end: " + log.read_text())
        assert status == 0, log.read_text()
        assert mark.exists() == (pool == "fork")
        spent = sum(0 if n % 3 == 0 else 5 if n % 10 == 0 else 10 for n in range(jobs))
        books = ledger.trial_balance()
        assert (books.available, books.held) == (10 * 100_000 - spent, 0)
        assert books.is_balanced
        assert ledger.verify().is_clean
