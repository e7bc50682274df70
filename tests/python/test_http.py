"""The routes: what each answers, to whom, and how what goes wrong is said."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import httpx2 as httpx
import pytest
from fastapi import FastAPI, Header, HTTPException, Request
from fastapi.testclient import TestClient
from prometheus_client import CollectorRegistry
from starlette.responses import JSONResponse

from jointo_credits import AsyncLedger, Ledger
from jointo_credits.fastapi import credits_router, health_router, metrics_router, recharge_router
from jointo_credits.prometheus import CreditsCollector

MIA, LEO = uuid.UUID(int=1), uuid.UUID(int=2)


def current_user(x_user: Annotated[str | None, Header()] = None) -> uuid.UUID:
    if x_user is None:
        raise HTTPException(401, "sign in first", headers={"WWW-Authenticate": "Bearer"})
    return uuid.UUID(x_user)


def require_service(x_service: Annotated[str | None, Header()] = None) -> None:
    if x_service != "secret":
        raise HTTPException(403, "for services")


def require_admin(x_admin: Annotated[str | None, Header()] = None) -> str:
    if x_admin is None:
        raise HTTPException(403, "for administrators")
    return x_admin


def service_or_user(
    x_service: Annotated[str | None, Header()] = None, x_user: Annotated[str | None, Header()] = None
) -> uuid.UUID | None:
    return None if x_service == "secret" else current_user(x_user)


USER, OTHER = {"x-user": str(MIA)}, {"x-user": str(LEO)}
SERVICE, ADMIN = {"x-service": "secret"}, {"x-admin": "ops"}


def backend(url: str, **options: Any) -> FastAPI:
    """An application that has the routes, and nothing else."""
    registry = CollectorRegistry()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with await AsyncLedger.connect(url) as ledger:
            await ledger.migrate()
            await ledger.seed_catalog()
            app.state.ledger = ledger
            registry.register(CreditsCollector(ledger))
            yield

    def ledger(request: Request) -> AsyncLedger:
        found: AsyncLedger = request.app.state.ledger
        return found

    app = FastAPI(lifespan=lifespan)
    access: dict[str, Any] = {
        "current_user": current_user,
        "require_service": require_service,
        "require_admin": require_admin,
    }
    app.include_router(credits_router(ledger, **{**access, **options}), prefix="/credits")
    app.include_router(
        recharge_router(ledger, current_user=current_user, require_admin=require_admin), prefix="/recharge"
    )
    app.include_router(health_router(ledger))
    app.include_router(metrics_router(registry))
    return app


@pytest.fixture
def http(url: str) -> Iterator[TestClient]:
    with TestClient(backend(url)) as client:
        yield client


def data(answer: httpx.Response) -> Any:
    """What a success has to say."""
    body = answer.json()
    assert answer.status_code == 200, body
    assert (body["code"], body["message"]) == (200, "Success")
    return body["data"]


def error(answer: httpx.Response, status: int) -> Any:
    """What an error has to say."""
    body = answer.json()
    assert answer.status_code == status, body
    assert body["code"] == status
    assert body["message"]
    return body["data"]


def gift(http: TestClient, user: uuid.UUID, amount: int, **more: Any) -> Any:
    return data(
        http.post(
            "/credits/gift", headers=ADMIN, json={"userId": str(user), "amount": amount, "reason": "开业", **more}
        )
    )


def test_the_life_of_a_credit(http: TestClient) -> None:
    given = gift(http, MIA, 100, expiresAt="2099-01-01T00:00:00+08:00", idempotencyKey="welcome")
    assert (given["amount"], given["source"], given["expiresAt"]) == (100, "gift", "2098-12-31T16:00:00Z")
    asked = {"userId": str(MIA), "amount": 75, "reference": "作业-1", "metadata": {"模型": "小"}}
    held = data(http.post("/credits/consume", headers={**SERVICE, "Idempotency-Key": "job-1"}, json=asked))
    assert (held["status"], held["amount"], held["reference"], held["metadata"]) == (
        "pending",
        75,
        "作业-1",
        {"模型": "小"},
    )
    again = data(http.post("/credits/consume", headers=SERVICE, json={**asked, "idempotencyKey": "job-1"}))
    assert again == held
    balance = data(http.get("/credits/balance", headers=USER))
    assert (balance["available"], balance["held"], balance["expiring"][0]["amount"]) == (25, 75, 25)
    done = data(
        http.post("/credits/confirm", headers=SERVICE, json={"consumptionId": held["consumptionId"], "amount": 60})
    )
    assert (done["status"], done["captured"]) == ("confirmed", 60)
    back = data(
        http.post("/credits/refund", headers=SERVICE, json={"consumptionId": held["consumptionId"], "amount": 10})
    )
    assert back["reversed"] == 10
    journal = data(http.get("/credits/transactions", headers=USER))
    assert [each["kind"] for each in journal["items"]] == ["reverse", "confirm", "consume", "gift"]
    assert journal["items"][-1]["reason"] == "开业"
    uses = data(http.get("/credits/consumption", headers=USER, params={"status": "confirmed"}))
    assert [each["consumptionId"] for each in uses["items"]] == [held["consumptionId"]]
    assert data(http.get("/credits/balance", headers=OTHER))["available"] == 0
    assert data(http.post("/credits/expire-pending", headers=ADMIN)) == {"holds": 0, "released": 0}
    assert data(http.post("/credits/expire-pending", headers=ADMIN, json={"limit": 5})) == {"holds": 0, "released": 0}


def test_pages_follow_one_another(http: TestClient) -> None:
    for n in range(5):
        gift(http, MIA, n + 1)
    seen, cursor = list[int](), None
    while True:
        page = data(
            http.get(
                "/credits/transactions", headers=USER, params={"limit": 2, "cursor": cursor} if cursor else {"limit": 2}
            )
        )
        seen += [each["change"] for each in page["items"]]
        cursor = page["nextCursor"]
        if cursor is None:
            break
    assert seen == [5, 4, 3, 2, 1]
    wrong = error(http.get("/credits/transactions", headers=USER, params={"cursor": "nonsense"}), 422)
    assert (wrong["error"], wrong["field"]) == ("validation", "cursor")


def test_packages_are_as_shops_show_them(http: TestClient) -> None:
    items = data(http.get("/credits/packages", headers=USER))["items"]
    assert items
    first = items[0]
    assert {"packageId", "name", "price", "currency", "credits", "bonusCredits"} <= set(first)
    assert first["price"] == f"{float(first['price']):.2f}"
    assert any("\u4e00" <= character <= "\u9fff" for character in first["name"])
    assert data(http.get(f"/credits/packages/{first['packageId']}", headers=USER)) == first
    missing = error(http.get(f"/credits/packages/{uuid.uuid4()}", headers=USER), 404)
    assert (missing["error"], missing["what"]) == ("not_found", "package")
    error(http.get("/credits/packages", headers={}), 401)


def test_prices_are_exact(http: TestClient) -> None:
    quote = data(http.post("/credits/calculate", headers=USER, json={"feature": "video_generation", "quantity": 5}))
    assert quote["feature"] == "video_generation"
    assert quote["credits"] > 0
    assert isinstance(quote["exact"], str)
    tokens = {"feature": "text_processing", "quantity": {"input_tokens": "1000", "output_tokens": 500}}
    assert data(http.post("/credits/calculate", headers=USER, json=tokens))["credits"] > 0
    unknown = error(http.post("/credits/calculate", headers=USER, json={"feature": "nothing"}), 404)
    assert unknown["error"] == "not_found"


def test_refusals_say_why(http: TestClient) -> None:
    gift(http, MIA, 50)
    consume = {"userId": str(MIA), "amount": 75}
    poor = error(http.post("/credits/consume", headers=SERVICE, json=consume), 402)
    assert poor == {"error": "insufficient_credits", "required": 75, "available": 50}
    keyed = {**SERVICE, "Idempotency-Key": "one"}
    held = data(http.post("/credits/consume", headers=keyed, json={**consume, "amount": 10}))
    conflict = error(http.post("/credits/consume", headers=keyed, json={**consume, "amount": 11}), 409)
    assert conflict == {"error": "idempotency_conflict", "key": "one"}
    data(
        http.post(
            "/credits/refund", headers=SERVICE, json={"consumptionId": held["consumptionId"], "pendingOnly": True}
        )
    )
    state = error(http.post("/credits/confirm", headers=SERVICE, json={"consumptionId": held["consumptionId"]}), 409)
    assert state == {"error": "invalid_state", "consumptionId": held["consumptionId"], "state": "refunded"}
    differ = error(http.post("/credits/consume", headers=keyed, json={**consume, "idempotencyKey": "two"}), 422)
    assert differ["field"] == "idempotencyKey"
    for body, field in (
        ({"amount": 5}, "userId"),
        ({"userId": str(MIA), "amount": 0}, "amount"),
        ({"userId": str(MIA), "amount": "5"}, "amount"),
        ({"userId": "mia", "amount": 5}, "userId"),
        ({"userId": str(MIA), "amount": 5, "colour": "red"}, "colour"),
        ({"userId": str(MIA), "amount": 5, "reference": "字" * 100}, "reference"),
        ({"userId": str(MIA), "amount": 5, "metadata": {"text": "x" * 20_000}}, "metadata"),
    ):
        wrong = error(http.post("/credits/consume", headers=SERVICE, json=body), 422)
        assert (wrong["error"], wrong["field"]) == ("validation", field), wrong
    as_json = {**SERVICE, "Content-Type": "application/json"}
    surrogate = b'{"userId":"%b","amount":1,"metadata":{"a":"\\ud800"}}' % str(MIA).encode()
    for body, status, word in (
        (surrogate, 422, "validation"),
        (b"{", 422, "validation"),
        (b'{"a": "\xff"}', 400, "malformed"),
        (b"[" * 60_000, 422, "validation"),
        (b"[" * 100_000, 413, "too_large"),
        (b"[]", 422, "validation"),
        (b"", 422, "validation"),
    ):
        assert error(http.post("/credits/consume", headers=as_json, content=body), status)["error"] == word
    assert error(http.post("/credits/consume", headers=SERVICE, content=b"{}"), 422)["error"] == "validation"


@pytest.mark.parametrize(
    ("method", "path", "body", "allowed"),
    [
        ("GET", "/balance", None, "user"),
        ("GET", "/transactions", None, "user"),
        ("GET", "/consumption", None, "user"),
        ("POST", "/calculate", {"feature": "video_generation"}, "user"),
        ("GET", "/packages", None, "user"),
        ("GET", f"/packages/{MIA}", None, "user"),
        ("POST", "/consume", {"userId": str(MIA), "amount": 1}, "service"),
        ("POST", "/confirm", {"consumptionId": str(uuid.uuid4())}, "service"),
        ("POST", "/refund", {"consumptionId": str(uuid.uuid4())}, "service"),
        ("POST", "/gift", {"userId": str(MIA), "amount": 1, "reason": "x"}, "admin"),
        ("POST", "/expire-pending", None, "admin"),
    ],
)
def test_each_route_is_for_its_role(sqlite: str, method: str, path: str, body: Any, allowed: str) -> None:
    with TestClient(backend(sqlite)) as http:
        for role, headers in {"nobody": {}, "user": USER, "service": SERVICE, "admin": ADMIN}.items():
            answer = http.request(method, f"/credits{path}", headers=headers, json=body)
            if role == allowed:
                assert answer.status_code in (200, 402, 404), answer.text
            else:
                facts = error(answer, 401 if allowed == "user" else 403)
                assert facts["error"] == ("unauthenticated" if allowed == "user" else "forbidden")


def test_users_reach_their_own_consumptions_only(url: str) -> None:
    may: Any = ["consume", "confirm", "refund"]
    images = {"feature": "image_generation", "quantity": 1}
    with TestClient(backend(url, service_or_user=service_or_user, users_may=may)) as http:
        for user in (MIA, LEO):
            gift(http, user, 100)
        held = data(http.post("/credits/consume", headers=USER, json=images))
        assert held["userId"] == str(MIA)
        forbidden = error(http.post("/credits/consume", headers=USER, json={**images, "userId": str(LEO)}), 403)
        assert forbidden["error"] == "forbidden"
        mine, nobodys = {"consumptionId": held["consumptionId"]}, {"consumptionId": str(uuid.uuid4())}
        for path in ("confirm", "refund"):
            hidden = http.post(f"/credits/{path}", headers=OTHER, json=mine)
            missing = http.post(f"/credits/{path}", headers=OTHER, json=nobodys)
            assert error(hidden, 404)["error"] == "not_found"
            # Nobody can tell the one from the other.
            assert hidden.text.replace(mine["consumptionId"], "") == missing.text.replace(nobodys["consumptionId"], "")
            for_another = {**mine, "userId": str(LEO)}
            error(http.post(f"/credits/{path}", headers=SERVICE, json=for_another), 404)
        error(http.post("/credits/consume", headers={}, json=images), 401)
        assert data(http.post("/credits/confirm", headers=USER, json=mine))["status"] == "confirmed"
        # What a service has charged no user takes back.
        assert error(http.post("/credits/refund", headers=USER, json=mine), 409)["state"] == "confirmed"
        assert data(http.post("/credits/refund", headers=SERVICE, json=mine))["status"] == "refunded"


def test_users_may_do_what_the_host_says(sqlite: str) -> None:
    with TestClient(backend(sqlite, service_or_user=service_or_user, users_may=["consume"])) as http:
        gift(http, MIA, 100)
        held = data(http.post("/credits/consume", headers=USER, json={"feature": "image_generation", "quantity": 1}))
        mine = {"consumptionId": held["consumptionId"]}
        for path in ("confirm", "refund"):
            assert error(http.post(f"/credits/{path}", headers=USER, json=mine), 403)["error"] == "forbidden"
        assert data(http.post("/credits/confirm", headers=SERVICE, json=mine))["status"] == "confirmed"


def hosts(n: int) -> int:
    """A route of the host's."""
    return n


