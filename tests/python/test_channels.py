"""WeChat Pay and Alipay from the order to the refund, against stand-ins that believe and sign as the channels do."""

from __future__ import annotations

import asyncio
import base64
import importlib
import json
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

import alipay as their_alipay
import asyncpg
import httpx2 as httpx
import pytest
import rsa
import uvicorn
import wechatpayv3 as their_wechat
from conftest import eventually
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from standins import STAND_INS, AlipayStandIn, StandIn, WeChatStandIn
from standins.channel import Answer, Notice, Trade
from standins.keys import certificate, certificate_pem, has_signed, key_of, private_pem, public_pem
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from test_http import ADMIN, MIA, USER, current_user, data, error, require_admin

from jointo_credits import (
    Alipay,
    AsyncLedger,
    InvalidStateError,
    Ledger,
    ManualClock,
    Order,
    PaymentChannelError,
    PaymentVerificationError,
    UnavailableError,
    ValidationError,
    WeChatPay,
)
from jointo_credits.fastapi import recharge_router

START = datetime(2026, 11, 22, 8, tzinfo=UTC)
#: What the cheapest package costs and brings: 100 credits and 10 on top.
PRICE, CREDITS = Decimal("9.90"), 110
#: In which way a payer is asked here.
WAYS = {"wechat": "native", "alipay": "page"}


def configured(channel: StandIn, **changes: Any) -> WeChatPay | Alipay:
    """The library's channel that talks with a stand-in."""
    return {"wechat": WeChatPay, "alipay": Alipay}[channel.name](**{**channel.arguments(), **changes})


def application(url: str, channel: StandIn, **settings: Any) -> FastAPI:
    """An application that has the routes about orders, and nothing else."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with await AsyncLedger.connect(url, channels=[configured(channel)], **settings) as ledger:
            app.state.ledger = ledger
            yield

    def ledger(request: Request) -> AsyncLedger:
        found: AsyncLedger = request.app.state.ledger
        return found

    app = FastAPI(lifespan=lifespan)
    app.include_router(
        recharge_router(ledger, current_user=current_user, require_admin=require_admin), prefix="/recharge"
    )
    return app


class Shop:
    """A backend that sells packages through one channel, and its operator. Its clock stands still until it is moved,
    and is the channel's clock too."""

    def __init__(self, url: str, channel: StandIn, stack: ExitStack, **settings: Any) -> None:
        self.channel = channel
        self.clock = ManualClock(START)
        channel.clock = self.clock.now
        settings["clock"] = self.clock
        self.books = stack.enter_context(Ledger.connect(url, channels=[configured(channel)], **settings))
        self.books.migrate()
        self.books.seed_catalog()
        self.http = stack.enter_context(TestClient(application(url, channel, **settings)))

    def ordered(self, way: str | None = None) -> tuple[Order, dict[str, str]]:
        """An order of the cheapest package, and what its payer gets."""
        package = min(self.books.packages(), key=lambda package: package.price)
        asked = {"packageId": str(package.id), "channel": self.channel.name, "method": way or WAYS[self.channel.name]}
        made = data(self.http.post("/recharge/orders", headers=USER, json=asked))
        return self.order(made["order"]["orderNo"]), made["payment"]["parameters"]

    def paid(self) -> tuple[Order, Trade]:
        """An order that was paid and notified of."""
        order, parameters = self.ordered()
        trade = self.channel.pay(parameters)
        self.takes(self.channel.payment(order.order_no))
        return self.order(order.order_no), trade

    def order(self, order_no: str) -> Order:
        return self.books.order(order_no)

    def sent(self, notice: Notice) -> httpx.Response:
        return self.http.post(f"/recharge/notify/{self.channel.name}", headers=notice.headers, content=notice.body)

    def takes(self, notice: Notice) -> None:
        answer = self.sent(notice)
        assert self.channel.is_taken(answer.status_code, answer.content), answer.text

    def refuses(self, notice: Notice) -> None:
        """It has to be sent again, and changes nothing."""
        before = self.state()
        answer = self.sent(notice)
        assert not self.channel.is_taken(answer.status_code, answer.content)
        assert self.state() == before

    def state(self) -> Any:
        """All there is to know about orders and the user."""
        return list(self.books.orders()), self.books.balance(MIA), list(self.books.transactions(MIA))

    @property
    def available(self) -> int:
        return self.books.balance(MIA).available


@pytest.fixture(params=list(STAND_INS))
def channel(request: pytest.FixtureRequest) -> Iterator[StandIn]:
    """Each channel, with its server."""
    with STAND_INS[request.param]() as channel:
        yield channel


@contextmanager
def opened(url: str, channel: StandIn, **settings: Any) -> Iterator[Shop]:
    with ExitStack() as stack:
        shop = Shop(url, channel, stack, **settings)
        yield shop
        assert channel.disbelieved == []
        assert shop.books.verify().is_clean


@pytest.fixture
def shop(url: str, channel: StandIn) -> Iterator[Shop]:
    with opened(url, channel) as shop:
        yield shop


@pytest.fixture
def wechat_shop(sqlite: str) -> Iterator[Shop]:
    with WeChatStandIn() as channel, opened(sqlite, channel) as shop:
        yield shop


@pytest.fixture
def alipay_shop(sqlite: str) -> Iterator[Shop]:
    with AlipayStandIn() as channel, opened(sqlite, channel) as shop:
        yield shop


# --- notifications


def test_a_payment_is_granted_once(shop: Shop) -> None:
    order, parameters = shop.ordered()
    assert (order.status, order.price, order.expires_at) == ("paying", PRICE, START + timedelta(minutes=30))
    shop.clock.advance(60)
    trade = shop.channel.pay(parameters)
    assert trade.fen == 990
    first = shop.channel.payment(order.order_no)
    shop.takes(first)
    assert shop.available == CREDITS
    paid = shop.order(order.order_no)
    assert (paid.status, paid.transaction_id) == ("paid", trade.trade_no)
    assert paid.paid_at == START + timedelta(minutes=1)
    # The same again, and another one of the same payment.
    before = shop.state()
    for notice in (first, first, shop.channel.payment(order.order_no)):
        shop.takes(notice)
    assert shop.state() == before
    assert shop.books.reconcile_orders(min_age=0).orders == 0


def test_what_is_not_genuine_is_refused(shop: Shop) -> None:
    order, parameters = shop.ordered()
    shop.channel.pay(parameters)
    notice = shop.channel.payment(order.order_no)
    for forged in shop.channel.forgeries(notice).values():
        shop.refuses(forged)
    assert shop.available == 0
    # None of them was in the way of the real one; after it they are as little worth.
    shop.takes(notice)
    assert shop.available == CREDITS
    for forged in shop.channel.forgeries(notice).values():
        shop.refuses(forged)


def test_what_is_not_about_what_was_sold_is_refused(shop: Shop) -> None:
    order, parameters = shop.ordered()
    trade = shop.channel.pay(parameters)
    lies: list[dict[str, Any]] = [
        {"fen": 989},
        {"fen": 991},
        {"fen": 1},
        {"app": "2021000000000001"},
        {"merchant": "2088000000000001"},
        {"order_no": "0" * 32},
        {"order_no": "ORDER-1"},
        {"order_no": order.order_no.upper()},
        {"order_no": str(uuid.UUID(order.order_no))},
    ]
    if shop.channel.name == "wechat":
        lies.append({"currency": "USD"})
    for lie in lies:
        shop.refuses(shop.channel.payment(order.order_no, **lie))
    # A price of nothing is as wrong as any other.
    shop.refuses(shop.channel.payment(order.order_no, fen=0))
    shop.takes(shop.channel.payment(order.order_no))
    # A second payment of the same order is somebody's money: it is not swallowed.
    shop.refuses(shop.channel.payment(order.order_no, trade_no=trade.trade_no + "9"))
    assert shop.available == CREDITS


