"""Control routes about Stripe, which act as the bank, the customer or a faulty network."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web

from procomp_pay.sandbox.httpio import json_body, refused
from procomp_pay.sandbox.stripe import disputes, events, intents, methods, paying, payouts, refunds
from procomp_pay.sandbox.stripe.core import Core
from procomp_pay.sandbox.stripe.errors import Json, StripeError, unexpected_state
from procomp_pay.sandbox.stripe.webhooks import Webhooks


class Admin:
    """Routes under /_sandbox/webhooks and /_sandbox/stripe."""

    def __init__(self, core: Core, webhooks: Webhooks) -> None:
        self._core = core
        self._webhooks = webhooks

    def routes(self) -> list[web.RouteDef]:
        """Return the routes."""
        stripe = "/_sandbox/stripe"
        return [
            web.get("/_sandbox/webhooks", self.show_webhooks),
            web.post("/_sandbox/webhooks", self.set_webhooks),
            web.post("/_sandbox/webhooks/flush", self.flush),
            web.post("/_sandbox/webhooks/rotate", self.rotate),
            web.post(f"{stripe}/payment_intents/{{id}}/pay", self.pay),
            web.post(f"{stripe}/payment_intents/{{id}}/dispute", self.dispute),
            web.post(f"{stripe}/disputes/{{id}}/close", self.close_dispute),
            web.post(f"{stripe}/refunds/{{id}}/fail", self.fail_refund),
            web.post(f"{stripe}/payouts", self.pay_out),
            web.post(f"{stripe}/payouts/{{id}}/fail", self.fail_payout),
            web.post(f"{stripe}/fees", self.charge_account),
        ]

    async def show_webhooks(self, _request: web.Request) -> web.Response:
        """GET: the mode and every delivery with its attempts."""
        return web.json_response({"mode": self._webhooks.mode, "deliveries": self._webhooks.to_json()})

    async def set_webhooks(self, request: web.Request) -> web.Response:
        """POST {"mode": …} and/or {"url": …}: how events are sent, and where."""
        given = await json_body(request)
        try:
            if "mode" in given:
                self._webhooks.set_mode(str(given["mode"]))
        except ValueError as error:
            raise refused(str(error)) from error
        if given.get("url"):
            events.set_sandbox_endpoint(self._core, str(given["url"]), None)
        return web.json_response({"mode": self._webhooks.mode})

    async def flush(self, _request: web.Request) -> web.Response:
        """POST: try every pending delivery now and wait for the answers."""
        return web.json_response(await self._webhooks.flush())

    async def rotate(self, request: web.Request) -> web.Response:
        """POST {"keep_old": true}: a new signing secret; both sign while the old one is kept."""
        given = await json_body(request)
        secret = events.rotate(
            self._core, events.SANDBOX_ENDPOINT, keep_old=bool(given.get("keep_old", True))
        )
        return web.json_response({"webhook_secret": secret})

    async def pay(self, request: web.Request) -> web.Response:
        """POST {"method": "pm_apple_pay"}: the customer confirms in the app."""
        method = str((await json_body(request)).get("method", "pm_card_visa"))
        return _done(lambda: self._pay(request.match_info["id"], method))

    def _pay(self, intent_id: str, method: str) -> Json:
        core = self._core
        core.run_due()
        intent = core.get("payment_intents", intent_id)
        if intent["status"] not in intents.CONFIRMABLE:
            raise unexpected_state(core.view(intent), "confirm", intents.CONFIRMABLE)
        method_id = methods.attach(core, {"payment_method": method})
        paying.attempt(core, intent, str(method_id), f"{core.base_url}/_sandbox")
        return core.view(intent)

    async def dispute(self, request: web.Request) -> web.Response:
        """POST {"reason": "fraudulent"}: the card's holder disputes the payment."""
        reason = str((await json_body(request)).get("reason", "fraudulent"))
        return _done(lambda: self._dispute(request.match_info["id"], reason))

    def _dispute(self, intent_id: str, reason: str) -> Json:
        intent = self._core.get("payment_intents", intent_id)
        if intent["status"] != "succeeded":
            raise unexpected_state(self._core.view(intent), "dispute", ("succeeded",))
        charge = self._core.get("charges", intent["latest_charge"])
        return disputes.open_dispute(self._core, charge, reason)

    async def close_dispute(self, request: web.Request) -> web.Response:
        """POST {"won": true|false}: the bank decides."""
        won = (await json_body(request)).get("won")
        if not isinstance(won, bool):
            raise refused("won must be true or false")
        return _done(lambda: disputes.close_dispute(self._core, request.match_info["id"], won=won))

    async def fail_refund(self, request: web.Request) -> web.Response:
        """POST: the bank sends the refund back."""
        return _done(lambda: refunds.fail(self._core, request.match_info["id"]))

    async def pay_out(self, request: web.Request) -> web.Response:
        """POST {"currency": "usd", "status": "paid", "arrives_in_days": 2}: pay out the balance."""
        given = await json_body(request)
        try:
            days = int(given.get("arrives_in_days", payouts.ARRIVES_AFTER_DAYS))
        except ValueError as error:
            raise refused(str(error)) from error
        currency, status = str(given.get("currency", "usd")), str(given.get("status", "paid"))
        return _done(lambda: payouts.make(self._core, currency, status, days))

    async def fail_payout(self, request: web.Request) -> web.Response:
        """POST: the bank sends the payout back."""
        return _done(lambda: payouts.fail(self._core, request.match_info["id"]))

    async def charge_account(self, request: web.Request) -> web.Response:
        """POST {"amount": 500, "currency": "usd", "description": "Radar"}: a fee of no payment."""
        given = await json_body(request)
        try:
            amount = int(given["amount"])
        except (KeyError, ValueError) as error:
            raise refused(str(error)) from error
        currency, words = str(given.get("currency", "usd")), str(given.get("description", "Radar"))
        return _done(lambda: payouts.charge_account(self._core, amount, currency, words))


def _done(work: Callable[[], Json]) -> web.Response:
    try:
        return web.json_response(work())
    except StripeError as error:
        return web.json_response(error.body(), status=error.status)
