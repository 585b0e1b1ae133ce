"""Register all participants of a file: all or none, none of them twice, with a result for every line."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, TypeVar

from procomp_pay.domain.errors import Refused
from procomp_pay.domain.name_search import name_keys
from procomp_pay.domain.names import (
    birth_year,
    clean_category,
    clean_detail,
    clean_email,
    clean_person,
    clean_phone,
    is_placeholder,
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
from procomp_pay.services.registrations.participants import (
    NOTHING_NEW,
    Details,
    ensure_users,
    readable_phone,
)
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.platform import Participant
from procomp_pay.storage.models.registrations import ParticipantDetail
from procomp_pay.storage.payments.repository import lock_rows
from procomp_pay.storage.registrations import lookup as registrations
from procomp_pay.storage.registrations import participants as repository
from procomp_pay.storage.registrations import search_keys

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A participant of the file. A field is ``None`` if the file has none."""

    line: int
    participant_id: str
    full_name: str
    category: str | None
    email: str | None
    details: Details = NOTHING_NEW

    @property
    def key(self) -> tuple[str, str]:
        return _key(self.full_name, self.category)


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
class Changed:
    """A registration that the file corrects.

    :param before: the name as it was registered.
    :param changes: the old and the new text of each field that changes, by its name.
    """

    line: int
    participant_id: str
    full_name: str
    before: str
    changes: dict[str, tuple[str | None, str]]

    def full(self) -> dict[str, Any]:
        return {
            "line": self.line,
            "participant_id": self.participant_id,
            "full_name": self.full_name,
            "before": self.before,
            "changes": {name: {"before": old, "after": new} for name, (old, new) in self.changes.items()},
        }


