"""The layout of a statement: its provider and the role of each column."""

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
    """Rules for reading the lines of one file.

    :param row: the 1-based line of the headers.
    :param columns: the place of each role, from 0.
    :param words: the line kind for each word of the type column.
    :param only_kind: the kind of every line, if a mapping file sets it and there is no type column.
    :param currency: the currency of all lines; ``None`` if there is a currency column.
    :param zone: the zone of times that name none.
    :param date_form, decimal: as the mapping file sets them.
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

    def header(self, role: ColumnRole) -> str | None:
        """Return the header of the column with this role, as the file writes it."""
        return self.headers[self.columns[role]] if role in self.columns else None

    @property
    def used(self) -> dict[str, str]:
        """Return the headers that are used, by their role."""
        return {role.value: self.headers[place] for role, place in self.columns.items()}

    @property
    def ignored(self) -> list[str]:
        """Return the headers of columns that are not read."""
        taken = set(self.columns.values())
        return [header for place, header in enumerate(self.headers) if header and place not in taken]
