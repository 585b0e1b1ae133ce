"""A statement file as rows of cells that can be read twice, and the rules that CSV and XLSX share."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.reconciliation.statement_summary import StatementPeriod
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.layout.headers import header_key
from procomp_pay.providers.statements.layout.model import Layout
from procomp_pay.providers.statements.layout.recognise import WRITE_A_MAPPING, recognise
from procomp_pay.providers.tabular.cells import Broken, Cell, Row, is_blank, shown
from procomp_pay.providers.tabular.rules import FileRules

#: The sizes are those of a statement with a million lines.
RULES = FileRules(
    save_again=N_("export the statement again and give the file as it came"),
    right_format=N_("export the report of operations from Kaspi Pay as XLSX or CSV"),
    most_in_sheets=1_000_000_000,
    most_in_others=100_000_000,
    longest_line=65_536,
)
EXPORT_AGAIN = RULES.save_again

#: БИН or ИИН in the block above the headers; БСН and ЖСН in Kazakh.
_OWNER = re.compile(r"(?<!\w)(?:[БB][ИI][НN]|[ИI]{2}[НN]|БСН|ЖСН)(?!\w)", re.I)
_DIGITS = 12
#: A number in a workbook has lost its leading zeros.
_NUMBER = re.compile(r"(?<!\d)\d{9,12}(?!\d)", re.A)


@dataclass(frozen=True, slots=True)
class StatedTotal:
    """A total above the table, as Kaspi Pay has them since 2026.

    :param kind: of the lines that it sums up. :param of_fees: it is the sum of their fees.
    """

    line: int
    text: str
    cell: Cell
    kind: LineKind
    of_fees: bool = False


class Rows(Protocol):
    """Rows of cells with a known layout."""

    layout: Layout
    #: The format: ``CSV (UTF-8, ;)``.
    kind: str
    totals: list[StatedTotal]

    def rows(self, broken: Broken) -> Iterator[Row]:
        """Yield the rows below the headers with their 1-based numbers, from the start each time."""
        ...


class Table(Rows, Protocol):
    """A file that is a statement; close it with :meth:`close`."""

    #: The merchant's BIN or IIN, if the file names one.
    owner: str | None
    #: The period that the rows above the headers name, if they do.
    period: StatementPeriod | None
    bytes_total: int
    notes: list[str]

    @property
    def bytes_read(self) -> int:
        """Return how many bytes of the file :meth:`rows` has read."""
        ...

    def check_whole(self, last: Row | None) -> int | None:
        """Return the line that may be cut and needs manual review; ``None`` if there is none.

        :param last: the last row of the file.
        :raises InvalidStatement: the file ends in the middle of a line.
        """
        ...

    def close(self) -> None: ...


def unknown(seen: Sequence[Sequence[str]], *, provider: str | None, mapping: str | None) -> InvalidStatement:
    """Return the error for a file in which no known header row was found."""
    rows = [[" ".join(cell.split()) for cell in row] for row in seen]
    widest = max(rows, key=lambda row: sum(1 for cell in row if cell), default=[])
    found = ", ".join(f"“{header[:40]}”" for header in widest[:30] if header) or N_("none")
    step: str = WRITE_A_MAPPING
    if mapping is not None:
        problem = N_("No row has all the headers that the mapping %(name)s names", name=mapping)
        step = N_("write the headers in the mapping exactly as they are in the file")
    elif provider is not None:
        problem = N_("The file is not a known statement of %(provider)s", provider=provider.title())
        other = next((layout for layout in map(_recognise_any, rows) if layout is not None), None)
        if other is not None:
            problem = N_("%(problem)s, but one of %(other)s", problem=problem, other=other.provider.title())
            step = N_("leave --provider out")
    else:
        problem = N_("The file is not a known statement")
        step = N_("name the provider with --provider kaspi or stripe, or %(else)s", **{"else": step})
    return InvalidStatement(
        N_("%(problem)s. The headers found are: %(headers)s", problem=problem, headers=found), next_step=step
    )


def _recognise_any(row: Sequence[str]) -> Layout | None:
    try:
        return recognise(row, 0, provider=None, mapped=None)
    except InvalidStatement:
        return None


_TOTALS = (
    ("продажи с kaspi", LineKind.PAYMENT, False),
    ("возвраты продаж", LineKind.REFUND, False),
    ("услуги за продажи", LineKind.PAYMENT, True),
    ("возврат услуг", LineKind.REFUND, True),
)


def find_totals(above: Iterable[tuple[int, Sequence[Cell]]]) -> list[StatedTotal]:
    """Return the totals above the headers: a label, and an amount in a cell after it.

    Those of sales that Kaspi only records, in cash for example, are left out.

    :param above: the rows above the headers with their lines.
    """
    totals: list[StatedTotal] = []
    for line, row in above:
        label, *values = [cell for cell in row if not is_blank(cell)][:2] or [""]
        key = header_key(label) if isinstance(label, str) else ""
        totals += [
            StatedTotal(line, " ".join(str(label).split())[:80], values[0], kind, of_fees)
            for start, kind, of_fees in _TOTALS
            if values and key.startswith(start)
        ]
    return totals


def find_owner(above: Iterable[Sequence[Cell]]) -> str | None:
    """Return the merchant's BIN or IIN, twelve digits; ``None`` if the file names none, or two of them.

    :param above: the rows above the headers.
    """
    numbers: set[str] = set()
    for row in above:
        text = " ".join(shown(cell) for cell in row)
        if _OWNER.search(text):
            numbers |= {number.zfill(_DIGITS) for number in _NUMBER.findall(text)}
    return numbers.pop() if len(numbers) == 1 else None
