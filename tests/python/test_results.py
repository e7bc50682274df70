"""Results and errors are values: they compare, hash, pickle, and turn into dicts."""

from __future__ import annotations

import copy
import dataclasses
import pickle
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest

import jointo_credits
from jointo_credits import CreditsError, InsufficientCreditsError, Ledger, ManualClock, Money, ValidationError

START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def results(sqlite: str, user: uuid.UUID) -> list[Any]:
    """One of each result."""
    with Ledger.connect(sqlite, clock=ManualClock(START)) as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        day = START + timedelta(days=1)
        receipt = ledger.grant(user, 100, source="purchase", expires_at=day, cost=Money(990, "CNY"), reference="order")
        gift = ledger.gift(user, 10, reason="welcome", operator="li")
        hold = ledger.consume(user, "image_generation", 2, {"quality": "hd"}, metadata={"job": [1, 2]})
        ledger.confirm(hold.id, quantity=1)
        package = ledger.packages()[0]
        statement = ledger.statement(user, START, day)
        return [
            receipt,
            receipt.lot,
            gift,
            hold,
            hold.lots[0],
            ledger.balance(user),
            ledger.balance(user).expiring[0],
            ledger.transactions(user),
            ledger.transactions(user).items[0],
            ledger.consumption(user),
            ledger.get_consumption(hold.id),
            ledger.explain(hold.id),
            ledger.explain(hold.id).lots[0],
            ledger.calculate("video_generation", 5),
            ledger.calculate("video_generation", 5).breakdown[0],
            package,
            ledger.pricing()[0],
            ledger.clawback(user, receipt.lot.id, reason="chargeback"),
            ledger.set_credit_limit(user, 5),
            ledger.adjust(user, 1, reason="rounding"),
            ledger.expire_pending(),
            ledger.verify(),
            ledger.trial_balance(),
            Money(990, "CNY"),
            ledger.inspect(),
            statement,
            statement.opening,
            statement.totals,
            statement.kinds[0],
            statement.features[0],
        ]


def test_each_is_a_value(results: list[Any]) -> None:
    for result in results:
        again = pickle.loads(pickle.dumps(result))
        assert again == result
        assert again is not result
        assert hash(again) == hash(result)
        assert copy.deepcopy(result) == result
        assert repr(result).startswith(type(result).__name__ + "(")
        assert result != object()
        name = next(iter(result.to_dict()))
        with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
            setattr(result, name, None)
        with pytest.raises((AttributeError, TypeError)):
            result.something_new = 1
    assert len({type(result) for result in results}) == 25


def test_fields_have_the_types_they_say(results: list[Any]) -> None:
    """What the library makes by position is where the class has it."""
    import typing

    for result in results:
        if not dataclasses.is_dataclass(result):
            continue
        hints = typing.get_type_hints(type(result))
        for part in dataclasses.fields(result):
            _check(hints[part.name], getattr(result, part.name), f"{type(result).__name__}.{part.name}")


def _check(hint: Any, value: Any, where: str) -> None:
    import types
    import typing

    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        assert any(_fits(argument, value) for argument in arguments), (where, value)
    else:
        assert _fits(hint, value), (where, hint, value)


def _fits(hint: Any, value: Any) -> bool:
    import typing

    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is type(None):
        return value is None
    if isinstance(hint, typing.TypeVar):
        return True
    if origin is typing.Literal:
        return value in arguments
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(arguments[0], item) for item in value)
    if origin is dict:
        return isinstance(value, dict)
    if hint is datetime:
        return isinstance(value, datetime) and value.utcoffset() == timedelta(0)
    return isinstance(value, hint) and not (hint is int and isinstance(value, bool))


def test_dicts_are_plain(results: list[Any]) -> None:
    def check(value: Any) -> None:
        match value:
            case dict():
                for name, part in value.items():
                    assert isinstance(name, str)
                    check(part)
            case list():
                for part in value:
                    check(part)
            case _:
                assert isinstance(value, (str, int, Decimal, uuid.UUID, datetime, timedelta, type(None))), value

    for result in results:
        check(result.to_dict())


