"""The fast reader gives the same lines and summary as the ordinary one, or leaves the file to it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.reconciliation.statement_line import LineKind, NotPlain, StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementSummary
from procomp_pay.providers.statements.reader import open_statement
from tests.support.statement_files import HEADS, STRIPE, Table, kaspi, read, stripe, text

ROWS = 1500  # more than one block


def both(
    path: Path, rows: Table, *, delimiter: str = ";", end: str = "\r\n", tail: str = ""
) -> StatementSummary:
    """Write a file, compare both readers on it, and return the summary."""
    path.write_text(text(rows, delimiter, end) + tail, newline="")
    return same(path)


def same(path: Path) -> StatementSummary:
    slow, summary = read(path)
    with open_statement(path, looks=False) as statement:
        quick, seen = by_blocks(statement.quick()), statement.summary
    assert sorted(quick) == sorted(map(staged, slow))
    assert (seen.counts, seen.sums, seen.first_at, seen.last_at) == (
        summary.counts, summary.sums, summary.first_at, summary.last_at,
    )  # fmt: skip
    assert (seen.skipped, seen.repeated, seen.totals, seen.notes) == (
        summary.skipped, summary.repeated, summary.totals, summary.notes,
    )  # fmt: skip
    return seen


def staged(line: StatementLine) -> tuple[object, ...]:
    """Return the fields that are staged for the comparison."""
    return (line.number, line.kind, line.ref, line.payment_ref or line.ref, line.at, line.money.amount,
            line.money.currency, line.fee, line.net)  # fmt: skip


def by_blocks(quick: object) -> list[tuple[object, ...]]:
    found: list[tuple[object, ...]] = []
    for block in quick.blocks():  # type: ignore[attr-defined]
        rows = zip(block.numbers, block.refs, block.matches, block.times, block.words, strict=True)
        for number, ref, match, at, words in rows:
            amounts = block.shared[words]
            assert amounts.fee is None or block.has_fees
            time = datetime.fromisoformat(at)
            money = amounts.money
            found.append((number, amounts.kind, ref, match, time, money.amount, money.currency,
                          amounts.fee, amounts.net))  # fmt: skip
    assert found, "nothing was plain"
    found += [staged(each) for each in quick.others()]  # type: ignore[attr-defined]
    quick.check()  # type: ignore[attr-defined]
    return found


def kaspi_rows(count: int = ROWS) -> list[list[str]]:
    start = datetime(2026, 10, 1, 0, 0, 7)  # noqa: DTZ001 - as the file says it
    rows = []
    for number in range(count):
        at = start + timedelta(seconds=97 * number)
        changes = {"day": f"{at:%d.%m.%Y}", "time": f"{at:%H:%M:%S}", "ref": f"128{number:09}"}
        rows.append(kaspi(number, **changes))
    return rows


def stripe_rows(count: int = ROWS) -> list[list[str]]:
    start = datetime(2026, 10, 1, 7, 0, 3)  # noqa: DTZ001
    rows = []
    for number in range(count):
        at = str(start + timedelta(seconds=101 * number))
        rows.append(stripe(number, created_utc=at, created=at))
    return rows


@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_plain_file_is_read_the_same_way(tmp_path: Path, end: str) -> None:
    assert both(tmp_path / "k.csv", [HEADS, *kaspi_rows()], end=end).lines == ROWS
    assert both(tmp_path / "s.csv", [STRIPE, *stripe_rows()], delimiter=",", end=end).lines == ROWS


def test_customers_amounts_are_read_the_same_way(tmp_path: Path) -> None:
    headers = [*STRIPE, "customer_facing_amount", "customer_facing_currency"]
    rows = [[*row, "50.00", "usd"] for row in stripe_rows()]
    for row in rows[::7]:
        row[3] = "eur"
    assert both(tmp_path / "s.csv", [headers, *rows], delimiter=",").lines == ROWS


def test_lines_without_their_last_cells_are_read_the_same_way(tmp_path: Path) -> None:
    """The last column is not used, so they are whole; one is there twice, and one needs the file's commas."""
    rows = [[*row, "x"] for row in kaspi_rows()]
    short = [kaspi(8, ref="77"), kaspi(8, ref="77"), kaspi(9, ref="78", amount="24,000", fee="", net="")]
    summary = both(tmp_path / "k.csv", [[*HEADS, "Кассир"], *rows, *short])
    assert (summary.repeated_count, summary.skipped_count) == (1, 0)


def odd(change: Callable[[list[list[str]]], None], rows: list[list[str]]) -> list[list[str]]:
    change(rows)
    return rows


