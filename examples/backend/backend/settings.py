"""What the processes of the backend have to know: from the environment."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from jointo_credits import Alipay, WeChatPay


def payment_channels(path: str | None) -> tuple[WeChatPay | Alipay, ...]:
    """The channels that a file configures: JSON, an object for each, with the arguments of `WeChatPay` and `Alipay`. A
    secret: the merchant's keys are in it."""
    given: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8")) if path else {}
    channels = list[WeChatPay | Alipay]()
    if "wechat" in given:
        channels.append(WeChatPay(**given["wechat"]))
    if "alipay" in given:
        channels.append(Alipay(**given["alipay"]))
    return tuple(channels)


@dataclass(frozen=True)
class Settings:
    #: The ledger's database, as `jointo_credits` takes it.
    credits_url: str
    #: The backend's own tables, as SQLAlchemy takes it. On SQLite a file of its own: two copies of SQLite in one
    #: process (Python's and the ledger's) must not share one.
    jobs_url: str
    #: Celery's broker; ``filesystem://`` keeps messages in `folder`.
    broker_url: str
    result_url: str
    #: Where this API can be reached, and the AI service.
    api_url: str
    ai_url: str
    #: Signs sign-in tokens and callbacks. Your own, and a secret.
    secret: str
    service_token: str
    admin_token: str
    #: How long credits are held for a job that nobody speaks of any more.
    hold_ttl: timedelta
    #: How often what has expired is written down.
    sweep_every: timedelta
    #: Through which packages are sold.
    channels: tuple[WeChatPay | Alipay, ...]
    #: How long an order can be paid.
    order_ttl: timedelta
    #: How often the channels are asked about payments that nobody has told of.
    reconcile_every: timedelta
    folder: Path

    @classmethod
    def from_environment(cls) -> Settings:
        value = os.environ
        folder = Path(value.get("BACKEND_FOLDER", ".backend")).absolute()
        return cls(
            credits_url=value.get("BACKEND_CREDITS_URL", f"sqlite:///{folder}/credits.db"),
            jobs_url=value.get("BACKEND_JOBS_URL", f"sqlite+aiosqlite:///{folder}/jobs.db"),
            broker_url=value.get("BACKEND_BROKER_URL", "filesystem://"),
            result_url=value.get("BACKEND_RESULT_URL", f"file://{folder}/results"),
            api_url=value.get("BACKEND_API_URL", "http://127.0.0.1:8000"),
            ai_url=value.get("BACKEND_AI_URL", "http://127.0.0.1:8001"),
            secret=value.get("BACKEND_SECRET", "a secret that everybody can read here"),
            service_token=value.get("BACKEND_SERVICE_TOKEN", "service"),
            admin_token=value.get("BACKEND_ADMIN_TOKEN", "admin"),
            hold_ttl=timedelta(seconds=float(value.get("BACKEND_HOLD_TTL", "600"))),
            sweep_every=timedelta(seconds=float(value.get("BACKEND_SWEEP_EVERY", "3600"))),
            channels=payment_channels(value.get("BACKEND_CHANNELS")),
            order_ttl=timedelta(seconds=float(value.get("BACKEND_ORDER_TTL", "1800"))),
            reconcile_every=timedelta(seconds=float(value.get("BACKEND_RECONCILE_EVERY", "120"))),
            folder=folder,
        )


settings = Settings.from_environment()
