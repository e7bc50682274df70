"""What comes over the wire, read with a bound before anything else is done with it.

| what may come | what prevents harm |
| --- | --- |
| a body of any size, also in chunks | it is read once it is known who sends it, and not beyond a bound |
| a body that never ends to arrive | it has a time in which to |
| a number with 60,000 digits, or 1e1000000000 | numbers keep their text; a long one is not computed with |
| 0.1, which no float is | it never becomes one: the library reads the text, as it does from Python |
| one name twice, of which two readers see another one each | refused |
| lists in lists in lists | refused beyond a depth |
| a header twice, or in another encoding than a body's | refused; a header is UTF-8 |
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fastapi import Depends, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel
from pydantic import ValidationError as Malformed
from starlette.requests import ClientDisconnect

from ._failures import Refused
from ._numbers import CHARACTERS_MAX, Written

Model = TypeVar("Model", bound=BaseModel)

#: The largest body, in bytes: four times the largest metadata.
BODY_BYTES_MAX = 64 * 1024
#: How many seconds a body may take to arrive.
BODY_SECONDS_MAX = 30
#: How deep a body may be nested.
DEPTH_MAX = 32
_TOO_DEEP = f"is nested more than {DEPTH_MAX} deep"


def _integer(text: str) -> int | Written:
    return Written(text) if len(text) > CHARACTERS_MAX or text == "-0" else int(text)


def _constant(text: str) -> None:
    raise ValueError(f"has {text}, which is no number of JSON")


def _object(members: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(members)
    if len(found) != len(members):
        raise ValueError("has the same name twice in one object")
    return found


def _parts(value: Any) -> Iterable[Any]:
    if isinstance(value, dict):
        return value.values()  # pyright: ignore[reportUnknownVariableType]
    return value if isinstance(value, list) else ()  # pyright: ignore[reportUnknownVariableType]


def _check_depth(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(DEPTH_MAX + 1):
        level = [part for each in level for part in _parts(each)]
        if not level:
            return
    raise ValueError(_TOO_DEEP)


def parse(body: bytes) -> Any:
    """JSON, whose numbers keep their text.

    Raises:
        Refused: It is none, or not such as we take.
    """
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "malformed", "the body is not UTF-8") from None
    try:
        found = json.loads(
            text, parse_float=Written, parse_int=_integer, parse_constant=_constant, object_pairs_hook=_object
        )
        _check_depth(found)
    except json.JSONDecodeError as error:
        problem = f"is no JSON: {error.msg} at character {error.pos}"
    except RecursionError:
        problem = _TOO_DEEP
    except ValueError as error:
        problem = str(error)
    else:
        return found
    raise Refused(422, "validation", f"body: {problem}", field="body", problem=problem)


def _is_json(content_type: str) -> bool:
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))


async def read(request: Request, most: int) -> bytes | None:
    """The body; None where it has more bytes than that, of which no more are read then.

    Raises:
        Refused: It does not arrive, or not in time.
    """
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and (len(declared) > 15 or int(declared) > most):
        return None
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            async for chunk in request.stream():
                body += chunk
                if len(body) > most:
                    return None
    except TimeoutError:
        problem = f"the body took more than {BODY_SECONDS_MAX} seconds to arrive"
        raise Refused(408, "too_slow", problem, limit=BODY_SECONDS_MAX, field="body") from None
    except ClientDisconnect:
        raise Refused(400, "malformed", "the body did not arrive") from None
    return bytes(body)


async def _asked(request: Request, model: type[Model]) -> Model | None:
    body = await read(request, BODY_BYTES_MAX)
    if body is None:
        raise Refused(
            413, "too_large", f"the body has more than {BODY_BYTES_MAX} bytes", limit=BODY_BYTES_MAX, field="body"
        )
    if not body:
        return None
    if not _is_json(request.headers.get("content-type", "")):
        problem = "send JSON, and say so: Content-Type: application/json"
        raise Refused(422, "validation", f"body: {problem}", field="body", problem=problem)
    try:
        return model.model_validate(parse(body))
    except Malformed as error:
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in faults]) from None


def body_of(model: type[Model], caller: Callable[..., Any], *, optional: bool = False) -> Any:
    """A dependency that gives the body, once `caller` has said who sends it.

    A parameter of FastAPI's would do neither: it reads every body to its end and parses it before it asks a dependency.
    """
    known: Any = Depends(caller)

    async def asked(request: Request, _: Any = known) -> Model | None:
        found = await _asked(request, model)
        if found is None and not optional:
            raise RequestValidationError([{"type": "missing", "loc": ("body",), "msg": "is missing"}])
        return found

    return Depends(asked)


def described(model: type[BaseModel], *, optional: bool = False) -> dict[str, Any]:
    """The body in the OpenAPI document: ``openapi_extra``."""
    schema = model.model_json_schema(by_alias=True)
    return {"requestBody": {"required": not optional, "content": {"application/json": {"schema": schema}}}}


__all__ = ["BODY_BYTES_MAX", "DEPTH_MAX", "body_of", "described", "parse", "read"]
