"""Write movements of money as CSV, XLSX, JSON or 1C's exchange text, row by row."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import tempfile
from collections.abc import AsyncIterator
from datetime import date, datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any

from procomp_pay.cli.framework import console
from procomp_pay.cli.reports.spreadsheet import not_a_formula
from procomp_pay.domain.errors import Refused
from procomp_pay.domain.text import N_
from procomp_pay.services.exports.movements import COLUMNS

if TYPE_CHECKING:
    from procomp_pay.domain.period import Period
    from procomp_pay.services.exports.movements import Movement

#: Columns that we write ourselves: an amount with a sign stays a number.
_AMOUNTS = frozenset({"gross", "fee", "net"})
_OURS = _AMOUNTS | {"date", "time"}
_MOST_ROWS = 1_048_575  # of a sheet, without its head
#: Letters of Kazakh that cp1251 does not have, as Russian typewriters wrote them.
_KAZAKH = str.maketrans("ӘәҒғҚқҢңӨөҰұҮүҺһ", "АаГгКкНнОоУуУуХх")


async def write_csv(stream: IO[bytes], rows: AsyncIterator[Movement], *, for_excel: bool) -> int:
    """Write CSV in UTF-8; return the number of rows.

    :param for_excel: with a byte order mark, without which Excel does not recognise UTF-8.
    """
    stream.write(b"\xef\xbb\xbf" if for_excel else b"")
    wrapper = io.TextIOWrapper(stream, "utf-8", newline="")
    writer, count = csv.writer(wrapper), 0
    writer.writerow(COLUMNS)
    async for row in rows:
        writer.writerow(
            [value if name in _OURS else not_a_formula(value) for name, value in row.values().items()]
        )
        count += 1
    wrapper.flush()
    wrapper.detach()
    return count


async def write_json(stream: IO[bytes], rows: AsyncIterator[Movement], head: dict[str, Any]) -> int:
    """Write one JSON document with ``head`` and ``rows``; amounts are texts with two decimals."""
    start = json.dumps(head, ensure_ascii=False)[:-1]
    stream.write(f'{start}, "rows": ['.encode())
    count = 0
    async for row in rows:
        stream.write(b",\n" if count else b"\n")
        stream.write(console.harmless_json(json.dumps(row.values(), ensure_ascii=False)).encode())
        count += 1
    stream.write(b"\n]}\n")
    return count


async def write_xlsx(stream: IO[bytes], rows: AsyncIterator[Movement]) -> int:
    """Write a sheet with real numbers and days, a filter and a frozen head.

    :raises Refused: there are more rows than a sheet holds.
    """
    import openpyxl
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.styles import Font
    from openpyxl.utils import get_column_letter

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Export")
    sheet.freeze_panes = "A2"
    for number, name in enumerate(COLUMNS, start=1):
        width = 28 if name in {"tournament", "participant", "provider_number", "payment_id"} else 14
        sheet.column_dimensions[get_column_letter(number)].width = width
    heads = [WriteOnlyCell(sheet, name) for name in COLUMNS]
    for head in heads:
        head.font = Font(bold=True)
    sheet.append(heads)
    count = 0
    async for row in rows:
        count += 1
        if count > _MOST_ROWS:
            raise Refused(
                N_("A sheet holds %(most)s rows, and there are more", most=_MOST_ROWS),
                next_step=N_("give a shorter period with --since and --until, or --format csv"),
            )
        sheet.append([_cell(sheet, name, value) for name, value in row.values().items()])
    sheet.auto_filter.ref = f"A1:{get_column_letter(len(COLUMNS))}{count + 1}"
    book.save(stream)
    return count


def _cell(sheet: Any, name: str, value: str) -> Any:
    from openpyxl.cell import WriteOnlyCell

    if not value:
        return None
    cell: Any = WriteOnlyCell(sheet)
    if name in _AMOUNTS:
        cell.value, cell.number_format = Decimal(value), "#,##0.00"
    elif name == "date":
        cell.value, cell.number_format = date.fromisoformat(value), "yyyy-mm-dd"
    else:
        cell.value = not_a_formula(value)
        cell.data_type = "s"
    return cell


async def write_1c(
    stream: IO[bytes], rows: AsyncIterator[Movement], account: str, period: Period, made_at: datetime
) -> tuple[int, int]:
    """Write ``1CClientBankExchange`` in cp1251 with the field names of Kazakhstan: a document for each
    movement in tenge, gross.

    :param account: the account that the file is about, as 1C knows it.
    :returns: the number of documents, and of movements in other currencies, which are left out.
    """
    count = left_out = 0
    money_in = money_out = Decimal("0.00")
    first = last = None
    with tempfile.TemporaryFile() as documents:
        async for row in rows:
            if row.currency != "KZT":
                left_out += 1
                continue
            count += 1
            first, last = first or row.at, row.at
            amount = _amount(row)
            money_in += max(amount, Decimal(0))
            money_out += max(-amount, Decimal(0))
            documents.write(_lines(_document(row, account)))
        made = made_at.astimezone(period.zone)
        days = {
            "ДатаНачала": _day(period.since or first or made),
            "ДатаКонца": _day(period.until or last or made),
        }
        head = {
            "ВерсияФормата": "1.01", "Кодировка": "Windows", "Отправитель": "procomp-pay", "Получатель": "",
            "ДатаСоздания": _day(made), "ВремяСоздания": f"{made:%H:%M:%S}", **days, "РасчСчет": account,
        }  # fmt: skip
        totals = {
            **days, "РасчСчет": account, "НачальныйОстаток": "0.00", "ВсегоПоступило": f"{money_in:.2f}",
            "ВсегоСписано": f"{money_out:.2f}", "КонечныйОстаток": f"{money_in - money_out:.2f}",
        }  # fmt: skip
        stream.write(_lines({"1CClientBankExchange": None, **head}))
        stream.write(_lines({"СекцияРасчСчет": None, **totals, "КонецРасчСчет": None}))
        documents.seek(0)
        shutil.copyfileobj(documents, stream)
    stream.write(_lines({"КонецФайла": None}))
    return count, left_out


def _document(row: Movement, account: str) -> dict[str, str | None]:
    values = row.values()
    amount = _amount(row)
    is_in = amount >= 0
    customer = values["participant"] or row.method or ""
    parts = [row.tournament, row.participant, row.club, row.method, row.provider_number]
    word = {"payment": "Вступительный взнос", "refund": "Возврат взноса"}.get(row.type, "Перечисление")
    fee = "" if row.fee is None else f"комиссия {row.fee:.2f}"
    day = _day(row.at)
    return {
        "СекцияДокумент": "выписка",
        "НомерДокумента": row.provider_number or row.payment_id or "",
        "ДатаДокумента": day,
        "ДатаОперации": day,
        "ПлательщикНаименование" if is_in else "ПолучательНаименование": customer,
        "ПолучательИИК" if is_in else "ПлательщикИИК": account,
        "СуммаПриход" if is_in else "СуммаРасход": f"{abs(amount):.2f}",
        "НазначениеПлатежа": "; ".join(part for part in (word, *parts, fee) if part),
        "КонецДокумента": None,
    }


def _amount(row: Movement) -> Decimal:
    """Return what moved: for a payout what arrives at the bank, else what the customer paid or got back."""
    return row.net if row.type == "payout" and row.net is not None else row.gross


def _day(day: date) -> str:
    return f"{day:%d.%m.%Y}"


def _lines(fields: dict[str, str | None]) -> bytes:
    """Return the fields as lines; one without a value is a word alone."""
    lines = [name if value is None else f"{name}={_plain(value)}" for name, value in fields.items()]
    return "".join(f"{line}\r\n" for line in lines).encode("cp1251", "replace")


def _plain(value: str) -> str:
    return re.sub(r"\s+", " ", console.clean(value).translate(_KAZAKH)).strip()
