"""Users who want more than is theirs: what they say a job costs, keys that are the host's, numbers and headers that two
readers read in two ways, bodies without an end. And random requests of theirs, beside a host that goes on working."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi import HTTPException, Request
from fastapi.testclient import TestClient
from test_http import ADMIN, LEO, MIA, SERVICE, USER, backend, data, error, gift, service_or_user

from jointo_credits import Ledger, ValidationError
from jointo_credits.fastapi import UsersConsume
from jointo_credits.jobs import Jobs

#: What the catalogue says: 8 credits a second.
VIDEO = {"feature": "video_generation", "quantity": 60}
PRICE = 480
EVER = {"since": "2020-01-01T00:00:00Z", "until": "2100-01-01T00:00:00Z"}


@pytest.fixture
def http(url: str) -> Iterator[TestClient]:
    """Users may consume, and nothing else."""
    with TestClient(backend(url, service_or_user=service_or_user)) as client:
        yield client


def all_may(url: str, **more: Any) -> TestClient:
    """Users may do what they can be let do."""
    return TestClient(backend(url, service_or_user=service_or_user, users_may=["consume", "confirm", "refund"], **more))


def consume(http: TestClient, who: dict[str, str] = USER, **asked: Any) -> Any:
    return http.post("/credits/consume", headers=who, json=asked)


def available(http: TestClient, who: dict[str, str] = USER) -> int:
    return int(data(http.get("/credits/balance", headers=who))["available"])


# --- a price is what a rate card says


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({**VIDEO, "amount": 1}, "amount"),
        ({"feature": "video_generation", "amount": 1}, "amount"),
        ({"feature": "of no card", "amount": 1}, "amount"),
        ({"amount": 1}, "amount"),
        ({}, "feature"),
        ({"quantity": 60}, "feature"),
        ({**VIDEO, "ttl": 1}, "ttl"),
        ({**VIDEO, "ttl": 2_592_000}, "ttl"),
    ],
)
def test_users_name_no_price(http: TestClient, asked: Any, field: str) -> None:
    gift(http, MIA, 1_000)
    refused = error(consume(http, **asked), 403)
    assert (refused["error"], refused["field"]) == ("forbidden", field)
    assert available(http) == 1_000
    # A service may: it is the host.
    if "amount" in asked and "quantity" not in asked:
        assert data(consume(http, SERVICE, userId=str(MIA), **asked))["amount"] == 1


def test_a_users_hold_pays_for_its_job(http: TestClient, url: str) -> None:
    gift(http, MIA, 1_000)
    held = data(consume(http, **VIDEO))
    assert held["amount"] == PRICE
    mine = {"consumptionId": held["consumptionId"]}
    for path in ("confirm", "refund"):
        # Unless the host says so: who settles a hold decides what the job costs.
        assert error(http.post(f"/credits/{path}", headers=USER, json=mine), 403)["error"] == "forbidden"
    with Ledger.connect(url) as host:
        assert Jobs(host).on_job_succeeded(held["consumptionId"], 60).charged == PRICE
    assert available(http) == 1_000 - PRICE


def test_users_name_amounts_where_the_host_lets_them(sqlite: str) -> None:
    with all_may(sqlite, users_may_name_amounts=True) as http:
        gift(http, MIA, 1_000)
        for asked in ({**VIDEO, "amount": 1}, {"feature": "text_processing", "amount": 1}):
            assert error(consume(http, **asked), 403)["field"] == "amount"
        for asked in ({"feature": "of no card", "amount": 5}, {"amount": 5}):
            held = data(consume(http, **asked))
            settled = {"consumptionId": held["consumptionId"], "amount": 3}
            assert data(http.post("/credits/confirm", headers=USER, json=settled))["captured"] == 3
        held = data(consume(http, **VIDEO))
        settled = {"consumptionId": held["consumptionId"], "amount": 1}
        assert error(http.post("/credits/confirm", headers=USER, json=settled), 403)["field"] == "amount"


def test_the_hosts_terms_are_what_is_held(sqlite: str) -> None:
    async def terms(request: Request, user: uuid.UUID, asked: UsersConsume) -> UsersConsume:
        assert user == MIA
        if asked.feature != "video_generation":
            raise HTTPException(409, "we make videos only")
        return UsersConsume(asked.feature, 60, {"quality": "1080p"}, ttl=600, reference="作业-1", metadata={"task": 1})

    with TestClient(backend(sqlite, service_or_user=service_or_user, users_terms=terms)) as http:
        gift(http, MIA, 5_000)
        asked = {"feature": "video_generation", "quantity": 1, "reference": "作业-1", "metadata": {"task": 2}}
        with Ledger.connect(sqlite) as host:
            price = host.calculate("video_generation", 60, {"quality": "1080p"}).credits
        held = data(consume(http, **asked))
        assert (held["amount"], held["reference"], held["metadata"]) == (price, "作业-1", {"task": 1})
        assert error(consume(http, feature="image_generation"), 409)
        # What is not theirs to say is not asked about.
        assert error(consume(http, **asked, amount=1), 403)["field"] == "amount"
        assert error(consume(http, **asked, ttl=1), 403)["field"] == "ttl"


def test_what_users_say_is_kept_apart_from_what_the_host_says(http: TestClient) -> None:
    gift(http, MIA, 1_000)
    named = {"reference": "作业-1", "metadata": {"task": "made up"}}
    theirs = data(consume(http, **VIDEO, **named))
    assert (theirs["reference"], theirs["metadata"]) == ("user:作业-1", {"user": {"task": "made up"}})
    hosts = data(consume(http, SERVICE, userId=str(MIA), **VIDEO, **named))
    assert (hosts["reference"], hosts["metadata"]) == ("作业-1", {"task": "made up"})
    assert error(consume(http, **VIDEO, reference="x" * 251), 422)["field"] == "reference"
    assert error(consume(http, **VIDEO, metadata={"a": "x" * 4_096}), 422)["field"] == "metadata"


def test_users_owe_no_more_than_they_could_hold(url: str) -> None:
    with all_may(url) as http, Ledger.connect(url) as host:
        gift(http, MIA, 100)
        host.set_credit_limit(MIA, 50)
        settle = {"overage": "debt", "quantity": 60}
        mine = {**settle, "consumptionId": data(consume(http, feature="video_generation", quantity=1))["consumptionId"]}
        poor = error(http.post("/credits/confirm", headers=USER, json=mine), 402)
        assert poor["error"] == "insufficient_credits"
        within = {**mine, "quantity": 18}
        assert data(http.post("/credits/confirm", headers=USER, json=within))["captured"] == 144
        assert host.balance(MIA).debt == 44
        # The host may.
        other = data(consume(http, SERVICE, userId=str(MIA), amount=1))["consumptionId"]
        owed = {"consumptionId": other, "amount": 500, "overage": "debt"}
        assert data(http.post("/credits/confirm", headers=SERVICE, json=owed))["captured"] == 500


def test_users_charge_no_hold_whose_time_is_over(sqlite: str) -> None:
    with all_may(sqlite) as http:
        gift(http, MIA, 1_000)
        mine = {"consumptionId": data(consume(http, **VIDEO))["consumptionId"], "late": "recharge"}
        assert error(http.post("/credits/confirm", headers=USER, json=mine), 403)["field"] == "late"


#: A chunk that never comes.
NO_MORE = b"no more"


def asgi(
    http: TestClient, path: str, headers: list[tuple[bytes, bytes]], chunks: Callable[[], bytes | None]
) -> tuple[int, Any, int]:
    """Sends headers as they are and a body in chunks. Gives what was answered, and how much of the body was taken."""
    taken, answered = 0, list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        nonlocal taken
        chunk = chunks()
        if chunk == NO_MORE:
            await asyncio.Event().wait()
        taken += len(chunk or b"")
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    async def send(message: Any) -> None:
        answered.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json"), *headers],
        "client": ("127.0.0.1", 1), "server": ("testserver", 80),
    }  # fmt: skip
    assert http.portal is not None
    http.portal.call(http.app, scope, receive, send)
    body = b"".join(message.get("body", b"") for message in answered)
    return answered[0]["status"], json.loads(body)["data"], taken


def keyed(http: TestClient, *sent: bytes, **asked: Any) -> tuple[int, Any]:
    """A consume of Mia's with these headers `Idempotency-Key`, as bytes: the test client would decode them."""
    headers = [(b"x-user", str(MIA).encode()), *((b"idempotency-key", value) for value in sent)]
    body = iter([json.dumps(asked).encode()])
    status, told, _ = asgi(http, "/credits/consume", headers, lambda: next(body, None))
    return status, told


