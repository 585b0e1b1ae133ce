"""A statement's layout: whose it is, and which column says what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from procomp_pay.domain.money import Currency
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.line_kinds import Words

KASPI, STRIPE = "kaspi", "stripe"
PROVIDERS = (KASPI, STRIPE)


@dataclass(frozen=True, slots=True)
class Layout:
    """How to read the lines of one file.

    :param row: the 1-based line of the header.
    :param words: what the type column's words mean.
    :param only_kind: the kind of every line, where a mapping says so and no column does.
    :param currency: of lines that name none; ``None`` where the layout has a currency column.
    :param zone: of times that name none.
    :param date_form, decimal: as a mapping says.
    """

    provider: str
    name: str
    row: int
    headers: tuple[str, ...]
    columns: Mapping[ColumnRole, int]
    words: Words
    currency: Currency | None
    zone: ZoneInfo
    only_kind: LineKind | None = None
    date_form: str | None = None
    decimal: str | None = None

    def header(self, meaning: ColumnRole) -> str | None:
        """The header of the column with a meaning, as it stands in the file."""
        return self.headers[self.columns[meaning]] if meaning in self.columns else None

    @property
    def used(self) -> dict[str, str]:
        """The headers that are used, by what they mean."""
        return {meaning.value: self.headers[place] for meaning, place in self.columns.items()}

    @property
    def ignored(self) -> list[str]:
        """The other headers."""
        taken = set(self.columns.values())
        return [header for place, header in enumerate(self.headers) if header and place not in taken]
