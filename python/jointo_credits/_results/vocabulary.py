"""The words that results are written with."""

from __future__ import annotations

from typing import Literal

Status = Literal["pending", "confirmed", "refunded", "expired"]
Source = Literal["purchase", "bonus", "gift", "subscription", "adjustment", "reversal", "opening"]
Kind = Literal[
    "grant",
    "gift",
    "consume",
    "confirm",
    "refund",
    "reverse",
    "extend",
    "expire_hold",
    "expire_lot",
    "adjust",
    "credit_limit",
    "clawback",
    "order",
]
Language = Literal["zh", "en"]
OrderStatus = Literal["created", "paying", "paid", "closed", "refunding", "refunded", "partially_refunded"]
