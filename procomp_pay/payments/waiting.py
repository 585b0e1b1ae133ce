"""The desk's queue: Kaspi payments that wait for a person, oldest first."""

from __future__ import annotations

from datetime import timedelta

from procomp_pay.payments import views
from procomp_pay.payments.desk import Desk
from procomp_pay.payments.views import PaymentView
from procomp_pay.storage import waiting as rows_of

#: A payment that ended unpaid is shown for so long after its start: its parent may stand here with a receipt.
ENDED_SHOWN = timedelta(hours=3)
#: The most that are read.
MOST = 500


async def waiting(desk: Desk) -> list[PaymentView]:
    """One payment for each participant: the newest one, and all that money of another amount came for."""
    async with desk.db.reading() as session:
        since = desk.clock() - ENDED_SHOWN
        rows = await rows_of.unsettled_kaspi(session, ended_since=since, limit=MOST)
        found = await views.of_rows(session, rows)
    newest = {view.participant_id: view.payment_id for view in found}
    return [view for view in found if newest[view.participant_id] == view.payment_id or is_odd(view)]


def is_odd(view: PaymentView) -> bool:
    """Whether money of another amount came: closed at Kaspi, and not settled."""
    return view.status in ("PENDING", "PROCESSING") and not view.provider_open
