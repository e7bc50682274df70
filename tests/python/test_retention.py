"""Clean-ups and the archive, from Python, from the command line and by Celery. What becomes of the books is tried in
Rust: tests/ledger/retention.rs."""

from __future__ import annotations

import asyncio
import http.server
import json
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from celery import Celery

from jointo_credits import AsyncLedger, Ledger, ManualClock, NotFoundError, ValidationError
from jointo_credits.celery import register

START = datetime(2025, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
USER = uuid.UUID(int=7)


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    place = tmp_path / "archive"
    place.mkdir()
    return place


def old_books(url: str, uses: int = 20) -> tuple[Ledger, ManualClock]:
    """A ledger on which nothing has happened for two years."""
    clock = ManualClock(START)
    ledger = Ledger.connect(url, clock=clock)
    ledger.migrate()
    ledger.grant(USER, 1000, source="purchase", idempotency_key="opening")
    for n in range(uses):
        hold = ledger.consume(USER, "video", amount=5, reference=f"job {n}", metadata={"名字": "视频"})
        ledger.confirm(hold.id)
    clock.set(START + 2 * YEAR)
    return ledger, clock


class Bucket(http.server.BaseHTTPRequestHandler):
    """As much of S3 as an archive asks of it: path-style addresses, conditional PUTs, ranges."""

    objects: ClassVar[dict[str, bytes]] = {}

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Mon, 30 Nov 2026 08:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        if self.headers["If-None-Match"] == "*" and self.path in self.objects:
            return self.answer(412)
        self.objects[self.path] = body
        return self.answer(200)

    def do_GET(self) -> None:
        body = self.objects.get(self.path)
        if body is None:
            return self.answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
        if wanted := self.headers["Range"]:
            first, last = (int(place) for place in wanted.removeprefix("bytes=").split("-"))
            part = body[first : last + 1]
            return self.answer(206, part, Content_Range=f"bytes {first}-{first + len(part) - 1}/{len(body)}")
        return self.answer(200, body)

    do_HEAD = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, bytes]]:
    """What is in it, by path. The environment leads there, as it would to a real one."""
    Bucket.objects = {}
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "throw-away")
    monkeypatch.setenv("AWS_REGION", "eu-test-1")
    yield Bucket.objects
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_bucket_is_as_good_as_a_directory(sqlite: str, bucket: dict[str, bytes]) -> None:
    place = "s3://credits/archive"
    ledger, _ = old_books(sqlite)
    with ledger:
        before = list(ledger.all_transactions(USER))
        done = ledger.cleanup_transactions(YEAR, place)
        assert (done.archived, done.removed) == (41, 41)
        assert list(bucket) == [f"/credits/archive/{name}" for name in done.files]
        assert list(ledger.all_transactions(USER)) == []
        assert list(ledger.all_transactions(USER, archive=place)) == before
        assert ledger.verify(place).is_clean
        (path,) = bucket
        bucket[path] = bucket[path][:-1]
        assert not ledger.verify(place).is_clean


def test_the_past_moves_and_nothing_is_lost(url: str, archive: Path) -> None:
    ledger, clock = old_books(url)
    with ledger:
        before, balance = list(ledger.all_transactions(USER)), ledger.balance(USER)
        first = next(iter(ledger.consumption(USER)))
        would = ledger.cleanup_transactions(YEAR, archive, dry_run=True)
        assert (would.archived, would.removed, would.kept, would.files, would.more) == (41, 41, 0, (), False)
        some = ledger.cleanup_transactions(YEAR, archive, limit=1)
        assert some.more
        done = ledger.cleanup_transactions(YEAR, str(archive))
        assert some.archived + done.archived == 41
        assert done.before == START + YEAR
        assert list(ledger.all_transactions(USER)) == []
        assert list(ledger.all_transactions(USER, archive=archive)) == before
        assert ledger.transactions(USER, kind="grant", archive=archive).items == (before[-1],)
        assert ledger.balance(USER) == balance
        assert ledger.balance(USER, at=clock.now()).available == balance.available
        with pytest.raises(ValidationError) as refused:
            ledger.balance(USER, at=START - timedelta(seconds=1))
        assert refused.value.field == "at"
        assert ledger.get_consumption(first.id) == first
        uses = ledger.cleanup_consumption_logs(YEAR, archive)
        # The last one may wait: its entries are too near to the checkpoint.
        assert uses.removed in (0, 20)
        ledger.gift(USER, 1, reason="later")
        clock.advance(2 * YEAR)
        ledger.cleanup_transactions(YEAR, archive)
        ledger.cleanup_consumption_logs(YEAR, archive)
        assert ledger.consumption(USER).items == ()
        with pytest.raises(NotFoundError):
            ledger.get_consumption(first.id)
        files = ledger.archives()
        assert {file.kind for file in files} == {"transactions", "consumptions"}
        assert sum(file.lines for file in files) == 41 + 1 + 20
        for file in files:
            assert (archive / file.name).stat().st_size == file.bytes
            assert file.removed_at is not None
            assert file.removed_at >= file.created_at > file.older_than
        assert {path.name for path in archive.iterdir()} == {file.name for file in files}
        assert ledger.verify().is_clean
        assert ledger.verify(archive).is_clean
        assert ledger.verify(archive).entries == 42
        assert ledger.trial_balance().is_balanced
        (archive / files[0].name).write_bytes(b"")
        found = ledger.verify(archive)
        assert [fault.kind for fault in found.faults] == ["archive"]
        assert files[0].name in found.faults[0].detail


