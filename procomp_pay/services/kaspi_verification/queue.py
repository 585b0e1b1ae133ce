"""The desk's queue: Kaspi payments that wait for a person, oldest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from procomp_pay.services.context import AppContext
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import unverified_kaspi as rows_of

#: A payment that ended unpaid is shown for so long after its start: its parent may stand here with a receipt.
ENDED_SHOWN = timedelta(hours=3)
#: The most that are read.
MOST = 500


async def waiting(ctx: AppContext) -> list[PaymentView]:
    """One payment for each participant: the newest one, and all that money of another amount came for."""
    async with ctx.db.reading() as session:
        since = ctx.clock() - ENDED_SHOWN
        rows = await rows_of.unsettled_kaspi(session, ended_since=since, limit=MOST)
        found = await views.of_rows(session, rows)
    newest = {view.participant_id: view.payment_id for view in found}
    return [view for view in found if newest[view.participant_id] == view.payment_id or is_odd(view)]


@dataclass(frozen=True, slots=True)
class Receipt:
    """What our books know of the number on a receipt.

    :param payment_id: the payment that it settled, or whose QR has it; ``None`` where it is nobody's.
    :param settled_at: when it settled that payment; ``None`` where it has settled nothing.
    """

    payment_id: str | None = None
    settled_at: datetime | None = None


async def receipt(ctx: AppContext, number: str) -> Receipt:
    """Whose a receipt is, by its number as :func:`procomp_pay.domain.operation_number.read` gives it."""
    async with ctx.db.reading() as session:
        used = await numbers.used_by(session, number)
        if used is not None:
            return Receipt(used.payment_id, used.created_at)
        return Receipt(await numbers.qr_of(session, number))


def is_odd(view: PaymentView) -> bool:
    """Whether money of another amount came: closed at Kaspi, and not settled."""
    return view.status in ("PENDING", "PROCESSING") and not view.provider_open
