"""Make refunds at Kaspi: in one call (enhanced), or with the customer's scan of a refund QR (standard)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import (
    Conflict,
    InvalidAmount,
    ManualReviewRequired,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.kaspi_schedule import USUAL_INTERVAL_S, USUAL_SCAN_S
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import RefundEvent, RefundState, kaspi_refund_id
from procomp_pay.domain.text import N_
from procomp_pay.providers.kaspi.client import KaspiCalls
from procomp_pay.providers.kaspi.wire import (
    RefundNotMade,
    amount_number,
    items,
    purchase_id,
    read_date,
    seconds,
    tenge,
    token,
    visible,
    word,
)
from procomp_pay.providers.protocol import ProviderRef, ProviderRefunds, RefundRequest
from procomp_pay.providers.resilience.retry import NOT_SENT, NotSent

#: The most purchases that Kaspi lists of the customer who scanned.
_MOST_OPERATIONS = 10


@dataclass(frozen=True, slots=True)
class RefundQr:
    """A QR that identifies the customer who scans it.

    :param token: the content of the QR. Secret.
    :param interval_s: seconds between two polls.
    :param wait_s: seconds until the QR expires.
    """

    return_id: int
    token: str = field(repr=False)
    interval_s: int
    wait_s: int


@dataclass(frozen=True, slots=True)
class Purchase:
    """A paid purchase.

    :param refundable: the part that was not refunded.
    """

    money: Money
    refundable: Money
    at: datetime | None


def in_app(payment_id: str) -> str:
    """Return how to refund a payment that cannot be refunded by API."""
    return N_(
        "refund it in the Kaspi Pay app (History, the payment, Make a refund), then record it: %(command)s",
        command=f'procomp-pay refund {payment_id} --made-in-app NUMBER --amount … --reason "…"',
    )


class KaspiRefunds:
    """The refund calls of one device."""

    def __init__(self, calls: KaspiCalls) -> None:
        self._calls = calls

    def ready(self, payment_id: str, *, at_desk: bool) -> None:
        """Check that a refund through the API is possible.

        :param payment_id: named in the next step of the error.
        :param at_desk: the customer is present and can scan.
        :raises Refused: not in this scheme, or not without the customer.
        """
        if self._calls.scheme is KaspiScheme.BASIC:
            raise Refused(N_("Kaspi's basic scheme has no refund by API"), next_step=in_app(payment_id))
        if self._calls.scheme is KaspiScheme.STANDARD and not at_desk:
            raise Refused(
                N_("In Kaspi's standard scheme the customer must be present at a desk and scan a refund QR"),
                next_step=N_('at the desk: procomp-pay refund %(payment)s --reason "…"', payment=payment_id),
            )

    async def refund(self, request: RefundRequest) -> RefundEvent:
        """Make a refund, once.

        Kaspi promises no idempotency here: a refund whose answer was lost is sent again only if Kaspi's
        refunded total shows that it was not made; in scheme standard never, since the customer has left.

        :raises ManualReviewRequired: Kaspi's refunded total and our books differ.
        :raises Conflict: a cashier made a refund in the app meanwhile; nothing was sent.
        """
        _check_is_kaspis(request)
        if request.again:
            made = await self._made_before(request)
            if made is not None:
                return made
        standard = self._calls.scheme is KaspiScheme.STANDARD
        if standard and request.customer_scan is None:
            return self._failed(
                request, N_("Kaspi did not make the refund, and the customer's scan is used up")
            )
        self.ready(request.payment_id, at_desk=standard)
        if not request.again:
            await self._check_nothing_new(request)
        body: dict[str, Any] = {
            "DeviceToken": self._calls.device_token,
            "QrPaymentId": int(request.ref.provider_ref),
            "Amount": amount_number(request.money.amount),
        }
        if standard:
            body["QrReturnId"] = request.customer_scan
        if not request.may_leave():
            raise NotSent(N_("The refund could not be sent in time; nothing was sent"))
        try:
            data = await self._return(body)
        except RefundNotMade:
            if not request.again:
                raise
            made = await self._made_before(request)
            return made or self._failed(request, N_("Kaspi could not make the refund twice: call the bank"))
        operation = word(data.get("ReturnOperationId"))
        return RefundEvent(
            RefundState.SUCCEEDED,
            request.money,
            refund_id=request.refund_id,
            provider_refund_id=kaspi_refund_id(operation) if operation is not None else None,
        )

    async def _check_nothing_new(self, request: RefundRequest) -> None:
        """Check Kaspi's refunded total: a cashier may have made the same refund in the app, and Kaspi would
        make a partial refund a second time.

        :raises Conflict: more was refunded than our books say.
        :raises ProviderUnavailable: Kaspi cannot be asked; nothing was sent.
        """
        try:
            total = (await self.list_refunds(request.ref)).total
        except OutcomeUnknown as error:
            raise NotSent(error.message, next_step=error.next_step) from error
        if total is not None and total.amount > request.refunded.amount:
            raise _more_went_back(request, total)

    async def _made_before(self, request: RefundRequest) -> RefundEvent | None:
        """Return the refund that an earlier request with a lost answer made; ``None`` if it made none.

        If as much or more was refunded since, the refund counts as made, whoever made it; the excess is
        adopted as a cashier's refund. The same money is never sent again in addition to a cashier's refund.

        :raises Conflict: it was not made, and a cashier refunded another amount meanwhile.
        :raises ManualReviewRequired: less was refunded than our books say.
        """
        total = (await self.list_refunds(request.ref)).total or request.refunded
        since = total.amount - request.refunded.amount
        if since >= request.money.amount:
            return RefundEvent(RefundState.SUCCEEDED, request.money, refund_id=request.refund_id)
        if since > 0:
            raise _more_went_back(request, total)
        if since < 0:
            raise ManualReviewRequired(
                N_(
                    "Kaspi has refunded %(total)s of this payment, our books say %(refunded)s",
                    total=total,
                    refunded=request.refunded,
                ),
                next_step=N_("compare with the payment in the Kaspi Pay app"),
            )
        return None

    @staticmethod
    def _failed(request: RefundRequest, why: str) -> RefundEvent:
        return RefundEvent(RefundState.FAILED, request.money, refund_id=request.refund_id, failure_reason=why)

    async def _return(self, body: dict[str, Any]) -> Mapping[str, Any]:
        """Send the refund exactly once: Kaspi does not promise that an answer such as "busy" means that
        nothing was done.
        """
        try:
            return await self._calls.post("/payment/return", body, again=False)
        except ProviderUnavailable as error:
            if isinstance(error, NotSent) or isinstance(error.__cause__, NOT_SENT):
                raise
            raise OutcomeUnknown(error.message, next_step=error.next_step) from error

    async def list_refunds(self, ref: ProviderRef) -> ProviderRefunds:
        """Return the refunded total, whoever made the refunds; nothing in scheme basic, which does not report
        it.
        """
        if self._calls.scheme is KaspiScheme.BASIC:
            return ProviderRefunds()
        purchase = await self.purchase(ref.provider_ref)
        return ProviderRefunds(total=purchase.money - purchase.refundable)

    async def purchase(self, number: str) -> Purchase:
        """Return a paid purchase.

        :raises NotFound, Refused: Kaspi does not know it, or it belongs to another trade point.
        :raises OutcomeUnknown: its amounts cannot be read.
        """
        data = await self.details(number)
        try:
            money, rest = tenge(data.get("TotalAmount")), tenge(data.get("AvailableReturnAmount"))
        except InvalidAmount as error:
            raise _unreadable_details(error) from error
        if not 0 <= rest.amount <= money.amount:
            raise _unreadable_details("more can be refunded than was paid")
        return Purchase(money, rest, read_date(data.get("TransactionDate")))

    async def details(self, number: str) -> Mapping[str, Any]:
        """Return the details of a paid purchase, with its total and the amount that can still be refunded.

        :raises OutcomeUnknown: they are those of another purchase, or name theirs by what is no number.
        """
        query = {"QrPaymentId": number, "DeviceToken": self._calls.device_token}
        data = await self._calls.get("/payment/details", query)
        told = data.get("QrPaymentId")
        try:
            is_another = told is not None and int(purchase_id(told)) != int(number)
        except ValueError as error:
            raise _unreadable_details(error) from error
        if is_another:
            raise _unreadable_details(f"they are those of {visible(told)}")
        return data

    async def open_qr(self, external_id: str) -> RefundQr:
        """Create a QR for the customer to scan. After a lost answer a second one is harmless."""
        self._only_standard()
        body = {"DeviceToken": self._calls.device_token, "ExternalId": external_id}
        data = await self._calls.post("/return/create", body)
        try:
            timers = data.get("QrReturnBehaviorOptions")
            return RefundQr(
                return_id=int(purchase_id(data.get("QrReturnId"))),
                token=token(data.get("QrToken")),
                interval_s=seconds(timers, "QrCodeScanEventPollingInterval", USUAL_INTERVAL_S),
                wait_s=seconds(timers, "QrCodeScanWaitTimeout", USUAL_SCAN_S),
            )
        except ValueError as error:
            raise OutcomeUnknown(
                N_("Kaspi's answer to a refund QR cannot be read: %(why)s", why=error)
            ) from error

    async def is_scanned(self, qr: RefundQr) -> bool:
        """Return whether the customer has scanned the refund QR.

        :raises Refused: the customer declined, or the QR has expired.
        """
        status = word((await self._calls.get(f"/return/status/{qr.return_id}")).get("Status"))
        if status == "Error":
            raise Refused(
                N_("The customer did not confirm the refund QR"), next_step=N_("start the refund again")
            )
        return status == "CustomerIdentityObtained"

    async def is_theirs(self, qr: RefundQr, purchase: str) -> bool:
        """Return whether the payment is among the latest purchases of the customer who scanned."""
        body = {
            "DeviceToken": self._calls.device_token,
            "QrReturnId": qr.return_id,
            "MaxResult": _MOST_OPERATIONS,
        }
        operations = items(await self._calls.post("/return/operations", body))
        return any(str(operation.get("QrPaymentId")) == purchase for operation in operations)

    def _only_standard(self) -> None:
        if self._calls.scheme is not KaspiScheme.STANDARD:
            raise Refused(N_("A refund QR belongs to Kaspi's standard scheme"))


def _unreadable_details(why: object) -> OutcomeUnknown:
    # a total of 0 instead would let the same money go back twice
    return OutcomeUnknown(N_("Kaspi's details of a payment cannot be read: %(why)s", why=why))


def _more_went_back(request: RefundRequest, total: Money) -> Conflict:
    return Conflict(
        N_(
            "Kaspi has already refunded %(total)s of this payment, our books said %(refunded)s; the "
            "refund of %(money)s was not sent",
            total=total,
            refunded=request.refunded,
            money=request.money,
        ),
        next_step=N_(
            "check the payment, then refund what is still due: procomp-pay status --payment %(payment)s",
            payment=request.payment_id,
        ),
    )


def _check_is_kaspis(request: RefundRequest) -> None:
    """Check that Kaspi can refund the payment.

    :raises Refused: it is not in tenge (possible for payments that the platform wrote), or it was not made
        through Kaspi's own API.
    """
    if request.money.currency is not Currency.KZT:
        raise Refused(
            N_(
                "Kaspi refunds only tenge, and this payment is in %(currency)s",
                currency=request.money.currency,
            ),
            next_step=N_("refund it in the Kaspi Pay app (History, the payment, Make a refund)"),
        )
    if not request.ref.provider_ref.isdigit():
        raise Refused(
            N_("This payment was not made through Kaspi's own API"), next_step=in_app(request.payment_id)
        )
