"""A ledger that was made and used before a fork works in the children, whatever its parent's threads were doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("how", ["idle", "busy", "grandchild", "drop", "spawn", "memory", "loop", "many", "elsewhere"])
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
