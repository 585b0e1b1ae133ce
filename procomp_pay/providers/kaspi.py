"""Kaspi Pay's Public QR API, schemes ``basic`` and ``enhanced``.

Kaspi promises no idempotency for creating a QR: after a time-out it is never sent again blindly. It
sends no events either: we poll (KASPI.md).
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import simplejson

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import (
    ConfigurationError,
    InvalidAmount,
    NeedsPerson,
    NotFound,
    OutcomeUnknown,
    PaymentError,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.facts import News, ProviderIds
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import RefundNews, RefundState
from procomp_pay.domain.states import Channel
from procomp_pay.providers.base import Created, CreateRequest, Handle, RefundRequest, Returned, Seen
from procomp_pay.providers.kaspi_wire import amount_number, parse_date, read_envelope
from procomp_pay.providers.patience import NOT_SENT, TOTAL_S, with_retries

log = logging.getLogger(__name__)

_PATHS = {KaspiScheme.BASIC: "r1", KaspiScheme.ENHANCED: "r3"}
#: Where the document's test hosts stand when no address is configured would be a guess: it is asked for.
_ATTEMPT_S = httpx.Timeout(10.0, connect=5.0)

#: Kaspi's words for: nobody has scanned it yet.
_WAITS = ("QrTokenCreated", "RemotePaymentCreated")

_STATUSES: dict[str, tuple[News | None, bool]] = {
    "QrTokenCreated": (None, False),
    "RemotePaymentCreated": (None, False),
    "Wait": (News.PROCESSING, False),
    "Processed": (News.SUCCEEDED, True),
    "Error": (News.FAILED, True),
}


class KaspiPaymentService:
    """Creates and reads payments at Kaspi.

    :param http: a client whose base address, certificate and headers are set; closed by :meth:`aclose`.
    :param device_token: the cashier device that payments are booked on.
    :param organization_bin: the organisation's 12 digits; scheme ``enhanced`` names it in every request.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        *,
        scheme: KaspiScheme,
        device_token: str,
        organization_bin: str | None = None,
        total_s: float = TOTAL_S,
    ) -> None:
        self._http = http
        self._scheme = scheme
        self._device_token = device_token
        self._bin = organization_bin
        self._total_s = total_s
        self._has_v02 = True

    async def create(self, request: CreateRequest) -> Created:
        """Make a QR, or a link that opens the Kaspi app.

        :raises OutcomeUnknown: no answer was seen. Nobody has seen the QR either, but it may exist: make a
            new one only when this one's life is over.
        """
        link = request.channel is Channel.KASPI_LINK
        body: dict[str, Any] = {
            "DeviceToken": self._device_token,
            "Amount": amount_number(request.money.amount),
            "ExternalId": request.payment_id,
        }
        data = await self._post("/qr/create-link" if link else "/qr/create", body)
        try:
            return _created(data, link=link)
        except (KeyError, TypeError, ValueError) as error:
            raise OutcomeUnknown(f"Kaspi's answer to a new QR lacks {error}") from error

    async def find(self, request: CreateRequest) -> Created | None:  # noqa: ARG002 - the protocol's
        """Kaspi documents no search by ExternalId."""
        return None

    async def fetch(self, handle: Handle) -> Seen:
        """How the purchase stands at Kaspi, with amount and operation number where Kaspi gives them.

        An unknown status means "still open": a payment is never failed for a word that we do not know.
        """
        data = await self._status(handle.provider_ref)
        status = str(data.get("Status", ""))
        news, final = _STATUSES.get(status, (None, False))
        if status not in _STATUSES:
            log.warning("Kaspi reports the unknown status %r for %s", status[:40], handle.provider_ref)
        ids = ProviderIds(kaspi_payment=handle.provider_ref, kaspi_operation=_text(data.get("TransactionId")))
        if news is not News.SUCCEEDED:
            reason = "Kaspi: cancelled by the customer or not confirmed" if news is News.FAILED else None
            unclear = not final and status not in _WAITS
            return Seen(news, final, ids=ids, reason=reason, raw_status=status, unclear=unclear)
        amount = await self._amount(handle, data)
        try:
            money = None if amount is None else Money(Decimal(amount), Currency.KZT)
        except (InvalidAmount, ArithmeticError, TypeError, ValueError):
            log.warning("Kaspi says an amount of %s that is none", handle.provider_ref)
            return Seen(news, True, ids=ids, raw_status=status, money_unreadable=str(amount)[:40])
        return Seen(news, final=True, money=money, ids=ids, raw_status=status)

    async def cancel(self, handle: Handle) -> Seen:
        """Kaspi has no recall of a QR or a link: this only says how it stands."""
        return await self.fetch(handle)

    def ready_to_refund(self) -> None:
        """
        :raises Refused: scheme ``basic``.
        """
        if self._scheme is KaspiScheme.BASIC:
            raise Refused(
                "Kaspi's basic scheme has no refund by API",
                next_step="give it back in the Kaspi Pay app: History, the payment, Make a refund",
            )

    async def refund(self, request: RefundRequest) -> RefundNews:
        """Give money back, in one call (scheme ``enhanced``).

        Kaspi promises no idempotency here: a refund whose answer was lost is sent again only when Kaspi's
        own sum shows that it was not made.
        """
        self.ready_to_refund()
        if request.again:
            total = (await self.returned(request.handle)).total or request.went_back
            if total == request.went_back + request.money:
                return RefundNews(RefundState.SUCCEEDED, request.money, refund_id=request.refund_id)
            if total != request.went_back:
                raise NeedsPerson(
                    f"Kaspi says that {total} went back, our books say {request.went_back}",
                    next_step="compare with the payment in the Kaspi Pay app",
                )
        body = {
            "DeviceToken": self._device_token,
            "QrPaymentId": int(request.handle.provider_ref),
            "Amount": amount_number(request.money.amount),
        }
        data = await self._return(body)
        operation = _text(data.get("ReturnOperationId"))
        return RefundNews(
            RefundState.SUCCEEDED,
            request.money,
            refund_id=request.refund_id,
            provider_refund_id=f"kaspi:{operation}" if operation else None,
        )

    async def _return(self, body: dict[str, Any]) -> Mapping[str, Any]:
        """Sent once: whether an answer such as "busy" came before or after the work is not promised."""
        try:
            return await self._post("/payment/return", body, again=False)
        except ProviderUnavailable as error:
            if isinstance(error.__cause__, NOT_SENT):
                raise
            raise OutcomeUnknown(error.message, next_step=error.next_step) from error

    async def returned(self, handle: Handle) -> Returned:
        """The sum that went back, a cashier's refund in the Kaspi Pay app included."""
        if self._scheme is KaspiScheme.BASIC:
            return Returned()
        data = await self._details(handle)
        gone = Decimal(data["TotalAmount"]) - Decimal(data["AvailableReturnAmount"])
        return Returned(total=Money(gone, Currency.KZT))

    async def _details(self, handle: Handle) -> Mapping[str, Any]:
        query = {"QrPaymentId": handle.provider_ref, "DeviceToken": self._device_token}
        return await self._get("/payment/details", query)

    async def check(self) -> str:
        """Ping Kaspi, then list the trade points, which proves the key or certificate."""
        await self._get("/health/ping")
        suffix = f"/{self._bin}" if self._scheme is KaspiScheme.ENHANCED else ""
        points = (await self._get(f"/partner/tradepoints{suffix}"))["items"] or []
        names = ", ".join(f"{p['TradePointName']} ({p['TradePointId']})" for p in points)
        return f"trade points: {names}" if names else "answers, but has no trade points"

    async def aclose(self) -> None:
        await self._http.aclose()

    async def _status(self, purchase: str) -> Mapping[str, Any]:
        # v02 (live since 2025) adds the operation number and the amount; older hosts do not have it.
        if self._has_v02:
            try:
                return await self._get(f"/payment/status/{purchase}", version="v02")
            except _NoSuchCall:
                self._has_v02 = False
        return await self._get(f"/payment/status/{purchase}")

    async def _amount(self, handle: Handle, data: Mapping[str, Any]) -> Any:
        """What Kaspi says was paid; ``None`` where scheme basic does not tell."""
        amount = data.get("Amount")
        if amount is None and self._scheme is not KaspiScheme.BASIC:
            amount = (await self._details(handle)).get("TotalAmount")
        return amount

    async def _get(
        self, path: str, query: Mapping[str, str] | None = None, *, version: str = "v01"
    ) -> Mapping[str, Any]:
        return await with_retries(
            lambda: self._send("GET", path, version=version, params=query),
            idempotent=True,
            total_s=self._total_s,
        )

    async def _post(self, path: str, body: dict[str, Any], *, again: bool = True) -> Mapping[str, Any]:
        if self._scheme is KaspiScheme.ENHANCED:
            body["OrganizationBin"] = self._bin
        content = simplejson.dumps(body, use_decimal=True)
        if not again:
            return await self._send("POST", path, content=content)
        return await with_retries(
            lambda: self._send("POST", path, content=content), idempotent=False, total_s=self._total_s
        )

    async def _send(
        self, method: str, path: str, *, version: str = "v01", **kwargs: Any
    ) -> Mapping[str, Any]:
        headers = {"X-Request-ID": str(uuid.uuid4()), "Content-Type": "application/json"}
        try:
            answer = await self._http.request(
                method, f"/{_PATHS[self._scheme]}/{version}{path}", headers=headers, **kwargs
            )
        except httpx.HTTPError as error:
            raise _transport_error(error) from error
        if answer.status_code == 404 and version == "v02":
            raise _NoSuchCall("Kaspi does not have this call")
        return read_envelope(answer.status_code, answer.content, answer.headers.get("Retry-After"))


