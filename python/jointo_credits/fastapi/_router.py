"""The twelve routes."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Annotated, Any, Literal, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from .. import AsyncLedger, Consumption, NotFoundError, ValidationError
from .._results import Kind, Language, Status
from .._statement.statement import Statement
from . import _models as models
from ._failures import RESPONSES, EnvelopeRoute
from ._keys import Key, idempotency_key
from ._models import Digits, Envelope, Instant, Items, Short
from ._users import Terms, UsersConsume, check_users_confirm, users_consume
from ._wire import body_of, described

Dependency = Callable[..., Any]
UsersMay: TypeAlias = Literal["consume", "confirm", "refund"]
#: What users may do where the host lets them do anything.
CONSUME: tuple[UsersMay, ...] = ("consume",)

#: What routes have in common: an idempotency key, and the page of a list.
the_key: Any = Depends(idempotency_key)
Limit = Annotated[Digits, Query(ge=1, le=models.PAGE_MAX)]
a_cursor: Any = Query(None, description="`nextCursor` of the page before.")


def answer_ok(data: BaseModel) -> Response:
    """In the envelope. Written as it is: FastAPI would check it once more."""
    return Response(Envelope(data=data).model_dump_json(by_alias=True), media_type="application/json")


def responses_of(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The errors that a route can answer with, for the OpenAPI document."""
    # What may be no JSON has a body, and may have too large or too slow a one.
    of_bodies = (408, 413) if 400 in statuses else ()
    return {status: RESPONSES[status] for status in (*statuses, *of_bodies, 401, 403, 422, 503)}


def id_of(user: Any) -> UUID:
    """Whom the host's dependency means."""
    return user if isinstance(user, UUID) else UUID(str(user))


def _no_such(consumption_id: UUID) -> NotFoundError:
    """In the ledger's words: whether somebody else has such a consumption is nobody's business."""
    return NotFoundError(f"no consumption {consumption_id}", what="consumption", id=consumption_id)


