"""What the library logs arrives in `logging`; what the host's handlers do is no concern of the ledger."""

from __future__ import annotations

import logging
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jointo_credits import Ledger, UnavailableError


@pytest.fixture
def locked(sqlite: str, unlock: Callable[[], object]) -> Iterator[Ledger]:
    """A ledger that can't write, and says so: somebody else is writing all the time."""
    with Ledger.connect(sqlite, connect_timeout=0.1, patience=0.2) as ledger:
        yield ledger
        unlock()


def test_records_arrive(locked: Ledger, user: uuid.UUID, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(UnavailableError) as refused:
        locked.grant(user, 10, source="gift")
    assert refused.value.outcome == "not_done"
    ours = [record for record in caplog.records if record.name.startswith("jointo_credits.engine")]
    assert ours
    assert all(record.levelno >= logging.WARNING and record.getMessage() for record in ours)


def test_a_handler_that_calls_the_ledger(locked: Ledger, user: uuid.UUID) -> None:
    """Handlers run in the calling thread, after the call: they may use the ledger themselves."""
    seen: list[int] = []

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(locked.balance(user).available)

    handler = Handler()
    logging.getLogger("jointo_credits").addHandler(handler)
    try:
        with pytest.raises(UnavailableError):
            locked.grant(user, 10, source="gift")
    finally:
        logging.getLogger("jointo_credits").removeHandler(handler)
    assert seen
    assert set(seen) == {0}


def test_nothing_hangs_at_exit(url: str, tmp_path: Path) -> None:
    """A program that ends with the ledger open, and calls of other threads under way, ends."""
    program = tmp_path / "program.py"
    program.write_text(
        """
import sys, threading, uuid
from jointo_credits import Ledger
ledger = Ledger.connect(sys.argv[1])
ledger.migrate()
user = uuid.UUID(int=1)
ledger.grant(user, 1000000, source="gift")
def work():
    while True:
        ledger.consume(user, amount=1)
for _ in range(4):
    threading.Thread(target=work, daemon=True).start()
ledger.consume(user, amount=1)
print("end", flush=True)
"""
    )
    ran: Any = subprocess.run(
        [sys.executable, program, url], capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert (ran.stdout, ran.returncode) == ("end\n", 0), ran.stderr


def test_python_without_the_gil_is_refused() -> None:
    code = "import sys; sys._is_gil_enabled = lambda: False; import jointo_credits"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 1
    assert "ImportError: jointo_credits has not been tried on Python without the GIL" in ran.stderr