def test_every_error_crosses_processes(sqlite: str, user: uuid.UUID) -> None:
    now = datetime.now(UTC)
    errors = [
        jointo_credits.ValidationError("m", field="amount", problem="p", limit="1", value="0", path="$.x"),
        jointo_credits.NotFoundError("m", what="consumption", id=user),
        jointo_credits.InsufficientCreditsError("m", required=75, available=25),
        jointo_credits.HoldExpiredError("m", consumption_id=user, expired_at=now),
        jointo_credits.InvalidStateError("m", consumption_id=user, state="refunded"),
        jointo_credits.IdempotencyConflictError("m", key="k"),
        jointo_credits.PaymentVerificationError(
            "m", channel="alipay", order_no="0", problem="p", expected="1", value="2"
        ),
        jointo_credits.PaymentChannelError("m", channel="wechat", reason="NOT_ENOUGH", channel_message="余额不足"),
        jointo_credits.UnavailableError("m", outcome="unknown", reason="r", remedy="s"),
    ]
    assert {type(error) for error in errors} == set(CreditsError.__subclasses__())
    codes = set()
    for error in errors:
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert again.to_dict() == error.to_dict()
        assert str(again) == "m"
        codes.add(error.code)
    assert len(codes) == len(errors)


class Sick(Mapping[str, Any]):
    def __getitem__(self, name: str) -> Any:
        raise RuntimeError("sick")

    def __iter__(self) -> Any:
        raise RuntimeError("sick")

    def __len__(self) -> int:
        return 1


CYCLE: dict[str, Any] = {}
CYCLE["self"] = CYCLE

WRONG = [
    ("consume", ("{user}",), {"amount": 5, "ttl": timedelta.max}, "ttl"),
    ("consume", ("{user}",), {"amount": 5, "ttl": timedelta.min}, "ttl"),
    ("consume", ("{user}",), {"amount": 5, "metadata": {1: "a", "1": "b"}}, "metadata"),
    ("consume", ("{user}",), {"amount": 5, "metadata": {"x": {None: 1}}}, "metadata"),
    ("consume", ("{user}",), {"amount": 5, "metadata": {"x": [2**64]}}, "metadata"),
    ("consume", ("{user}",), {"amount": 5, "metadata": CYCLE}, "metadata"),
    ("consume", ("{user}", "image_generation", 10**5000), {}, "quantity"),
    ("consume", ("{user}", "image_generation", Decimal("sNaN")), {}, "quantity"),
    ("consume", ("{user}", "image_generation", 1, Sick()), {}, "attributes"),
    ("grant", ("{user}", 5), {"source": "gift", "cost": (990, "CNY")}, "cost"),
    ("grant", ("{user}", 5), {"source": "gift", "expires_at": datetime.max.replace(tzinfo=UTC)}, "expires_at"),
    ("grant", ("{user}", 5), {"source": "gift", "expires_at": datetime.min.replace(tzinfo=UTC)}, "expires_at"),
    ("balance", ("{user}", datetime.max.replace(tzinfo=timezone(timedelta(hours=-8)))), {}, "at"),
    ("refund", ("{user}",), {"pending_only": "yes"}, "pending_only"),
    ("consume_many", (5,), {}, "items"),
    ("set_pricing", (CYCLE,), {}, "card"),
    ("set_pricing", ({"feature": {1}},), {}, "card"),
    ("set_pricing", ({("a", 1): 2},), {}, "card"),
    ("grant", ("not-an-id", 5), {"source": "gift"}, "user_id"),
    ("grant", (7, 5), {"source": "gift"}, "user_id"),
    ("grant", (None, 5), {"source": "gift"}, "user_id"),
    ("grant", ("{user}", 0), {"source": "gift"}, "amount"),
    ("grant", ("{user}", -1), {"source": "gift"}, "amount"),
    ("grant", ("{user}", 2**53), {"source": "gift"}, "amount"),
    ("grant", ("{user}", 2**70), {"source": "gift"}, "amount"),
    ("grant", ("{user}", 1.5), {"source": "gift"}, "amount"),
    ("grant", ("{user}", True), {"source": "gift"}, "amount"),
    ("grant", ("{user}", "5"), {"source": "gift"}, "amount"),
    ("grant", ("{user}", 5), {"source": "theft"}, "source"),
    ("grant", ("{user}", 5), {"source": "gift", "expires_at": datetime(2030, 1, 1)}, "expires_at"),
    ("grant", ("{user}", 5), {"source": "gift", "expires_at": "2030-01-01"}, "expires_at"),
    ("grant", ("{user}", 5), {"source": "gift", "reference": "\ud800"}, "reference"),
    ("grant", ("{user}", 5), {"source": "gift", "idempotency_key": ""}, "idempotency_key"),
    ("grant", ("{user}", 5), {"source": "gift", "idempotency_key": "k" * 300}, "idempotency_key"),
    ("consume", ("{user}",), {}, "amount"),
    ("consume", ("{user}",), {"amount": 5, "quantity": 1}, "amount"),
    ("consume", ("{user}",), {"amount": 5, "ttl": -1}, "ttl"),
    ("consume", ("{user}",), {"amount": 5, "ttl": float("nan")}, "ttl"),
    ("consume", ("{user}",), {"amount": 5, "ttl": timedelta(days=400)}, "ttl"),
    ("consume", ("{user}",), {"amount": 5, "metadata": [1]}, "metadata"),
    ("consume", ("{user}",), {"amount": 5, "metadata": {"x": object()}}, "metadata"),
    ("consume", ("{user}",), {"amount": 5, "metadata": {"x": float("nan")}}, "metadata"),
    ("consume", ("{user}",), {"amount": 5, "metadata": {"x": "y" * 100_000}}, "metadata"),
    ("consume", ("{user}", "image_generation", 0.5), {}, "quantity"),
    ("consume", ("{user}", "image_generation", Decimal("NaN")), {}, "quantity"),
    ("consume", ("{user}", "image_generation", Decimal("1E+40")), {}, "quantity"),
    ("consume", ("{user}", "image_generation", -1), {}, "quantity"),
    ("consume", ("{user}", "image_generation", {"images": 1, "pixels": 2}), {}, "quantity"),
    ("consume", ("{user}", "image_generation", 1, {"quality": 5}), {}, "attributes"),
    ("consume", ("{user}", "image_generation", 1, ["hd"]), {}, "attributes"),
    ("confirm", ("{user}",), {"overage": "maybe"}, "overage"),
    ("confirm", ("{user}",), {"amount": 1, "quantity": 1}, "amount"),
    ("statement", ("{user}", datetime(2030, 1, 1), datetime(2031, 1, 1)), {}, "since"),
    ("statement", ("{user}", datetime(2030, 1, 1, tzinfo=UTC), "2031-01-01"), {}, "until"),
    ("statement", ("{user}", datetime(1970, 1, 1, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)), {}, "since"),
    ("statement", ("{user}", datetime(2030, 1, 2, tzinfo=UTC), datetime(2030, 1, 1, tzinfo=UTC)), {}, "until"),
    ("transactions", ("{user}",), {"limit": 0}, "limit"),
    ("transactions", ("{user}",), {"limit": 100_000}, "limit"),
    ("transactions", ("{user}",), {"cursor": "here"}, "cursor"),
    ("transactions", ("{user}",), {"kind": "magic"}, "kind"),
    ("consumption", ("{user}",), {"status": "lost"}, "status"),
    ("expire_pending", (-1,), {}, "limit"),
    ("save_package", ("x", 9.9, 100), {}, "price"),
    ("save_package", ("x", "9.999", 100), {}, "price"),
    ("set_pricing", ("{",), {}, "card"),
    ("set_pricing", ({"feature": "x"},), {}, "card"),
]


