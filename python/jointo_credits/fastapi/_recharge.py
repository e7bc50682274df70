"""The routes about orders: a package is bought, paid, sent back."""

from __future__ import annotations

import logging
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, HTTPException, Query, Request, Response

from .. import (
    AsyncLedger,
    CreditsError,
    NotFoundError,
    Order,
    PaymentVerificationError,
    UnavailableError,
    ValidationError,
)
from .._results import OrderStatus
from . import _models as models
from ._failures import EnvelopeRoute
from ._keys import Key
from ._models import Envelope, Items, Short
from ._router import (
    Dependency,
    Limit,
    a_cursor,
    answer_ok,
    id_of,
    name_of,
    provider,
    responses_of,
    the_key,
)
from ._wire import body_of, described, read

_log = logging.getLogger("jointo_credits.fastapi")
#: The largest notification that is read, in bytes: as the library's.
_NOTIFICATION_BYTES_MAX = 256 * 1024
#: The headers that a channel signs with. Of two of a name, a proxy before us could have looked at the other one.
_SIGNED = "wechatpay-"


def recharge_router(
    ledger: AsyncLedger | Dependency,
    *,
    current_user: Dependency,
    require_admin: Dependency,
    tags: list[str] | None = None,
) -> APIRouter:
    """The recharging of a backend over HTTP: ``app.include_router(recharge_router(...), prefix="/api/v1/recharge")``.

    | route | for |
    | --- | --- |
    | POST ``/orders`` | the current user: orders a package, and gets what is needed to pay |
    | GET ``/orders``, ``/orders/{orderNo}`` | the current user, of their own orders |
    | POST ``/orders/{orderNo}/pay``, ``/orders/{orderNo}/close`` | the current user: to pay it, or to give it up |
    | POST ``/notify/{channel}`` | the payment channels: this is the URL that they are configured with |
    | POST ``/orders/{orderNo}/refund``, ``/reconcile`` | administrators |

    Answers are as those of `credits_router`, but for ``/notify``: channels get the answer that they understand, and
    every error is one more try for them.

    Args:
        ledger: An `AsyncLedger` that knows the payment channels, or a dependency that gives one.
        current_user: A dependency that gives the id of the user who asks, or raises an `HTTPException`.
        require_admin: A dependency that raises an `HTTPException` where the caller is no administrator. Text or an id
            that it gives stands with the refund as who asked for it.
        tags: For the OpenAPI document.
    """
    router = APIRouter(route_class=EnvelopeRoute, tags=list(tags or ["recharge"]))
    the_ledger: Any = Depends(provider(ledger))
    the_user: Any = Depends(current_user)
    the_admin: Any = Depends(require_admin)
    # Bodies, each read once it is known who sends it.
    to_order: Any = body_of(models.OrderIn, current_user)
    to_pay: Any = body_of(models.CheckoutIn, current_user, optional=True)
    to_refund: Any = body_of(models.OrderRefundIn, require_admin)
    to_reconcile: Any = body_of(models.ReconcileIn, require_admin, optional=True)

    async def own(books: AsyncLedger, order_no: str, user: Any) -> Order:
        order = await books.order(order_no)
        if order.user_id != id_of(user):
            # In the ledger's words: whether somebody else has such an order is nobody's business.
            raise NotFoundError(f"no order {order_no}", what="order", id=UUID(order_no))
        return order

    async def paying(
        books: AsyncLedger, order: Order, checkout: models.CheckoutIn, request: Request
    ) -> models.OrderedOut:
        payer_ip = request.client.host if request.client else None
        payment = await books.pay_order(
            order.order_no,
            method=checkout.method,
            payer=checkout.payer,
            payer_ip=checkout.payer_ip or payer_ip,
            return_url=checkout.return_url,
        )
        order = await books.order(order.order_no)
        return models.OrderedOut(
            order=models.OrderOut.model_validate(order), payment=models.PaymentOut.model_validate(payment)
        )

    @router.post(
        "/orders",
        response_model=Envelope[models.OrderedOut],
        responses=responses_of(400, 404, 409, 502),
        openapi_extra=described(models.OrderIn),
    )
    async def create_order(
        request: Request,
        user: Any = the_user,
        asked: models.OrderIn = to_order,
        books: AsyncLedger = the_ledger,
        header: str | None = the_key,
    ) -> Response:
        """Orders a package, and tells the channel. With the same key it is the same order."""
        with Key.of("user", header, asked.idempotency_key).told() as idempotent:
            order = await books.create_order(id_of(user), asked.package_id, asked.channel, idempotency_key=idempotent)
        return answer_ok(await paying(books, order, asked, request))

    @router.get("/orders", response_model=Envelope[Items[models.OrderOut]], responses=responses_of())
    async def orders(
        books: AsyncLedger = the_ledger,
        user: Any = the_user,
        status: Annotated[OrderStatus | None, Query()] = None,
        limit: Limit = 50,
        cursor: Short | None = a_cursor,
    ) -> Response:
        """The user's orders, newest first."""
        page = await books.orders(user_id=id_of(user), status=status, limit=limit, cursor=cursor)
        return answer_ok(Items[models.OrderOut].model_validate(page))

    @router.get("/orders/{order_no}", response_model=Envelope[models.OrderOut], responses=responses_of(404))
    async def order(order_no: models.OrderNo, books: AsyncLedger = the_ledger, user: Any = the_user) -> Response:
        """One of the user's orders: what a page that waits for the payment asks."""
        return answer_ok(models.OrderOut.model_validate(await own(books, order_no, user)))

    @router.post(
        "/orders/{order_no}/pay",
        response_model=Envelope[models.OrderedOut],
        responses=responses_of(400, 404, 409, 502),
        openapi_extra=described(models.CheckoutIn, optional=True),
    )
    async def pay_order(
        request: Request,
        order_no: models.OrderNo,
        user: Any = the_user,
        asked: models.CheckoutIn | None = to_pay,
        books: AsyncLedger = the_ledger,
    ) -> Response:
        """What is needed to pay an order: once more, or in another way."""
        found = await own(books, order_no, user)
        return answer_ok(await paying(books, found, asked or models.CheckoutIn.model_validate({}), request))

    @router.post(
        "/orders/{order_no}/close", response_model=Envelope[models.OrderOut], responses=responses_of(404, 409, 502)
    )
    async def close_order(order_no: models.OrderNo, books: AsyncLedger = the_ledger, user: Any = the_user) -> Response:
        """Gives an order up. One that was paid in the meantime comes back as paid."""
        await own(books, order_no, user)
        return answer_ok(models.OrderOut.model_validate(await books.close_order(order_no)))

    @router.post(
        "/orders/{order_no}/refund",
        response_model=Envelope[models.OrderOut],
        responses=responses_of(400, 404, 409, 502),
        openapi_extra=described(models.OrderRefundIn),
    )
    async def refund_order(
        order_no: models.OrderNo,
        admin: Any = the_admin,
        asked: models.OrderRefundIn = to_refund,
        books: AsyncLedger = the_ledger,
        header: str | None = the_key,
    ) -> Response:
        """Sends money back, and takes the credits back that it bought."""
        with Key.of("admin", header, asked.idempotency_key).told() as idempotent:
            order = await books.refund_order(
                order_no,
                amount=asked.amount,
                shortfall=asked.shortfall,
                reason=asked.reason,
                operator=name_of(admin),
                idempotency_key=idempotent,
            )
        return answer_ok(models.OrderOut.model_validate(order))

    @router.post(
        "/reconcile",
        response_model=Envelope[models.ReconciledOut],
        responses=responses_of(400),
        openapi_extra=described(models.ReconcileIn, optional=True),
        dependencies=[Depends(require_admin)],
    )
    async def reconcile(
        asked: models.ReconcileIn | None = to_reconcile,
        books: AsyncLedger = the_ledger,
    ) -> Response:
        """Asks the channels about every order that waits."""
        done = await books.reconcile_orders(asked.min_age if asked else 60)
        return answer_ok(models.ReconciledOut.model_validate(done))

    @router.post(
        "/notify/{channel}",
        response_class=Response,
        responses={200: {"description": "Taken. Every other status means: send it again."}},
    )
    async def notify(channel: Short, request: Request, books: AsyncLedger = the_ledger) -> Response:
        """What a payment channel has to say. Nobody signs in here: its signature says who it is."""
        try:
            reply = await books.notification_reply(channel, taken=False)
        except ValidationError as error:
            raise HTTPException(404, "no such channel") from error
        body = await read(request, _NOTIFICATION_BYTES_MAX)
        if body is None:
            return Response(reply.body, 413, media_type=reply.content_type)
        signed = [name for name, _ in request.headers.items() if name.startswith(_SIGNED)]
        if len(signed) != len(set(signed)):
            _log.warning("%s: a notification was refused: a header of its signature came twice", channel)
            return Response(reply.body, reply.status, media_type=reply.content_type)
        try:
            told = await books.handle_notification(channel, dict(request.headers), body)
        except UnavailableError as error:
            _log.warning("%s: a notification could not be taken: %s", channel, error)
        except PaymentVerificationError as error:
            # WeChat Pay sends such on purpose now and then, and so does anybody who finds the address.
            _log.warning("%s: a notification was refused: %s", channel, error, extra={"channel": channel})
        except CreditsError as error:
            _log.error("%s: a notification was refused: %s", channel, error, extra={"channel": channel})
        else:
            number = told.order.order_no if told.order else None
            _log.info("%s: %s %s", channel, told.event, number or "", extra={"channel": channel, "order_no": number})
            reply = await books.notification_reply(channel, taken=True)
        return Response(reply.body, reply.status, media_type=reply.content_type)

    return router


__all__ = ["recharge_router"]
