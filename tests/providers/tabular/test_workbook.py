"""Workbooks of many programs, cell by cell."""

from __future__ import annotations

import io
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.providers.tabular.cells import MOST_COLUMNS, Unusable
from procomp_pay.providers.tabular.rules import FileRules
from procomp_pay.providers.tabular.workbook import Workbook
from tests.support.raw_workbooks import STRICT, TRANSITIONAL, Rows, Xml, raw_workbook

RULES = FileRules("save it again", "save it as XLSX", 10_000_000, 10_000_000)


def rows(content: bytes) -> list[tuple[int, list[Any]]]:
    book = Workbook(io.BytesIO(content), RULES)
    return list(book.rows(book.sheets[0]))


def one(cell: str | float | None, **how: Any) -> Any:
    """Return the only cell of a workbook as it is read."""
    return rows(raw_workbook({"1": [["x", cell]]}, **how))[0][1][1]


@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Асель_x000D_\n Тестова", "Асель\r\n Тестова"),
        ("a_x000a_b_x0009_c", "a\nb\tc"),
        ("_x005F_x000D_", "_x000D_"),  # the escape of an underscore
        ("Болат _x005F_x_Тест", "Болат _x_Тест"),
        ("_x_ _x00_ x000D", "_x_ _x00_ x000D"),
        ("_xD83D__xDE00_", "\N{GRINNING FACE}"),
        ("_xD83D_", "\N{REPLACEMENT CHARACTER}"),
        (" a & b < c ", " a & b < c "),
    ],
)
def test_escaped_characters_are_decoded(written: str, meant: str, inline: bool) -> None:
    assert one(written, inline=inline) == meant


@pytest.mark.parametrize(
    ("xml", "meant"),
    [
        ("<c><v>60</v></c>", Decimal(60)),
        ("<c><v>23760.000000000004</v></c>", Decimal("23760.000000000004")),
        ("<c><v>1.28E10</v></c>", Decimal(12800000000)),
        ('<c t="b"><v>1</v></c>', True),
        ('<c t="b"><v>0</v></c>', False),
        ('<c s="1"><v>46296.5</v></c>', datetime(2026, 10, 1, 12)),  # noqa: DTZ001
        ('<c s="1"><v>0.5</v></c>', time(12)),
        ('<c s="2"><v>1.5</v></c>', timedelta(hours=36)),
        ('<c t="d"><v>2026-10-01T12:00:00</v></c>', datetime(2026, 10, 1, 12)),  # noqa: DTZ001
        ('<c t="str"><f>A1</f><v>a_x0009_b</v></c>', "a\tb"),
        ('<c t="inlineStr"><is><r><t>Асе</t></r><r><t>ль</t></r><rPh><t>x</t></rPh></is></c>', "Асель"),
        ("<c><f>1+1</f><v>2</v></c>", Decimal(2)),
    ],
)
def test_values(xml: str, meant: Any) -> None:
    value = one(Xml(xml))
    assert (value, type(value)) == (meant, type(meant))


@pytest.mark.parametrize(
    ("xml", "why"),
    [
        ("<c><f>1+1</f></c>", "formula without its result"),
        ("<c><f>1+1</f><v></v></c>", "formula without its result"),
        ('<c t="e"><v>#DIV/0!</v></c>', "error of the spreadsheet: #DIV/0!"),
        ('<c t="str"><v>#REF!</v></c>', "error of the spreadsheet"),
        ('<c s="1"><v>99999999</v></c>', "error of the spreadsheet"),
        ("<c><v>1e999</v></c>", "no number"),
    ],
)
def test_cells_without_a_value_say_why(xml: str, why: str) -> None:
    value = one(Xml(xml))
    assert isinstance(value, Unusable)
    assert why in value.why


def test_a_formula_with_an_empty_text_as_its_result_is_empty() -> None:
    assert rows(raw_workbook({"1": [["x", Xml('<c t="str"><f>A1</f><v></v></c>')]]})) == [(1, ["x"])]


