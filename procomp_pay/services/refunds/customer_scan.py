"""Let the customer scan a refund QR, which Kaspi's standard scheme requires before a refund."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.providers.kaspi.refunds import IN_APP, RECORD, KaspiRefunds, RefundQr
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement.provider_ref import provider_ref_of
from procomp_pay.storage.payments.repository import load_payment


async def customer_scan(ctx: AppContext, payment_id: str, show: Callable[[RefundQr], None]) -> int | None:
    """Show a refund QR, and wait until the customer who paid has scanned it.

    :param show: called once with the QR.
    :returns: Kaspi's id of the scanned QR, for the refund request; ``None`` if no scan is needed.
    :raises Refused: another customer scanned it, or the payment is not among their latest purchases.
    :raises Conflict: it was not scanned in time.
    :raises ProviderUnavailable, OutcomeUnknown: nothing was refunded.
    """
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    service = ctx.providers.of(locked.detail.channel)
    if not isinstance(service, KaspiPaymentService) or service.scheme is not KaspiScheme.STANDARD:
        return None
    calls, ref = service.refunds(), provider_ref_of(locked)
    qr = await calls.open_qr(payment_id)
    show(qr)
    await _wait_for_scan(calls, qr)
    if not await calls.is_theirs(qr, ref.provider_ref):
        raise Refused(
            "This payment is not among the latest ten purchases of the customer who scanned",
            next_step=f"the customer who paid must scan the QR; otherwise {IN_APP}{RECORD}",
        )
    return qr.return_id


async def _wait_for_scan(calls: KaspiRefunds, qr: RefundQr) -> None:
    for _ in range(max(1, qr.wait_s // qr.interval_s) + 1):
        if await calls.is_scanned(qr):
            return
        await asyncio.sleep(qr.interval_s)
    raise Conflict(
        "The refund QR was not scanned in time; nothing was refunded", next_step="start the refund again"
    )