@dataclass(frozen=True, slots=True)
class ImportReport:
    """The result of an import, real or dry. Each line is in one of the first four lists.

    :param added: registered, or to be registered if nothing was ``written``.
    :param changed: corrected as in the file, or to be if nothing was ``written``.
    :param unchanged: registered as in the file; they are among ``skipped``, too.
    :param skipped: already registered, twice in the file, or not a participant: a total, a signature.
    :param left_out: cells that cannot be kept, of lines that are registered all the same.
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
    changed: list[Changed] = field(default_factory=list)
    unchanged: list[Remark] = field(default_factory=list)
    left_out: list[Remark] = field(default_factory=list)
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
            "unchanged": [remark.full() for remark in self.unchanged],
            "left_out": [remark.full() for remark in self.left_out],
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

    Whoever is registered already is not registered again, but corrected as in the file: see :func:`_compare`.
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


@dataclass(slots=True)
class _Comparison:
    """A file compared with the registrations."""

    added: list[Entrant] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    unchanged: list[Remark] = field(default_factory=list)
    skipped: list[Remark] = field(default_factory=list)
    gone: list[repository.Registration] = field(default_factory=list)
    left_out: list[Remark] = field(default_factory=list)


async def _comparison(
    session: AsyncSession, ctx: AppContext, tournament_id: str, entrants: list[Entrant]
) -> _Comparison:
    registered = await repository.registered(session, tournament_id)
    paying = {row.participant_id for row in registered if row.payment_id is not None}
    paying |= (await repository.all_payment_ids(session, [row.participant_id for row in registered])).keys()
    users = await repository.users_by_email(session, {one.email for one in entrants if one.email})
    found = _Comparison()
    pairs = _compare(entrants, registered, paying, found)
    taken = set(users)
    for entrant, row in sorted(pairs, key=lambda pair: pair[1].participant_id):  # as they are written
        changes = _changes(ctx, entrant, row)
        is_anothers = _address(row) is not None or entrant.email in taken
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


def _compare(
    entrants: list[Entrant],
    registered: list[repository.Registration],
    paying: Collection[str],
    found: _Comparison,
) -> list[tuple[Entrant, repository.Registration]]:
    """Tell who is new, already registered, or no longer in the file; return each participant of the file with
    the registration that is the same person's.

    These are the same, in this order:

    - the same name, category and club, where a club that one side does not have is no difference, nor is
      another spelling that sounds the same;
    - the same name and club, where the file or the registration has no category;
    - the same name and club and another category, in a file where at least half of the names that are
      registered stand in their category: it is sent again, and is no list of further entries. Only one such
      line and one registration are matched; of several, nobody is registered, since it is not clear whose
      category changed. One with payments or a place is matched only if both clubs are known;
    - a name that sounds the same, in the same category, if neither has another such partner: otherwise they
      may be two people. Whoever has a payment or a place keeps the name: a place is never handed to somebody
      whose name only sounds the same.

    Two years of birth that are known and differ are of two people, and never matched.

    A line that may be one of these and is not certain to be is left out and told: nobody is charged twice,
    and no registration with payments or a place is guessed to be one of several people's.

    :param paying: the ids of those who have payments.
    """
    match = _Match(_without_repetitions(entrants, found), registered, paying)
    for fits in (_same_club, _clubs_agree):
        _match_category(match, fits, found)
    is_sent_again = 0 < len(match.pairs) * 2 >= match.count_known_names()
    _match_without_category(match, found)
    if is_sent_again:
        _match_other_category(match, found)
    for entrant, row in _sounding_alike(match):
        match.take(entrant, row)
    _leave_doubtful(match, found)
    _leave_alike_lines(match, found)
    found.added = match.free()
    listed = {one.key for one in match.entrants}
    found.gone = [
        row
        for row in match.rows()
        if row.status is not ParticipantStatus.CANCELLED and _key(row.full_name, row.category) not in listed
    ]
    return match.pairs


def _without_repetitions(entrants: list[Entrant], found: _Comparison) -> list[Entrant]:
    """Return the participants of the file, each once. Two of one name and category are two people if their
    clubs or years of birth differ."""
    known: dict[tuple[str, str], list[Entrant]] = {}
    once: list[Entrant] = []
    for entrant in entrants:
        others = known.setdefault(entrant.key, [])
        same = next((one for one in others if _one_person(one.details, entrant.details)), None)
        if same is None:
            others.append(entrant)
            once.append(entrant)
        else:
            what = N_("the same as line %(line)s: same name and category", line=same.line)
            found.skipped.append(Remark(entrant.line, entrant.full_name, what))
    return once


class _Match:
    """Participants of the file and registrations, of whom each is matched once at most.

    :param entrants: all of the file.
    :param paying: the ids of those who have payments.
    """

    def __init__(
        self, entrants: list[Entrant], registered: list[repository.Registration], paying: Collection[str]
    ) -> None:
        self.entrants = entrants
        self._paying = paying
        names = list({one.full_name for one in entrants} | {row.full_name for row in registered})
        self._sounds = dict(zip(names, name_keys(names), strict=True))
        self._by_sound: dict[str, list[repository.Registration]] = {}
        for row in registered:
            self._by_sound.setdefault(self._sounds[row.full_name], []).append(row)
        self.pairs: list[tuple[Entrant, repository.Registration]] = []
        self._done: set[int] = set()
        self._taken: set[str] = set()
        self._registered = registered
        self._by_name: dict[str, list[repository.Registration]] = {}
        for row in registered:
            self._by_name.setdefault(same_key(row.full_name), []).append(row)

    def take(self, entrant: Entrant, row: repository.Registration) -> None:
        self.pairs.append((entrant, row))
        self.leave(entrant, [row])

    def leave(self, entrant: Entrant, rows: Iterable[repository.Registration]) -> None:
        """Neither register a participant of the file, nor tell that these are gone."""
        self._done.add(entrant.line)
        self._taken.update(row.participant_id for row in rows)

    def count_known_names(self) -> int:
        return sum(1 for one in self.entrants if same_key(one.full_name) in self._by_name)

    def is_free(self, row: repository.Registration) -> bool:
        return row.participant_id not in self._taken

    def free(self) -> list[Entrant]:
        return [one for one in self.entrants if one.line not in self._done]

    def rows(self) -> list[repository.Registration]:
        return [row for row in self._registered if self.is_free(row)]

    def namesakes(self, entrant: Entrant) -> list[repository.Registration]:
        """Return the registrations of this name that are free, of the same club and year of birth as far as
        they are known."""
        return [
            row
            for row in self._by_name.get(same_key(entrant.full_name), ())
            if self.is_free(row) and _clubs_agree(entrant, row) and _years_agree(entrant, row)
        ]

    def sound(self, entrant: Entrant) -> str:
        return self._sounds[entrant.full_name]

    def sounding(self, entrant: Entrant) -> list[repository.Registration]:
        """Return the registrations whose name sounds like this one and that are free, in any club."""
        return [row for row in self._by_sound.get(self.sound(entrant), ()) if self.is_free(row)]

    def is_bound(self, row: repository.Registration) -> bool:
        """Return whether a registration has payments or a place, which are one person's."""
        unpaid = (ParticipantStatus.REGISTERED, ParticipantStatus.CANCELLED)
        return row.participant_id in self._paying or row.status not in unpaid


