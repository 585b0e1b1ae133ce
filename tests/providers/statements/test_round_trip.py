"""Statements in random layouts are read back; damaged ones give lines or an error, nothing else."""

from __future__ import annotations

import csv
import io
import random
import time
import zipfile
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from tests.support.hostile import many, with_cells
from tests.support.statement_files import HEADS, STRIPE, kaspi, read, stripe, text, workbook

_ALMATY = ZoneInfo("Asia/Almaty")
_NAMES = {
    "ref": ["Номер заказа (ID/RRN)", "НОМЕР ОПЕРАЦИИ", "№ операции", "Операция нөмірі", "Transaction ID"],
    "day": ["Дата операции", "Операция күні", "дата"],
    "time": ["Время", "Время операции", "Уақыты"],
    "type": ["Тип операции", "Операция түрі", "Вид  операции"],
    "amount": ["Сумма операции (т)", "Сумма операции, тг", "Операция сомасы", "Сумма"],
    "net": ["Сумма к зачислению/ списанию (т)", "К зачислению"],
}
_line = st.builds(
    lambda number, kind, cents, fee, second: StatementLine(
        number=0,
        kind=kind,
        ref=str(number),
        at=datetime(2022, 1, 1, tzinfo=UTC) + timedelta(seconds=second),
        money=Money(Decimal(cents).scaleb(-2), Currency.KZT),
        fee=Decimal(fee).scaleb(-2),
        net=Decimal(cents - fee if kind is LineKind.PAYMENT else -cents - fee).scaleb(-2),
    ),
    st.integers(1, 10**15 - 1),
    st.sampled_from([LineKind.PAYMENT, LineKind.REFUND]),
    st.integers(10_000, 9_999_999_999),
    st.integers(0, 10_000),
    st.integers(0, 150_000_000),
)
_lines = st.lists(_line, min_size=1, max_size=8, unique_by=lambda line: line.ref)


@st.composite
def _layouts(draw: st.DrawFn) -> dict[str, Any]:
    columns = draw(st.permutations(sorted(_NAMES)))
    return {
        "columns": columns,
        "headers": [draw(st.sampled_from(_NAMES[column])) for column in columns],
        "title": draw(st.integers(0, 5)),
        "decimal": draw(st.sampled_from([".", ","])),
        "thousands": draw(st.sampled_from(["", " ", "\u00a0", "'"])),
        "encoding": draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "kz1048"])),
        "delimiter": draw(st.sampled_from([";", "\t", "|", ","])),
        "iso": draw(st.booleans()),
        "quoted": draw(st.booleans()),
    }


def _cell(line: StatementLine, column: str, layout: dict[str, Any]) -> str:
    local = line.at.astimezone(_ALMATY)
    if column == "day":
        return f"{local:%Y-%m-%d}" if layout["iso"] else f"{local:%d.%m.%Y}"
    if column == "amount":
        return _amount(line.money.amount, layout)
    if column == "net":
        return _amount(line.net or Decimal(0), layout)
    word = "Покупка" if line.kind is LineKind.PAYMENT else "возврат"
    return {"ref": line.ref, "time": f"{local:%H:%M:%S}", "type": word}[column]