def nobody() -> None:
    raise HTTPException(418, {"code": "teapot", "until": 3})


def test_what_a_dependency_says_in_its_own_form(sqlite: str) -> None:
    with TestClient(backend(sqlite, catalogue_access=nobody)) as http:
        answer = http.get("/credits/packages")
        assert error(answer, 418) == {"error": "error", "detail": {"code": "teapot", "until": 3}}


def test_the_hosts_handlers_are_left_alone(sqlite: str) -> None:
    app = backend(sqlite)
    app.get("/hosts")(hosts)
    with TestClient(app) as http:
        assert http.get("/hosts", params={"n": "x"}).json()["detail"][0]["loc"] == ["query", "n"]
        assert http.get("/nowhere").json() == {"detail": "Not Found"}

    app = backend(sqlite)

    @app.exception_handler(HTTPException)
    async def handler(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"mine": error.detail}, error.status_code)

    with TestClient(app) as http:
        assert http.get("/credits/balance").json() == {"mine": "sign in first"}
        assert error(http.get("/credits/transactions", headers=USER, params={"limit": 0}), 422)["field"] == "limit"


def test_a_database_that_is_away_is_503(postgres: str) -> None:
    app = backend(postgres)
    with TestClient(app) as http:
        assert http.get("/health").json() == {"code": 200, "message": "Success", "data": {"status": "ok"}}
        gift(http, MIA, 5)
        app.state.ledger = _closed(postgres)
        answer = http.get("/credits/balance", headers=USER)
        assert error(answer, 503)["outcome"] == "not_done"
        assert answer.headers["retry-after"] == "1"
        answer = http.get("/health")
        assert error(answer, 503)["error"] == "unavailable"


