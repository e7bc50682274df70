"""What both stand-ins have in common: trades, the server that is asked, and the notices that are sent."""

from __future__ import annotations

import logging
import threading
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

BEIJING = timezone(timedelta(hours=8))
_log = logging.getLogger("standins")


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
    refunds: list[Refund] = field(default_factory=list[Refund])

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


class Unpayable(Exception):
    """A payer can't pay with what they have, or not any more."""


def yuan(fen: int) -> str:
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02}"


def fen(yuan: str) -> int:
    whole, cents = yuan.split(".")
    assert len(cents) == 2
    return int(whole) * 100 + int(cents)


def beijing(at: datetime) -> str:
    return f"{at.astimezone(BEIJING):%Y-%m-%d %H:%M:%S}"


class StandIn(ABC):
    """A channel. To be used in `with`, which serves it."""

    name: str
    #: The waits before each further delivery, in seconds.
    SCHEDULE: tuple[int, ...]

    def __init__(self) -> None:
        self.notify_url = "https://shop.example/notify"
        #: How much faster than the real one its clock goes between deliveries: a day in about a second.
        self.hurry: float = 100_000
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
        #: Is called with the number of a refund that has succeeded.
        self.when_refunded: Callable[[str], object] = lambda refund_no: None
        self._numbers = iter(range(1, 1_000_000))
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []
        self._stopping = threading.Event()
        #: The newest delivery that was taken, by its number, and whoever waits for a newer one.
        self._newest_taken = 0
        self._one_is_taken = threading.Condition()

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
        with self._one_is_taken:
            self._one_is_taken.notify_all()
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
        if status == "succeeded":
            self.when_refunded(refund_no)

    def deliver(
        self,
        notice: Callable[[], Notice],
        *,
        about: str = "a notice",
        lost: int = 0,
        copies: int = 1,
        late: bool = False,
        forged: bool = False,
    ) -> Deliveries:
        """Sends a notice to `notify_url`, signed anew each time, until it is taken or the schedule ends. The first
        `lost` get lost on the way; of every other one `copies` are sent at once. `late` waits until one that was sent
        after it is taken, a day at most; `forged` has others in front of it that must not be believed."""
        deliveries, number = Deliveries(), next(self._numbers)

        def is_overtaken() -> bool:
            return self._newest_taken > number or self._stopping.is_set()

        def send(made: Notice, about: str) -> bool:
            request = urllib.request.Request(self.notify_url, data=made.body, headers=made.headers, method="POST")
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    status, body = answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    status, body = error.code, error.read()
            except (OSError, HTTPException) as error:
                status, body = 0, str(error).encode()
            deliveries.answers.append((status, body))
            taken = self.is_taken(status, body)
            _log.info("%s: %s", about, "taken" if taken else f"refused: {status} {body!r}")
            return taken

        def work() -> None:
            if late:
                with self._one_is_taken:
                    self._one_is_taken.wait_for(is_overtaken, 86_400 / self.hurry)
            if forged:
                for what, made in self.forgeries(notice()).items():
                    send(made, f"{about}, forged, {what}")
            for attempt, wait in enumerate((0, *self.SCHEDULE)):
                if self._stopping.wait(wait / self.hurry):
                    return
                deliveries.attempts += 1
                if attempt < lost:
                    continue
                senders = [threading.Thread(target=send, args=(notice(), about)) for _ in range(1, copies)]
                for sender in senders:
                    sender.start()
                deliveries.taken = send(notice(), about)
                for sender in senders:
                    sender.join()
                if deliveries.taken:
                    with self._one_is_taken:
                        self._newest_taken = max(self._newest_taken, number)
                        self._one_is_taken.notify_all()
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
    def believe(self, method: str, target: str, headers: dict[str, str], body: bytes) -> None:
        """Raises `Disbelief` unless the merchant has signed a request."""

    @abstractmethod
    def pay(self, parameters: dict[str, str], *, too_late: bool = False) -> Trade:
        """A payer pays with what they were given; `too_late`: even if the trade was closed.

        Raises:
            Unpayable: There is no such trade, or it does not wait for a payment.
        """

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
    answers: list[tuple[int, bytes]] = field(default_factory=list[tuple[int, bytes]])
    taken: bool = False
    ended: bool = False
