"""Payments through a gateway in front of Kaspi: one POST creates a payment and returns where to pay.

``POST KASPI_API_URL`` with ``Authorization: Bearer KASPI_API_KEY``. Some gateways also return an id and an
expiry time, and some have ``GET KASPI_API_URL/ID``. Without it, events come only from their signed callbacks
or from an operator.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

import httpx
import simplejson

from procomp_pay.domain.errors import (
    ConfigurationError,
    ErrorCode,
    InvalidAmount,
    NotFound,
    OutcomeUnknown,
    ProviderUnavailable,
    Refused,
)
from procomp_pay.domain.events import EventType, ProviderIds
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refunds import RefundEvent
from procomp_pay.domain.text import N_
from procomp_pay.providers.kaspi import gateway_fields
from procomp_pay.providers.kaspi.client import Exchange, NoSuchCall
from procomp_pay.providers.kaspi.refunds import in_app
from procomp_pay.providers.kaspi.wire import amount_number, parse_date, visible
from procomp_pay.providers.protocol import (
    Created,
    CreateRequest,
    ProviderRef,
    ProviderRefunds,
    ProviderStatus,
    RefundRequest,
)
from procomp_pay.providers.resilience.retry import TOTAL_S, Throttled, retry_after_s, with_retries

log = logging.getLogger(__name__)

#: Defaults in seconds, if the gateway does not report them: validity, confirmation time, polling interval.
_LIFE_S = 900
_CONFIRM_S = 65
_INTERVAL_S = 5
_LONGEST_LIFE_S = 7 * 24 * 3600
#: Prefix of the reference of a payment whose gateway returns no id.
_NO_ID = "order:"


class KaspiGateway:
    """The gateway backend of :class:`~procomp_pay.providers.kaspi.service.KaspiPaymentService`.

    :param url: ``KASPI_API_URL``, where payments are created.
    """

    def __init__(self, exchange: Exchange, url: str, *, total_s: float = TOTAL_S) -> None:
        self._exchange = exchange
        self._url = url.rstrip("/")
        self._total_s = total_s
        self._has_status = True

    async def create(self, request: CreateRequest) -> Created:
        """Create a payment.

        :raises OutcomeUnknown: no answer was received; without idempotency it is not sent again.
        """
        body = {
            "amount": amount_number(request.money.amount),
            "currency": request.money.currency.value,
            "external_order_id": request.payment_id,
            "description": request.description,
            "return_url": request.return_url,
        }
        content = simplejson.dumps(body, use_decimal=True)
        headers = {"Content-Type": "application/json", "Idempotency-Key": request.idempotency_key}
        data = await with_retries(
            lambda: self._exchange.ask("POST", self._url, _fields, content=content, headers=headers),
            idempotent=False,
            total_s=self._total_s,
            circuit=self._exchange.circuit,
        )
        return _created(data, request)

    async def fetch(self, ref: ProviderRef) -> ProviderStatus:
        """Return the payment's status if the gateway can be asked; else one without an event."""
        data = await self._read_payment(ref)
        return (
            ProviderStatus(None, raw_status="not told", authoritative=False)
            if data is None
            else _provider_status(data, ref)
        )

    async def _read_payment(self, ref: ProviderRef) -> Mapping[str, Any] | None:
        """Return the gateway's answer; ``None`` if it cannot be asked.

        :raises OutcomeUnknown: it is about another payment, whose end must never become this one's.
        """
        if ref.provider_ref.startswith(_NO_ID) or not self._has_status:
            return None
        try:
            data = await with_retries(
                lambda: self._exchange.ask("GET", f"{self._url}/{ref.provider_ref}", _fields),
                idempotent=True,
                total_s=self._total_s,
                circuit=self._exchange.circuit,
            )
        except NoSuchCall:
            log.info("the gateway has no status call: events come from its callbacks only")
            self._has_status = False
            return None
        _check_named(data, gateway_id=ref.provider_ref, payment_id=ref.payment_id)
        return data

    async def cancel(self, ref: ProviderRef) -> ProviderStatus:
        return await self.fetch(ref)

    def ready_to_refund(
        self,
        payment_id: str,
        *,
        at_desk: bool = False,  # noqa: ARG002 - the protocol's
    ) -> NoReturn:
        """Reject every refund: gateways have no such call.

        :raises Refused: always.
        """
        raise Refused(N_("The gateway has no refund by API"), next_step=in_app(payment_id))

    async def refund(self, request: RefundRequest) -> RefundEvent:
        self.ready_to_refund(request.payment_id)

    async def list_refunds(self, ref: ProviderRef) -> ProviderRefunds:
        """Return the refunded total, if the gateway reports it."""
        data = await self._read_payment(ref)
        return ProviderRefunds() if data is None else ProviderRefunds(total=_refunded_total(data, ref))

    async def check(self) -> str:
        """Ask for a payment that does not exist: any answer except a rejection of the key is a success."""
        try:
            await self._exchange.ask("GET", f"{self._url}/procomp-pay-check", _fields)
        except NoSuchCall:
            return "something answers at KASPI_API_URL; whether it takes the key shows at the first payment"
        except NotFound:
            pass
        except (Refused, OutcomeUnknown) as error:
            return f"a gateway answers ({error.message})"
        return "a gateway answers and takes the key"