def _amount(value: Decimal, layout: dict[str, Any]) -> str:
    return f"{value:,.2f}".replace(",", "t").replace(".", layout["decimal"]).replace("t", layout["thousands"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=_lines, layout=_layouts())
def test_statement_in_any_layout_is_read_back(
    tmp_path: Path, lines: list[StatementLine], layout: dict[str, Any]
) -> None:
    # an hour that came twice has no one meaning
    lines = [each for each in lines if not _came_twice(each.at)]
    out = io.StringIO(newline="")
    quoting = csv.QUOTE_ALL if layout["quoted"] else csv.QUOTE_MINIMAL
    writer = csv.writer(out, delimiter=layout["delimiter"], quoting=quoting)
    writer.writerows([["", "Отчёт"]] * layout["title"])
    writer.writerow(layout["headers"])
    writer.writerows([[_cell(line, column, layout) for column in layout["columns"]] for line in lines])
    path = tmp_path / "f"
    path.write_bytes(out.getvalue().encode(layout["encoding"]))
    found, summary = read(path)
    assert not summary.needs_person, summary.skipped
    assert [(e.kind, e.ref, e.at, e.money, e.fee, e.net) for e in found] == [
        (e.kind, e.ref, e.at, e.money, e.fee, e.net) for e in lines
    ]


def _came_twice(at: datetime) -> bool:
    local = at.astimezone(_ALMATY).replace(tzinfo=None)
    return len({local.replace(tzinfo=_ALMATY, fold=fold).utcoffset() for fold in (0, 1)}) > 1


_WORTHY = [
    b'"', b"\n", b"\r", b";", b",", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b"\xd0", b"\x98", b"-",
    "Итого".encode(), b"1e999", "№".encode(), b"   ", b"sep=;\n", b"NaN", b"\x1c", b"'" * 40,
    "٣".encode(), b"9" * 400,
]  # fmt: skip


def _damaged(whole: bytes, chance: random.Random) -> bytes:
    content = bytearray(whole)
    for _ in range(chance.randrange(1, 6)):
        at, length = chance.randrange(len(content) + 1), chance.randrange(1, 40)
        match chance.randrange(6):
            case 0:
                del content[at : at + length]
            case 1:
                content[at:at] = chance.choice(_WORTHY)
            case 2:
                content[at : at + length] = chance.randbytes(length)
            case 3:
                del content[at:]
            case 4:
                content[at:at] = content[:length]
            case _:
                content[at : at + 1] = bytes([chance.randrange(256)])
    return bytes(content)


def _survives(path: Path) -> None:
    began = time.monotonic()
    for provider in (None, "kaspi", "stripe"):
        lines: list[StatementLine] = []
        with suppress(InvalidFile):
            lines, _ = read(path, provider=provider)
        for line in lines:
            assert line.money.amount.is_finite()
            assert line.at.tzinfo is not None
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("kind", ["kaspi", "cp1251", "utf-16", "stripe"])
def test_damaged_text_gives_lines_or_an_error(tmp_path: Path, kind: str) -> None:
    chance = random.Random(kind)
    rows = [HEADS, *[kaspi(n) for n in range(1, 6)], ["Итого"]]
    whole = {
        "kaspi": text(rows).encode(),
        "cp1251": text(rows).encode("cp1251"),
        "utf-16": text(rows).encode("utf-16"),
        "stripe": text([STRIPE, *[stripe(n) for n in range(1, 6)]], ",").encode(),
    }[kind]
    path = tmp_path / "f"
    for _ in range(120):
        path.write_bytes(_damaged(whole, chance))
        _survives(path)


def test_damaged_workbook_gives_lines_or_an_error(tmp_path: Path) -> None:
    chance = random.Random("workbook")
    path = workbook({"Отчёт": [HEADS, kaspi(1, amount=24000, ref=12800000001), kaspi(2)]}, tmp_path / "f")
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    for turn in range(60):
        if turn % 3 == 0:
            path.write_bytes(_damaged(whole, chance))
        else:
            # damage inside of a part: the archive itself is sound
            name = chance.choice([each for each in parts if each.startswith("xl/")])
            with zipfile.ZipFile(path, "w") as archive:
                for each, content in parts.items():
                    archive.writestr(each, _damaged(content, chance) if each == name else content)
        _survives(path)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=400))
def test_random_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    with pytest.raises(InvalidFile):
        read(path)


@pytest.mark.parametrize("kind", ["kaspi", "stripe"])
@many
@given(data=st.data())
def test_a_statement_of_any_cells_gives_lines_or_is_refused(
    tmp_path: Path, kind: str, data: st.DataObject
) -> None:
    rows = [HEADS, kaspi(1), kaspi(2, type="Возврат")] if kind == "kaspi" else [STRIPE, stripe(1), stripe(2)]
    path = tmp_path / "f"
    path.write_bytes(text(data.draw(with_cells(rows))).encode("utf-8", "replace"))
    _survives(path)
