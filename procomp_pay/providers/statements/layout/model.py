"""A statement's layout: whose it is, and which column says what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from procomp_pay.domain.money import Currency
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.statements.layout.headers import Meaning
from procomp_pay.providers.statements.layout.line_kinds import Words

KASPI, STRIPE = "kaspi", "stripe"
PROVIDERS = (KASPI, STRIPE)


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read the lines of one file.

    :param row: the 1-based line of the head.
    :param words: what the type column's words mean.
    :param only_kind: the kind of every line, where a mapping says so and no column does.
    :param currency: of lines that name none; ``None`` where the layout has a currency column.
    :param zone: of times that name none.
    :param date_form, decimal: as a mapping says.
    """

    provider: str
    name: str
    row: int
    heads: tuple[str, ...]
    columns: Mapping[Meaning, int]
    words: Words
    currency: Currency | None
    zone: ZoneInfo
    only_kind: LineKind | None = None
    date_form: str | None = None
    decimal: str | None = None

    def head(self, meaning: Meaning) -> str | None:
        """The head of the column with a meaning, as it stands in the file."""
        return self.heads[self.columns[meaning]] if meaning in self.columns else None

    @property
    def meanings(self) -> dict[str, str]:
        """The heads that are used, by what they mean."""
        return {meaning.value: self.heads[place] for meaning, place in self.columns.items()}

    @property
    def ignored(self) -> list[str]:
        """The other heads."""
        taken = set(self.columns.values())
        return [head for place, head in enumerate(self.heads) if head and place not in taken]
