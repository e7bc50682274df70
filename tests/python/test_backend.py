"""The example backend, end to end: real processes, real HTTP, on PostgreSQL with Redis and on SQLite with files."""

from __future__ import annotations

import os
import random
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from backend.signing import signed
from backend.stack import Stack
from conftest import Redis, eventually

from jointo_credits import Ledger

#: Jobs of each client under load; more by hand: BACKEND_LOAD_JOBS=50 is more than a minute.
LOAD_JOBS = int(os.environ.get("BACKEND_LOAD_JOBS", "6"))
LOAD_CLIENTS = 32
#: Seconds that a hold lives where nobody speaks of its job any more.
TTL = 6
QUICK = {"BACKEND_HOLD_TTL": str(TTL), "BACKEND_SWEEP_EVERY": "1"}


def servers(request: pytest.FixtureRequest) -> dict[str, str]:
    """What a stack gets besides its folder, by the fixture's parameter."""
    if request.param == "sqlite":
        return {}
    return {"credits_url": request.getfixturevalue("postgres"), "broker_url": request.getfixturevalue("broker")}


@pytest.fixture(params=["sqlite", "postgres"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """Everything, running."""
    stack = Stack(tmp_path / "backend", more=QUICK, **servers(request))
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()


class Client:
    """A user, or somebody with more rights, over HTTP."""

    def __init__(self, stack: Stack, token: str | None = None) -> None:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.http = httpx.Client(base_url=f"{stack.api_url}/api/v1", headers=headers, timeout=30)

    @classmethod
    def signed_in(cls, stack: Stack, name: str, closing: ExitStack) -> tuple[Client, str]:
        with cls(stack).http as http:
            who = http.post("/sign-in", json={"name": name}).json()["data"]
        client = cls(stack, who["token"])
        closing.enter_context(client.http)
        return client, who["userId"]

    def get(self, path: str, **params: Any) -> Any:
        return self._data(self.http.get(path, params=params))

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self._data(self.http.post(path, json=body, headers=headers))

    def refused(self, status: int, path: str, body: Any) -> Any:
        answer = self.http.post(path, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()["data"]

    def ends(self, job: Any) -> Any:
        """How a job has ended."""
        last: list[Any] = []

        def ended() -> bool:
            last[:] = [self.get(f"/ai/jobs/{job['jobId']}")]
            return last[0]["status"] != "queued"

        eventually(ended, f"the end of {job}")
        return last[0]

    @staticmethod
    def _data(answer: httpx.Response) -> Any:
        assert answer.is_success, answer.text
        return answer.json()["data"]


def gift(stack: Stack, user_id: str, amount: int) -> None:
    with Client(stack, "admin").http as http:
        answer = http.post("/credits/gift", json={"userId": user_id, "amount": amount, "reason": "欢迎"})
        assert answer.status_code == 200, answer.text


def test_a_day_in_the_life(stack: Stack, closing: ExitStack) -> None:
    mia, mia_id = Client.signed_in(stack, "mia", closing)
    packages = {each["name"]: each for each in mia.get("/credits/packages")["items"]}
    cheapest = min(packages.values(), key=lambda package: float(package["price"]))
    assert cheapest["price"] == "9.90"
    assert {"packageId", "credits", "bonusCredits"} <= set(cheapest)
    assert mia.get(f"/credits/packages/{cheapest['packageId']}") == cheapest

    video = {"prompt": "雪落在山上", "seconds": 10}
    poor = mia.refused(402, "/ai/videos", video)
    assert (poor["error"], poor["available"]) == ("insufficient_credits", 0)
    assert mia.http.post("/ai/videos", json={**video, "prompt": "雪" * 100_000}).status_code == 413
    gift(stack, mia_id, 1000)
    price = mia.post("/credits/calculate", {"feature": "video_generation", "quantity": 10})["credits"]

    # Done, a second shorter than asked for; asked twice, done once.
    key = str(uuid.uuid4())
    job, again = (mia.post("/ai/videos", video, **{"Idempotency-Key": key}) for _ in range(2))
    assert job == again
    assert job["credits"] == price
    done = mia.ends(job)
    shorter = mia.post("/credits/calculate", {"feature": "video_generation", "quantity": 9})["credits"]
    assert (done["status"], done["credits"]["charged"]) == ("succeeded", shorter)
    balance = mia.get("/credits/balance")
    assert (balance["available"], balance["held"], balance["spent"]) == (1000 - shorter, 0, shorter)

    failed = mia.ends(mia.post("/ai/videos", {**video, "prompt": "[fail]"}))
    assert (failed["status"], failed["result"], failed["credits"]["charged"]) == ("failed", {"error": "显存不足"}, 0)
    twice = mia.ends(mia.post("/ai/videos", {**video, "prompt": "[twice]!"}))
    assert (twice["status"], twice["credits"]["charged"]) == ("succeeded", price)
    summary = mia.ends(mia.post("/ai/summaries", {"text": "很长的故事" * 100}))
    assert summary["result"]["summary"].startswith("很长的故事")
    assert summary["credits"]["charged"] > 0
    crashed = mia.ends(mia.post("/ai/summaries", {"text": "[fail]"}))
    assert (crashed["status"], crashed["credits"]["charged"]) == ("failed", 0)
    spent = shorter + price + summary["credits"]["charged"]
    assert mia.get("/credits/balance")["available"] == 1000 - spent

    # Silence: the credits are back when the hold expires, and beat has that written down without anybody asking.
    silent = mia.post("/ai/videos", {**video, "prompt": "[silent]"})
    assert mia.get("/credits/balance")["held"] == price
    eventually(
        lambda: mia.get("/credits/transactions", kind="expire_hold")["items"] != [], "the silent job is written down"
    )
    assert mia.ends(silent)["status"] == "expired"
    balance = mia.get("/credits/balance")
    assert (balance["available"], balance["held"]) == (1000 - spent, 0)
    kinds = Counter(each["kind"] for each in mia.get("/credits/transactions", limit=100)["items"])
    assert kinds == {"gift": 1, "consume": 6, "confirm": 3, "refund": 2, "expire_hold": 1}

    # Strangers see nothing of it, and forgers settle nothing.
    leo, _ = Client.signed_in(stack, "leo", closing)
    assert leo.get("/credits/consumption")["items"] == []
    assert leo.http.get(f"/ai/jobs/{job['jobId']}").status_code == 404
    forged, headers = signed("guessed", {"jobId": job["jobId"], "status": "failed", "error": "x"})
    assert leo.http.post("/ai/callbacks", content=forged, headers=headers).status_code == 401
    assert httpx.get(f"{stack.api_url}/health").json()["data"] == {"status": "ok"}
    metrics = httpx.get(f"{stack.api_url}/metrics").text
    assert 'jointo_credits_commands_total{operation="consume",outcome="ok"}' in metrics
    assert "jointo_credits_pending_holds 0.0" in metrics


def test_under_load_with_everything_going_wrong(
    postgres: str, redis: Redis, tmp_path: Path, closing: ExitStack
) -> None:
    """Clients that don't give up, an AI that fails and falls silent, a killed worker, a broker that restarts."""
    stack = Stack(
        tmp_path / "backend",
        credits_url=postgres,
        broker_url=redis.url,
        more={**QUICK, "BACKEND_HOLD_TTL": "30"},
        chance={"fail": 0.15, "silent": 0.1, "twice": 0.2, "slow": 0.02},
    )
    ledger = Ledger.connect(postgres)
    try:
        stack.start()
        users = [Client.signed_in(stack, f"user-{n % 8}", closing) for n in range(LOAD_CLIENTS)]
        for user_id in {user_id for _, user_id in users}:
            gift(stack, user_id, 100_000)
        jobs, problems = list[tuple[Client, Any]](), list[str]()
        threads = [
            threading.Thread(target=_work, args=(client, n, jobs, problems)) for n, (client, _) in enumerate(users)
        ]
        for thread in threads:
            thread.start()
        _after(jobs, LOAD_CLIENTS * LOAD_JOBS // 4)
        stack.kill("worker")
        stack.run("worker")
        _after(jobs, LOAD_CLIENTS * LOAD_JOBS // 2)
        redis.stop()
        time.sleep(0.5)
        redis.start()
        for thread in threads:
            thread.join()
        assert problems == []
        assert len(jobs) == LOAD_CLIENTS * LOAD_JOBS

        # No hold outlives its deadline by more than a sweep.
        def all_settled() -> bool:
            holds = ledger.pending_holds()
            return (holds.holds, holds.overdue) == (0, 0)

        eventually(all_settled, "every hold is settled", 120)
        _check_books(jobs, ledger, {uuid.UUID(user_id) for _, user_id in users})
    finally:
        stack.stop()
        ledger.close()


def _work(client: Client, number: int, jobs: list[tuple[Client, Any]], problems: list[str]) -> None:
    """Asks for jobs, and asks again until somebody has taken them."""
    chance = random.Random(number)
    for n in range(LOAD_JOBS):
        path, body = "/ai/videos", {"prompt": f"{number}-{n}", "seconds": chance.randint(1, 20)}
        if chance.random() < 0.4:
            path, body = "/ai/summaries", {"text": "x" * chance.randint(1, 500)}
        key = {"Idempotency-Key": f"{number}-{n}"}
        for _ in range(100):
            try:
                answer = client.http.post(path, json=body, headers=key)
            except httpx.TransportError:
                time.sleep(0.2)
                continue
            if answer.status_code == 503:
                # Not this job any more: its failure is final.
                key = {"Idempotency-Key": f"{number}-{n}-{uuid.uuid4()}"}
                time.sleep(0.2)
                continue
            if answer.status_code != 202:
                problems.append(answer.text)
            else:
                job = answer.json()["data"]
                jobs.append((client, job))
                _look_at(client, job)
            break
        else:
            problems.append(f"{number}-{n} was never taken")


def _look_at(client: Client, job: Any) -> None:
    """For a moment, as people do before they ask for the next one."""
    for _ in range(10):
        time.sleep(0.1)
        with suppress(httpx.TransportError):
            answer = client.http.get(f"/ai/jobs/{job['jobId']}")
            if answer.status_code == 200 and answer.json()["data"]["status"] != "queued":
                return


def _after(jobs: list[Any], count: int) -> None:
    eventually(lambda: len(jobs) >= count, f"{count} jobs are taken", 300)


def _final(client: Client, job: Any) -> Any:
    """What a user is told in the end. A summary whose worker died after it was charged, and before Celery knew, is done
    once more: its message is delivered again after the broker's visibility timeout."""
    last: list[Any] = []

    def is_final() -> bool:
        last[:] = [client.get(f"/ai/jobs/{job['jobId']}")]
        return last[0]["status"] != "queued" or last[0]["credits"]["status"] != "confirmed"

    eventually(is_final, f"the result of {job}", 120)
    return last[0]


def _check_books(jobs: list[tuple[Client, Any]], ledger: Ledger, users: set[uuid.UUID]) -> None:
    """What users are told, what the ledger says, and what the journal says are the same."""
    told: dict[uuid.UUID, tuple[str, int]] = {}
    statuses: Counter[str] = Counter()
    for client, job in jobs:
        ended = _final(client, job)
        told[uuid.UUID(job["consumptionId"])] = (ended["status"], ended["credits"]["charged"])
        statuses[ended["status"]] += 1
    charged: Counter[uuid.UUID] = Counter()
    for user in users:
        spent = 0
        for entry in _all(lambda cursor, user=user: ledger.transactions(user, limit=500, cursor=cursor)):
            if entry.kind == "confirm":
                assert entry.consumption_id is not None
                charged[entry.consumption_id] += 1
        for use in _all(lambda cursor, user=user: ledger.consumption(user, limit=500, cursor=cursor)):
            status, credits = told.pop(use.id, ("nobody's", 0))
            assert use.captured - use.reversed == credits
            spent += credits
            if status == "succeeded":
                # A summary that outlived its hold is done and not paid.
                assert use.status in ("confirmed", "expired")
            elif status == "queued":
                # Its message, or its result, went with the worker or with Redis; the credits are back.
                assert use.status in ("refunded", "expired"), (use, status)
            else:
                assert use.status in ("refunded", "expired"), (use, status)
        assert ledger.balance(user).spent == spent
    assert told == {}
    assert max(charged.values()) == 1
    assert statuses["succeeded"] > len(jobs) / 2, statuses
    assert statuses["failed"] > 0
    assert ledger.trial_balance().is_balanced
    assert ledger.verify().is_clean


def _all(page: Callable[[str | None], Any]) -> Iterator[Any]:
    cursor = None
    while True:
        found = page(cursor)
        yield from found
        cursor = found.next_cursor
        if cursor is None:
            return
