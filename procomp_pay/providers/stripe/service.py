"""Provide Stripe payments through the official SDK: Checkout Sessions for a desk, PaymentIntents for the app.

Facts about the API: STRIPE.md and https://docs.stripe.com/api. Every write has an idempotency key derived
from the payment's id, so each call may be repeated until it is answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import stripe

from procomp_pay.domain.errors import (
    ConfigurationError,
    Conflict,
    ErrorCode,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.events import EventType
from procomp_pay.domain.refunds import DisputeEvent, RefundEvent
from procomp_pay.domain.states import Channel
from procomp_pay.domain.text import N_
from procomp_pay.providers.protocol import (
    Created,
    CreateRequest,
    ProviderRef,
    ProviderRefunds,
    ProviderStatus,
    RefundRequest,
)
from procomp_pay.providers.resilience.retry import (
    TOTAL_S,
    Throttled,
    Unclear,
    retry_after_s,
    whole_answer,
    with_retries,
)
from procomp_pay.providers.stripe.http import NOT_SENT, StripeHttp
from procomp_pay.providers.stripe.listing import Origin, origin_of
from procomp_pay.providers.stripe.objects import (
    Object,
    intent_ids,
    parse_dispute,
    parse_intent,
    parse_refund,
    parse_session,
    session_ids,
)

if TYPE_CHECKING:
    from procomp_pay.providers.resilience.circuit_breaker import Circuit

#: Seconds for one attempt. Stripe answers within one or two; a tournament hall's Wi-Fi may take longer.
_ATTEMPT_S = 10.0
#: Seconds: allowed difference between Stripe's clock and ours, plus the longest time of a request's retries.
_CLOCK_SKEW_S = 600
_SENT_WITHIN_S = 90_000
_OF_ANOTHER = N_("Stripe's answer belongs to another request")
_HEALED = N_("nothing is lost; if it stays open: procomp-pay maintain")


class StripePaymentService:
    """Stripe as a :class:`~procomp_pay.providers.protocol.PaymentProvider`."""

    def __init__(
        self,
        secret_key: str,
        *,
        api_base: str,
        timeout_s: float = _ATTEMPT_S,
        total_s: float = TOTAL_S,
        circuit: Circuit | None = None,
    ) -> None:
        self._circuit = circuit
        self._total_s = total_s
        self._http = StripeHttp(api_base, timeout_s=timeout_s)
        # Retries are made by ``resilience.retry``: bounded in time, by kind of error.
        self._client = stripe.StripeClient(
            secret_key,
            base_addresses={"api": api_base},  # the SDK's other hosts are never called
            max_network_retries=0,
            http_client=self._http,
        )

    async def create(self, request: CreateRequest) -> Created:
        """Open a Checkout Session or a bare PaymentIntent.

        :raises Refused: Stripe does not accept the amount, the currency or another parameter.
        """
        if request.channel is Channel.STRIPE_CHECKOUT:
            return _created_session(await self._open(request, "checkout/sessions", _session_params(request)))
        params = _intent_params(request)
        try:
            return _created_intent(await self._open(request, "payment_intents", params))
        except Refused as error:
            if not isinstance(error.__cause__, stripe.IdempotencyError):
                raise
        # version 0.1.0 sent other parameters under this key, and its answer was lost
        new, automatic = "payment_method_types", ("automatic_payment_methods", {"enabled": True})
        old = dict(automatic if name == new else (name, value) for name, value in params.items())
        return _created_intent(await self._open(request, "payment_intents", old))

    async def find(self, request: CreateRequest) -> Created | None:
        """Search the objects created around the payment's start for the one with its id in the metadata.

        Needed only after a day: until then, :meth:`create` with the same idempotency key returns the object.
        """
        start = int(request.created_at.timestamp())
        params = {"created": {"gte": start - _CLOCK_SKEW_S, "lte": start + _SENT_WITHIN_S}}
        checkout = request.channel is Channel.STRIPE_CHECKOUT
        async for page in self.pages("checkout/sessions" if checkout else "payment_intents", params):
            for item in page:
                if _is_of(request, item):
                    return _created_session(item) if checkout else _created_intent(item)
        return None

    async def fetch(self, ref: ProviderRef) -> ProviderStatus:
        """Return the payment's status at Stripe now, with the charge and the wallet used."""
        if ref.channel is Channel.STRIPE_CHECKOUT:
            session = await self._one(
                ref.provider_ref,
                lambda: self._client.v1.checkout.sessions.retrieve_async(
                    ref.provider_ref, {"expand": ["payment_intent.latest_charge"]}
                ),
            )
            return parse_session(session)
        return parse_intent(await self._intent(ref.provider_ref))

    async def cancel(self, ref: ProviderRef) -> ProviderStatus:
        """Cancel the intent or expire the session; if it was paid meanwhile, return that status."""
        checkout = ref.channel is Channel.STRIPE_CHECKOUT
        v1 = self._client.v1
        close = v1.checkout.sessions.expire_async if checkout else v1.payment_intents.cancel_async
        with suppress(Refused):  # not open any more: fetch how it ended
            await self._one(ref.provider_ref, lambda: close(ref.provider_ref))
        status = await self.fetch(ref)
        if status.event_type is EventType.EXPIRED:
            # A session has one end for time and for us; here it was us.
            return replace(status, event_type=EventType.CANCELLED, reason=None)
        return status

    def ready_to_refund(self, payment_id: str, *, at_desk: bool = False) -> None:
        """Do nothing: every payment can be refunded through the API."""

    async def refund(self, request: RefundRequest) -> RefundEvent:
        """Make a refund; the same request with the same key never refunds twice."""
        params: Any = {
            "payment_intent": request.ref.payment_intent,
            "amount": request.money.minor_units,
            "reason": "requested_by_customer",
            "metadata": {"refund_id": request.refund_id, "payment_id": request.payment_id},
        }
        options: Any = {"idempotency_key": request.idempotency_key}
        made = parse_refund(await self._ask(lambda: self._client.v1.refunds.create_async(params, options)))
        if made.refund_id != request.refund_id:
            raise Unclear(_OF_ANOTHER, next_step=_HEALED)
        return made

    async def list_refunds(self, ref: ProviderRef) -> ProviderRefunds:
        """Return every refund of the payment, wherever it was requested."""
        if ref.payment_intent is None:
            return ProviderRefunds()
        refunds = await self._of_intent("refunds", ref.payment_intent, limit=100)
        return ProviderRefunds(tuple(parse_refund(refund) for refund in refunds))

    async def pages(self, kind: str, params: dict[str, Any]) -> AsyncGenerator[list[Object], None]:
        """Yield all objects of a kind, newest first, a page at a time, with retries. While the caller works
        on a page, the next one is fetched.

        :param kind: the path in Stripe's API: ``payment_intents``, ``balance_transactions`` and so on.
        """
        query = {"limit": 100, **params}
        page = await self._page(kind, query)
        while page["has_more"]:
            query = query | {"starting_after": page["data"][-1]["id"]}
            following = asyncio.create_task(self._page(kind, query))
            try:
                yield page["data"]
                page = await following
            finally:
                if not following.done():
                    following.cancel()
                await asyncio.gather(following, return_exceptions=True)
        yield page["data"]

    async def dispute(self, dispute_id: str) -> DisputeEvent:
        """Return the current state of a dispute."""
        ask = self._client.v1.disputes.retrieve_async
        return parse_dispute(await self._one(dispute_id, lambda: ask(dispute_id)))

    async def origin(self, payment_intent: str) -> Origin | None:
        """Return the payment of ours that a PaymentIntent belongs to; ``None`` if its metadata names none."""
        intent = await self._intent(payment_intent)
        return origin_of(intent, *await self._of_intent("checkout/sessions", payment_intent, limit=1))

    async def open_pages_since(self, since: datetime) -> list[Origin]:
        """Return our payments whose hosted pages were opened since then and can still be paid."""
        params = {"status": "open", "created": {"gte": int(since.timestamp())}}
        origins = [
            origin_of(None, session)
            async for page in self.pages("checkout/sessions", params)
            for session in page
        ]
        return [origin for origin in origins if origin is not None]

    async def events(
        self, types: list[str], since: datetime, until: datetime | None, after: str | None
    ) -> tuple[list[dict[str, Any]], bool]:
        """Return a page of the account's events of these types, newest first, and whether there are more.

        :param since: by Stripe's clock, inclusive.
        :param until: by Stripe's clock, exclusive.
        :param after: the last id of the previous page.
        """
        params: Any = {"limit": 100, "types": types, "created": {"gte": int(since.timestamp())}}
        if until is not None:
            params["created"]["lt"] = int(until.timestamp())
        if after is not None:
            params["starting_after"] = after
        page = await self._page("events", params)
        return page["data"], bool(page["has_more"])

    async def create_webhook_endpoint(self, url: str, types: list[str]) -> str:
        """Have events of these types sent to an address; return the secret that signs them.

        :raises Refused: Stripe does not accept the address. :raises Conflict: the address has an endpoint.
        """
        await self.check_no_webhook_endpoint(url)
        params: Any = {"url": url, "enabled_events": types, "description": "procomp-pay"}
        made = await self._ask(lambda: self._client.v1.webhook_endpoints.create_async(params))
        return str(made["secret"])

    async def check_no_webhook_endpoint(self, url: str) -> None:
        """Check that events are not sent to an address yet.

        :raises Conflict: they are.
        """
        page = await self._page("webhook_endpoints", {"limit": 100})
        if any(endpoint["url"] == url for endpoint in page["data"]):
            raise Conflict(
                f"Stripe sends events to {url} already",
                next_step="copy its signing secret from Stripe's dashboard into STRIPE_WEBHOOK_SECRET",
            )

    async def check(self) -> str:
        """Read the account's balance: the cheapest call that proves the key.

        :raises ConfigurationError: the key is not accepted.
        """
        balance = await self._ask(self._client.v1.balance.retrieve_async)
        return "live account answers" if balance["livemode"] else "test account answers"

    async def aclose(self) -> None:
        await self._http.close_async()

    async def _intent(self, intent_id: str) -> Object:
        ask = self._client.v1.payment_intents.retrieve_async
        return await self._one(intent_id, lambda: ask(intent_id, {"expand": ["latest_charge"]}))

    async def _open(self, request: CreateRequest, path: str, params: dict[str, Any]) -> Object:
        """Return what was opened for the payment: a customer must never get the secret of another one's."""
        options = {"idempotency_key": request.idempotency_key}
        opened = await self._plain("post", path, params | options)
        if not _is_of(request, opened):
            raise Unclear(_OF_ANOTHER, next_step=_HEALED)
        return opened

    async def _one(
        self, object_id: str, call: Callable[[], Awaitable[stripe.StripeObject | Object]]
    ) -> Object:
        """Return the object that a call names: the end of another one must never become this payment's.

        :raises Unclear: the answer is about another object.
        """
        answer = await self._ask(call)
        if answer.get("id") != object_id:
            raise Unclear(_OF_ANOTHER, next_step=_HEALED)
        return answer

    async def _of_intent(self, kind: str, payment_intent: str, *, limit: int) -> list[Object]:
        """Return the objects of a kind that belong to a PaymentIntent.

        :raises Unclear: the answer holds one of another PaymentIntent.
        """
        page = await self._page(kind, {"payment_intent": payment_intent, "limit": limit})
        if any(item.get("payment_intent") != payment_intent for item in page["data"]):
            raise Unclear(_OF_ANOTHER, next_step=_HEALED)
        return cast("list[Object]", page["data"])

    async def _page(self, kind: str, query: dict[str, Any]) -> Object:
        return await self._plain("get", kind, query)

    async def _plain(self, method: str, path: str, params: dict[str, Any]) -> Object:
        """Return an answer as plain JSON: making the SDK's objects takes longer than our own work."""

        async def ask() -> Object:
            answer = await self._client.raw_request_async(method, f"/v1/{path}", **params)
            return cast("Object", answer.data)

        return await self._ask(ask)

    async def _ask(self, call: Callable[[], Awaitable[stripe.StripeObject | Object]]) -> Object:
        async def attempt() -> Object:
            try:
                answer = await whole_answer(call())
                plain = answer.to_dict() if isinstance(answer, stripe.StripeObject) else answer
                plain["object"]  # each of Stripe's objects says what it is
            except stripe.StripeError as error:
                raise _as_domain_error(error) from error
            except (AttributeError, LookupError, TypeError, ValueError) as error:
                # a proxy between us may give such an answer, and the SDK's own reading of it fails, too
                raise Unclear(N_("Stripe's answer cannot be read"), next_step=_HEALED) from error
            return plain

        return await with_retries(attempt, idempotent=True, total_s=self._total_s, circuit=self._circuit)