def test_each_order_has_its_own_payment(shop: Shop) -> None:
    (first, parameters), (second, _) = shop.ordered(), shop.ordered()
    shop.channel.pay(parameters)
    shop.takes(shop.channel.payment(first.order_no))
    assert [shop.order(each.order_no).status for each in (first, second)] == ["paid", "paying"]
    assert shop.available == CREDITS


def test_an_order_of_another_channel_is_not_settled(sqlite: str) -> None:
    """Whoever may sign for one channel can't say that another one's orders are paid."""
    with (
        WeChatStandIn() as wechat,
        AlipayStandIn() as alipay,
        Ledger.connect(sqlite, channels=[configured(wechat), configured(alipay)]) as books,
    ):
        books.migrate()
        books.seed_catalog()
        package = min(books.packages(), key=lambda package: package.price)
        orders = {name: books.create_order(MIA, package.id, name) for name in ("wechat", "alipay")}
        for mine, other in ((wechat, "alipay"), (alipay, "wechat")):
            own = orders[mine.name].order_no
            mine.pay(books.pay_order(own, method=WAYS[mine.name]).parameters)
            foreign = mine.payment(own, order_no=orders[other].order_no)
            with pytest.raises(PaymentVerificationError, match=f"paid through {other}"):
                books.handle_notification(mine.name, foreign.headers, foreign.body)
        # Nor is one channel's notification another's.
        notice = wechat.payment(orders["wechat"].order_no)
        with pytest.raises(PaymentVerificationError):
            books.handle_notification("alipay", notice.headers, notice.body)
        assert books.balance(MIA).available == 0


def test_a_refund_is_never_taken_for_a_payment(shop: Shop) -> None:
    """Nor the other way round: the notice of a refund overtakes that of its payment, which was found by asking."""
    order, parameters = shop.ordered()
    shop.channel.pay(parameters)
    number = order.order_no
    assert shop.books.reconcile_orders(min_age=0).settled == 1
    shop.books.refund_order(number, amount="4.95")
    refunded = shop.channel.refunded(f"{number}R1")
    for notice in (refunded, shop.channel.payment(number), refunded):
        shop.takes(notice)
    assert shop.available == CREDITS - 55
    assert shop.order(number).status == "partially_refunded"


def test_a_refund_that_nobody_asked_for_here_is_not_believed(shop: Shop) -> None:
    (order, parameters), (unpaid, _) = shop.ordered(), shop.ordered()
    shop.channel.pay(parameters)
    shop.books.reconcile_orders(min_age=0)
    shop.books.refund_order(order.order_no, amount="4.95")
    for lie in ({"order_no": unpaid.order_no}, {"order_no": "0" * 32}, {"refund_no": f"{order.order_no}R2"}):
        shop.refuses(shop.channel.refunded(f"{order.order_no}R1", **lie))
    if shop.channel.name == "wechat":
        shop.refuses(shop.channel.refunded(f"{order.order_no}R1", fen=990))
        shop.refuses(shop.channel.refunded(f"{order.order_no}R1", merchant="1900000110"))
    else:
        shop.refuses(shop.channel.refunded(f"{order.order_no}R1", app="2021000000000001"))
    assert shop.available == CREDITS - 55


def test_an_old_notice_is_refused_and_a_new_one_of_it_taken(wechat_shop: Shop) -> None:
    shop = wechat_shop
    order, parameters = shop.ordered()
    shop.channel.pay(parameters)
    recorded = shop.channel.payment(order.order_no)
    shop.clock.advance(301)
    shop.refuses(recorded)
    shop.takes(shop.channel.payment(order.order_no))
    shop.refuses(recorded)
    assert shop.available == CREDITS


def test_a_genuine_header_that_came_twice_is_refused(wechat_shop: Shop) -> None:
    """Of two, a proxy before us could have looked at the other one."""
    shop = wechat_shop
    order, parameters = shop.ordered()
    shop.channel.pay(parameters)
    notice = shop.channel.payment(order.order_no)
    signed = [name for name in notice.headers if name.lower().startswith("wechatpay-")]
    assert len(signed) >= 4
    before = shop.state()
    for name in signed:
        pairs = [*notice.headers.items(), (name.upper(), notice.headers[name])]
        answer = shop.http.post("/recharge/notify/wechat", headers=pairs, content=notice.body)
        assert not shop.channel.is_taken(answer.status_code, answer.content), name
        # So does the library itself, however its host hands them over.
        with pytest.raises(PaymentVerificationError, match="came twice"):
            shop.books.handle_notification("wechat", dict(pairs), notice.body)
    assert shop.state() == before
    shop.takes(notice)
    assert shop.available == CREDITS


def test_an_old_notice_changes_nothing(alipay_shop: Shop) -> None:
    """Alipay signs no time that could be checked: the order's state stands against it."""
    shop = alipay_shop
    order, _ = shop.paid()
    recorded = shop.channel.payment(order.order_no)
    shop.books.refund_order(order.order_no)
    shop.clock.advance(timedelta(days=300))
    before = shop.state()
    shop.takes(recorded)
    assert shop.state() == before
    assert shop.available == 0


def test_notices_that_are_nothing_to_the_books(shop: Shop) -> None:
    order, parameters = shop.ordered()
    if isinstance(shop.channel, WeChatStandIn):
        told = [shop.channel.envelope("COUPON.USE", "coupon", {"stock_id": "9865888"})]
    else:
        assert isinstance(shop.channel, AlipayStandIn)
        shop.channel.pay(parameters)
        told = [shop.channel.payment(order.order_no, event=event) for event in ("WAIT_BUYER_PAY", "TRADE_CLOSED")]
    before = shop.state()
    for notice in told:
        shop.takes(notice)
    assert shop.state() == before


def test_the_finished_trade_is_a_paid_one(alipay_shop: Shop) -> None:
    order, parameters = alipay_shop.ordered()
    alipay_shop.channel.pay(parameters)
    alipay_shop.takes(alipay_shop.channel.payment(order.order_no, event="TRADE_FINISHED"))
    alipay_shop.takes(alipay_shop.channel.payment(order.order_no))
    assert alipay_shop.available == CREDITS


@pytest.mark.parametrize("way", ["native", "jsapi", "h5", "qr"])
def test_every_way_to_pay(sqlite: str, way: str) -> None:
    with AlipayStandIn() if way == "qr" else WeChatStandIn() as channel, opened(sqlite, channel) as shop:
        package = min(shop.books.packages(), key=lambda package: package.price)
        order = shop.books.create_order(MIA, package.id, channel.name)
        asked = shop.books.pay_order(order.order_no, method=way, payer="oUpF8uMuAJO_M2pxb1", payer_ip="14.23.150.211")
        parameters = asked.parameters
        if way == "jsapi":
            # What the payer's WeChat checks before it shows a price.
            lines = [parameters[name] for name in ("appId", "timeStamp", "nonceStr", "package")]
            message = "".join(f"{line}\n" for line in lines).encode()
            assert has_signed("wechat merchant", message, parameters["paySign"])
        # Asked for once more it is the same order.
        assert shop.books.pay_order(
            order.order_no, method=way, payer="oUpF8uMuAJO_M2pxb1", payer_ip="14.23.150.211"
        ).parameters
        channel.pay(parameters)
        shop.takes(channel.payment(order.order_no))
        assert shop.available == CREDITS


