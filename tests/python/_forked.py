"""Run by test_fork.py in a process of its own: forks in every awkward moment. Prints what went wrong, or `fine`."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import tempfile
import threading
import uuid

from jointo_credits import AsyncLedger, Ledger, UnavailableError

url, how = sys.argv[1:]
USER = uuid.UUID(int=1)


def in_child(work: object) -> int:
    """Forks, works, and gives the child's exit status; -1 where it hangs."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work()  # type: ignore[operator]
            status = 0
        except BaseException as error:
            print(f"child: {error!r}", flush=True)
        finally:
            os._exit(status)
    alarm = threading.Timer(60, os.kill, (child, 9))
    alarm.start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    alarm.cancel()
    return status


def spend(ledger: Ledger, name: str) -> None:
    for n in range(5):
        hold = ledger.consume(USER, amount=1, idempotency_key=f"{name}-{n}")
        ledger.confirm(hold.id, idempotency_key=f"{name}-{n}-done")


def spend_in_spawned(url: str) -> None:
    with Ledger.connect(url) as ledger:
        spend(ledger, f"spawned-{os.getpid()}")


def main() -> None:
    ledger = Ledger.connect(url)
    ledger.migrate()
    ledger.grant(USER, 1_000_000, source="purchase", idempotency_key="opening")
    spend(ledger, "parent-before")
    spent = 5
    if how == "idle":
        for n in range(3):
            assert in_child(lambda n=n: spend(ledger, f"child-{n}")) == 0
            spend(ledger, f"parent-{n}")
            spent += 10
    elif how == "busy":
        stop = threading.Event()
        counts = [0] * 4

        def work(thread: int) -> None:
            while not stop.is_set():
                spend(ledger, f"thread-{thread}-{counts[thread]}")
                counts[thread] += 1

        threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for n in range(20):
            assert in_child(lambda n=n: spend(ledger, f"child-{n}")) == 0
        stop.set()
        for thread in threads:
            thread.join()
        spent += 20 * 5 + sum(counts) * 5
    elif how == "grandchild":

        def child() -> None:
            spend(ledger, "child")
            assert in_child(lambda: spend(ledger, "grandchild")) == 0
            spend(ledger, "child-after")

        assert in_child(child) == 0
        spent += 15
    elif how == "drop":
        # The child lets go of what it inherited: one it has closed, one it has used, one it has not.
        inherited = [Ledger.connect(url) for _ in range(3)]
        for other in inherited:
            spend(other, "same-keys")

        def child() -> None:
            inherited.pop().close()
            inherited[0].balance(USER)
            while inherited:
                inherited.pop()

        assert in_child(child) == 0
        for other in inherited:
            assert other.balance(USER).spent == 10
            other.close()
        spent += 5
    elif how == "spawn":
        context = multiprocessing.get_context("spawn")
        children = [context.Process(target=spend_in_spawned, args=(url,)) for _ in range(2)]
        for process in children:
            process.start()
        for process in children:
            process.join(120)
            assert process.exitcode == 0
        spent += 10
    elif how == "loop":
        loop = asyncio.new_event_loop()
        shared = loop.run_until_complete(AsyncLedger.connect(url))
        loop.run_until_complete(shared.balance(USER))

        def child() -> None:
            assert asyncio.run(shared.balance(USER)).spent == 5
            try:
                loop.run_until_complete(shared.balance(USER))
            except RuntimeError as error:
                assert "before the process was forked" in str(error)
            else:
                raise AssertionError("a loop of two processes")

        assert in_child(child) == 0
        assert loop.run_until_complete(shared.balance(USER)).spent == 5
        loop.run_until_complete(shared.close())
        loop.close()
    elif how == "many":
        # Threads that fork, and threads that make ledgers, at once.
        stop = threading.Event()

        def make() -> None:
            while not stop.is_set():
                with Ledger.connect("memory:") as other:
                    other.balance(USER)

        makers = [threading.Thread(target=make) for _ in range(2)]
        failed: list[int] = []
        forkers = [
            threading.Thread(target=lambda n=n: failed.append(in_child(lambda: spend(ledger, f"child-{n}"))))
            for n in range(6)
        ]
        for thread in makers + forkers:
            thread.start()
        for thread in forkers:
            thread.join()
        stop.set()
        for thread in makers:
            thread.join()
        assert failed == [0] * 6, failed
        spend(ledger, "parent-after")
        spent += 35
    elif how == "elsewhere":
        # Other threads are inside SQLite all the time: on files of their own, opening, writing, auditing, closing.
        stop = threading.Event()

        def work_elsewhere(folder: str, audits: bool) -> None:
            n = 0
            while not stop.is_set():
                n += 1
                with Ledger.connect(f"sqlite:///{folder}/{threading.get_ident()}-{n % 3}.db") as other:
                    other.migrate()
                    for _ in range(20):
                        other.gift(USER, 1, reason="work")
                    if audits:
                        assert other.verify().is_clean

        with tempfile.TemporaryDirectory() as folder:
            workers = [threading.Thread(target=work_elsewhere, args=(folder, n % 2 == 0)) for n in range(4)]
            for thread in workers:
                thread.start()
            for n in range(40):
                assert in_child(lambda n=n: spend(ledger, f"child-{n}")) == 0
                spent += 5
            stop.set()
            for thread in workers:
                thread.join()
    elif how == "memory":
        memory = Ledger.connect("sqlite::memory:")
        memory.migrate()

        def child() -> None:
            try:
                memory.balance(USER)
            except UnavailableError as error:
                assert "forked" in str(error)
            else:
                raise AssertionError("an empty database in the child")

        assert in_child(child) == 0
        assert memory.balance(USER).available == 0
    else:
        raise SystemExit(f"how? {how}")
    assert ledger.balance(USER).spent == spent, (ledger.balance(USER), spent)
    assert ledger.verify().is_clean
    if how != "idle":  # which leaves without closing
        ledger.close()
    print("fine", flush=True)


if __name__ == "__main__":
    main()
