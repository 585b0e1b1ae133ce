"""Payments through Kaspi's Public QR API: schemes ``basic``, ``standard`` and ``enhanced``."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import ConfigurationError, InvalidAmount, NotFound, OutcomeUnknown, Refused
from procomp_pay.domain.events import EventType, ProviderIds
from procomp_pay.domain.kaspi_schedule import USUAL_CONFIRM_S, USUAL_INTERVAL_S, USUAL_SCAN_S
from procomp_pay.domain.refunds import RefundEvent
from procomp_pay.domain.states import Channel
from procomp_pay.domain.text import N_
from procomp_pay.providers.kaspi.client import KaspiCalls, NoSuchCall
from procomp_pay.providers.kaspi.invoices import create_remote, recall
from procomp_pay.providers.kaspi.refunds import KaspiRefunds
from procomp_pay.providers.kaspi.wire import (
    amount_number,
    items,
    purchase_id,
    read_date,
    seconds,
    tenge,
    token,
    visible,
    whole_number,
    word,
)
from procomp_pay.providers.protocol import (
    Created,
    CreateRequest,
    ProviderRef,
    ProviderRefunds,
    ProviderStatus,
    RefundRequest,
)

log = logging.getLogger(__name__)

#: Kaspi's statuses before the customer starts to pay.
_WAITS = ("QrTokenCreated", "RemotePaymentCreated")

_STATUSES: dict[str, tuple[EventType | None, bool]] = {
    "QrTokenCreated": (None, False),
    "RemotePaymentCreated": (None, False),
    "Wait": (EventType.PROCESSING, False),
    "Processed": (EventType.SUCCEEDED, True),
    "Error": (EventType.FAILED, True),
    "RemotePaymentCanceled": (EventType.CANCELLED, True),
    "RemotePaymentRejected": (EventType.FAILED, True),
    "RemotePaymentExpired": (EventType.EXPIRED, True),
    "Expired": (EventType.EXPIRED, True),
}
_REASONS = {
    "Error": N_("Kaspi: cancelled by the customer or not confirmed"),
    "RemotePaymentRejected": N_("Kaspi: the customer refused the invoice"),
    "RemotePaymentCanceled": N_("Kaspi: the invoice was recalled"),
}


class KaspiPublicApi:
    """Kaspi's own API, the backend of :class:`~procomp_pay.providers.kaspi.service.KaspiPaymentService`."""

    def __init__(self, calls: KaspiCalls) -> None:
        self._calls = calls
        self._refunds = KaspiRefunds(calls)
        self._has_v02 = True

    async def create(self, request: CreateRequest) -> Created:
        """Create a QR, a link or an invoice.

        :raises OutcomeUnknown: no answer was received. A QR was not shown, but may exist: create a new one
            only after it has expired. An invoice may be on the customer's phone.
        """
        if request.channel is Channel.KASPI_REMOTE:
            return await create_remote(self._calls, request)
        link = request.channel is Channel.KASPI_LINK
        body: dict[str, Any] = {
            "DeviceToken": self._calls.device_token,
            "Amount": amount_number(request.money.amount),
            "ExternalId": request.payment_id,
        }
        data = await self._calls.post("/qr/create-link" if link else "/qr/create", body)
        try:
            return _created(data, link=link)
        except ValueError as error:
            raise OutcomeUnknown(
                N_("Kaspi's answer to a new QR cannot be read: %(why)s", why=error)
            ) from error

    async def fetch(self, ref: ProviderRef) -> ProviderStatus:
        """Return the purchase's status, with amount and operation number where Kaspi gives them.

        An unknown status means "still open": a payment never fails because of a status that we do not know.
        """
        data = await self._status(ref.provider_ref)
        status = word(data.get("Status")) or ""
        event_type, final = _STATUSES.get(status, (None, False))
        if status not in _STATUSES:
            log.warning("Kaspi reports the unknown status %r for %s", status[:40], ref.provider_ref)
        ids = ProviderIds(kaspi_payment=ref.provider_ref, kaspi_operation=word(data.get("TransactionId")))
        if event_type is not EventType.SUCCEEDED:
            unclear = not final and status not in _WAITS
            return ProviderStatus(
                event_type, final, ids=ids, reason=_REASONS.get(status), raw_status=status, unclear=unclear
            )
        amount = await self._amount(ref, data)
        try:
            money = None if amount is None else tenge(amount)
        except InvalidAmount:
            log.warning("Kaspi reports an unreadable amount for %s", ref.provider_ref)
            return ProviderStatus(
                event_type, True, ids=ids, raw_status=status, money_unreadable=visible(amount)[:40]
            )
        return ProviderStatus(event_type, final=True, money=money, ids=ids, raw_status=status)

    async def cancel(self, ref: ProviderRef) -> ProviderStatus:
        """Recall an invoice. Kaspi recalls neither QR nor link: return their status."""
        if ref.channel is not Channel.KASPI_REMOTE:
            return await self.fetch(ref)
        try:
            recalled = await recall(self._calls, ref)
        except (Refused, ConfigurationError):
            # whatever the error: an invoice that was paid cannot be recalled, and the payment counts
            status = await self.fetch(ref)
            if status.final:
                return status
            raise
        return recalled or await self.fetch(ref)

    def ready_to_refund(self, payment_id: str, *, at_desk: bool = False) -> None:
        self._refunds.ready(payment_id, at_desk=at_desk)

    async def refund(self, request: RefundRequest) -> RefundEvent:
        return await self._refunds.refund(request)

    async def list_refunds(self, ref: ProviderRef) -> ProviderRefunds:
        """Return the refunded total, including refunds made in the Kaspi Pay app."""
        return await self._refunds.list_refunds(ref)

    async def check(self) -> str:
        """Ping Kaspi, then list the trade points, which proves the key or certificate. No call can check the
        device without creating something.
        """
        try:
            await self._calls.get("/health/ping")
        except OutcomeUnknown as error:
            error.next_step = (
                "check that KASPI_API_URL is Kaspi's own address. It has no path: /r1/v01 is added"
            )
            raise
        points = await self.trade_points()
        names = ", ".join(f"{name} ({point_id})" for point_id, name in points)
        if not names:
            return "answers, but has no trade points"
        return f"trade points: {names}; whether KASPI_DEVICE_TOKEN is theirs shows at the first payment"

    async def trade_points(self) -> list[tuple[int, str]]:
        """Return number and name of each trade point."""
        enhanced = self._calls.scheme is KaspiScheme.ENHANCED
        suffix = f"/{self._calls.organization_bin}" if enhanced else ""
        points = []
        for point in items(await self._calls.get(f"/partner/tradepoints{suffix}")):
            try:
                points.append((whole_number(point.get("TradePointId")), visible(point.get("TradePointName"))))
            except ValueError as error:
                log.warning("Kaspi lists a trade point that cannot be read: %s", error)
        return points

    async def _status(self, purchase: str) -> Mapping[str, Any]:
        # v02 (live since 2025) adds the operation number and the amount; older hosts do not have it.
        if self._has_v02:
            try:
                return await self._calls.get(f"/payment/status/{purchase}", version="v02")
            except NoSuchCall:
                self._has_v02 = False
        return await self._calls.get(f"/payment/status/{purchase}")

    async def _amount(self, ref: ProviderRef, data: Mapping[str, Any]) -> Any:
        """Return the paid amount; ``None`` under scheme basic, which does not report it."""
        amount = data.get("Amount")
        if amount is None and self._calls.scheme is not KaspiScheme.BASIC:
            try:
                amount = (await self._refunds.details(ref.provider_ref)).get("TotalAmount")
            except (NotFound, Refused, ConfigurationError) as error:
                # only the device that took the payment gets details, and it may have been replaced since
                log.warning("Kaspi does not report the amount of %s: %s", ref.provider_ref, error.message)
        return amount


def _created(data: Mapping[str, Any], *, link: bool) -> Created:
    timers = data.get("PaymentBehaviorOptions" if link else "QrPaymentBehaviorOptions")
    purchase = purchase_id(data.get("PaymentId" if link else "QrPaymentId"))
    scan = "LinkActivationWaitTimeout" if link else "QrCodeScanWaitTimeout"
    return Created(
        provider_ref=purchase,
        ids=ProviderIds(kaspi_payment=purchase),
        payment_url=token(data.get("PaymentLink")) if link else None,
        qr_token=None if link else token(data.get("QrToken")),
        expires_at=read_date(data.get("ExpireDate")),
        poll_interval_s=seconds(timers, "StatusPollingInterval", USUAL_INTERVAL_S),
        scan_timeout_s=seconds(timers, scan, USUAL_SCAN_S),
        confirm_timeout_s=seconds(timers, "PaymentConfirmationTimeout", USUAL_CONFIRM_S),
    )