class _NoSuchCall(NotFound):
    """The newer form of a call is not there on this host."""


def kaspi_http(
    url: str, *, api_key: str | None = None, cert: tuple[str, str] | None = None
) -> httpx.AsyncClient:
    """An HTTP client for Kaspi: with an ``Api-Key`` for scheme basic, a client certificate for the others.

    :raises ConfigurationError: the certificate or key file cannot be read.
    """
    import ssl

    headers = {"Api-Key": api_key} if api_key else {}
    if cert is None:
        https = url.startswith("https:")
        return httpx.AsyncClient(base_url=url, headers=headers, timeout=_ATTEMPT_S, verify=https)
    context = ssl.create_default_context()
    try:
        context.load_cert_chain(*cert)
    except (OSError, ssl.SSLError) as error:
        raise ConfigurationError(
            f"Kaspi's client certificate cannot be used: {error}",
            next_step="check KASPI_CLIENT_CERT and KASPI_CLIENT_KEY",
        ) from error
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=_ATTEMPT_S, verify=context)


def _created(data: Mapping[str, Any], *, link: bool) -> Created:
    timers = data["PaymentBehaviorOptions" if link else "QrPaymentBehaviorOptions"]
    purchase = str(data["PaymentId" if link else "QrPaymentId"])
    return Created(
        provider_ref=purchase,
        ids=ProviderIds(kaspi_payment=purchase),
        payment_url=str(data["PaymentLink"]) if link else None,
        qr_token=None if link else str(data["QrToken"]),
        expires_at=_date(data.get("ExpireDate")),
        poll_interval_s=max(1, int(timers["StatusPollingInterval"])),
        scan_timeout_s=int(timers["LinkActivationWaitTimeout" if link else "QrCodeScanWaitTimeout"]),
        confirm_timeout_s=int(timers["PaymentConfirmationTimeout"]),
    )


def _date(text: object) -> datetime | None:
    """For the log alone: what is over is told by Kaspi's timers and our own clock, since two clocks that
    differ, or an odd zone, must not end a payment before it began."""
    try:
        return parse_date(str(text)).astimezone(UTC)
    except ValueError:
        log.warning("Kaspi says the date %r", str(text)[:40])
        return None


def _transport_error(error: httpx.HTTPError) -> PaymentError:
    if isinstance(error, NOT_SENT):
        return ProviderUnavailable("Kaspi cannot be reached", next_step="try again in a minute")
    return OutcomeUnknown(
        "Kaspi did not answer", next_step="nothing is lost: procomp-pay maintain follows it up"
    )


def _text(value: object) -> str | None:
    return None if value is None else str(value)
