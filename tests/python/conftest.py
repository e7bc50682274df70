"""Databases of their own for every test, and one client for each way in: sync, async, command line."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

import jointo_credits
from jointo_credits import AsyncLedger, Ledger

SERVER = os.environ.get("JOINTO_CREDITS_TEST_POSTGRES")


def _administer(*statements: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(SERVER)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


@pytest.fixture
def postgres() -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    if SERVER is None:
        pytest.fail("JOINTO_CREDITS_TEST_POSTGRES is not set: run the tests with scripts/with-postgres")
    name = f"test_{uuid.uuid4().hex}"
    _administer(f"CREATE DATABASE {name}")
    yield urlunsplit(urlsplit(SERVER)._replace(path=f"/{name}"))
    _administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def administer() -> Callable[..., None]:
    """Runs statements as the server's administrator."""
    return _administer


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    """The URL of a SQLite file that is not there yet."""
    return f"sqlite:///{tmp_path / 'credits.db'}"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of an empty database, once on each of the two."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def ledger(url: str) -> Iterator[Ledger]:
    """A sync ledger with its tables and the catalogue."""
    with Ledger.connect(url) as ledger:
        ledger.migrate()
        ledger.seed_catalog()
        yield ledger


@pytest.fixture
def unlock(sqlite: str) -> Iterator[Callable[[], object]]:
    """Makes the SQLite file's tables and lets somebody else write into it, until it is called."""
    with Ledger.connect(sqlite) as ledger:
        ledger.migrate()
    # Not in this process: Python's own SQLite and the ledger's would not see each other's locks.
    program = """import sqlite3, sys
other = sqlite3.connect(sys.argv[1], isolation_level=None)
other.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()"""
    command = [sys.executable, "-c", program, sqlite.removeprefix("sqlite:///")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        yield other.communicate
        if other.poll() is None:
            other.communicate()


def eventually(holds: Callable[[], bool], what: str, seconds: float = 180) -> None:
    """Waits until something is so."""
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            pytest.fail(f"it never happened: {what}")
        time.sleep(0.05)


class Redis:
    """A Redis on loopback that keeps what it has acknowledged, and can be started again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._folder.mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self._port}/0"
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        server = shutil.which("redis-server")
        if server is None:
            pytest.fail("redis-server is missing: run scripts/setup")
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        command = [server, *options, "--appendonly", "yes"]
        log = self._folder / "log"
        with open(log, "w", encoding="utf-8") as out:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True)
        while "Ready to accept connections" not in log.read_text():
            if self._process.poll() is not None:
                pytest.fail("redis-server does not start: " + log.read_text())
            time.sleep(0.01)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """An empty Redis of our own."""
    redis = Redis(tmp_path / "redis")
    redis.start()
    yield redis
    redis.stop()


@pytest.fixture
def broker(redis: Redis) -> Iterator[str]:
    """The URL of an empty Redis."""
    yield redis.url
    # Celery's results ask it when they are deleted. Those in reference cycles would do so in a later test, without it.
    gc.collect()


class SyncClient:
    """The sync ledger."""

    def __init__(self, url: str) -> None:
        self._ledger = Ledger.connect(url)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return getattr(self._ledger, name)


class AsyncClient:
    """The async ledger, on a loop in a thread of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._ledger = self._run(AsyncLedger.connect(url))

    def _run(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._ledger, name)
        return lambda *args, **kwargs: self._run(method(*args, **kwargs))

    def close(self) -> None:
        self._run(self._ledger.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Answer(dict[str, Any]):
    """What the command line printed, read like a result."""

    def __getattr__(self, name: str) -> Any:
        value = self[name]
        if name == "id":
            return uuid.UUID(value)
        if name.endswith("_at") and value is not None:
            return datetime.fromisoformat(value)
        return Answer(value) if isinstance(value, dict) else value


class CommandLine:
    """The command line, a process for each call."""

    def __init__(self, url: str) -> None:
        self._environment = {**os.environ, "JOINTO_CREDITS_URL": url}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            options = [f"--{key.replace('_', '-')}={value}" for key, value in kwargs.items()]
            command = [sys.executable, "-m", "jointo_credits.cli", name.replace("_", "-"), "--json"]
            ran = subprocess.run(
                [*command, *options, "--", *map(str, args)],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=120,
            )
            if ran.returncode == 0:
                return Answer(json.loads(ran.stdout))
            try:
                error = json.loads(ran.stderr)["error"]
            except ValueError:
                raise AssertionError(f"exit {ran.returncode}: {ran.stderr}") from None
            kinds = {kind.code: kind for kind in jointo_credits.CreditsError.__subclasses__()}
            raise kinds[error.pop("code")](error.pop("message"), **error)

        return call

    def close(self) -> None:
        """Nothing stays open."""


CLIENTS = {"sync": SyncClient, "async": AsyncClient, "cli": CommandLine}


@pytest.fixture(params=list(CLIENTS))
def client(request: pytest.FixtureRequest, url: str) -> Iterator[Any]:
    """Each way in, on a database with its tables and the catalogue."""
    with Ledger.connect(url) as ledger:
        ledger.migrate()
        ledger.seed_catalog()
    client = CLIENTS[request.param](url)
    yield client
    client.close()


@pytest.fixture
def closing() -> Iterator[ExitStack]:
    """What is closed at the end."""
    with ExitStack() as closing:
        yield closing


@pytest.fixture
def user() -> uuid.UUID:
    """An account that nobody has used."""
    return uuid.uuid4()
