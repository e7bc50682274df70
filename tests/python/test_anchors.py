"""Anchors from Python, the command line and Celery, and an implementation that shares no code with the
library. What they find is tried in Rust: tests/ledger/anchors.rs and tampering.rs."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from celery import Celery
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from jointo_credits import AsyncLedger, Ledger, ManualClock, UnavailableError, ValidationError, check_proof
from jointo_credits.celery import register

USER = UUID(int=7)


def pem(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()


def sha256(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def root(heads: dict[UUID, tuple[int, str]]) -> bytes:
    """As docs/anchors.md says."""
    buckets: list[list[bytes]] = [[] for _ in range(65_536)]
    for user_id, (seq, digest) in sorted(heads.items(), key=lambda head: head[0].bytes):
        leaf = sha256(b"\0", user_id.bytes, seq.to_bytes(8, "big"), bytes.fromhex(digest))
        buckets[int.from_bytes(sha256(user_id.bytes)[:2], "big")].append(leaf)
    level = [sha256(b"\1", *leaves) for leaves in buckets]
    while len(level) > 1:
        level = [sha256(b"\2", left, right) for left, right in zip(level[::2], level[1::2], strict=True)]
    return level[0]


def check_signature(line: str) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(line)
    signed, _, signature = line.partition(',"signature":')
    message = b"jointo_credits anchor 1\n" + (signed + "}").encode()
    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(record["key"]))
    key.verify(bytes.fromhex(json.loads(signature.removesuffix("}"))), message)
    return record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "credits.db"


@pytest.fixture
def ledger(path: Path) -> Any:
    ledger = Ledger.connect(f"sqlite:///{path}")
    ledger.migrate()
    for n in range(1, 30):
        ledger.grant(UUID(int=n), 10 * n, source="purchase")
    yield ledger
    ledger.close()


def heads(ledger: Ledger) -> dict[UUID, tuple[int, str]]:
    last = {n: ledger.transactions(UUID(int=n), limit=1).items for n in range(1, 30)}
    return {UUID(int=n): (items[0].seq, items[0].hash) for n, items in last.items()}


def test_another_implementation_agrees(ledger: Ledger) -> None:
    first = ledger.anchor(key=pem(KEY))
    record = check_signature(first)
    assert list(record) == [
        "jointo_credits_anchor",
        "ledger",
        "number",
        "at_us",
        "accounts",
        "available",
        "held",
        "root",
        "previous",
        "key",
        "signature",
    ]
    assert (record["root"], record["key"]) == (root(heads(ledger)).hex(), PUBLIC)
    assert (record["accounts"], record["available"], record["held"]) == (29, "4350", "0")
    assert record["previous"] is None
    ledger.consume(USER, amount=5)
    second = ledger.anchor(key=pem(KEY))
    record = check_signature(second)
    assert record["root"] == root(heads(ledger)).hex()
    assert (record["available"], record["held"]) == ("4345", "5")
    assert record["previous"] == sha256(first.encode()).hex()
    # And so does its proof.
    lines = [json.loads(line) for line in ledger.prove(USER, second).splitlines()]
    head, entries = lines[0], lines[1:]
    assert head["anchor"] == sha256(second.encode()).hex()
    leaf = sha256(b"\0", USER.bytes, (2).to_bytes(8, "big"), bytes.fromhex(entries[-1]["hash"]))
    assert head["leaves"][head["place"]] == leaf.hex()
    here = sha256(b"\1", *map(bytes.fromhex, head["leaves"]))
    place = int.from_bytes(sha256(USER.bytes)[:2], "big")
    for other in map(bytes.fromhex, head["path"]):
        here = sha256(b"\2", here, other) if place % 2 == 0 else sha256(b"\2", other, here)
        place //= 2
    assert here.hex() == record["root"]


def test_what_is_gone_is_found(ledger: Ledger, path: Path) -> None:
    anchor = ledger.anchor(key=pem(KEY))
    found = ledger.verify(anchor=anchor, public_key=PUBLIC)
    assert (found.is_clean, found.anchored, found.anchored_archived) == (True, 29, 0)
    proof = ledger.prove(USER, anchor)
    public = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    proved = check_proof(anchor, proof, public_key=public)
    assert (proved.user_id, proved.last.available, proved.first_seq, proved.entries) == (USER, 70, 1, 1)
    with pytest.raises(ValidationError, match="hash says"):
        check_proof(anchor, proof.replace('"available":70', '"available":71'), public_key=PUBLIC)
    for arguments in [{}, {"unsigned": True}, {"public_key": "00" * 32}, {"public_key": PUBLIC, "unsigned": True}]:
        with pytest.raises(ValidationError):
            ledger.verify(anchor=anchor, **arguments)  # type: ignore[arg-type]
    with pytest.raises(ValidationError, match="unsigned=True"):
        ledger.anchor()
    with sqlite3.connect(path) as books:
        triggers = books.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'").fetchall()
        for name, _ in triggers:
            books.execute(f"DROP TRIGGER {name}")
        for table in ["credit_accounts", "credit_lots", "credit_transactions"]:
            books.execute(f"DELETE FROM {table} WHERE user_id = ?", (USER.bytes,))
        for _, sql in triggers:
            books.execute(sql)
    assert ledger.verify().is_clean
    found = ledger.verify(anchor=anchor, public_key=PUBLIC)
    assert (found.faults[0].kind, found.faults[0].user_id) == ("anchor", USER)
    with pytest.raises(UnavailableError, match="is gone"):
        ledger.anchor(key=pem(KEY), all_accounts=True)


def test_awaited(path: Path) -> None:
    async def main() -> None:
        async with await AsyncLedger.connect(f"sqlite:///{path}") as ledger:
            await ledger.migrate()
            await ledger.grant(USER, 5, source="bonus")
            anchor = await ledger.anchor(unsigned=True)
            assert (await ledger.verify(anchor=anchor, unsigned=True)).is_clean
            assert check_proof(anchor, await ledger.prove(USER, anchor), unsigned=True).last.available == 5
            assert await ledger.prune_anchors(5) == 0

    asyncio.run(main())


def run(*arguments: str, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "jointo_credits.cli", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stdout + done.stderr
    return done.stdout


def test_from_the_command_line(ledger: Ledger, path: Path, tmp_path: Path) -> None:
    key, anchor, proof = tmp_path / "key.pem", tmp_path / "anchor.json", tmp_path / "proof.jsonl"
    key.write_text(pem(KEY))
    database = ["--database", f"sqlite:///{path}"]
    run("anchor", *database, "--key", str(key), "--output", str(anchor), "--keep", "10")
    assert check_signature(anchor.read_text().strip())["number"] == 1
    checked = ["--anchor", str(anchor), "--public-key", PUBLIC]
    assert "29 accounts against the anchor" in run("verify", *database, *checked)
    run("prove", str(USER), *database, "--anchor", str(anchor), "--output", str(proof))
    assert "70" in run("check-proof", str(proof), *checked)
    # A file is never overwritten.
    run("anchor", *database, "--key", str(key), "--output", str(anchor), expect=1)
    with sqlite3.connect(path) as books:
        books.execute("UPDATE credit_anchor_leaves SET seq = 9")
    assert "anchor" in run("verify", *database, *checked, expect=6)


def test_what_was_not_compared_is_said(path: Path, tmp_path: Path) -> None:
    clock = ManualClock(datetime.now(UTC) - timedelta(days=100))
    anchor = tmp_path / "old.anchor"
    (tmp_path / "archive").mkdir()
    with Ledger.connect(f"sqlite:///{path}", clock=clock) as ledger:
        ledger.migrate()
        ledger.grant(USER, 5, source="bonus")
        anchor.write_text(ledger.anchor(unsigned=True))
        ledger.grant(USER, 5, source="bonus")
        clock.advance(timedelta(days=50))
        assert ledger.cleanup_transactions(timedelta(days=40), tmp_path / "archive").removed == 2
    checked = ["verify", "--database", f"sqlite:///{path}", "--anchor", str(anchor), "--unsigned"]
    assert "NOT COMPARED: 1 of them" in run(*checked)
    assert "NOT COMPARED" not in run(*checked, "--archive", str(tmp_path / "archive"))


def test_periodically(ledger: Ledger) -> None:
    kept: list[str] = []
    app = Celery("anchored", broker="memory://", backend="cache+memory://")
    app.conf.task_always_eager = True
    register(app, ledger, anchor_key=pem(KEY), keep_anchor=kept.append, anchors_kept=2)
    task = app.tasks["jointo_credits.anchor_books"]
    assert [task.apply().get()["pruned"] for _ in range(3)] == [0, 0, 1]
    assert [check_signature(line)["number"] for line in kept] == [1, 2, 3]
    assert app.tasks["jointo_credits.anchor_all_books"].apply().get() == {"anchors": 1, "pruned": 1}
    assert ledger.verify(anchor=kept[-1], public_key=PUBLIC).is_clean
    idle = Celery("idle", broker="memory://", backend="cache+memory://")
    register(idle, ledger)
    assert idle.tasks["jointo_credits.anchor_books"].apply().get() == {"anchors": 0}
