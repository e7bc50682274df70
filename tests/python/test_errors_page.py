"""docs/errors.md prints each message as it is."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import uuid
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from jointo_credits import CreditsError, Ledger

PAGE = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
#: What differs from one run to the next, and what stands for it on the page.
SHOWN = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "0197c6f0-..."),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "2026-11-30T08:00:00Z"),
    (r"(?:/[^/\s]+)+/credits\.db", "credits.db"),
    (r" at line \d+", ""),
    (r"test_[0-9a-f]{32}", "app"),
    (r"stranger_[0-9a-f]{32}", "app"),
]


def said(call: Callable[[], Any]) -> str:
    """What somebody reads who makes the mistake."""
    with pytest.raises(CreditsError) as raised:
        call()
    text = f"{type(raised.value).__name__}: {raised.value}"
    for pattern, shown in SHOWN:
        text = re.sub(pattern, shown, text)
    return text


def printed() -> dict[str, str]:
    """The messages of the page by their headings; line breaks are the page's own."""
    found = re.findall(r"^## (.*?)\n.*?```text\n(.*?)\n```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return {heading: " ".join(text.split()) for heading, text in found}


def as_user(url: str, user: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{user}@{host}"))


def test_messages_are_printed_as_they_are(
    postgres: str, sqlite: str, administer: Callable[..., None], user: uuid.UUID
) -> None:
    stranger = f"stranger_{uuid.uuid4().hex}"
    told: dict[str, str] = {}
    told["A wrong URL"] = said(lambda: Ledger.connect("mysql://app@localhost/app"))
    told["No such role"] = said(lambda: Ledger.connect(as_user(postgres, stranger)))
    with Ledger.connect(sqlite) as empty:
        told["No tables"] = said(lambda: empty.balance(user))
    administer(f"CREATE ROLE {stranger} LOGIN")
    try:
        with Ledger.connect(postgres) as ledger:
            ledger.migrate()
        with Ledger.connect(as_user(postgres, stranger)) as without:
            told["Missing rights"] = said(lambda: without.grant(user, 1, source="purchase"))
    finally:
        administer(f"DROP ROLE {stranger}")
    with Ledger.connect("memory:") as ledger:
        ledger.migrate()
        ledger.grant(user, 100, source="purchase", idempotency_key="order-7")
        told["A float amount"] = said(lambda: ledger.consume(user, amount=1.5))  # type: ignore[arg-type] # pyright: ignore
        told["A time without a zone"] = said(lambda: ledger.balance(user, at=datetime(2026, 11, 30)))
        told["A key of another request"] = said(
            lambda: ledger.grant(user, 200, source="purchase", idempotency_key="order-7")
        )
        held = ledger.consume(user, amount=10)
        ledger.confirm(held.id)
        told["A wrong state"] = said(lambda: ledger.confirm(held.id, amount=5))
        told["Not enough credits"] = said(lambda: ledger.consume(user, amount=1_000))
    assert {heading: text for heading, text in printed().items() if heading in told} == told


def test_tables_of_somebody_else(sqlite: str, postgres: str, user: uuid.UUID) -> None:
    table = "CREATE TABLE credit_accounts (id integer, owner text)"
    # Python's own SQLite would not see the ledger's locks.
    program = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute(sys.argv[2])"
    subprocess.run([sys.executable, "-c", program, sqlite.removeprefix("sqlite:///"), table], check=True)

    async def make() -> None:
        connection = await asyncpg.connect(postgres)
        await connection.execute(table)
        await connection.close()

    asyncio.run(make())
    for url in (sqlite, postgres):
        with Ledger.connect(url) as ledger:
            for call in (
                ledger.migrate,
                ledger.check,
                lambda: ledger.balance(user),
                lambda: ledger.grant(user, 1, source="purchase"),
            ):
                assert said(call) == printed()["Tables of somebody else"]
