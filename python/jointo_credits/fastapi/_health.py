"""Whether the ledger works, and what it has done: for load balancers and for Prometheus."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel

from .. import AsyncLedger, UnavailableError
from ._failures import RESPONSES, unavailable
from ._models import Envelope
from ._router import Dependency, provider


class Health(BaseModel):
    """The ledger can be used."""

    status: Literal["ok"] = "ok"


def health_router(ledger: AsyncLedger | Dependency, *, timeout: float = 2.0) -> APIRouter:
    """GET ``/health``: 200 where the database answers and has the tables of this version, else 503; the log says why.

    Args:
        ledger: An `AsyncLedger`, or a dependency that gives one.
        timeout: After so many seconds without an answer the database counts as away.
    """
    router = APIRouter(tags=["health"])
    the_ledger: Any = Depends(provider(ledger))

    @router.get("/health", response_model=Envelope[Health], responses={503: RESPONSES[503]})
    async def health(books: AsyncLedger = the_ledger) -> Any:
        """Whether the ledger can be used."""
        try:
            async with asyncio.timeout(timeout):
                await books.check()
        except TimeoutError:
            return unavailable(f"the database has not answered for {timeout:g} s")
        except UnavailableError as error:
            return unavailable(error)
        return Envelope(data=Health())

    return router


def metrics_router(registry: Any = None) -> APIRouter:
    """GET ``/metrics`` for Prometheus: what is registered, such as a `jointo_credits.prometheus.CreditsCollector`.

    Reads the registry in a thread, so that a slow database does not hold the event loop up.

    Args:
        registry: A ``prometheus_client`` registry; its default one without.
    """
    import prometheus_client

    router = APIRouter(tags=["health"])
    shown = prometheus_client.REGISTRY if registry is None else registry

    @router.get("/metrics", response_class=Response, include_in_schema=False)
    def metrics() -> Response:
        return Response(prometheus_client.generate_latest(shown), media_type=prometheus_client.CONTENT_TYPE_LATEST)

    return router
