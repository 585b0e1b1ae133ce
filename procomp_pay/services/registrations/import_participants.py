"""Register all participants of a file: all or none, none of them twice, with a result for every line."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import (
    birth_year,
    clean_category,
    clean_detail,
    clean_email,
    clean_person,
    clean_phone,
    placeholder_email,
    same_key,
)
from procomp_pay.domain.operators import Right
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.domain.text import N_, joined
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.operators import authorize
from procomp_pay.services.registrations.changes import add_edits, set_email
from procomp_pay.services.registrations.checks import check_not_archived
from procomp_pay.services.registrations.columns import Column
from procomp_pay.services.registrations.file import RosterRow
from procomp_pay.services.registrations.import_matching import Comparison, address, compare
from procomp_pay.services.registrations.import_report import Changed, Entrant, ImportReport, Remark
from procomp_pay.services.registrations.participants import Details, ensure_users, readable_phone
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.registrations import ParticipantDetail
from procomp_pay.storage.payments.repository import lock_rows
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations import participants as repository
from procomp_pay.storage.registrations import search_keys

T = TypeVar("T")

_log = logging.getLogger(__name__)


async def import_participants(
    ctx: AppContext,
    tournament_id: str,
    rows: list[RosterRow],
    actor: Actor,
    *,
    dry_run: bool = False,
    skip_bad: bool = False,
) -> ImportReport:
    """Register all participants of ``rows`` in one transaction, or none of them if any line is bad.

    Whoever is registered already is not registered again, but corrected as in the file: see
    :func:`~procomp_pay.services.registrations.import_matching.compare`.
    An empty cell erases nothing, and nobody is removed.

    :param dry_run: change nothing, and report what would be done.
    :param skip_bad: leave bad lines out and register the others.
    :raises NotFound: no such tournament. :raises Conflict: it is archived.
    """
    others = [Remark(row.line, row.name[:60], row.other) for row in rows if row.other is not None]
    entrants, problems, left_out = _check_rows(ctx, [row for row in rows if row.other is None])
    async with ctx.db.reading() as session:
        tournament = await registrations.tournament(session, tournament_id)
        await check_not_archived(session, tournament.id, tournament.name)
        found = await _comparison(session, ctx, tournament_id, entrants)
    blocked = bool(problems) and not skip_bad
    written = bool(found.added or found.changed) and not (dry_run or blocked)
    if written:
        async with ctx.db.writing() as session:
            # checked again under the lock: another process may be importing the same file
            await registrations.tournament(session, tournament_id, lock=True)
            await authorize.check(ctx, session, Right.DESK, tournament_id)
            found = await _comparison(session, ctx, tournament_id, entrants)
            await _change(session, ctx, found.changed, entrants, actor)
            await _write(session, ctx, tournament_id, found.added)
        _log.info(
            "%d participants imported to tournament %s by %s, %d corrected",
            len(found.added), tournament_id, actor.name, len(found.changed),
        )  # fmt: skip
    return ImportReport(
        tournament_id=tournament_id,
        tournament_name=tournament.name,
        dry_run=dry_run,
        blocked=blocked,
        written=written and bool(found.added or found.changed),
        added=found.added,
        skipped=sorted([*others, *found.skipped, *found.unchanged], key=lambda remark: remark.line),
        problems=problems,
        changed=found.changed,
        unchanged=found.unchanged,
        gone=found.gone,
        left_out=sorted([*left_out, *found.left_out], key=lambda remark: remark.line),
    )


def _check_rows(ctx: AppContext, rows: list[RosterRow]) -> tuple[list[Entrant], list[Remark], list[Remark]]:
    """Return the participants of the file, the bad lines, and the details that cannot be kept."""
    entrants: list[Entrant] = []
    problems: list[Remark] = []
    left_out: list[Remark] = []
    for row in rows:
        if row.problem is not None:
            problems.append(Remark(row.line, "", row.problem))
            continue
        wrong: list[str] = []
        name = _cleaned(clean_person, row.name, wrong)
        category = _cleaned(clean_category, row.category, wrong)
        email = _cleaned(clean_email, row.email, wrong)
        if name is None or wrong:
            problems.append(Remark(row.line, row.name[:60], joined(wrong, "; ")))
            continue
        details = _details(row, wrong)
        left_out += [Remark(row.line, name, what) for what in wrong]
        entrants.append(Entrant(row.line, ctx.new_id(), name, category, email, details))
    return entrants, problems, left_out


def _details(row: RosterRow, wrong: list[str]) -> Details:
    given = row.details
    return Details(
        _cleaned(partial(clean_detail, field="club"), given.get(Column.CLUB, ""), wrong),
        _cleaned(partial(clean_detail, field="coach"), given.get(Column.COACH, ""), wrong),
        _cleaned(clean_phone, given.get(Column.PHONE, ""), wrong),
        _cleaned(birth_year, given.get(Column.BIRTH, ""), wrong),
    )


def _cleaned(clean: Callable[[str], T], text: str, wrong: list[str]) -> T | None:
    """Return a cleaned cell, or add its error to ``wrong``: all errors of a line are reported."""
    try:
        return clean(text)
    except Refused as error:
        wrong.append(error.message)
        return None


async def _comparison(
    session: AsyncSession, ctx: AppContext, tournament_id: str, entrants: list[Entrant]
) -> Comparison:
    registered = await repository.registered(session, tournament_id)
    paying = {row.participant_id for row in registered if row.payment_id is not None}
    paying |= (await repository.all_payment_ids(session, [row.participant_id for row in registered])).keys()
    users = await repository.users_by_email(session, {one.email for one in entrants if one.email})
    found = Comparison()
    pairs = compare(entrants, registered, paying, found)
    taken = set(users)
    for entrant, row in sorted(pairs, key=lambda pair: pair[1].participant_id):  # as they are written
        changes = _changes(ctx, entrant, row)
        is_anothers = address(row) is not None or entrant.email in taken
        if "email" in changes and row.participant_id in paying and is_anothers:
            del changes["email"]
            what = N_("the e-mail is not changed: there are payments, which another user would see")
            found.left_out.append(Remark(entrant.line, entrant.full_name, what))
        if "email" in changes:
            taken.add(changes["email"][1])  # the first of two children with one address has it
        if changes:
            name = changes["name"][1] if "name" in changes else row.full_name
            found.changed.append(Changed(entrant.line, row.participant_id, name, row.full_name, changes))
        else:
            what = (
                N_("already registered (%(id)s, cancelled): same name and category", id=row.participant_id)
                if row.status is ParticipantStatus.CANCELLED
                else N_("already registered (%(id)s): same name and category", id=row.participant_id)
            )
            found.unchanged.append(Remark(entrant.line, entrant.full_name, what))
    for listed in (found.changed, found.unchanged):
        listed.sort(key=lambda one: one.line)
    return found


def _changes(
    ctx: AppContext, entrant: Entrant, row: repository.Registration
) -> dict[str, tuple[str | None, str]]:
    """Return the old and the new text of each field that the file corrects; none of one that is cancelled."""
    if row.status is ParticipantStatus.CANCELLED:
        return {}
    details = entrant.details
    born = (str(row.birth_year) if row.birth_year else None, str(details.birth_year or ""))
    fields: dict[str, tuple[str | None, str | None]] = {
        "name": (row.full_name, entrant.full_name),
        "category": (row.category, entrant.category),
        # a user whom the platform deleted is not made again
        "email": (address(row), None if row.email is None else entrant.email),
        "club": (row.club, details.club),
        "coach": (row.coach, details.coach),
        "phone": (readable_phone(ctx, row.phone_enc) if details.phone else None, details.phone),
        "birth_year": born,
    }
    return {
        name: (old, new)
        for name, (old, new) in fields.items()
        if new and (old != new if name in ("phone", "birth_year") else same_key(old) != same_key(new))
    }


async def _change(
    session: AsyncSession, ctx: AppContext, changed: list[Changed], entrants: list[Entrant], actor: Actor
) -> None:
    """Correct registrations, and record it in the audit trails of their payments."""
    by_line = {entrant.line: entrant for entrant in entrants}
    payment_ids = await repository.all_payment_ids(session, [one.participant_id for one in changed])
    # payments before participants, as everywhere: else two transactions could wait for each other
    await lock_rows(session, [key for keys in payment_ids.values() for key in keys])
    for one in sorted(changed, key=lambda one: one.participant_id):
        row = await registrations.participant(session, one.participant_id, lock=True)
        entrant, before = by_line[one.line], _Named(row.full_name, row.category)
        if "name" in one.changes:
            row.full_name = one.full_name
        if "category" in one.changes:
            row.category = entrant.category
        if "email" in one.changes and entrant.email:
            await set_email(session, ctx, row, entrant.email)
        row.updated_at = ctx.clock()
        details = {
            name: value
            for name, value in entrant.details.columns(ctx).items()
            if name.removesuffix("_enc") in one.changes
        }
        await session.flush()
        await repository.set_detail(session, row.id, ctx.clock(), **details)
        after = _Named(row.full_name, row.category)
        others = {name: pair for name, pair in one.changes.items() if name not in ("name", "category")}
        await add_edits(session, ctx, payment_ids.get(row.id, ()), actor, before, after, others)
    await session.flush()
    renamed = {one.participant_id: one.full_name for one in changed if "name" in one.changes}
    await search_keys.store(session, renamed)


@dataclass(frozen=True, slots=True)
class _Named:
    full_name: str
    category: str | None


async def _write(session: AsyncSession, ctx: AppContext, tournament_id: str, added: list[Entrant]) -> None:
    now = ctx.clock()
    logins = {
        entrant.participant_id: entrant.email or placeholder_email(entrant.participant_id)
        for entrant in added
    }
    wanted: dict[str, str] = {}
    for entrant in added:
        wanted.setdefault(logins[entrant.participant_id], entrant.full_name)
    users = await ensure_users(session, ctx, wanted)
    session.add_all(
        Participant(
            id=entrant.participant_id,
            user_id=users[logins[entrant.participant_id]],
            tournament_id=tournament_id,
            full_name=entrant.full_name,
            category=entrant.category,
            created_at=now,
            updated_at=now,
        )
        for entrant in added
    )
    await session.flush()
    session.add_all(
        ParticipantDetail(participant_id=entrant.participant_id, updated_at=now, **columns)
        for entrant in added
        if (columns := entrant.details.columns(ctx))
    )
    await session.flush()
    await search_keys.store(session, {entrant.participant_id: entrant.full_name for entrant in added})
