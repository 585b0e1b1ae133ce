"""Who takes part: register, find, list."""

from __future__ import annotations

import heapq
import logging
from dataclasses import dataclass
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import Conflict
from procomp_pay.domain.names import (
    clean_category,
    clean_email,
    clean_person,
    is_placeholder,
    placeholder_email,
    same_key,
    search_key,
)
from procomp_pay.domain.refunds import DisputeState
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.registrations.tournaments import check_limit
from procomp_pay.storage.models.platform import Participant, Tournament, User
from procomp_pay.storage.registrations import lookup as people
from procomp_pay.storage.registrations import participants as roster

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ParticipantView:
    """A registration. ``email`` is ``None`` where the person gave none."""

    participant_id: str
    user_id: str
    full_name: str
    category: str | None
    email: str | None
    status: ParticipantStatus
    payment_id: str | None
    dispute: DisputeState | None
    tournament_id: str
    tournament_name: str

    @property
    def is_paid(self) -> bool:
        return self.status is ParticipantStatus.PAID or self.payment_id is not None

    def full(self) -> dict[str, Any]:
        """Everything, for ``--json``."""
        return {
            "participant_id": self.participant_id,
            "user_id": self.user_id,
            "full_name": self.full_name,
            "category": self.category,
            "email": self.email,
            "status": self.status.value,
            "paid": self.is_paid,
            "payment_id": self.payment_id,
            "dispute": self.dispute.value if self.dispute else None,
            "tournament_id": self.tournament_id,
            "tournament_name": self.tournament_name,
        }


@dataclass(frozen=True, slots=True)
class ParticipantPage:
    """The first participants by name, and how many there are in all."""

    items: list[ParticipantView]
    total: int


async def add_participant(
    ctx: AppContext,
    tournament_id: str,
    full_name: str,
    actor: Actor,
    *,
    category: str | None = None,
    email: str | None = None,
    namesake: bool = False,
) -> ParticipantView:
    """Register somebody. The user with that e-mail is found or made; without one a user of their own is
    made (:func:`procomp_pay.domain.names.placeholder_email`).

    :param namesake: another person of the same name: do not refuse.
    :raises NotFound: no such tournament. :raises Refused: a name, category or e-mail that is none.
    :raises Conflict: registered already.
    """
    name, kind, address = clean_person(full_name), clean_category(category), clean_email(email)
    participant_id, now = ctx.new_id(), ctx.clock()
    async with ctx.db.writing() as session:
        row = await roster.lock_tournament(session, tournament_id)
        if not namesake:
            _refuse_twice(find_twin(await roster.registered(session, row.id), name, kind))
        login = address or placeholder_email(participant_id)
        users = await ensure_users(session, ctx, {login: name})
        session.add(
            Participant(
                id=participant_id,
                user_id=users[login],
                tournament_id=row.id,
                full_name=name,
                category=kind,
                created_at=now,
                updated_at=now,
            )
        )
        await session.flush()
        view = _seen(*(await roster.registrations(session, [participant_id]))[participant_id])
    _log.info("participant %s added to tournament %s by %s", participant_id, row.id, actor.name)
    return view


async def list_participants(
    ctx: AppContext,
    tournament_id: str | None = None,
    *,
    search: str | None = None,
    paid: bool | None = None,
    limit: int = 50,
) -> ParticipantPage:
    """Participants by name, of one tournament or of all.

    :param search: parts of the name, in any order and case; ``кайрат`` finds ``Қайрат``.
    :param paid: only those who have paid, or only those from whom the fee is still due.
    :raises NotFound: no such tournament. :raises Refused: a limit outside 1 to 10,000.
    """
    check_limit(limit)
    words = search_key(search or "").split()
    matches: list[tuple[str, str, str]] = []
    total = 0
    async with ctx.db.reading() as session:
        if tournament_id is not None:
            await people.tournament(session, tournament_id)
        async for participant_id, name, category in roster.names(session, tournament_id, paid):
            key = search_key(name)
            if all(word in key for word in words):
                total += 1
                matches.append((key, search_key(category or ""), participant_id))
                if len(matches) >= 4 * limit + 1000:  # bounded, however many there are
                    matches = heapq.nsmallest(limit, matches)
        ids = [participant_id for *_, participant_id in heapq.nsmallest(limit, matches)]
        found = await roster.registrations(session, ids)
        return ParticipantPage([_seen(*found[each]) for each in ids if each in found], total)


def find_twin(
    there: list[roster.Registration], name: str, category: str | None
) -> roster.Registration | None:
    """Who is registered under the same name in the same category; an athlete may enter two categories."""
    wanted = same_key(name), same_key(category)
    return next((e for e in there if (same_key(e.full_name), same_key(e.category)) == wanted), None)


async def ensure_users(session: AsyncSession, ctx: AppContext, wanted: dict[str, str]) -> dict[str, str]:
    """Ids of users by address; who is not there is made with the name given. Nobody's name is changed.

    :param wanted: names by address in lower case.
    """
    found = await roster.users_by_email(session, wanted)
    # in one order, so that two imports that meet the same new addresses wait and do not deadlock
    missing = [
        User(id=ctx.new_id(), email=email, name=wanted[email])
        for email in sorted(wanted.keys() - found.keys())
    ]
    if not missing:
        return found
    await roster.add_users(session, missing)
    # read again: another process may have made one of them at the same moment
    return found | await roster.users_by_email(session, (user.email for user in missing))


def _refuse_twice(twin: roster.Registration | None) -> None:
    if twin is None:
        return
    state = (
        "registered, but cancelled" if twin.status is ParticipantStatus.CANCELLED else "registered already"
    )
    raise Conflict(
        f"{twin.full_name} is {state}: {twin.participant_id}",
        next_step="if it is another person of the same name, add --namesake",
    )


def _seen(
    row: Participant, user: User, tournament: Tournament, dispute: DisputeState | None
) -> ParticipantView:
    return ParticipantView(
        participant_id=row.id,
        user_id=user.id,
        full_name=row.full_name,
        category=row.category,
        email=None if is_placeholder(user.email) else user.email,
        status=row.status,
        payment_id=row.payment_id,
        dispute=dispute,
        tournament_id=tournament.id,
        tournament_name=tournament.name,
    )
