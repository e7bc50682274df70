"""A ledger that was made and used before a fork works in the children, whatever its parent's threads were doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# An open fault: now and then `verify` of a file that is opened and closed all the time, while the process forks, finds
# that the write-ahead log is another one than when it began, and refuses to answer. Why is not known yet.
ELSEWHERE = pytest.param(
    "elsewhere", marks=pytest.mark.xfail(strict=False, reason="verify finds another write-ahead log now and then")
)


@pytest.mark.parametrize("how", ["idle", "busy", "grandchild", "drop", "spawn", "memory", "loop", "many", ELSEWHERE])
def test_fork(url: str, how: str) -> None:
    program = Path(__file__).with_name("_forked.py")
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-W", "ignore:This process:DeprecationWarning", program, url, how],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert (ran.stdout, ran.returncode) == ("fine\n", 0), ran.stdout + ran.stderr
    assert ran.stderr == ""
