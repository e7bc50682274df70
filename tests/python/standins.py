"""Stand-ins for WeChat Pay and Alipay on loopback, with keys that live as long as the process that makes them.

They believe a request only where the merchant has signed it as the channel's documentation says, sign what they
answer, remember trades and refunds, and tell of them: once, often, late, or not at all. Nothing of the library's own
code is in them; `test_channels.py` compares them with other people's clients.

Run as a program this file is one process of a backend: it takes copies of a notification, as its standard input says.
"""

from __future__ import annotations

import asyncio
import base64
import functools
import json
import secrets
import string
import sys
import threading
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from jointo_credits import Alipay, AsyncLedger, CreditsError, WeChatPay

BEIJING = timezone(timedelta(hours=8))


# --- keys


@functools.cache
def key_of(who: str) -> rsa.RSAPrivateKey:
    """Somebody's key: the same for as long as this process lives, and never written down."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def private_pem(who: str) -> str:
    return key_of(who).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_pem(who: str) -> str:
    return key_of(who).public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def sign(who: str, message: bytes, digest: HashAlgorithm | None = None) -> str:
    """RSA PKCS#1 v1.5, in base64; with SHA-256 where nothing else is said."""
    return base64.b64encode(key_of(who).sign(message, padding.PKCS1v15(), digest or SHA256())).decode()


def has_signed(who: str, message: bytes, signature: str) -> bool:
    try:
        decoded = base64.b64decode(signature, validate=True)
        key_of(who).public_key().verify(decoded, message, padding.PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


@functools.cache
def certificate(who: str, issuer: str) -> x509.Certificate:
    """Somebody's certificate, which is good for a day."""

    def name(of: str) -> x509.Name:
        parts = {
            NameOID.COUNTRY_NAME: "CN",
            NameOID.ORGANIZATION_NAME: "A stand-in",
            NameOID.ORGANIZATIONAL_UNIT_NAME: "Tests",
            NameOID.COMMON_NAME: of,
        }
        return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts.items()])

    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name(issuer), name(who), key_of(who).public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=12)).not_valid_after(now + timedelta(hours=12))
    return builder.sign(key_of(issuer), SHA256())


def certificate_pem(who: str, issuer: str) -> str:
    return certificate(who, issuer).public_bytes(Encoding.PEM).decode()


# --- what a channel knows


@dataclass
class Refund:
    """Money that goes back, as the channel has it."""

    refund_no: str
    order_no: str
    fen: int
    refund_id: str
    status: str = "pending"  # succeeded, failed
    at: datetime | None = None


@dataclass
class Trade:
    """An order, as the channel has it."""

    order_no: str
    fen: int
    status: str  # waiting, paid, closed
    trade_no: str
    #: What it was told about it, which must stay the same.
    terms: tuple[Any, ...] = ()
    paid_at: datetime | None = None
    refunds: list[Refund] = field(default_factory=list)

    @property
    def refunded(self) -> int:
        """In fen."""
        return sum(refund.fen for refund in self.refunds if refund.status == "succeeded")


