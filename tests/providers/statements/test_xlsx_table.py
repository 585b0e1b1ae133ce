"""XLSX statements, and everything that can be wrong with them."""

from __future__ import annotations

import io
import zipfile
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from openpyxl.utils.datetime import CALENDAR_MAC_1904

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.money import Currency, Money
from procomp_pay.providers.statements.reader import open_statement
from procomp_pay.providers.statements.table import RULES
from tests.support.statement_files import HEADS, STRIPE, kaspi, read, stripe, workbook


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "export"


def one(path: Path, **changes: Any) -> Path:
    return workbook({"Отчёт": [HEADS, kaspi(1, **changes), kaspi(2)]}, path)


def refused(path: Path, **how: Any) -> InvalidFile:
    with pytest.raises(InvalidFile) as caught:
        read(path, **how)
    assert caught.value.next_step
    return caught.value


def repacked(path: Path, change: dict[str, Any]) -> Path:
    """Replace parts of the workbook (bytes, or a function of the old ones) or add some."""
    out = io.BytesIO()
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            made = change.pop(name, old.read(name))
            new.writestr(name, made(old.read(name)) if callable(made) else made)
        for name, content in change.items():
            new.writestr(name, content)
    path.write_bytes(out.getvalue())
    return path


SHEET = "xl/worksheets/sheet1.xml"


def test_report_with_merged_title_and_total(path: Path) -> None:
    rows = [[None, "Детальная информация"], [], [None, "Период", "октябрь"], HEADS, kaspi(1), kaspi(2)]
    workbook({"Отчёт": [*rows, ["Итого", *[None] * 8, 48000]]}, path)
    book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()))
    book.worksheets[0].merge_cells("B1:F1")
    book.save(path)
    with open_statement(path) as statement:
        lines = list(statement)
        assert statement.bytes_read == statement.bytes_total
    assert (statement.kind, statement.layout.row) == ("XLSX (sheet “Отчёт”)", 4)
    assert [line.number for line in lines] == [5, 6]
    assert statement.summary.totals[0].agrees
    assert not statement.summary.needs_person


@pytest.mark.parametrize(
    ("amount", "meant"),
    [(24000, "24000"), (24000.5, "24000.50"), (23760.000000000004, "23760"), ("24 000,50", "24000.50"),
     (Decimal("0.10"), "0.10")],
)  # fmt: skip
def test_amounts_as_numbers_and_as_text(path: Path, amount: Any, meant: str) -> None:
    lines, summary = read(one(path, amount=amount, net=None))
    assert lines[0].money == Money(Decimal(meant), Currency.KZT), summary.skipped


@pytest.mark.parametrize("amount", [24000.125, True, "#REF!", 1e30, datetime(2026, 1, 1), None])  # noqa: DTZ001
def test_invalid_amounts_are_skipped(path: Path, amount: Any) -> None:
    lines, summary = read(one(path, amount=amount))
    assert [line.number for line in lines] == [3]
    assert summary.skipped[0].column == "Сумма операции (т)"


@pytest.mark.parametrize(
    ("ref", "meant"),
    [(12800000001, "12800000001"), (12800000001.0, "12800000001"), ("12800000001", "12800000001"),
     (123456789012345, "123456789012345"), ("12345678901234567890", "12345678901234567890")],
)  # fmt: skip
def test_operation_numbers_are_exact(path: Path, ref: Any, meant: str) -> None:
    lines, _ = read(one(path, ref=ref))
    assert lines[0].ref == meant


@pytest.mark.parametrize("ref", [1234567890123456, 1.2345678901234567e18, 1.5, -5, True])
def test_operation_numbers_that_lost_digits_are_refused(path: Path, ref: Any) -> None:
    lines, summary = read(one(path, ref=ref))
    assert [line.number for line in lines] == [3]
    assert summary.skipped[0].column == "Номер заказа (ID/RRN)"


def test_number_in_scientific_form_is_exact(path: Path) -> None:
    one(path, ref=777)
    repacked(path, {SHEET: lambda old: old.replace(b"<v>777</v>", b"<v>1.2800000777E10</v>")})
    lines, _ = read(path)
    assert lines[0].ref == "12800000777"


@pytest.mark.parametrize(
    ("day", "clock"),
    [
        (datetime(2026, 10, 1, 12, 1, 5), None),  # noqa: DTZ001
        (datetime(2026, 10, 1), time(12, 1, 5)),  # noqa: DTZ001
        (datetime(2026, 10, 1).date(), "12:01:05"),  # noqa: DTZ001
        ("01.10.2026", time(12, 1, 5)),
        ("01.10.2026 12:01:05", None),
        (46296.50075231482, None),
        (46296, 0.50075231482),
        (46296, timedelta(hours=12, minutes=1, seconds=5)),
    ],
)
def test_dates_as_cells_serials_and_text(path: Path, day: Any, clock: Any) -> None:
    lines, summary = read(one(path, day=day, time=clock))
    assert lines[0].at == datetime(2026, 10, 1, 7, 1, 5, tzinfo=UTC), summary.skipped


def test_workbook_counting_from_1904_is_refused(path: Path) -> None:
    one(path)
    book = openpyxl.load_workbook(io.BytesIO(path.read_bytes()))
    book.epoch = CALENDAR_MAC_1904
    book.save(path)
    assert "1904" in refused(path).message


def test_formula_without_result_is_skipped(path: Path) -> None:
    lines, summary = read(one(path, amount="=24000*1", net="=A1"))
    assert [line.number for line in lines] == [3]
    assert "formula without its result" in summary.skipped[0].reason


