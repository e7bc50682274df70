"""Starts and stops the processes of the backend, for its users and for its tests: API, worker, beat, and the stand-ins
for an AI service and for payment channels."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
CELERY = [sys.executable, "-m", "celery", "-A", "backend.worker"]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Stack:
    """All processes. Their logs are files in `folder`.

    Args:
        folder: For data, logs and, without a broker, messages.
        credits_url: The ledger's database; SQLite in `folder` without.
        broker_url: Redis; files in `folder` without.
        chance: How often the AI service is ``slow``, ``fail``s, is ``silent``, or calls ``twice``: 0 to 1 each.
        mishaps: How often what the payment channels tell is ``lost``, comes ``twice`` or ``late``, or after what is
            ``forged``.
        more: Further environment variables, such as BACKEND_HOLD_TTL.
    """

    def __init__(
        self,
        folder: Path,
        *,
        credits_url: str | None = None,
        broker_url: str | None = None,
        chance: Mapping[str, float] | None = None,
        mishaps: Mapping[str, float] | None = None,
        more: Mapping[str, str] | None = None,
        api_port: int = 0,
        concurrency: int = 2,
    ) -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        self.api_url = f"http://127.0.0.1:{api_port or free_port()}"
        self._ai_url = f"http://127.0.0.1:{free_port()}"
        #: Where a customer pays.
        self.wallet_url = f"http://127.0.0.1:{free_port()}"
        self._concurrency = concurrency
        self.environment = {
            **os.environ,
            "BACKEND_FOLDER": str(self.folder),
            "BACKEND_API_URL": self.api_url,
            "BACKEND_AI_URL": self._ai_url,
            "BACKEND_CHANNELS": str(self.folder / "channels.json"),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
            **{f"AI_{what.upper()}": str(often) for what, often in (chance or {}).items()},
            **{f"PAY_{what.upper()}": str(often) for what, often in (mishaps or {}).items()},
            **(more or {}),
        }
        if credits_url is not None:
            self.environment["BACKEND_CREDITS_URL"] = credits_url
            self.environment["BACKEND_JOBS_URL"] = credits_url.replace("postgresql://", "postgresql+asyncpg://", 1)
        if broker_url is not None:
            self.environment["BACKEND_BROKER_URL"] = broker_url
            self.environment["BACKEND_RESULT_URL"] = broker_url
        else:
            # `--pool=prefork` works as well; but nothing gives a message back that a killed process had taken.
            (self.folder / "results").mkdir(exist_ok=True)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self) -> None:
        """Starts everything, and waits until it answers."""
        # First, because its keys have to be known to the others.
        self.run("channels")
        self.wait_for("channels")
        for name in ("ai", "api", "worker", "beat"):
            self.run(name)
        for name in ("ai", "api"):
            self.wait_for(name)

    def run(self, name: str) -> None:
        """Starts one process."""
        uvicorn = [sys.executable, "-m", "uvicorn", "--log-level=info", "--host=127.0.0.1"]
        command = {
            "channels": [*uvicorn, f"--port={self.wallet_url.rsplit(':', 1)[1]}", "standins.wallet:app"],
            "ai": [*uvicorn, f"--port={self._ai_url.rsplit(':', 1)[1]}", "backend.ai_service:app"],
            "api": [*uvicorn, f"--port={self.api_url.rsplit(':', 1)[1]}", "backend.api:app"],
            "worker": [
                *CELERY,
                "worker",
                "--loglevel=INFO",
                "-Q",
                "celery,credits",
                f"--concurrency={self._concurrency}",
            ],
            "beat": [*CELERY, "beat", "--loglevel=INFO", f"--schedule={self.folder}/beat", "--max-interval=1"],
        }[name]
        # Celery says what it thinks of being root, and we have no other user here.
        environment = {**self.environment, "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
        with open(self.folder / f"{name}.log", "ab") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """As if the machine had lost it: with its children, without a word."""
        process = self.processes.pop(name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()

    def stop(self) -> None:
        """Stops everything, politely first."""
        for process in self.processes.values():
            process.terminate()
        ends = time.monotonic() + 20
        for process in self.processes.values():
            try:
                process.wait(max(0.1, ends - time.monotonic()))
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.processes.clear()

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def wait_for(self, name: str) -> None:
        """Waits until a process answers."""
        url = {"channels": self.wallet_url, "ai": self._ai_url, "api": self.api_url}[name]
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            if self.processes[name].poll() is not None:
                break
            try:
                with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"{name} does not start:\n{self.log(name)}")
