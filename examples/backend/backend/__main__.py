"""Starts the whole backend, until Ctrl-C: ``python -m backend``.

Without options it needs nothing but Python: SQLite, and files for Celery's messages. With ``--credits-url
postgresql://...`` and ``--broker-url redis://...`` it runs as it would in production.
"""

from __future__ import annotations

import argparse
import os
import signal
import time
from pathlib import Path
from types import FrameType

from .stack import Stack

#: What the environment may say otherwise: the AI is not perfect, and deadlines are soon.
DEFAULTS = {
    "AI_SLOW": "0.2",
    "AI_FAIL": "0.1",
    "AI_SILENT": "0.05",
    "BACKEND_HOLD_TTL": "60",
    "BACKEND_SWEEP_EVERY": "30",
    "BACKEND_RECONCILE_EVERY": "30",
}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m backend", description=__doc__.split("\n\n")[0] if __doc__ else None
    )
    parser.add_argument("--folder", type=Path, default=Path(".backend"), help="for data and logs (.backend)")
    parser.add_argument("--credits-url", help="PostgreSQL for the ledger and the jobs (SQLite in the folder)")
    parser.add_argument("--broker-url", help="Redis for Celery (files in the folder)")
    parser.add_argument("--port", type=int, default=8000, help="of the API (8000; 0 for a free one)")
    options = parser.parse_args()
    stack = Stack(
        options.folder,
        credits_url=options.credits_url,
        broker_url=options.broker_url,
        api_port=options.port,
        more={name: os.environ.get(name, value) for name, value in DEFAULTS.items()},
    )

    def end(number: int, frame: FrameType | None) -> None:
        # Once: what follows is the orderly end.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        raise KeyboardInterrupt

    # Both: who starts this in the background has Ctrl-C ignored.
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        stack.start()
        print(
            f"""The backend runs; its logs are in {stack.folder}. Its routes: {stack.api_url}/docs

  api={stack.api_url}/api/v1
  json='Content-Type: application/json'
  token=$(curl -s $api/sign-in -H "$json" -d '{{"name": "mia"}}' | sed 's/.*"token": *"//; s/".*//')
  mia="Authorization: Bearer $token"

  # She orders a package, here for "wechat"; or "alipay", and its method "qr".
  package=$(curl -s $api/credits/packages -H "$mia" | grep -o '"packageId":"[^"]*"' | head -1 | cut -d '"' -f 4)
  order=$(curl -s $api/recharge/orders -H "$mia" -H "$json" \\
      -d "{{\\"packageId\\": \\"$package\\", \\"channel\\": \\"wechat\\", \\"method\\": \\"native\\"}}"); echo "$order"

  # She pays at the stand-in, which notifies the backend. After the address, ?mishap=twice and others make it worse.
  parameters=$(echo "$order" | grep -o '{{"code_url":[^}}]*}}\\|{{"qr_code":[^}}]*}}')
  curl -s {stack.wallet_url}/pay -H "$json" -d "$parameters"

  # Her page asks until the credits are there; they pay for a video.
  number=$(echo "$order" | grep -o '"orderNo":"[^"]*"' | cut -d '"' -f 4)
  until curl -s $api/recharge/orders/$number -H "$mia" | grep '"status":"paid"'; do sleep 0.5; done
  curl -s $api/ai/videos -H "$mia" -H "$json" -d '{{"prompt": "雪", "seconds": 5}}'
  curl -s $api/credits/balance -H "$mia"

  # An administrator's gift, and a refund.
  curl -s $api/credits/gift -H 'Authorization: Bearer admin' -H "$json" \\
      -d "{{\\"userId\\": \\"${{token%%.*}}\\", \\"amount\\": 500, \\"reason\\": \\"welcome\\"}}"
  curl -s $api/recharge/orders/$number/refund -H 'Authorization: Bearer admin' -H "$json" -d '{{"reason": "regret"}}'

Ctrl-C ends it.""",
            flush=True,
        )
        while all(process.poll() is None for process in stack.processes.values()):
            time.sleep(0.5)
        gone = [name for name, process in stack.processes.items() if process.poll() is not None]
        raise SystemExit(f"{', '.join(gone)} ended by itself:\n{stack.log(gone[0])[-3000:]}")
    except KeyboardInterrupt:
        print("ending")
    finally:
        stack.stop()


if __name__ == "__main__":
    main()
