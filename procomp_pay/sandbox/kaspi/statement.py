"""The sales report that a merchant exports from Kaspi Pay, of what happened in the sandbox.

The layout is that of "Детальная информация по операциям" as importers in the wild describe it: a title
block, a head found by `#`, the lines, a total; or, with `layout=2026`, totals above a table that begins in
the second column. Oddities are switched on by the query, since every merchant's file is odd in its own way.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from aiohttp import web

from .book import Book
from .dates import ALMATY
from .model import PROCESSED, QR, Bill, Payment

#: Of each payment, as Kaspi Pay's price list has it for QR (0.95 %).
FEE: Final = Decimal("0.0095")
_CENT: Final = Decimal("0.01")
ENCODINGS: Final = {"utf-8": "utf-8", "utf-8-sig": "utf-8-sig", "cp1251": "cp1251", "utf-16": "utf-16"}
DELIMITERS: Final = {"semicolon": ";", "comma": ",", "tab": "\t"}
NUMBER: Final = "Номер заказа (ID/RRN)"
HEADS: Final = (
    "#",
    NUMBER,
    "Адрес точки продаж",
    "Идентификатор точки",
    "Дата операции",
    "Время",
    "Дата учета операции",
    "№ документа покупки/возврата",
    "Тип операции",
    "Тип оплаты",
    "Детали покупки",
    "Сумма операции (т)",
    "Комиссия за операции (т)",
    "Сумма к зачислению/ списанию (т)",
)
HEADS_2026: Final = (
    "",
    "Адрес торговой точки",
    "Дата",
    "Время",
    "Сумма",
    "Стоимость услуг Kaspi",
    "Тип операции",
    "Способ оплаты",
    "Канал оплаты",
    "Номер операции",
    "Детали покупки",
    "Источник оплаты",
)


@dataclass(frozen=True)
class Oddities:
    """The oddities of the file; by default it has none.

    `refunds` is `own` (a refund has its own number and names its purchase) or `purchase` (it stands under the
    purchase's number). `seconds` false cuts times to the minute, as some editions do. With `layout=2026`,
    `payment_ids` adds nothing, and `cash` adds a sale in cash of the first line's sum.
    """

    layout: str = "numbered"
    encoding: str = "utf-8-sig"
    delimiter: str = "semicolon"
    decimal: str = "comma"
    thousands: str = "none"
    refunds: str = "own"
    order: str = "time"
    title: bool = True
    total: bool = True
    duplicate: bool = False
    seconds: bool = True
    payment_ids: bool = False
    cash: bool = False


_CHOICES: Final[dict[str, tuple[str, ...]]] = {
    "layout": ("numbered", "2026"),
    "encoding": tuple(ENCODINGS),
    "delimiter": tuple(DELIMITERS),
    "decimal": ("comma", "dot"),
    "thousands": ("none", "space", "nbsp"),
    "refunds": ("own", "purchase"),
    "order": ("time", "newest", "columns"),
}
_FLAGS: Final = ("title", "total", "duplicate", "seconds", "payment_ids", "cash")


def read_oddities(query: Any) -> Oddities:
    """Read the oddities from the query of a request. Raises ValueError for an unknown one."""
    chosen: dict[str, Any] = {}
    for name, value in query.items():
        if name in _CHOICES:
            if value not in _CHOICES[name]:
                raise ValueError(f"{name} is one of {', '.join(_CHOICES[name])}")
            chosen[name] = value
        elif name in _FLAGS:
            if value not in ("0", "1"):
                raise ValueError(f"{name} is 0 or 1")
            chosen[name] = value == "1"
        elif name not in ("since", "until"):
            raise ValueError(
                f"There is no {name!r}; there are {', '.join([*_CHOICES, *_FLAGS, 'since', 'until'])}"
            )
    return Oddities(**chosen)


@dataclass(frozen=True)
class Operation:
    """One line: a purchase, or a refund of one. `money` is gross, fee, net; all negative for a refund."""

    at: float
    number: str
    document: str
    payment: Payment
    is_refund: bool
    money: tuple[Decimal, Decimal, Decimal]


def operations(book: Book, since: float, until: float, refunds: str) -> list[Operation]:
    """Return the operations from `since` (included) to `until` (excluded), in Unix seconds, oldest first."""
    made: list[Operation] = []
    for payment in book.payments.values():
        if payment.status != PROCESSED or payment.processed_at is None:
            continue
        number = payment.operation_number or str(payment.payment_id)
        made.append(Operation(payment.processed_at, number, "", payment, False, _money(payment.amount, 1)))
        for refund in payment.refunds:
            own = str(refund.operation_id) if refunds == "own" else number
            document = number if refunds == "own" else str(refund.operation_id)
            made.append(Operation(refund.made_at, own, document, payment, True, _money(refund.amount, -1)))
    for bill in book.bills.values():
        of_bill = _of_bill(book, bill)
        made.append(Operation(bill.paid_at, bill.number, "", of_bill, False, _money(bill.amount, 1)))
    within = [row for row in made if since <= row.at < until]
    return sorted(within, key=lambda operation: (operation.at, operation.number))


def _of_bill(book: Book, bill: Bill) -> Payment:
    """Return a bill as the report shows it; the account is in the purchase's details."""
    return Payment(
        payment_id=0,
        kind="bill",
        token="",
        organization_bin=book.organization_bin,
        trade_point_id=book.ready_trade_point,
        device_token="",
        amount=bill.amount,
        status=PROCESSED,
        created_at=bill.paid_at,
        open_until=bill.paid_at,
        comment=bill.account,
    )


def _money(amount: Decimal, sign: int) -> tuple[Decimal, Decimal, Decimal]:
    fee = (amount * FEE).quantize(_CENT, ROUND_HALF_UP)
    gross = amount.quantize(_CENT)
    return sign * gross, sign * fee, sign * (gross - fee)


def rows(book: Book, made: Sequence[Operation], odd: Oddities) -> list[list[Any]]:
    """The report as rows of cells: texts, and Decimal for money."""
    if odd.layout == "2026":
        return _rows_of_2026(book, made, odd)
    lines = list(reversed(made)) if odd.order == "newest" else list(made)
    if odd.duplicate and lines:
        lines.append(lines[0])
    table = [_line(book, number, line, odd) for number, line in enumerate(lines, 1)]
    heads: list[Any] = list(HEADS)
    if odd.payment_ids:
        heads.append("QrPaymentId")
    if odd.total:
        sums = [sum((item.money[n] for item in made), Decimal("0.00")) for n in range(3)]
        table.append(["Итого", *[""] * 10, *sums, *([""] if odd.payment_ids else [])])
    table.insert(0, heads)
    if odd.order == "columns":
        # the same columns the other way round, `#` still the first
        table = [[row[0], *reversed(row[1:])] for row in table]
    return [*_title(book, made), *table] if odd.title else table


def _line(book: Book, number: int, operation: Operation, odd: Oddities) -> list[Any]:
    moment = datetime.fromtimestamp(operation.at, ALMATY)
    payment = operation.payment
    point = book.trade_points.get(payment.trade_point_id)
    cells: list[Any] = [
        str(number),
        operation.number,
        f"{point.city}, {point.address}" if point else "",
        str(payment.trade_point_id),
        f"{moment:%d.%m.%Y}",
        f"{moment:%H:%M:%S}" if odd.seconds else f"{moment:%H:%M}",
        f"{moment:%d.%m.%Y}",
        operation.document,
        "Возврат" if operation.is_refund else "Покупка",
        f"Kaspi {payment.product_type}",
        payment.comment or "",
        *operation.money,
    ]
    return [*cells, str(payment.payment_id or "")] if odd.payment_ids else cells


def _rows_of_2026(book: Book, found: Sequence[Operation], odd: Oddities) -> list[list[Any]]:
    lines = [_line_of_2026(book, each, odd) for each in found]
    cash = Decimal("0.00")
    if odd.cash and lines:
        cash = found[0].money[0]
        lines.append([*lines[0][:5], Decimal("0.00"), "Покупка", "Наличные", "Касса", "", "", ""])
    if odd.duplicate and lines:
        lines.append(lines[0])
    if odd.order == "newest":
        lines.reverse()
    table: list[list[Any]] = [list(HEADS_2026), *lines]
    if odd.order == "columns":
        table = [["", *reversed(row[1:])] for row in table]
    if not odd.title:
        return table
    days = sorted(datetime.fromtimestamp(each.at, ALMATY) for each in found) or [datetime.now(ALMATY)]

    def total(place: int, *, refunds: bool) -> Decimal:
        sums = (each.money[place] for each in found if each.is_refund == refunds)
        return sum(sums, Decimal("0.00"))

    totals: list[list[Any]] = [
        ["", "Продажи с Kaspi.kz", total(0, refunds=False)],
        ["", "Возвраты продаж", total(0, refunds=True)],
        ["", "Услуги за продажи с Kaspi", -total(1, refunds=False)],
        ["", "Возврат услуг за продажи Kaspi", -total(1, refunds=True)],
        ["", "Продажи наличными", cash or "-"],
        ["", "Продажи POS другого банка", "-"],
    ]
    return [
        ["", "Детальная информация по операциям"],
        ["", "Период:", f"{days[0]:%Y-%m-%d} 00:00:00 - {days[-1]:%Y-%m-%d} 23:59:59"],
        ["", "ИИН/БИН", book.organization_bin],
        ["", "Наименование", "ПЕСОЧНИЦА: настоящих денег нет"],
        [],
        *(totals if odd.total else []),
        [],
        *table,
    ]


def _line_of_2026(book: Book, each: Operation, odd: Oddities) -> list[Any]:
    moment = datetime.fromtimestamp(each.at, ALMATY)
    payment = each.payment
    point = book.trade_points.get(payment.trade_point_id)
    return [
        "",
        f"{point.city}, {point.address}" if point else "",
        f"{moment:%d.%m.%Y}",
        f"{moment:%H:%M:%S}" if odd.seconds else f"{moment:%H:%M}",
        each.money[0],
        -each.money[1],
        "Возврат" if each.is_refund else "Покупка",
        "Кредит на Покупки" if payment.product_type == "Loan" else f"Kaspi {payment.product_type}",
        "Kaspi QR" if payment.kind == QR else "Удаленная оплата",
        f"QR{each.number}",
        payment.external_id or payment.comment or "",
        "",
    ]


def _title(book: Book, found: Sequence[Operation]) -> list[list[Any]]:
    days = [datetime.fromtimestamp(each.at, ALMATY) for each in (*found[:1], *found[-1:])]
    period = " - ".join(f"{day:%d.%m.%Y}" for day in days) or "нет операций"
    return [
        ["", "Детальная информация по операциям"],
        [],
        ["", "Период", period],
        ["", "ИИН/БИН", book.organization_bin],
        ["", "Наименование", "ПЕСОЧНИЦА: настоящих денег нет"],
        [],
    ]


def as_csv(table: list[list[Any]], odd: Oddities) -> bytes:
    """Return the report as CSV text."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=DELIMITERS[odd.delimiter])
    for row in table:
        writer.writerow([_amount(cell, odd) if isinstance(cell, Decimal) else cell for cell in row])
    return out.getvalue().encode(ENCODINGS[odd.encoding], "replace")


def _amount(value: Decimal, odd: Oddities) -> str:
    mark = {"none": "", "space": " ", "nbsp": "\N{NO-BREAK SPACE}"}[odd.thousands]
    text = f"{value:,.2f}".replace(",", mark)
    return text.replace(".", ",") if odd.decimal == "comma" else text


def as_xlsx(table: list[list[Any]]) -> bytes:
    """Return the report as a workbook: amounts are numbers, everything else is text, as in Kaspi Pay."""
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("Отчет")
    for row in table:
        sheet.append(row)
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def statement_routes(book: Book) -> list[web.RouteDef]:
    """GET /_sandbox/kaspi/statement.csv and .xlsx: `since` and `until` in Unix seconds, and the oddities."""
    prefix = "/_sandbox/kaspi/statement"
    csv_type = "text/csv"
    xlsx_type = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
    return [
        web.get(f"{prefix}.csv", _served(book, csv_type, as_csv)),
        web.get(f"{prefix}.xlsx", _served(book, xlsx_type, lambda table, _odd: as_xlsx(table))),
    ]


def _served(book: Book, content_type: str, write: Callable[[list[list[Any]], Oddities], bytes]) -> Any:
    async def serve(request: web.Request) -> web.StreamResponse:
        try:
            odd = read_oddities(request.query)
            since = float(request.query.get("since", 0))
            until = float(request.query.get("until", datetime.now(UTC).timestamp() + 1e9))
        except ValueError as error:
            return web.json_response({"error": str(error)}, status=400)
        made = operations(book, since, until, odd.refunds)
        name = request.path.rpartition("/")[2]
        headers = {"Content-Disposition": f'attachment; filename="sandbox-{name}"'}
        body = write(rows(book, made, odd), odd)
        return web.Response(body=body, content_type=content_type, headers=headers)

    return serve
