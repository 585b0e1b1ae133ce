"""A day's closing as it stands: its steps, figures and signatures, and what a request to close it has."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from procomp_pay.domain.closing import (
    SIGNATURES,
    Signature,
    Step,
    StepRecord,
    StepState,
    of_operators,
    open_steps,
)
from procomp_pay.domain.period import Period
from procomp_pay.domain.reconciliation.statement_summary import StatementLines
from procomp_pay.providers.bank.values import BankFile
from procomp_pay.services.closing.figures import DayFigures
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.closing.repository import digest

Progress = Callable[[str, int], None]
#: What is open where a provider's statement file, or the folder of the exports, is needed.
STATEMENT = "statement"
FOLDER = "folder"


@dataclass(frozen=True, slots=True)
class Statement:
    """A provider's file, in place of its API."""

    name: str
    lines: StatementLines
    sha256: str
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class BankStatement:
    """The bank's file.

    :param is_ours: its account was named, so that another one than before is accepted.
    """

    name: str
    file: BankFile
    sha256: str
    is_ours: bool = False


class SheetWriter(Protocol):
    """Write the closing sheet; return the names of its files."""

    def __call__(self, closing: Closing) -> list[str]: ...


class Exporter(Protocol):
    """Write the day's exports into a folder; return what, file, rows and SHA-256 of each. A file that has the
    same content already stays as it is."""

    async def __call__(self, ctx: AppContext, closing: Closing, folder: str) -> list[dict[str, Any]]: ...


@dataclass(slots=True)
class Closing:
    """The closing of a day, as it stands.

    :param tournament: id and name; ``None`` for all.
    :param signed: the figures under the newest signature.
    """

    closing_id: str
    period: Period
    tournament: tuple[str, str] | None
    steps: dict[Step, StepRecord]
    signatures: tuple[Signature, ...]
    signed: dict[str, Any] | None
    begun_by: str
    begun_at: datetime
    closed_at: datetime | None
    figures: DayFigures | None = None

    @property
    def day(self) -> date:
        assert self.period.since is not None  # noqa: S101 - a closing is of one day
        return self.period.since

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Return the first instants of the day and of the next one."""
        begins, ends = self.period.begins, self.period.ends
        assert begins is not None and ends is not None  # noqa: S101, PT018 - a closing is of one day
        return begins, ends

    @property
    def tournament_id(self) -> str | None:
        return self.tournament[0] if self.tournament else None

    @property
    def is_closed(self) -> bool:
        return self.closed_at is not None

    @property
    def known_steps(self) -> list[StepRecord]:
        """Return the steps in order; of a closed day those that it had when it was signed."""
        records = [self.steps[step] for step in Step]
        return [record for record in records if not (self.is_closed and record.state is StepState.WAITING)]

    @property
    def open(self) -> list[Step]:
        """Return the steps that are neither done nor skipped, the signatures last."""
        if self.is_closed:
            return []
        return [*open_steps(self.steps.values()), Step.SIGNATURES]

    @property
    def second_is_missing(self) -> bool:
        """Return whether it was closed by one signature, since there are no operator accounts."""
        return self.is_closed and of_operators(self.signatures) < SIGNATURES

    def to_sign(self) -> tuple[str, list[tuple[StepState, tuple[str, ...]]]]:
        """Return what a signature vouches for: the digest of the figures, and what is open in each step."""
        figures = digest(self.figures.sums()) if self.figures is not None else ""
        return figures, [(self.steps[step].state, self.steps[step].items) for step in Step]

    def full(self) -> dict[str, Any]:
        """Return the document for ``--json``."""
        return {
            "closing_id": self.closing_id,
            "day": self.day.isoformat(),
            "timezone": self.period.zone.key,
            "tournament": dict(zip(("tournament_id", "name"), self.tournament, strict=True))
            if self.tournament
            else None,
            "state": "closed" if self.is_closed else "open",
            "begun_by": self.begun_by,
            "begun_at": instant(self.begun_at),
            "closed_at": instant(self.closed_at),
            "open": [step.value for step in self.open],
            "steps": [_without_answers(record) for record in self.known_steps],
            "figures": None if self.figures is None else self.figures.full(),
            "signed": self.signed,
            "signatures": [signature.full() for signature in self.signatures],
            "second_signature_missing": self.second_is_missing,
            "since_closing": [change.full() for change in since_closing(self)],
        }


def _without_answers(record: StepRecord) -> dict[str, Any]:
    document = record.full()
    document["facts"] = {name: value for name, value in record.facts.items() if name != "told"}
    return document


@dataclass(frozen=True, slots=True)
class Change:
    """A figure that is not what was signed."""

    what: str
    method: str
    currency: str
    signed: Decimal
    now: Decimal

    def full(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "method": self.method,
            "currency": self.currency,
            "signed": self.signed,
            "now": self.now,
            "difference": self.now - self.signed,
        }


@dataclass(frozen=True, slots=True)
class CloseRequest:
    """A request to close a day.

    :param statements: by provider. :param again: steps to repeat although they are done.
    :param sheet: writes the sheet; ``None`` leaves the step open.
    :param exporter: writes the exports; ``None`` leaves the step open.
    :param exports: the folder for them; ``None`` for the one that is recorded.
    """

    period: Period
    tournament_id: str | None = None
    statements: Mapping[str, Statement] = field(default_factory=dict)
    again: frozenset[Step] = frozenset()
    sheet: SheetWriter | None = None
    exporter: Exporter | None = None
    exports: str | None = None
    bank: BankStatement | None = None


_COMPARED = (
    ("paid", "ours", "paid"),
    ("refunded", "ours", "refunded"),
    ("disputes lost", "ours", "disputes_lost"),
    ("paid at the provider", "provider", "paid"),
    ("refunded at the provider", "provider", "refunded"),
    ("provider fees", None, "provider_fees"),
)


def _figure(line: Mapping[str, Any] | None, side: str | None, name: str) -> Decimal:
    if line is None:
        return Decimal("0.00")
    return Decimal(line[side][name] if side else line[name])


def since_closing(closing: Closing) -> list[Change]:
    """Return how the figures differ from those that were signed: a late payment, a fee that is known now."""
    if not closing.is_closed or closing.figures is None or closing.signed is None:
        return []
    now = {(line.method, line.currency): line.full() for line in closing.figures.both}
    then = {(line["method"], line["currency"]): line for line in closing.signed["sums"]}
    changes = []
    for key in sorted({*now, *then}):
        for what, side, name in _COMPARED:
            before, after = _figure(then.get(key), side, name), _figure(now.get(key), side, name)
            if before != after:
                changes.append(Change(what, *key, before, after))
    return changes