# --- keys


def test_users_block_no_key_of_the_hosts(http: TestClient, url: str) -> None:
    key = "chargeback:pay_123"
    with Ledger.connect(url) as host:
        bought = host.grant(MIA, 1_000, source="purchase")
        assert bought.lot is not None
        package = data(http.get("/credits/packages", headers=USER))["items"][0]["packageId"]
        order = {"packageId": package, "channel": "manual"}
        keyed = {**USER, "Idempotency-Key": key}
        made = data(http.post("/recharge/orders", headers=keyed, json=order))["order"]["orderNo"]
        for sent in (key, "jointo.http/admin/" + key, "jointo.http/service/" + key):
            assert data(http.post("/recharge/orders", headers=USER, json={**order, "idempotencyKey": sent}))
        # None of these is that key: neither a service's, nor an administrator's, nor the host's own.
        hold = {"userId": str(MIA), "amount": 5, "idempotencyKey": key}
        held = data(consume(http, SERVICE, **hold))
        assert gift(http, MIA, 7, idempotencyKey=key)["amount"] == 7
        assert host.clawback(MIA, bought.lot.id, amount=100, idempotency_key=key).taken == 100
        # And each is one request's, however often it comes, as a header or as a field.
        assert data(consume(http, {**SERVICE, "Idempotency-Key": key}, **{**hold, "idempotencyKey": key})) == held
        again = data(http.post("/recharge/orders", headers=USER, json={**order, "idempotencyKey": key}))
        assert again["order"]["orderNo"] == made
        # Errors tell the key that was sent.
        answer = consume(http, **VIDEO, idempotencyKey=key)
        assert error(answer, 409) == {"error": "idempotency_conflict", "key": key}
        assert "jointo.http" not in answer.text
        assert host.verify().is_clean


