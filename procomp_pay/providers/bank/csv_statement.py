"""Read a bank's CSV by a mapping of its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from procomp_pay.domain.errors import InvalidFile
from procomp_pay.domain.payouts import BankLine
from procomp_pay.domain.text import N_
from procomp_pay.providers.bank.values import AGAIN, BankFile, day_of, money
from procomp_pay.providers.tabular.csv_file import DELIMITERS, CsvFile
from procomp_pay.providers.tabular.file_type import is_workbook
from procomp_pay.providers.tabular.rules import FileRules

#: Our names of columns.
COLUMNS = ("date", "amount", "credit", "debit", "currency", "number", "party", "purpose")
_MAP = "--columns date=Дата,credit=Кредит,debit=Дебет,purpose=Назначение"
_RULES = FileRules(
    save_again=AGAIN,
    right_format=N_("export it as 1C text or MT940, or as CSV, and name its columns: %(map)s", map=_MAP),
    most_in_sheets=0,
    most_in_others=0,
    longest_line=65_536,
)


def read_csv(path: Path, account: str | None, columns: Mapping[str, str] | None) -> BankFile:
    """Read a whole file.

    :raises InvalidFile: no mapping or account was given, a column is missing, or a line cannot be read.
    """
    with path.open("rb") as file:
        if is_workbook(file, _RULES):
            raise InvalidFile(N_("The file is a workbook"), next_step=_RULES.right_format)
    if not columns:
        raise InvalidFile(
            N_("The file is neither 1C text nor MT940; the columns of a CSV file must be named"),
            next_step=N_("add: %(map)s", map=_MAP),
        )
    if account is None:
        raise InvalidFile(
            N_("A CSV file does not say which account it is of"), next_step=N_("add: --account NUMBER")
        )
    if "date" not in columns or not {"amount", "credit", "debit"} & set(columns):
        raise InvalidFile(
            N_("--columns needs date, and amount or credit and debit"),
            next_step=N_("as in %(map)s", map=_MAP),
        )
    with path.open("rb") as file:
        table = CsvFile(file, _RULES)
        delimiter, head, places = _head(table, columns)
        lines = []
        for number, cells in table.rows(delimiter, _broken):
            if number <= head or not any(cell.strip() for cell in cells):
                continue
            lines.append(_line(number, cells, places, account))
        kind = f"{table.describe(delimiter)} of {', '.join(sorted(columns))}"
        return BankFile(account, kind, lines)


def _broken(line: int, why: str) -> None:
    raise InvalidFile(why, next_step=AGAIN, line=line)


def _head(table: CsvFile, columns: Mapping[str, str]) -> tuple[str, int, dict[str, int]]:
    """Return the delimiter, the line of the head and the place of each column."""
    wanted = {ours: theirs.strip().casefold() for ours, theirs in columns.items()}
    for delimiter in DELIMITERS:
        for number, cells in table.rows(delimiter, lambda *_: None):
            names = [cell.strip().casefold() for cell in cells]
            if all(theirs in names for theirs in wanted.values()):
                return delimiter, number, {ours: names.index(theirs) for ours, theirs in wanted.items()}
            if number > 100:
                break
    raise InvalidFile(
        N_("No line of the file has all of the columns %(columns)s", columns=", ".join(columns.values())),
        next_step=N_("write them as the file does, as in %(map)s", map=_MAP),
    )


def _line(number: int, cells: list[str], places: dict[str, int], account: str) -> BankLine:
    def cell(name: str) -> str:
        place = places.get(name)
        if place is None:
            return ""
        if place >= len(cells):
            raise InvalidFile(
                N_("the line has too few cells: the file was cut"), next_step=AGAIN, line=number
            )
        return cells[place].strip()

    if "amount" in places:
        amount = money(cell("amount"), number)
    else:
        # banks write debits with or without a minus; a credit with one is taken back
        amount = money(cell("credit") or "0", number) - abs(money(cell("debit") or "0", number))
    return BankLine(
        account,
        day_of(cell("date"), number),
        amount,
        (cell("currency") or "KZT").upper(),
        cell("number"),
        cell("party"),
        cell("purpose"),
    )
