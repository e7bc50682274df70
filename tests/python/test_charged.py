"""Charged tasks on real Celery workers: whatever becomes of a task, its credits are charged once or are back."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from celery import chain
from conftest import eventually

from jointo_credits import InsufficientCreditsError, InvalidStateError, Ledger, NotFoundError, ValidationError

HERE = Path(__file__).parent


@pytest.fixture
def environment(postgres: str, broker: str, tmp_path: Path) -> dict[str, str]:
    marks = tmp_path / "marks"
    marks.mkdir()
    return {"TEST_BROKER": broker, "TEST_DATABASE": postgres, "TEST_MARKS": str(marks)}


def load(environment: dict[str, str]) -> ModuleType:
    """The application as a process of its own would have it."""
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        spec = importlib.util.spec_from_file_location("charged_app", HERE / "charged_app.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def worker(environment: dict[str, str], folder: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker with children, until the block ends."""
    command = [sys.executable, "-m", "celery", "-A", "charged_app", "worker", "--loglevel=INFO", *options]
    everything = {**os.environ, **environment, "PYTHONPATH": str(HERE), "PYTHONWARNINGS": "ignore"}
    with open(folder / "worker.log", "ab") as log:
        process = subprocess.Popen(
            command, env=everything, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                pytest.fail("the worker hangs at its end: " + (folder / "worker.log").read_text())


@pytest.fixture
def backend(environment: dict[str, str], user: uuid.UUID) -> Iterator[Any]:
    """The application, on a database with credits."""
    app = load(environment)
    ledger = app.credits.ledger
    ledger.migrate()
    ledger.seed_catalog()
    ledger.grant(user, 1000, source="purchase")
    yield app
    ledger.close()


ENDS = {
    "succeeds": ("SUCCESS", 100),
    "uses": ("SUCCESS", 30),
    "uses nothing": ("SUCCESS", 0),
    "fails": ("FAILURE", 0),
    "retries": ("SUCCESS", 100),
    # Its state may stay RETRY: Celery lets the run before it say so after the last one has failed.
    "retries in vain": (None, 0),
    "killed": ("SUCCESS", 100),
    "killed after it was charged": ("SUCCESS", 100),
    "fails after it was charged": ("FAILURE", 0),
    "unserializable": ("FAILURE", 0),
    "rejected": ("FAILURE", 0),
    "exits": ("FAILURE", 0),
    "is replaced": ("FAILURE", 0),
    # An amount was held, so there is no card to price it with: what was held is charged, the work is not lost.
    "uses a float": ("SUCCESS", 100),
}


def test_every_end(backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    with worker(environment, tmp_path, "--pool=prefork", "--concurrency=2"):
        for how, (state, charged) in ENDS.items():
            before = ledger.balance(user)
            result = backend.job.delay(str(user), how, how)
            held = ledger.get_consumption(result.consumption_id)
            assert held.amount == 100
            if state is not None:
                eventually(lambda result=result, state=state: result.state == state, f"{how}: {state}")
            eventually(lambda held=held: ledger.get_consumption(held.id).status != "pending", f"{how} is settled")
            eventually(
                lambda before=before, charged=charged: ledger.balance(user).available == before.available - charged,
                f"{how} costs {charged}: {before}",
            )
            assert ledger.balance(user).held == 0
        before = ledger.balance(user)
        timed_out = backend.endless.delay(str(user))
        ignored = backend.job.delay(str(user), "ignored", "ignored")
        eventually(lambda: timed_out.state == "FAILURE", "the time limit")
        eventually(lambda: ledger.balance(user).held == 0, "both are released")
        assert ignored.state != "SUCCESS"
        waits = backend.job.delay(str(user), "waits", "waits")
        eventually(lambda: (Path(environment["TEST_MARKS"]) / "waits").exists(), "it runs")
        backend.app.control.revoke(waits.id, terminate=True)
        eventually(lambda: ledger.balance(user).held == 0, "a revoked task is released")
        assert ledger.balance(user).available == before.available
    assert ledger.verify().is_clean


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_workers_with_greenlets(
    pool: str, backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    """Many tasks of one thread, some of which wait for others of it."""
    ledger: Ledger = backend.credits.ledger
    marks = Path(environment["TEST_MARKS"])
    ledger.grant(user, 2000, source="purchase")
    waits = [backend.job.delay(str(user), "waits", f"waits {n}") for n in range(3)]
    ends = [backend.job.delay(str(user), how, f"{how} {n}") for n in range(5) for how in ("uses", "fails", "retries")]
    with worker(environment, tmp_path, f"--pool={pool}", "--concurrency=10"):
        for result in ends:
            result.get(timeout=60, propagate=False)
        # All this time the first three were at work.
        assert [result.state for result in waits] == ["PENDING"] * 3
        for n in range(3):
            (marks / f"waits {n} no more").touch()
        assert [result.get(timeout=60) for result in waits] == ["waits"] * 3
        eventually(lambda: ledger.balance(user).held == 0, "all are settled")
    assert ledger.balance(user).spent == 3 * 100 + 5 * 30 + 5 * 100
    assert ledger.verify().is_clean


def test_before_anything_is_queued(backend: Any, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    with pytest.raises(InsufficientCreditsError) as poor:
        backend.render.delay(str(user), "雪", 10_000)
    assert poor.value.available == 1000
    with pytest.raises(ValidationError):
        backend.render.delay(str(user), "雪", -1)
    with pytest.raises(ValidationError):
        backend.render.delay("mia", "雪", 1)
    with pytest.raises(TypeError):
        backend.render.delay(str(user), "雪")
    assert (ledger.balance(user).available, ledger.balance(user).held) == (1000, 0)
    assert backend.app.control.purge() == 0
    # A function like any other where it is called as one.
    assert backend.render(str(user), "雪", 3) == {"prompt": "雪", "seconds": 3}
    assert ledger.balance(user).held == 0
    with pytest.raises(LookupError, match="no charged task"):
        backend.current_charge()


def test_a_broker_that_is_away(environment: dict[str, str], backend: Any, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    backend.app.conf.broker_transport_options = {}
    with pytest.raises(Exception, match=r"(?i)connect|refused"):
        backend.render.apply_async((str(user), "雪", 5), connection=_nowhere(), retry=False)
    assert (ledger.balance(user).available, ledger.balance(user).held) == (1000, 0)


def _nowhere() -> Any:
    from kombu import Connection

    return Connection("redis://127.0.0.1:1/0", transport_options={"max_retries": 0, "socket_connect_timeout": 1})


def test_a_hold_of_the_hosts(backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    held = backend.render.hold((str(user), "雪"), {"seconds": 10})
    # Its id can stand with the host's job before anything is queued.
    result = backend.render.apply_async((str(user), "雪", 10, 4), consumption_id=held.id)
    assert result.consumption_id == held.id
    cancelled = backend.render.delay(str(user), "雨", 10)
    ledger.refund(cancelled.consumption_id, reason="cancelled by its user", pending_only=True)
    # Nobody has held anything for this one.
    by_name = backend.app.send_task(backend.render.name, (str(user), "风", 2))
    nobodys = backend.app.send_task(backend.render.name, (str(uuid.uuid4()), "风", 2))
    twice = [backend.render.apply_async((str(user), "霜", 1), task_id="霜") for _ in range(2)]
    assert twice[0].consumption_id == twice[1].consumption_id
    with worker(environment, tmp_path, "--pool=solo"):
        assert result.get(timeout=60) == {"prompt": "雪", "seconds": 4}
        with pytest.raises(InvalidStateError, match="released before it began"):
            cancelled.get(timeout=60)
        assert by_name.get(timeout=60)["seconds"] == 2
        with pytest.raises(InsufficientCreditsError):
            nobodys.get(timeout=60)
        assert [each.get(timeout=60)["seconds"] for each in twice] == [1, 1]
        eventually(lambda: ledger.balance(user).held == 0, "all are settled")
    with pytest.raises(InvalidStateError, match="confirmed already"):
        backend.render.apply_async((str(user), "霜", 1), task_id="霜")
    costs = sum(ledger.calculate("video_generation", seconds).credits for seconds in (4, 2, 1))
    assert ledger.balance(user).spent == costs


def test_a_task_that_waited_too_long(environment: dict[str, str], tmp_path: Path, user: uuid.UUID) -> None:
    app, other = load({**environment, "TEST_TTL": "1"}), uuid.uuid4()
    with app.credits.ledger as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        for each in (user, other):
            ledger.grant(each, 1000, source="purchase")
        result = app.render.delay(str(user), "雪", 5)
        forgotten = ledger.consume(other, amount=70, ttl=1)
        eventually(lambda: ledger.balance(user).held == 0, "the hold expires")
        eventually(lambda: ledger.pending_holds().overdue == 2, "both are overdue")
        with worker({**environment, "TEST_TTL": "600"}, tmp_path, "--pool=solo", "--beat"):
            assert result.get(timeout=60)["seconds"] == 5
            # Nobody asks for the forgotten one; beat has it written down.
            eventually(lambda: "expire_hold" in {each.kind for each in ledger.transactions(other)}, "it is swept")
        assert ledger.pending_holds().overdue == 0
        log = (tmp_path / "worker.log").read_text()
        assert re.search(r"jointo_credits.expire_pending_consumptions: holds [12], released (70|110)", log), log
        assert ledger.get_consumption(forgotten.id).status == "expired"
        # Held again before it ran, and charged once.
        assert [each.status for each in ledger.consumption(user)] == ["confirmed", "expired"]
        assert ledger.balance(user).spent == ledger.calculate("video_generation", 5).credits


def test_chains_pay_for_what_was_done(backend: Any, environment: dict[str, str], tmp_path: Path) -> None:
    """The second step can't be paid: the first one is done and stays so, and its own failure is the second one's."""
    ledger: Ledger = backend.credits.ledger
    poor, rich = uuid.uuid4(), uuid.uuid4()
    ledger.grant(poor, 150, source="purchase")
    ledger.grant(rich, 1000, source="purchase")
    steps = [backend.job.si(str(poor), "succeeds", "chained"), backend.job.si(str(poor), "succeeds", "chained too")]
    result = chain(*steps).apply_async()
    both = chain(backend.job.si(str(rich), "uses", "a"), backend.job.si(str(rich), "uses", "b")).apply_async()
    linked = backend.job.apply_async((str(rich), "uses", "c"), link=backend.job.si(str(rich), "uses", "d"))
    with worker(environment, tmp_path, "--pool=solo"):
        assert result.parent.get(timeout=60) == "succeeds"
        with pytest.raises(InsufficientCreditsError):
            result.get(timeout=60)
        assert both.get(timeout=60) == "uses"
        assert linked.get(timeout=60) == "uses"
        eventually(lambda: ledger.balance(rich).spent == 120, "all four are charged")
    assert (ledger.balance(poor).spent, ledger.balance(poor).held) == (100, 0)
    for wrong in (backend.job.map, backend.job.starmap):
        with pytest.raises(RuntimeError, match="use a group"):
            wrong([(str(rich), "uses", "e")])
    with pytest.raises(RuntimeError, match="use a group"):
        backend.job.chunks([(str(rich), "uses", "e")], 1)


def log(folder: Path) -> str:
    return (folder / "worker.log").read_text()


def test_two_runs_at_once_that_outlive_their_hold(
    backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    """As a broker does that takes a long job for a lost one."""
    ledger: Ledger = backend.credits.ledger
    marks = Path(environment["TEST_MARKS"])
    first = backend.slow.apply_async((str(user), "slow"), task_id="slow")
    with worker(environment, tmp_path, "--pool=prefork", "--concurrency=2"):
        eventually(lambda: len(list(marks.glob("slow runs *"))) == 1, "the first one runs")
        eventually(lambda: ledger.get_consumption(first.consumption_id).status == "expired", "its hold expires")
        # The same message once more.
        again = backend.slow.apply_async((str(user), "slow"), task_id="slow", consumption_id=first.consumption_id)
        eventually(lambda: len(list(marks.glob("slow runs *"))) == 2, "the second one runs")
        (marks / "slow no more").touch()
        assert (first.get(timeout=60), again.get(timeout=60)) == ("slow", "slow")
        eventually(lambda: ledger.balance(user).spent > 0, "it is charged")
        eventually(lambda: log(tmp_path).count("charged 40 credits") == 2, "both have ended")
    assert (ledger.balance(user).spent, ledger.balance(user).held) == (40, 0)
    statuses = [each.status for each in ledger.consumption(user)]
    assert sorted(set(statuses)) == ["confirmed", "expired"]
    assert statuses.count("confirmed") == 1


def test_a_run_that_nobody_can_know_of(
    backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    """It was charged, its process died, and its second run fails: without results the first one counts."""
    ledger: Ledger = backend.credits.ledger
    result = backend.quiet.delay(str(user), "quiet")
    with worker(environment, tmp_path, "--pool=prefork", "--concurrency=1"):
        eventually(lambda: "the second run fails" in (tmp_path / "worker.log").read_text(), "the second run")
        based = backend.based.delay(str(user))
        assert based.get(timeout=60) >= 1
    assert ledger.get_consumption(result.consumption_id).status == "confirmed"
    assert ledger.get_consumption(based.consumption_id).captured == 40


def test_holds_that_are_not_the_tasks(backend: Any, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    stranger = uuid.uuid4()
    ledger.grant(stranger, 100, source="purchase")
    theirs = ledger.consume(stranger, amount=10)
    with pytest.raises(NotFoundError):
        backend.render.apply_async((str(user), "雪", 5), consumption_id=theirs.id)
    done = ledger.consume(user, amount=10)
    ledger.confirm(done.id)
    with pytest.raises(InvalidStateError, match="confirmed already"):
        backend.render.apply_async((str(user), "雪", 5), consumption_id=done.id)
    with pytest.raises(ValidationError):
        backend.render.apply_async((str(user), "雪", 5), consumption_id="garbage")
    assert backend.app.control.purge() == 0
    # Who repeats a task id whose message may be on its way keeps its hold when the broker goes away.
    first = backend.render.apply_async((str(user), "雪", 5), task_id="twice")
    with pytest.raises(Exception, match=r"(?i)connect|refused"):
        backend.render.apply_async((str(user), "雪", 5), task_id="twice", connection=_nowhere(), retry=False)
    assert ledger.get_consumption(first.consumption_id).status == "pending"


def test_several_beats_and_workers(environment: dict[str, str], tmp_path: Path) -> None:
    """Each deadline is written down once, however many sweep at once, and every count is somebody's."""
    apps = [load(environment) for _ in range(2)]
    ledger: Ledger = apps[0].credits.ledger
    ledger.migrate()
    for n in range(100):
        account = uuid.UUID(int=n + 1)
        ledger.grant(account, 10, source="purchase")
        ledger.consume(account, amount=3, ttl=1)
    eventually(lambda: ledger.pending_holds().overdue == 100, "all have expired")
    results = list[dict[str, int]]()

    def sweep(app: ModuleType) -> None:
        task = app.app.tasks["jointo_credits.expire_pending_consumptions"]
        results.extend(task.apply().get() for _ in range(3))

    threads = [threading.Thread(target=sweep, args=(app,)) for app in apps for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (sum(each["holds"] for each in results), sum(each["released"] for each in results)) == (100, 300)
    assert ledger.pending_holds().overdue == 0
    assert ledger.verify().is_clean
    for app in apps:
        app.credits.ledger.close()


def test_a_database_that_goes_away(
    backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID, administer: Callable[..., None]
) -> None:
    ledger: Ledger = backend.credits.ledger
    marks, database = Path(environment["TEST_MARKS"]), environment["TEST_DATABASE"].rsplit("/", 1)[1]
    ends = backend.job.delay(str(user), "waits", "ends without it")
    begins = backend.job.delay(str(user), "uses", "begins without it")
    with worker(environment, tmp_path, "--pool=solo"):
        eventually(lambda: (marks / "ends without it").exists(), "the first one runs")
        administer(
            f"ALTER DATABASE {database} ALLOW_CONNECTIONS false",
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'",
        )
        (marks / "ends without it no more").touch()
        # The work is done, and nobody has to wait for the database to learn that.
        assert ends.get(timeout=60) == "waits"
        eventually(lambda: "begins without it" not in os.listdir(marks) and begins.state == "RETRY", "it is put off")
        administer(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        assert begins.get(timeout=60) == "uses"
        eventually(lambda: ledger.balance(user).held == 0, "both are settled")
    assert ledger.balance(user).spent == 130
    assert ledger.verify().is_clean


def test_eager(backend: Any, user: uuid.UUID) -> None:
    """As tests of hosts run tasks."""
    ledger: Ledger = backend.credits.ledger
    backend.app.conf.task_always_eager = True
    assert backend.job.delay(str(user), "uses", "eager").get() == "uses"
    with pytest.raises(ValueError, match="no such model"):
        backend.job.delay(str(user), "fails", "eager fails").get()
    assert backend.job.delay(str(user), "retries", "eager retries").get() == "retries"
    with pytest.raises(ValueError, match="busy"):
        backend.job.delay(str(user), "retries in vain", "eager in vain").get()
    # Straight to the task: the hold is made when it begins.
    assert backend.job.apply((str(user), "uses", "applied")).get() == "uses"
    balance = ledger.balance(user)
    assert (balance.spent, balance.held) == (160, 0)


def test_registering_says_what_is_wrong(tmp_path: Path) -> None:
    from celery import Celery

    from jointo_credits.celery import charged_task, register

    app = Celery("host", broker="memory://")

    def work(user_id: str) -> None: ...

    job = charged_task(app, amount=5)(work)
    with pytest.raises(RuntimeError, match="register"):
        job.delay(str(uuid.uuid4()))
    with pytest.raises(ValueError, match="no such periodic task: sweep"):
        register(app, "memory:", schedule={"sweep": 5})
    credits = register(app, "memory:", schedule={"expire_lots": None})
    with pytest.raises(ValueError, match="already"):
        register(app, "memory:")
    with pytest.raises(ValidationError):
        charged_task(app)
    with credits.ledger as ledger:
        ledger.migrate()
        with pytest.raises(NotFoundError):
            charged_task(app, feature="nothing", name="nothing")(work).delay(str(uuid.uuid4()))
        with pytest.raises(TypeError, match="owner"):
            charged_task(app, amount=1, user_id="owner", name="owned")(work).delay(str(uuid.uuid4()))
        # Also where the host sets its own schedule afterwards.
        app.conf.beat_schedule = {"the host's": {"task": job.name, "schedule": 60}}
        app.finalize()
        assert set(app.conf.beat_schedule) == {
            "the host's",
            "jointo_credits.expire_pending_consumptions",
            "jointo_credits.reconcile_orders",
            "jointo_credits.anchor_all_books",
            "jointo_credits.anchor_books",
            "jointo_credits.cleanup_old_transactions",
            "jointo_credits.cleanup_old_consumption_logs",
        }
        counts = app.tasks["jointo_credits.expire_lots"].apply().get()
        assert counts == {"holds": 0, "released": 0, "lots": 0, "expired": 0}