def test_long_keys_are_kept_apart_too(http: TestClient, url: str) -> None:
    long = "k" * 255
    gift(http, MIA, 1_000)
    held = data(consume(http, **VIDEO, idempotencyKey=long))
    assert data(consume(http, {**USER, "Idempotency-Key": long}, **VIDEO)) == held
    assert data(consume(http, **VIDEO, idempotencyKey=long[:-1] + "l")) != held
    with Ledger.connect(url) as host:
        assert host.consume(MIA, amount=1, idempotency_key=long).id != uuid.UUID(held["consumptionId"])
    conflict = error(consume(http, feature="video_generation", quantity=1, idempotencyKey=long), 409)
    assert conflict["key"] == long
    assert error(consume(http, **VIDEO, idempotencyKey=long + "k"), 422)["field"] == "idempotencyKey"
    assert error(consume(http, {**USER, "Idempotency-Key": long + "k"}, **VIDEO), 422)["field"] == "idempotencyKey"


def test_a_key_is_the_same_text_as_header_and_as_field(http: TestClient) -> None:
    gift(http, MIA, 5_000)
    for key in ("订单-7", "Ünïcode", "订" * 85, '"quoted"'):
        status, held = keyed(http, key.encode(), **VIDEO)
        assert status == 200
        assert data(consume(http, **VIDEO, idempotencyKey=key)) == held
        assert keyed(http, key.encode(), **VIDEO, idempotencyKey=key) == (200, held)
    # Two texts that look alike are two keys: nothing is normalised.
    alike = [data(consume(http, **VIDEO, idempotencyKey=key)) for key in ("\u00e9", "e\u0301")]
    assert alike[0] != alike[1]


@pytest.mark.parametrize(
    "sent",
    [[b"a", b"b"], [b"a", b"a"], [b"\xe9"], [b"\xe8\xae"], [b"\xed\xa0\x80"], [b""], [b"x" * 256]],
    ids=["two", "the same twice", "latin-1", "cut off", "a surrogate", "empty", "long"],
)
def test_a_header_that_could_mean_two_things_is_refused(http: TestClient, sent: list[bytes]) -> None:
    gift(http, MIA, 1_000)
    status, wrong = keyed(http, *sent, **VIDEO)
    assert (status, wrong["error"], wrong["field"]) == (422, "validation", "idempotencyKey")
    assert available(http) == 1_000


def test_a_notification_has_one_signature(sqlite: str, caplog: pytest.LogCaptureFixture) -> None:
    with TestClient(backend(sqlite)) as http:
        twice = [("Wechatpay-Signature", "a"), ("Wechatpay-Signature", "a")]
        refused = http.post("/recharge/notify/manual", headers=twice, content=b"{}")
        assert (refused.status_code, refused.text) == (400, "")
    # Before anything of it was looked at.
    assert "came twice" in caplog.text


