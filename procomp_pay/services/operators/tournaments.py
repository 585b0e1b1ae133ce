"""Check that a payment, a participant or a tournament is one of the operator's."""

from __future__ import annotations

from procomp_pay.domain.operators import Right, require
from procomp_pay.services.context import AppContext
from procomp_pay.storage.payments.repository import load_payment
from procomp_pay.storage.registrations.lookup import participant


async def check_theirs(
    ctx: AppContext,
    *,
    payment_id: str | None = None,
    participant_id: str | None = None,
    tournament_id: str | None = None,
) -> None:
    """Check what was named; nothing named means all tournaments.

    :raises Forbidden: the operator is for other tournaments alone.
    """
    if ctx.operator is None or ctx.operator.tournaments is None:
        return
    async with ctx.db.reading() as session:
        if payment_id is not None:
            tournament_id = (await load_payment(session, payment_id)).payment.tournament_id
        elif participant_id is not None:
            tournament_id = (await participant(session, participant_id)).tournament_id
    require(ctx.operator, Right.DESK, tournament_id)
