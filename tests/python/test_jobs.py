"""The ends of jobs: every report, in every order, at every time."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jointo_credits import Ledger, ManualClock, NotFoundError, ValidationError
from jointo_credits.jobs import Jobs

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(START)


@pytest.fixture
def ledger(url: str, clock: ManualClock, user: uuid.UUID) -> Iterator[Ledger]:
    with Ledger.connect(url, clock=clock) as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        ledger.grant(user, 1000, source="purchase")
        yield ledger


def test_the_first_final_word_counts(ledger: Ledger, user: uuid.UUID) -> None:
    jobs = Jobs(ledger)
    one, two = ledger.consume(user, amount=100), ledger.consume(user, amount=100)
    for _ in range(2):
        assert (jobs.on_job_succeeded(one.id, amount=60).outcome) == "charged"
        assert (jobs.on_job_failed(two.id, "显存不足").outcome) == "released"
    assert jobs.on_job_failed(one.id).outcome == "charged"
    assert jobs.on_job_succeeded(two.id).outcome == "released"
    # Another word about how much comes too late as well.
    again = jobs.on_job_succeeded(one.id, amount=70)
    assert (again.outcome, again.charged) == ("charged", 60)
    assert (ledger.balance(user).available, ledger.balance(user).held) == (940, 0)
    assert ledger.verify().is_clean


def test_after_expiry(ledger: Ledger, clock: ManualClock, user: uuid.UUID) -> None:
    holds = [ledger.consume(user, amount=300, ttl=60) for _ in range(3)]
    clock.advance(timedelta(seconds=61))
    assert Jobs(ledger).on_job_failed(holds[0].id).outcome == "released"
    assert Jobs(ledger, late="reject").on_job_succeeded(holds[1].id).outcome == "unpaid"
    late = Jobs(ledger).on_job_succeeded(holds[1].id)
    assert (late.outcome, late.charged) == ("charged", 300)
    ledger.consume(user, amount=600)
    poor = Jobs(ledger).on_job_succeeded(holds[2].id)
    assert (poor.outcome, poor.charged) == ("unpaid", 0)
    assert (ledger.balance(user).available, ledger.balance(user).spent) == (100, 300)


def test_more_was_used_than_is_held(ledger: Ledger, user: uuid.UUID, caplog: pytest.LogCaptureFixture) -> None:
    hold = ledger.consume(user, amount=900)
    assert Jobs(ledger).on_job_succeeded(hold.id, amount=950).charged == 950
    hold = ledger.consume(user, amount=40)
    done = Jobs(ledger).on_job_succeeded(hold.id, amount=90)
    assert (done.outcome, done.charged) == ("charged", 40)
    assert "more was used than can be paid" in caplog.text
    hold = ledger.consume(user, amount=10)
    assert Jobs(ledger, overage="debt").on_job_succeeded(hold.id, amount=30).charged == 30
    assert ledger.balance(user).available == -20
    assert ledger.verify().is_clean


def test_use_is_priced_by_the_holds_own_card(ledger: Ledger, user: uuid.UUID) -> None:
    hold = ledger.consume(user, "video_generation", 10)
    costs = ledger.calculate("video_generation", 4).credits
    assert Jobs(ledger).on_job_succeeded(hold.id, 4).charged == costs
    hold = ledger.consume(user, "video_generation", 10)
    nothing = Jobs(ledger).on_job_succeeded(hold.id, amount=0)
    assert (nothing.outcome, nothing.charged) == ("released", 0)


def test_an_amount_that_somebody_named_is_what_a_job_costs(
    ledger: Ledger, user: uuid.UUID, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    """No card can price what was used then, and the work is done: it must not stay unpaid."""
    jobs = Jobs(ledger)
    for feature in ("video_generation", None):
        hold = ledger.consume(user, feature, amount=30)
        done = jobs.on_job_succeeded(hold.id, 60)
        assert (done.outcome, done.charged) == ("charged", 30)
        assert "not priced by a card" in caplog.text
        caplog.clear()
        assert jobs.on_job_succeeded(hold.id, 10).charged == 30
    gone = ledger.consume(user, "video_generation", amount=30)
    ledger.refund(gone.id)
    assert jobs.on_job_succeeded(gone.id, 60).outcome == "released"
    late = ledger.consume(user, "video_generation", amount=30, ttl=60)
    clock.advance(timedelta(seconds=61))
    assert Jobs(ledger, late="reject").on_job_succeeded(late.id, 60).outcome == "unpaid"
    assert jobs.on_job_succeeded(late.id, 60).charged == 30
    assert ledger.verify().is_clean


@pytest.mark.parametrize("wrong", [{"usage": "many"}, {"amount": -1}, {"amount": 1, "usage": 1}])
def test_wrong_reports_change_nothing(ledger: Ledger, user: uuid.UUID, wrong: dict[str, Any]) -> None:
    hold = ledger.consume(user, "video_generation", 10)
    with pytest.raises(ValidationError):
        Jobs(ledger).on_job_succeeded(hold.id, **wrong)
    assert ledger.get_consumption(hold.id).status == "pending"
    for report in (Jobs(ledger).on_job_succeeded, Jobs(ledger).on_job_failed):
        with pytest.raises(NotFoundError):
            report(uuid.uuid4())


@pytest.mark.parametrize("reason", ["x" * 300, "显" * 100, "a\0b", "\ud800", ""])
def test_a_reason_is_no_reason_to_keep_credits(ledger: Ledger, user: uuid.UUID, reason: str) -> None:
    hold = ledger.consume(user, amount=10)
    assert Jobs(ledger).on_job_failed(hold.id, reason).outcome == "released"


def test_reports_that_arrive_at_once(ledger: Ledger, user: uuid.UUID) -> None:
    import threading

    jobs = Jobs(ledger)
    for n in range(20):
        hold = ledger.consume(user, amount=10)
        outcomes = list[str]()
        barrier = threading.Barrier(6)

        def report(succeeded: bool, hold: Any = hold, outcomes: list[str] = outcomes, barrier: Any = barrier) -> None:
            barrier.wait()
            done = jobs.on_job_succeeded(hold.id) if succeeded else jobs.on_job_failed(hold.id)
            outcomes.append(done.outcome)

        threads = [threading.Thread(target=report, args=(k % 2 == n % 2,)) for k in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(outcomes) == 6
        assert len(set(outcomes)) == 1, outcomes
    assert ledger.balance(user).held == 0
    assert ledger.verify().is_clean