def test_formula_with_result_is_read(path: Path) -> None:
    one(path, amount="=24000*1", net=None)
    for empty in (b"<v></v>", b"<v />"):
        repacked(path, {SHEET: lambda old, empty=empty: old.replace(empty, b"<v>24000</v>")})
    lines, summary = read(path)
    assert lines[0].money == Money(Decimal(24000), Currency.KZT), summary.skipped


def test_hidden_sheets_are_not_read_and_are_noted(path: Path) -> None:
    old = [HEADS, kaspi(5)]
    workbook({"Черновик": old, "Отчёт": [HEADS, kaspi(1)]}, path, hidden=["Черновик"])
    lines, summary = read(path)
    assert [line.ref for line in lines] == ["12800000001"]
    assert summary.notes == ["the hidden sheet “Черновик” was not read"]
    mapping = path.with_suffix(".toml")
    mapping.write_text('sheet = "Черновик"\n[columns]\ndate = "Дата операции"\ntime = "Время"\n'
                       'type = "Тип операции"\namount = "Сумма операции (т)"\n', "utf-8")  # fmt: skip
    lines, _ = read(path, mapping=mapping)
    assert len(lines) == 1


def test_two_sheets_with_statements_are_refused(path: Path) -> None:
    workbook({"Касса 1": [HEADS, kaspi(1)], "Касса 2": [HEADS, kaspi(2)], "О файле": [["x", "y"]]}, path)
    error = refused(path)
    assert "“Касса 1”, “Касса 2”" in error.message
    assert "sheet" in str(error.next_step)


def test_stripe_in_a_workbook(path: Path) -> None:
    row = stripe(1, gross=50.0, fee=1.75, net=48.25, created_utc=datetime(2026, 10, 1, 7, 1))  # noqa: DTZ001
    lines, _ = read(workbook({"1": [STRIPE, row]}, path))
    assert (lines[0].payment_ref, lines[0].money) == ("pi_1", Money(Decimal(50), Currency.USD))
    assert lines[0].at == datetime(2026, 10, 1, 7, 1, tzinfo=UTC)


def test_repeated_line_of_numeric_cells_counts_once(path: Path) -> None:
    same = {"ref": 12800000001, "amount": 24000}
    workbook({"1": [HEADS, kaspi(1, **same), kaspi(1, **same), kaspi(2)]}, path)
    lines, summary = read(path)
    assert ([line.number for line in lines], summary.repeated_count) == ([2, 4], 1)


def test_rows_without_their_last_cells(path: Path) -> None:
    """They take part in the checks of the whole file: what is there twice, and what a comma means."""
    empty = {"fee": None, "net": None}
    rows = [
        kaspi(1, **empty), kaspi(2, **empty), kaspi(3, **empty), kaspi(2, **empty),
        kaspi(3, amount="5 000,00", **empty), kaspi(4, amount="24,000", **empty),
    ]  # fmt: skip
    workbook({"Отчет": [HEADS, *rows]}, path)
    lines, summary = read(path)
    assert [line.number for line in lines] == [2, 3, 4, 7]
    assert lines[-1].money.amount == Decimal(24)
    assert [(each.line, each.first_line) for each in summary.repeated] == [(5, 3)]
    assert [(each.line, "already on line 4" in each.reason) for each in summary.skipped] == [(6, True)]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"xl/vbaProject.bin": b"x"}, "macros"),
        ({"xl/workbook.bin": b"x"}, ".xlsb"),
        ({SHEET: b"<worksheet><sheetData>"}, "damaged"),
        ({"xl/workbook.xml": b"\x00\x01"}, "damaged"),
        ({SHEET: "<a/>".encode("utf-16")}, "damaged"),
    ],
)
def test_unsupported_workbooks_are_refused(path: Path, change: dict[str, Any], word: str) -> None:
    assert word in refused(repacked(one(path), change)).message


def test_other_archives_are_named(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("export.csv", "a;b")
    assert "ZIP archive" in refused(path).message
    path.write_bytes(path.read_bytes()[:-30])
    assert "damaged" in refused(path).message
    path.write_bytes(one(path).read_bytes()[:2000])
    assert "damaged" in refused(path).message


def test_bombs_are_not_unpacked(path: Path) -> None:
    repacked(one(path), {"xl/media/image1.png": b"\x00" * (RULES.most_in_others + 1)})
    assert path.stat().st_size < 1_000_000
    assert "too large" in refused(path).message
    long_text = b"<worksheet><sheetData><row><c t='inlineStr'><is><t>" + b"a" * 300_000
    assert "cell of the workbook" in refused(repacked(one(path), {SHEET: long_text})).message
    wide = b"<worksheet><sheetData><row>" + b"<c><v>1</v></c>" * 300_000
    assert "row of the workbook" in refused(repacked(one(path), {SHEET: wide})).message
    laughs = b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY a%d "%s">' % (n, b"&a%d;" % (n - 1) * 10 if n > 1 else b"&a;" * 10) for n in range(1, 9)
    )
    laughs += (
        b"]><worksheet><sheetData><row r='1'><c r='A1' t='str'><v>&a8;</v></c></row></sheetData></worksheet>"
    )
    refused(repacked(one(path), {SHEET: laughs}))


@pytest.mark.parametrize(("row", "word"), [(b"20000", "empty rows"), (b"900000000", "more rows")])
def test_distant_row_numbers_are_refused(path: Path, row: bytes, word: str) -> None:
    far = lambda old: old.replace(b'<row r="3"', b'<row r="' + row + b'"')  # noqa: E731
    assert word in refused(repacked(one(path), {SHEET: far})).message
