"""Run by test_channels.py as one process of a backend: takes copies of a notification, as its standard input says."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
from typing import Any

from jointo_credits import Alipay, AsyncLedger, CreditsError, WeChatPay


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
