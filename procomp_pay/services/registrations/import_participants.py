"""Register all participants of a file: all or none, none of them twice, with a result for every line."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.name_search import name_keys
from procomp_pay.domain.names import (
    clean_category,
    clean_email,
    clean_person,
    is_placeholder,
    placeholder_email,
    same_key,
)
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.registrations.file import RosterRow
from procomp_pay.services.registrations.participants import ensure_users
from procomp_pay.services.registrations.tournaments import check_in_use
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.registrations import participants as repository

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A participant to register. ``email`` is ``None`` if the file has none."""

    line: int
    participant_id: str
    full_name: str
    category: str | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Remark:
    """A remark about one line of the file.

    :param what: the problem, or why the line was skipped.
    """

    line: int
    name: str
    what: str

    def full(self) -> dict[str, Any]:
        return {"line": self.line, "name": self.name, "what": self.what}


@dataclass(frozen=True, slots=True)
class Renamed:
    """A registration whose name the file spells in another way.

    :param before: the name as it was registered.
    """

    line: int
    participant_id: str
    full_name: str
    before: str

    def full(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "participant_id": self.participant_id,
            "full_name": self.full_name,
            "before": self.before,
        }


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import, real or dry. Each line is in one of the first four lists.

    :param added: registered, or to be registered if nothing was ``written``.
    :param changed: spelled as in the file from now on, or to be if nothing was ``written``.
    :param skipped: already registered, twice in the file, or not a participant: a total, a signature.
    :param problems: lines that cannot be registered.
    :param gone: registered, but not in the file; they stay registered.
    :param blocked: bad lines keep the others from being registered.
    :param written: the database was changed.
    """

    tournament_id: str
    tournament_name: str
    dry_run: bool
    blocked: bool
    written: bool
    added: list[Entrant] = field(default_factory=list)
    skipped: list[Remark] = field(default_factory=list)
    problems: list[Remark] = field(default_factory=list)
    changed: list[Renamed] = field(default_factory=list)
    gone: list[repository.Registration] = field(default_factory=list)

    @property
    def lines(self) -> int:
        return len(self.added) + len(self.changed) + len(self.skipped) + len(self.problems)

    def full(self) -> dict[str, Any]:
        """Return all fields for ``--json``; ``added`` is empty if nothing was written."""
        entrants = [
            {
                "line": entrant.line,
                "participant_id": entrant.participant_id if self.written else None,
                "full_name": entrant.full_name,
                "category": entrant.category,
                "email": entrant.email,
            }
            for entrant in self.added
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
            "skipped": [remark.full() for remark in self.skipped],
            "problems": [remark.full() for remark in self.problems],
            "changed": [one.full() for one in self.changed],
            "gone": [
                {"participant_id": row.participant_id, "full_name": row.full_name, "category": row.category}
                for row in self.gone
            ],
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
    """Register all participants of ``rows`` in one transaction, or none of them if any line is bad.

    A participant with the same name and category as a registered one, or as one further up in the file, is
    skipped. So importing the same file again adds nobody. A registered name that the file spells in another
    way is changed.

    :param dry_run: change nothing, and report what would be done.
    :param skip_bad: leave bad lines out and register the others.
    :raises NotFound: no such tournament.
    """
    others = [Remark(row.line, row.name[:60], row.other) for row in rows if row.other is not None]
    entrants, problems = _check_rows(ctx, [row for row in rows if row.other is None])
    async with ctx.db.reading() as session:
        tournament = await repository.tournament(session, tournament_id)
        await check_in_use(session, tournament.id, tournament.name)
        found = await _comparison(session, tournament_id, entrants)
    blocked = bool(problems) and not skip_bad
    written = bool(found.added or found.changed) and not (dry_run or blocked)
    if written:
        async with ctx.db.writing() as session:
            # checked again under the lock: another process may be importing the same file
            await repository.lock_tournament(session, tournament_id)
            found = await _comparison(session, tournament_id, entrants)
            await _write(session, ctx, tournament_id, found.added)
            for one in sorted(found.changed, key=lambda one: one.participant_id):
                row = await repository.participant(session, one.participant_id, lock=True)
                row.full_name, row.updated_at = one.full_name, ctx.clock()
            await session.flush()
        _log.info(
            "%d participants imported to tournament %s by %s, %d renamed",
            len(found.added), tournament_id, actor.name, len(found.changed),
        )  # fmt: skip
    return ImportReport(
        tournament_id=tournament_id,
        tournament_name=tournament.name,
        dry_run=dry_run,
        blocked=blocked,
        written=written and bool(found.added or found.changed),
        added=found.added,
        skipped=sorted([*others, *found.skipped], key=lambda remark: remark.line),
        problems=problems,
        changed=found.changed,
        gone=found.gone,
    )


def _check_rows(ctx: AppContext, rows: list[RosterRow]) -> tuple[list[Entrant], list[Remark]]:
    entrants: list[Entrant] = []
    problems: list[Remark] = []
    for row in rows:
        if row.problem is not None:
            problems.append(Remark(row.line, "", row.problem))
            continue
        wrong: list[str] = []
        name = _cleaned(lambda row=row: clean_person(row.name), wrong)
        category = _cleaned(lambda row=row: clean_category(row.category), wrong)
        email = _cleaned(lambda row=row: clean_email(row.email), wrong)
        if name is None or wrong:
            problems.append(Remark(row.line, row.name[:60], "; ".join(wrong)))
        else:
            entrants.append(Entrant(row.line, ctx.new_id(), name, category, email))
    return entrants, problems


def _cleaned(read: Any, wrong: list[str]) -> str | None:
    """Return a cleaned cell, or add its error to ``wrong``: all errors of a line are reported."""
    try:
        return read()  # type: ignore[no-any-return]
    except Refused as error:
        wrong.append(error.message)
        return None


@dataclass(frozen=True, slots=True)
class _Comparison:
    """A file compared with the registrations."""

    added: list[Entrant]
    changed: list[Renamed]
    skipped: list[Remark]
    gone: list[repository.Registration]


async def _comparison(session: AsyncSession, tournament_id: str, entrants: list[Entrant]) -> _Comparison:
    registered = await repository.registered(session, tournament_id)
    paying = await repository.with_payments(session, [row.participant_id for row in registered])
    return _compare(entrants, registered, paying)


def _compare(
    entrants: list[Entrant], registered: list[repository.Registration], paying: set[str]
) -> _Comparison:
    """Tell who is new, spelled in another way, already registered, or no longer in the file.

    A registration is spelled in another way if its name sounds the same, in the same category, and neither
    has another such partner: otherwise they may be two people. Whoever has a payment or a place keeps the
    name: a place is never handed to somebody whose name only sounds the same.

    :param paying: the ids of those who have payments.
    """
    known: dict[tuple[str, str], str] = {}
    for row in registered:
        state = ", cancelled" if row.status is ParticipantStatus.CANCELLED else ""
        where = f"already registered ({row.participant_id}{state})"
        known.setdefault(_key(row.full_name, row.category), where)
    fresh: list[Entrant] = []
    skipped: list[Remark] = []
    for entrant in entrants:
        key = _key(entrant.full_name, entrant.category)
        if key not in known:
            fresh.append(entrant)
            known[key] = f"the same as line {entrant.line}"
        else:
            remark = f"{known[key]}: same name and category"
            skipped.append(Remark(entrant.line, entrant.full_name, remark))
    listed = {_key(entrant.full_name, entrant.category) for entrant in entrants}
    unlisted = [
        row
        for row in registered
        if _key(row.full_name, row.category) not in listed and row.status is not ParticipantStatus.CANCELLED
    ]
    free = [
        row
        for row in unlisted
        if row.participant_id not in paying and row.status is ParticipantStatus.REGISTERED
    ]
    changed = _renamed(fresh, free)
    lines, ids = {one.line for one in changed}, {one.participant_id for one in changed}
    return _Comparison(
        added=[entrant for entrant in fresh if entrant.line not in lines],
        changed=changed,
        skipped=skipped,
        gone=[row for row in unlisted if row.participant_id not in ids],
    )


def _renamed(fresh: list[Entrant], unlisted: list[repository.Registration]) -> list[Renamed]:
    new_by_sound: dict[tuple[str, str], list[Entrant]] = {}
    for entrant, sound in zip(fresh, name_keys(one.full_name for one in fresh), strict=True):
        new_by_sound.setdefault((sound, same_key(entrant.category)), []).append(entrant)
    old_by_sound: dict[tuple[str, str], list[repository.Registration]] = {}
    for row, sound in zip(unlisted, name_keys(one.full_name for one in unlisted), strict=True):
        old_by_sound.setdefault((sound, same_key(row.category)), []).append(row)
    return [
        Renamed(new[0].line, old[0].participant_id, new[0].full_name, old[0].full_name)
        for key, new in new_by_sound.items()
        if len(new) == 1
        and len(old := old_by_sound.get(key, [])) == 1
        and (new[0].email is None or is_placeholder(old[0].email) or new[0].email == old[0].email.lower())
    ]


def _key(name: str, category: str | None) -> tuple[str, str]:
    """Return the key of a registration. It has no e-mail: an athlete may enter two categories."""
    return same_key(name), same_key(category)


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