@pytest.mark.parametrize("method", ["cleanup_transactions", "cleanup_consumption_logs"])
@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("older_than", (timedelta(days=29), ".")),
        ("older_than", (-1, ".")),
        ("older_than", ("a year", ".")),
        ("archive", (YEAR, "")),
        ("archive", (YEAR, "no/such/place")),
        ("archive", (YEAR, 5)),
        ("archive", (YEAR, "ftp://somewhere")),
        ("limit", (YEAR, ".", "some")),
        ("dry_run", (YEAR, ".", None, "maybe")),
    ],
)
def test_bad_arguments(sqlite: str, method: str, field: str, arguments: tuple[Any, ...]) -> None:
    with Ledger.connect(sqlite) as ledger:
        ledger.migrate()
        with pytest.raises(ValidationError) as refused:
            getattr(ledger, method)(*arguments[:2], **dict(zip(["limit", "dry_run"], arguments[2:], strict=False)))
        assert refused.value.field == field
        assert ledger.archives() == ()


def test_async_and_traffic_meanwhile(url: str, archive: Path) -> None:
    ledger, clock = old_books(url)
    ledger.close()

    async def use() -> None:
        async with await AsyncLedger.connect(url, clock=clock) as ledger:
            cleaning = asyncio.ensure_future(ledger.cleanup_transactions(YEAR, archive))
            holds = await asyncio.gather(*(ledger.consume(USER, amount=1) for _ in range(50)))
            assert (await cleaning).removed == 41
            assert len({hold.id for hold in holds}) == 50
            assert (await ledger.verify(archive)).is_clean
            assert len([entry async for entry in ledger.all_transactions(USER, archive=archive)]) == 91

    asyncio.run(use())


def test_a_cancelled_clean_up_is_gone_on_with(url: str, archive: Path) -> None:
    ledger, clock = old_books(url, uses=200)
    before = list(ledger.all_transactions(USER))
    ledger.close()

    async def use() -> None:
        async with await AsyncLedger.connect(url, clock=clock) as ledger:
            for n in range(8):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(ledger.cleanup_transactions(YEAR, archive), n / 500)
                    raise TimeoutError  # it was quick
                assert (await ledger.verify(archive)).is_clean
            await ledger.cleanup_transactions(YEAR, archive)
            assert (await ledger.transactions(USER)).items == ()
            assert [entry async for entry in ledger.all_transactions(USER, archive=archive)] == before

    asyncio.run(use())


def run(url: str, *arguments: object, code: int = 0) -> Any:
    ran = subprocess.run(
        [sys.executable, "-m", "jointo_credits.cli", *map(str, arguments), "--database", url, "--json"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == code, ran.stderr
    return json.loads(ran.stdout or ran.stderr)


def test_the_command_line(url: str, archive: Path) -> None:
    old_books(url)[0].close()
    # The books' clock stood in 2025, and that is long enough ago.
    days = ("--older-than", 90, "--archive", archive)
    would = run(url, "cleanup", "transactions", *days, "--dry-run")
    assert (would["archived"], would["dry_run"], would["files"]) == (41, True, [])
    assert run(url, "archives") == []
    done = run(url, "cleanup", "transactions", *days)
    assert (done["removed"], done["dry_run"], len(done["files"])) == (41, False, 1)
    assert run(url, "archives")[0]["name"] == done["files"][0]
    assert run(url, "transactions", USER)["items"] == []
    assert len(run(url, "transactions", USER, "--archive", archive)["items"]) == 41
    run(url, "cleanup", "consumptions", *days)
    assert run(url, "verify", "--archive", archive)["fault_count"] == 0
    assert run(url, "cleanup", "transactions", "--older-than", 3, "--archive", archive, code=2)["error"]["field"] == (
        "older_than"
    )
    (archive / done["files"][0]).unlink()
    assert run(url, "verify", "--archive", archive, code=6)["faults"][0]["kind"] == "archive"
    assert run(url, "verify")["fault_count"] == 0


def test_celery(sqlite: str, archive: Path) -> None:
    ledger, _ = old_books(sqlite)
    keeps = Celery("keeps", set_as_current=False)
    register(keeps, ledger)
    for name in ("transactions", "consumption_logs"):
        task = keeps.tasks[f"jointo_credits.cleanup_old_{name}"]
        assert task() == {"archived": 0, "removed": 0}
    cleans = Celery("cleans", set_as_current=False)
    register(cleans, ledger, archive=archive, transactions_kept=timedelta(days=400))
    assert cleans.tasks["jointo_credits.cleanup_old_transactions"]() == {"archived": 41, "removed": 41}
    assert cleans.tasks["jointo_credits.cleanup_old_consumption_logs"]()["removed"] in (0, 20)
    assert ledger.verify(archive).is_clean
    ledger.close()
