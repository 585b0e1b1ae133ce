"""Correct registrations: edit a participant or a tournament, remove a participant, merge two of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Protocol

from procomp_pay.domain.errors import Conflict, Refused
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.names import (
    clean_category,
    clean_email,
    clean_name,
    clean_person,
    is_placeholder,
)
from procomp_pay.domain.operators import Right
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.participants import (
    NOTHING_NEW,
    Details,
    ParticipantView,
    ensure_users,
    views_of,
)
from procomp_pay.services.registrations.tournaments import TournamentView, refuse_same_day, tournament_view
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant, User
from procomp_pay.storage.payments.repository import lock_payment, lock_rows
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations import participants as repository
from procomp_pay.storage.registrations import search_keys
from procomp_pay.storage.registrations.person import PERSONAL

_log = logging.getLogger(__name__)


async def edit_participant(
    ctx: AppContext,
    participant_id: str,
    actor: Actor,
    *,
    name: str | None = None,
    category: str | None = None,
    email: str | None = None,
    details: Details = NOTHING_NEW,
) -> ParticipantView:
    """Change what was given; ``None`` leaves a field as it is, an empty category removes it.

    :raises NotFound: no such participant. :raises Refused: an invalid name, category or e-mail.
    :raises Conflict: another address is to take the place of one, and there are payments.
    """
    full_name = None if name is None else clean_person(name)
    kind, address = clean_category(category), clean_email(email)
    async with ctx.db.writing() as session:
        # payments before their participant, as everywhere: else two transactions could wait for each other
        payment_ids = await repository.payment_ids(session, participant_id)
        for payment_id in payment_ids:
            await lock_payment(session, payment_id)
        row = await registrations.participant(session, participant_id, lock=True)
        await authorize.check(ctx, session, Right.DESK, row.tournament_id)
        [before] = await views_of(session, ctx, [participant_id])
        row.full_name = full_name or row.full_name
        row.category = row.category if category is None else kind
        if address is not None:
            await set_email(session, ctx, row, address)
        row.updated_at = ctx.clock()
        await session.flush()
        await search_keys.store(session, {} if full_name is None else {row.id: full_name})
        await repository.set_detail(session, participant_id, ctx.clock(), **details.columns(ctx))
        [view] = await views_of(session, ctx, [participant_id])
        changes = _changes(before, view)
        if changes or (name, category, email) != (None, None, None):
            await add_edits(session, ctx, payment_ids, actor, before, view, changes)
    _log.info("participant %s edited by %s", participant_id, actor.name)
    return view


async def add_edits(
    session: AsyncSession,
    ctx: AppContext,
    payment_ids: Iterable[str],
    actor: Actor,
    before: HasName,
    after: HasName,
    changes: Mapping[str, tuple[Any, Any]],
) -> None:
    """Record the change of a registration in the audit trail of each payment, which is locked.

    :param changes: the old and the new value of each other field that changed, by its name.
    """
    for payment_id in payment_ids:
        await audit.append(session, payment_id, _edited(actor, before, after, changes), ctx.clock())


#: The fields of a registration beside name and category. Erasing a person takes them out of the trail.
_FIELDS = (*PERSONAL, "reminders")


def _changes(before: ParticipantView, after: ParticipantView) -> dict[str, tuple[Any, Any]]:
    pairs = {name: (getattr(before, name), getattr(after, name)) for name in _FIELDS}
    return {name: (old, new) for name, (old, new) in pairs.items() if old != new}


def _masked(name: str, old: Any, new: Any) -> tuple[Any, Any]:
    """Return both values as the trail keeps them: of a phone its end, of an address its beginning."""
    if name not in ("phone", "email"):
        return old, new
    shown = [
        None
        if not value
        else f"…{value[-2:]}"
        if name == "phone"
        else f"{value[0]}…@{value.rpartition('@')[2]}"
        for value in (old, new)
    ]
    return shown[0], shown[1] if shown[0] != shown[1] else f"{shown[1]} (another)"


class HasName(Protocol):
    """Who somebody is, and in which category."""

    @property
    def full_name(self) -> str: ...

    @property
    def category(self) -> str | None: ...


def _edited(
    actor: Actor, before: HasName, after: HasName, changes: Mapping[str, tuple[Any, Any]]
) -> audit.AuditRecord:
    """Return the audit record of a registration's change: a name may be changed to another person's."""
    masked = {name: _masked(name, *values) for name, values in changes.items()}
    old = {"full_name": before.full_name, "category": before.category}
    old |= {name: values[0] for name, values in masked.items()}
    new = {"full_name": after.full_name, "category": after.category}
    new |= {name: values[1] for name, values in masked.items()}
    return actor.record(
        "participant_edited",
        before=old,
        after=new,
        note=f"{before.full_name} → {after.full_name}" if before.full_name != after.full_name else None,
    )


async def set_email(session: AsyncSession, ctx: AppContext, row: Participant, address: str) -> None:
    """Give a locked participant this address. Whose e-mail is unknown gets it; a participant who has one
    already becomes another user's, and that user sees the payments.

    :raises Conflict: it is another user's, and there are payments.
    """
    user = None if row.user_id is None else await session.get(User, row.user_id)
    if user is not None and user.email.lower() == address:
        return
    known = await repository.users_by_email(session, [address])
    is_unknown = user is None or not user.email or is_placeholder(user.email)
    if user is not None and is_unknown and not known:
        user.email = address
        return
    if (known or not is_unknown) and await repository.has_payments(session, row):
        raise Conflict(
            N_("%(name)s has payments, which another user would see", name=row.full_name),
            next_step=N_("leave out the e-mail; the platform can change the address of a user"),
        )
    row.user_id = (await ensure_users(session, ctx, {address: row.full_name}))[address]


async def remove_participant(ctx: AppContext, participant_id: str, actor: Actor) -> ParticipantView:
    """Remove a registration that never had a payment; return what it was.

    :raises NotFound: no such participant.
    :raises Conflict: it has payments, counts as paid, or the platform needs it.
    """
    async with ctx.db.writing() as session:
        row = await registrations.participant(session, participant_id, lock=True)
        await authorize.check(ctx, session, Right.DESK, row.tournament_id)  # it was asked about meanwhile
        [view] = await views_of(session, ctx, [participant_id])
        await _remove(session, row)
    _log.info("participant %s removed by %s", participant_id, actor.name)
    return view


async def merge_participants(
    ctx: AppContext, kept_id: str, double_id: str, actor: Actor
) -> tuple[ParticipantView, ParticipantView]:
    """Merge two registrations of one person: remove the second. Its category, club, coach, phone and birth
    year fill what the first lacks, its e-mail too unless the first has payments, which its user would see.
    Return the first as it is now, and the second as it was.

    :raises NotFound: no such participant.
    :raises Refused: they are the same one, or in two tournaments. :raises Conflict: the second has payments.
    """
    if kept_id == double_id:
        raise Refused(N_("A participant cannot be merged with itself"))
    async with ctx.db.writing() as session:
        # payments before participants, and these in the order of their ids: two transactions wait for each
        # other and do not deadlock
        payment_ids = await repository.payment_ids(session, kept_id)
        await lock_rows(session, payment_ids)
        locked = {
            key: await registrations.participant(session, key, lock=True)
            for key in sorted((kept_id, double_id))
        }
        kept, double = locked[kept_id], locked[double_id]
        await authorize.check(ctx, session, Right.DESK, kept.tournament_id, double.tournament_id)
        if kept.status not in (ParticipantStatus.REGISTERED, ParticipantStatus.PAID):
            raise Conflict(
                N_(
                    "The registration of %(name)s (%(kept)s) is %(status)s: it cannot be the one that stays",
                    name=kept.full_name,
                    kept=kept.id,
                    status=kept.status.value,
                ),
                next_step=f"procomp-pay participant merge {double.id} {kept.id}",
            )
        if kept.tournament_id != double.tournament_id:
            raise Refused(N_("They are registered for two tournaments: an entry fee is due for each"))
        [gone] = await views_of(session, ctx, [double_id])
        [stays] = await views_of(session, ctx, [kept_id])
        await _remove(session, double)
        kept.category = kept.category or gone.category
        user = None if kept.user_id is None else await session.get(User, kept.user_id)
        is_unknown = user is not None and is_placeholder(user.email)
        if gone.email and is_unknown and not await repository.has_payments(session, kept):
            await set_email(session, ctx, kept, gone.email)
        kept.updated_at = ctx.clock()
        await session.flush()
        added = Details(
            None if stays.club else gone.club,
            None if stays.coach else gone.coach,
            None if stays.phone else gone.phone,
            None if stays.birth_year else gone.birth_year,
            None if gone.reminders else False,
        )
        await repository.set_detail(session, kept_id, ctx.clock(), **added.columns(ctx))
        [view] = await views_of(session, ctx, [kept_id])
        changes = _changes(stays, view)
        if changes or view.category != stays.category:
            await add_edits(session, ctx, payment_ids, actor, stays, view, changes)
    _log.info("participant %s merged into %s by %s", double_id, kept_id, actor.name)
    return view, gone


async def _remove(session: AsyncSession, row: Participant) -> None:
    if await repository.has_payments(session, row):
        raise Conflict(
            N_("%(name)s has payments, whose history stays: %(row)s", name=row.full_name, row=row.id),
            next_step=f"procomp-pay history {row.id}",
        )
    if await registrations.has_paid(session, row) or isinstance(row.status, UnknownLabel):
        raise Conflict(
            N_(
                "The platform marks %(name)s (%(row)s) as %(status)s: that would be lost",
                name=row.full_name,
                row=row.id,
                status=row.status.value,
            ),
            next_step=N_("change it in the platform first"),
        )
    if not await repository.remove(session, row):
        raise Conflict(
            N_(
                "The platform has data that belongs to %(name)s: %(row)s cannot be removed",
                name=row.full_name,
                row=row.id,
            )
        )


async def edit_tournament(
    ctx: AppContext,
    tournament_id: str,
    actor: Actor,
    *,
    name: str | None = None,
    starts_at: datetime | None = None,
) -> TournamentView:
    """Change the name or the start; ``None`` leaves it as it is.

    :raises NotFound: no such tournament. :raises Refused: an invalid name.
    :raises Conflict: another tournament has that name on that day.
    """
    async with ctx.db.writing() as session:
        row = await registrations.tournament(session, tournament_id, lock=True)
        await authorize.check(ctx, session, Right.FINANCE, row.id)
        row.name = row.name if name is None else clean_name(name, "tournament's name")
        row.starts_at = starts_at or row.starts_at
        await refuse_same_day(session, row)
        row.updated_at = ctx.clock()
    _log.info("tournament %s edited by %s", tournament_id, actor.name)
    return await tournament_view(ctx, tournament_id)