# --- numbers


def raw(http: TestClient, path: str, body: str, who: dict[str, str] = SERVICE) -> Any:
    headers = {**who, "Content-Type": "application/json"}
    return http.post(f"/credits/{path}", headers=headers, content=body.encode())


TENTHS = {
    "feature": "tenths",
    "name": "十分之一",
    "rounding": "up",
    "components": [{"model": "per_unit", "quantity": "quantity", "label": "个", "rate": "10"}],
}
EXACT = ["0", "0.3", "0.30000000000000004", "3", "3.0", "1e2", "1E+2", "100e-2", "0.1000000000000000055511151231"]
NO_NUMBERS = ["1_0", "٣", " 3 ", "+3", ".5", "5.", "03", "0x3", "1e", "", "NaN", "Infinity", "-Infinity"]
OUT_OF_RANGE = ["1e400", "1e1000000000", "1e-1000000000", "-0", "-0.0", "-1", "1" * 29, "1" * 5_000]
OUT_OF_RANGE += ["0." + "1" * 29, "0." + "1" * 60_000, "true", "[1]", '{"": 1}', '{"a": true}']


def test_numbers_are_read_as_from_python(ledger: Ledger, url: str) -> None:
    """In JSON, in text, and in Python they are the same numbers, or none."""
    ledger.set_pricing(TENTHS)
    assert ledger.calculate("tenths", "0.3").credits == 3
    with TestClient(backend(url)) as http:

        def calculate(written: str) -> Any:
            return raw(http, "calculate", f'{{"feature": "tenths", "quantity": {written}}}', USER)

        for written in EXACT:
            exact = ledger.calculate("tenths", written)
            for sent in (written, f'"{written}"'):
                quote = data(calculate(sent))
                assert (quote["credits"], quote["exact"]) == (exact.credits, f"{exact.exact:f}")
        for written in NO_NUMBERS:
            with pytest.raises(ValidationError):
                ledger.calculate("tenths", written)
            wrong = error(calculate(json.dumps(written, ensure_ascii=False)), 422)
            assert wrong["field"] == "quantity", written
        for written in OUT_OF_RANGE:
            answer = calculate(written)
            assert error(answer, 422)["field"].startswith("quantity"), written
            assert len(answer.content) < 2_000
        for written in ("NaN", "Infinity", "-Infinity", "1_0", "٣", "0x3", "+1", "01"):
            assert error(calculate(written), 422)["field"] == "body", written


WHOLE = ["5", "5.0", "5e0", "50e-1", "0.5e1", "5.000000000000000000000000000"]
NOT_WHOLE = ['"5"', "true", "5.5", "4.9999999999999999999999", "5.0000000000000000001", "9007199254740992", "1e18"]
NOT_WHOLE += ["9007199254740992.0", "1e400", "1e1000000000", "-5", "-0", "-0.0", "0", "[5]", "1" * 5_000]


def test_whole_numbers_are_whole_by_their_text(http: TestClient) -> None:
    gift(http, MIA, 100)
    for written in WHOLE:
        assert data(raw(http, "consume", f'{{"userId": "{MIA}", "amount": {written}}}'))["amount"] == 5
    left = available(http)
    for written in NOT_WHOLE:
        wrong = error(raw(http, "consume", f'{{"userId": "{MIA}", "amount": {written}}}'), 422)
        assert wrong["field"] == "amount", written
    assert available(http) == left == 70


def test_numbers_of_queries_and_times(http: TestClient) -> None:
    for limit in ("1_0", "٣", " 3 ", "+3", "3.0", "1e1", "0", "201", "9" * 5_000):
        wrong = error(http.get("/credits/transactions", headers=USER, params={"limit": limit}), 422)
        assert wrong["field"] == "limit", limit
    assert data(http.get("/credits/transactions", headers=USER, params={"limit": "200"}))["items"] == []
    for at in ("1700000000", "1700000000.5", "1.7e9", "2026-01-01", "٢٠٢٦-01-01T00:00:00Z", "x" * 5_000):
        assert error(http.get("/credits/transactions", headers=USER, params={"since": at}), 422)["field"] == "since"
    as_number = {"userId": str(MIA), "amount": 1, "reason": "x", "expiresAt": 4_070_908_800}
    assert error(http.post("/credits/gift", headers=ADMIN, json=as_number), 422)["field"] == "expiresAt"


