"""The pages that a customer sees: checkout, 3-D Secure, receipt."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from aiohttp import web

from procomp_pay.sandbox import pages
from procomp_pay.sandbox.httpio import json_or_form, refused, wants_json
from procomp_pay.sandbox.stripe import checkout, paying
from procomp_pay.sandbox.stripe.core import Cause, Core
from procomp_pay.sandbox.stripe.currencies import display
from procomp_pay.sandbox.stripe.errors import Json, StripeError

T = TypeVar("T")
WALLETS = {
    "apple_pay": "pm_apple_pay",
    "google_pay": "pm_google_pay",
    "card": "pm_card_visa",
    "declined": "pm_card_chargeDeclined",
    "authenticate": "pm_card_threeDSecure2Required",
}
_LABELS = {
    "apple_pay": "Apple Pay",
    "google_pay": "Google Pay",
    "card": "Card",
    "authenticate": "Card with 3-D Secure",
    "declined": "Card that is declined",
}


class HostedPages:
    """Routes of the hosted pages; each POST counts as one request of Stripe's own."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def routes(self) -> list[web.RouteDef]:
        """Return the routes under /c/."""
        return [
            web.get("/c/pay/{id}", self.show_checkout),
            web.post("/c/pay/{id}", self.pay),
            web.get("/c/3ds/{id}", self.show_challenge),
            web.post("/c/3ds/{id}", self.answer_challenge),
            web.get("/c/receipt/{id}", self.receipt),
        ]

    async def show_checkout(self, request: web.Request) -> web.Response:
        """GET /c/pay/{session}: the amount and the buttons."""
        self._core.run_due()
        try:
            row = checkout.find(self._core, request.match_info["id"])
        except StripeError as error:
            return _broken(request, error)
        return self._checkout_page(row)

    async def pay(self, request: web.Request) -> web.Response:
        """POST /c/pay/{session} with `wallet`: pays, and says where the customer goes next."""
        given = await json_or_form(request)
        wallet = str(given.get("wallet", ""))
        session_id = request.match_info["id"]
        try:
            intent = self._as_request(
                lambda: checkout.pay(self._core, session_id, WALLETS.get(wallet, wallet))
            )
            row = checkout.find(self._core, session_id)
        except StripeError as error:
            if wants_json(request) or error.status != 402:
                return _broken(request, error)
            return self._checkout_page(checkout.find(self._core, session_id), str(error), status=402)
        if intent["status"] == "requires_action" and not wants_json(request):
            raise web.HTTPSeeOther(intent["next_action"]["redirect_to_url"]["url"])
        return web.json_response(_summary(row, intent)) if wants_json(request) else self._checkout_page(row)

    async def show_challenge(self, request: web.Request) -> web.Response:
        """GET /c/3ds/{intent}: pass or fail the bank's check."""
        try:
            intent = self._waiting(request.match_info["id"])
        except StripeError as error:
            return _broken(request, error)
        body = pages.paragraph(display(intent["amount"], intent["currency"]), "amount")
        body += pages.buttons("result", {"pass": "Complete", "fail": "Fail"}, quiet=["fail"])
        return pages.page("3-D Secure", body)

    async def answer_challenge(self, request: web.Request) -> web.Response:
        """POST /c/3ds/{intent} with `result` = `pass` or `fail`."""
        given = await json_or_form(request)
        if given.get("result") not in ("pass", "fail"):
            raise refused("result must be pass or fail")
        try:
            intent = self._waiting(request.match_info["id"])
            passed = given["result"] == "pass"
            self._as_request(lambda: paying.authenticate(self._core, intent, passed=passed))
        except StripeError as error:
            return _broken(request, error)
        target = self._core.private(intent["id"]).get("return_url") or ""
        if wants_json(request):
            return web.json_response({"status": intent["status"], "redirect_url": target})
        return pages.page("Paid", pages.paragraph("The bank has agreed.", "good") + _onward(target))

    async def receipt(self, request: web.Request) -> web.Response:
        """GET /c/receipt/{charge}."""
        row = self._core.tables["charges"].get(request.match_info["id"])
        if row is None:
            return pages.page("No such receipt", "", status=404)
        amount = pages.paragraph(display(row["amount"], row["currency"]), "amount")
        return pages.page("Receipt", amount + pages.paragraph(f"{row['id']}: {row['status']}"))

    def _as_request(self, work: Callable[[], T]) -> T:
        self._core.run_due()
        self._core.cause = Cause(request_id=self._core.new_id("req", 14))
        try:
            return work()
        finally:
            self._core.cause = Cause()

    def _waiting(self, intent_id: str) -> Json:
        intent = self._core.get("payment_intents", intent_id)
        if intent["status"] != "requires_action":
            raise StripeError(f"This payment does not wait for 3-D Secure: it is {intent['status']}.")
        return intent

    def _checkout_page(self, row: Json, problem: str = "", *, status: int = 200) -> web.Response:
        body = pages.paragraph("ProComp sandbox")
        body += pages.paragraph(display(row["amount_total"], row["currency"]), "amount")
        for item in self._core.private(row["id"])["line_items"]:
            body += pages.paragraph(f"{item['quantity']} x {item['description']}")
        if problem:
            body += pages.paragraph(problem, "bad")
        if row["status"] == "open":
            body += pages.buttons("wallet", _LABELS, quiet=["authenticate", "declined"])
            return pages.page("Pay", body, status=status)
        if row["status"] == "expired":
            return pages.page("This page has expired", body, status=410)
        body += pages.paragraph("Paid. Thank you.", "good") + _onward(checkout.redirect(row))
        return pages.page("Paid", body)


def _summary(row: Json, intent: Json) -> Json:
    return {
        "id": row["id"],
        "next_action": intent["next_action"],
        "payment_intent": intent["id"],
        "payment_intent_status": intent["status"],
        "payment_status": row["payment_status"],
        "redirect_url": checkout.redirect(row) if row["status"] == "complete" else None,
        "status": row["status"],
    }


def _onward(target: str) -> str:
    return pages.links({target: "Back to the merchant"}) if target else ""


def _broken(request: web.Request, error: StripeError) -> web.Response:
    if wants_json(request):
        return web.json_response(error.body(), status=error.status)
    return pages.page("Not paid", pages.paragraph(str(error), "bad"), status=error.status)
