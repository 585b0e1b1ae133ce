"""Register everybody of a roster: all or nothing, nobody twice, every line accounted for."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.names import (
    clean_category,
    clean_email,
    clean_person,
    placeholder_email,
    same_key,
)
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.registrations.file import RosterRow
from procomp_pay.services.registrations.participants import ensure_users
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.registrations import lookup as people
from procomp_pay.storage.registrations import participants as roster

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entrant:
    """Somebody to register. ``email`` is ``None`` where the person gave none."""

    line: int
    participant_id: str
    full_name: str
    category: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Remark:
    """What was found at a line."""

    line: int
    name: str
    what: str

    def full(self) -> dict[str, Any]:
        return {"line": self.line, "name": self.name, "what": self.what}


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do. Each line is in one of the three lists.

    :param added: registered, or to be registered where nothing was ``written``.
    :param skipped: registered already, twice in the file, or not a participant: a total, a signature.
    :param problems: lines that cannot be taken.
    :param blocked: bad lines keep the others from being registered.
    :param written: whether the database was changed.
    """

    tournament_id: str
    tournament_name: str
    dry_run: bool
    blocked: bool
    written: bool
    added: list[Entrant] = field(default_factory=list)
    skipped: list[Remark] = field(default_factory=list)
    problems: list[Remark] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return len(self.added) + len(self.skipped) + len(self.problems)

    def full(self) -> dict[str, Any]:
        """Everything, for ``--json``; ``added`` is empty where nothing was written."""
        entrants = [
            {
                "line": each.line,
                "participant_id": each.participant_id if self.written else None,
                "full_name": each.full_name,
                "category": each.category,
                "email": each.email,
            }
            for each in self.added
        ]
        return {
            "tournament_id": self.tournament_id,
            "tournament_name": self.tournament_name,
            "dry_run": self.dry_run,
            "blocked": self.blocked,
            "written": self.written,
            "lines": self.lines,
            "added": entrants if self.written else [],
            "would_add": [] if self.written else entrants,
            "skipped": [each.full() for each in self.skipped],
            "problems": [each.full() for each in self.problems],
        }


async def import_participants(
    ctx: AppContext,
    tournament_id: str,
    rows: list[RosterRow],
    actor: Actor,
    *,
    dry_run: bool = False,
    skip_bad: bool = False,
) -> ImportReport:
    """Register everybody in ``rows``, in one transaction; nobody at all while any line is bad.

    The same file again adds nobody: who has the same name and category, or the same name and e-mail, as
    somebody who is registered (or stands further up) is skipped.

    :param dry_run: write nothing, and report what would be done.
    :param skip_bad: leave bad lines out and register the others.
    :raises NotFound: no such tournament.
    """
    others = [Remark(row.line, row.name[:60], row.other) for row in rows if row.other is not None]
    entrants, problems = _judged(ctx, [row for row in rows if row.other is None])
    async with ctx.db.reading() as session:
        tournament = await people.tournament(session, tournament_id)
        added, skipped = _without_twins(entrants, await roster.registered(session, tournament_id))
    blocked = bool(problems) and not skip_bad
    written = bool(added) and not (dry_run or blocked)
    if written:
        async with ctx.db.writing() as session:
            # looked at again under the lock: another desk may import the same file right now
            await roster.lock_tournament(session, tournament_id)
            added, skipped = _without_twins(entrants, await roster.registered(session, tournament_id))
            await _write(session, ctx, tournament_id, added)
        _log.info("%d participants imported to tournament %s by %s", len(added), tournament_id, actor.name)
    return ImportReport(
        tournament_id=tournament_id,
        tournament_name=tournament.name,
        dry_run=dry_run,
        blocked=blocked,
        written=written and bool(added),
        added=added,
        skipped=sorted([*others, *skipped], key=lambda remark: remark.line),
        problems=problems,
    )


def _judged(ctx: AppContext, rows: list[RosterRow]) -> tuple[list[Entrant], list[Remark]]:
    entrants: list[Entrant] = []
    problems: list[Remark] = []
    for row in rows:
        if row.problem is not None:
            problems.append(Remark(row.line, "", row.problem))
            continue
        wrong: list[str] = []
        name = _taken(lambda row=row: clean_person(row.name), wrong)
        category = _taken(lambda row=row: clean_category(row.category), wrong)
        email = _taken(lambda row=row: clean_email(row.email), wrong)
        if name is None or wrong:
            problems.append(Remark(row.line, row.name[:60], "; ".join(wrong)))
        else:
            entrants.append(Entrant(row.line, ctx.new_id(), name, category, email))
    return entrants, problems


def _taken(read: Any, wrong: list[str]) -> str | None:
    """The cell's value; what is wrong with it is added to ``wrong``, so that a line says it all at once."""
    try:
        return read()  # type: ignore[no-any-return]
    except Refused as error:
        wrong.append(error.message)
        return None


def _without_twins(
    entrants: list[Entrant], there: list[roster.Registration]
) -> tuple[list[Entrant], list[Remark]]:
    """Split rows into new participants and skipped ones with the reason."""
    known: dict[tuple[str, str], str] = {}
    for each in there:
        state = ", cancelled" if each.status is ParticipantStatus.CANCELLED else ""
        where = f"registered already ({each.participant_id}{state})"
        known.setdefault(_key(each.full_name, each.category), where)
    added: list[Entrant] = []
    skipped: list[Remark] = []
    for entrant in entrants:
        key = _key(entrant.full_name, entrant.category)
        if key not in known:
            added.append(entrant)
            known[key] = f"the same as line {entrant.line}"
        else:
            what = f"{known[key]}: same name and category"
            skipped.append(Remark(entrant.line, entrant.full_name, what))
    return added, skipped


def _key(name: str, category: str | None) -> tuple[str, str]:
    """Return the key of a registration: name and category. An athlete may enter two categories."""
    return same_key(name), same_key(category)


async def _write(session: AsyncSession, ctx: AppContext, tournament_id: str, added: list[Entrant]) -> None:
    now = ctx.clock()
    logins = {each.participant_id: each.email or placeholder_email(each.participant_id) for each in added}
    wanted: dict[str, str] = {}
    for each in added:
        wanted.setdefault(logins[each.participant_id], each.full_name)
    users = await ensure_users(session, ctx, wanted)
    session.add_all(
        Participant(
            id=each.participant_id,
            user_id=users[logins[each.participant_id]],
            tournament_id=tournament_id,
            full_name=each.full_name,
            category=each.category,
            created_at=now,
            updated_at=now,
        )
        for each in added
    )
    await session.flush()