@pytest.mark.parametrize(("name", "positional", "named", "field"), WRONG)
def test_wrong_arguments_name_themselves(
    name: str, positional: tuple[Any, ...], named: dict[str, Any], field: str, user: uuid.UUID
) -> None:
    with Ledger.connect("sqlite::memory:") as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        with pytest.raises(ValidationError) as refused:
            getattr(ledger, name)(*(user if part == "{user}" else part for part in positional), **named)
        assert refused.value.field == field
        assert len(str(refused.value)) < 500
        assert ledger.trial_balance().counter_accounts == {}


def test_what_is_wrong_with_one_of_many_is_its_own(user: uuid.UUID) -> None:
    with Ledger.connect("memory:") as ledger:
        ledger.grant(user, 10, source="gift")
        items: list[Any] = [{"user_id": user, "amount": 1}, {"user_id": user, "amount": "x"}, None, {"amount": 1}]
        items += [{"user_id": user, "amount": 0}, {"user_id": user, "amount": 2, "colour": "red"}]
        items += [{"user_id": user, "feature": "none"}, {"user_id": user, "amount": 3}]
        outcomes = ledger.consume_many(items)
        names = [type(outcome).__name__ for outcome in outcomes]
        wrong = "ValidationError"
        assert names == ["Consumption", wrong, wrong, wrong, wrong, wrong, "NotFoundError", "Consumption"]
        assert ledger.balance(user).held == 4
        with pytest.raises(ValidationError):
            ledger.consume_many([{"user_id": user, "amount": 1}] * 1001)