def _fields(answer: httpx.Response) -> Mapping[str, Any]:
    """Return the fields of an answer, wherever the gateway puts them."""
    status = answer.status_code
    if status in (401, 403):
        raise ConfigurationError(
            N_("The gateway denies access (HTTP %(status)s)", status=status),
            next_step=N_("check KASPI_API_KEY, then: procomp-pay doctor"),
        )
    wait = retry_after_s(answer.headers.get("Retry-After"))
    if status == 429:
        raise Throttled("The gateway asks us to slow down", retry_after=wait)
    if status == 503:
        raise ProviderUnavailable(N_("The gateway is not available just now (HTTP 503)"), retry_after=wait)
    if status in (405, 501):
        raise NoSuchCall(f"The gateway does not have this call (HTTP {status})")
    try:
        document = simplejson.loads(answer.content, use_decimal=True)
    except ValueError:
        document = None
    if status == 404:
        known = isinstance(document, Mapping)  # the gateway's own answer, not that of a server in front of it
        raise (NotFound if known else NoSuchCall)("The gateway does not know this payment")
    if 400 <= status < 500:
        raise Refused(
            N_(
                "The gateway rejected the request (HTTP %(status)s)%(what)s",
                status=status,
                what=_message(document),
            ),
            code=ErrorCode.PROVIDER_REFUSED,
        )
    if status >= 300 or not isinstance(document, Mapping):
        raise OutcomeUnknown(N_("The gateway's answer cannot be read (HTTP %(status)s)", status=status))
    return gateway_fields.fields(document)


def _check_named(data: Mapping[str, Any], *, gateway_id: str | None, payment_id: str | None) -> None:
    """Check that an answer names no other payment.

    :raises OutcomeUnknown: it does.
    """
    if gateway_fields.is_of_another(data, gateway_id=gateway_id, payment_id=payment_id):
        log.error("the gateway's answer about %s is about another payment", gateway_id or payment_id)
        raise OutcomeUnknown(N_("The gateway's answer is about another payment"))


def _message(document: Any) -> str:
    """Return the error message of an answer after a colon, or an empty string."""
    if not isinstance(document, Mapping):
        return ""
    for name in ("detail", "message", "error"):
        if isinstance(document.get(name), str):
            return f": {visible(document[name])}"
    return ""


def _created(data: Mapping[str, Any], request: CreateRequest) -> Created:
    _check_named(data, gateway_id=None, payment_id=request.payment_id)
    url = gateway_fields.first(data, gateway_fields.PAYMENT_URL)
    if not isinstance(url, str) or not url.startswith(("https://", "http://")) or not url.isprintable():
        raise OutcomeUnknown(N_("The gateway's answer has no payment_url"))
    gateway_id = gateway_fields.text(data, gateway_fields.GATEWAY_ID)
    life = _life_s(data)
    return Created(
        provider_ref=f"{_NO_ID}{request.payment_id}" if gateway_id is None else gateway_id,
        ids=ProviderIds(kaspi_payment=gateway_id),
        payment_url=url,
        poll_interval_s=_INTERVAL_S,
        scan_timeout_s=life,
        confirm_timeout_s=_CONFIRM_S,
    )


def _life_s(data: Mapping[str, Any]) -> int:
    """Seconds for which it can be paid."""
    text = gateway_fields.first(data, gateway_fields.EXPIRES_AT)
    if text is None:
        return _LIFE_S
    try:
        left = (parse_date(str(text)) - datetime.now(UTC)).total_seconds()
    except ValueError:
        log.warning("the gateway reports the unreadable expiry time %r", visible(text)[:40])
        return _LIFE_S
    # a gateway's clock that is far off must not end a payment before it began
    return int(min(max(left, 60), _LONGEST_LIFE_S))


def _refunded_total(data: Mapping[str, Any], ref: ProviderRef) -> Money | None:
    meaning = gateway_fields.meaning(gateway_fields.text(data, gateway_fields.STATUS) or "")
    amount = gateway_fields.first(data, gateway_fields.REFUNDED_AMOUNT)
    if amount is None and meaning.whole_back:
        amount = gateway_fields.first(data, gateway_fields.AMOUNT)
    if amount is None or not meaning.refunded:
        return None
    try:
        return Money.parse(amount, str(data.get("currency") or Currency.KZT))
    except InvalidAmount:
        log.warning("the gateway reports an unreadable refunded amount for %s", ref.provider_ref)
        return None


def _provider_status(data: Mapping[str, Any], ref: ProviderRef) -> ProviderStatus:
    status = gateway_fields.text(data, gateway_fields.STATUS) or ""
    meaning = gateway_fields.meaning(status)
    event_type = meaning.event_type
    if not meaning.known:
        log.warning("the gateway reports the unknown status %r for %s", status[:40], ref.provider_ref)
    operation = gateway_fields.text(data, gateway_fields.OPERATION_NUMBER) or ""
    ids = ProviderIds(
        kaspi_payment=ref.provider_ref,
        kaspi_operation=None if gateway_fields.is_blank(operation) else operation,
    )
    if event_type is not EventType.SUCCEEDED:
        reason = N_("The gateway reports it as failed") if event_type is EventType.FAILED else None
        unclear = not meaning.known or event_type is EventType.PROCESSING
        return ProviderStatus(
            event_type, meaning.final, ids=ids, reason=reason, raw_status=status, unclear=unclear
        )
    money, unreadable = gateway_fields.money(data)
    refunded = meaning.refunded if unreadable is None else None
    return ProviderStatus(
        event_type,
        final=True,
        money=money,
        money_unreadable=unreadable,
        ids=ids,
        raw_status=status,
        refunded=refunded,
    )
