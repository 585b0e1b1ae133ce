"""Let the customer scan a refund QR, which Kaspi's standard scheme requires before a refund."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import Conflict, PaymentError
from procomp_pay.domain.text import N_
from procomp_pay.providers.kaspi.refunds import KaspiRefunds, RefundQr
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement.provider_ref import provider_ref_of
from procomp_pay.storage.payments.repository import load_payment

log = logging.getLogger(__name__)


async def customer_scan(
    ctx: AppContext,
    payment_id: str,
    show: Callable[[RefundQr], None],
    unlisted: Callable[[], None] = lambda: None,
) -> int | None:
    """Show a refund QR, and wait until the customer who paid has scanned it.

    :param show: called once with the QR.
    :param unlisted: called if the payment is not among the customer's latest purchases. Kaspi lists only ten,
        so this decides nothing: Kaspi itself refuses a refund to somebody else.
    :returns: Kaspi's id of the scanned QR, for the refund request; ``None`` if no scan is needed.
    :raises Refused: the customer declined.
    :raises Conflict: it was not scanned in time.
    :raises ProviderUnavailable, OutcomeUnknown: nothing was refunded.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    service = ctx.providers.of(locked.detail.channel)
    if not isinstance(service, KaspiPaymentService) or service.scheme is not KaspiScheme.STANDARD:
        return None
    if locked.detail.provider_ref is None:
        return None  # no refund by API: the request says so
    calls, handle = service.refunds(), provider_ref_of(locked)
    qr = await calls.open_qr(payment_id)
    show(qr)
    await _wait_for_scan(calls, qr)
    try:
        if not await calls.is_theirs(qr, handle.provider_ref):
            unlisted()
    except PaymentError as error:
        log.warning("Kaspi does not list the customer's purchases: %s", error.message)
    return qr.return_id


async def _wait_for_scan(calls: KaspiRefunds, qr: RefundQr) -> None:
    for _ in range(max(1, qr.wait_s // qr.interval_s) + 1):
        if await calls.is_scanned(qr):
            return
        await asyncio.sleep(qr.interval_s)
    raise Conflict(
        N_("The refund QR was not scanned in time; nothing was refunded"),
        next_step=N_("start the refund again"),
    )
