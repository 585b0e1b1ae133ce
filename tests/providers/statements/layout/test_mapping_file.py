"""Mapping files: an unknown layout described in TOML."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from procomp_pay.domain.errors import InvalidFile, InvalidStatement
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.reconciliation.statement_line import LineKind
from tests.support.statement_files import read

MAPPING = """
provider = "kaspi"
date = "%Y/%d/%m %H-%M"
decimal = ","
encoding = "cp866"
delimiter = ";"

[columns]
operation = "Квитанция"
date = "Когда"
amount = "Сколько"
type = "Что"

[types]
payment = ["приход"]
refund = ["расход", "откат"]
other = ["сбор"]
"""
FILE = "Когда;Сколько;Что;Квитанция\n2026/01/10 12-01;24,000;ПРИХОД;71\n2026/02/10 12-02;5;откат;72\n"


@pytest.fixture
def try_it(tmp_path: Path) -> Callable[..., Path]:
    def write(text: str, name: str = "ours.toml", encoding: str = "utf-8") -> Path:
        (tmp_path / name).write_bytes(text.encode(encoding))
        return tmp_path / name

    return write


def test_unknown_layout_is_read_with_a_mapping(try_it: Callable[..., Path]) -> None:
    lines, summary = read(try_it(FILE, "f.csv", "cp866"), mapping=try_it(MAPPING))
    assert [(line.kind, line.ref, line.money) for line in lines] == [
        (LineKind.PAYMENT, "71", Money(Decimal(24), Currency.KZT)),
        (LineKind.REFUND, "72", Money(Decimal(5), Currency.KZT)),
    ]
    assert lines[0].at == datetime(2026, 10, 1, 7, 1, tzinfo=UTC)
    assert not summary.needs_person


def test_every_line_currency_and_zone_settings(try_it: Callable[..., Path]) -> None:
    mapping = 'every_line = "payment"\ncurrency = "USD"\nzone = "UTC"\n[columns]\ndate = "A"\namount = "B"\n'
    lines, _ = read(try_it("A,B\n2026-10-01 12:01,50.00\n", "f.csv"), mapping=try_it(mapping))
    assert lines[0].money == Money(Decimal(50), Currency.USD)
    assert lines[0].at == datetime(2026, 10, 1, 12, 1, tzinfo=UTC)
    assert lines[0].ref == ""


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ('provider = "kaspi"', 'provider = "visa"', "provider must be one of"),
        ('provider = "kaspi"', 'provder = "kaspi"', "“provder”"),
        ('provider = "kaspi"', "provider = 5", "text in quotes"),
        ('provider = "kaspi"', 'provider = "stripe"', "no currency column"),
        ('decimal = ","', 'decimal = "x"', "decimal must be one of"),
        ('delimiter = ";"', 'delimiter = "ab"', "delimiter must be one of"),
        ('encoding = "cp866"', 'encoding = "rot13"', "encoding must be one of"),
        ('date = "%Y', 'zone = "Mars/Base"\ndate = "%Y', "is not a time zone"),
        ('date = "%Y', 'currency = "GBP"\ndate = "%Y', "currency must be one of"),
        ('date = "%Y/%d', 'date = "%Y', "a day, month and year"),
        ('date = "Когда"', "", "the date column is missing"),
        ('date = "Когда"', 'dat = "Когда"', "no column role “dat”"),
        ('date = "Когда"', 'date = "Сколько"', "two roles"),
        ('operation = "Квитанция"', 'operation = ["x"]', "text in quotes"),
        ("[columns]", "[columns", "it is not valid TOML"),
        ('payment = ["приход"]', 'income = ["приход"]', "no line kind “income”"),
        ('payment = ["приход"]', 'payment = "приход"', "a list of words"),
        ('other = ["сбор"]', 'other = ["Приход"]', "two kinds"),
        ("[types]", "[types]\n[more]", "no setting “more”"),
        ('operation = "Квитанция"\n', 'operation = "Другое"\n', "has all the headers"),
    ],
)
def test_wrong_mapping_names_its_mistake(
    try_it: Callable[..., Path], before: str, after: str, word: str
) -> None:
    assert before in MAPPING
    with pytest.raises(InvalidStatement) as caught:
        read(try_it(FILE, "f.csv", "cp866"), mapping=try_it(MAPPING.replace(before, after)))
    assert word in caught.value.message
    assert caught.value.next_step


def test_unreadable_or_incomplete_mapping_is_refused(try_it: Callable[..., Path], tmp_path: Path) -> None:
    file = try_it(FILE, "f.csv", "cp866")
    for mapping, why in (
        (tmp_path / "missing.toml", "There is no file .*missing.toml"),
        (tmp_path, "cannot be read: Is a directory"),
        (try_it("x" * 70_000, "long"), "mapping cannot be used: it is larger"),
        (try_it("ю", "odd", encoding="cp1251"), "mapping cannot be used: it is not UTF-8"),
    ):
        with pytest.raises(InvalidFile, match=why):
            read(file, mapping=mapping)
    only = try_it('[columns]\ndate = "Когда"\namount = "Сколько"\n')
    with pytest.raises(InvalidStatement, match="neither a type nor an operation"):
        read(file, mapping=only)
    with pytest.raises(InvalidStatement, match="is for statements of kaspi"):
        read(file, mapping=try_it(MAPPING), provider="stripe")


def test_mapped_header_that_appears_twice_is_refused(try_it: Callable[..., Path]) -> None:
    file = try_it(FILE.replace("Квитанция", "Когда"), "f.csv", "cp866")
    with pytest.raises(InvalidStatement, match="appears 2 times"):
        read(file, mapping=try_it(MAPPING.replace('operation = "Квитанция"\n', "")))