def _agree(one: str | None, other: str | None) -> bool:
    return not one or not other or same_key(one) == same_key(other)


@lru_cache(maxsize=4096)
def _club_key(club: str | None) -> str:
    return name_keys([club or ""])[0].strip()


def _one_club(one: str | None, other: str | None) -> bool:
    return not one or not other or _club_key(one) == _club_key(other)


def _one_person(one: Details, other: Details) -> bool:
    return _one_club(one.club, other.club) and _one_year(one.birth_year, other.birth_year)


def _clubs_agree(entrant: Entrant, row: repository.Registration) -> bool:
    return _one_club(entrant.details.club, row.club)


def _years_agree(entrant: Entrant, row: repository.Registration) -> bool:
    """Return whether no year of birth tells them apart: two that are known and differ do."""
    return _one_year(entrant.details.birth_year, row.birth_year)


def _one_year(one: int | None, other: int | None) -> bool:
    return not one or not other or one == other


def _is_known_club(entrant: Entrant, row: repository.Registration) -> bool:
    return bool(entrant.details.club and row.club) and _same_club(entrant, row)


def _same_club(entrant: Entrant, row: repository.Registration) -> bool:
    return _club_key(entrant.details.club) == _club_key(row.club)


def _match_category(
    match: _Match, fits: Callable[[Entrant, repository.Registration], bool], found: _Comparison
) -> None:
    """Match each participant of the file with the first free namesake of the category who fits."""
    possible = [
        (entrant, [row for row in rows if same_key(entrant.category) == same_key(row.category)])
        for entrant in match.free()
        if (rows := [row for row in match.namesakes(entrant) if fits(entrant, row)])
    ]
    for entrant, rows in _certain(match, possible, found):
        if (row := next((row for row in rows if match.is_free(row)), None)) is not None:
            match.take(entrant, row)


def _certain(
    match: _Match, possible: list[tuple[Entrant, list[repository.Registration]]], found: _Comparison
) -> list[tuple[Entrant, list[repository.Registration]]]:
    """Return those who may be matched, with the registrations that they may be. Where one with payments or a
    place may be of several lines, or a line of several such, none is guessed."""
    lines = Counter(row.participant_id for _, rows in possible for row in rows)
    certain = []
    for entrant, rows in possible:
        bound = [
            row for row in rows if match.is_bound(row) and (len(rows) > 1 or lines[row.participant_id] > 1)
        ]
        if not bound:
            certain.append((entrant, rows))
            continue
        what = N_(
            "not clear whose registration with payments this is (%(where)s): set its club with participant "
            "edit, or add another person with participant add --namesake",
            where=", ".join(row.participant_id for row in bound[:5]),
        )
        found.skipped.append(Remark(entrant.line, entrant.full_name, what))
        match.leave(entrant, rows)
    return certain


def _match_without_category(match: _Match, found: _Comparison) -> None:
    possible = [
        (entrant, [row for row in rows if entrant.category is None or row.category is None])
        for entrant in match.free()
        if (rows := match.namesakes(entrant))
    ]
    for entrant, known in _certain(match, possible, found):
        rows = [row for row in known if match.is_free(row)]
        if len(rows) == 1:
            match.take(entrant, rows[0])
        elif rows:
            what = N_(
                "already registered %(count)s times (%(where)s)",
                count=len(rows),
                where=", ".join(row.participant_id for row in rows[:5]),
            )
            found.skipped.append(Remark(entrant.line, entrant.full_name, what))
            match.leave(entrant, rows)


