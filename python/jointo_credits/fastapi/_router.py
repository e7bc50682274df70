"""The twelve routes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Header, HTTPException, Query, Response
from pydantic import AwareDatetime, BaseModel
from starlette.concurrency import run_in_threadpool

from .. import AsyncLedger, NotFoundError, ValidationError
from .._results import Kind, Language, Statement, Status
from . import _models as models
from ._failures import RESPONSES, EnvelopeRoute
from ._models import Envelope, Items, Short

Dependency = Callable[..., Any]

#: What routes have in common: an idempotency key, and the page of a list.
the_key: Any = Header(
    None, alias="Idempotency-Key", description="Makes repeating it safe: the same key gives the first answer."
)
a_limit: Any = Query(50, ge=1, le=models.PAGE_MAX)
a_cursor: Any = Query(None, description="`nextCursor` of the page before.")


def answer_ok(data: BaseModel) -> Response:
    """In the envelope. Written as it is: FastAPI would check it once more."""
    return Response(Envelope(data=data).model_dump_json(by_alias=True), media_type="application/json")


def responses_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route can answer with, for the OpenAPI document."""
    return {status: RESPONSES[status] for status in (*statuses, 401, 403, 422, 503)}


def one_key(header: str | None, field: str | None) -> str | None:
    """The idempotency key, which comes as a header or as a field."""
    if header is not None and field is not None and header != field:
        raise ValidationError(
            "idempotencyKey: the header and the field differ; send one of them",
            field="idempotency_key",
            problem="the header and the field differ",
        )
    return header if header is not None else field


def id_of(user: Any) -> UUID:
    """Whom the host's dependency means."""
    return user if isinstance(user, UUID) else UUID(str(user))


def _no_such(consumption_id: UUID) -> NotFoundError:
    """In the ledger's words: whether somebody else has such a consumption is nobody's business."""
    return NotFoundError(f"no consumption {consumption_id}", what="consumption", id=consumption_id)


def name_of(admin: Any) -> str | None:
    """Who an administrator is, where the host's dependency says so."""
    return str(admin) if isinstance(admin, (str, UUID)) else None


def provider(ledger: AsyncLedger | Dependency) -> Dependency:
    """A dependency that gives the ledger."""
    if isinstance(ledger, AsyncLedger):
        return lambda: ledger
    return ledger


#: What a statement can be besides JSON, for the OpenAPI document.
_DOWNLOADS: dict[str, Any] = {f"text/{form}": {"schema": {"type": "string"}} for form in ("csv", "html")}


def _download(statement: Statement, form: Literal["csv", "html"], text: str) -> Response:
    """A statement as a file to be kept: never shown as a page of the host's own."""
    name = f"statement-{statement.since:%Y-%m-%d}-{statement.until:%Y-%m-%d}.{form}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "X-Content-Type-Options": "nosniff"}
    return Response(text, media_type=f"text/{form}", headers=headers)


