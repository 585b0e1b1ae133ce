"""Send invoices to a phone number (scheme enhanced); valid for 24 hours, not polled on a timer."""

from __future__ import annotations

import re
from typing import Any

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import NotFound, OutcomeUnknown, ProviderUnavailable, Refused
from procomp_pay.domain.events import EventType, ProviderIds
from procomp_pay.domain.kaspi_schedule import MARGIN, REMOTE_LIFE_S
from procomp_pay.domain.text import N_
from procomp_pay.providers.kaspi.client import KaspiCalls
from procomp_pay.providers.kaspi.wire import amount_number, purchase_id, visible
from procomp_pay.providers.protocol import Created, CreateRequest, ProviderRef, ProviderStatus
from procomp_pay.providers.resilience.retry import NOT_SENT, NotSent

#: 71x and 72x are landlines.
_PHONE = re.compile(r"(?:\+?7|8)(7[04-7][0-9]{8})")


def read_phone(typed: str) -> str:
    """Return ``87071234567`` from a phone number in any common notation.

    :raises Refused: not a mobile number of Kazakhstan.
    """
    digits = re.sub(r"[\s().\-\u2010-\u2015\u00a0]", "", typed)
    match = _PHONE.fullmatch(digits)
    if match is None or not digits.isascii():
        raise Refused(
            N_("This is not a mobile number of Kazakhstan"),
            next_step=N_("write it as 87071234567 or +7 707 123 45 67"),
        )
    return f"8{match.group(1)}"


def only_enhanced(calls: KaspiCalls) -> None:
    """Check that the scheme has invoices.

    :raises Refused: it has none.
    """
    if calls.scheme is not KaspiScheme.ENHANCED:
        raise Refused(
            N_("Kaspi's %(scheme)s scheme has no invoices to a phone number", scheme=calls.scheme),
            next_step=N_("leave --phone out: use a QR, or --link"),
        )


async def client_name(calls: KaspiCalls, phone: str) -> str:
    """Return the name that Kaspi shows for a phone number. Kaspi allows 50 requests a minute per device.

    :raises NotFound: no Kaspi customer has the number. :raises Refused: the scheme has no invoices.
    """
    only_enhanced(calls)
    query = {"phoneNumber": phone, "deviceToken": calls.device_token}
    return visible((await calls.get("/remote/client-info", query)).get("ClientName"))


async def create_remote(calls: KaspiCalls, request: CreateRequest) -> Created:
    """Send an invoice, exactly once: the phone shows it at once, so a second one could be paid as well.

    :raises OutcomeUnknown: no answer was received; the customer's phone may show the invoice.
    """
    only_enhanced(calls)
    body: dict[str, Any] = {
        "DeviceToken": calls.device_token,
        "Amount": amount_number(request.money.amount),
        "PhoneNumber": read_phone(request.phone or ""),
        "Comment": f"{request.description[:80]} [{request.payment_id}]",
    }
    try:
        data = await calls.post("/remote/create", body, again=False)
        purchase = purchase_id(data.get("QrPaymentId"))
    except ProviderUnavailable as error:
        if isinstance(error, NotSent) or isinstance(error.__cause__, NOT_SENT):
            raise
        raise _may_exist() from error
    except (OutcomeUnknown, ValueError) as error:
        raise _may_exist() from error
    return Created(
        provider_ref=purchase,
        ids=ProviderIds(kaspi_payment=purchase),
        poll_interval_s=REMOTE_LIFE_S + int(MARGIN.total_seconds()),
        scan_timeout_s=REMOTE_LIFE_S,
        confirm_timeout_s=65,
    )


def _may_exist() -> OutcomeUnknown:
    return OutcomeUnknown(
        N_("Kaspi did not confirm the invoice: the customer's phone may show it, so no second one is sent")
    )


async def recall(calls: KaspiCalls, ref: ProviderRef) -> ProviderStatus | None:
    """Recall an invoice; return ``None`` if it can no longer be recalled, so that its status is needed."""
    body = {"DeviceToken": calls.device_token, "QrPaymentId": int(ref.provider_ref)}
    try:
        data = await calls.post("/remote/cancel", body)
    except NotFound:
        return None
    if data.get("Status") != "RemotePaymentCanceled":
        return None
    ids = ProviderIds(kaspi_payment=ref.provider_ref)
    return ProviderStatus(EventType.CANCELLED, final=True, ids=ids, raw_status="RemotePaymentCanceled")
