"""The example backend sells packages, end to end: real processes, and channels that sign, retry and misbehave."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from backend.stack import HERE, Stack
from conftest import eventually
from standins import STAND_INS
from test_backend import Client, servers

from jointo_credits import Ledger

#: What the cheapest package costs, and brings with its bonus.
PRICE, CREDITS = "9.90", 110
WAYS = {"wechat": "native", "alipay": "page"}
#: Beat asks about orders that are a minute old, and no order can be closed earlier.
QUICK = {"BACKEND_ORDER_TTL": "60", "BACKEND_RECONCILE_EVERY": "1"}


@pytest.fixture(params=["sqlite", "postgres"])
def stack(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Stack]:
    """Everything, running, and books that fit at the end."""
    given = servers(request)
    stack = Stack(tmp_path / "backend", more=QUICK, **given)
    try:
        stack.start()
        yield stack
    finally:
        stack.stop()
    with Ledger.connect(given.get("credits_url", f"sqlite:///{stack.folder}/credits.db")) as books:
        assert books.verify().is_clean
        assert books.trial_balance().is_balanced


class Customer:
    """Somebody who buys, with a browser and a wallet."""

    def __init__(self, stack: Stack, name: str, closing: ExitStack) -> None:
        self.api, self.user_id = Client.signed_in(stack, name, closing)
        self.wallet = closing.enter_context(httpx.Client(base_url=stack.wallet_url, timeout=30))

    def orders(self, channel: str) -> Any:
        """Orders the cheapest package."""
        package = min(self.api.get("/credits/packages")["items"], key=lambda package: float(package["price"]))
        assert package["price"] == PRICE
        asked = {"packageId": package["packageId"], "channel": channel, "method": WAYS[channel]}
        made = self.api.post("/recharge/orders", asked)
        assert (made["order"]["status"], made["order"]["price"]) == ("paying", PRICE)
        return made

    def pays(self, made: Any, *mishaps: str) -> str:
        """Pays an order; its number."""
        answer = self.wallet.post("/pay", params={"mishap": mishaps}, json=made["payment"]["parameters"])
        assert answer.status_code == 200, answer.text
        paid = answer.json()
        assert (paid["orderNo"], paid["paid"]) == (made["order"]["orderNo"], PRICE)
        return made["order"]["orderNo"]

    def status(self, order_no: str) -> str:
        status: str = self.api.get(f"/recharge/orders/{order_no}")["status"]
        return status

    def sees(self, order_no: str, status: str, seconds: float = 60) -> None:
        """Waits for it, as a page does."""
        eventually(lambda: self.status(order_no) == status, f"order {order_no} is {status}", seconds)

    @property
    def available(self) -> int:
        available: int = self.api.get("/credits/balance")["available"]
        return available

    def grants(self) -> Counter[str]:
        """How often each order has granted something."""
        entries = self.api.get("/credits/transactions", kind="grant", limit=100)["items"]
        return Counter(entry["reference"] for entry in entries)


def told(stack: Stack, about: str) -> list[tuple[str, str]]:
    """What the channels have told, in order, and how it was answered: of what this pattern matches as a whole."""
    lines = re.findall(r"^\S+ \S+ ((?:payment|refund) .*): (taken|refused|lost)\b", stack.log("channels"), re.MULTILINE)
    return [(what, became) for what, became in lines if re.fullmatch(about, what)]


def taken(stack: Stack, about: str) -> list[str]:
    """What of it was taken, in order."""
    return [what for what, became in told(stack, about) if became == "taken"]


def test_packages_are_sold(stack: Stack, closing: ExitStack) -> None:
    # Nobody hears of these: beat has to ask, when they are a minute old. Until then there is enough to do.
    eve = Customer(stack, "eve", closing)
    lost = [eve.pays(eve.orders(channel), "lost") for channel in WAYS]
    unpaid = {channel: eve.orders(channel) for channel in WAYS}
    for channel in WAYS:
        _buys(stack, Customer(stack, f"a friend of {channel}", closing), channel, closing)

    for number in lost:
        eve.sees(number, "paid", 240)
        assert told(stack, f"payment {number}.*") == [(f"payment {number}", "lost")]
    for made in unpaid.values():
        eve.sees(made["order"]["orderNo"], "closed", 240)
    assert eve.available == 2 * CREDITS
    assert eve.grants() == dict.fromkeys(lost, 2)
    # The channel was told so.
    refused = eve.wallet.post("/pay", json=unpaid["wechat"]["payment"]["parameters"])
    assert (refused.status_code, refused.json()["detail"]) == (409, "the trade is closed")


def _buys(stack: Stack, mia: Customer, channel: str, closing: ExitStack) -> None:
    """Everything that a customer does with one channel."""
    admin = Client(stack, "admin")
    closing.enter_context(admin.http)
    video = {"prompt": "雪落在山上", "seconds": 5}
    assert mia.api.refused(402, "/ai/videos", video)["error"] == "insufficient_credits"
    first = mia.pays(mia.orders(channel))
    mia.sees(first, "paid")
    assert mia.available == CREDITS
    done = mia.api.ends(mia.api.post("/ai/videos", video))
    charged = done["credits"]["charged"]
    assert (done["status"], mia.available) == ("succeeded", CREDITS - charged)
    assert charged > 0

    # Each is told of twice at once, after forgeries; and of the second one only after the third.
    second = mia.pays(mia.orders(channel), "late", "twice", "forged")
    third = mia.pays(mia.orders(channel), "twice", "forged")
    of_both = f"payment ({second}|{third})"
    eventually(lambda: taken(stack, of_both).count(f"payment {second}") >= 2, "both are told of twice")
    assert list(Counter(taken(stack, of_both))) == [f"payment {third}", f"payment {second}"]
    assert min(Counter(taken(stack, of_both)).values()) >= 2
    forged = told(stack, f"{of_both}, forged, .*")
    assert len(forged) > 20
    assert {became for _, became in forged} == {"refused"}
    assert [mia.status(number) for number in (first, second, third)] == ["paid"] * 3
    assert mia.available == 3 * CREDITS - charged

    # An administrator sends the money back; the credits go with it.
    back = admin.post(f"/recharge/orders/{third}/refund", {"reason": "不想要了"})
    assert (back["status"], back["refunded"]) == ("refunded", PRICE)
    assert mia.available == 2 * CREDITS - charged
    eventually(lambda: taken(stack, f"refund {third}R1") != [], "the refund is told of")

    # The notice of a payment that comes when the order is refunded: the order was given up, and found to be paid.
    fourth = mia.pays(mia.orders(channel), "late")
    assert mia.api.post(f"/recharge/orders/{fourth}/close", None)["status"] == "paid"
    assert mia.available == 3 * CREDITS - charged
    assert admin.post(f"/recharge/orders/{fourth}/refund", {})["status"] == "refunded"
    eventually(lambda: f"payment {fourth}" in taken(stack, f".* {fourth}.*"), "both are told of")
    assert list(Counter(taken(stack, f".* {fourth}.*"))) == [f"refund {fourth}R1", f"payment {fourth}"]
    assert mia.status(fourth) == "refunded"
    assert mia.available == 2 * CREDITS - charged
    assert mia.grants() == dict.fromkeys((first, second, third, fourth), 2)


def test_the_backend_is_down_while_many_pay(postgres: str, broker: str, tmp_path: Path, closing: ExitStack) -> None:
    """By chance some notices are lost or come twice; the others come when the backend is back."""
    stack = Stack(
        tmp_path / "backend",
        credits_url=postgres,
        broker_url=broker,
        mishaps={"lost": 0.3, "twice": 0.5},
        more={"PAY_SEED": "7", "BACKEND_RECONCILE_EVERY": "3600"},
    )
    try:
        stack.start()
        admin = Client(stack, "admin")
        closing.enter_context(admin.http)
        customers = [Customer(stack, f"customer {n}", closing) for n in range(4)]
        orders = [(customer, customer.orders(channel)) for customer in customers for channel in list(STAND_INS) * 4]
        stack.kill("api")
        numbers = {customer.pays(made): customer for customer, made in orders}
        eventually(lambda: "refused" in dict(told(stack, "payment .*")).values(), "nobody takes the notices")
        assert taken(stack, "payment .*") == []
        stack.run("api")
        stack.wait_for("api")

        lost = {what.removeprefix("payment ") for what, became in told(stack, "payment .*") if became == "lost"}
        for number in numbers.keys() - lost:
            numbers[number].sees(number, "paid", 120)
        assert {numbers[number].status(number) for number in lost} == {"paying"}
        assert admin.post("/recharge/reconcile", {"minAge": 0})["settled"] == len(lost)
        for customer in customers:
            assert customer.available == 8 * CREDITS
            assert set(customer.grants().values()) == {2}
            assert len(customer.grants()) == 8
        assert max(Counter(taken(stack, "payment .*")).values()) >= 2
    finally:
        stack.stop()
    with Ledger.connect(postgres) as books:
        assert books.verify().is_clean


def test_the_commands_that_it_prints(tmp_path: Path) -> None:
    """Whoever pastes them buys a package and has it refunded; the environment says what goes wrong meanwhile."""
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    environment |= {"AI_FAIL": "1", "AI_SLOW": "0", "AI_SILENT": "0", "PAY_TWICE": "1", "PAY_FORGED": "1"}
    printed, folder = tmp_path / "printed", tmp_path / "backend"
    with open(printed, "wb") as out:
        command = [sys.executable, "-m", "backend", "--folder", str(folder), "--port", "0"]
        backend = subprocess.Popen(command, env=environment, cwd=tmp_path, stdout=out, stderr=out)
    try:
        eventually(lambda: "Ctrl-C ends it" in printed.read_text() or backend.poll() is not None, "it runs", 120)
        assert backend.poll() is None, printed.read_text()
        commands = "\n".join(re.findall("^  (.*)$", printed.read_text(), re.MULTILINE))
        ran = subprocess.run(["bash", "-euo", "pipefail", "-c", commands], capture_output=True, text=True, timeout=300)
        assert ran.returncode == 0, ran.stderr
        assert '"paid":"9.90"' in ran.stdout
        assert '"credits":40' in ran.stdout
        assert '"source":"gift"' in ran.stdout
        assert '"status":"refunded"' in ran.stdout
        user = re.findall('"userId":"([^"]*)"', ran.stdout)[0]
        with Ledger.connect(f"sqlite:///{folder}/credits.db") as books:
            # The credits of the video, which fails, are back, and the order's are gone.
            eventually(lambda: books.balance(user).available == 500, "nothing is left but the gift")
            assert books.verify().is_clean
    finally:
        backend.send_signal(signal.SIGINT)
        ended = backend.wait(60)
    assert (ended, printed.read_text().splitlines()[-1]) == (0, "ending")
    log = (folder / "channels.log").read_text()
    assert len(re.findall("payment .*, forged, .*: refused", log)) > 10
    assert len(re.findall("payment .*: taken", log)) >= 2
