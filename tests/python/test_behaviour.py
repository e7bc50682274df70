"""The same behaviour through the sync ledger, the async ledger and the command line, on SQLite and PostgreSQL."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from jointo_credits import (
    HoldExpiredError,
    IdempotencyConflictError,
    InsufficientCreditsError,
    InvalidStateError,
    Ledger,
    ManualClock,
    NotFoundError,
    ValidationError,
)


def test_the_life_of_a_credit(client: Any, user: uuid.UUID) -> None:
    client.grant(user, 100, source="purchase")
    hold = client.consume(user, amount=75)
    assert (hold.status, hold.amount) == ("pending", 75)
    assert (client.balance(user).available, client.balance(user).held) == (25, 75)
    done = client.confirm(hold.id, amount=60)
    assert (done.status, done.captured) == ("confirmed", 60)
    back = client.refund(hold.id, amount=10, reason="half of it was wrong")
    assert (back.status, back.reversed) == ("confirmed", 10)
    assert client.balance(user).available == 50
    assert client.verify().fault_count == 0
    assert client.trial_balance().available == 50


def test_a_failed_job_is_refunded(client: Any, user: uuid.UUID) -> None:
    client.gift(user, 40, reason="welcome")
    hold = client.consume(user, amount=40)
    assert client.refund(hold.id).status == "refunded"
    assert client.balance(user).available == 40
    with pytest.raises(InvalidStateError) as refused:
        client.confirm(hold.id)
    assert (refused.value.state, str(refused.value.consumption_id)) == ("refunded", str(hold.id))


def test_a_hold_is_priced_by_its_card(client: Any, user: uuid.UUID) -> None:
    client.grant(user, 100, source="purchase")
    hold = client.consume(user, "video_generation", quantity=10)
    whole = client.balance(user).held
    assert hold.amount == whole > 0
    assert client.confirm(hold.id, quantity=5).captured <= whole
    assert client.explain(hold.id).held.feature == "video_generation"


def test_twenty_of_seventy_five_on_five_hundred(client: Any, user: uuid.UUID) -> None:
    client.grant(user, 500, source="purchase")

    def consume(n: int) -> str:
        try:
            return client.consume(user, amount=75, idempotency_key=f"job-{n}").status
        except InsufficientCreditsError as error:
            assert error.required == 75
            assert error.available < 75
            return error.code

    with ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(consume, range(20)))
    assert (outcomes.count("pending"), outcomes.count("insufficient_credits")) == (6, 14)
    assert (client.balance(user).available, client.balance(user).held) == (50, 450)


def test_a_key_gives_the_first_answer_again(client: Any, user: uuid.UUID) -> None:
    first = client.grant(user, 100, source="purchase", idempotency_key="order-1")
    again = client.grant(user, 100, source="purchase", idempotency_key="order-1")
    assert again == first
    with pytest.raises(IdempotencyConflictError) as refused:
        client.grant(user, 200, source="purchase", idempotency_key="order-1")
    assert refused.value.key == "order-1"
    hold = client.consume(user, amount=5, idempotency_key="job-1")
    client.confirm(hold.id, idempotency_key="job-1-done")
    assert client.consume(user, amount=5, idempotency_key="job-1").id == hold.id
    assert client.confirm(hold.id, idempotency_key="job-1-done").captured == 5
    assert client.balance(user).available == 95


def test_what_expires_is_back_before_anybody_says_so(client: Any, url: str, user: uuid.UUID) -> None:
    # A hold of an hour ago.
    clock = ManualClock(datetime.now(UTC) - timedelta(hours=2))
    with Ledger.connect(url, clock=clock) as past:
        past.grant(user, 100, source="purchase")
        hold = past.consume(user, amount=30, ttl=3600)
    assert client.balance(user).available == 100
    with pytest.raises(HoldExpiredError) as refused:
        client.confirm(hold.id)
    assert refused.value.expired_at is not None
    swept = client.expire_pending()
    assert (swept.holds, swept.released) in [(1, 30), (0, 0)]  # the refused confirm may have written it down
    assert client.confirm(hold.id, late="recharge").captured == 30
    assert client.balance(user).available == 70


def test_errors_say_what_is_wrong(client: Any, user: uuid.UUID) -> None:
    with pytest.raises(ValidationError) as refused:
        client.grant(user, -5, source="purchase")
    assert refused.value.field == "amount"
    with pytest.raises(NotFoundError) as missing:
        client.confirm(user)
    assert (missing.value.what, str(missing.value.id)) == ("consumption", str(user))
    with pytest.raises(NotFoundError) as unpriced:
        client.consume(user, "teleportation")
    assert (unpriced.value.what, unpriced.value.id) == ("rate card", "teleportation")
    with pytest.raises(InsufficientCreditsError) as poor:
        client.consume(user, amount=1)
    assert (poor.value.required, poor.value.available) == (1, 0)
    assert client.balance(user).seq == 0