def test_money_is_read_alike(http: TestClient, url: str) -> None:
    package = data(http.get("/credits/packages", headers=USER))["items"][0]
    order = {"packageId": package["packageId"], "channel": "manual"}
    number = data(http.post("/recharge/orders", headers=USER, json=order))["order"]["orderNo"]
    with Ledger.connect(url) as host:
        host.settle_order(number, transaction_id="1", amount=package["price"])
    path = f"/recharge/orders/{number}/refund"
    as_json = {**ADMIN, "Content-Type": "application/json"}
    for written in ("0", "-1", "0.001", "1e-3", "1e400", "1e9999", "1e1000000000", '"1_0"', '"٣"', '" 3 "', "true"):
        wrong = error(http.post(path, headers=as_json, content=f'{{"amount": {written}}}'.encode()), 422)
        assert wrong["field"] == "amount", written
    for written, refunded in (("0.10", "0.10"), ('"0.20"', "0.30"), ("3e-1", "0.60")):
        keyed = f'{{"amount": {written}, "idempotencyKey": "{refunded}"}}'
        assert data(http.post(path, headers=as_json, content=keyed.encode()))["refunded"] == refunded


@pytest.mark.parametrize("rate", [0.1, 1.0, float("nan"), float("inf")])
def test_rate_cards_have_no_floats(rate: float) -> None:
    with Ledger.connect("memory:") as ledger:
        ledger.migrate()
        for component in (
            {"model": "flat", "rate": rate},
            {"model": "graduated", "tiers": [{"rate": 1}, {"rate": rate}]},
        ):
            with pytest.raises(ValidationError, match="float") as refused:
                ledger.set_pricing({"feature": "x", "name": "x", "components": [component]})
            assert refused.value.field == "card"
            assert refused.value.path in ("$.components[0].rate", "$.components[0].tiers[1].rate")
        assert ledger.pricing() == ()


# --- bodies


POSTS = [f"/credits/{name}" for name in ("calculate", "consume", "confirm", "refund", "gift", "expire-pending")]
POSTS += ["/recharge/orders", "/recharge/reconcile", f"/recharge/orders/{'0' * 32}/refund"]
EVERYBODY = [(name.encode(), value.encode()) for name, value in {**USER, **SERVICE, **ADMIN}.items()]


def test_a_body_is_read_when_its_sender_is_known(sqlite: str) -> None:
    with TestClient(backend(sqlite, service_or_user=service_or_user)) as http:
        for path in POSTS:
            status, told, taken = asgi(http, path, [], lambda: b"[" * 65_536)
            assert (status, taken) in ((401, 0), (403, 0)), path
            assert told["error"] in ("unauthenticated", "forbidden")


def test_a_body_has_a_bound(sqlite: str) -> None:
    with TestClient(backend(sqlite)) as http:
        for path in POSTS:
            # In chunks, without a length: no more is taken than what shows that it is too much.
            status, told, taken = asgi(http, path, EVERYBODY, lambda: b'{"a": "' + b"x" * 30_000)
            assert (status, told["error"], told["limit"]) == (413, "too_large", 65_536), path
            assert taken < 100_000
            # With a length: nothing is.
            for length in (b"65537", b"9" * 30):
                status, told, taken = asgi(http, path, [(b"content-length", length), *EVERYBODY], lambda: b"x")
                assert (status, told["error"], taken) == (413, "too_large", 0), path


