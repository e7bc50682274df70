"""A Celery application with charged tasks that fail in every way; test_charged.py drives it with real workers."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Ignore, Reject

from jointo_credits.celery import charged_task, current_charge, register

BROKER = os.environ["TEST_BROKER"]
MARKS = Path(os.environ["TEST_MARKS"])

app = Celery("charged_test", broker=BROKER, backend=os.environ.get("TEST_BACKEND", BROKER))
app.conf.update(
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 10},
)
credits = register(
    app,
    os.environ["TEST_DATABASE"],
    schedule={"expire_pending_consumptions": timedelta(seconds=1), "cleanup_old_transactions": None},
    patience=0.5,
    connect_timeout=0.5,
)


def first_time(name: str) -> bool:
    """Whether nobody has asked before."""
    try:
        os.close(os.open(MARKS / name, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


@charged_task(
    app,
    feature="video_generation",
    quantity=lambda seconds: seconds,
    used=lambda result: result["seconds"],
    ttl=float(os.environ.get("TEST_TTL", "600")),
)
def render(user_id: str, prompt: str, seconds: int, really: int | None = None) -> dict[str, Any]:
    return {"prompt": prompt, "seconds": really or seconds}


@charged_task(app, amount=100, bind=True, max_retries=2, default_retry_delay=0)
def job(self: Any, user_id: str, how: str, name: str) -> str:
    charge = current_charge()
    again = not first_time(name)
    if how == "uses":
        charge.used(amount=30)
    elif how == "uses nothing":
        charge.used(amount=0)
    elif how == "fails":
        raise ValueError("no such model")
    elif how == "ignored":
        raise Ignore
    elif how == "rejected":
        raise Reject("poison", requeue=False)
    elif how == "retries":
        if not again:
            raise self.retry(exc=ValueError("busy"))
    elif how == "retries in vain":
        raise self.retry(exc=ValueError("busy"))
    elif how == "killed":
        if not again:
            os.kill(os.getpid(), signal.SIGKILL)
    elif how == "killed after it was charged":
        credits.ledger.confirm(charge.consumption_id)
        if not again:
            os.kill(os.getpid(), signal.SIGKILL)
        assert charge.is_paid
    elif how == "fails after it was charged":
        credits.ledger.confirm(charge.consumption_id)
        if not again:
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("now it fails")
    elif how == "exits":
        raise SystemExit(3)
    elif how == "is replaced":
        raise self.replace(render.s(user_id, "x", 1))
    elif how == "uses a float":
        charge.used(0.5)
    elif how == "unserializable":
        return object()  # type: ignore[return-value]
    elif how == "waits":
        while not (MARKS / f"{name} no more").exists():
            time.sleep(0.01)
    return how


@charged_task(
    app, feature="video_generation", quantity=lambda seconds: seconds, bind=True, max_retries=2, default_retry_delay=0
)
def changes(self: Any, user_id: str, seconds: int, then: int) -> int:
    """Goes on with another length than it was queued with."""
    first_time(f"ran for {seconds}")
    if seconds != then:
        raise self.retry(args=(user_id, then, then), kwargs={})
    return seconds


class Counting(Task):
    """A base class of the host's."""

    abstract = True
    runs = 0

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        type(self).runs += 1


@charged_task(app, amount=40, base=Counting)
def based(user_id: str) -> int:
    return based.runs


@charged_task(app, amount=40, ttl=1, name="charged_app.slow")
def slow(user_id: str, name: str) -> str:
    first_time(f"{name} runs {os.getpid()}")
    while not (MARKS / f"{name} no more").exists():
        time.sleep(0.01)
    return name


@charged_task(app, amount=40, ignore_result=True, max_retries=0)
def quiet(user_id: str, name: str) -> None:
    if not first_time(name):
        raise ValueError("the second run fails")
    credits.ledger.confirm(current_charge().consumption_id)
    os.kill(os.getpid(), signal.SIGKILL)


@charged_task(app, amount=100, time_limit=1, acks_on_failure_or_timeout=True)
def endless(user_id: str) -> None:
    time.sleep(60)
