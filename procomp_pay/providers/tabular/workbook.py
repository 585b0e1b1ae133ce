"""Read an XLSX workbook row by row: numbers exact, formulas by their result, text as a person sees it.

Source: ECMA-376 part 1, 18.2 to 18.8 and 22.9.2.19 (``_xHHHH_``). The transitional and the strict format
differ in namespaces only, which are ignored. The memory is that of the shared texts and of one block of rows.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, BinaryIO

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.cells import MOST_COLUMNS, Cell, Unusable
from procomp_pay.providers.tabular.package import (
    SAVE_AS_XLSX,
    Package,
    damaged,
    local,
    new_parser,
    refusing_damage,
)
from procomp_pay.providers.tabular.rules import FileRules

#: As many rows as a sheet can have.
MOST_ROWS = 1_048_576
#: Empty rows above a filled one.
MOST_EMPTY = 10_000
_ERRORS = ("#N/A", "#REF!", "#VALUE!", "#DIV/0!", "#NAME?", "#NUM!", "#NULL!")
_NO_RESULT = Unusable(N_("a formula without its result: open the file in Excel, save it, and try again"))
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_REFERENCE = re.compile(r"([A-Z]{1,3})(\d{1,7})", re.A)


@dataclass(frozen=True, slots=True)
class Sheet:
    """A sheet with cells."""

    title: str
    is_visible: bool
    part: str


class Workbook:
    """A workbook with its visible and hidden sheets.

    :param file: opened for reading bytes; its owner closes it.
    :raises InvalidFile: no workbook, damaged, too large unpacked, with macros, or protected.
    """

    def __init__(self, file: BinaryIO, rules: FileRules) -> None:
        self._package = Package(file, rules)
        part = _main_part(self._package)
        relations = self._package.relations(part)
        parts = dict(relations.values())
        #: Days are counted from 1904 and not from 1900, as old programs for the Mac did.
        self.counts_from_1904 = False
        self.sheets: list[Sheet] = []
        for tag, attributes, parent in self._package.elements(part):
            if tag == "workbookPr":
                self.counts_from_1904 = attributes.get("date1904") in ("1", "true")
            if tag == "sheet" and parent == "sheets":
                kind, name = relations.get(attributes.get("id", ""), ("", ""))
                if kind == "worksheet":
                    is_visible = attributes.get("state", "visible") == "visible"
                    self.sheets.append(Sheet(attributes.get("name", ""), is_visible, name))
        if not self.sheets or any(sheet.part not in self._package for sheet in self.sheets):
            raise damaged()
        self._styles = _read_styles(self._package.elements(parts.get("styles", "")))
        self._texts_part = parts.get("sharedStrings")
        self._texts: list[str] | None = None

    def rows(self, sheet: Sheet) -> Iterator[tuple[int, list[Cell]]]:
        """Yield the rows of a sheet that are not empty, with their 1-based numbers, from the first on.

        :raises InvalidFile: damaged, or far too many empty rows.
        """
        if self._texts is None:
            self._texts = self._read_texts()
        reader = _SheetReader(self._texts, self._styles, counts_from_1904=self.counts_from_1904)
        before = 0
        with refusing_damage():
            for block in self._package.blocks(sheet.part):
                for number, cells in reader.feed(block):
                    if number > MOST_ROWS:
                        raise InvalidFile(
                            N_("The sheet has more rows than a sheet can have"), next_step=SAVE_AS_XLSX
                        )
                    if number - before > MOST_EMPTY:
                        raise InvalidFile(
                            N_("the sheet has more than %(most)s empty rows", most=MOST_EMPTY),
                            next_step=N_("delete them, and save it again"),
                            line=number,
                        )
                    before = number
                    yield number, cells
            reader.finish()

    def _read_texts(self) -> list[str]:
        """Return the texts that cells refer to by their number."""
        if self._texts_part is None or self._texts_part not in self._package:
            return []
        texts: list[str] = []
        reader = _TextReader(texts)
        with refusing_damage():
            for block in self._package.blocks(self._texts_part):
                reader.parser.Parse(block, False)
            reader.parser.Parse(b"", True)
        return texts


def _main_part(package: Package) -> str:
    named = [name for kind, name in package.relations("").values() if kind == "officeDocument"]
    part = named[0] if named else "xl/workbook.xml"
    if part not in package or not part.startswith("xl/"):
        raise InvalidFile(
            N_("The file is an Office document or ZIP archive and no workbook"),
            next_step=N_("give it as XLSX or CSV"),
        )
    return part


def _read_styles(elements: list[tuple[str, dict[str, str], str]]) -> list[str]:
    """Return for each cell style ``date``, ``duration`` or nothing. All else in the styles is ignored."""
    from openpyxl.styles import numbers

    codes = {
        int(attributes["numFmtId"]): attributes.get("formatCode", "")
        for tag, attributes, parent in elements
        if tag == "numFmt" and parent == "numFmts"
    }
    styles: list[str] = []
    for tag, attributes, parent in elements:
        if tag == "xf" and parent == "cellXfs":
            number = int(attributes.get("numFmtId", "0"))
            code = codes.get(number) or numbers.builtin_format_code(number)
            is_date, is_duration = numbers.is_date_format(code), numbers.is_timedelta_format(code)
            styles.append("duration" if is_duration else "date" if is_date else "")
    return styles


class _TextReader:
    """Collect the shared texts: all runs of a text, without its phonetic reading."""

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._parts: list[str] = []
        self._is_text = False
        self._phonetic = 0
        self.parser = new_parser(self._start, self._end)
        self.parser.CharacterDataHandler = self._data

    def _start(self, tag: str, _attributes: dict[str, str]) -> None:
        name = local(tag)
        if name == "si":
            self._parts = []
        elif name == "rPh":
            self._phonetic += 1
        self._is_text = name == "t" and not self._phonetic

    def _data(self, text: str) -> None:
        if self._is_text:
            self._parts.append(text)

    def _end(self, tag: str) -> None:
        name = local(tag)
        self._is_text = False
        if name == "rPh":
            self._phonetic -= 1
        elif name == "si":
            self._texts.append(_unescaped("".join(self._parts)))


class _SheetReader:
    """Turn the XML of a sheet into rows, block by block."""

    def __init__(self, texts: list[str], styles: list[str], *, counts_from_1904: bool) -> None:
        from openpyxl.utils import datetime as excel

        self._texts, self._styles = texts, styles
        self._epoch = excel.MAC_EPOCH if counts_from_1904 else excel.WINDOWS_EPOCH
        self._from_excel: Any = excel.from_excel
        self._from_iso: Any = excel.from_ISO8601
        self._rows: list[tuple[int, list[Cell]]] = []
        self._number = 0
        self._row: list[Cell] = []
        self._column = -1
        self._kind, self._style = "n", ""
        self._value: list[str] = []
        self._has_formula = self._collects = False
        self._phonetic = 0
        self._parser = new_parser(self._start, self._end)
        self._parser.CharacterDataHandler = self._data

    def feed(self, block: bytes) -> list[tuple[int, list[Cell]]]:
        """Return the rows that end in this block."""
        self._parser.Parse(block, False)
        rows, self._rows = self._rows, []
        return rows

    def finish(self) -> None:
        """Check that the sheet is whole."""
        self._parser.Parse(b"", True)

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        name = local(tag)
        if name == "c":
            self._start_cell(attributes)
        elif name in {"v", "t"}:
            self._collects = not self._phonetic
        elif name == "f":
            self._has_formula = True
        elif name == "row":
            number = int(attributes["r"]) if "r" in attributes else self._number + 1
            if number <= self._number:
                raise damaged()
            self._number, self._row, self._column = number, [], -1
        elif name == "rPh":
            self._phonetic += 1

    def _start_cell(self, attributes: dict[str, str]) -> None:
        reference = attributes.get("r")
        column = self._column + 1 if reference is None else _column(reference)
        if column <= self._column:
            raise damaged()
        self._column = column
        self._kind = attributes.get("t", "n")
        style = int(attributes.get("s", "0"))
        self._style = self._styles[style] if style < len(self._styles) else ""
        self._value, self._has_formula = [], False

    def _data(self, text: str) -> None:
        if self._collects:
            self._value.append(text)

    def _end(self, tag: str) -> None:
        name = local(tag)
        if name == "c":
            if self._column < MOST_COLUMNS:
                cell = self._cell("".join(self._value))
                if cell != "":
                    self._row.extend([""] * (self._column - len(self._row)))
                    self._row.append(cell)
        elif name in {"v", "t"}:
            self._collects = False
        elif name == "row":
            if self._row:
                self._rows.append((self._number, self._row))
        elif name == "rPh":
            self._phonetic -= 1

    def _cell(self, value: str) -> Cell:
        if not value:
            # a formula whose result is an empty text says so by its type
            return _NO_RESULT if self._has_formula and self._kind != "str" else ""
        if self._kind in {"s", "str", "inlineStr"}:
            text = self._texts[int(value)] if self._kind == "s" else _unescaped(value)
            return _error(text) if text in _ERRORS else text
        if self._kind == "n":
            return self._number_or_date(value)
        if self._kind == "b":
            return value.strip() in {"1", "true"}
        return _moment(self._from_iso(value)) if self._kind == "d" else _error(value)

    def _number_or_date(self, value: str) -> Cell:
        is_whole = value.strip().lstrip("+-").isdigit()
        number = Decimal(value.strip()) if is_whole else Decimal(repr(float(value)))
        if not number.is_finite():
            return Unusable(N_("no number"))
        if not self._style:
            return number
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _moment(
                    self._from_excel(
                        int(number) if is_whole else float(number),
                        self._epoch,
                        timedelta=self._style == "duration",
                    )
                )
        except (OverflowError, ValueError):
            return _error("#VALUE!")


def _error(value: str) -> Unusable:
    return Unusable(N_("an error of the spreadsheet: %(value)s", value=value[:20]))


def _moment(value: Any) -> Cell:
    """Return a date, time or duration; a cell knows no zone."""
    if isinstance(value, datetime | time):
        return value.replace(tzinfo=None)
    if isinstance(value, timedelta):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)  # noqa: DTZ001
    return Unusable(N_("no date"))


def _column(reference: str) -> int:
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise damaged()
    column = 0
    for letter in match[1]:
        column = column * 26 + ord(letter) - ord("A") + 1
    return column - 1


def _unescaped(text: str) -> str:
    """Return text with ``_x000D_`` and the like as the characters that they stand for."""
    if "_x" not in text:
        return text
    plain = _ESCAPED.sub(lambda match: chr(int(match[1], 16)), text)
    # two escapes can be the halves of one character
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
