"""The customer's scan that Kaspi's standard scheme wants before a refund."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.providers.kaspi.refunds import IN_APP, RECORD, KaspiRefunds, RefundQr
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.services.context import AppContext
from procomp_pay.services.lifecycle.create_at_provider import provider_ref_of
from procomp_pay.storage.payments.repository import load_payment


async def customer_scan(ctx: AppContext, payment_id: str, show: Callable[[RefundQr], None]) -> int | None:
    """Show the customer a refund QR, and wait until the one who paid has scanned it.

    :param show: called once with the QR.
    :returns: what the refund is asked for with; ``None`` where no scan is needed.
    :raises Refused: somebody else scanned it, or it is not among the customer's latest purchases.
    :raises Conflict: nobody scanned it in time.
    :raises ProviderUnavailable, OutcomeUnknown: nothing went back.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    service = ctx.providers.of(locked.detail.channel)
    if not isinstance(service, KaspiPaymentService) or service.scheme is not KaspiScheme.STANDARD:
        return None
    calls, handle = service.refunds(), provider_ref_of(locked)
    qr = await calls.open_qr(payment_id)
    show(qr)
    await _scanned(calls, qr)
    if not await calls.is_theirs(qr, handle.provider_ref):
        raise Refused(
            "This payment is not among the latest ten purchases of the customer who scanned",
            next_step=f"did the person who paid scan it? Else {IN_APP}{RECORD}",
        )
    return qr.return_id


async def _scanned(calls: KaspiRefunds, qr: RefundQr) -> None:
    for _ in range(max(1, qr.wait_s // qr.interval_s) + 1):
        if await calls.is_scanned(qr):
            return
        await asyncio.sleep(qr.interval_s)
    raise Conflict("Nobody scanned the refund QR in time; nothing went back", next_step="start it again")
