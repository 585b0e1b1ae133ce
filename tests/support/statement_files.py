"""Write statements as the providers export them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import openpyxl

from procomp_pay.domain.reconciliation.statement_line import StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementSummary
from procomp_pay.providers.statements.reader import open_statement

HEADS = [
    "#", "Номер заказа (ID/RRN)", "Адрес точки продаж", "Дата операции", "Время", "Дата учета операции",
    "№ документа покупки/возврата", "Тип операции", "Тип оплаты", "Сумма операции (т)",
    "Комиссия за операции (т)", "Сумма к зачислению/ списанию (т)",
]  # fmt: skip
STRIPE = [
    "balance_transaction_id", "created_utc", "created", "currency", "gross", "fee", "net",
    "reporting_category", "source_id", "description", "charge_id", "payment_intent_id",
]  # fmt: skip
Table = Sequence[Sequence[Any]]


def kaspi(number: int = 1, **changes: Any) -> list[Any]:
    """Return a line of Kaspi Pay's report; ``changes`` are by header."""
    cells = dict(
        zip(
            HEADS,
            [
                str(number), f"1280000000{number}", "пр. Абая 44", "01.10.2026", f"12:0{number}:00",
                "02.10.2026", "", "Покупка", "Kaspi Gold", "24 000,00", "228,00", "23 772,00",
            ],
            strict=True,
        )
    )  # fmt: skip
    names = {
        "ref": HEADS[1], "day": HEADS[3], "time": HEADS[4], "document": HEADS[6], "type": HEADS[7],
        "amount": HEADS[9], "fee": HEADS[10], "net": HEADS[11], "row": HEADS[0],
    }  # fmt: skip
    return list((cells | {names[name]: value for name, value in changes.items()}).values())


def stripe(number: int = 1, **changes: Any) -> list[Any]:
    """Return a line of Stripe's balance report; ``changes`` are by header."""
    at = f"2026-10-01 07:0{number}:00"
    cells = dict(
        zip(
            STRIPE,
            [
                f"txn_{number}", at, at, "usd", "50.00", "1.75", "48.25", "charge", f"ch_{number}",
                "Entry fee", f"ch_{number}", f"pi_{number}",
            ],
            strict=True,
        )
    )  # fmt: skip
    return list((cells | changes).values())


def text(rows: Table, delimiter: str = ";", end: str = "\r\n") -> str:
    """Return rows as CSV."""
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter, lineterminator=end).writerows(rows)
    return out.getvalue()


def workbook(sheets: dict[str, Table], path: Path, hidden: Iterable[str] = ()) -> Path:
    """Write an XLSX file with these sheets."""
    book = openpyxl.Workbook()
    book.remove(book.active)  # type: ignore[arg-type]
    for title, rows in sheets.items():
        sheet = book.create_sheet(title)
        for row in rows:
            sheet.append(list(row))
        if title in hidden:
            sheet.sheet_state = "hidden"
    book.save(path)
    return path


def read(path: Path, **how: Any) -> tuple[list[StatementLine], StatementSummary]:
    """Return all lines and the summary."""
    with open_statement(path, **how) as statement:
        return list(statement), statement.summary