def _match_other_category(match: _Match, found: _Comparison) -> None:
    names = Counter(same_key(one.full_name) for one in match.free())
    for entrant in match.free():
        rows = [row for row in match.namesakes(entrant) if row.status is not ParticipantStatus.CANCELLED]
        is_certain = len(rows) == 1 and (not match.is_bound(rows[0]) or _is_known_club(entrant, rows[0]))
        if is_certain and names[same_key(entrant.full_name)] == 1:
            match.take(entrant, rows[0])
        elif rows:
            what = N_(
                "not clear whose category changed (%(where)s): correct it with participant edit",
                where=", ".join(f"{row.participant_id}: {row.category}" for row in rows[:5]),
            )
            found.skipped.append(Remark(entrant.line, entrant.full_name, what))
            match.leave(entrant, [])


def _leave_doubtful(match: _Match, found: _Comparison) -> None:
    """Register nobody who may be registered already, in another club or under a name that sounds the same:
    both are spelled in many ways, and a person registered twice would be charged twice. A category that one
    side does not have is no difference; the order of the lines makes none."""
    doubtful = [
        (entrant, [row for row in rows if _agree(entrant.category, row.category)])
        for entrant in match.free()
        if (rows := match.sounding(entrant))
    ]
    for entrant, rows in doubtful:
        if not rows:
            continue
        are_namesakes = all(same_key(row.full_name) == same_key(entrant.full_name) for row in rows)
        if are_namesakes and not any(_years_agree(entrant, row) for row in rows):
            what = N_(
                "registered with another year of birth (%(where)s): if it is the same person, correct it "
                "with participant edit; if it is another, participant add --namesake",
                where=", ".join(f"{row.participant_id}: {row.birth_year}" for row in rows[:5]),
            )
        elif are_namesakes:
            where = ", ".join(f"{row.participant_id}: {row.club or ''}" for row in rows[:5])
            what = N_(
                "registered in another club (%(where)s): if it is another person, participant add --namesake",
                where=where,
            )
        else:
            what = N_(
                "a name that sounds the same is registered (%(where)s): if it is the same person, correct it "
                "with participant edit; if it is another, participant add --namesake",
                where="; ".join(
                    ", ".join(part for part in (row.participant_id, row.full_name, row.club) if part)
                    for row in rows[:5]
                ),
            )
        found.skipped.append(Remark(entrant.line, entrant.full_name, what))
        match.leave(entrant, rows)


def _leave_alike_lines(match: _Match, found: _Comparison) -> None:
    """Register one of several lines of a category, a club and a year of birth whose names sound the same: the
    first of them, or the one that is registered already."""
    free = {entrant.line for entrant in match.free()}
    known: dict[tuple[str, str], list[Entrant]] = {}
    for entrant in sorted(match.entrants, key=lambda one: one.line in free):
        others = known.setdefault((match.sound(entrant), same_key(entrant.category)), [])
        same = next((one for one in others if _one_person(one.details, entrant.details)), None)
        if same is None or entrant.line not in free:
            others.append(entrant)
            continue
        what = N_(
            "sounds like %(name)s in line %(line)s: if it is another person, participant add --namesake",
            name=same.full_name,
            line=same.line,
        )
        found.skipped.append(Remark(entrant.line, entrant.full_name, what))
        match.leave(entrant, [])


def _sounding_alike(match: _Match) -> list[tuple[Entrant, repository.Registration]]:
    new_by_sound: dict[tuple[str, str], list[Entrant]] = {}
    for entrant in match.free():
        new_by_sound.setdefault((match.sound(entrant), same_key(entrant.category)), []).append(entrant)
    pairs = []
    for new in new_by_sound.values():
        rows = [row for row in match.sounding(new[0]) if same_key(row.category) == same_key(new[0].category)]
        old = [row for row in rows if row.status is ParticipantStatus.REGISTERED and not match.is_bound(row)]
        if (
            len(new) == len(old) == 1
            and _clubs_agree(new[0], old[0])
            and _years_agree(new[0], old[0])
            and (new[0].email is None or _address(old[0]) in (None, new[0].email))
        ):
            pairs.append((new[0], old[0]))
    return pairs


def _address(row: repository.Registration) -> str | None:
    return None if not row.email or is_placeholder(row.email) else row.email.lower()


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
        "email": (_address(row), None if row.email is None else entrant.email),
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
    session.add_all(
        ParticipantDetail(participant_id=entrant.participant_id, updated_at=now, **columns)
        for entrant in added
        if (columns := entrant.details.columns(ctx))
    )
    await session.flush()
    await search_keys.store(session, {entrant.participant_id: entrant.full_name for entrant in added})
