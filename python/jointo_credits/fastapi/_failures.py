"""Errors as answers: in the envelope, with a stable word and the facts.

The host's own exception handlers stay as they are. What our routes raise is answered by our routes; an `HTTPException`
of a dependency of the host's goes to the host's handler, where it has one of its own.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.encoders import jsonable_encoder
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic.alias_generators import to_camel
from starlette.exceptions import HTTPException

from .. import CreditsError, UnavailableError, ValidationError
from .._plain import as_json
from ._models import ErrorEnvelope

_log = logging.getLogger("jointo_credits.fastapi")

STATUS = {
    "validation": 422,
    "not_found": 404,
    "insufficient_credits": 402,
    "invalid_state": 409,
    "hold_expired": 409,
    "idempotency_conflict": 409,
    "payment_verification": 400,
    "payment_channel": 502,
    "unavailable": 503,
}
#: Words for what the host's own dependencies say.
_WORDS = {
    400: "malformed",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    408: "too_slow",
    413: "too_large",
    429: "too_many_requests",
}
#: Seconds after which a client may ask again when the database was away.
RETRY_AFTER = {"Retry-After": "1"}

#: For the OpenAPI document.
RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorEnvelope, "description": description}
    for status, description in {
        400: "The body is not UTF-8.",
        401: "Nobody is signed in.",
        402: "There are not enough credits: `required` and `available` say how many.",
        403: "The caller may not do this; where `field` is given, not with this field.",
        404: "There is no such thing, or it is somebody else's.",
        408: "The body did not arrive in time: `limit` says how many seconds it may take.",
        409: "The state does not allow it, or the idempotency key was used for another request.",
        413: "The body is too large: `limit` says how many bytes there may be.",
        422: "The request is malformed: `field` and `problem` say what is wrong.",
        502: "The payment channel says no: `reason` is its own code.",
        503: "The ledger is not available; the host's log says why, by `requestId`. Where `outcome` is `unknown`, "
        "repeat it with the same idempotency key.",
    }.items()
}


#: How many faults of a request are told, and how much of each: whoever sends 10,000 is not told of all.
_FAULTS_MAX = 20
_FIELD_CHARS_MAX = 200


class Refused(Exception):
    """What a route of ours refuses before the ledger is asked."""

    def __init__(self, status: int, word: str, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.status, self.word, self.message, self.facts = status, word, message, facts


def answer(status: int, word: str, message: str, facts: dict[str, Any], headers: Any = None) -> Response:
    """An error in the envelope."""
    told = {to_camel(name): value for name, value in facts.items() if value is not None}
    envelope = {"code": status, "message": message, "data": {"error": word, **told}}
    # A value that came with a request may be text that UTF-8 can't say.
    content = as_json(envelope).encode("utf-8", "replace")
    return Response(content, status, headers=headers, media_type="application/json")


def unavailable(reason: object, outcome: str | None = None) -> Response:
    """503. The database's own words name roles, tables and paths: outside is a number to find them by in the log."""
    request_id = uuid.uuid4().hex
    _log.error("request %s: the ledger is not available: %s", request_id, reason, extra={"request_id": request_id})
    todo = "repeat the request with the same idempotency key" if outcome == "unknown" else "try again"
    facts = {"outcome": outcome, "request_id": request_id}
    return answer(503, "unavailable", f"the ledger is not available; {todo}", facts, RETRY_AFTER)


def _refused(error: CreditsError) -> Response:
    if isinstance(error, UnavailableError):
        return unavailable(error, error.outcome)
    facts = error.to_dict()
    word, message = facts.pop("code"), facts.pop("message")
    if isinstance(error, ValidationError) and error.field is not None:
        facts["field"] = to_camel(error.field)
    return answer(STATUS.get(word, 500), word, message, facts)


def _malformed(error: RequestValidationError) -> Response:
    faults = [
        # Without what was given, which may be anything.
        {
            "field": (".".join(map(str, fault["loc"][1:])) or str(fault["loc"][0]))[:_FIELD_CHARS_MAX],
            "problem": fault["msg"][:_FIELD_CHARS_MAX],
        }
        for fault in error.errors()[:_FAULTS_MAX]
    ]
    first = faults[0] if faults else {"field": "body", "problem": "is malformed"}
    return answer(422, "validation", f"{first['field']}: {first['problem']}", {**first, "faults": faults})


def _is_the_hosts(request: Request, error: HTTPException) -> bool:
    handlers = request.app.exception_handlers
    if error.status_code in handlers:
        return True
    for kind in type(error).__mro__:
        if kind in handlers:
            return handlers[kind] is not http_exception_handler
    return False


class EnvelopeRoute(APIRoute):
    """A route whose errors come in the envelope. For a host's own routes too, where they call the ledger:
    ``APIRouter(route_class=EnvelopeRoute)``.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """What FastAPI calls: the route, with its errors in the envelope."""
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(request)
            except CreditsError as error:
                return _refused(error)
            except Refused as refused:
                return answer(refused.status, refused.word, refused.message, refused.facts)
            except RequestValidationError as error:
                return _malformed(error)
            except HTTPException as error:
                if _is_the_hosts(request, error):
                    raise
                word = _WORDS.get(error.status_code, "error")
                detail: Any = error.detail  # FastAPI's may be anything
                if isinstance(detail, str):
                    return answer(error.status_code, word, detail, {}, error.headers)
                message, facts = HTTPStatus(error.status_code).phrase, {"detail": jsonable_encoder(detail)}
                return answer(error.status_code, word, message, facts, error.headers)

        return handle_or_refuse