def credits_router(
    ledger: AsyncLedger | Dependency,
    *,
    current_user: Dependency,
    require_service: Dependency,
    require_admin: Dependency,
    service_or_user: Dependency | None = None,
    users_may: Collection[Literal["consume", "confirm", "refund"]] = ("consume", "confirm", "refund"),
    catalogue_access: Dependency | None = None,
    statement_issuer: str | None = None,
    tags: list[str] | None = None,
) -> APIRouter:
    """The credits of a backend over HTTP: ``app.include_router(credits_router(...), prefix="/api/v1/credits")``.

    | route | for |
    | --- | --- |
    | GET ``/balance``, ``/transactions``, ``/statement``, ``/consumption`` | the current user, of their own account |
    | POST ``/calculate`` | the current user; at the prices that hold for them |
    | POST ``/consume``, ``/confirm``, ``/refund`` | services; or users too, for their own account (`service_or_user`) |
    | GET ``/packages``, ``/packages/{id}`` | the current user (or `catalogue_access`) |
    | POST ``/gift``, ``/expire-pending`` | administrators |

    Answers are ``{"code": 200, "message": "Success", "data": ...}`` in camelCase. Errors have the HTTP status as
    `code`, and in `data` a stable word (`error`) and the facts. Every write takes a key, as the header
    ``Idempotency-Key`` or the field ``idempotencyKey``.

    Args:
        ledger: An `AsyncLedger`, or a dependency that gives one.
        current_user: A dependency that gives the id of the user who asks, or raises an `HTTPException`.
        require_service: A dependency that raises an `HTTPException` where the caller is no service of the host's.
        require_admin: The same for administrators. Text or an id that it gives stands in the register of gifts as who
            gave.
        service_or_user: Lets users consume, confirm and refund: in place of `require_service`, a dependency that gives
            None for a service, and for a user their id. A user reaches their own consumptions only, and gets nothing
            back that was captured. But whoever may confirm or refund a hold decides what a job costs: let users do that
            where they do the work themselves, and not where your workers do it.
        users_may: Which of the three users may do.
        catalogue_access: Who may read the packages, in place of `current_user`: ``lambda: None`` for everybody.
        statement_issuer: Who a printed statement says that it comes from.
        tags: For the OpenAPI document.
    """
    router = APIRouter(route_class=EnvelopeRoute, tags=list(tags or ["credits"]))
    the_ledger: Any = Depends(provider(ledger))
    the_user: Any = Depends(current_user)

    the_service: Any = Depends(require_service)
    service_or_the_user: Any = Depends(service_or_user)

    async def as_service(_: Any = the_service) -> None:
        """Nobody's own account: a service may act for all."""

    def caller_of(what: Literal["consume", "confirm", "refund"]) -> Any:
        if service_or_user is None or what not in users_may:
            return Depends(as_service)

        async def as_service_or_user(caller: Any = service_or_the_user) -> UUID | None:
            """The user who calls; None for a service."""
            return None if caller is None else id_of(caller)

        return Depends(as_service_or_user)

    may_consume, may_confirm, may_refund = caller_of("consume"), caller_of("confirm"), caller_of("refund")
    the_admin: Any = Depends(require_admin)
    catalogue = [Depends(catalogue_access if catalogue_access is not None else current_user)]

    def acting_for(own: UUID | None, user_id: UUID | None) -> UUID | None:
        """Whose account the caller may touch; None for any."""
        if own is None:
            return user_id
        if user_id is not None and user_id != own:
            raise HTTPException(403, "users reach their own credits only")
        return own

    async def check_owner(books: AsyncLedger, consumption_id: UUID, owner: UUID | None) -> None:
        if owner is not None and (await books.get_consumption(consumption_id)).user_id != owner:
            raise _no_such(consumption_id)

    @router.get("/balance", response_model=Envelope[models.BalanceOut], responses=responses_of())
    async def balance(books: AsyncLedger = the_ledger, user: Any = the_user) -> Response:
        """What the user has."""
        return answer_ok(models.BalanceOut.model_validate(await books.balance(id_of(user))))

    @router.get("/transactions", response_model=Envelope[Items[models.TransactionOut]], responses=responses_of())
    async def transactions(
        books: AsyncLedger = the_ledger,
        user: Any = the_user,
        kind: Annotated[Kind | None, Query()] = None,
        since: Annotated[AwareDatetime | None, Query(description="Not before.")] = None,
        until: Annotated[AwareDatetime | None, Query(description="Before.")] = None,
        limit: int = a_limit,
        cursor: Short | None = a_cursor,
    ) -> Response:
        """The user's journal, newest first."""
        page = await books.transactions(id_of(user), kind=kind, since=since, until=until, limit=limit, cursor=cursor)
        return answer_ok(Items[models.TransactionOut].model_validate(page))

    @router.get(
        "/statement",
        response_model=Envelope[models.StatementOut],
        responses={**responses_of(), 200: {"content": _DOWNLOADS}},
    )
    async def statement(
        since: Annotated[AwareDatetime, Query(description="Not before.")],
        until: Annotated[AwareDatetime, Query(description="Before.")],
        books: AsyncLedger = the_ledger,
        user: Any = the_user,
        format: Annotated[
            Literal["json", "csv", "html"], Query(description="`csv` and `html` are downloads.")
        ] = "json",
        language: Annotated[Language | None, Query(description="Of a download; `zh` for a page.")] = None,
        timezone: Annotated[Short, Query(description="What times are shown in on a page.")] = "UTC",
    ) -> Response:
        """What the user had, what came and went, and what they had in the end."""
        found = await books.statement(id_of(user), since, until)

        def write() -> Response:
            match format:
                case "json":
                    return answer_ok(models.StatementOut.model_validate(found))
                case "csv":
                    return _download(found, "csv", found.to_csv(language=language, bom=True))
                case "html":
                    page = found.to_html(language=language or "zh", timezone=timezone, issuer=statement_issuer)
                    return _download(found, "html", page)

        # Not in the event loop: it may have very many entries.
        return await run_in_threadpool(write)

    @router.get("/consumption", response_model=Envelope[Items[models.ConsumptionOut]], responses=responses_of())
    async def consumption(
        books: AsyncLedger = the_ledger,
        user: Any = the_user,
        status: Annotated[Status | None, Query()] = None,
        limit: int = a_limit,
        cursor: Short | None = a_cursor,
    ) -> Response:
        """The user's consumptions, newest first."""
        page = await books.consumption(id_of(user), status=status, limit=limit, cursor=cursor)
        return answer_ok(Items[models.ConsumptionOut].model_validate(page))

    @router.post("/calculate", response_model=Envelope[models.QuoteOut], responses=responses_of(400, 404))
    async def calculate(asked: models.CalculateIn, books: AsyncLedger = the_ledger, user: Any = the_user) -> Response:
        """What something costs the user. Changes nothing."""
        quote = await books.calculate(asked.feature, asked.quantity, asked.attributes, user_id=id_of(user))
        return answer_ok(models.QuoteOut.model_validate(quote))

    @router.post("/consume", response_model=Envelope[models.ConsumptionOut], responses=responses_of(400, 402, 404, 409))
    async def consume(
        asked: models.ConsumeIn,
        books: AsyncLedger = the_ledger,
        own: UUID | None = may_consume,
        key: Short | None = the_key,
    ) -> Response:
        """Holds credits for a job that is about to begin."""
        user_id = acting_for(own, asked.user_id)
        if user_id is None:
            raise ValidationError("userId: say whose credits", field="user_id", problem="is missing")
        held = await books.consume(
            user_id,
            asked.feature,
            asked.quantity,
            asked.attributes,
            amount=asked.amount,
            ttl=asked.ttl,
            reference=asked.reference,
            metadata=asked.metadata,
            idempotency_key=one_key(key, asked.idempotency_key),
        )
        return answer_ok(models.ConsumptionOut.model_validate(held))

    @router.post("/confirm", response_model=Envelope[models.ConsumptionOut], responses=responses_of(400, 402, 404, 409))
    async def confirm(
        asked: models.ConfirmIn,
        books: AsyncLedger = the_ledger,
        own: UUID | None = may_confirm,
        key: Short | None = the_key,
    ) -> Response:
        """Spends what a hold keeps, or what was really used."""
        await check_owner(books, asked.consumption_id, acting_for(own, asked.user_id))
        done = await books.confirm(
            asked.consumption_id,
            amount=asked.amount,
            quantity=asked.quantity,
            overage=asked.overage,
            late=asked.late,
            idempotency_key=one_key(key, asked.idempotency_key),
        )
        return answer_ok(models.ConsumptionOut.model_validate(done))

    @router.post("/refund", response_model=Envelope[models.ConsumptionOut], responses=responses_of(400, 404, 409))
    async def refund(
        asked: models.RefundIn,
        books: AsyncLedger = the_ledger,
        own: UUID | None = may_refund,
        key: Short | None = the_key,
    ) -> Response:
        """Gives credits back: of a hold all, of a confirmed consumption all or a part."""
        await check_owner(books, asked.consumption_id, acting_for(own, asked.user_id))
        done = await books.refund(
            asked.consumption_id,
            amount=asked.amount,
            reason=asked.reason,
            pending_only=asked.pending_only or own is not None,
            idempotency_key=one_key(key, asked.idempotency_key),
        )
        return answer_ok(models.ConsumptionOut.model_validate(done))

    @router.get(
        "/packages",
        response_model=Envelope[Items[models.PackageOut]],
        responses=responses_of(),
        dependencies=catalogue,
    )
    async def packages(books: AsyncLedger = the_ledger) -> Response:
        """What can be bought."""
        items = [models.PackageOut.model_validate(each) for each in await books.packages() if each.active]
        return answer_ok(Items[models.PackageOut](items=items, next_cursor=None))

    @router.get(
        "/packages/{package_id}",
        response_model=Envelope[models.PackageOut],
        responses=responses_of(404),
        dependencies=catalogue,
    )
    async def package(package_id: UUID, books: AsyncLedger = the_ledger) -> Response:
        """One package, also where it can't be bought any more."""
        return answer_ok(models.PackageOut.model_validate(await books.package(package_id)))

    @router.post("/gift", response_model=Envelope[models.GiftOut], responses=responses_of(400, 409))
    async def gift(
        asked: models.GiftIn, books: AsyncLedger = the_ledger, admin: Any = the_admin, key: Short | None = the_key
    ) -> Response:
        """Gives credits away."""
        given = await books.gift(
            asked.user_id,
            asked.amount,
            reason=asked.reason,
            operator=name_of(admin),
            expires_at=asked.expires_at,
            idempotency_key=one_key(key, asked.idempotency_key),
        )
        return answer_ok(models.GiftOut.of(given))

    @router.post(
        "/expire-pending",
        response_model=Envelope[models.ExpiredOut],
        responses=responses_of(400),
        dependencies=[Depends(require_admin)],
    )
    async def expire_pending(
        asked: Annotated[models.ExpireIn | None, Body()] = None, books: AsyncLedger = the_ledger
    ) -> Response:
        """Writes down the holds that have expired. Nothing depends on when it runs."""
        matured = await books.expire_pending(asked.limit if asked else None)
        return answer_ok(models.ExpiredOut(holds=matured.holds, released=matured.released))

    return router


__all__ = [
    "Dependency",
    "a_cursor",
    "a_limit",
    "answer_ok",
    "credits_router",
    "id_of",
    "name_of",
    "one_key",
    "provider",
    "responses_of",
    "the_key",
]
