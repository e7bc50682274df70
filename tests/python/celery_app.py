"""A Celery application as a backend has it: the ledger is made when the module is imported, and used right then."""

from __future__ import annotations

import os
import signal
import uuid

from celery import Celery

from jointo_credits import Ledger

app = Celery("credits_test", broker=os.environ["TEST_BROKER"], backend=os.environ["TEST_BROKER"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # What a killed child had is handed out again soon. Every greenlet may want a connection; kombu has 10 by default.
    broker_transport_options={"visibility_timeout": 10, "max_connections": 100},
    result_expires=600,
)

ledger = Ledger.connect(os.environ["TEST_DATABASE"])
USERS = [uuid.UUID(int=n + 1) for n in range(10)]
# In the parent, before there are children.
ledger.balance(USERS[0])


@app.task
def job(n: int) -> str:
    """Uses ten credits; every third job fails and is refunded, every tenth uses only half."""
    hold = ledger.consume(USERS[n % len(USERS)], amount=10, idempotency_key=f"job-{n}")
    if n == 500 and _first_time():
        os.kill(os.getpid(), signal.SIGKILL)
    if n % 3 == 0:
        ledger.refund(hold.id, reason="failed", idempotency_key=f"job-{n}-end")
        return "refunded"
    amount = 5 if n % 10 == 0 else 10
    ledger.confirm(hold.id, amount=amount, idempotency_key=f"job-{n}-end")
    return str(amount)


def _first_time() -> bool:
    try:
        os.close(os.open(os.environ["TEST_MARK"], os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True
