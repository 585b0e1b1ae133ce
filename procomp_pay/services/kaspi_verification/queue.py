"""The queue of Kaspi payments that await manual verification, oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.services.context import AppContext
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.storage.payments import kaspi_operations
from procomp_pay.storage.payments import kaspi_operations as numbers

#: A payment that ended unpaid stays in the queue for this long after its start, as its payer may still come
#: with a receipt.
ENDED_SHOWN = timedelta(hours=3)
#: The most payments that are read.
MOST = 500


async def waiting(ctx: AppContext) -> list[PaymentView]:
    """Return the newest payment of each participant, and all payments that received a different amount."""
    async with ctx.db.reading() as session:
        since = ctx.clock() - ENDED_SHOWN
        rows = await kaspi_operations.unsettled_kaspi(session, ended_since=since, limit=MOST)
        payments = await views.of_rows(session, rows)
    newest = {view.participant_id: view.payment_id for view in payments}
    return [view for view in payments if newest[view.participant_id] == view.payment_id or is_odd(view)]


@dataclass(frozen=True, slots=True)
class Receipt:
    """The payment that the number on a receipt belongs to.

    :param payment_id: the payment that it settled, or whose QR has it; ``None`` if unknown.
    :param settled_at: when it settled that payment; ``None`` if it has settled none.
    """

    payment_id: str | None = None
    settled_at: datetime | None = None


async def receipt(ctx: AppContext, number: str) -> Receipt:
    """Look up a receipt by its number, as returned by :func:`procomp_pay.domain.operation_number.read`."""
    async with ctx.db.reading() as session:
        used = await numbers.used_by(session, number)
        if used is not None:
            return Receipt(used.payment_id, used.created_at)
        return Receipt(await numbers.qr_of(session, number))


def is_odd(view: PaymentView) -> bool:
    """Return True if a different amount was received: closed at Kaspi, but not settled."""
    return view.status in ("PENDING", "PROCESSING") and not view.provider_open