def test_a_body_has_a_time(sqlite: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jointo_credits.fastapi._wire.BODY_SECONDS_MAX", 0.05)
    with TestClient(backend(sqlite)) as http:
        for path in [*POSTS, "/recharge/notify/manual"]:
            chunks = iter([b'{"amount": '])
            status, told, taken = asgi(http, path, EVERYBODY, lambda chunks=chunks: next(chunks, NO_MORE))
            assert (status, told["error"], told["limit"], taken) == (408, "too_slow", 0.05, 11), path


def members(count: int, name: str, value: str) -> str:
    return "{" + ",".join(f'"{name}{n}": {value}' for n in range(count)) + "}"


def test_what_is_no_json_of_ours_is_refused(http: TestClient) -> None:
    gift(http, MIA, 100)
    for body, field in (
        ('{"amount": 1, "amount": 50}', "body"),
        ('{"amount": 1, "metadata": {"a": 1, "a": 2}}', "body"),
        ('{"metadata": ' + '{"a":' * 33 + "1" + "}" * 34, "body"),
        ("[" * 60_000, "body"),
        (members(5_000, "f", "1"), "f0"),
        ('{"%s": 1}' % ("x" * 60_000), "x" * 200),
        ('{"feature": "x", "quantity": ' + members(65, "q", "1") + "}", "quantity"),
        ('{"feature": "x", "attributes": ' + members(65, "a", '"b"') + "}", "attributes"),
        ('{"feature": "x", "attributes": ' + members(64, "a", "1") + "}", "attributes.a0"),
        ('{"amount": 1, "metadata": {"a": 1e400}}', "metadata"),
        ('{"amount": 1, "metadata": {"a": ' + "1" * 5_000 + "}}", "metadata"),
    ):
        answer = raw(http, "consume", body)
        assert error(answer, 422)["field"] == field, body[:80]
        assert len(answer.content) < 20_000
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""):
        answer = http.post("/credits/consume", headers={**SERVICE, "Content-Type": kind}, content=b'{"amount": 1}')
        assert error(answer, 422)["field"] == "body"
    as_json = {**SERVICE, "Content-Type": "application/json"}
    for encoding in ("utf-16", "utf-32", "latin-1"):
        answer = http.post("/credits/consume", headers=as_json, content='{"reference": "é"}'.encode(encoding))
        assert error(answer, 400)["error"] == "malformed"
    assert available(http) == 100


def test_metadata_are_kept_as_they_were_sent(http: TestClient) -> None:
    gift(http, MIA, 100)
    body = (
        f'{{"userId": "{MIA}", "amount": 1, '
        '"metadata": {"a": [0.1, -2.5e3, 7, -7, true, null, "字"], "b": {"c": -0}}}'
    )
    assert data(raw(http, "consume", body))["metadata"] == {
        "a": [0.1, -2500.0, 7, -7, True, None, "字"],
        "b": {"c": 0},
    }


# --- answers


def test_a_statement_over_http_has_a_bound(sqlite: str) -> None:
    with TestClient(backend(sqlite, statement_limit=3)) as http:
        for _ in range(3):
            gift(http, MIA, 1)
        assert len(data(http.get("/credits/statement", headers=USER, params=EVER))["entries"]) == 3
        gift(http, MIA, 1)
        for form in ("json", "csv", "html"):
            answer = http.get("/credits/statement", headers=USER, params={**EVER, "format": form})
            refused = error(answer, 422)
            assert (refused["field"], refused["limit"], refused["value"]) == ("since", "3 entries", "4 entries")
            assert "shorter" in answer.json()["message"]


def test_a_statement_has_the_bound_it_is_given(ledger: Ledger, user: uuid.UUID) -> None:
    ever = datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
    ledger.grant(user, 10_000, source="purchase")
    ledger.consume_many([{"user_id": user, "amount": 1}] * 1_000)
    ledger.consume_many([{"user_id": user, "amount": 1}] * 200)
    # In more than one piece.
    assert [entry.seq for entry in ledger.statement(user, *ever, limit=1_201).entries] == list(range(1, 1_202))
    with pytest.raises(ValidationError, match="too many entries"):
        ledger.statement(user, *ever, limit=1_200)
    for wrong in (0, 100_001):
        with pytest.raises(ValidationError) as refused:
            ledger.statement(user, *ever, limit=wrong)
        assert refused.value.field == "limit"


def test_a_time_zone_is_a_name_and_no_path(sqlite: str) -> None:
    with TestClient(backend(sqlite)) as http:
        asked = {**EVER, "format": "html"}
        paths = ["../../etc/passwd", "/etc/localtime", "..", ".", "Asia/", "/", "Asia//Shanghai", "Asia/../UTC", "Asia"]
        for zone in [*paths, "tzdata.zi", "zone.tab", "a\0b", "x" * 255, "A/" * 100 + "B", "C:\\x", "上海"]:
            answer = http.get("/credits/statement", headers=USER, params={**asked, "timezone": zone})
            assert error(answer, 422)["field"] == "timezone", zone
            assert len(answer.content) < 1_000
        gift(http, MIA, 1)
        last = {**asked, "until": "9999-12-30T00:00:00Z", "timezone": "Pacific/Kiritimati"}
        assert http.get("/credits/statement", headers=USER, params=last).status_code == 200
        assert error(http.get("/credits/statement", headers=USER, params={**asked, "language": "../zh"}), 422)


