"""FastAPI: the credits of a backend over HTTP.

>>> from uuid import UUID
>>> from fastapi import FastAPI
>>> from jointo_credits.fastapi import credits_router
>>> def current_user() -> UUID: ...          # who is asking: yours
>>> def require_service() -> None: ...       # raises an HTTPException where it is no service of yours
>>> def require_admin() -> str: ...          # or no administrator; may give a name for the books
>>> def ledger(): ...                        # an AsyncLedger; made in the application's lifespan
>>> app = FastAPI()
>>> app.include_router(
...     credits_router(
...         ledger, current_user=current_user, require_service=require_service, require_admin=require_admin
...     ),
...     prefix="/api/v1/credits",
... )
"""

try:
    from ._failures import EnvelopeRoute
    from ._health import health_router, metrics_router
    from ._keys import idempotency_key
    from ._recharge import recharge_router
    from ._router import credits_router
    from ._users import UsersConsume
except ModuleNotFoundError as missing:
    if missing.name not in {"fastapi", "pydantic", "starlette"}:
        raise
    hint = "jointo_credits.fastapi needs FastAPI: pip install 'jointo-credits[fastapi]'"
    raise ModuleNotFoundError(hint, name=missing.name) from None

__all__ = [
    "EnvelopeRoute",
    "UsersConsume",
    "credits_router",
    "health_router",
    "idempotency_key",
    "metrics_router",
    "recharge_router",
]
