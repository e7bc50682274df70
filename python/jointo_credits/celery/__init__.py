"""Celery: the ledger's periodic tasks, and tasks that are charged for.

>>> from celery import Celery
>>> from jointo_credits.celery import charged_task, register
>>> app = Celery("backend", broker="memory://")
>>> credits = register(app, "sqlite:///credits.db")
>>> @charged_task(app, feature="video_generation", quantity=lambda seconds: seconds)
... def render(user_id: str, prompt: str, seconds: int) -> str:
...     return f"{seconds} s of {prompt}"

``render.delay(user_id, "雪", 5)`` holds the credits at once, or raises an `InsufficientCreditsError`.
The task is charged for when it has succeeded, and not when it has failed.
"""

try:
    from ._charged import Charge, ChargedTask, charged_task, current_charge
    from ._periodic import SCHEDULE, Books, register
except ModuleNotFoundError as missing:
    if missing.name not in {"celery", "kombu"}:
        raise
    hint = "jointo_credits.celery needs Celery: pip install 'jointo-credits[celery]'"
    raise ModuleNotFoundError(hint, name=missing.name) from None

__all__ = ["SCHEDULE", "Books", "Charge", "ChargedTask", "charged_task", "current_charge", "register"]
