"""Refunds at Kaspi: in one call (enhanced), or with the customer's scan of a refund QR (standard)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import (
    Conflict,
    ManualReviewRequired,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import RefundEvent, RefundState
from procomp_pay.providers.kaspi.client import KaspiCalls
from procomp_pay.providers.kaspi.wire import RefundNotMade, amount_number
from procomp_pay.providers.protocol import ProviderRef, ProviderRefunds, RefundRequest
from procomp_pay.providers.resilience.retry import NOT_SENT, NotSent

#: Kaspi lists at most so many purchases of the customer who scanned.
_MOST_OPERATIONS = 10
IN_APP = "give it back in the Kaspi Pay app (History, the payment, Make a refund), then record it: "
RECORD = 'procomp-pay refund PAYMENT --made-in-app NUMBER --amount … --reason "…"'


@dataclass(frozen=True, slots=True)
class RefundQr:
    """A QR by which a customer shows who they are.

    :param token: what the picture holds. Secret.
    :param interval_s, wait_s: between two looks, and until it is dead, in seconds.
    """

    return_id: int
    token: str = field(repr=False)
    interval_s: int
    wait_s: int


class KaspiRefunds:
    """The refund calls of one device."""

    def __init__(self, calls: KaspiCalls) -> None:
        self._calls = calls

    def ready(self, *, at_desk: bool) -> None:
        """
        :param at_desk: the customer stands here and can scan.
        :raises Refused: not in this scheme, or not from here.
        """
        if self._calls.scheme is KaspiScheme.BASIC:
            raise Refused("Kaspi's basic scheme has no refund by API", next_step=IN_APP + RECORD)
        if self._calls.scheme is KaspiScheme.STANDARD and not at_desk:
            raise Refused(
                "In Kaspi's standard scheme the customer must be present at a desk and scan a refund QR",
                next_step='at the desk: procomp-pay refund PAYMENT --reason "…"',
            )

    async def refund(self, request: RefundRequest) -> RefundEvent:
        """Give money back, once.

        Kaspi promises no idempotency here: a refund whose answer was lost is sent again only when Kaspi's
        own sum shows that it was not made; in scheme standard never, since the customer has gone.

        :raises ManualReviewRequired: Kaspi's sum and our books differ.
        :raises Conflict: a cashier gave money back in the app meanwhile; nothing was sent.
        """
        _check_is_kaspis(request)
        if request.again:
            made = await self._made_before(request)
            if made is not None:
                return made
        standard = self._calls.scheme is KaspiScheme.STANDARD
        if standard and request.customer_scan is None:
            return self._failed(request, "Kaspi did not make it, and the customer's scan is used up")
        self.ready(at_desk=standard)
        if not request.again:
            await self._check_nothing_new(request)
        body: dict[str, Any] = {
            "DeviceToken": self._calls.device_token,
            "QrPaymentId": int(request.handle.provider_ref),
            "Amount": amount_number(request.money.amount),
        }
        if standard:
            body["QrReturnId"] = request.customer_scan
        if not request.may_leave():
            raise NotSent("The refund did not leave in time; nothing was sent")
        try:
            data = await self._return(body)
        except RefundNotMade:
            if not request.again:
                raise
            made = await self._made_before(request)
            return made or self._failed(request, "Kaspi could not make it, twice: call the bank")
        operation = data.get("ReturnOperationId")
        return RefundEvent(
            RefundState.SUCCEEDED,
            request.money,
            refund_id=request.refund_id,
            provider_refund_id=f"kaspi:{operation}" if operation is not None else None,
        )

    async def _check_nothing_new(self, request: RefundRequest) -> None:
        """A cashier may have given the same money back in the app, and nobody told us: Kaspi would give a
        part a second time.

        :raises Conflict: more went back than our books say.
        :raises ProviderUnavailable: Kaspi cannot be asked; nothing was sent.
        """
        try:
            total = (await self.list_refunds(request.handle)).total
        except OutcomeUnknown as error:
            raise NotSent(error.message, next_step=error.next_step) from error
        if total is not None and total.amount > request.refunded.amount:
            raise _more_went_back(request, total)

    async def _made_before(self, request: RefundRequest) -> RefundEvent | None:
        """Whether an earlier request, whose answer was lost, was carried out; ``None`` where it was not.

        Where as much or more went back since, it counts as made, whoever made it: what is beyond it is
        taken over as a cashier's. Never is the same money sent again beside what a cashier gave.

        :raises Conflict: it was not made, and a cashier gave another sum back meanwhile.
        :raises ManualReviewRequired: less went back than our books say.
        """
        total = (await self.list_refunds(request.handle)).total or request.refunded
        since = total.amount - request.refunded.amount
        if since >= request.money.amount:
            return RefundEvent(RefundState.SUCCEEDED, request.money, refund_id=request.refund_id)
        if since > 0:
            raise _more_went_back(request, total)
        if since < 0:
            raise ManualReviewRequired(
                f"Kaspi says that {total} went back, our books say {request.refunded}",
                next_step="compare with the payment in the Kaspi Pay app",
            )
        return None

    @staticmethod
    def _failed(request: RefundRequest, why: str) -> RefundEvent:
        return RefundEvent(RefundState.FAILED, request.money, refund_id=request.refund_id, failure_reason=why)

    async def _return(self, body: dict[str, Any]) -> Mapping[str, Any]:
        """Sent once: whether an answer such as "busy" came before or after the work is not promised."""
        try:
            return await self._calls.post("/payment/return", body, again=False)
        except ProviderUnavailable as error:
            if isinstance(error, NotSent) or isinstance(error.__cause__, NOT_SENT):
                raise
            raise OutcomeUnknown(error.message, next_step=error.next_step) from error

    async def list_refunds(self, handle: ProviderRef) -> ProviderRefunds:
        """The sum that went back, whoever made it; nothing in scheme basic, which does not tell."""
        if self._calls.scheme is KaspiScheme.BASIC:
            return ProviderRefunds()
        data = await self.details(handle)
        gone = Decimal(data["TotalAmount"]) - Decimal(data["AvailableReturnAmount"])
        return ProviderRefunds(total=Money(gone, Currency.KZT))

    async def details(self, handle: ProviderRef) -> Mapping[str, Any]:
        """Total and rest of a paid purchase."""
        query = {"QrPaymentId": handle.provider_ref, "DeviceToken": self._calls.device_token}
        return await self._calls.get("/payment/details", query)

    async def open_qr(self, external_id: str) -> RefundQr:
        """A QR for the customer to scan. A lost answer harms nobody: a second one may be made."""
        self._only_standard()
        body = {"DeviceToken": self._calls.device_token, "ExternalId": external_id}
        data = await self._calls.post("/return/create", body)
        try:
            timers = data["QrReturnBehaviorOptions"]
            return RefundQr(
                return_id=int(data["QrReturnId"]),
                token=str(data["QrToken"]),
                interval_s=max(1, int(timers["QrCodeScanEventPollingInterval"])),
                wait_s=int(timers["QrCodeScanWaitTimeout"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown(f"Kaspi's answer to a refund QR lacks {error}") from error

    async def is_scanned(self, qr: RefundQr) -> bool:
        """Whether the customer has shown who they are.

        :raises Refused: the customer said no, or the QR is dead.
        """
        status = str((await self._calls.get(f"/return/status/{qr.return_id}")).get("Status", ""))
        if status == "Error":
            raise Refused("The customer did not confirm the refund QR", next_step="start the refund again")
        return status == "CustomerIdentityObtained"

    async def is_theirs(self, qr: RefundQr, purchase: str) -> bool:
        """Whether the customer who scanned is the one who paid, among their latest purchases here."""
        body = {
            "DeviceToken": self._calls.device_token,
            "QrReturnId": qr.return_id,
            "MaxResult": _MOST_OPERATIONS,
        }
        found = (await self._calls.post("/return/operations", body)).get("items") or []
        return any(str(each.get("QrPaymentId")) == purchase for each in found)

    def _only_standard(self) -> None:
        if self._calls.scheme is not KaspiScheme.STANDARD:
            raise Refused("A refund QR belongs to Kaspi's standard scheme")


def _more_went_back(request: RefundRequest, total: Money) -> Conflict:
    return Conflict(
        f"Kaspi says that {total} went back of this payment already, our books said {request.refunded}; "
        f"{request.money} was not sent",
        next_step="look again, then ask for what is still to go back: "
        f"procomp-pay status --payment {request.payment_id}",
    )


def _check_is_kaspis(request: RefundRequest) -> None:
    """
    :raises Refused: not in tenge, as what a platform wrote may be, or not of this scheme.
    """
    if request.money.currency is not Currency.KZT:
        raise Refused(
            f"Kaspi gives back in tenge alone, and this payment is in {request.money.currency}",
            next_step="give it back in the Kaspi Pay app (History, the payment, Make a refund)",
        )
    if not request.handle.provider_ref.isdigit():
        raise Refused("This payment was not taken in Kaspi's own scheme", next_step=IN_APP + RECORD)