@dataclass(frozen=True)
class Notice:
    """What a channel sends to us."""

    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What a channel answers."""

    status: int
    headers: dict[str, str]
    body: bytes


class Disbelief(Exception):
    """A request that the channel would not believe."""


def yuan(fen: int) -> str:
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02}"


def fen(yuan: str) -> int:
    whole, cents = yuan.split(".")
    assert len(cents) == 2
    return int(whole) * 100 + int(cents)


# --- what both have in common


class StandIn(ABC):
    """A channel. To be used in `with`, which serves it."""

    name: str
    #: The waits before each further delivery, in seconds.
    SCHEDULE: tuple[int, ...]
    #: How much faster than the real one its clock goes between deliveries: a day in about a second.
    HURRY = 100_000

    def __init__(self) -> None:
        self.notify_url = "https://shop.example/notify"
        #: What time it is.
        self.clock: Callable[[], datetime] = lambda: datetime.now(UTC)
        self.trades: dict[str, Trade] = {}
        #: What was asked and believed, in order: `prepay`, `query`, `close`, `refund`, `query_refund`.
        self.asked: list[str] = []
        #: Why requests were not believed.
        self.disbelieved: list[str] = []
        #: What becomes of the next answers: "hang up" (done, and the answer is lost), "probe" (a wrong signature),
        #: "busy" (not done), "" (as it should be).
        self.mishaps: deque[str] = deque()
        #: Whether refunds end at once.
        self.refunds_at_once = True
        self._numbers = iter(range(1, 1_000_000))
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()

    def __enter__(self) -> Self:
        channel = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                self._serve(self.rfile.read(int(self.headers.get("content-length", 0))))

            def _serve(self, body: bytes) -> None:
                # A connection for each request: nothing stays open when a test ends.
                self.close_connection = True
                answer = channel._handle(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                if answer is None:
                    return
                self.send_response(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.status != 204:
                    self.send_header("Content-Length", str(len(answer.body)))
                self.send_header("Connection", "close")
                self.end_headers()
                self.wfile.write(answer.body)

            def log_message(self, format: str, *args: Any) -> None:
                """Silence."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._serving = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._serving.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._server.shutdown()
        self._serving.join()
        self._server.server_close()

    def _handle(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer | None:
        with self._lock:
            mishap = self.mishaps.popleft() if self.mishaps else ""
            if mishap == "busy":
                return self._busy(target)
            try:
                self.believe(method, target, headers, body)
            except Disbelief as problem:
                self.disbelieved.append(str(problem))
                return self._disbelief()
            try:
                answer = self._answer(method, target, body)
            except Exception as fault:
                self.disbelieved.append(f"{method} {target}: {fault!r}")
                raise
            if mishap == "hang up":
                return None
            return self._probing(answer) if mishap == "probe" else answer

    def number(self, prefix: str) -> str:
        """A number that was not used before."""
        return f"{prefix}{next(self._numbers):010}"

    def _new_refund(self, trade: Trade, refund_no: str, amount: int) -> Refund:
        refund = Refund(refund_no, trade.order_no, amount, self.number("5020"))
        trade.refunds.append(refund)
        if self.refunds_at_once:
            self.end_refund(refund_no)
        return refund

    def refund(self, refund_no: str) -> Refund | None:
        """A refund by the merchant's number."""
        every = (refund for trade in self.trades.values() for refund in trade.refunds)
        return next((refund for refund in every if refund.refund_no == refund_no), None)

    def end_refund(self, refund_no: str, status: str = "succeeded") -> None:
        """A refund has come to its end."""
        refund = self.refund(refund_no)
        assert refund is not None
        assert refund.status == "pending"
        refund.status, refund.at = status, self.clock()

    def deliver(self, notice: Callable[[], Notice], *, lost: int = 0, copies: int = 1) -> Deliveries:
        """Sends a notice to `notify_url`, signed anew each time, until it is taken or the schedule ends. The first
        `lost` get lost on the way; of every other one `copies` are sent at once."""
        deliveries = Deliveries()

        def send(copy: int) -> bool:
            made = notice()
            request = urllib.request.Request(self.notify_url, data=made.body, headers=made.headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    status, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, body = error.code, error.read()
            except OSError as error:
                status, body = 0, str(error).encode()
            deliveries.answers.append((status, body))
            return self.is_taken(status, body)

        def work() -> None:
            for attempt, wait in enumerate((0, *self.SCHEDULE)):
                if self._stopping.wait(wait / self.HURRY):
                    return
                deliveries.attempts += 1
                if attempt < lost:
                    continue
                senders = [threading.Thread(target=send, args=(n,)) for n in range(1, copies)]
                for sender in senders:
                    sender.start()
                taken = send(0)
                for sender in senders:
                    sender.join()
                if taken:
                    deliveries.taken = True
                    break
            deliveries.ended = True

        thread = threading.Thread(target=work)
        self._threads.append(thread)
        thread.start()
        return deliveries

    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """What the library's channel is configured with."""

    @abstractmethod
    def channel(self) -> WeChatPay | Alipay:
        """The library's channel, which talks with this one."""

    @abstractmethod
    def believe(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        """Raises `Disbelief` unless the merchant has signed a request."""

    @abstractmethod
    def pay(self, parameters: dict[str, str], *, too_late: bool = False) -> Trade:
        """A payer pays with what he was given; `too_late`: even if the trade was closed."""

    @abstractmethod
    def payment(self, order_no: str, /, **changes: Any) -> Notice:
        """The notice of a payment. It can be made to lie: `order_no`, `fen`, `trade_no`, `app`, `merchant`."""

    @abstractmethod
    def refunded(self, refund_no: str, /, **changes: Any) -> Notice:
        """The notice of a refund."""

    @abstractmethod
    def forgeries(self, notice: Notice) -> dict[str, Notice]:
        """What must not be believed, by what is wrong with it."""

    @abstractmethod
    def is_taken(self, status: int, body: bytes) -> bool:
        """Whether an answer to a notice ends the deliveries."""

    @abstractmethod
    def bill(self) -> bytes:
        """Everything that happened, as a bill."""

    @abstractmethod
    def _answer(self, method: str, target: str, body: bytes) -> Answer: ...

    @abstractmethod
    def _probing(self, answer: Answer) -> Answer: ...

    @abstractmethod
    def _disbelief(self) -> Answer: ...

    @abstractmethod
    def _busy(self, target: str) -> Answer: ...


@dataclass
class Deliveries:
    """What became of a notice that was sent."""

    #: Those that got lost too.
    attempts: int = 0
    #: Statuses and bodies.
    answers: list[tuple[int, bytes]] = field(default_factory=list)
    taken: bool = False
    ended: bool = False


# --- WeChat Pay


class WeChatStandIn(StandIn):
    """WeChat Pay, APIv3, with a public key."""

    name = "wechat"
    SCHEDULE = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)

    MERCHANT = "1900000109"
    APP = "wxd678efh567hg6787"
    SERIAL = "1DDE55AD98ED71D6EDD4A4A16996DE7B47773A8C"
    KEY_ID = "PUB_KEY_ID_0119000001092024112000000000000001"
    SIGNATURE_TYPE = "WECHATPAY2-SHA256-RSA2048"

    def __init__(self) -> None:
        super().__init__()
        self.api_v3_key = "".join(secrets.choice(string.ascii_letters) for _ in range(32))
        self._codes: dict[str, str] = {}

    def arguments(self) -> dict[str, Any]:
        return {
            "merchant_id": self.MERCHANT,
            "app_id": self.APP,
            "api_v3_key": self.api_v3_key,
            "merchant_serial": self.SERIAL,
            "merchant_key": private_pem("wechat merchant"),
            "public_keys": {self.KEY_ID: public_pem("wechat")},
            "notify_url": self.notify_url,
            "base_url": self.url,
        }

    def channel(self) -> WeChatPay:
        return WeChatPay(**self.arguments())

    # What it is asked.

    def believe(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        kind, _, rest = headers.get("authorization", "").partition(" ")
        if kind != self.SIGNATURE_TYPE:
            raise Disbelief("no signature, or one of another type")
        given = dict(pair.split("=", 1) for pair in rest.split(","))
        fields = {name: value[1:-1] for name, value in given.items() if value[0] == value[-1] == '"'}
        if set(fields) != {"mchid", "nonce_str", "timestamp", "serial_no", "signature"}:
            raise Disbelief("other fields than those")
        if (fields["mchid"], fields["serial_no"]) != (self.MERCHANT, self.SERIAL):
            raise Disbelief("another merchant, or another certificate")
        if abs(self.clock().timestamp() - int(fields["timestamp"])) > 300:
            raise Disbelief("a clock that is off")
        lines = [method, target, fields["timestamp"], fields["nonce_str"]]
        message = "".join(f"{line}\n" for line in lines).encode() + body + b"\n"
        if not has_signed("wechat merchant", message, fields["signature"]):
            raise Disbelief("a wrong signature")
        if headers.get("wechatpay-serial", self.KEY_ID) != self.KEY_ID:
            raise Disbelief("an answer by a key that there is not")

    def _answer(self, method: str, target: str, body: bytes) -> Answer:
        url = urlsplit(target)
        steps = url.path.strip("/").split("/")
        asked = json.loads(body) if body else {}
        match (method, steps):
            case "POST", ["v3", "pay", "transactions", "native" | "jsapi" | "h5" as way]:
                return self._prepay(way, asked)
            case "GET", ["v3", "pay", "transactions", "out-trade-no", order_no]:
                self.asked.append("query")
                if dict(parse_qsl(url.query)) != {"mchid": self.MERCHANT}:
                    return self._no(400, "PARAM_ERROR")
                trade = self.trades.get(order_no)
                return self._ok(self._transaction(trade)) if trade else self._no(404, "ORDER_NOT_EXIST")
            case "POST", ["v3", "pay", "transactions", "out-trade-no", order_no, "close"]:
                self.asked.append("close")
                trade = self.trades.get(order_no)
                if asked != {"mchid": self.MERCHANT}:
                    return self._no(400, "PARAM_ERROR")
                if trade is None:
                    return self._no(404, "ORDER_NOT_EXIST")
                if trade.status == "paid":
                    return self._no(400, "ORDERPAID")
                trade.status = "closed"
                return self._signed(204, b"")
            case "POST", ["v3", "refund", "domestic", "refunds"]:
                self.asked.append("refund")
                return self._refund(asked)
            case "GET", ["v3", "refund", "domestic", "refunds", refund_no]:
                self.asked.append("query_refund")
                refund = self.refund(refund_no)
                return self._ok(self._refund_answer(refund)) if refund else self._no(404, "RESOURCE_NOT_EXISTS")
        return self._no(404, "NOT_FOUND")

    def _prepay(self, way: str, asked: dict[str, Any]) -> Answer:
        self.asked.append("prepay")
        if (asked["mchid"], asked["appid"]) != (self.MERCHANT, self.APP):
            return self._no(400, "APPID_MCHID_NOT_MATCH")
        order_no, amount = asked["out_trade_no"], asked["amount"]
        if not 6 <= len(order_no) <= 32 or amount.get("currency", "CNY") != "CNY" or not asked["description"]:
            return self._no(400, "PARAM_ERROR")
        if "time_expire" in asked and datetime.fromisoformat(asked["time_expire"]) <= self.clock():
            return self._no(400, "PARAM_ERROR")
        terms = (amount["total"], asked["description"], asked.get("time_expire"), asked["notify_url"])
        trade = self.trades.setdefault(
            order_no, Trade(order_no, amount["total"], "waiting", self.number("420000000020261122"), terms)
        )
        if trade.terms != terms:
            return self._no(400, "INVALID_REQUEST")
        if trade.status != "waiting":
            return self._no(400, "ORDERPAID" if trade.status == "paid" else "ORDER_CLOSED")
        code = self.number("weixin://wxpay/bizpayurl?pr=")
        self._codes[code] = order_no
        return self._ok({{"native": "code_url", "jsapi": "prepay_id", "h5": "h5_url"}[way]: code})

    def _refund(self, asked: dict[str, Any]) -> Answer:
        named = ("transaction_id", "trade_no") if "transaction_id" in asked else ("out_trade_no", "order_no")
        found = [trade for trade in self.trades.values() if getattr(trade, named[1]) == asked[named[0]]]
        trade = found[0] if found else None
        if trade is None or trade.status != "paid":
            return self._no(404, "RESOURCE_NOT_EXISTS")
        amount, refund_no = asked["amount"], asked["out_refund_no"]
        if (amount["total"], amount["currency"]) != (trade.fen, "CNY") or len(refund_no) > 64:
            return self._no(400, "PARAM_ERROR")
        refund = self.refund(refund_no)
        if refund is None:
            gone = sum(refund.fen for refund in trade.refunds if refund.status != "failed")
            if gone + amount["refund"] > trade.fen:
                return self._no(403, "NOT_ENOUGH")
            refund = self._new_refund(trade, refund_no, amount["refund"])
        elif refund.fen != amount["refund"]:
            return self._no(400, "INVALID_REQUEST")
        return self._ok(self._refund_answer(refund))

    def pay(self, parameters: dict[str, str], *, too_late: bool = False) -> Trade:
        with self._lock:
            (code,) = parameters.values()
            trade = self.trades[self._codes[code]]
            assert trade.status == "waiting" or (too_late and trade.status == "closed")
            trade.status, trade.paid_at = "paid", self.clock()
            return trade

    # What it says.

    def _transaction(self, trade: Trade) -> dict[str, Any]:
        said: dict[str, Any] = {
            "appid": self.APP,
            "mchid": self.MERCHANT,
            "out_trade_no": trade.order_no,
            "trade_state": {"waiting": "NOTPAY", "paid": "SUCCESS", "closed": "CLOSED"}[trade.status],
            "trade_state_desc": "支付成功" if trade.paid_at else "订单未支付",
        }
        if trade.paid_at is None:
            return said
        if trade.refunds:
            said["trade_state"] = "REFUND"
        return said | {
            "transaction_id": trade.trade_no,
            "trade_type": "NATIVE",
            "bank_type": "OTHERS",
            "attach": "",
            "success_time": trade.paid_at.astimezone(BEIJING).isoformat(timespec="seconds"),
            "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
            # A coupon of WeChat Pay's: the payer pays less than the order costs.
            "amount": {"total": trade.fen, "payer_total": trade.fen - 1, "currency": "CNY", "payer_currency": "CNY"},
            "promotion_detail": [],
        }

    def _refund_answer(self, refund: Refund) -> dict[str, Any]:
        trade = self.trades[refund.order_no]
        return {
            "refund_id": refund.refund_id,
            "out_refund_no": refund.refund_no,
            "transaction_id": trade.trade_no,
            "out_trade_no": refund.order_no,
            "channel": "ORIGINAL",
            "user_received_account": "支付用户零钱",
            "create_time": self.clock().astimezone(BEIJING).isoformat(timespec="seconds"),
            "status": self._refund_status(refund, pending="PROCESSING"),
            "amount": {
                "total": trade.fen,
                "refund": refund.fen,
                "payer_total": trade.fen,
                "payer_refund": refund.fen,
                "settlement_refund": refund.fen,
                "settlement_total": trade.fen,
                "discount_refund": 0,
                "currency": "CNY",
            },
        }

    @staticmethod
    def _refund_status(refund: Refund, pending: str) -> str:
        return {"pending": pending, "succeeded": "SUCCESS", "failed": "CLOSED"}[refund.status]

    def payment(self, order_no: str, /, **changes: Any) -> Notice:
        said = self._transaction(self.trades[order_no]) | {"trade_state": "SUCCESS"}
        said["out_trade_no"] = changes.get("order_no", order_no)
        said["transaction_id"] = changes.get("trade_no", said["transaction_id"])
        said["appid"] = changes.get("app", self.APP)
        said["mchid"] = changes.get("merchant", self.MERCHANT)
        said["amount"] |= {"total": changes.get("fen", said["amount"]["total"])}
        said["amount"] |= {"currency": changes.get("currency", "CNY")}
        return self.envelope("TRANSACTION.SUCCESS", "transaction", said)

    def refunded(self, refund_no: str, /, **changes: Any) -> Notice:
        refund = self.refund(refund_no)
        assert refund is not None
        trade = self.trades[refund.order_no]
        # A refund that can't end yet is one that somebody has to look after.
        status = self._refund_status(refund, pending="ABNORMAL")
        said = {
            "mchid": changes.get("merchant", self.MERCHANT),
            "transaction_id": trade.trade_no,
            "out_trade_no": changes.get("order_no", refund.order_no),
            "refund_id": refund.refund_id,
            "out_refund_no": changes.get("refund_no", refund_no),
            "refund_status": status,
            "user_received_account": "支付用户零钱",
            "amount": {
                "total": trade.fen,
                "refund": changes.get("fen", refund.fen),
                "payer_total": trade.fen,
                "payer_refund": refund.fen,
            },
        }
        if refund.at is not None:
            said["success_time"] = refund.at.astimezone(BEIJING).isoformat(timespec="seconds")
        return self.envelope(f"REFUND.{status}", "refund", said)

    def envelope(self, event: str, kind: str, said: dict[str, Any]) -> Notice:
        """A notice of anything."""
        nonce = secrets.token_hex(6)
        sealed = AESGCM(self.api_v3_key.encode()).encrypt(
            nonce.encode(), json.dumps(said, ensure_ascii=False).encode(), kind.encode()
        )
        resource = {
            "original_type": kind,
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "associated_data": kind,
            "nonce": nonce,
        }
        body = {
            "id": self.number("EV-"),
            "create_time": self.clock().astimezone(BEIJING).isoformat(timespec="seconds"),
            "resource_type": "encrypt-resource",
            "event_type": event,
            "summary": "支付成功",
            "resource": resource,
        }
        return self.seal(json.dumps(body, ensure_ascii=False).encode())

    def seal(
        self,
        body: bytes,
        *,
        who: str = "wechat",
        serial: str = KEY_ID,
        age: float = 0,
        digest: HashAlgorithm | None = None,
    ) -> Notice:
        """Signs what it sends; `age`: that many seconds ago."""
        stamp, nonce = str(int(self.clock().timestamp() - age)), secrets.token_hex(16)
        headers = {
            "Content-Type": "application/json",
            "Wechatpay-Timestamp": stamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": sign(who, f"{stamp}\n{nonce}\n".encode() + body + b"\n", digest),
            "Wechatpay-Signature-Type": self.SIGNATURE_TYPE,
            "Wechatpay-Serial": serial,
        }
        return Notice(headers, body)

    def probe(self, notice: Notice) -> Notice:
        """With the signature that is wrong on purpose."""
        return self._with(notice, "Wechatpay-Signature", "WECHATPAY/SIGNTEST/" + notice.headers["Wechatpay-Signature"])

    @staticmethod
    def _with(notice: Notice, name: str, value: str | None) -> Notice:
        headers = {each: text for each, text in notice.headers.items() if each != name}
        return replace(notice, headers=headers if value is None else {**headers, name: value})

    def forgeries(self, notice: Notice) -> dict[str, Notice]:
        forged = {
            "a probe": self.probe(notice),
            "another body": replace(notice, body=notice.body.replace(b"EV-", b"EV_")),
            "half a body": replace(notice, body=notice.body[: len(notice.body) // 2]),
            "no body": replace(notice, body=b""),
            "old": self.seal(notice.body, age=301),
            "of tomorrow": self.seal(notice.body, age=-301),
            "signed by the merchant": self.seal(notice.body, who="wechat merchant"),
            "signed by a stranger": self.seal(notice.body, who="stranger"),
            "SHA-1": self.seal(notice.body, digest=SHA1()),
            "another time": self._with(
                notice, "Wechatpay-Timestamp", str(int(notice.headers["Wechatpay-Timestamp"]) + 1)
            ),
            "another key": self._with(notice, "Wechatpay-Serial", "PUB_KEY_ID_2"),
            "a certificate's serial": self._with(notice, "Wechatpay-Serial", self.SERIAL),
            "SM2": self._with(notice, "Wechatpay-Signature-Type", "WECHATPAY2-SM2-WITH-SM3"),
        }
        for name in ("Serial", "Signature", "Timestamp", "Nonce"):
            forged[f"no {name}"] = self._with(notice, f"Wechatpay-{name}", None)
        return forged

    def is_taken(self, status: int, body: bytes) -> bool:
        return status in (200, 204)

    def _signed(self, status: int, body: bytes) -> Answer:
        notice = self.seal(body)
        return Answer(status, notice.headers, body)

    def _ok(self, said: dict[str, Any]) -> Answer:
        return self._signed(200, json.dumps(said, ensure_ascii=False).encode())

    def _no(self, status: int, code: str) -> Answer:
        return self._signed(status, json.dumps({"code": code, "message": "不行"}, ensure_ascii=False).encode())

    def _probing(self, answer: Answer) -> Answer:
        probe = self.probe(Notice(answer.headers, answer.body))
        return replace(answer, headers=probe.headers)

    def _disbelief(self) -> Answer:
        body = json.dumps({"code": "SIGN_ERROR", "message": "签名错误"}, ensure_ascii=False).encode()
        return Answer(401, {"Content-Type": "application/json"}, body)

    def _busy(self, target: str) -> Answer:
        return self._no(500, "SYSTEM_ERROR")

    def bill(self) -> bytes:
        names = (
            "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,"
            "应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,商品名称,商户数据包,手续费,"
            "费率,订单金额,申请退款金额,费率备注"
        )
        lines = []
        for trade in self.trades.values():
            if trade.paid_at is None:
                continue
            start = [_beijing(trade.paid_at), self.APP, self.MERCHANT, "0", "", trade.trade_no, trade.order_no]
            start += ["oUpF8uMuAJO_M2pxb1Q9zNjWeS6o", "NATIVE"]
            price = yuan(trade.fen)
            paid = ["SUCCESS", "OTHERS", "CNY", price, "0.00", "0", "0", "0.00", "0.00", "", "", "100 积分, 和更多", ""]
            lines.append([*start, *paid, "0.06000", "0.60%", price, "0.00", ""])
            for refund in trade.refunds:
                if refund.status != "succeeded" or refund.at is None:
                    continue
                back = ["REFUND", "OTHERS", "CNY", "0.00", "0.00", refund.refund_id, refund.refund_no]
                back += [yuan(refund.fen), "0.00", "ORIGINAL", "SUCCESS", "100 积分, 和更多", "", "-0.03000", "0.60%"]
                lines.append([_beijing(refund.at), *start[1:], *back, "0.00", yuan(refund.fen), ""])
        sums = "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
        total = [str(len(lines)), "0.00", "0.00", "0.00", "0.00", "0.00", "0.00"]
        values = ["".join(f",`{value}" for value in line)[1:] for line in (*lines, total)]
        return "\r\n".join(["\ufeff" + names, *values[:-1], sums, values[-1], ""]).encode()


# --- Alipay


class AlipayStandIn(StandIn):
    """Alipay's gateway, with public keys. It knows a trade from the moment that its payer has come for it."""

    name = "alipay"
    SCHEDULE = (240, 600, 600, 3600, 7200, 21600, 54000)

    APP = "2021000000000000"
    SELLER = "2088000000000000"

    def __init__(self) -> None:
        super().__init__()
        self._codes: dict[str, dict[str, Any]] = {}

    def arguments(self) -> dict[str, Any]:
        return {
            "app_id": self.APP,
            "app_private_key": private_pem("alipay app"),
            "alipay_public_key": public_pem("alipay"),
            "seller_id": self.SELLER,
            "notify_url": self.notify_url,
            "gateway": f"{self.url}/gateway.do",
        }

    def channel(self) -> Alipay:
        return Alipay(**self.arguments())

    # What it is asked.

    @staticmethod
    def content(parameters: Iterable[tuple[str, str]], *left_out: str) -> bytes:
        """What is signed."""
        kept = sorted((name, value) for name, value in parameters if name not in left_out)
        return "&".join(f"{name}={value}" for name, value in kept).encode()

    @staticmethod
    def parameters(target: str, body: bytes = b"") -> dict[str, str]:
        """Of an address and a form together."""
        halves = (urlsplit(target).query, body.decode())
        pairs = [pair for half in halves for pair in parse_qsl(half, keep_blank_values=True, strict_parsing=bool(half))]
        if len(dict(pairs)) != len(pairs):
            raise Disbelief("a parameter is there twice")
        return dict(pairs)

    def believe(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        given = self.parameters(target, body)
        if not has_signed("alipay app", self.content(given.items(), "sign"), given.get("sign", "")):
            raise Disbelief("a wrong signature")
        expected = {"app_id": self.APP, "sign_type": "RSA2", "version": "1.0", "charset": "utf-8"}
        if {name: given.get(name) for name in expected} != expected or given.get("format", "JSON") != "JSON":
            raise Disbelief("another app, or another way to speak")
        datetime.strptime(given["timestamp"], "%Y-%m-%d %H:%M:%S")
        if urlsplit(target).path != "/gateway.do":
            raise Disbelief("another address")

    def _answer(self, method: str, target: str, body: bytes) -> Answer:
        given = self.parameters(target, body)
        asked = json.loads(given["biz_content"])
        trade = self.trades.get(asked["out_trade_no"])
        match given["method"]:
            case "alipay.trade.precreate":
                self.asked.append("prepay")
                code = self.number("https://qr.alipay.com/bavh4wjlxf")
                self._codes[code] = given
                return self._said(given, out_trade_no=asked["out_trade_no"], qr_code=code)
            case "alipay.trade.query":
                self.asked.append("query")
                return self._said(given, **self._standing(trade)) if trade else self._no(given, "ACQ.TRADE_NOT_EXIST")
            case "alipay.trade.close":
                self.asked.append("close")
                if trade is None:
                    return self._no(given, "ACQ.TRADE_NOT_EXIST")
                if trade.status != "waiting":
                    return self._no(given, "ACQ.TRADE_STATUS_ERROR")
                trade.status = "closed"
                return self._said(given, out_trade_no=trade.order_no, trade_no=trade.trade_no)
            case "alipay.trade.refund":
                self.asked.append("refund")
                return self._refund(given, asked, trade)
            case "alipay.trade.fastpay.refund.query":
                self.asked.append("query_refund")
                if trade is None:
                    return self._no(given, "ACQ.TRADE_NOT_EXIST")
                refund = self.refund(asked["out_request_no"])
                if refund is None or refund.status == "pending":
                    return self._said(given)
                return self._said(
                    given,
                    out_trade_no=trade.order_no,
                    trade_no=trade.trade_no,
                    out_request_no=refund.refund_no,
                    refund_amount=yuan(refund.fen),
                    total_amount=yuan(trade.fen),
                    refund_status="REFUND_SUCCESS" if refund.status == "succeeded" else "REFUND_FAIL",
                )
        return self._no(given, "isv.invalid-method")

    def _refund(self, given: dict[str, str], asked: dict[str, Any], trade: Trade | None) -> Answer:
        if trade is None:
            return self._no(given, "ACQ.TRADE_NOT_EXIST")
        # Alipay's own notes: without a number of its own a refund is one of the whole order.
        refund_no, amount = asked.get("out_request_no", trade.order_no), fen(asked["refund_amount"])
        refund, moved = self.refund(refund_no), False
        if refund is None:
            gone = sum(refund.fen for refund in trade.refunds if refund.status != "failed")
            if trade.paid_at is None or trade.status != "paid":
                return self._no(given, "ACQ.TRADE_STATUS_ERROR")
            if gone + amount > trade.fen:
                return self._no(given, "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL")
            refund = self._new_refund(trade, refund_no, amount)
            moved = refund.status == "succeeded"
            if trade.refunded == trade.fen:
                trade.status = "closed"
        elif refund.fen != amount:
            return self._no(given, "ACQ.DISCORDANT_REPEAT_REQUEST")
        return self._said(
            given,
            out_trade_no=trade.order_no,
            trade_no=trade.trade_no,
            buyer_logon_id="159****5620",
            fund_change="Y" if moved else "N",
            # Of all refunds.
            refund_fee=yuan(trade.refunded),
        )

    def come(self, parameters: dict[str, str]) -> Trade:
        """A payer opens the address, or scans the code: from now on there is a trade."""
        if "url" in parameters:
            self.believe("GET", parameters["url"].removeprefix(self.url), {}, b"")
            given = self.parameters(parameters["url"])
            assert given["method"] == "alipay.trade.page.pay"
        else:
            given = self._codes[parameters["qr_code"]]
        asked = json.loads(given["biz_content"])
        order_no, price = asked["out_trade_no"], fen(asked["total_amount"])
        assert given["notify_url"] == self.notify_url
        with self._lock:
            trade = Trade(order_no, price, "waiting", self.number("202611222200140"), (price, asked["subject"]))
            return self.trades.setdefault(order_no, trade)

    def pay(self, parameters: dict[str, str], *, too_late: bool = False) -> Trade:
        with self._lock:
            trade = self.come(parameters)
            assert trade.status == "waiting" or (too_late and trade.status == "closed" and trade.paid_at is None)
            trade.status, trade.paid_at = "paid", self.clock()
            return trade

    # What it says.

    @staticmethod
    def _status(trade: Trade) -> str:
        return {"waiting": "WAIT_BUYER_PAY", "paid": "TRADE_SUCCESS", "closed": "TRADE_CLOSED"}[trade.status]

    def _standing(self, trade: Trade) -> dict[str, str]:
        said = {
            "trade_no": trade.trade_no,
            "out_trade_no": trade.order_no,
            "trade_status": self._status(trade),
            "total_amount": yuan(trade.fen),
            "receipt_amount": yuan(trade.fen - 1) if trade.paid_at else "0.00",
            "buyer_pay_amount": yuan(trade.fen - 1) if trade.paid_at else "0.00",
        }
        return said | ({"send_pay_date": _beijing(trade.paid_at)} if trade.paid_at else {})

    def _form(self, trade: Trade, event: str, changes: dict[str, Any]) -> dict[str, str]:
        assert trade.paid_at is not None
        app = changes.get("app", self.APP)
        return {
            "gmt_create": _beijing(trade.paid_at),
            "charset": "utf-8",
            "subject": "100 积分 ／ credits & more",
            "body": "",
            "buyer_id": "2088102116773037",
            "invoice_amount": yuan(trade.fen),
            "notify_id": self.number("2026112200222160950007001"),
            "fund_bill_list": '[{"amount":"9.90","fundChannel":"ALIPAYACCOUNT"}]',
            "notify_type": "trade_status_sync",
            "trade_status": event,
            "receipt_amount": yuan(trade.fen - 1),
            "buyer_pay_amount": yuan(trade.fen - 1),
            "app_id": app,
            "auth_app_id": app,
            "seller_id": changes.get("merchant", self.SELLER),
            "gmt_payment": _beijing(trade.paid_at),
            "notify_time": _beijing(self.clock()),
            "version": "1.0",
            "out_trade_no": changes.get("order_no", trade.order_no),
            "total_amount": yuan(changes.get("fen", trade.fen)),
            "trade_no": changes.get("trade_no", trade.trade_no),
            "point_amount": "0.00",
            "passback_params": "a=1&b=%2B ",
        }

    def payment(self, order_no: str, /, **changes: Any) -> Notice:
        return self.seal(self._form(self.trades[order_no], changes.get("event", "TRADE_SUCCESS"), changes))

    def refunded(self, refund_no: str, /, **changes: Any) -> Notice:
        """Of a refund that succeeded; there are none of others."""
        refund = self.refund(refund_no)
        assert refund is not None
        assert refund.at is not None
        trade = self.trades[refund.order_no]
        form = self._form(trade, "TRADE_CLOSED" if trade.refunded == trade.fen else "TRADE_SUCCESS", changes)
        back = {
            "gmt_refund": _beijing(refund.at) + ".636",
            "refund_fee": yuan(trade.refunded),
            "out_biz_no": changes.get("refund_no", refund_no),
        }
        return self.seal(form | back)

    def seal(self, form: dict[str, str], *, who: str = "alipay") -> Notice:
        """Signs what it sends."""
        signature = sign(who, self.content(form.items(), "sign", "sign_type"))
        body = urlencode({**form, "sign": signature, "sign_type": "RSA2"}).encode()
        return Notice({"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}, body)

    def forgeries(self, notice: Notice) -> dict[str, Notice]:
        form = dict(parse_qsl(notice.body.decode(), keep_blank_values=True))
        signed = {name: value for name, value in form.items() if name not in ("sign", "sign_type")}

        def of(form: dict[str, str]) -> Notice:
            return replace(notice, body=urlencode(form).encode())

        sha1 = sign("alipay", self.content(signed.items()), SHA1())
        return {
            "another amount": of({**form, "total_amount": "990.00"}),
            "one more": of({**form, "more": ""}),
            "one less": of({name: value for name, value in form.items() if name != "body"}),
            "no signature": of({name: value for name, value in form.items() if name != "sign"}),
            "no type": of({name: value for name, value in form.items() if name != "sign_type"}),
            "SHA-1": of({**form, "sign": sha1, "sign_type": "RSA"}),
            "SHA-1 as RSA2": of({**form, "sign": sha1}),
            "RSA2 as RSA": of({**form, "sign_type": "RSA"}),
            "signed by the app": self.seal(signed, who="alipay app"),
            "signed by a stranger": self.seal(signed, who="stranger"),
            "twice": replace(notice, body=notice.body + b"&out_trade_no=" + form["out_trade_no"].encode()),
            "half a body": replace(notice, body=notice.body[: len(notice.body) // 2]),
            "no body": replace(notice, body=b""),
            "JSON": replace(notice, body=json.dumps(form).encode()),
        }

    def is_taken(self, status: int, body: bytes) -> bool:
        return status == 200 and body == b"success"

    def _said(self, given: dict[str, str], **said: str) -> Answer:
        return self._sealed(given, {"code": "10000", "msg": "Success", **said})

    def _no(self, given: dict[str, str], reason: str) -> Answer:
        said = {"code": "40004", "msg": "Business Failed", "sub_code": reason, "sub_msg": "不行"}
        return self._sealed(given, said)

    def _sealed(self, given: dict[str, str], said: dict[str, str]) -> Answer:
        # Slashes as Alipay writes them: whoever writes this text anew before verifying it fails.
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
        name = given["method"].replace(".", "_") + "_response"
        body = f'{{"{name}":{text},"sign":"{sign("alipay", text.encode())}"}}'
        return Answer(200, {"Content-Type": "text/html;charset=utf-8"}, body.encode())

    def _probing(self, answer: Answer) -> Answer:
        return replace(answer, body=answer.body.replace(b'"msg":"Success"', b'"msg":"success"'))

    def _disbelief(self) -> Answer:
        body = {"error_response": {"code": "40002", "msg": "Invalid Arguments", "sub_code": "isv.invalid-signature"}}
        return Answer(200, {"Content-Type": "text/html;charset=utf-8"}, json.dumps(body).encode())

    def _busy(self, target: str) -> Answer:
        given = self.parameters(target)
        said = {"code": "20000", "msg": "Service Currently Unavailable", "sub_code": "aop.ACQ.SYSTEM_ERROR"}
        return self._sealed(given, said)

    def bill(self) -> bytes:
        names = (
            "支付宝交易号,商户订单号,业务类型,商品名称,创建时间,完成时间,门店编号,门店名称,操作员,终端号,对方账户,订单金额（元）,"
            "商家实收（元）,支付宝红包（元）,集分宝（元）,支付宝优惠（元）,商家优惠（元）,券核销金额（元）,券名称,商家红包消费金额（元）,"
            "卡消费金额（元）,退款批次号/请求号,服务费（元）,分润（元）,备注"
        )
        lines, counts = [], {"交易": 0, "退款": 0}

        def line(trade: Trade, kind: str, at: datetime, amount: int, refund_no: str) -> None:
            counts[kind] += 1
            start = [
                trade.trade_no + "\t",
                trade.order_no + "\t",
                kind,
                '"100 积分, 和更多"',
                _beijing(at),
                _beijing(at),
            ]
            money = [yuan(amount), yuan(amount), "0.00", "0.00", "0.00", "0.00", "0.00", "", "0.00\t", "0.00"]
            empty = ["\t", "\t", "\t", "\t", "*水(602***@qq.com)\t"]
            lines.append(",".join([*start, *empty, *money, refund_no + "\t", "-0.06", "0.00", ""]))

        for trade in self.trades.values():
            if trade.paid_at is not None:
                line(trade, "交易", trade.paid_at, trade.fen, "")
            for refund in trade.refunds:
                if refund.status == "succeeded" and refund.at is not None:
                    line(trade, "退款", refund.at, -refund.fen, refund.refund_no)
        day = f"{self.clock().astimezone(BEIJING):%Y年%m月%d日} 00:00:00"
        text = [
            "#支付宝业务明细查询",
            "#账号：[20880000000000000156]",
            f"#起始日期：[{day}]   终止日期：[{day}]",
            "#-----------------------------------------业务明细列表----------------------------------------",
            names,
            *lines,
            "#-----------------------------------------业务明细列表结束------------------------------------",
            f"#交易合计：{counts['交易']}笔，商家实收共0.00元，商家优惠共0.00元",
            f"#退款合计：{counts['退款']}笔，商家实收退款共0.00元，商家优惠退款共0.00元",
            f"#导出时间：[{day}]",
            "",
        ]
        return "\r\n".join(text).encode("gbk")


def _beijing(at: datetime) -> str:
    return f"{at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}"


STAND_INS: dict[str, type[StandIn]] = {"wechat": WeChatStandIn, "alipay": AlipayStandIn}


# --- a process of a backend


def job(url: str, channel: StandIn, notice: Notice, copies: int) -> str:
    """What this file, run as a program, reads."""
    words = {
        "url": url,
        "channel": channel.name,
        "arguments": channel.arguments(),
        "headers": notice.headers,
        "body": base64.b64encode(notice.body).decode(),
        "copies": copies,
    }
    return json.dumps(words)


async def take(job: dict[str, Any]) -> None:
    """Says `ready`, waits for a line, takes all copies at once, and says what became of each."""
    made = {"wechat": WeChatPay, "alipay": Alipay}[job["channel"]](**job["arguments"])
    async with await AsyncLedger.connect(job["url"], channels=[made]) as ledger:
        print("ready", flush=True)
        sys.stdin.readline()
        body = base64.b64decode(job["body"])

        async def one() -> str:
            try:
                told = await ledger.handle_notification(job["channel"], job["headers"], body)
            except CreditsError as error:
                return f"{error.code}: {error}"
            return told.event

        print(json.dumps(await asyncio.gather(*(one() for _ in range(job["copies"])))), flush=True)


if __name__ == "__main__":
    asyncio.run(take(json.loads(sys.stdin.readline())))
