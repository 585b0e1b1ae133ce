"""Tell which participants of a file are registered already, however their names and clubs are spelled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache

from procomp_pay.domain.name_search import name_keys
from procomp_pay.domain.names import is_placeholder, same_key
from procomp_pay.domain.states import ParticipantStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.registrations.import_report import Changed, Entrant, Remark, registration_key
from procomp_pay.services.registrations.participants import Details
from procomp_pay.storage.registrations import participants as repository


@dataclass(slots=True)
class Comparison:
    """A file compared with the registrations."""

    added: list[Entrant] = field(default_factory=list)
    changed: list[Changed] = field(default_factory=list)
    unchanged: list[Remark] = field(default_factory=list)
    skipped: list[Remark] = field(default_factory=list)
    gone: list[repository.Registration] = field(default_factory=list)
    left_out: list[Remark] = field(default_factory=list)


def compare(
    entrants: list[Entrant],
    registered: list[repository.Registration],
    paying: Collection[str],
    found: Comparison,
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
        if row.status is not ParticipantStatus.CANCELLED
        and registration_key(row.full_name, row.category) not in listed
    ]
    return match.pairs


def _without_repetitions(entrants: list[Entrant], found: Comparison) -> list[Entrant]:
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
    match: _Match, fits: Callable[[Entrant, repository.Registration], bool], found: Comparison
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
    match: _Match, possible: list[tuple[Entrant, list[repository.Registration]]], found: Comparison
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


def _match_without_category(match: _Match, found: Comparison) -> None:
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


def _match_other_category(match: _Match, found: Comparison) -> None:
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


def _leave_doubtful(match: _Match, found: Comparison) -> None:
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


def _leave_alike_lines(match: _Match, found: Comparison) -> None:
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
            and (new[0].email is None or address(old[0]) in (None, new[0].email))
        ):
            pairs.append((new[0], old[0]))
    return pairs


def address(row: repository.Registration) -> str | None:
    return None if not row.email or is_placeholder(row.email) else row.email.lower()
