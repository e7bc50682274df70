"""Whose a hold is: one hold pays for one task, for what it was made for, on real workers and both databases."""

from __future__ import annotations

import dataclasses
import random
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import eventually
from test_charged import _nowhere, load, worker

from jointo_credits import (
    CreditsError,
    HoldExpiredError,
    InsufficientCreditsError,
    InvalidStateError,
    Ledger,
    ManualClock,
    NotFoundError,
    ValidationError,
)
from jointo_credits.celery import _holds
from jointo_credits.celery._charged import CHECKED, HEADER


@pytest.fixture
def environment(url: str, broker: str, tmp_path: Path) -> dict[str, str]:
    if url.startswith(("memory", "sqlite::memory")):
        pytest.skip("workers are other processes")
    marks = tmp_path / "marks"
    marks.mkdir()
    return {"TEST_BROKER": broker, "TEST_DATABASE": url, "TEST_MARKS": str(marks)}


@pytest.fixture
def backend(environment: dict[str, str], user: uuid.UUID) -> Iterator[Any]:
    app = load(environment)
    ledger = app.credits.ledger
    ledger.migrate()
    ledger.seed_catalog()
    ledger.grant(user, 1000, source="purchase")
    yield app
    ledger.close()


def ends(result: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        result.get(timeout=60)


def test_a_hold_for_something_else_pays_for_no_task(
    backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    """A user who may consume names the hold; the endpoint queues an expensive task with it."""
    ledger: Ledger = backend.credits.ledger
    stranger = uuid.uuid4()
    for each in (user, stranger):
        ledger.grant(each, 1000, source="purchase")
    arguments = (str(user), "雪", 60)
    cheap = [
        # As dear and longer, but what is used in the end would be priced by the hold's quality.
        ledger.consume(user, "video_generation", 120, {"quality": "480p"}),
        ledger.consume(user, amount=1),
        ledger.consume(user, "video_generation", amount=1),
        ledger.consume(user, "video_generation", amount=479),
        ledger.consume(user, "video_generation", 59),
        ledger.consume(user, "image_generation", 2),
        ledger.consume(user, "image_generation", amount=1),
    ]
    theirs = ledger.consume(stranger, "video_generation", 60)
    for hold in cheap:
        with pytest.raises(ValidationError) as refused:
            backend.render.apply_async(arguments, consumption_id=hold.id)
        assert refused.value.field == "consumption_id"
    with pytest.raises(NotFoundError):
        backend.render.apply_async(arguments, consumption_id=theirs.id)
    assert backend.app.control.purge() == 0
    # Whoever gets round that is found out when the task begins.
    name, forged = backend.render.name, list[Any]()
    for hold in [*cheap, theirs]:
        forged.append(backend.app.send_task(name, arguments, headers={HEADER: str(hold.id)}))
    forged.append(backend.app.send_task(name, arguments, headers={HEADER: str(theirs.id), CHECKED: "another task"}))
    with worker(environment, tmp_path, "--pool=solo"):
        for result in forged[:-2]:
            ends(result, ValidationError)
        for result in forged[-2:]:
            ends(result, NotFoundError)
    # And nobody's hold was touched.
    assert {ledger.get_consumption(hold.id).status for hold in [*cheap, theirs]} == {"pending"}
    assert ledger.balance(user).spent == 0


def test_a_hold_that_is_enough_may_be_for_more(backend: Any, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    arguments = (str(user), "雪", 10)
    for hold in (ledger.consume(user, "video_generation", 11), ledger.consume(user, "video_generation", amount=80)):
        assert backend.render.apply_async(arguments, consumption_id=hold.id).consumption_id == hold.id


def test_one_hold_pays_for_one_task(backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    hold = ledger.consume(user, "video_generation", 10, idempotency_key="over http")
    arguments = (str(user), "雪", 10)
    first = backend.render.apply_async(arguments, consumption_id=hold.id, task_id="first")
    for _ in range(2):
        with pytest.raises(InvalidStateError, match="another task") as refused:
            backend.render.apply_async(arguments, consumption_id=hold.id)
        assert refused.value.state == "pending"
    # The same task may be queued as often as it has to be.
    backend.render.apply_async(arguments, consumption_id=hold.id, task_id="first")
    # Three messages that nobody has looked at, for one hold.
    free = ledger.consume(user, "video_generation", 10)
    name = backend.render.name
    three = [backend.app.send_task(name, arguments, headers={HEADER: str(free.id)}) for _ in range(3)]
    # And one whose hold was made for a task that has not begun.
    own = backend.render.apply_async(arguments, task_id="own")
    with pytest.raises(InvalidStateError, match="another task"):
        backend.render.apply_async(arguments, consumption_id=own.consumption_id)
    thief = backend.app.send_task(name, arguments, headers={HEADER: str(own.consumption_id)})
    with worker(environment, tmp_path, "--pool=prefork", "--concurrency=2"):
        assert first.get(timeout=60)["seconds"] == 10
        assert own.get(timeout=60)["seconds"] == 10
        ends(thief, InvalidStateError)
        states = list[str]()
        for each in three:
            each.get(timeout=60, propagate=False)
            states.append(each.state)
        assert sorted(states) == ["FAILURE", "FAILURE", "SUCCESS"]
        eventually(lambda: ledger.balance(user).held == 0, "all are settled")
    assert {ledger.get_consumption(each).status for each in (hold.id, free.id, own.consumption_id)} == {"confirmed"}
    assert ledger.balance(user).spent == 3 * 80
    assert ledger.verify().is_clean


def test_many_take_one_hold_at_once(backend: Any, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    for n in range(10):
        hold = ledger.consume(user, amount=1)
        taken, refused = list[int](), list[int]()
        barrier = threading.Barrier(6)

        def take(
            k: int, n: int = n, hold: Any = hold, taken: Any = taken, no: Any = refused, all_: Any = barrier
        ) -> None:
            all_.wait()
            try:
                _holds.take(ledger, hold, f"{n}-{k // 2}")
                taken.append(k // 2)
            except InvalidStateError:
                no.append(k // 2)

        threads = [threading.Thread(target=take, args=(k,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # Two runs of one task have it, and no other task.
        assert (len(taken), len(set(taken)), len(refused)) == (2, 1, 4)


def test_holds_that_are_over(backend: Any, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    arguments = (str(user), "雪", 1)
    confirmed, refunded = (ledger.consume(user, "video_generation", 1) for _ in range(2))
    ledger.confirm(confirmed.id)
    ledger.refund(refunded.id)
    for hold in (confirmed, refunded):
        with pytest.raises(InvalidStateError):
            backend.render.apply_async(arguments, consumption_id=hold.id)
    expired = ledger.consume(user, "video_generation", 1, ttl=1)
    eventually(lambda: ledger.get_consumption(expired.id).status == "expired", "it expires")
    with pytest.raises(HoldExpiredError):
        backend.render.apply_async(arguments, consumption_id=expired.id)
    assert backend.app.control.purge() == 0


def test_a_backlog_runs_only_what_it_can_hold_again(
    environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    """Both holds have expired, and there are credits for one of the tasks: one runs and is paid."""
    app = load({**environment, "TEST_TTL": "1"})
    with app.credits.ledger as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        ledger.grant(user, 40, source="purchase")
        results = list[Any]()
        for _ in range(2):
            results.append(app.render.delay(str(user), "雪", 5))
            eventually(lambda: ledger.balance(user).held == 0, "its hold expires")
        with worker(environment, tmp_path, "--pool=prefork", "--concurrency=2"):
            for result in results:
                result.get(timeout=60, propagate=False)
        assert sorted(result.state for result in results) == ["FAILURE", "SUCCESS"]
        failed = next(result.result for result in results if result.state == "FAILURE")
        assert isinstance(failed, InsufficientCreditsError)
        assert "its 40 credits are not there any more" in str(failed)
        balance = ledger.balance(user)
        assert (balance.spent, balance.held, balance.available) == (40, 0, 0)
        assert ledger.verify().is_clean


def test_a_task_that_waits_longer_than_its_hold_would_live(
    environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    app = load({**environment, "TEST_TTL": "60"})
    with app.credits.ledger as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        ledger.grant(user, 1000, source="purchase")
        arguments, hour = (str(user), "雪", 1), timedelta(hours=1)
        soon = datetime.now(UTC) + hour
        for options in (
            {"countdown": 3600},
            {"eta": soon},
            {"eta": soon.isoformat()},
            {"eta": soon.replace(tzinfo=None)},
        ):
            result = app.render.apply_async(arguments, **options)
            held = ledger.get_consumption(result.consumption_id)
            assert held.expires_at >= soon + timedelta(seconds=60)
            assert held.expires_at <= datetime.now(UTC) + hour + timedelta(seconds=60)
        assert ledger.get_consumption(app.render.delay(*arguments).consumption_id).expires_at < soon
        far = app.render.apply_async(arguments, countdown=3600 * 24 * 40)
        assert ledger.get_consumption(far.consumption_id).expires_at < soon + timedelta(days=30)


def test_a_retry_with_other_arguments(
    backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    ledger: Ledger = backend.credits.ledger
    marks = Path(environment["TEST_MARKS"])
    with worker(environment, tmp_path, "--pool=solo"):
        more = backend.changes.delay(str(user), 1, 60)
        ends(more, ValidationError)
        assert not (marks / "ran for 60").exists()
        less = backend.changes.delay(str(user), 10, 2)
        assert less.get(timeout=60) == 2
        eventually(lambda: ledger.balance(user).held == 0, "both are settled")
    assert ledger.get_consumption(more.consumption_id).status == "refunded"
    assert ledger.balance(user).spent == 80


def test_a_hold_of_the_hosts_outlives_its_worker(
    backend: Any, environment: dict[str, str], tmp_path: Path, user: uuid.UUID
) -> None:
    ledger: Ledger = backend.credits.ledger
    with worker(environment, tmp_path, "--pool=prefork", "--concurrency=2"):
        for how in ("killed", "retries", "killed after it was charged"):
            hold = ledger.consume(user, amount=100)
            arguments = (str(user), how, how)
            result = backend.job.apply_async(arguments, consumption_id=hold.id)
            assert result.get(timeout=60) == how
            eventually(lambda hold=hold: ledger.get_consumption(hold.id).status == "confirmed", "it is charged")
            with pytest.raises(InvalidStateError):
                backend.job.apply_async(arguments, consumption_id=hold.id)
        failed = ledger.consume(user, amount=100)
        ends(backend.job.apply_async((str(user), "fails", "fails"), consumption_id=failed.id), ValueError)
        eventually(lambda: ledger.get_consumption(failed.id).status == "refunded", "it is released")
    assert ledger.balance(user).spent == 300
    assert ledger.verify().is_clean


def test_a_broker_that_is_away_keeps_no_hold_that_nobody_can_use(backend: Any, user: uuid.UUID) -> None:
    ledger: Ledger = backend.credits.ledger
    arguments = (str(user), "雪", 5)
    for task_id, then in ((None, "refunded"), ("mine", "pending")):
        hold = backend.render.hold(arguments)
        with pytest.raises(Exception, match=r"(?i)connect|refused"):
            backend.render.apply_async(
                arguments, task_id=task_id, consumption_id=hold.id, connection=_nowhere(), retry=False
            )
        assert ledger.get_consumption(hold.id).status == then
    assert backend.render.apply_async(arguments, task_id="mine", consumption_id=hold.id).consumption_id == hold.id


def test_whoever_works_at_one_task_charges_it_once(url: str, user: uuid.UUID) -> None:
    """Runs, late charges and givings-up of one task whose hold has expired, in any order and at once."""
    clock, seed = ManualClock(datetime(2026, 1, 1, tzinfo=UTC)), random.randrange(1 << 32)
    dice = random.Random(seed)
    with Ledger.connect(url, clock=clock) as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        ledger.grant(user, 10_000, source="purchase")

        def charges(held: Any, task: str) -> None:
            _holds.charge(ledger, held.id, task, None, None, "available", "recharge")

        def runs(held: Any, task: str) -> None:
            again = _holds.held_again(ledger, ledger.get_consumption(held.id), task)
            if again.status == "pending":
                charges(again, task)

        def gives_up(held: Any, task: str) -> None:
            _holds.give_up(ledger, held.id, task, "failed")

        for n in range(30):
            is_priced = dice.random() < 0.5
            held = (
                ledger.consume(user, "video_generation", 1, ttl=60)
                if is_priced
                else ledger.consume(user, amount=8, ttl=60)
            )
            before = ledger.balance(user).spent
            clock.advance(timedelta(seconds=61))
            works: list[Callable[[Any, str], None]] = [dice.choice([charges, runs, runs, gives_up]) for _ in range(4)]
            if all(work is gives_up for work in works):
                works[0] = charges
            barrier, failures = threading.Barrier(len(works)), list[CreditsError]()

            def at_once(
                work: Any, held: Any = held, n: int = n, barrier: Any = barrier, failures: Any = failures
            ) -> None:
                barrier.wait()
                try:
                    work(held, f"task-{n}")
                except InvalidStateError:
                    pass
                except CreditsError as error:
                    failures.append(error)

            threads = [threading.Thread(target=at_once, args=(work,)) for work in works]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert not failures, seed
            spent = ledger.balance(user).spent - before
            allowed = {8} if gives_up not in works else {0, 8}
            assert spent in allowed, (seed, n, works, spent)
        assert ledger.balance(user).held == 0
        assert ledger.verify().is_clean


def test_a_hold_that_is_about_to_expire_gets_its_whole_time_again(url: str, user: uuid.UUID) -> None:
    hour, now = timedelta(hours=1), datetime.now(UTC)
    clock = ManualClock(now - timedelta(minutes=40))
    with Ledger.connect(url, clock=clock) as ledger:
        ledger.migrate()
        ledger.grant(user, 100, source="purchase")
        old = ledger.consume(user, amount=1, ttl=hour)
        clock.set(now)
        new = ledger.consume(user, amount=1, ttl=hour)
        assert _holds.renewed(ledger, new) is new
        assert _holds.renewed(ledger, old).expires_at == now + hour
        clock.set(now + timedelta(hours=2))
        with pytest.raises(HoldExpiredError):
            _holds.renewed(ledger, old)


def test_a_hold_is_one_tasks_though_clocks_differ(url: str, user: uuid.UUID) -> None:
    """The account's next entry is by a clock that is behind the one that made the hold."""
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Ledger.connect(url, clock=clock) as ledger:
        ledger.migrate()
        ledger.grant(user, 1000, source="purchase")
        made = ledger.consume(user, amount=10, idempotency_key=_holds.key_of("task-1"))
        given = ledger.consume(user, amount=10)
        for behind in (timedelta(milliseconds=1), timedelta(minutes=4)):
            clock.set(made.created_at - behind)
            for _ in range(60):
                ledger.consume(user, amount=1)
        with pytest.raises(InvalidStateError, match="another task"):
            _holds.take(ledger, made, "task-2")
        _holds.take(ledger, made, "task-1")
        _holds.take(ledger, given, "task-3")
        with pytest.raises(InvalidStateError, match="another task"):
            _holds.take(ledger, given, "task-2")


def test_a_hold_whose_entry_is_not_there_is_no_tasks(url: str, user: uuid.UUID) -> None:
    with Ledger.connect(url) as ledger:
        ledger.migrate()
        ledger.grant(user, 1000, source="purchase")
        held = ledger.consume(user, amount=10)
        unknown = dataclasses.replace(held, id=uuid.uuid4())
        with pytest.raises(InvalidStateError, match="made for"):
            _holds.take(ledger, unknown, "task-1")


def test_what_is_held_again_is_the_same(url: str, user: uuid.UUID) -> None:
    clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
    with Ledger.connect(url, clock=clock) as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        ledger.grant(user, 10_000, source="purchase")
        kinds: list[dict[str, Any]] = [
            {"feature": "text_processing", "quantity": {"input_tokens": 3000, "output_tokens": "500"}},
            {"feature": "image_generation", "quantity": 2, "attributes": {"quality": "hd"}},
            {"feature": "video_generation"},
            {"feature": "own", "amount": 7},
            {"amount": 7, "reference": "r", "metadata": {"a": [1, 2.5, "雪"]}},
        ]
        for asked in kinds:
            held = ledger.consume(user, ttl=90, **asked)
            clock.advance(timedelta(seconds=91))
            again = _holds.held_again(ledger, ledger.get_consumption(held.id), "task")
            assert again.id != held.id
            assert _holds.held_again(ledger, ledger.get_consumption(held.id), "task").id == again.id
            for name in ("user_id", "amount", "feature", "reference", "metadata"):
                assert getattr(again, name) == getattr(held, name)
            assert again.expires_at - again.created_at == timedelta(seconds=90)
            quotes = [ledger.explain(each.id).held for each in (held, again)]
            assert quotes[0] == quotes[1]
            # And once more.
            clock.advance(timedelta(seconds=91))
            third = _holds.held_again(ledger, ledger.get_consumption(held.id), "task")
            assert third.id not in (held.id, again.id)
            assert (
                _holds.charge(ledger, held.id, "task", None, None, "available", "recharge").consumption.id == third.id
            )
        assert ledger.verify().is_clean