# --- all of it together

WORDS = ["chargeback:1", "job:1", "jointo.http/service/job:1", "jointo.http/admin/", "订单-7", "k" * 255, "'; --", ""]
NUMBERS: list[Any] = [0, 1, -1, 0.5, 1e-7, 60, 10**6, 2**53 - 1, 2**53, 10**40, "1", "0.1", "1_0", "1e9", True, None]


class Hostile:
    """Random requests of a user's, most of which are half right."""

    def __init__(self, seed: int, http: TestClient) -> None:
        self.random = random.Random(seed)
        self.http = http
        self.holds = [str(uuid.UUID(int=7))]
        self.orders = ["0" * 32]

    def word(self) -> Any:
        return self.random.choice([*WORDS, self.random.choice(self.holds)])

    def number(self) -> Any:
        return self.random.choice(NUMBERS)

    def some(self, most: dict[str, Callable[[], Any]]) -> dict[str, Any]:
        return {name: make() for name, make in most.items() if self.random.random() < 0.5}

    def consume(self) -> tuple[str, dict[str, Any]]:
        pick = self.random.choice
        asked = self.some(
            {
                "feature": lambda: pick(["video_generation", "image_generation", "text_processing", "none", "", 5]),
                "quantity": lambda: pick([self.number(), {"input_tokens": self.number()}, {}]),
                "attributes": lambda: pick([{"quality": "1080p"}, {"quality": 1}, {}, {"x": "y"}]),
                "amount": self.number,
                "ttl": self.number,
                "reference": self.word,
                "metadata": lambda: pick([{"task": "job:1"}, {"a": {"b": [1.5]}}, [], {"x": "y" * 5_000}]),
                "userId": lambda: str(pick([MIA, MIA, LEO])),
                "idempotencyKey": self.word,
            }
        )
        if pick([True, False]):
            asked = {
                "feature": "video_generation",
                "quantity": pick([1, 5, "7"]),
                **self.some({"idempotencyKey": self.word}),
            }
        return "/credits/consume", asked

    def settle(self) -> tuple[str, dict[str, Any]]:
        pick = self.random.choice
        asked = self.some(
            {
                "amount": self.number,
                "quantity": self.number,
                "overage": lambda: pick(["debt", "available", "reject", "all"]),
                "late": lambda: pick(["recharge", "reject"]),
                "reason": self.word,
                "pendingOnly": lambda: pick([True, False, 1]),
                "userId": lambda: str(pick([MIA, LEO])),
                "idempotencyKey": self.word,
            }
        )
        if pick([True, False]):
            asked = pick([{}, {"quantity": pick([1, 3, "4", 60, 10**6])}])
        return pick(["/credits/confirm", "/credits/refund"]), {"consumptionId": pick(self.holds[-4:]), **asked}

    def order(self) -> tuple[str, dict[str, Any]]:
        pick = self.random.choice
        asked = self.some(
            {"idempotencyKey": self.word, "method": self.word, "payer": self.word, "returnUrl": self.word}
        )
        made = {"packageId": pick([*self.packages(), str(MIA)]), "channel": pick(["manual", "wechat", "x"]), **asked}
        number = pick(self.orders)
        return pick(
            [
                ("/recharge/orders", made),
                (f"/recharge/orders/{number}/pay", asked),
                (f"/recharge/orders/{number}/close", {}),
                (f"/recharge/orders/{number}/refund", {"amount": self.number(), "shortfall": "forgive"}),
                ("/recharge/reconcile", {"minAge": self.number()}),
            ]
        )

    def gift(self) -> tuple[str, dict[str, Any]]:
        return "/credits/gift", {"userId": str(MIA), "amount": self.number(), "reason": self.word()}

    def packages(self) -> list[str]:
        return [each["packageId"] for each in self.http.get("/credits/packages", headers=USER).json()["data"]["items"]]

    def act(self) -> None:
        path, asked = self.random.choice([self.consume, self.consume, self.settle, self.order, self.gift])()
        headers = [("x-user", str(MIA)), ("content-type", "application/json")]
        for _ in range(self.random.choice([0, 0, 1, 1, 2])):
            headers.append(("Idempotency-Key", self.word().encode() or b"\xff"))  # type: ignore[arg-type]
        body = json.dumps(asked)
        if self.random.random() < 0.1:
            body = body.replace("1", self.random.choice(["1e400", "NaN", "1.0", "-0", "0.30000000000000004"]), 1)
        answer = self.http.post(path, headers=headers, content=body.encode())
        assert answer.status_code < 500, (path, body, answer.text)
        assert len(answer.content) < 20_000
        if answer.status_code == 200:
            found = answer.json()["data"]
            if path == "/credits/consume":
                self.holds.append(found["consumptionId"])
            elif path == "/recharge/orders":
                self.orders.append(found["order"]["orderNo"])
        else:
            assert answer.status_code in (400, 401, 402, 403, 404, 409, 413, 422), answer.text