def test_many_replay_what_was_answered(url: str, user: uuid.UUID) -> None:
    """Also where an item can't be priced any more."""
    card: dict[str, Any] = {"feature": "dubbing", "name": "d"}
    with Ledger.connect(url) as ledger:
        ledger.migrate()
        ledger.grant(user, 100, source="gift")
        ledger.set_pricing({**card, "components": [{"quantity": "seconds", "model": "per_unit", "rate": 2}]})
        items: list[Any] = [
            {"user_id": user, "feature": "dubbing", "quantity": 3, "idempotency_key": "priced"},
            {"user_id": user, "amount": 10, "idempotency_key": "amount"},
            {"user_id": user, "feature": "nothing", "idempotency_key": "unpriced"},
        ]
        first = ledger.consume_many(items)
        ledger.set_pricing({**card, "components": [{"model": "flat", "rate": 9}]})
        again = ledger.consume_many(items)
        assert again[:2] == first[:2]
        assert [each.amount for each in again[:2]] == [6, 10]  # type: ignore[union-attr]
        items[0]["quantity"] = 4
        names = [type(outcome).__name__ for outcome in ledger.consume_many(items)]
        assert names == ["IdempotencyConflictError", "Consumption", "NotFoundError"]


def test_a_quote_says_how_much_was_priced() -> None:
    with Ledger.connect("memory:") as ledger:
        ledger.seed_catalog()
        tokens = {"input_tokens": 3000, "output_tokens": "500.5"}
        assert ledger.calculate("text_processing", tokens).quantities == {
            "input_tokens": 3000,
            "output_tokens": Decimal("500.5"),
        }
        # Assumed where nothing was said.
        assert ledger.calculate("video_generation", None).quantities == {"seconds": 5}


def test_an_error_keeps_what_its_host_gave_it() -> None:
    class Special(jointo_credits.InsufficientCreditsError):
        def __init__(self) -> None:
            super().__init__("m", required=5)

    globals()["Special"] = Special
    Special.__qualname__ = "Special"
    for error in (jointo_credits.NotFoundError("m", what="x"), Special()):
        error.request_id = "r-1"  # type: ignore[attr-defined]
        again = pickle.loads(pickle.dumps(error))
        assert (type(again), again.request_id, str(again)) == (type(error), "r-1", "m")
        assert again.to_dict() == error.to_dict()


@pytest.mark.parametrize(
    ("url", "settings", "field"),
    [
        ("mysql://localhost/credits", {}, "url"),
        ("credits.db", {}, "url"),
        (5, {}, "url"),
        ("sqlite::memory:", {"schema": "credits"}, "schema"),
        ("sqlite::memory:", {"clock": datetime.now}, "clock"),
        ("sqlite::memory:", {"hold_ttl": 0}, "hold_ttl"),
        ("sqlite::memory:", {"max_connections": 0}, "max_connections"),
        ("sqlite::memory:", {"on_lot_expired_while_held": "keep"}, "on_lot_expired_while_held"),
        ("sqlite::memory:", {"account_memory_bytes": -1}, "account_memory_bytes"),
        ("sqlite::memory:", {"pgbouncer": "yes"}, "pgbouncer"),
        ("sqlite::memory:", {"pool_size": 5}, "settings"),
    ],
)
def test_wrong_settings_name_themselves(url: Any, settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refused:
        Ledger.connect(url, **settings)
    assert refused.value.field == field


@pytest.mark.parametrize("account_memory_bytes", [0, 4096, 1 << 24])
def test_how_much_is_kept_changes_no_answer(account_memory_bytes: int, user: uuid.UUID) -> None:
    with Ledger.connect("sqlite::memory:", account_memory_bytes=account_memory_bytes) as ledger:
        ledger.migrate()
        ledger.grant(user, 10, source="purchase")
        holds = [ledger.consume(user, amount=3, idempotency_key=f"job-{n}") for n in range(3)]
        with pytest.raises(InsufficientCreditsError):
            ledger.consume(user, amount=3)
        assert ledger.consume(user, amount=3, idempotency_key="job-0") == holds[0]
        ledger.confirm(holds[1].id, amount=1)
        assert ledger.balance(user).available == 3
        assert ledger.verify().is_clean


def test_no_password_in_an_error() -> None:
    with pytest.raises(CreditsError) as refused:
        Ledger.connect("postgresql://user:geheim@127.0.0.1:1/x", patience=0, connect_timeout=1)
    assert "geheim" not in str(refused.value)
    assert "geheim" not in repr(refused.value.to_dict())
    with pytest.raises(ValidationError) as malformed:
        Ledger.connect("postgresql://user:geheim@host:port/x")
    assert "geheim" not in str(malformed.value.to_dict())
