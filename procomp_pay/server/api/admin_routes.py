"""The admin's handlers: find payments, give money back, cancel, vouch for a Kaspi payment."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from procomp_pay.domain.errors import Forbidden, OutcomeUnknown, Refused
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

#: Seconds after which a refund whose answer was lost has been looked at again.
_FOLLOWED_UP_S = 60
_FIRST = {"payment_id": "$response.body#/items/0/payment_id"}
_ITS_PARTICIPANT = {"participant_id": "$response.body#/items/0/participant_id"}


def routes() -> list[Route]:
    """The routes of the desk."""
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
            "POST", f"{base}/{{payment_id}}/refund", give_back, "refundPayment", "Give money back", "admin",
            admin_responses.RefundDone, roles=ADMINS, budget=Budget.WRITES, body=admin_requests.RefundBody,
            headers={"Idempotency-Key": False}, errors=(409, 503),
        ),
        Route(
            "POST", f"{base}/{{payment_id}}/cancel", call_off, "cancelPayment", "Cancel a payment", "admin",
            admin_responses.CancelDone, roles=ADMINS, budget=Budget.WRITES, body=admin_requests.Nothing,
            body_required=False, errors=(409, 503),
        ),
        Route(
            "POST", f"{base}/{{payment_id}}/verify-kaspi", vouch, "verifyKaspiPayment",
            "A clerk has seen the money in the Kaspi Pay app", "admin",
            VerifyAnswer, roles=DESK, budget=Budget.WRITES, body=VerifyBody,
            headers={"Idempotency-Key": False}, errors=(409, 503),
        ),
    ]  # fmt: skip


def acting(request: web.Request) -> Actor:
    """Whoever calls, for the audit."""
    return Actor(caller(request).user_id, Source.APP, REQUEST_ID.get())


async def list_payments(request: web.Request) -> web.Response:
    """All payments that fit, page by page."""
    asked = admin_requests.read_query(request)
    ctx = request.app[STATE].ctx
    found, following = await views.many(ctx, asked.wanted(), limit=asked.limit, cursor=asked.cursor)
    page = {"items": [view.full() for view in found], "next_cursor": following}
    return respond(admin_responses.PaymentPage, page)


async def give_back(request: web.Request) -> web.Response:
    """In parts, up to what was paid. PENDING in the answer: the provider works on it."""
    actor, payment_id = acting(request), requests.path_id(request, "payment_id")
    admin_requests.no_query(request)
    requests.check_is_json(request)
    raw = await requests.read_body(request, requests.BODY_BYTES)
    body = requests.read_document(raw, admin_requests.RefundBody)
    order = body.order(payment_id, requests.idempotency_key(request))
    return respond(admin_responses.RefundDone, _shown(await refund(request.app[STATE].ctx, order, actor)))


def _shown(done: Refunded) -> dict[str, Any]:
    """
    :raises OutcomeUnknown: asked again under its key, and the provider's answer is still not known.
    :raises Refused: asked again under its key, and the provider had said no.
    """
    if done.provider_refund_id is None and done.state is RefundState.PENDING:
        raise OutcomeUnknown(
            f"It is not known yet what became of refund {done.refund_id}; it is followed up",
            retry_after=_FOLLOWED_UP_S,
        )
    if done.provider_refund_id is None and done.state is RefundState.FAILED:
        raise Refused(f"Refund {done.refund_id} was not made: {done.failure_reason or 'no reason given'}")
    return {
        "refund_id": done.refund_id,
        "payment_id": done.payment_id,
        "state": done.state.value,
        "amount": done.money.amount,
        "currency": done.money.currency.value,
        "payment_status": done.payment_status.value,
        "failure_reason": done.failure_reason,
    }


async def call_off(request: web.Request) -> web.Response:
    """Answers how it stands afterwards: it may have been paid meanwhile."""
    actor, payment_id = acting(request), requests.path_id(request, "payment_id")
    admin_requests.no_query(request)
    raw = await requests.read_body(request, requests.BODY_BYTES)
    if raw:
        requests.check_is_json(request)
        requests.read_document(raw, admin_requests.Nothing)
    status = await cancel(request.app[STATE].ctx, payment_id, actor)
    return respond(admin_responses.CancelDone, {"payment_id": payment_id, "status": status.value})


async def vouch(request: web.Request) -> web.Response:
    """``override`` takes what the checks refuse, and is an admin's."""
    actor, payment_id = acting(request), requests.path_id(request, "payment_id")
    admin_requests.no_query(request)
    requests.check_is_json(request)
    body = requests.read_document(await requests.read_body(request, requests.BODY_BYTES), VerifyBody)
    if body.override and caller(request).role is not Role.ADMIN:
        raise Forbidden("An override is for an admin")
    state = request.app[STATE]
    view = await views.one(state.ctx, payment_id)  # by its id or its code
    done = await verify(state.ctx, body.order(view.payment_id, requests.idempotency_key(request)), actor)
    state.background.wake_watch()
    return respond(VerifyAnswer, VerifyAnswer.of(done).model_dump())
