"""The Celery application: ``celery -A backend.worker worker``, and ``beat``."""

# Celery has no types.
# pyright: basic

from __future__ import annotations

import os
from typing import Any

import httpx2 as httpx
from celery import Celery
from celery.exceptions import CeleryError
from kombu.exceptions import KombuError

from jointo_credits.celery import charged_task, register

from .settings import settings
from .signing import signed

app = Celery("backend", broker=settings.broker_url, backend=settings.result_url)
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    task_publish_retry_policy={"max_retries": 20, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 1},
)
if settings.broker_url == "filesystem://":
    for folder in ("queue", "control", "results"):
        (settings.folder / folder).mkdir(parents=True, exist_ok=True)
    app.conf.broker_transport_options = {
        "data_folder_in": str(settings.folder / "queue"),
        "data_folder_out": str(settings.folder / "queue"),
        "control_folder": str(settings.folder / "control"),
    }
else:
    # What a killed worker had is handed out again after so long.
    app.conf.broker_transport_options = {"visibility_timeout": 30}

# The ledger and its periodic tasks. It is connected when a process first needs it. In a queue of their own the tasks
# don't wait behind jobs: the worker serves both (-Q celery,credits).
credits = register(
    app,
    settings.credits_url,
    schedule={
        "expire_pending_consumptions": settings.sweep_every,
        "reconcile_orders": settings.reconcile_every,
    },
    queue="credits",
    channels=settings.channels,
    order_ttl=settings.order_ttl,
)

#: What can go wrong when something is queued.
QUEUE_ERRORS = (CeleryError, KombuError, OSError)

_clients: dict[int, httpx.Client] = {}


def http() -> httpx.Client:
    """This process's connections: a child must not use its parent's."""
    if os.getpid() not in _clients:
        _clients[os.getpid()] = httpx.Client(timeout=30)
    return _clients[os.getpid()]


@charged_task(
    app,
    feature="text_processing",
    # On an estimate: what comes out is not known yet.
    quantity=lambda text: {"input_tokens": len(text), "output_tokens": 500},
    used=lambda summary: {"input_tokens": summary["inputTokens"], "output_tokens": summary["outputTokens"]},
    ttl=settings.hold_ttl,
    # The job's row names its hold: so there is only the one.
    late="reject",
    autoretry_for=(httpx.TransportError,),
    retry_backoff=0.1,
    max_retries=8,
)
def summarize(user_id: str, text: str) -> dict[str, Any]:
    """A job that is done while the worker waits: reserved, charged and refunded by `charged_task`."""
    answer = http().post(f"{settings.ai_url}/summaries", json={"text": text})
    answer.raise_for_status()
    summary: dict[str, Any] = answer.json()
    return summary


def _submit_video(job_id: str, prompt: str, seconds: int) -> None:
    """A job that somebody else does, and calls back about: the API settles it then."""
    callback = f"{settings.api_url}/api/v1/ai/callbacks"
    job = {"jobId": job_id, "prompt": prompt, "seconds": seconds, "callbackUrl": callback}
    answer = http().post(f"{settings.ai_url}/videos", json=job)
    if answer.is_client_error:
        # It will never call back; so this is the end, and it is told in the same way.
        body, headers = signed(settings.secret, {"jobId": job_id, "status": "failed", "error": "refused"})
        http().post(callback, content=body, headers=headers).raise_for_status()
    else:
        answer.raise_for_status()


submit_video: Any = app.task(
    _submit_video,
    name="backend.worker.submit_video",
    autoretry_for=(httpx.TransportError,),
    retry_backoff=0.1,
    max_retries=8,
    acks_late=True,
)