def name_of(staff: Any) -> str | None:
    """Who an administrator or a service is, where the host's dependency says so."""
    return str(staff) if isinstance(staff, (str, UUID)) else None


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
    users_may: Collection[UsersMay] = CONSUME,
    users_terms: Terms | None = None,
    users_may_name_amounts: bool = False,
    catalogue_access: Dependency | None = None,
    statement_issuer: str | None = None,
    statement_limit: int = 5_000,
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
    `code`, and in `data` a stable word (`error`) and the facts. Every write to an account takes a key, as the header
    ``Idempotency-Key`` or the field ``idempotencyKey``; users, services and administrators have a space of keys each,
    and the host's own code has another one. Nobody's body is read before it is known who sends it.

    Args:
        ledger: An `AsyncLedger`, or a dependency that gives one.
        current_user: A dependency that gives the id of the user who asks, or raises an `HTTPException`.
        require_service: A dependency that raises an `HTTPException` where the caller is no service of the host's. Text
            or an id that it gives stands with a refund as who asked for it (`operator`).
        require_admin: The same for administrators. Text or an id that it gives stands in the register of gifts as who
            gave.
        service_or_user: Lets users consume, and what else `users_may` says: in place of `require_service`, a dependency
            that gives None for a service, and for a user their id. A user reaches their own consumptions only, gets
            nothing back that was captured, and names what is used but not what it costs: neither an amount nor a time
            to live.
        users_may: Which of the three users may do. Whoever may confirm or refund a hold decides what a job costs: add
            these where users do the work themselves, and not where your workers do it.
        users_terms: What a user says is used (`quantity`, `attributes`) is a price, too. This function is asked about
            each consume of a user's, with the request, their id, and a `UsersConsume`: it gives what is held, such as
            the same with the quantity that you know of, or raises an `HTTPException`. It may be async. Give the same
            for the same request, or a retry is a conflict.
        users_may_name_amounts: Lets users give an `amount`, where no rate card prices the feature.
        catalogue_access: Who may read the packages, in place of `current_user`: ``lambda: None`` for everybody.
        statement_issuer: Who a printed statement says that it comes from.
        statement_limit: The most entries of a statement over HTTP. One of more is refused before it is read: its user
            asks for shorter ones, or a task of yours draws it up.
        tags: For the OpenAPI document.
    """
    router = APIRouter(route_class=EnvelopeRoute, tags=list(tags or ["credits"]))
    the_ledger: Any = Depends(provider(ledger))
    the_user: Any = Depends(current_user)

    the_service: Any = Depends(require_service)
    service_or_the_user: Any = Depends(service_or_user)

    async def as_service(_: Any = the_service) -> None:
        """Nobody's own account: a service may act for all."""

    async def as_service_or_user(caller: Any = service_or_the_user) -> UUID | None:
        """The user who calls; None for a service."""
        return None if caller is None else id_of(caller)

    def caller_of(what: UsersMay) -> Dependency:
        return as_service if service_or_user is None or what not in users_may else as_service_or_user

    may_consume, may_confirm, may_refund = caller_of("consume"), caller_of("confirm"), caller_of("refund")
    the_consumer: Any = Depends(may_consume)
    the_confirmer: Any = Depends(may_confirm)
    the_refunder: Any = Depends(may_refund)
    # Who it is by name: a user is known by the account.
    the_staff: Any = Depends(require_service if may_refund is as_service else lambda: None)
    the_admin: Any = Depends(require_admin)
    # Bodies, each read once it is known who sends it.
    to_calculate: Any = body_of(models.CalculateIn, current_user)
    to_consume: Any = body_of(models.ConsumeIn, may_consume)
    to_confirm: Any = body_of(models.ConfirmIn, may_confirm)
    to_refund: Any = body_of(models.RefundIn, may_refund)
    to_gift: Any = body_of(models.GiftIn, require_admin)
    to_expire: Any = body_of(models.ExpireIn, require_admin, optional=True)
    catalogue = [Depends(catalogue_access if catalogue_access is not None else current_user)]

    def acting_for(own: UUID | None, user_id: UUID | None) -> UUID | None:
        """Whose account the caller may touch; None for any."""
        if own is None:
            return user_id
        if user_id is not None and user_id != own:
            raise HTTPException(403, "users reach their own credits only")
        return own

    async def owned(books: AsyncLedger, consumption_id: UUID, owner: UUID | None) -> Consumption | None:
        """The consumption, where it has to be somebody's."""
        if owner is None:
            return None
        found = await books.get_consumption(consumption_id)
        if found.user_id != owner:
            raise _no_such(consumption_id)
        return found

    def key_of(own: UUID | None, header: str | None, field: str | None) -> Key:
        return Key.of("service" if own is None else "user", header, field)

    @router.get("/balance", response_model=Envelope[models.BalanceOut], responses=responses_of())
    async def balance(books: AsyncLedger = the_ledger, user: Any = the_user) -> Response:
        """What the user has."""
        return answer_ok(models.BalanceOut.model_validate(await books.balance(id_of(user))))

    @router.get("/transactions", response_model=Envelope[Items[models.TransactionOut]], responses=responses_of())
    async def transactions(
        books: AsyncLedger = the_ledger,
        user: Any = the_user,
        kind: Annotated[Kind | None, Query()] = None,
        since: Annotated[Instant | None, Query(description="Not before.")] = None,
        until: Annotated[Instant | None, Query(description="Before.")] = None,
        limit: Limit = 50,
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
        since: Annotated[Instant, Query(description="Not before.")],
        until: Annotated[Instant, Query(description="Before.")],
        books: AsyncLedger = the_ledger,
        user: Any = the_user,
        format: Annotated[
            Literal["json", "csv", "html"], Query(description="`csv` and `html` are downloads.")
        ] = "json",
        language: Annotated[Language | None, Query(description="Of a download; `zh` for a page.")] = None,
        timezone: Annotated[Short, Query(description="What times are shown in on a page.")] = "UTC",
    ) -> Response:
        """What the user had, what came and went, and what they had in the end."""
        found = await books.statement(id_of(user), since, until, limit=statement_limit)

        def write() -> Response:
            match format:
                case "json":
                    return answer_ok(models.StatementOut.model_validate(found))
                case "csv":
                    return _download(found, "csv", found.to_csv(language=language, bom=True))
                case "html":
                    page = found.to_html(language=language or "zh", timezone=timezone, issuer=statement_issuer)
                    return _download(found, "html", page)

        # Not in the event loop: it may have thousands of entries.
        return await run_in_threadpool(write)

    @router.get("/consumption", response_model=Envelope[Items[models.ConsumptionOut]], responses=responses_of())
    async def consumption(
        books: AsyncLedger = the_ledger,
        user: Any = the_user,
        status: Annotated[Status | None, Query()] = None,
        limit: Limit = 50,
        cursor: Short | None = a_cursor,
    ) -> Response:
        """The user's consumptions, newest first."""
        page = await books.consumption(id_of(user), status=status, limit=limit, cursor=cursor)
        return answer_ok(Items[models.ConsumptionOut].model_validate(page))

    @router.post(
        "/calculate",
        response_model=Envelope[models.QuoteOut],
        responses=responses_of(400, 404),
        openapi_extra=described(models.CalculateIn),
    )
    async def calculate(
        user: Any = the_user,
        asked: models.CalculateIn = to_calculate,
        books: AsyncLedger = the_ledger,
    ) -> Response:
        """What something costs the user. Changes nothing."""
        quote = await books.calculate(asked.feature, asked.quantity, asked.attributes, user_id=id_of(user))
        return answer_ok(models.QuoteOut.model_validate(quote))

    @router.post(
        "/consume",
        response_model=Envelope[models.ConsumptionOut],
        responses=responses_of(400, 402, 404, 409),
        openapi_extra=described(models.ConsumeIn),
    )
    async def consume(
        request: Request,
        own: UUID | None = the_consumer,
        asked: models.ConsumeIn = to_consume,
        books: AsyncLedger = the_ledger,
        header: str | None = the_key,
    ) -> Response:
        """Holds credits for a job that is about to begin. Users say what is used; a rate card what it costs."""
        user_id = acting_for(own, asked.user_id)
        if user_id is None:
            raise ValidationError("userId: say whose credits", field="user_id", problem="is missing")
        key = key_of(own, header, asked.idempotency_key)
        if own is None:
            use = UsersConsume(**asked.model_dump(exclude={"user_id", "idempotency_key"}))
        else:
            use = await users_consume(books, request, own, asked, users_terms, users_may_name_amounts)
        with key.told() as idempotent:
            held = await books.consume(
                user_id,
                use.feature,
                use.quantity,
                use.attributes,
                amount=use.amount,
                ttl=use.ttl,
                reference=use.reference,
                metadata=use.metadata,
                idempotency_key=idempotent,
            )
        return answer_ok(models.ConsumptionOut.model_validate(held))

    @router.post(
        "/confirm",
        response_model=Envelope[models.ConsumptionOut],
        responses=responses_of(400, 402, 404, 409),
        openapi_extra=described(models.ConfirmIn),
    )
    async def confirm(
        own: UUID | None = the_confirmer,
        asked: models.ConfirmIn = to_confirm,
        books: AsyncLedger = the_ledger,
        header: str | None = the_key,
    ) -> Response:
        """Spends what a hold keeps, or what was really used."""
        key = key_of(own, header, asked.idempotency_key)
        found = await owned(books, asked.consumption_id, acting_for(own, asked.user_id))
        if own is not None and found is not None:
            await check_users_confirm(books, own, asked, found, users_may_name_amounts)
        with key.told() as idempotent:
            done = await books.confirm(
                asked.consumption_id,
                amount=asked.amount,
                quantity=asked.quantity,
                # A user owes no more than they could have spent.
                overage="available" if own is not None and asked.overage == "debt" else asked.overage,
                late=asked.late,
                idempotency_key=idempotent,
            )
        return answer_ok(models.ConsumptionOut.model_validate(done))

    @router.post(
        "/refund",
        response_model=Envelope[models.ConsumptionOut],
        responses=responses_of(400, 404, 409),
        openapi_extra=described(models.RefundIn),
    )
    async def refund(
        own: UUID | None = the_refunder,
        staff: Any = the_staff,
        asked: models.RefundIn = to_refund,
        books: AsyncLedger = the_ledger,
        header: str | None = the_key,
    ) -> Response:
        """Gives credits back: of a hold all, of a confirmed consumption all or a part."""
        key = key_of(own, header, asked.idempotency_key)
        await owned(books, asked.consumption_id, acting_for(own, asked.user_id))
        with key.told() as idempotent:
            done = await books.refund(
                asked.consumption_id,
                amount=asked.amount,
                reason=asked.reason,
                pending_only=asked.pending_only or own is not None,
                operator=name_of(staff),
                idempotency_key=idempotent,
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

    @router.post(
        "/gift",
        response_model=Envelope[models.GiftOut],
        responses=responses_of(400, 409),
        openapi_extra=described(models.GiftIn),
    )
    async def gift(
        admin: Any = the_admin,
        asked: models.GiftIn = to_gift,
        books: AsyncLedger = the_ledger,
        header: str | None = the_key,
    ) -> Response:
        """Gives credits away."""
        with Key.of("admin", header, asked.idempotency_key).told() as idempotent:
            given = await books.gift(
                asked.user_id,
                asked.amount,
                reason=asked.reason,
                operator=name_of(admin),
                expires_at=asked.expires_at,
                idempotency_key=idempotent,
            )
        return answer_ok(models.GiftOut.of(given))

    @router.post(
        "/expire-pending",
        response_model=Envelope[models.ExpiredOut],
        responses=responses_of(400),
        openapi_extra=described(models.ExpireIn, optional=True),
        dependencies=[Depends(require_admin)],
    )
    async def expire_pending(
        asked: models.ExpireIn | None = to_expire,
        books: AsyncLedger = the_ledger,
    ) -> Response:
        """Writes down the holds that have expired. Nothing depends on when it runs."""
        matured = await books.expire_pending(asked.limit if asked else None)
        return answer_ok(models.ExpiredOut(holds=matured.holds, released=matured.released))

    return router


__all__ = [
    "Dependency",
    "Limit",
    "a_cursor",
    "answer_ok",
    "credits_router",
    "id_of",
    "name_of",
    "provider",
    "responses_of",
    "the_key",
]