def test_the_database_s_own_words_are_for_the_log(sqlite: str, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(backend(sqlite)) as http:
        gift(http, MIA, 5)
        # In a process of its own: another library in this one would undo the locks of ours.
        program = (
            "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute('ALTER TABLE credit_accounts RENAME TO hidden')"
        )
        subprocess.run([sys.executable, "-c", program, sqlite.removeprefix("sqlite:///")], check=True)
        for path in ("/health", "/credits/balance"):
            caplog.clear()
            answer = http.get(path, headers=USER)
            told = error(answer, 503)
            assert told["error"] == "unavailable"
            assert "credit_accounts" not in answer.text
            [record] = [record for record in caplog.records if record.name == "jointo_credits.fastapi"]
            assert "credit_accounts" in record.getMessage()
            assert told["requestId"] in record.getMessage()


def _closed(url: str) -> AsyncLedger:
    import asyncio

    async def make() -> AsyncLedger:
        ledger = await AsyncLedger.connect(url)
        await ledger.close()
        return ledger

    return asyncio.run(make())


def test_metrics_tell_what_was_done(http: TestClient) -> None:
    gift(http, MIA, 50)
    error(http.post("/credits/consume", headers=SERVICE, json={"userId": str(MIA), "amount": 75}), 402)
    data(http.post("/credits/consume", headers=SERVICE, json={"userId": str(MIA), "amount": 20}))
    lines = dict(line.rsplit(" ", 1) for line in http.get("/metrics").text.splitlines() if not line.startswith("#"))
    assert lines['jointo_credits_commands_total{operation="gift",outcome="ok"}'] == "1.0"
    assert lines['jointo_credits_commands_total{operation="consume",outcome="ok"}'] == "1.0"
    assert lines['jointo_credits_commands_total{operation="consume",outcome="insufficient_credits"}'] == "1.0"
    assert lines['jointo_credits_command_seconds_count{operation="consume"}'] == "2.0"
    assert lines['jointo_credits_command_seconds_bucket{le="+Inf",operation="consume"}'] == "2.0"
    assert lines['jointo_credits_batch_commands_bucket{le="1.0"}'] == "3.0"
    assert lines["jointo_credits_queued_commands"] == "0.0"
    assert (lines["jointo_credits_pending_holds"], lines["jointo_credits_pending_credits"]) == ("1.0", "20.0")
    assert lines["jointo_credits_overdue_holds"] == "0.0"
    assert lines["jointo_credits_expired_holds_total"] == "0.0"


def test_a_refund_by_staff_records_who_asked_for_it(url: str) -> None:
    def named_service(x_service: Annotated[str | None, Header()] = None) -> str:
        require_service(x_service)
        return "support: li"

    with TestClient(backend(url, require_service=named_service)) as http:
        gift(http, MIA, 100)
        held = data(http.post("/credits/consume", headers=SERVICE, json={"userId": str(MIA), "amount": 10}))
        asked = {"consumptionId": held["consumptionId"], "idempotencyKey": "r"}
        for _ in range(2):
            assert data(http.post("/credits/refund", headers=SERVICE, json=asked))["status"] == "refunded"
        shown = data(http.get("/credits/transactions", headers=USER))
        assert "operator" not in shown["items"][0]  # who works for the host is nobody's business
    with Ledger.connect(url) as ledger:
        told = [(entry.kind, entry.operator) for entry in ledger.transactions(MIA)]
        assert told[0] == ("refund", "support: li")