def test_both_keys_while_the_channel_moves_from_one_to_the_other(sqlite: str) -> None:
    """For seven days WeChat Pay signs with the platform certificate or with the public key: the serial says which."""
    with WeChatStandIn() as channel:
        books_channel = WeChatPay(**channel.arguments(), certificates=[certificate_pem("wechat certificate", "wechat")])
        serial = f"{certificate('wechat certificate', 'wechat').serial_number:X}"
        serial = serial.zfill(len(serial) + len(serial) % 2)
        with Ledger.connect(sqlite, channels=[books_channel]) as books:
            books.migrate()
            books.seed_catalog()
            package = min(books.packages(), key=lambda package: package.price)
            for who, name, good in (
                ("wechat certificate", serial, True),
                ("wechat", channel.KEY_ID, True),
                ("wechat", serial, False),
                ("wechat certificate", channel.KEY_ID, False),
            ):
                order = books.create_order(MIA, package.id, "wechat")
                channel.pay(books.pay_order(order.order_no).parameters)
                notice = channel.seal(channel.payment(order.order_no).body, who=who, serial=name)
                if good:
                    assert books.handle_notification("wechat", notice.headers, notice.body).event == "paid"
                else:
                    with pytest.raises(PaymentVerificationError):
                        books.handle_notification("wechat", notice.headers, notice.body)
            assert books.balance(MIA).available == 2 * CREDITS


# --- over real connections


class Gate:
    """What stands before a backend: it is down for some requests, and loses the answers of some."""

    def __init__(self, app: ASGIApp, *mishaps: str) -> None:
        self._app = app
        self._mishaps = list(mishaps)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        mishap = self._mishaps.pop(0) if scope["type"] == "http" and self._mishaps else ""
        if mishap == "down":
            await PlainTextResponse("down", 503)(scope, receive, send)
        elif mishap == "answer lost":

            async def swallow(message: Any) -> None:
                """Nobody hears it."""

            await self._app(scope, receive, swallow)
            await PlainTextResponse("too late", 504)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


