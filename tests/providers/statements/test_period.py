"""The period that a statement itself names."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from procomp_pay.providers.statements.reader import open_statement
from tests.support.statement_files import HEADS, STRIPE, kaspi, stripe, text, workbook

OCTOBER = ("2026-09-30T19:00", "2026-10-31T19:00")


@pytest.mark.parametrize(
    ("above", "period"),
    [
        (["Период: 2026-10-01 00:00:00 - 2026-10-31 23:59:59"], OCTOBER),
        (["", "Период", "01.10.2026 - 31.10.2026"], OCTOBER),
        (["Период:", "с 1.10.2026 00:00 по 31.10.2026 23:59"], OCTOBER),
        (["ПЕРИОД 01.10.2026 — 01.11.2026 00:00"], OCTOBER),
        (["Кезең: 2026-10-01 - 2026-10-31"], OCTOBER),
        (["Период 01.10.2026"], ("2026-09-30T19:00", "2026-10-01T19:00")),
        (["Период 01.10.2026 08:00 - 01.10.2026 18:30"], ("2026-10-01T03:00", "2026-10-01T13:30")),
        (["Период 31.10.2026 - 01.10.2026"], None),
        (["Период 31.02.2026 - 01.10.2026"], None),
        (["Периодичность 01.10.2026 - 31.10.2026"], None),
        (["Напечатано 01.11.2026"], None),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_kaspis_title_names_the_period(
    tmp_path: Path, above: list[str], period: tuple[str, str] | None, kind: str
) -> None:
    rows = [["", "Детальная информация по операциям"], above, [], HEADS, kaspi(1)]
    path = tmp_path / f"k.{kind}"
    if kind == "csv":
        path.write_text(text(rows), encoding="utf-8-sig", newline="")
    else:
        workbook({"Отчет": rows}, path)
    with open_statement(path) as statement:
        stated = statement.period
    assert period == (stated and (f"{stated.since:%Y-%m-%dT%H:%M}", f"{stated.until:%Y-%m-%dT%H:%M}"))


@pytest.mark.parametrize(
    ("name", "since"),
    [
        ("Itemized_balance_change_from_activity_USD_2026-10-01_to_2026-10-31_Asia-Almaty.csv", 30),
        ("Itemized_balance_change_from_activity_charge_USD_2026-10-01_to_2026-10-31_UTC.csv", 1),
        ("Itemized_balance_change_from_activity_USD_2026-10-01_to_2026-10-31.csv", 1),
        ("balance.csv", None),
    ],
)
def test_stripe_names_the_period_in_the_files_name(tmp_path: Path, name: str, since: int | None) -> None:
    path = tmp_path / name
    path.write_text(text([STRIPE, stripe(1)], ","), newline="")
    with open_statement(path) as statement:
        assert (statement.period and statement.period.since.day) == since
        if statement.period:
            assert statement.period.until - statement.period.since == timedelta(days=31)


def test_zone_of_stripes_days(tmp_path: Path) -> None:
    path = tmp_path / "balance.csv"
    for created, zone in (("2026-10-01 07:01:00", "UTC"), ("2026-10-01 12:01:00", "Asia/Almaty")):
        path.write_text(text([STRIPE, stripe(1, created=created)], ","), newline="")
        with open_statement(path) as statement:
            assert statement.day_zone.key == zone
            assert [line.at for line in statement] == [datetime(2026, 10, 1, 7, 1, tzinfo=UTC)]