def _cell(row: int, header: str, value: str) -> Callable[[list[list[str]]], None]:
    headers = HEADS if header in HEADS else STRIPE

    def change(rows: list[list[str]]) -> None:
        rows[row][headers.index(header)] = value

    return change


@pytest.mark.parametrize(
    "change",
    [
        _cell(7, HEADS[7], "Возврат"),
        _cell(7, HEADS[7], "Комиссия"),
        _cell(7, HEADS[7], "Чудо"),
        _cell(1100, HEADS[1], ""),
        _cell(1100, HEADS[1], "1,28E+11"),
        _cell(1100, HEADS[1], "٣٤٥"),
        _cell(1100, HEADS[1], "4" * 40),
        _cell(1100, HEADS[3], "31.02.2026"),
        _cell(1100, HEADS[3], "1.10.2026"),
        _cell(1100, HEADS[4], "24:00:00"),
        _cell(1100, HEADS[4], "12:07"),
        _cell(1100, HEADS[9], "24,000"),
        _cell(1100, HEADS[9], "-24 000,00"),
        _cell(1100, HEADS[9], "999 999 999,00"),
        _cell(1100, HEADS[9], ""),
        _cell(1100, HEADS[2], "a; quoted, cell"),
        lambda rows: rows.insert(900, list(HEADS)),
        lambda rows: rows.insert(900, []),
        lambda rows: rows[900].pop(),
        lambda rows: rows[900].append("more"),
        lambda rows: rows.append(["", "Итого", *[""] * 7, "60 000 000,00", "", ""]),
        lambda rows: rows.append(["Директор"]),
    ],
)
def test_one_unusual_kaspi_row_is_read_the_same_way(
    tmp_path: Path, change: Callable[[list[list[str]]], None]
) -> None:
    both(tmp_path / "k.csv", [HEADS, *odd(change, kaspi_rows())])


@pytest.mark.parametrize(
    "change",
    [
        _cell(7, "reporting_category", "payout"),
        _cell(7, "reporting_category", "dispute"),
        _cell(7, "reporting_category", "novelty"),
        _cell(7, "source_id", ""),
        _cell(7, "payment_intent_id", ""),
        _cell(7, "currency", "chf"),
        _cell(7, "net", "48.24"),
        _cell(7, "created_utc", "2026-10-01T07:00:00Z"),
        _cell(7, "created_utc", "2026-13-01 07:00:00"),
        _cell(7, "description", 'says "so", he'),
    ],
)
def test_one_unusual_stripe_row_is_read_the_same_way(
    tmp_path: Path, change: Callable[[list[list[str]]], None]
) -> None:
    both(tmp_path / "s.csv", [STRIPE, *odd(change, stripe_rows())], delimiter=",")


def test_last_line_without_line_end(tmp_path: Path) -> None:
    path = tmp_path / "k.csv"
    whole = text([HEADS, *kaspi_rows()])
    path.write_text(whole[:-3], newline="")  # the net's last digit is gone
    assert same(path).needs_person
    path.write_text(whole[:-30], newline="")
    with open_statement(path, looks=False) as statement, pytest.raises(InvalidFile, match="was cut"):
        by_blocks(statement.quick())


def test_partial_refunds_of_one_purchase(tmp_path: Path) -> None:
    rows = kaspi_rows()
    for number, amount in ((5, "-1 000,00"), (6, "-2 000,00"), (7, "-2 000,00")):
        rows[number] = kaspi(number, ref="128000000002", type="Возврат", amount=amount, fee="", net="")
    summary = both(tmp_path / "k.csv", [HEADS, *rows])
    assert summary.counts[LineKind.REFUND] == 3


@pytest.mark.parametrize("again", [1, 1400])
def test_repeated_line_needs_the_ordinary_reader(tmp_path: Path, again: int) -> None:
    path, rows = tmp_path / "k.csv", kaspi_rows()
    path.write_text(text([HEADS, *rows, rows[again]]), newline="")
    with open_statement(path, looks=False) as statement:
        with pytest.raises(NotPlain):
            by_blocks(statement.quick())
        assert len(list(statement)) == ROWS
        assert statement.summary.repeated_count == 1


def test_second_table_is_refused(tmp_path: Path) -> None:
    path, rows = tmp_path / "k.csv", kaspi_rows()
    rows.insert(1300, [HEADS[1], HEADS[0], *HEADS[2:]])
    path.write_text(text([HEADS, *rows]), newline="")
    with open_statement(path, looks=False) as statement, pytest.raises(InvalidFile, match="second table"):
        by_blocks(statement.quick())
