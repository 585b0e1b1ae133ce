"""Look up single participants and tournaments with their fees."""

from __future__ import annotations

from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.fees import EntryFees
from procomp_pay.domain.money import Money
from procomp_pay.storage.models.payments import TournamentFee
from procomp_pay.storage.models.platform import Participant, Tournament


async def participant(session: AsyncSession, participant_id: str, *, lock: bool = False) -> Participant:
    """Return a participant.

    :param lock: lock the row until the transaction ends.
    :raises NotFound: no such participant.
    """
    row = await session.get(Participant, participant_id, with_for_update=lock or None, populate_existing=lock)
    if row is None:
        raise NotFound(
            f"There is no participant {participant_id[:64]!r}", next_step="procomp-pay participant list"
        )
    return row


async def tournament(session: AsyncSession, tournament_id: str) -> Tournament:
    """Return a tournament.

    :raises NotFound: no such tournament.
    """
    row = await session.get(Tournament, tournament_id)
    if row is None:
        raise NotFound(
            f"There is no tournament {tournament_id[:64]!r}", next_step="procomp-pay tournament list"
        )
    return row


async def entry_fees(session: AsyncSession, row: Tournament) -> EntryFees:
    """Return a tournament's fees in all currencies."""
    further = await session.exec(
        select(TournamentFee)
        .where(TournamentFee.tournament_id == row.id)
        .order_by(col(TournamentFee.currency))
    )
    others = {fee.currency: Money(fee.amount, fee.currency) for fee in further.all()}
    return EntryFees(row.id, Money(row.entry_fee, row.currency), others)
