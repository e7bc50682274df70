"""The stand-ins as a process, and the wallet of their payers: ``uvicorn standins.wallet:app``.

What they have agreed upon with the merchant they write into the file that BACKEND_CHANNELS names, before they answer;
notices go to BACKEND_API_URL. Between deliveries their clocks go 1,000 times as fast, or PAY_HURRY times: a day takes
86 seconds.

``mishap`` in a payment's query chooses what becomes of its notice: ``lost`` never comes, ``twice`` comes twice at once,
``late`` after the next one, ``forged`` after others that are not genuine. Else chance does, as often as the
environment's ``PAY_LOST``, ``PAY_TWICE``, ``PAY_LATE`` and ``PAY_FORGED`` say (0 to 1); ``PAY_SEED`` repeats it.
"""

from __future__ import annotations

import json
import logging
import os
import random
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

from fastapi import FastAPI, HTTPException, Query

from . import STAND_INS, StandIn
from .channel import Notice, Unpayable, yuan

Mishap = Literal["lost", "twice", "late", "forged"]

_log = logging.getLogger("standins")
_channels: dict[str, StandIn] = {}
_chance = random.Random(os.environ.get("PAY_SEED"))


def happens(mishap: str) -> bool:
    return _chance.random() < float(os.environ.get(f"PAY_{mishap.upper()}", "0"))


def tell(channel: StandIn, about: str, notice: Callable[[], Notice], mishaps: frozenset[Mishap] = frozenset()) -> None:
    """Has the merchant notified, unless something goes wrong."""
    mishaps |= {each for each in get_args(Mishap) if happens(each)}
    if "lost" in mishaps:
        _log.info("%s: lost", about)
        return
    copies = 2 if "twice" in mishaps else 1
    channel.deliver(notice, about=about, copies=copies, late="late" in mishaps, forged="forged" in mishaps)


def tell_of_refund(channel: StandIn, refund_no: str) -> None:
    tell(channel, f"refund {refund_no}", partial(channel.refunded, refund_no))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    logging.basicConfig(format="%(asctime)s %(message)s", level=logging.INFO)
    agreed = Path(os.environ["BACKEND_CHANNELS"])
    with ExitStack() as stack:
        for name, kind in STAND_INS.items():
            channel = kind()
            channel.notify_url = f"{os.environ['BACKEND_API_URL']}/api/v1/recharge/notify/{name}"
            channel.hurry = float(os.environ.get("PAY_HURRY", "1000"))
            channel.when_refunded = partial(tell_of_refund, channel)
            _channels[name] = stack.enter_context(channel)
        agreed.touch(0o600)
        agreed.write_text(json.dumps({name: channel.arguments() for name, channel in _channels.items()}, indent=2))
        yield


app = FastAPI(title="WeChat Pay and Alipay, or nearly", lifespan=lifespan)


@app.post("/pay")
def pay(
    parameters: dict[str, str], mishap: Annotated[frozenset[Mishap], Query()] = frozenset[Mishap]()
) -> dict[str, str]:
    """Pays with the parameters of a payment, as the merchant has given them to the payer."""
    channel = _channels["alipay" if parameters.keys() & {"url", "qr_code"} else "wechat"]
    try:
        trade = channel.pay(parameters)
    except Unpayable as problem:
        raise HTTPException(409, str(problem)) from problem
    tell(channel, f"payment {trade.order_no}", partial(channel.payment, trade.order_no), mishap)
    return {"channel": channel.name, "orderNo": trade.order_no, "tradeNo": trade.trade_no, "paid": yuan(trade.fen)}


@app.get("/health")
async def health() -> dict[str, str]:
    return {"status": "ok"}
