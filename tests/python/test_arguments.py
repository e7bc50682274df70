"""What is given is read with a bound and in one way; what is wrong with it is said by name."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest

from jointo_credits import (
    AsyncLedger,
    CreditsError,
    Fault,
    Ledger,
    PaymentVerificationError,
    ValidationError,
    WeChatPay,
    _native,
    _results,
)
from jointo_credits.jobs import AsyncJobs, Jobs

ROOT = Path(__file__).resolve().parents[2]
COMPILED: tuple[type, ...] = (_native.Quote, _native.ManualClock, _native.WeChatPay, _native.Alipay)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    with Ledger.connect("memory:") as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        yield ledger


@pytest.fixture
def rich(ledger: Ledger, user: uuid.UUID) -> uuid.UUID:
    ledger.grant(user, 1_000, source="purchase")
    return user


class Hiding(dict[str, Any]):
    """A dict that says that nothing is in it."""

    def items(self) -> Any:
        return {}.items()

    def __iter__(self) -> Iterator[str]:
        return iter(())


class Endless(Mapping[str, Any]):
    """A mapping without end."""

    def __getitem__(self, name: str) -> Any:
        return 1

    def __iter__(self) -> Iterator[str]:
        return map(str, itertools.count())

    def __len__(self) -> int:
        return 1


def nested(levels: int) -> dict[str, Any]:
    value: Any = {}
    for _ in range(levels - 1):
        value = {"a": value}
    return value


def refused(call: Any, *arguments: Any, **named: Any) -> ValidationError:
    with pytest.raises(ValidationError) as raised:
        call(*arguments, **named)
    return raised.value


def test_metadata_that_contains_itself(ledger: Ledger, rich: uuid.UUID) -> None:
    hiding, within = Hiding(), Hiding()
    hiding["a"] = hiding
    within["a"] = [within]
    plain: dict[str, Any] = {}
    plain["a"] = plain
    a_list: list[Any] = []
    a_list.append(a_list)
    for metadata in (hiding, {"b": within}, plain, {"a": a_list}):
        fault = refused(ledger.consume, rich, amount=1, metadata=metadata)
        assert (fault.field, fault.limit) == ("metadata", "64 levels")


def test_metadata_that_has_the_same_part_over_and_over(ledger: Ledger, rich: uuid.UUID) -> None:
    part: Any = "x" * 100
    for _ in range(60):
        part = [part, part]
    assert refused(ledger.consume, rich, amount=1, metadata={"a": part}).limit == "16384 bytes"


def test_metadata_is_what_a_dict_subclass_has(ledger: Ledger, rich: uuid.UUID) -> None:
    hiding = Hiding(a=1)
    assert ledger.consume(rich, amount=1, metadata={"h": hiding}).metadata == {"h": {"a": 1}}
    assert ledger.consume(rich, amount=1, metadata=hiding).metadata == {"a": 1}


def test_metadata_has_64_levels(ledger: Ledger, rich: uuid.UUID) -> None:
    assert ledger.consume(rich, amount=1, metadata=nested(64)).metadata == nested(64)
    for levels in (65, 200, 100_000):
        fault = refused(ledger.consume, rich, amount=1, metadata=nested(levels))
        assert (fault.field, fault.limit) == ("metadata", "64 levels")


@pytest.mark.parametrize(
    ("metadata", "problem"),
    [
        ({"a": object()}, "has something that JSON can't say"),
        ({"a": {1, 2}}, "has something that JSON can't say"),
        ({"a": float("nan")}, "has a number that JSON can't say"),
        ({"a": 2**64}, "whole numbers must be within 64 bits"),
        ({1: "a"}, "has a name that is no text"),
        ({"a": {None: 1}}, "has a name that is no text"),
        ({"a": "\ud800"}, "has text that is no valid Unicode"),
        (["a"], "is no mapping"),
    ],
)
def test_metadata_is_what_json_can_say(ledger: Ledger, rich: uuid.UUID, metadata: Any, problem: str) -> None:
    assert problem in str(refused(ledger.consume, rich, amount=1, metadata=metadata))


def test_nothing_without_end_is_read_to_its_end(ledger: Ledger, rich: uuid.UUID) -> None:
    item = {"user_id": rich, "amount": 1}
    assert refused(ledger.consume_many, itertools.repeat(item)).limit == "1000"
    outcomes = ledger.consume_many([Endless()])  # type: ignore[list-item] # pyright: ignore
    assert isinstance(outcomes[0], CreditsError)
    for call in (
        lambda: ledger.consume(rich, amount=1, metadata=Endless()),
        lambda: ledger.consume(rich, "text_processing", Endless()),
        lambda: ledger.consume(rich, "image_generation", 1, Endless()),
        lambda: ledger.set_pricing(Endless()),
        lambda: ledger.set_pricing({"feature": "f", "name": "n", "components": [Endless()]}),
        lambda: Ledger.connect("memory:", channels=itertools.repeat(None)),  # type: ignore[arg-type] # pyright: ignore
    ):
        refused(call)
    with pytest.raises((ValidationError, PaymentVerificationError)):
        ledger.handle_notification("manual", Endless(), b"")
    keys = {
        "merchant_id": "1900000001", "app_id": "wx1", "api_v3_key": "k" * 32, "merchant_serial": "1",
        "merchant_key": "none", "notify_url": "https://shop.example/wechat",
    }  # fmt: skip
    assert refused(WeChatPay, **keys, certificates=itertools.repeat("x")).field == "certificates"
    assert refused(WeChatPay, **keys, public_keys=Endless()).field == "public_keys"


def test_a_card_that_contains_itself(ledger: Ledger) -> None:
    card: dict[str, Any] = {"feature": "f", "name": "n"}
    card["components"] = [card]
    assert refused(ledger.set_pricing, card).field == "card"
    part: Any = {}
    for _ in range(60):
        part = [part, part]
    assert refused(ledger.set_pricing, {**card, "components": part}).field == "card"


def test_messages_name_what_is_wrong_and_what_is_expected(ledger: Ledger, rich: uuid.UUID) -> None:
    said = str(refused(ledger.consume, rich, amount=1.5))
    assert said == "amount: is no whole number (expected an int, got 1.5)"
    assert (
        str(refused(ledger.consume, rich, amount=0)) == "amount: must be a positive number of credits (limit 1, got 0)"
    )
    assert "got neither)" in str(refused(ledger.consume, rich))
    assert "got amount and quantity)" in str(refused(ledger.consume, rich, amount=1, quantity=1))
    assert "got amount and attributes)" in str(refused(ledger.consume, rich, amount=1, attributes={}))
    both = refused(ledger.consume, rich, amount=1, quantity=1, attributes={})
    assert "got amount, quantity and attributes)" in str(both)
    held = ledger.consume(rich, amount=1)
    assert "got both)" in str(refused(ledger.confirm, held.id, amount=1, quantity=1))


def test_an_unknown_setting_is_named_and_its_value_is_not_shown() -> None:
    fault = refused(Ledger.connect, "memory:", hold_tll="s3cret")
    assert (fault.field, fault.value) == ("settings", "'hold_tll'")
    assert "s3cret" not in str(fault)
    assert "hold_ttl" in str(fault)


def test_the_last_time_there_is_is_named(ledger: Ledger, rich: uuid.UUID) -> None:
    for at in (datetime.max, datetime.min):
        fault = refused(ledger.grant, rich, 1, source="bonus", expires_at=at.replace(tzinfo=UTC))
        assert (fault.field, fault.limit) == ("expires_at", "2000-01-01 to 9999-12-30")


def test_features_are_names_in_one_line(ledger: Ledger, rich: uuid.UUID) -> None:
    for feature in ("", " ", "a\nb", "a\rb", "a\tb", "a\x1b[31m", "\u2028", "a\u0085b"):
        assert refused(ledger.consume, rich, feature, amount=1).field == "feature"
    assert ledger.consume(rich, "图片 生成", amount=1).feature == "图片 生成"


def test_a_ledger_is_connected_and_not_called() -> None:
    for arguments, named in [(["sqlite:///credits.db"], {}), ([], {}), ([], {"url": "sqlite:///credits.db"})]:
        with pytest.raises(TypeError, match=r"Ledger\.connect\(url\)"):
            Ledger(*arguments, **named)  # type: ignore[arg-type] # pyright: ignore
    with pytest.raises(TypeError, match=r"await AsyncLedger\.connect\(url\)"):
        AsyncLedger("sqlite:///credits.db")  # type: ignore[arg-type] # pyright: ignore


def test_words_are_those_of_the_library() -> None:
    kinds = {field: hint for field, hint in Fault.__annotations__.items() if field == "kind"}
    literals = {
        "Kind": _results.Kind,
        "Source": _results.Source,
        "Status": _results.Status,
        "OrderStatus": _results.OrderStatus,
        "FaultKind": eval(kinds["kind"], vars(_results.operations)),
    }
    assert {name: get_args(words) for name, words in literals.items()} == _native.WORDS


def test_refunds_and_clawbacks_name_who_asked(ledger: Ledger, rich: uuid.UUID) -> None:
    lot = ledger.grant(rich, 10, source="purchase").lot
    assert lot is not None
    held = ledger.consume(rich, amount=5)
    ledger.refund(held.id, operator="li", idempotency_key="r")
    ledger.clawback(rich, lot.id, operator="wang")
    told = {entry.kind: entry.operator for entry in ledger.transactions(rich) if entry.operator}
    assert told == {"refund": "li", "clawback": "wang"}


def test_changes_of_the_catalogue_are_safe_to_repeat(ledger: Ledger) -> None:
    package = ledger.save_package("尝鲜", "1.00", 10)
    assert ledger.save_package("尝鲜", 1, 10) == package
    assert ledger.save_package("尝鲜", "1.00", 10, package_id=package.id) == package
    assert ledger.save_package("尝鲜", "1.00", 11).id != package.id
    card = {"feature": "f", "name": "n", "components": [{"model": "flat", "rate": 1}]}
    assert ledger.set_pricing(card) == ledger.set_pricing(card)
    retired = {"feature": "f", "name": "n", "retired": True}
    assert ledger.set_pricing(retired) == ledger.set_pricing(retired)


def test_the_table_of_the_ends_of_a_job_is_where_it_is_looked_for() -> None:
    for jobs in (Jobs, AsyncJobs):
        assert "| success | expired |" in (jobs.__doc__ or "")


def test_whatever_is_public_has_a_docstring_that_an_editor_shows() -> None:
    """Behind a field, as pyright and griffe look for it: a comment is shown by neither."""
    without = []
    for part in ("", ".celery", ".fastapi", ".jobs", ".prometheus", ".alembic"):
        module = importlib.import_module("jointo_credits" + part)
        for name in module.__all__:
            each = getattr(module, name)
            if not inspect.isclass(each) or each in COMPILED:
                continue  # a test of their own is below
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            assert isinstance(tree, ast.ClassDef)
            if not ast.get_docstring(tree):
                without.append(name)
            for node, behind in zip(tree.body, [*tree.body[1:], None], strict=True):
                match node, behind:
                    case ast.AnnAssign(), ast.Expr(value=ast.Constant(value=str())):
                        pass
                    case ast.AnnAssign(target=ast.Name(id=field)), _ if not field.startswith("_"):
                        without.append(f"{name}.{field}")
                    case ast.FunctionDef(name=method) | ast.AsyncFunctionDef(name=method), _:
                        if not method.startswith("_") and not inspect.getdoc(getattr(each, method)):
                            without.append(f"{name}.{method}")
                    case _:
                        pass
    assert without == []


def test_what_is_compiled_has_the_same_docstrings_in_the_stubs() -> None:
    """Editors look there: they run nothing."""
    tree = ast.parse((ROOT / "python/jointo_credits/_native.pyi").read_text(encoding="utf-8"))
    stubs = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    for compiled in COMPILED:
        stub = stubs[compiled.__name__]
        shown = {node.name: ast.get_docstring(node) for node in stub.body if isinstance(node, ast.FunctionDef)}
        names = [name for name in vars(compiled) if not name.startswith("_")]
        assert ast.get_docstring(stub) == inspect.getdoc(compiled)
        assert {name: shown[name] for name in names} == {name: inspect.getdoc(vars(compiled)[name]) for name in names}


def test_every_setting_and_field_has_a_docstring_and_a_place_in_the_reference() -> None:
    ran = subprocess.run(
        [sys.executable, ROOT / "scripts" / "make-reference", "--check"], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    for name in ("hold_ttl", "cache_accounts", "counter_accounts", "is_clean"):
        assert f"`{name}`" in page
    results = {name for name in _results.__all__ if dataclasses.is_dataclass(getattr(_results, name))}
    assert not [name for name in results | {"Quote"} if f"### {name}\n" not in page]