@contextmanager
def served(listener: socket.socket, app: ASGIApp) -> Iterator[None]:
    """A real server in a thread."""
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, ws="none", lifespan="on", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        eventually(lambda: server.started or not thread.is_alive(), "the server started")
        yield
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize(
    ("mishaps", "how", "attempts"),
    [
        ((), {}, 1),
        ((), {"copies": 8}, 1),
        ((), {"lost": 3}, 4),
        (("down", "down"), {}, 3),
        (("answer lost", "down", "answer lost"), {}, 4),
    ],
    ids=["at once", "eight times", "lost on the way", "backend down", "answers lost"],
)
def test_the_channel_itself_notifies(
    url: str, channel: StandIn, mishaps: tuple[str, ...], how: dict[str, int], attempts: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/recharge"
        channel.notify_url = f"{address}/notify/{channel.name}"
        books = stack.enter_context(Ledger.connect(url, channels=[configured(channel)]))
        books.migrate()
        books.seed_catalog()
        package = min(books.packages(), key=lambda package: package.price)
        order = books.create_order(MIA, package.id, channel.name)
        trade = channel.pay(books.pay_order(order.order_no, method=WAYS[channel.name]).parameters)
        stack.enter_context(served(listener, Gate(application(url, channel), *mishaps)))
        deliveries = channel.deliver(lambda: channel.payment(order.order_no), **how)
        eventually(lambda: deliveries.ended, "the deliveries ended")
        assert deliveries.taken
        assert deliveries.attempts == attempts
        assert books.order(order.order_no).transaction_id == trade.trade_no
        assert books.balance(MIA).available == CREDITS
        assert books.verify().is_clean


def test_what_is_refused_is_sent_to_the_end_of_the_schedule(sqlite: str, channel: StandIn) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, ExitStack() as stack:
        channel.notify_url = f"http://127.0.0.1:{listener.getsockname()[1]}/recharge/notify/{channel.name}"
        books = stack.enter_context(Ledger.connect(sqlite, channels=[configured(channel)]))
        books.migrate()
        books.seed_catalog()
        package = min(books.packages(), key=lambda package: package.price)
        order = books.create_order(MIA, package.id, channel.name)
        channel.pay(books.pay_order(order.order_no, method=WAYS[channel.name]).parameters)
        stack.enter_context(served(listener, application(sqlite, channel)))
        deliveries = channel.deliver(lambda: channel.payment(order.order_no, fen=1))
        eventually(lambda: deliveries.ended, "the deliveries ended")
        assert not deliveries.taken
        assert len(deliveries.answers) == {"wechat": 16, "alipay": 8}[channel.name]
        assert books.balance(MIA).available == 0
        # Nobody is notified of it any more; asking the channel finds the real payment.
        assert books.reconcile_orders(min_age=0).settled == 1
        assert books.balance(MIA).available == CREDITS


# --- reconciliation


def test_a_lost_callback_is_found(shop: Shop) -> None:
    orders = [shop.ordered() for _ in range(3)]
    for _, parameters in orders[:2]:
        shop.channel.pay(parameters)
    assert shop.available == 0
    # Too young: the callback may be on its way.
    assert shop.books.reconcile_orders(min_age=60).orders == 0
    shop.clock.advance(61)
    done = data(shop.http.post("/recharge/reconcile", headers=ADMIN, json={"minAge": 60}))
    assert done == {"orders": 3, "settled": 2, "closed": 0, "refunds": 0, "failed": 0}
    assert shop.available == 2 * CREDITS
    # The callback comes after all.
    for order, _ in orders[:2]:
        shop.takes(shop.channel.payment(order.order_no))
    assert shop.available == 2 * CREDITS


def test_who_pays_again_after_a_lost_callback_need_not(wechat_shop: Shop) -> None:
    """The channel says that it is paid, so it is."""
    order, parameters = wechat_shop.ordered()
    wechat_shop.channel.pay(parameters)
    with pytest.raises(InvalidStateError, match="paid already") as refused:
        wechat_shop.books.pay_order(order.order_no)
    assert (refused.value.order_no, refused.value.state) == (order.order_no, "paid")
    assert wechat_shop.available == CREDITS


def test_reconciliation_outlives_what_goes_wrong(shop: Shop) -> None:
    order, parameters = shop.ordered()
    shop.channel.pay(parameters)
    for mishap in ("hang up", "probe", "busy"):
        shop.channel.mishaps.append(mishap)
        done = shop.books.reconcile_orders(min_age=0)
        assert (done.orders, done.settled, done.failed) == (1, 0, 1), mishap
        assert done.problems[0].order_no == order.order_no
        assert shop.available == 0
    assert shop.books.reconcile_orders(min_age=0).settled == 1
    assert shop.available == CREDITS


def test_what_nobody_pays_is_closed(shop: Shop) -> None:
    order, parameters = shop.ordered()
    if isinstance(shop.channel, AlipayStandIn):
        shop.channel.come(parameters)
    shop.clock.advance(timedelta(minutes=29))
    done = shop.books.reconcile_orders(min_age=0)
    assert (done.orders, done.closed) == (1, 0)
    shop.clock.advance(timedelta(minutes=1))
    done = shop.books.reconcile_orders(min_age=0)
    assert (done.orders, done.closed, done.failed) == (1, 1, 0)
    assert shop.order(order.order_no).status == "closed"
    assert shop.channel.trades[order.order_no].status == "closed"
    assert shop.books.reconcile_orders(min_age=0).orders == 0
    with pytest.raises(InvalidStateError):
        shop.books.pay_order(order.order_no)


class UnsignedAlipay(AlipayStandIn):
    """Its gateway has not looked at our charset when it says no: in GBK, and without a signature."""

    def _no(self, given: dict[str, str], reason: str) -> Answer:
        said = {"code": "40004", "msg": "Business Failed", "sub_code": reason, "sub_msg": "不行"}
        body = json.dumps({given["method"].replace(".", "_") + "_response": said}, ensure_ascii=False)
        return Answer(200, {"Content-Type": "text/html;charset=GBK"}, body.encode("gbk"))


def test_an_unsigned_no_closes_an_order_and_fails_no_refund(sqlite: str) -> None:
    with UnsignedAlipay() as channel, opened(sqlite, channel) as shop:
        order, _ = shop.ordered()
        shop.clock.advance(timedelta(minutes=30))
        done = shop.books.reconcile_orders(min_age=0)
        assert (done.orders, done.closed, done.failed) == (1, 1, 0)
        assert shop.order(order.order_no).status == "closed"
        # The channel does not know of the trade any more, and does not sign that.
        paid, _ = shop.paid()
        del channel.trades[paid.order_no]
        shop.books.refund_order(paid.order_no)
        done = shop.books.reconcile_orders(min_age=0)
        assert (done.orders, done.refunds, done.failed) == (1, 0, 1)
        assert "ACQ.TRADE_NOT_EXIST" in str(done.problems)
        assert (shop.order(paid.order_no).status, shop.available) == ("refunding", 0)


def test_an_answer_about_closing_that_is_lost(shop: Shop) -> None:
    order, parameters = shop.ordered()
    if isinstance(shop.channel, AlipayStandIn):
        shop.channel.come(parameters)
    shop.clock.advance(timedelta(minutes=30))
    shop.channel.mishaps.extend(["", "hang up"])
    assert shop.books.reconcile_orders(min_age=0).failed == 1
    assert shop.channel.trades[order.order_no].status == "closed"
    assert shop.order(order.order_no).status == "paying"
    assert shop.books.reconcile_orders(min_age=0).closed == 1
    assert shop.order(order.order_no).status == "closed"


def test_an_order_that_is_paid_while_it_is_given_up(shop: Shop) -> None:
    order, parameters = shop.ordered()
    shop.channel.pay(parameters)
    closed = data(shop.http.post(f"/recharge/orders/{order.order_no}/close", headers=USER))
    assert closed["status"] == "paid"
    assert shop.available == CREDITS


@pytest.mark.parametrize("policy", ["settle", "refund"])
@pytest.mark.parametrize("told", [True, False], ids=["callback", "no callback"])
def test_a_payment_that_comes_too_late(url: str, channel: StandIn, policy: str, told: bool) -> None:
    with opened(url, channel, late_payment=policy) as shop:
        order, parameters = shop.ordered()
        shop.clock.advance(timedelta(minutes=30))
        assert shop.books.reconcile_orders(min_age=0).closed == 1
        trade = channel.pay(parameters, too_late=True)
        if not told:
            # Nobody asks about a closed order: without a callback only the bill tells of it.
            assert shop.books.reconcile_orders(min_age=0).orders == 0
            day = START - timedelta(hours=16), START + timedelta(hours=8)
            report = shop.books.reconcile_statement(channel.name, channel.bill(), since=day[0], until=day[1])
            assert [(each.kind, each.line.transaction_id) for each in report.differences if each.line] == [
                ("not_settled", trade.trade_no)
            ]
            return
        shop.takes(channel.payment(order.order_no))
        shop.takes(channel.payment(order.order_no))
        late = shop.order(order.order_no)
        assert late.transaction_id == trade.trade_no
        if policy == "settle":
            assert (late.status, shop.available) == ("paid", CREDITS)
            assert trade.refunds == []
            return
        assert (late.status, shop.available) == ("refunding", 0)
        done = shop.books.reconcile_orders(min_age=0)
        assert (done.refunds, done.failed) == (1, 0)
        assert [(refund.fen, refund.status) for refund in trade.refunds] == [(990, "succeeded")]
        assert (shop.order(order.order_no).status, shop.available) == ("refunded", 0)
        shop.takes(channel.refunded(trade.refunds[0].refund_no))
        shop.takes(channel.payment(order.order_no))
        assert (shop.order(order.order_no).status, shop.available) == ("refunded", 0)


# --- refunds


def test_all_of_it_goes_back(shop: Shop) -> None:
    order, trade = shop.paid()
    asked = {"reason": "不想要了", "idempotencyKey": "back"}
    for _ in range(2):
        back = data(shop.http.post(f"/recharge/orders/{order.order_no}/refund", headers=ADMIN, json=asked))
        assert (back["status"], back["refunded"]) == ("refunded", "9.90")
    assert [(refund.refund_no, refund.fen) for refund in trade.refunds] == [(f"{order.order_no}R1", 990)]
    shop.takes(shop.channel.refunded(f"{order.order_no}R1"))
    assert shop.available == 0
    # What is left of the payment's notices grants nothing again.
    shop.takes(shop.channel.payment(order.order_no))
    assert (shop.order(order.order_no).status, shop.available) == ("refunded", 0)


def test_it_goes_back_in_parts(shop: Shop) -> None:
    """After a part of it went back Alipay's notices still say `TRADE_SUCCESS`."""
    order, trade = shop.paid()
    number = order.order_no
    for part, (amount, left) in enumerate([("3.30", 74), ("3.30", 37), ("3.30", 0)], 1):
        refunded = shop.books.refund_order(number, amount=amount, idempotency_key=f"part-{part}")
        assert refunded.refunded == Decimal("3.30") * part
        told = shop.channel.refunded(f"{number}R{part}")
        if shop.channel.name == "alipay":
            form = dict(parse_qsl(told.body.decode()))
            assert form["trade_status"] == ("TRADE_CLOSED" if part == 3 else "TRADE_SUCCESS")
        for _ in range(2):
            shop.takes(told)
        assert abs(shop.available - left) <= 1
    assert shop.available == 0
    assert shop.order(number).status == "refunded"
    assert [refund.fen for refund in trade.refunds] == [330, 330, 330]
    with pytest.raises(InvalidStateError):
        shop.books.refund_order(number, idempotency_key="part-4")


@pytest.mark.parametrize("told", [True, False], ids=["callback", "asked"])
def test_a_refund_that_takes_its_time(shop: Shop, told: bool) -> None:
    order, _ = shop.paid()
    number, refund_no = order.order_no, f"{order.order_no}R1"
    shop.channel.refunds_at_once = False
    assert shop.books.refund_order(number, amount="4.95").status == "refunding"
    assert shop.available == CREDITS - 55
    for _ in range(2):
        assert shop.books.reconcile_orders(min_age=0).refunds == 0
        assert shop.order(number).status == "refunding"
    shop.clock.advance(timedelta(hours=1))
    shop.channel.end_refund(refund_no)
    if told:
        shop.takes(shop.channel.refunded(refund_no))
    else:
        assert shop.books.reconcile_orders(min_age=0).refunds == 1
    ended = shop.order(number)
    assert (ended.status, ended.refunds[0].status) == ("partially_refunded", "succeeded")
    assert shop.available == CREDITS - 55
    assert len(shop.channel.trades[number].refunds) == 1


def test_a_refund_that_fails_later_gives_the_credits_back(shop: Shop) -> None:
    order, trade = shop.paid()
    number, refund_no = order.order_no, f"{order.order_no}R1"
    shop.channel.refunds_at_once = False
    shop.books.refund_order(number)
    assert shop.available == 0
    if shop.channel.name == "wechat":
        # Somebody has to look after it, and then it can't be done.
        shop.takes(shop.channel.refunded(refund_no))
        pending = shop.order(number).refunds[0]
        assert (pending.status, "ABNORMAL" in (pending.problem or "")) == ("pending", True)
    shop.channel.end_refund(refund_no, "failed")
    if shop.channel.name == "wechat":
        for _ in range(2):
            shop.takes(shop.channel.refunded(refund_no))
    else:
        # Alipay notifies of refunds that succeeded, of no others.
        assert shop.books.reconcile_orders(min_age=0).refunds == 1
    failed = shop.order(number)
    assert (failed.status, failed.refunded, failed.refunds[0].status) == ("paid", 0, "failed")
    assert shop.available == CREDITS
    # And once more, with another number.
    shop.channel.refunds_at_once = True
    again = shop.books.refund_order(number, idempotency_key="again")
    assert (again.status, [refund.status for refund in again.refunds]) == ("refunded", ["failed", "succeeded"])
    assert shop.available == 0
    assert [refund.status for refund in trade.refunds] == ["failed", "succeeded"]


@pytest.mark.parametrize(
    ("mishaps", "is_done"),
    [
        (("", "hang up"), True),
        (("", "probe"), True),
        (("", "busy"), False),
        (("hang up",), False),
        (("busy",), False),
        (("probe",), False),
    ],
    ids=["lost", "a probe", "not done", "question lost", "question not answered", "question answered by a probe"],
)
def test_the_answer_to_a_refund_is_lost(shop: Shop, mishaps: tuple[str, ...], is_done: bool) -> None:
    """Whether or not it was done: the money goes back once."""
    order, trade = shop.paid()
    shop.channel.mishaps.extend(mishaps)
    back = shop.books.refund_order(order.order_no, idempotency_key="back")
    assert (back.status, shop.available) == ("refunding", 0)
    assert len(trade.refunds) == int(is_done)
    assert shop.books.reconcile_orders(min_age=0).refunds == 1
    assert (shop.order(order.order_no).status, shop.available) == ("refunded", 0)
    assert [refund.fen for refund in trade.refunds] == [990]


def test_a_refund_that_the_channel_refuses(shop: Shop) -> None:
    order, trade = shop.paid()
    # Somebody has sent the money back by hand, at the channel.
    shop.channel._new_refund(trade, "by-hand", 990)
    with pytest.raises(PaymentChannelError) as refused:
        shop.books.refund_order(order.order_no)
    assert refused.value.channel == shop.channel.name
    assert refused.value.reason in ("NOT_ENOUGH", "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
    after = shop.order(order.order_no)
    assert (after.status, after.refunds[0].status, shop.available) == ("paid", "failed", CREDITS)
    # The books do not know of the refund by hand: its notice has to be looked into.
    shop.refuses(shop.channel.refunded("by-hand"))


# --- bills


def test_a_bill_that_fits(shop: Shop) -> None:
    orders = [shop.paid()[0] for _ in range(3)]
    shop.books.refund_order(orders[0].order_no, amount="3.30")
    shop.books.refund_order(orders[1].order_no)
    shop.ordered()
    bill = shop.channel.bill()
    since, until = START - timedelta(hours=16), START + timedelta(hours=8)
    before = shop.state()
    report = shop.books.reconcile_statement(shop.channel.name, bill, since=since, until=until)
    assert (report.matched, report.differences) == (5, ())
    assert shop.state() == before


def test_a_bill_that_does_not_fit(shop: Shop) -> None:
    since, until = START - timedelta(hours=16), START + timedelta(hours=8)
    fine, _ = shop.paid()
    _, dearer = shop.paid()
    lost, parameters = shop.ordered()
    shop.channel.pay(parameters)
    missing, _ = shop.paid()
    back, _ = shop.paid()
    shop.books.refund_order(back.order_no, amount="3.30")
    # The channel's side of things is another one.
    dearer.fen = 1990
    del shop.channel.trades[missing.order_no]
    shop.channel.trades[back.order_no].refunds.clear()
    strange = replace(shop.channel.trades[fine.order_no], order_no="f" * 32, trade_no="4299")
    shop.channel.trades[strange.order_no] = strange
    report = shop.books.reconcile_statement(shop.channel.name, shop.channel.bill(), since=since, until=until)
    assert report.matched == 2
    found = {
        (each.kind, each.line.order_no if each.line else each.order and each.order.order_no)
        for each in report.differences
    }
    assert found == {
        ("different", dearer.order_no),
        ("not_settled", lost.order_no),
        ("missing_payment", missing.order_no),
        ("missing_refund", back.order_no),
        ("unknown", strange.order_no),
    }
    assert [each.refund_no for each in report.differences if each.kind == "missing_refund"] == [f"{back.order_no}R1"]


def test_a_refund_that_failed_and_went_through_after_all(shop: Shop) -> None:
    """The credits are back and the money is gone: somebody has to know."""
    order, trade = shop.paid()
    shop.channel.refunds_at_once = False
    shop.books.refund_order(order.order_no)
    shop.channel.end_refund(f"{order.order_no}R1", "failed")
    assert shop.books.reconcile_orders(min_age=0).refunds == 1
    trade.refunds[0].status = "succeeded"
    since, until = START - timedelta(hours=16), START + timedelta(hours=8)
    report = shop.books.reconcile_statement(shop.channel.name, shop.channel.bill(), since=since, until=until)
    assert [(each.kind, each.line and each.line.refund_no) for each in report.differences] == [
        ("different", f"{order.order_no}R1")
    ]


def test_what_is_no_bill(shop: Shop) -> None:
    shop.paid()
    lines = shop.channel.bill().splitlines(keepends=True)
    for broken in (b"", b"paid!", lines[0], b"".join(lines[:3]), b"".join(lines[:-6]), b"PK\x03\x04"):
        with pytest.raises(ValidationError) as refused:
            shop.books.reconcile_statement(shop.channel.name, broken, since=START, until=START + timedelta(days=1))
        assert refused.value.field == "bill"


# --- other people's clients


def their_wechat_client(channel: WeChatStandIn) -> Any:
    client = their_wechat.WeChatPay(
        wechatpay_type=their_wechat.WeChatPayType.NATIVE,
        mchid=channel.MERCHANT,
        private_key=private_pem("wechat merchant"),
        cert_serial_no=channel.SERIAL,
        appid=channel.APP,
        apiv3_key=channel.api_v3_key,
        notify_url=channel.notify_url,
        public_key=public_pem("wechat"),
        public_key_id=channel.KEY_ID,
    )
    client._core._gate_way = channel.url
    return client


def their_alipay_client(channel: AlipayStandIn) -> Any:
    client = their_alipay.AliPay(
        appid=channel.APP,
        app_notify_url=channel.notify_url,
        app_private_key_string=private_pem("alipay app"),
        alipay_public_key_string=public_pem("alipay"),
    )
    client._gateway = f"{channel.url}/gateway.do"
    return client


def test_wechatpayv3_lives_with_the_stand_in() -> None:
    """It signs what the stand-in believes, and believes what that signs: as ours does, so they agree."""
    with WeChatStandIn() as channel:
        client = their_wechat_client(channel)
        number = uuid.uuid4().hex
        status, body = client.pay(description="100 积分", out_trade_no=number, amount={"total": 990, "currency": "CNY"})
        assert status == 200
        status, said = client.query(out_trade_no=number)
        assert (status, json.loads(said)["trade_state"]) == (200, "NOTPAY")
        channel.pay(json.loads(body))
        told = channel.payment(number)
        notice = client.callback(told.headers, told.body)
        assert (notice["event_type"], notice["resource"]["out_trade_no"]) == ("TRANSACTION.SUCCESS", number)
        status, said = client.query(out_trade_no=number)
        assert json.loads(said)["transaction_id"] == notice["resource"]["transaction_id"]
        refund = {"refund": 330, "total": 990, "currency": "CNY"}
        status, said = client.refund(out_refund_no=f"{number}R1", out_trade_no=number, amount=refund)
        assert (status, json.loads(said)["status"]) == (200, "SUCCESS")
        told = channel.refunded(f"{number}R1")
        notice = client.callback(told.headers, told.body)
        assert (notice["event_type"], notice["resource"]["refund_status"]) == ("REFUND.SUCCESS", "SUCCESS")
        status, said = client.query_refund(f"{number}R1")
        assert (status, json.loads(said)["amount"]["refund"]) == (200, 330)
        assert channel.disbelieved == []
        assert channel.asked == ["prepay", "query", "query", "refund", "query_refund"]


def test_wechatpayv3_and_ours_say_no_to_the_same(wechat_shop: Shop) -> None:
    """But for what is old, which it takes, and for unknown serial numbers, which it goes out to fetch."""
    channel = wechat_shop.channel
    assert isinstance(channel, WeChatStandIn)
    order, parameters = wechat_shop.ordered()
    channel.pay(parameters)
    notice = channel.payment(order.order_no)
    client = their_wechat_client(channel)
    more_careful = {"old", "of tomorrow", "another key", "a certificate's serial", "no Serial"}
    for what, forged in channel.forgeries(notice).items():
        wechat_shop.refuses(forged)
        if what == "SM2":
            with pytest.raises(Exception, match="does not support this algorithm"):
                client.callback(forged.headers, forged.body)
        elif what not in more_careful:
            assert client.callback(forged.headers, forged.body) is None, what
    assert client.callback(notice.headers, notice.body)["resource"]["out_trade_no"] == order.order_no
    wechat_shop.takes(notice)


def test_python_alipay_sdk_lives_with_the_stand_in() -> None:
    with AlipayStandIn() as channel:
        client = their_alipay_client(channel)
        number = uuid.uuid4().hex
        made = client.api_alipay_trade_precreate(subject="100 积分 & more", out_trade_no=number, total_amount="9.90")
        channel.come(made)
        assert client.api_alipay_trade_query(out_trade_no=number)["trade_status"] == "WAIT_BUYER_PAY"
        channel.pay(made)
        assert client.api_alipay_trade_query(out_trade_no=number)["trade_status"] == "TRADE_SUCCESS"
        back = client.api_alipay_trade_refund("3.30", out_trade_no=number, out_request_no=f"{number}R1")
        assert (back["fund_change"], back["refund_fee"]) == ("Y", "3.30")
        asked = client.api_alipay_trade_fastpay_refund_query(f"{number}R1", out_trade_no=number)
        assert (asked["refund_status"], asked["refund_amount"]) == ("REFUND_SUCCESS", "3.30")
        page = client.api_alipay_trade_page_pay(subject="x", out_trade_no=uuid.uuid4().hex, total_amount="0.01")
        assert channel.pay({"url": f"{channel.url}/gateway.do?{page}"}).fen == 1
        for told in (channel.payment(number), channel.refunded(f"{number}R1")):
            form = dict(parse_qsl(told.body.decode(), keep_blank_values=True))
            assert client.verify(form, form.pop("sign"))
        assert channel.disbelieved == []


def test_python_alipay_sdk_and_ours_say_no_to_the_same(alipay_shop: Shop) -> None:
    channel = alipay_shop.channel
    assert isinstance(channel, AlipayStandIn)
    order, parameters = alipay_shop.ordered()
    channel.pay(parameters)
    notice = channel.payment(order.order_no)
    client = their_alipay_client(channel)

    def believed(notice: Notice) -> bool:
        form = dict(parse_qsl(notice.body.decode(), keep_blank_values=True))
        try:
            return bool(client.verify(form, form.pop("sign", "")))
        except their_alipay.exceptions.AliPayException:
            return False

    for what, forged in channel.forgeries(notice).items():
        alipay_shop.refuses(forged)
        # It leaves open which algorithm is named where none is, and a parameter that is there twice to who parses.
        if what not in ("no type", "twice"):
            assert not believed(forged), what
    assert believed(notice)
    alipay_shop.takes(notice)


def asked_by_ours(shop: Shop) -> list[tuple[str, str]]:
    """Everything that ours asks Alipay, and the address that it makes: what is signed, and the signature."""
    channel = shop.channel
    assert isinstance(channel, AlipayStandIn)
    requests: list[dict[str, str]] = []
    believe = channel.believe

    def remember(method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        believe(method, target, headers, body)
        requests.append(channel.parameters(target, body))

    channel.believe = remember  # type: ignore[method-assign]
    order, parameters = shop.ordered()
    channel.pay(parameters)
    shop.books.reconcile_orders(min_age=0)
    shop.books.refund_order(order.order_no, reason="a & b = c / 不")
    shop.ordered("qr")
    assert {each["method"] for each in requests} == {
        "alipay.trade.page.pay",
        "alipay.trade.query",
        "alipay.trade.fastpay.refund.query",
        "alipay.trade.refund",
        "alipay.trade.precreate",
    }
    signed = []
    for each in requests:
        # Of a request its type is signed too; of a notice it is not.
        signature = each.pop("sign")
        signed.append(("&".join(f"{name}={value}" for name, value in sorted(each.items())), signature))
    return signed


def test_python_alipay_sdk_verifies_what_ours_signs(alipay_shop: Shop) -> None:
    """Our own address and our own requests, with the app's public key in the place of Alipay's."""
    verifier = their_alipay.AliPay(
        appid=AlipayStandIn.APP,
        app_private_key_string=private_pem("stranger"),
        alipay_public_key_string=public_pem("alipay app"),
    )
    for content, signature in asked_by_ours(alipay_shop):
        assert verifier._verify(content, signature), content
        assert not verifier._verify(content + "1", signature)


def official_alipay(module: str) -> Any:
    """A module of alipay-sdk-python. Its package has the same name as python-alipay-sdk's, so it is not installed, but
    read from its wheel, as if it were a part of the other one."""
    (wheel,) = Path(sys.prefix, "wheels").glob("alipay_sdk_python-*.whl")
    if str(wheel / "alipay") not in their_alipay.__path__:
        their_alipay.__path__.append(str(wheel / "alipay"))
    return importlib.import_module(f"alipay.aop.api.{module}")


def pkcs1_pem(who: str) -> str:
    """A key as the official SDK wants it."""
    return key_of(who).private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()).decode()


def is_signed_for_the_official_sdk(who: str, content: str, signature: str) -> bool:
    try:
        verified: bool = official_alipay("util.SignatureUtils").verify_with_rsa(
            public_pem(who), content.encode(), signature
        )
    except (rsa.VerificationError, ValueError):
        return False
    return verified


def test_the_official_alipay_sdk_lives_with_the_stand_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """It signs what the stand-in believes, and believes what that answers."""

    def post(url: str, query: str, headers: dict[str, str], form: dict[str, str], charset: str, timeout: int) -> bytes:
        # Its own knows no ports.
        answer = httpx.post(f"{url}?{query}", headers=headers, data=form, timeout=timeout)
        return answer.content

    monkeypatch.setattr(official_alipay("DefaultAlipayClient"), "do_post", post)
    with AlipayStandIn() as channel:
        config = official_alipay("AlipayClientConfig").AlipayClientConfig()
        config.server_url, config.app_id = f"{channel.url}/gateway.do", channel.APP
        config.app_private_key, config.alipay_public_key = pkcs1_pem("alipay app"), public_pem("alipay")
        client = official_alipay("DefaultAlipayClient").DefaultAlipayClient(config)

        def request(name: str, **content: str) -> Any:
            made = getattr(official_alipay(f"request.{name}Request"), f"{name}Request")()
            made.biz_content, made.notify_url = content, channel.notify_url
            return made

        number, price = uuid.uuid4().hex, "9.90"
        order = {"out_trade_no": number, "subject": "100 积分 & more", "total_amount": price}
        asked = json.loads(client.execute(request("AlipayTradePrecreate", **order)))
        channel.pay({"qr_code": asked["qr_code"]})
        asked = json.loads(client.execute(request("AlipayTradeQuery", out_trade_no=number)))
        assert (asked["trade_status"], asked["total_amount"]) == ("TRADE_SUCCESS", price)
        back = {"out_trade_no": number, "out_request_no": f"{number}R1", "refund_amount": "3.30"}
        asked = json.loads(client.execute(request("AlipayTradeRefund", **back)))
        assert (asked["fund_change"], asked["refund_fee"]) == ("Y", "3.30")
        asked = json.loads(client.execute(request("AlipayTradeFastpayRefundQuery", **back)))
        assert asked["refund_status"] == "REFUND_SUCCESS"
        page = client.page_execute(request("AlipayTradePagePay", **{**order, "out_trade_no": "x" * 32}), "GET")
        assert channel.pay({"url": page}).fen == 990
        assert channel.disbelieved == []


def test_the_official_alipay_sdk_and_ours_say_no_to_the_same(alipay_shop: Shop) -> None:
    """But for the algorithm, which it leaves to the signature, and for a parameter that is there twice."""
    channel = alipay_shop.channel
    order, parameters = alipay_shop.ordered()
    channel.pay(parameters)
    notice = channel.payment(order.order_no)
    signatures = official_alipay("util.SignatureUtils")

    def believed(notice: Notice) -> bool:
        form = dict(parse_qsl(notice.body.decode(), keep_blank_values=True))
        signature = form.pop("sign", "")
        form.pop("sign_type", None)
        return is_signed_for_the_official_sdk("alipay", signatures.get_sign_content(form), signature)

    less_careful = {"no type", "SHA-1", "SHA-1 as RSA2", "RSA2 as RSA", "twice"}
    for what, forged in channel.forgeries(notice).items():
        alipay_shop.refuses(forged)
        assert believed(forged) == (what in less_careful), what
    assert believed(notice)
    alipay_shop.takes(notice)


def test_ours_takes_what_the_official_alipay_sdk_signs(alipay_shop: Shop) -> None:
    """With Alipay's key in the place of an app's."""
    channel = alipay_shop.channel
    order, parameters = alipay_shop.ordered()
    channel.pay(parameters)
    form = dict(parse_qsl(channel.payment(order.order_no).body.decode(), keep_blank_values=True))
    del form["sign"], form["sign_type"]
    signatures = official_alipay("util.SignatureUtils")

    def signed(who: str) -> Notice:
        signature = signatures.sign_with_rsa2(pkcs1_pem(who), signatures.get_sign_content(form), "utf-8")
        return Notice({}, urlencode({**form, "sign": signature, "sign_type": "RSA2"}).encode())

    alipay_shop.refuses(signed("stranger"))
    alipay_shop.takes(signed("alipay"))
    assert alipay_shop.available == CREDITS


def test_the_official_alipay_sdk_verifies_what_ours_signs(alipay_shop: Shop) -> None:
    for content, signature in asked_by_ours(alipay_shop):
        assert is_signed_for_the_official_sdk("alipay app", content, signature), content
        assert not is_signed_for_the_official_sdk("alipay app", content + "1", signature)


@pytest.mark.filterwarnings("ignore:X509:DeprecationWarning")  # theirs
def test_python_alipay_sdk_names_certificates_as_ours_does(sqlite: str) -> None:
    """Certificate mode: what requests call the certificates, and notices that name Alipay's."""
    with AlipayStandIn() as channel:
        arguments = channel.arguments()
        del arguments["alipay_public_key"]
        arguments["app_certificate"] = certificate_pem("alipay app", "alipay root")
        arguments["alipay_certificate"] = certificate_pem("alipay", "alipay root")
        arguments["root_certificate"] = certificate_pem("alipay root", "alipay root")
        theirs = their_alipay.DCAliPay(
            appid=channel.APP,
            app_private_key_string=private_pem("alipay app"),
            app_public_key_cert_string=arguments["app_certificate"],
            alipay_public_key_cert_string=arguments["alipay_certificate"],
            alipay_root_cert_string=arguments["root_certificate"],
        )
        with Ledger.connect(sqlite, channels=[Alipay(**arguments)]) as books:
            books.migrate()
            books.seed_catalog()
            package = min(books.packages(), key=lambda package: package.price)
            order = books.create_order(MIA, package.id, "alipay")
            parameters = books.pay_order(order.order_no).parameters
            asked = channel.parameters(parameters["url"])
            assert asked["app_cert_sn"] == theirs.app_cert_sn
            assert asked["alipay_root_cert_sn"] == theirs.alipay_root_cert_sn
            channel.pay(parameters)
            form = dict(parse_qsl(channel.payment(order.order_no).body.decode(), keep_blank_values=True))
            del form["sign"], form["sign_type"]
            form["alipay_cert_sn"] = theirs.get_cert_sn(arguments["alipay_certificate"])
            notice = channel.seal(form)
            form = dict(parse_qsl(notice.body.decode(), keep_blank_values=True))
            assert theirs.verify(form, form.pop("sign"))
            assert books.handle_notification("alipay", notice.headers, notice.body).event == "paid"
            assert books.balance(MIA).available == CREDITS
        assert channel.disbelieved == []


# --- many at once, and processes that die


@pytest.fixture
def begun(postgres: str, channel: StandIn) -> Iterator[tuple[Ledger, Order, Trade]]:
    """On PostgreSQL: an order that was paid, of which nobody has told yet."""
    with Ledger.connect(postgres, channels=[configured(channel)]) as books:
        books.migrate()
        books.seed_catalog()
        package = min(books.packages(), key=lambda package: package.price)
        order = books.create_order(MIA, package.id, channel.name)
        yield books, order, channel.pay(books.pay_order(order.order_no, method=WAYS[channel.name]).parameters)


@contextmanager
def backend_process(url: str, channel: StandIn, notice: Notice, copies: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has copies of a notification, and waits for a line."""
    command = [sys.executable, str(Path(__file__).with_name("_notified.py"))]
    job = {
        "url": url,
        "channel": channel.name,
        "arguments": channel.arguments(),
        "headers": notice.headers,
        "body": base64.b64encode(notice.body).decode(),
        "copies": copies,
    }
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def test_a_hundred_copies_in_four_processes(
    postgres: str, channel: StandIn, begun: tuple[Ledger, Order, Trade]
) -> None:
    books, order, trade = begun
    with ExitStack() as stack:
        notice = channel.payment(order.order_no)
        processes = [stack.enter_context(backend_process(postgres, channel, notice, 25)) for _ in range(4)]
        with ThreadPoolExecutor(4) as pool:
            ended = list(pool.map(lambda process: process.communicate("go\n", timeout=120)[0], processes))
    told = [event for each in ended for event in json.loads(each)]
    assert told == ["paid"] * 100
    settled = books.order(order.order_no)
    assert (settled.status, settled.transaction_id) == ("paid", trade.trade_no)
    assert books.balance(MIA).available == CREDITS
    granted = [each.change for each in books.transactions(MIA) if each.kind == "grant"]
    assert sorted(granted) == [10, 100]
    assert books.verify().is_clean


#: What keeps a settlement from going on, and how far it has got then.
LOCKS = {
    "before it reads": f"SELECT 1 FROM credit_accounts WHERE user_id = '{MIA}' FOR UPDATE",
    "before it writes": "LOCK TABLE credit_orders IN SHARE MODE",
    "while it writes": "LOCK TABLE credit_transactions IN SHARE MODE",
}


@contextmanager
def locked(url: str, lock: str) -> Iterator[Callable[[], bool]]:
    """Holds a lock; what it gives says whether somebody waits for it."""
    waiting = """SELECT EXISTS (SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock')"""
    with asyncio.Runner() as runner, ExitStack() as stack:
        connections = []
        for _ in range(2):
            connections.append(runner.run(asyncpg.connect(url)))
            stack.callback(lambda connection=connections[-1]: runner.run(connection.close()))
        holder, watch = connections
        runner.run(holder.execute("BEGIN"))
        runner.run(holder.execute(lock))
        yield lambda: bool(runner.run(watch.fetchval(waiting)))


@pytest.mark.parametrize("lock", list(LOCKS))
def test_killed_between_verification_and_commit(
    postgres: str, channel: StandIn, begun: tuple[Ledger, Order, Trade], lock: str
) -> None:
    books, order, trade = begun
    with (
        locked(postgres, LOCKS[lock]) as somebody_waits,
        backend_process(postgres, channel, channel.payment(order.order_no), 1) as process,
    ):
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
        eventually(somebody_waits, "the settlement waits")
        process.kill()
        assert process.wait() == -9
        assert books.order(order.order_no).status == "paying"
    # The channel has got no answer, and sends it again.
    notice = channel.payment(order.order_no)
    for _ in range(2):
        told = books.handle_notification(channel.name, notice.headers, notice.body)
        assert told.event == "paid"
    settled = books.order(order.order_no)
    assert (settled.status, settled.transaction_id) == ("paid", trade.trade_no)
    assert books.balance(MIA).available == CREDITS
    assert books.verify().is_clean


def test_many_ask_at_once_about_one_order(postgres: str, channel: StandIn, begun: tuple[Ledger, Order, Trade]) -> None:
    """Callback, reconciliation and the user's own closing, all at once."""
    books, order, trade = begun
    notice = channel.payment(order.order_no)

    def close() -> None:
        try:
            assert books.close_order(order.order_no).status == "paid"
        except InvalidStateError as error:
            assert error.state == "paid"

    work: list[Callable[[], object]] = [
        lambda: books.handle_notification(channel.name, notice.headers, notice.body),
        lambda: books.reconcile_orders(min_age=0),
        close,
    ] * 4
    with ThreadPoolExecutor(len(work)) as pool:
        for each in [pool.submit(task) for task in work]:
            each.result()
    assert books.order(order.order_no).transaction_id == trade.trade_no
    assert books.balance(MIA).available == CREDITS
    assert books.verify().is_clean


# --- configuration


def no_secret_in(text: str, *secrets: str) -> None:
    """Not even 16 characters of one."""
    for secret in secrets:
        for line in secret.splitlines():
            pieces = () if line.startswith("-----") else (line[at : at + 16] for at in range(len(line) - 15))
            assert not any(piece in text for piece in pieces)


def test_keys_never_appear(channel: StandIn, sqlite: str) -> None:
    arguments = channel.arguments()
    private = [value for name, value in arguments.items() if name in ("api_v3_key", "merchant_key", "app_private_key")]
    shown = [repr(configured(channel)), str(configured(channel))]
    with Ledger.connect(sqlite, channels=[configured(channel)]) as books:
        shown += [repr(books), str(books)]
    spoiled = [
        *private,
        *(key[: len(key) // 2] for key in private),
        private[-1].replace("A", "B"),
        public_pem(channel.name)[:-40],
    ]
    for name in arguments:
        for wrong in spoiled:
            # A key of 32 letters could be an app's id, for all that can be said of these.
            if wrong == arguments[name] or (name == "app_id" and "-----" not in wrong):
                continue
            with pytest.raises(ValidationError) as refused:
                configured(channel, **{name: {WeChatStandIn.KEY_ID: wrong} if name == "public_keys" else wrong})
            shown += [str(refused.value), repr(refused.value), json.dumps(refused.value.to_dict(), default=str)]
    no_secret_in("\n".join(shown), *private)


def test_the_argument_at_fault_is_named(channel: StandIn) -> None:
    arguments = channel.arguments()
    for name in arguments:
        with pytest.raises(ValidationError) as refused:
            configured(channel, **{name: {WeChatStandIn.KEY_ID: "x"} if name == "public_keys" else "x y"})
        assert refused.value.field == name


@pytest.mark.parametrize(
    ("setting", "wrong"),
    [
        ("questions_at_once", 0),
        ("questions_at_once", 101),
        ("questions_at_once", 1.5),
        ("patience", 0),
        ("patience", 601),
    ],
)
def test_the_pace_of_a_channel_has_bounds(channel: StandIn, setting: str, wrong: float) -> None:
    with pytest.raises(ValidationError) as refused:
        configured(channel, **{setting: wrong})
    assert refused.value.field == setting


def test_a_channel_is_waited_for_as_long_as_it_is_set(channel: StandIn, sqlite: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        elsewhere = {"wechat": {"base_url": address}, "alipay": {"gateway": f"{address}/gateway.do"}}[channel.name]
        impatient = configured(channel, patience=timedelta(milliseconds=50), questions_at_once=1, **elsewhere)
        with Ledger.connect(sqlite, channels=[impatient]) as books:
            books.migrate()
            books.seed_catalog()
            order = books.create_order(MIA, books.packages()[0].id, channel.name)
            with pytest.raises(UnavailableError, match="has not answered within 50ms"):
                books.pay_order(order.order_no, method={"wechat": "native", "alipay": "qr"}[channel.name])
            assert books.reconcile_orders(min_age=0).failed == 1


def test_a_file_that_is_not_there(channel: StandIn, tmp_path: Path) -> None:
    name = "merchant_key" if channel.name == "wechat" else "app_private_key"
    with pytest.raises(ValidationError) as refused:
        configured(channel, **{name: tmp_path / "key.pem"})
    assert refused.value.field == name


def test_keys_may_be_in_files(channel: StandIn, tmp_path: Path) -> None:
    arguments = channel.arguments()
    for name in ("merchant_key", "app_private_key", "alipay_public_key", "api_v3_key"):
        if name in arguments:
            path = tmp_path / name
            path.write_text(arguments[name], encoding="utf-8")
            arguments[name] = path
    assert repr(configured(channel, **arguments)) == repr(configured(channel))


def test_keys_are_in_no_log(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Nor does an error about a request show what was signed."""
    caplog.set_level("DEBUG")
    order, parameters = shop.ordered()
    shop.channel.pay(parameters)
    notice = shop.channel.payment(order.order_no)
    for forged in shop.channel.forgeries(notice).values():
        shop.refuses(forged)
    shop.channel.mishaps.extend(["hang up", "probe", "busy"])
    shown = [str(shop.books.reconcile_orders(min_age=0).problems[0].error) for _ in range(3)]
    shop.takes(notice)
    private = [private_pem("wechat merchant"), private_pem("alipay app")]
    if isinstance(shop.channel, WeChatStandIn):
        private.append(shop.channel.api_v3_key)
    no_secret_in("\n".join([caplog.text, *shown]), *private)


def test_a_channel_that_does_not_believe_us(sqlite: str, channel: StandIn) -> None:
    """A key that the merchant has replaced at the channel."""
    key = "merchant_key" if channel.name == "wechat" else "app_private_key"
    with Ledger.connect(sqlite, channels=[configured(channel, **{key: private_pem("stranger")})]) as books:
        books.migrate()
        books.seed_catalog()
        package = books.packages()[0]
        order = books.create_order(MIA, package.id, channel.name)
        with pytest.raises(PaymentChannelError) as refused:
            books.pay_order(order.order_no, method={"wechat": "native", "alipay": "qr"}[channel.name])
        assert refused.value.reason in ("SIGN_ERROR", "isv.invalid-signature")
        assert set(channel.disbelieved) == {"a wrong signature"}
        assert channel.trades == {}


def test_the_routes_say_what_a_channel_says(shop: Shop) -> None:
    """A user hears that the channel is away, and can try again."""
    package = min(shop.books.packages(), key=lambda package: package.price)
    way = {"wechat": "native", "alipay": "qr"}[shop.channel.name]
    asked = {"packageId": str(package.id), "channel": shop.channel.name, "method": way, "idempotencyKey": "checkout"}
    shop.channel.mishaps.append("busy")
    away = shop.http.post("/recharge/orders", headers=USER, json=asked)
    assert error(away, 503)["error"] == "unavailable"
    again = data(shop.http.post("/recharge/orders", headers=USER, json=asked))
    shop.channel.pay(again["payment"]["parameters"])
    shop.takes(shop.channel.payment(again["order"]["orderNo"]))
    assert len(list(shop.books.orders())) == 1
    assert shop.available == CREDITS


def test_the_notices_of_a_stranger_cost_little(shop: Shop) -> None:
    """Whatever somebody sends, the channel is not asked because of it."""
    shop.ordered()
    asked = list(shop.channel.asked)
    for n in range(20):
        shop.refuses(Notice({"Wechatpay-Serial": f"PUB_KEY_ID_{n}"}, b"{}" * n))
    assert shop.channel.asked == asked
