"""What the worker's main process sees of a charged task that can't speak for itself any more."""

# Celery has no types.
# pyright: basic

from __future__ import annotations

from typing import Any

from celery.worker.request import Request


class ChargedRequest(Request):  # type: ignore[misc]
    """Releases the hold of a task that was killed because it took too long: its process can't do that, and for this way
    of failing Celery has no signal that names the request."""

    def on_timeout(self, soft: bool, timeout: float) -> None:
        super().on_timeout(soft, timeout)
        if not soft and (self.task.acks_on_timeout or not self.task.acks_late):
            self.task.failed(self.id, f"took longer than {timeout:g} s", self._context, self.args, self.kwargs)


__all__: list[Any] = ["ChargedRequest"]
