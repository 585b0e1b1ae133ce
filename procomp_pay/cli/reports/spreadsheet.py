"""A report as a workbook and as CSV: real numbers and dates, and no text that runs as a formula."""

from __future__ import annotations

import csv
import io
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import IO, Any

from procomp_pay.cli.framework import console
from procomp_pay.cli.framework.language import _
from procomp_pay.cli.reports.cells import Cell, Missing, Percent, Seconds, Section, as_text

#: Text that starts with one of these is a formula in some spreadsheet; the wide forms in Asian Excel.
#: Excel in Russian and Kazakh reads a semicolon as the end of a cell, whatever the file's own separator.
_FORMULA = re.compile(
    r"""(^|;)(?=["\s]*[=+\-@\N{FULLWIDTH EQUALS SIGN}\N{FULLWIDTH PLUS SIGN}"""
    r"""\N{FULLWIDTH HYPHEN-MINUS}\N{FULLWIDTH COMMERCIAL AT}])"""
)
_WIDEST = 48
_LINE = 90  # letters, in the column of the first sheet
_LONGEST_TEXT = 32_767  # the limit of a cell in Excel


_HEAD = ("section", "item", "name", "currency", "figure", "value")

_Row = tuple[str, str, str, str, str, Any]


def not_a_formula(value: str) -> str:
    """Return text that no spreadsheet runs as a formula, even after saving it as CSV and opening it again."""
    return _FORMULA.sub(r"\1'", console.clean(value))[:_LONGEST_TEXT]


