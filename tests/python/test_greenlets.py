"""A slow call stops no other greenlet, under gevent and under eventlet."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

KINDS = {
    "gevent": """
        import gevent.monkey
        gevent.monkey.patch_all()
        import gevent
        from gevent import sleep, spawn, Timeout
        is_over, kill, get = (lambda g: g.ready()), (lambda g: g.kill()), (lambda g: g.get())
    """,
    "eventlet": """
        import warnings
        warnings.simplefilter("ignore")
        import eventlet
        eventlet.monkey_patch()
        from eventlet import sleep, spawn, Timeout
        is_over, kill, get = (lambda g: g.dead), (lambda g: g.kill()), (lambda g: g.wait())
    """,
}

COMMON = """
import os, subprocess, sys, uuid
from jointo_credits import InsufficientCreditsError, Ledger, UnavailableError
LOCKER = '''
import sqlite3, sys
sys.stdin.readline()
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
'''
user = uuid.uuid4()
folder = sys.argv[1]
slow = Ledger.connect(f"sqlite:///{folder}/slow.db", connect_timeout=60, patience=60)
other = Ledger.connect(f"sqlite:///{folder}/other.db")
for ledger in (slow, other):
    ledger.migrate()
    ledger.seed_catalog()
    ledger.grant(user, 1000, source="gift")
# Another process: SQLite's locks are between processes.
locker = subprocess.Popen(
    [sys.executable, "-c", LOCKER, f"{folder}/slow.db"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
)

def lock():
    locker.stdin.write(b"lock\\n")
    locker.stdin.flush()
    assert locker.stdout.readline() == b"locked\\n"

def unlock():
    locker.communicate()

def let_go_on(times=20):
    for _ in range(times):
        sleep(0)
"""


def runs(kind: str, folder: Path, program: str) -> None:
    text = textwrap.dedent(KINDS[kind]) + COMMON + textwrap.dedent(program) + "\nlocker.kill()\nprint('done')\n"
    done = subprocess.run([sys.executable, "-c", text, str(folder)], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_other_greenlets_go_on_and_so_do_their_calls(kind: str, tmp_path: Path) -> None:
    runs(
        kind,
        tmp_path,
        """
        lock()
        waiting = [spawn(slow.consume, user, amount=10, idempotency_key=str(n)) for n in range(20)]
        let_go_on()
        counts = []
        def calls(n):
            for m in range(20):
                held = other.consume(user, amount=1, idempotency_key=f"{n}-{m}")
                other.confirm(held.id)
                counts.append(slow.balance(user).available)
        for each in [spawn(calls, n) for n in range(5)]:
            get(each)
        assert counts == [1000] * 100
        assert other.balance(user).spent == 100
        assert not any(is_over(each) for each in waiting), "nothing was slow"
        unlock()
        assert {get(each).amount for each in waiting} == {10}
        assert slow.balance(user).held == 200
        # An error is raised where it belongs.
        def poor():
            try:
                other.consume(user, amount=10_000)
            except InsufficientCreditsError as error:
                return error.available
        assert {get(spawn(poor)) for _ in range(10)} == {900}
        """,
    )


@pytest.mark.parametrize("kind", KINDS)
def test_greenlets_that_are_killed_leave_the_others_their_answers(kind: str, tmp_path: Path) -> None:
    runs(
        kind,
        tmp_path,
        """
        lock()
        waiting = [spawn(slow.consume, user, amount=10, idempotency_key=str(n)) for n in range(6)]
        let_go_on()
        # The first one is the one that watches for all of them.
        for n in (0, 1, 4):
            kill(waiting[n])
        let_go_on()
        def hurries():
            with Timeout(0.01, False):
                slow.consume(user, amount=10, idempotency_key="hurry")
                return "in time"
            return "over"
        assert get(spawn(hurries)) == "over"
        unlock()
        assert [get(waiting[n]).amount for n in (2, 3, 5)] == [10, 10, 10]
        # What was begun is done or not, and can be asked for again.
        for n in range(6):
            slow.consume(user, amount=10, idempotency_key=str(n))
        slow.consume(user, amount=10, idempotency_key="hurry")
        assert slow.balance(user).held == 70
        slow.close()
        try:
            slow.balance(user)
        except UnavailableError:
            pass
        """,
    )


def test_threads_of_a_pool_and_the_hub_itself(tmp_path: Path) -> None:
    runs(
        "gevent",
        tmp_path,
        """
        hub = gevent.get_hub()
        assert hub.threadpool.apply(lambda: other.balance(user).available) == 1000
        seen = []
        hub.loop.run_callback(lambda: seen.append(other.balance(user).available))
        sleep(0)
        while not seen:
            sleep(0.001)
        assert seen == [1000]
        locker.kill()
        locker.wait()
        # Nothing of ours keeps a hub running that has nothing to do.
        assert get(spawn(other.balance, user)).available == 1000
        assert gevent.wait(timeout=30)
        """,
    )


def test_a_fork_between_greenlets(tmp_path: Path) -> None:
    runs(
        "gevent",
        tmp_path,
        """
        assert get(spawn(other.balance, user)).available == 1000
        reading, writing = os.pipe()
        child = gevent.os.fork_and_watch()
        if child == 0:
            status = 1
            try:
                jobs = [spawn(other.consume, user, amount=10) for _ in range(5)]
                assert {get(job).amount for job in jobs} == {10}
                status = 0
            finally:
                os._exit(status)
        jobs = [spawn(other.consume, user, amount=1) for _ in range(5)]
        assert {get(job).amount for job in jobs} == {1}
        assert os.waitstatus_to_exitcode(gevent.os.waitpid(child, 0)[1]) == 0
        assert other.balance(user).held == 55
        """,
    )
