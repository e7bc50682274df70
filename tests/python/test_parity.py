"""The sync ledger, the async ledger, the stubs and the documentation say the same."""

from __future__ import annotations

import doctest
import inspect
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import jointo_credits
from jointo_credits import AsyncHold, AsyncLedger, Hold, Ledger, _async_ledger, _errors, _ledger

ROOT = Path(__file__).resolve().parents[2]
PAIRS = [(Ledger, AsyncLedger), (Hold, AsyncHold)]


def public(kind: type) -> dict[str, Any]:
    return {name: value for name, value in vars(kind).items() if not name.startswith("_")}


@pytest.mark.parametrize(("sync", "awaited"), PAIRS)
def test_both_have_the_same_methods(sync: type, awaited: type) -> None:
    assert list(public(sync)) == list(public(awaited))
    for name in public(sync):
        one, other = getattr(sync, name), getattr(awaited, name)
        if not callable(one):
            continue
        ours, theirs = inspect.signature(one), inspect.signature(other)
        assert list(ours.parameters.values()) == list(theirs.parameters.values()), name
        if name in {"hold", "used"}:
            assert not inspect.iscoroutinefunction(other)
        else:
            assert inspect.iscoroutinefunction(other) or inspect.isasyncgenfunction(other), name
        assert not inspect.iscoroutinefunction(one), name


@pytest.mark.parametrize("kind", [Ledger, AsyncLedger, Hold, AsyncHold])
def test_every_method_is_documented(kind: type) -> None:
    for name, value in public(kind).items():
        assert inspect.getdoc(value), f"{kind.__name__}.{name}"


def test_every_public_name_is_there_and_documented() -> None:
    assert sorted(jointo_credits.__all__) == jointo_credits.__all__
    for name in jointo_credits.__all__:
        value = getattr(jointo_credits, name)
        if isinstance(value, type):
            assert value.__doc__, name
            assert not value.__module__.startswith("builtins"), name


def test_the_methods_of_the_design_are_there() -> None:
    names = [
        "connect",
        "migrate",
        "seed_catalog",
        "close",
        "balance",
        "transactions",
        "statement",
        "consumption",
        "get_consumption",
        "calculate",
        "consume",
        "consume_many",
        "confirm",
        "refund",
        "extend",
        "hold",
        "gift",
        "grant",
        "expire_pending",
        "expire_lots",
        "packages",
        "package",
        "save_package",
        "pricing",
        "set_pricing",
        "verify",
        "trial_balance",
        "explain",
        "adjust",
        "set_credit_limit",
        "clawback",
    ]
    assert set(names) <= set(public(Ledger))


def test_the_sync_ledger_is_made_from_the_async_one() -> None:
    subprocess.run([sys.executable, ROOT / "scripts" / "make-sync", "--check"], check=True)


def fresh() -> dict[str, Any]:
    """What examples begin with: a ledger and an account that has bought 1,000 credits."""
    ledger = Ledger.connect("sqlite::memory:")
    ledger.migrate()
    ledger.seed_catalog()
    user = "00000000-0000-0000-0000-000000000001"
    ledger.grant(user, 1000, source="purchase")
    return {"ledger": ledger, "user": user, "Ledger": Ledger}


def examples() -> list[tuple[str, doctest.DocTest, Callable[[], dict[str, Any]]]]:
    found = []
    finder = doctest.DocTestFinder(recurse=True)
    for module in (jointo_credits, _ledger, _errors):
        for test in finder.find(module, module.__name__):
            if test.examples:
                found.append((test.name, test, fresh))
    return found


@pytest.mark.parametrize(("name", "test", "names"), examples(), ids=lambda part: part if isinstance(part, str) else "")
def test_examples_run_as_written(name: str, test: doctest.DocTest, names: Callable[[], dict[str, Any]]) -> None:
    test.globs.update(names())
    ledger = test.globs["ledger"]
    report: list[str] = []
    result = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    ledger.close()
    assert result.attempted > 0
    assert result.failed == 0, "".join(report)


def test_methods_that_change_something_have_an_example() -> None:
    undocumented = {"close", "migrate", "check", "seed_catalog", "package", "package_versions"}
    for name, value in public(Ledger).items():
        if callable(value) or isinstance(value, classmethod):
            assert ">>>" in (inspect.getdoc(value) or "") or name in undocumented, name


def test_async_examples_are_the_same_but_for_await() -> None:
    ours = (ROOT / "python/jointo_credits/_async_ledger.py").read_text(encoding="utf-8")
    assert ours.count(">>> ") == Path(_ledger.__file__).read_text(encoding="utf-8").count(">>> ")
    assert _async_ledger.__all__ == ["AsyncHold", "AsyncLedger"]
