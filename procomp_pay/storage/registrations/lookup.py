"""Read one participant or tournament, and whether a fee is settled."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import bindparam
from sqlmodel import col, select
from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import ErrorCode, NotFound
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.domain.text import N_
from procomp_pay.storage.database.by_key import by_key
from procomp_pay.storage.models.paid import is_paid
from procomp_pay.storage.models.platform import Participant, Payment, Tournament


async def participant(session: AsyncSession, participant_id: str, *, lock: bool = False) -> Participant:
    """Return a participant.

    :param lock: lock the row until the transaction ends.
    :raises NotFound: no such participant.
    """
    if lock:
        row = await by_key(session, Participant, participant_id, lock=True)
    else:
        row = await session.get(Participant, participant_id)
    if row is None:
        raise not_found(participant_id)
    return row


async def owner_of(session: AsyncSession, participant_id: str) -> str | None:
    """Return the platform user who registered a participant; ``None`` if the platform has none.

    :raises NotFound: no such participant.
    """
    rows = (await session.exec(_owner(), params={"participant": participant_id})).all()
    if not rows:
        raise not_found(participant_id)
    owner: str | None = rows[0][1]
    return owner


@cache
def _owner() -> Any:
    return select(Participant.id, Participant.user_id).where(col(Participant.id) == bindparam("participant"))


def not_found(participant_id: str) -> NotFound:
    """Return the error of an id that no participant has."""
    return NotFound(
        N_("There is no participant %(participant)s", participant=repr(participant_id[:64])),
        next_step="procomp-pay participant list",
        code=ErrorCode.PARTICIPANT_NOT_FOUND,
    )


async def settled_by(session: AsyncSession, row: Participant) -> str | None:
    """Return the payment that settles a participant's fee: a link to an unpaid one settles nothing."""
    if row.payment_id is None:
        return None
    return (await session.exec(select(Payment.id).where(Payment.id == row.payment_id, is_paid()))).first()


async def has_paid(session: AsyncSession, row: Participant) -> bool:
    """Return whether a participant's fee is settled: by a payment, or because the platform says so."""
    return row.status is ParticipantStatus.PAID or await settled_by(session, row) is not None


async def existing_ids(session: AsyncSession, participant_ids: Collection[str]) -> set[str]:
    """Return those of these ids that are participants."""
    query = select(Participant.id).where(col(Participant.id).in_(participant_ids))
    return set((await session.exec(query)).all())


async def tournament(session: AsyncSession, tournament_id: str, *, lock: bool = False) -> Tournament:
    """Return a tournament.

    :param lock: lock the row until the transaction ends. Payments are not blocked.
    :raises NotFound: no such tournament.
    """
    how: dict[str, Any] = {"with_for_update": {"key_share": True}, "populate_existing": True} if lock else {}
    row = await session.get(Tournament, tournament_id, **how)
    if row is None:
        raise NotFound(
            N_("There is no tournament %(tournament)s", tournament=repr(tournament_id[:64])),
            next_step="procomp-pay tournament list",
        )
    return row