def _is_of(request: CreateRequest, opened: Object) -> bool:
    return bool((opened.get("metadata") or {}).get("payment_id") == request.payment_id)


def _created_session(session: Object) -> Created:
    return Created(
        provider_ref=session["id"],
        ids=session_ids(session),
        payment_url=session["url"],
        expires_at=datetime.fromtimestamp(session["expires_at"], UTC),
    )


def _created_intent(intent: Object) -> Created:
    return Created(provider_ref=intent["id"], ids=intent_ids(intent), client_secret=intent["client_secret"])


def _metadata(request: CreateRequest) -> dict[str, str]:
    return {"payment_id": request.payment_id, "participant_id": request.participant_id}


def _intent_params(request: CreateRequest) -> dict[str, Any]:
    return {
        "amount": request.money.minor_units,
        "currency": request.money.currency.lower(),
        # Apple Pay and Google Pay are cards; other methods of the dashboard are not what was asked for
        "payment_method_types": ["card"],
        "description": request.description,
        "metadata": _metadata(request),
    }


def _session_params(request: CreateRequest) -> dict[str, Any]:
    if request.expires_at is None:
        raise ValueError("a Checkout Session is opened with its end")
    return {
        "mode": "payment",
        # Wallets are card payments at Stripe: the hosted page offers Apple Pay and Google Pay.
        "payment_method_types": ["card"],
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": request.money.currency.lower(),
                    "unit_amount": request.money.minor_units,
                    "product_data": {"name": request.description},
                },
            }
        ],
        "client_reference_id": request.payment_id,
        "metadata": _metadata(request),
        "payment_intent_data": {"metadata": _metadata(request), "description": request.description},
        "success_url": request.return_url,
        "expires_at": int(request.expires_at.timestamp()),
    }


