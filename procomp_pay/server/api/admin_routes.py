"""Routes of staff and admins: list payments, refund, cancel, verify a Kaspi payment."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from procomp_pay.domain.errors import ErrorCode, Forbidden, OutcomeUnknown, Refused
from procomp_pay.domain.events import Source
from procomp_pay.domain.refunds import RefundState
from procomp_pay.server.api import admin_requests, admin_responses, requests
from procomp_pay.server.api.kaspi_requests import VerifyAnswer, VerifyBody
from procomp_pay.server.auth.tokens import Role
from procomp_pay.server.http.guard import caller
from procomp_pay.server.http.json_response import respond
from procomp_pay.server.http.route import ADMINS, BASE, DESK, Budget, Link, Route
from procomp_pay.server.http.state import STATE
from procomp_pay.server.observability.logs import REQUEST_ID
from procomp_pay.services.context import Actor
from procomp_pay.services.kaspi_verification.verify import verify
from procomp_pay.services.lifecycle.cancel import cancel
from procomp_pay.services.refunds.create import Refunded, refund
from procomp_pay.services.views import payment as views

#: Seconds after which a refund with an unknown outcome has been checked again.
_RECHECKED_AFTER_S = 60
_FIRST = {"payment_id": "$response.body#/items/0/payment_id"}
_ITS_PARTICIPANT = {"participant_id": "$response.body#/items/0/participant_id"}


def routes() -> list[Route]:
    """Return the routes of staff and admins."""
    base = f"{BASE}/admin/payments"
    return [
        Route(
            "GET", base, list_payments, "listPayments", "Payments, newest first", "admin",
            admin_responses.PaymentPage, roles=DESK, budget=Budget.READS, query=admin_requests.ListQuery,
            errors=(503,),
            links={
                "refund": Link("refundPayment", _FIRST),
                "cancel": Link("cancelPayment", _FIRST),
                "verify": Link("verifyKaspiPayment", _FIRST),
                "status": Link("getStatus", _ITS_PARTICIPANT),
                "next": Link("listPayments", {"cursor": "$response.body#/next_cursor"}),
            },
        ),
        Route(
            "POST", f"{base}/{{payment_id}}/refund", refund_payment, "refundPayment", "Refund a payment",
            "admin", admin_responses.RefundDone, roles=ADMINS, budget=Budget.WRITES,
            body=admin_requests.RefundBody,
            headers={"Idempotency-Key": False}, errors=(409, 503),
        ),
        Route(
            "POST", f"{base}/{{payment_id}}/cancel", cancel_payment, "cancelPayment", "Cancel a payment",
            "admin", admin_responses.CancelDone, roles=ADMINS, budget=Budget.WRITES,
            body=admin_requests.Nothing,
            body_required=False, errors=(409, 503),
        ),
        Route(
            "POST", f"{base}/{{payment_id}}/verify-kaspi", verify_payment, "verifyKaspiPayment",
            "Verify a payment that staff saw in the Kaspi Pay app", "admin",
            VerifyAnswer, roles=DESK, budget=Budget.WRITES, body=VerifyBody,
            headers={"Idempotency-Key": False}, errors=(409, 503),
        ),
    ]  # fmt: skip


def acting(request: web.Request) -> Actor:
    """Return the caller as the actor of audit entries."""
    return Actor(caller(request).user_id, Source.APP, REQUEST_ID.get())


async def list_payments(request: web.Request) -> web.Response:
    """List the payments that match, page by page."""
    query = admin_requests.read_query(request)
    ctx = request.app[STATE].ctx
    items, next_cursor = await views.documents(ctx, query.to_filter(), limit=query.limit, cursor=query.cursor)
    return respond(admin_responses.PaymentPage, {"items": items, "next_cursor": next_cursor})


async def refund_payment(request: web.Request) -> web.Response:
    """Refund a payment, wholly or in parts. ``PENDING``: the provider is still working on it."""
    actor, payment_id = acting(request), requests.path_id(request, "payment_id")
    admin_requests.no_query(request)
    requests.check_is_json(request)
    raw = await requests.read_body(request, requests.BODY_BYTES)
    body = requests.read_document(raw, admin_requests.RefundBody)
    command = body.to_command(payment_id, requests.idempotency_key(request))
    refunded = await refund(request.app[STATE].ctx, command, actor)
    return respond(admin_responses.RefundDone, _refund_body(refunded))


def _refund_body(refund: Refunded) -> dict[str, Any]:
    """
    :raises OutcomeUnknown: a repeated request, and the provider's answer is still unknown.
    :raises Refused: a repeated request, and the provider had refused the refund.
    """
    if refund.provider_refund_id is None and refund.state is RefundState.PENDING:
        raise OutcomeUnknown(
            f"The outcome of refund {refund.refund_id} is not known yet; it is being checked",
            retry_after=_RECHECKED_AFTER_S,
        )
    if refund.provider_refund_id is None and refund.state is RefundState.FAILED:
        raise Refused(
            f"Refund {refund.refund_id} was not made: {refund.failure_reason or 'no reason given'}",
            code=ErrorCode.PROVIDER_REFUSED,
        )
    return {
        "refund_id": refund.refund_id,
        "payment_id": refund.payment_id,
        "state": refund.state.value,
        "amount": refund.money.amount,
        "currency": refund.money.currency.value,
        "payment_status": refund.payment_status.value,
        "failure_reason": refund.failure_reason,
    }


async def cancel_payment(request: web.Request) -> web.Response:
    """Cancel a payment, and return its status afterwards: it may have been paid meanwhile."""
    actor, payment_id = acting(request), requests.path_id(request, "payment_id")
    admin_requests.no_query(request)
    raw = await requests.read_body(request, requests.BODY_BYTES)
    if raw:
        requests.check_is_json(request)
        requests.read_document(raw, admin_requests.Nothing)
    status = await cancel(request.app[STATE].ctx, payment_id, actor)
    return respond(admin_responses.CancelDone, {"payment_id": payment_id, "status": status.value})


async def verify_payment(request: web.Request) -> web.Response:
    """Complete a payment by its Kaspi operation number. ``override`` skips failed checks; for admins only."""
    actor, payment_id = acting(request), requests.path_id(request, "payment_id")
    admin_requests.no_query(request)
    requests.check_is_json(request)
    body = requests.read_document(await requests.read_body(request, requests.BODY_BYTES), VerifyBody)
    if body.override and caller(request).role is not Role.ADMIN:
        raise Forbidden("Only an admin may override the checks")
    state = request.app[STATE]
    view = await views.one(state.ctx, payment_id)  # by its id or its code
    verified = await verify(
        state.ctx, body.to_request(view.payment_id, requests.idempotency_key(request)), actor
    )
    state.background.wake_watch()
    return respond(VerifyAnswer, VerifyAnswer.of(verified).model_dump())
