"""What an import finds out about each line of its file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from procomp_pay.domain.names import same_key
from procomp_pay.services.registrations.participants import NOTHING_NEW, Details
from procomp_pay.storage.registrations import participants as repository


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
        return registration_key(self.full_name, self.category)


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


def registration_key(name: str, category: str | None) -> tuple[str, str]:
    """Return the key of a registration. It has no e-mail: an athlete may enter two categories."""
    return same_key(name), same_key(category)