def _as_domain_error(error: stripe.StripeError) -> PaymentError:
    """Translate a Stripe error into a domain error; https://docs.stripe.com/api/errors lists them."""
    reason = error.user_message or "no reason given"
    wait = retry_after_s({k.lower(): v for k, v in (error.headers or {}).items()}.get("retry-after"))
    match error:
        case stripe.PermissionError():
            made: PaymentError = ConfigurationError(
                N_("Stripe's key lacks a permission: %(reason)s", reason=reason),
                next_step=N_("add it to the restricted key in Stripe's dashboard, then: procomp-pay doctor"),
            )
        case stripe.AuthenticationError():
            made = ConfigurationError(
                N_("Stripe does not accept the key"),
                next_step=N_("check STRIPE_SECRET_KEY, then: procomp-pay doctor"),
            )
        case stripe.RateLimitError():
            made = Throttled("Stripe asks us to slow down", retry_after=wait)
        case _ if error.http_status == 409:
            # another process is making the same request; its result is ours as well
            made = Unclear("Stripe is still working on the same request", next_step=_HEALED)
        case stripe.InvalidRequestError() if error.http_status == 404:
            made = NotFound(N_("Stripe does not know it: %(reason)s", reason=reason))
        case stripe.InvalidRequestError() | stripe.CardError() | stripe.IdempotencyError():
            made = Refused(N_("Stripe refused: %(reason)s", reason=reason), code=ErrorCode.PROVIDER_REFUSED)
        case stripe.APIConnectionError() if isinstance(error.__cause__, NOT_SENT):
            made = ProviderUnavailable(N_("Stripe cannot be reached"), next_step=_HEALED)
        case _:
            made = OutcomeUnknown(
                N_(
                    "Stripe gave no usable answer (HTTP %(http_status)s)",
                    http_status=error.http_status or "none",
                ),
                next_step=_HEALED,
                retry_after=wait,
            )
    return made