def write_workbook(
    stream: IO[bytes], properties: Sequence[tuple[str, str]], sections: Iterable[Section], at: datetime
) -> None:
    """Write a sheet about the report and one for each table that has rows; the others are named on the first
    one. The same figures give the same bytes.

    :param at: the report's time, recorded as the file's creation time.
    """
    import openpyxl
    from openpyxl.styles import Alignment, Font

    tables: list[Section] = []
    empty: list[Section] = []
    for section in sections:
        (empty if section.is_empty and not section.note else tables).append(section)
    if empty:
        nothing = ", ".join(section.title for section in empty)
        properties = [*properties, ("", ""), (_("Nothing in"), nothing)]
    book = openpyxl.Workbook(write_only=True)
    first = book.create_sheet(_("About"))
    _print_on_a4(first)
    first.column_dimensions["A"].width, first.column_dimensions["B"].width = 24, 100
    bold = Font(name="Calibri", size=11, bold=True)  # without a name, another typeface is shown
    for number, (name, value) in enumerate(properties, 1):
        first.row_dimensions[number].height = 15 * (1 + len(value) // _LINE)  # not every program finds it
        cells = [_cell(first, name, bold), _cell(first, value)]
        for cell in cells:
            cell.alignment = Alignment(wrap_text=True, vertical="top")
        first.append(cells)
    for section in tables:
        _sheet(book, section, bold)
    buffer = io.BytesIO()
    book.save(buffer)
    _without_clock(buffer, stream, at)


def _print_on_a4(sheet: Any) -> None:
    """Print a sheet across, as wide as the page and as many pages long as it needs."""
    sheet.page_setup.orientation, sheet.page_setup.paperSize = "landscape", 9  # A4
    sheet.page_setup.fitToHeight = 0
    sheet.sheet_properties.pageSetUpPr.fitToPage = True


def _sheet(book: Any, section: Section, bold: Any) -> None:
    from openpyxl.styles import Alignment, Border, Side
    from openpyxl.utils import get_column_letter

    sheet = book.create_sheet(re.sub(r"[\\/*?:\[\]]", " ", section.title)[:31])
    sheet.freeze_panes = "A2"
    _print_on_a4(sheet)
    if not section.is_empty:  # the sums below the rows are not filtered
        last = get_column_letter(len(section.columns))
        sheet.auto_filter.ref = f"A1:{last}{max(2, len(section.rows) - section.totals + 1)}"
    sheet.print_title_rows = "1:1"
    for number in range(len(section.columns)):
        width = max([len(section.columns[number].head), *(_width(row[number]) for row in section.rows)])
        sheet.column_dimensions[get_column_letter(number + 1)].width = min(_WIDEST, width + 3)
    headings = [_cell(sheet, column.head, bold) for column in section.columns]
    for head in headings:
        head.border, head.alignment = Border(bottom=Side(style="thin")), Alignment(wrap_text=True)
    sheet.append(headings)
    for number, row in enumerate(section.rows):
        total = number >= len(section.rows) - section.totals
        sheet.append([_cell(sheet, value, bold if total else None) for value in row])
    if section.note:
        sheet.append([])
        sheet.append([_cell(sheet, section.note)])


def _cell(sheet: Any, value: Cell, font: Any = None) -> Any:
    """Return a cell with a real value, formatted to show all of it."""
    from openpyxl.cell import WriteOnlyCell

    cell = WriteOnlyCell(sheet)
    if value == "":
        return cell
    if isinstance(value, str | Missing):
        cell.value = not_a_formula(as_text(value))
        cell.data_type = "s"
    else:
        cell.value, cell.number_format = _number(value)
    if font is not None:
        cell.font = font
    return cell


def _width(value: Cell) -> int:
    """Return how many letters are shown of a cell."""
    return len("00:00:00") if isinstance(value, Seconds) else len(as_text(value))


def _number(value: Any) -> tuple[Any, str]:
    match value:
        case Percent():
            return value.value / 100, "0.0%"
        case Seconds():
            return timedelta(seconds=value.value), "[h]:mm:ss"
        case Decimal():
            return value, "#,##0.00"
        case int():
            return value, "#,##0"
        case datetime():
            return value.replace(microsecond=0), "yyyy-mm-dd hh:mm:ss"
    return value, "yyyy-mm-dd"


def _without_clock(made: IO[bytes], stream: IO[bytes], at: datetime) -> None:
    """Copy a workbook with the report's time in place of the current time."""
    stamp = at.astimezone(UTC)
    created = f"{stamp:%Y-%m-%dT%H:%M:%SZ}".encode()
    with zipfile.ZipFile(made) as source, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = source.read(name)
            if name == "docProps/core.xml":
                content = re.sub(rb"(?<=>)[0-9T:-]{19}Z(?=<)", created, content)
            entry = zipfile.ZipInfo(name, stamp.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(entry, content)


def write_csv(stream: IO[bytes], rows: Iterable[Sequence[Any]], *, for_excel: bool) -> None:
    """Write rows as CSV in UTF-8.

    :param for_excel: with a byte order mark, without which Excel does not recognise UTF-8.
    """
    stream.write(b"\xef\xbb\xbf" if for_excel else b"")
    wrapper = io.TextIOWrapper(stream, "utf-8", newline="", write_through=True)
    writer = csv.writer(wrapper)
    for row in rows:
        writer.writerow([_raw(value) for value in row])
    wrapper.detach()


def _raw(value: Any) -> Any:
    if isinstance(value, str):
        return not_a_formula(value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.isoformat() if isinstance(value, date) else value


def csv_rows(document: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """Return the figures of ``Report.full()`` as one long table; unknown values are empty."""
    yield _HEAD
    for name in ("made_at", "timezone", "since", "until"):
        yield ("report", "", "", "", name, document[name])
    for flow in document["money"]:
        yield from _flow("money", "", "", flow)
    yield from _at_the_bank(document)
    yield from _plain("attempts", "", "", document["attempts"])
    for method in document["methods"]:
        yield from _plain("methods", method["method"], "", _without(method, "method", "money"))
        for flow in method["money"]:
            yield from _flow("methods", method["method"], "", flow)
    for day in document["days"]:
        yield from _flow("days", day["day"], "", _without(day, "day"))
    for tournament in document["tournaments"]:
        key, name = tournament["tournament_id"], tournament["name"]
        yield from _plain("tournaments", key, name, _without(tournament, "tournament_id", "name", "money"))
        for flow in tournament["money"]:
            yield from _flow("tournaments", key, name, flow)
    for reason in document["failure_reasons"]:
        yield ("failure_reasons", reason["status"], reason["reason"] or "", "", "count", reason["count"])
    yield ("failure_reasons", "", "", "", "not_named", document["failure_reasons_not_named"])
    yield from _plain("participants", "", "", document["participants"])
    for kind in document["open_discrepancies"]["kinds"]:
        whose = "" if kind["of_our_payments"] else "of no payment of ours"
        yield ("open_discrepancies", kind["kind"], whose, "", "count", kind["count"])


def _at_the_bank(document: dict[str, Any]) -> Iterator[_Row]:
    for cost in document["account_costs"]:
        yield ("account_costs", "", "", cost["currency"], "amount", cost["amount"])
    for sums in document["payouts"]:
        for state, total in sums["states"].items():
            for figure in ("count", "amount"):
                yield ("payouts", state, "", sums["currency"], figure, total[figure])


def _flow(section: str, item: str, name: str, flow: dict[str, Any]) -> Iterator[_Row]:
    for figure, value in _flat(_without(flow, "currency")):
        yield section, item, name, flow["currency"], figure, value


def _plain(section: str, item: str, name: str, figures: dict[str, Any]) -> Iterator[_Row]:
    for figure, value in _flat(figures):
        yield section, item, name, "", figure, value


def _flat(figures: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from ((f"{name}_{inner}", nested) for inner, nested in _flat(value))
        else:
            yield name, value


def _without(document: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name not in names}
