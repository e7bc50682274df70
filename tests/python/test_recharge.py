"""The routes about orders: what each answers, and to whom; with the channel that people see to."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient
from test_http import ADMIN, MIA, OTHER, USER, backend, data, error

from jointo_credits import InvalidStateError, Ledger, PaymentVerificationError, ValidationError


@pytest.fixture
def http(url: str) -> Any:
    with TestClient(backend(url)) as client:
        yield client


def cheapest(http: TestClient) -> Any:
    packages = data(http.get("/credits/packages", headers=USER))["items"]
    return min(packages, key=lambda package: float(package["price"]))


def ordered(http: TestClient, **more: Any) -> Any:
    asked = {"packageId": cheapest(http)["packageId"], "channel": "manual", **more}
    return data(http.post("/recharge/orders", headers=USER, json=asked))


def test_a_package_is_bought_and_sent_back(http: TestClient, url: str) -> None:
    made = ordered(http, idempotencyKey="checkout-1")
    order, number = made["order"], made["order"]["orderNo"]
    assert (order["status"], order["price"], order["currency"], order["credits"], order["bonusCredits"]) == (
        "paying",
        "9.90",
        "CNY",
        100,
        10,
    )
    assert made["payment"]["parameters"] == {"reference": number}
    assert ordered(http, idempotencyKey="checkout-1")["order"]["orderNo"] == number
    assert data(http.get(f"/recharge/orders/{number}", headers=USER)) == order
    with Ledger.connect(url) as operator:
        operator.settle_order(number, transaction_id="transfer 7", amount="9.90")
    assert data(http.get(f"/recharge/orders/{number}", headers=USER))["status"] == "paid"
    assert data(http.get("/credits/balance", headers=USER))["available"] == 110
    listed = data(http.get("/recharge/orders", headers=USER, params={"status": "paid"}))
    assert [each["orderNo"] for each in listed["items"]] == [number]

    asked = {"amount": "4.95", "reason": "用不完", "idempotencyKey": "back-1"}
    for _ in range(2):
        back = data(http.post(f"/recharge/orders/{number}/refund", headers=ADMIN, json=asked))
        assert (back["status"], back["refunded"]) == ("partially_refunded", "4.95")
        assert [(each["amount"], each["status"]) for each in back["refunds"]] == [("4.95", "succeeded")]
    assert data(http.get("/credits/balance", headers=USER))["available"] == 55
    too_much = error(http.post(f"/recharge/orders/{number}/refund", headers=ADMIN, json={"amount": "9.90"}), 409)
    assert too_much["error"] == "invalid_state"
    with Ledger.connect(url) as operator:
        assert operator.order(number).refunds[0].operator == "ops"
        assert operator.verify().is_clean


def test_orders_are_their_users(http: TestClient) -> None:
    number = ordered(http)["order"]["orderNo"]
    assert data(http.get("/recharge/orders", headers=OTHER))["items"] == []
    for method, path in (("GET", ""), ("POST", "/pay"), ("POST", "/close")):
        answer = http.request(method, f"/recharge/orders/{number}{path}", headers=OTHER)
        assert error(answer, 404)["what"] == "order"
    unknown = error(http.get(f"/recharge/orders/{'0' * 32}", headers=USER), 404)
    assert unknown["what"] == "order"
    assert error(http.get("/recharge/orders", headers={}), 401)["error"] == "unauthenticated"
    assert error(http.post(f"/recharge/orders/{number}/refund", headers=USER, json={}), 403)["error"] == "forbidden"
    assert error(http.post("/recharge/reconcile", headers=USER), 403)["error"] == "forbidden"
    assert data(http.get(f"/recharge/orders/{number}", headers=USER))["userId"] == str(MIA)


def test_an_order_is_given_up(http: TestClient) -> None:
    number = ordered(http)["order"]["orderNo"]
    for _ in range(2):
        assert data(http.post(f"/recharge/orders/{number}/close", headers=USER))["status"] == "closed"
    refused = error(http.post(f"/recharge/orders/{number}/pay", headers=USER, json={"method": "native"}), 409)
    assert (refused["error"], refused["state"], refused["orderNo"]) == ("invalid_state", "closed", number)
    counts = data(http.post("/recharge/reconcile", headers=ADMIN, json={"minAge": 0}))
    assert counts == {"orders": 0, "settled": 0, "closed": 0, "refunds": 0, "failed": 0}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"channel": "paypal"}, "channel"),
        ({"packageId": "no"}, "packageId"),
        ({"chanel": "manual"}, "chanel"),
        ({"method": ""}, "method"),
    ],
)
def test_bad_orders_are_named(http: TestClient, wrong: dict[str, Any], field: str) -> None:
    asked = {"packageId": cheapest(http)["packageId"], "channel": "manual", **wrong}
    assert error(http.post("/recharge/orders", headers=USER, json=asked), 422)["field"] == field
    assert data(http.get("/recharge/orders", headers=USER))["items"] == []


def test_what_channels_send(http: TestClient) -> None:
    """Nobody signs in, and nothing is believed."""
    assert error(http.post("/recharge/notify/paypal", content=b"paid!"), 404)["error"] == "not_found"
    refused = http.post("/recharge/notify/manual", content=b"paid!")
    assert (refused.status_code, refused.text) == (400, "")
    assert http.post("/recharge/notify/manual", content=b"x" * (256 * 1024 + 1)).status_code == 413


def test_an_account_has_so_many_open_orders(http: TestClient, url: str) -> None:
    for _ in range(20):
        ordered(http)
    asked = {"packageId": cheapest(http)["packageId"], "channel": "manual"}
    refused = error(http.post("/recharge/orders", headers=USER, json=asked), 409)
    assert (refused["error"], refused["openOrders"], refused["limit"]) == ("invalid_state", 20, 20)
    # Another account has its own, and so has another setting.
    assert http.post("/recharge/orders", headers=OTHER, json=asked).status_code == 200
    user = data(http.get("/credits/balance", headers=USER))["userId"]
    with Ledger.connect(url, max_open_orders=21) as ledger:
        ledger.create_order(user, asked["packageId"], "manual")
        with pytest.raises(InvalidStateError) as full:
            ledger.create_order(user, asked["packageId"], "manual")
    assert (full.value.open_orders, full.value.limit, full.value.state) == (21, 21, None)
    with pytest.raises(ValidationError, match="max_open_orders"):
        Ledger.connect(url, max_open_orders=0)


def test_one_payment_settles_one_order(http: TestClient, url: str) -> None:
    first, second = (ordered(http)["order"]["orderNo"] for _ in range(2))
    with Ledger.connect(url) as operator:
        operator.settle_order(first, transaction_id="transfer 7", amount="9.90")
        with pytest.raises(PaymentVerificationError, match=first) as refused:
            operator.settle_order(second, transaction_id="transfer 7", amount="9.90")
        assert refused.value.order_no == second
        operator.settle_order(second, transaction_id="transfer 8", amount="9.90")
        assert operator.verify().is_clean