@pytest.mark.parametrize("namespaces", [TRANSITIONAL, STRICT])
@pytest.mark.parametrize(
    "spelling",
    [str, str.upper, lambda name: name.replace("xl/sharedStrings", "xl/SharedStrings"),
     lambda name: name.replace("/", "\\")],
)  # fmt: skip
def test_both_formats_and_any_spelling_of_the_parts(namespaces: tuple[str, str], spelling: Any) -> None:
    table: Rows = [["ФИО", "Вес"], [None, None], ["Асель", 52]]
    content = raw_workbook({"Лист": table}, namespaces=namespaces, spelling=spelling)
    assert rows(content) == [(1, ["ФИО", "Вес"]), (3, ["Асель", Decimal(52)])]


def test_prefixes_rows_with_gaps_and_a_line_above_the_declaration() -> None:
    sheet = (
        '\n<?xml version="1.0"?><x:worksheet xmlns:x="u"><x:sheetData><x:row r="2"><x:c r="C2">'
        "<x:v>5</x:v></x:c><x:c><x:v>6</x:v></x:c></x:row><x:row/>"
        '<x:row><x:c t="s"><x:v>0</x:v></x:c></x:row></x:sheetData>'
        "</x:worksheet>"
    )
    content = raw_workbook({"1": [["x"]]}, more={"xl/worksheets/sheet1.xml": sheet})
    assert rows(content) == [(2, ["", "", Decimal(5), Decimal(6)]), (4, ["x"])]


def test_a_wrong_dimension_is_ignored() -> None:
    written = "<row><c><v>1</v></c></row>" * 2
    sheet = f'<worksheet><dimension ref="A1:A1"/><sheetData>{written}</sheetData></worksheet>'
    content = raw_workbook({"1": []}, more={"xl/worksheets/sheet1.xml": sheet})
    assert rows(content) == [(1, [Decimal(1)]), (2, [Decimal(1)])]


def test_sheets_and_which_of_them_are_hidden() -> None:
    content = raw_workbook({"a": [], "b": [], "c": []}, states={"a": "hidden", "c": "veryHidden"})
    sheets = Workbook(io.BytesIO(content), RULES).sheets
    assert [(sheet.title, sheet.is_visible) for sheet in sheets] == [("a", False), ("b", True), ("c", False)]


def test_columns_far_to_the_right_are_not_read() -> None:
    ((_, cells),) = rows(raw_workbook({"1": [list(range(MOST_COLUMNS + 5))]}))
    assert len(cells) == MOST_COLUMNS


@pytest.mark.parametrize(
    "sheet",
    ['<row r="2"/><row r="1"/>', '<row><c r="B1"><v>1</v></c><c r="A1"><v>1</v></c></row>',
     '<row><c t="s"><v>7</v></c></row>', "<row><c><v>seven</v></c></row>", '<row><c r="1A"/></row>',
     "<row><c><v>+-7</v></c></row>", "<row>"],
)  # fmt: skip
def test_a_sheet_that_contradicts_itself_is_damaged(sheet: str) -> None:
    whole = f"<worksheet><sheetData>{sheet}</sheetData></worksheet>"
    with pytest.raises(InvalidFile, match="damaged"):
        rows(raw_workbook({"1": [["x"]]}, more={"xl/worksheets/sheet1.xml": whole}))


@pytest.mark.parametrize("part", ["xl/workbook.xml", "xl/worksheets/sheet1.xml", "xl/sharedStrings.xml"])
def test_a_document_type_is_refused_in_every_part(part: str) -> None:
    bomb = '<!DOCTYPE a [<!ENTITY b "bbbbbbbb">]><worksheet><sheetData/></worksheet>'
    with pytest.raises(InvalidFile, match="damaged"):
        rows(raw_workbook({"1": [["x"]]}, more={part: bomb}))


def test_two_parts_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidFile, match="damaged"):
        rows(raw_workbook({"1": [["x"]]}, more={"XL/WORKBOOK.XML": "<workbook/>"}))