def host_works(http: TestClient, host: Ledger, turn: int) -> None:
    """What the host does beside: with keys that everybody can guess."""
    key = f"job:{turn}"
    hold = {"userId": str(MIA), "feature": "video_generation", "quantity": 1, "idempotencyKey": key}
    own = data(consume(http, SERVICE, **hold))
    assert host.consume(MIA, "video_generation", 1, idempotency_key=key).status == "pending"
    data(http.post("/credits/confirm", headers=SERVICE, json={"consumptionId": own["consumptionId"]}))


def nothing_of_anybody_else(host: Ledger, leos: Any) -> None:
    balance = host.balance(LEO)
    assert (balance.available, balance.held, host.transactions(LEO).items) == leos
    # Nobody paid for an order, so none has brought anything.
    assert {order.status for order in host.orders(user_id=MIA)} <= {"created", "paying", "closed"}
    assert not list(host.transactions(MIA, kind="adjust"))
    assert host.clawback(MIA, host_lot(host), idempotency_key="chargeback:1", shortfall="debt").taken >= 0
    assert host.verify().is_clean


def host_lot(host: Ledger) -> uuid.UUID:
    bought = [entry.lot_id for entry in host.transactions(MIA, kind="grant") if entry.reference == "bought"]
    assert bought[0] is not None
    return bought[0]


def begin(http: TestClient, host: Ledger) -> Any:
    gift(http, MIA, 5_000)
    gift(http, LEO, 500)
    host.grant(MIA, 100, source="purchase", reference="bought")
    balance = host.balance(LEO)
    return balance.available, balance.held, host.transactions(LEO).items


@pytest.mark.parametrize("seed", range(4))
def test_hostile_users_beside_a_working_host(sqlite: str, seed: int) -> None:
    """Whatever users ask: a job that ran is paid as its card says, no other account changes, no key of the host's is
    taken, and the books fit."""
    with TestClient(backend(sqlite, service_or_user=service_or_user)) as http, Ledger.connect(sqlite) as host:
        leos = begin(http, host)
        hostile, jobs, paid = Hostile(seed, http), Jobs(host), 0
        for turn in range(60):
            hostile.act()
            if turn % 10 == 5:
                host_works(http, host, turn // 10)
            # The host does the jobs that users hold credits for: as many seconds as were asked for.
            for hold_id in hostile.holds[1:]:
                held = host.explain(hold_id)
                if held.consumption.status == "pending":
                    assert held.held is not None
                    done = jobs.on_job_succeeded(hold_id)
                    assert (done.outcome, done.charged) == ("charged", held.held.credits)
                    assert held.consumption.reference is None or held.consumption.reference.startswith("user:")
                    paid += done.charged
                assert host.get_consumption(hold_id).status == "confirmed"
                assert host.get_consumption(hold_id).user_id == MIA
        assert paid > 0
        nothing_of_anybody_else(host, leos)


@pytest.mark.parametrize("seed", range(4))
def test_hostile_users_who_may_settle(sqlite: str, seed: int) -> None:
    """Where users do the work themselves they say what was used, but no price, and they owe nothing."""
    with all_may(sqlite) as http, Ledger.connect(sqlite) as host:
        leos = begin(http, host)
        hostile = Hostile(seed, http)
        for turn in range(60):
            hostile.act()
            if turn % 20 == 5:
                host_works(http, host, turn // 20)
            assert (host.balance(MIA).debt, host.balance(MIA).available >= 0) == (0, True)
        statuses = set[str]()
        for hold_id in hostile.holds[1:]:
            why = host.explain(hold_id)
            statuses.add(why.consumption.status)
            # What was charged is a price of the card's, be it of less.
            if why.consumption.status == "confirmed":
                assert why.held is not None
                assert why.consumption.captured == (why.charged or why.held).credits
        assert len(statuses) > 1
        nothing_of_anybody_else(host, leos)
