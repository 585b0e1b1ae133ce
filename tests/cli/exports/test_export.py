"""``export``: the same rows in every format, amounts to the tiyn, and nothing that runs as a formula."""

from __future__ import annotations

import csv
import io
import json
from decimal import Decimal
from pathlib import Path

import openpyxl
import pytest

from procomp_pay.services.exports.movements import COLUMNS
from tests.support.report_books import random_books
from tests.support.terminal import CommandLine

_NAMES = [
    '=HYPERLINK("http://evil.example")',
    "@SUM(A1)",
    "-2+3",
    "Құдайбергенұлы Ә",
    "КонецДокумента\r\nСумма=9",
]


@pytest.fixture
def finance(sqlite_url: str, bare_environment: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    monkeypatch.setenv("DATABASE_URL", sqlite_url)
    books = random_books(7, 70)
    books.name_participants(_NAMES)
    return books.clerk(bare_environment, sqlite_url)


def test_every_format_has_the_same_rows(finance: CommandLine, tmp_path: Path) -> None:
    finance.type("export", "payments", "--output", "p.csv")
    finance.type("export", "payments", "--format", "xlsx", "-o", "p.xlsx")
    document = json.loads(finance.type("export", "payments", "--format", "json").out)
    assert (tmp_path / "p.csv").stat().st_mode & 0o777 == 0o600
    text = (tmp_path / "p.csv").read_bytes().decode("utf-8-sig")
    table = list(csv.DictReader(io.StringIO(text)))
    assert tuple(table[0]) == COLUMNS
    assert len(table) == len(document["rows"]) > 20
    for in_csv, in_json in zip(table, document["rows"], strict=True):
        assert in_csv["gross"] == in_json["gross"]
        assert in_csv["participant"].lstrip("'") == in_json["participant"].replace("\r\n", "\ufffd\ufffd")
    assert not [
        v
        for row in table
        for n, v in row.items()
        if n not in {"gross", "fee", "net"} and v[:1] in "=+-@" and v
    ]
    refunds = list(csv.DictReader(io.StringIO(finance.type("export", "refunds").out)))
    assert {row["gross"][0] for row in refunds} == {"-"}  # an amount with a sign stays a number
    sheet = openpyxl.load_workbook(tmp_path / "p.xlsx")["Export"]
    head, *rows = sheet.iter_rows()
    place = [cell.value for cell in head].index("gross")
    assert [Decimal(str(row[place].value)).quantize(Decimal("0.01")) for row in rows] == [
        Decimal(row["gross"]) for row in table
    ]
    assert {cell.data_type for row in rows for cell in row} <= {"s", "n", "d"}
    assert sheet.auto_filter.ref == f"A1:S{len(rows) + 1}"


def test_a_file_for_1c_adds_up_and_cannot_be_broken_by_a_name(finance: CommandLine, tmp_path: Path) -> None:
    output = finance.type(
        "export", "payments", "--format", "1c", "--account", "KZ12722S000001234567", "-o", "kl.txt"
    )
    assert "other currencies" in output.err
    text = (tmp_path / "kl.txt").read_bytes().decode("cp1251")
    lines = text.split("\r\n")
    assert lines[0] == "1CClientBankExchange"
    assert lines[-2:] == ["КонецФайла", ""]
    sums = [Decimal(line.partition("=")[2]) for line in lines if line.startswith("СуммаПриход=")]
    total = next(line for line in lines if line.startswith("ВсегоПоступило=")).partition("=")[2]
    assert sum(sums) == Decimal(total)
    assert lines.count("КонецДокумента") == len(sums) > 5
    assert "Кудайбергенулы А" in text  # cp1251 has no Kazakh letters
    document = json.loads(finance.type("export", "payments", "--format", "json").out)
    assert sum(sums) == sum(Decimal(r["gross"]) for r in document["rows"] if r["currency"] == "KZT")


def test_what_cannot_be_written_is_refused_before_anything_is_read(finance: CommandLine) -> None:
    assert "--account" in finance.type("export", "refunds", "--format", "1c", code=3).err
    finance.type("export", "refunds", "-o", "r.csv")
    assert "exists already" in finance.type("export", "refunds", "-o", "r.csv", code=3).err
    finance.type("export", "refunds", "-o", "r.csv", "--force")
