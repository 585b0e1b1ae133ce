"""Check that a tournament is not archived, and that a list is not too long."""

from __future__ import annotations

from procomp_pay.domain.errors import Conflict, ErrorCode, Refused
from procomp_pay.domain.text import N_
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.registrations import participants as repository

#: The largest number of participants or tournaments in one list.
MOST = 10_000


async def check_not_archived(session: AsyncSession, tournament_id: str, name: str) -> None:
    """Check that nobody is charged, registered or reminded for a tournament that is over.

    :raises Conflict: it is archived.
    """
    if await repository.archived_ids(session, [tournament_id]):
        raise Conflict(
            N_("The tournament %(name)s is archived", name=repr(name)),
            next_step=f"procomp-pay tournament unarchive {tournament_id}",
            code=ErrorCode.TOURNAMENT_ARCHIVED,
        )


def check_limit(limit: int) -> None:
    """Check the length of a list.

    :raises Refused: outside 1 to 10,000.
    """
    if not 1 <= limit <= MOST:
        raise Refused(N_("limit is 1 to %(most)s, not %(limit)s", most=MOST, limit=limit))
