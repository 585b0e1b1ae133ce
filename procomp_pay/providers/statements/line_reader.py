"""Turn rows of cells into statement lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from operator import itemgetter

from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.domain.reconciliation.statement_summary import StatementSummary
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.amounts import AmountsReader, LineAmounts
from procomp_pay.providers.statements.duplicates import SeenLines
from procomp_pay.providers.statements.first_pass import (
    STEP,
    FirstPassResult,
    LineKeys,
    is_repeated_header,
    padded,
)
from procomp_pay.providers.statements.layout.cells import CellError, read_amount, read_number
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.line_kinds import STRIPE_PAYMENT_IDS, is_total
from procomp_pay.providers.statements.layout.model import STRIPE
from procomp_pay.providers.statements.layout.timestamps import TimestampReader
from procomp_pay.providers.statements.table import Rows
from procomp_pay.providers.tabular.cells import Cell, is_blank, shown

_MOST_AMOUNTS = 20_000
_MOST_TOTALS = 20
LONGEST_NUMBER = 32
_LONGEST_DESCRIPTION = 200


#: What may be an id or a short code of ours: Latin letters and digits, at least one digit.
_ORDER = re.compile(r"(?<![\w-])(?=[A-Za-z-]*\d)[A-Za-z0-9][A-Za-z0-9_-]{0,63}(?![\w-])", re.A)
_MOST_ORDERS = 10


def order_words(text: str) -> str | None:
    """Return the words of purchase details that may be an order number or a bill account of ours."""
    return " ".join(_ORDER.findall(text)[:_MOST_ORDERS]) or None


class LineReader:
    """Iterate once over a statement's lines and fill its summary."""

    def __init__(
        self, table: Rows, known: FirstPassResult, summary: StatementSummary, step: Callable[[], None]
    ) -> None:
        self._table = table
        self._layout = layout = table.layout
        self._mark = known.mark
        self._suspects = known.suspects
        self._unsure_line = known.unsure_line
        self._summary = summary
        self._step = step
        self._keys = LineKeys(layout)
        self._seen = SeenLines()
        self._times = TimestampReader(layout.zone, layout.date_form)
        self._reader = AmountsReader(layout, known.mark)
        self._amounts: dict[tuple[Cell, ...], LineAmounts] = {}
        self._totals: list[tuple[int, str, Decimal]] = []
        places = [layout.columns[meaning] for meaning in self._reader.used]
        # itemgetter gives a tuple for two places or more
        self._deciding = itemgetter(*places) if len(places) > 1 else itemgetter(places[0], places[0])
        self._one_place = len(places) == 1
        self._used_until = max(layout.columns.values()) + 1
        self._is_stripe = layout.provider == STRIPE
        self._is_plain = str.isidentifier if self._is_stripe else str.isdigit

    def __iter__(self) -> Iterator[StatementLine]:
        try:
            yield from self._lines()
        finally:
            self._finish()

    def _lines(self) -> Iterator[StatementLine]:  # noqa: C901 - smaller functions would take a third longer
        """Yield the lines. This is the hot loop: cells that repeat are looked up instead of read again."""
        columns, summary = self._layout.columns, self._summary
        width = len(self._layout.headers)
        day_at, time_at = columns[ColumnRole.DATE], columns.get(ColumnRole.TIME)
        number_at, payment_at = columns.get(ColumnRole.OPERATION), columns.get(ColumnRole.PAYMENT)
        text_at = columns.get(ColumnRole.DESCRIPTION)
        orders = not self._is_stripe and text_at is not None
        known, deciding, read_time = self._amounts, self._deciding, self._times.read
        number, paid, unsure = "", "", self._unsure_line
        first: datetime | None = None
        last: datetime | None = None
        for line, cells in self._table.rows(summary.skip):
            if not line % STEP:
                self._step()
            row = cells if len(cells) == width and line != unsure else self._fitted(line, cells, width)
            if row is None:
                continue
            amounts = known.get(deciding(row)) or self._new_amounts(deciding(row))
            try:
                at = read_time(row[day_at], None if time_at is None else row[time_at])
                if number_at is not None:
                    number = self._number(row[number_at])
                if payment_at is not None:
                    paid = self._number(row[payment_at])
            except CellError as error:
                self._skip(line, row, error.args[0], self._at_fault(row))
                continue
            ref = number
            if amounts.kind is None or not ref or self._suspects:
                checked = self._check_closely(line, row, amounts, ref, at)
                if checked is None:
                    continue
                amounts, ref = checked
            amounts.count += 1
            if first is None or at < first:
                first = summary.first_at = at
            if last is None or at > last:
                last = summary.last_at = at
            if amounts.money is None:
                continue
            text = row[text_at] if text_at is not None else ""
            yield StatementLine(
                line,
                amounts.kind or LineKind.OTHER,
                ref,
                at,
                amounts.money,
                paid or (self._purchase(row, ref) if amounts.kind is LineKind.REFUND else None),
                amounts.fee,
                amounts.net,
                text[:_LONGEST_DESCRIPTION] if isinstance(text, str) else "",
                amounts.settlement_currency,
                order_words(text) if orders and isinstance(text, str) else None,
            )

    def _number(self, cell: Cell) -> str:
        """Return an operation's number or id; most need no cleaning."""
        if (
            type(cell) is str
            and self._is_plain(cell)
            and cell.isascii()
            and len(cell) <= LONGEST_NUMBER
            and cell[:1] != "0"
        ):
            return cell
        return self._stored(read_number(cell))

    def _stored(self, number: str) -> str:
        """Return a number as it is stored: Kaspi's without leading zeros, which do not change it."""
        return number if self._is_stripe else canonical(number)

    def _new_amounts(self, cells: tuple[Cell, ...]) -> LineAmounts:
        if len(self._amounts) >= _MOST_AMOUNTS:
            self._count_amounts()
        amounts = self._reader.read(cells[:1] if self._one_place else cells)
        self._amounts[cells] = amounts
        return amounts

    def _check_closely(
        self, line: int, row: Sequence[Cell], amounts: LineAmounts, ref: str, at: datetime
    ) -> tuple[LineAmounts, str] | None:
        """Check an unusual line; return its amounts and number, ``None`` if it is not used."""
        if amounts.problem is not None:
            column = self._layout.header(amounts.column) if amounts.column else None
            self._skip(line, row, amounts.problem, column)
            return None
        if not ref and self._is_other_row(line, row):
            return None
        if self._is_stripe and not ref:
            own = row[self._layout.columns[ColumnRole.ID]]
            ref = own.strip() if isinstance(own, str) else ""
        if amounts.kind is None:
            known = self._by_source(amounts, ref, row)
            if known is None:
                word = amounts.word[:40]
                reason = N_("the type “%(word)s” is not known", word=word) if word else N_("there is no type")
                self._skip(line, row, reason, self._layout.header(ColumnRole.TYPE))
                return None
            amounts = known
        return (amounts, ref) if self._is_first(line, row, amounts, ref, at) else None

    def _by_source(self, amounts: LineAmounts, ref: str, row: Sequence[Cell]) -> LineAmounts | None:
        """Return an unknown Stripe category as another kind of line; ``None`` if it is about a payment."""
        if not self._is_stripe:
            return None
        kind = LineKind.OTHER
        payment_at = self._layout.columns.get(ColumnRole.PAYMENT)
        pays = row[payment_at] if payment_at is not None else ""
        if amounts.word.casefold() == "adjustment" and ref.startswith(("dp_", "du_")):
            out = amounts.net is not None and amounts.net < 0
            kind = LineKind.DISPUTE if out else LineKind.DISPUTE_REVERSED
        elif pays or ref.startswith(STRIPE_PAYMENT_IDS):
            return None
        cells = (kind.value, ref[:3], amounts.word, amounts.money, amounts.fee, amounts.net)
        with_kind = LineAmounts(kind, amounts.money, amounts.fee, amounts.net, amounts.settlement_currency)
        return self._amounts.setdefault(cells, with_kind)  # type: ignore[arg-type]

    def _is_first(self, line: int, row: Sequence[Cell], amounts: LineAmounts, ref: str, at: datetime) -> bool:
        """Return whether a line is not a repetition; one that is goes into the summary."""
        if not self._suspects or self._keys.hashed(row) not in self._suspects:
            return True
        own_at = self._layout.columns.get(ColumnRole.ID)
        purchase_at = self._layout.columns.get(ColumnRole.PURCHASE)
        purchase = row[purchase_at] if purchase_at is not None else ""
        own = row[own_at] if own_at is not None else ref
        content = (at, amounts.money, amounts.fee, amounts.net, purchase)
        # a purchase can be refunded in parts, each with the purchase's number
        parts = content if amounts.kind is LineKind.REFUND and own_at is None else None
        earlier = self._seen.before((amounts.kind, own, parts), line, (amounts.kind, *content))
        if earlier is None:
            return True
        first_line, is_same = earlier
        if is_same:
            self._summary.repeat(line, first_line, str(own))
        else:
            self._summary.skip(
                line,
                N_(
                    "%(number)s is already on line %(first)s, with other content",
                    number=shown(own),
                    first=first_line,
                ),
            )
        return False

    def _at_fault(self, row: Sequence[Cell]) -> str | None:
        """Return the header of the first cell that cannot be read."""
        columns = self._layout.columns
        time_at = columns.get(ColumnRole.TIME)
        try:
            self._times.read(row[columns[ColumnRole.DATE]], None if time_at is None else row[time_at])
        except CellError:
            return self._layout.header(ColumnRole.DATE)
        return self._layout.header(ColumnRole.OPERATION)

    def _purchase(self, row: Sequence[Cell], ref: str) -> str | None:
        """Return the number of the purchase that was refunded, if it is not the refund's own number."""
        place = self._layout.columns.get(ColumnRole.PURCHASE)
        if place is None:
            return None
        try:
            number = self._stored(read_number(row[place]))
        except CellError:
            return None
        return number if number not in ("", ref) else None

    def _fitted(self, line: int, row: Sequence[Cell], width: int) -> Sequence[Cell] | None:
        """Return a row as wide as the headers; ``None`` if its cells cannot be assigned to columns."""
        if line == self._unsure_line:
            self._skip(line, row, N_("the file ends here without a line end, so the last cell may be cut"))
            return None
        if len(row) > width:
            if all(is_blank(cell) for cell in row[width:]):
                return row[:width]
            self._skip(line, row, _width(row, width))
            return None
        whole = padded(row, width)
        # a CSV line without all of its cells may be cut
        if self._table.kind.startswith("CSV") and len(row) < self._used_until:
            self._skip(line, whole, _width(row, width))
            return None
        return whole

    def _skip(self, line: int, row: Sequence[Cell], reason: str, column: str | None = None) -> None:
        """Skip a row with its reason, unless it is a total, a remark or the headers."""
        if not self._is_other_row(line, row):
            self._summary.skip(line, reason, column)

    def _is_other_row(self, line: int, row: Sequence[Cell]) -> bool:
        """Return whether a row is a total, the headers again or a remark, after adding it to the summary."""
        filled = [(place, cell) for place, cell in enumerate(row) if not is_blank(cell)]
        if not filled:
            return True
        texts = [cell if isinstance(cell, str) else "" for cell in row]
        if is_repeated_header(texts, self._layout):
            self._summary.note(N_("line %(line)s repeats the headers", line=line))
            return True
        columns = self._layout.columns
        if any(is_total(text) for text in texts[: columns[ColumnRole.AMOUNT] + 1]):
            self._keep_total(line, row, next(text for text in texts if text.strip()))
            return True
        money = {
            columns[role]
            for role in (ColumnRole.AMOUNT, ColumnRole.DATE, ColumnRole.OPERATION)
            if role in columns
        }
        row_at = columns.get(ColumnRole.ROW)
        is_numbered = row_at is not None and row_at < len(row) and shown(row[row_at]).strip().isdigit()
        if is_numbered or any(place in money and row_at != place for place, _ in filled[1:]):
            return False
        if len(filled) <= 2 and isinstance(filled[0][1], str) and not filled[0][1].strip()[:1].isdigit():
            self._summary.remarks += 1
            return True
        return False

    def _keep_total(self, line: int, row: Sequence[Cell], text: str) -> None:
        try:
            amount = read_amount(row[self._layout.columns[ColumnRole.AMOUNT]], self._mark)
        except (CellError, IndexError):
            self._summary.note(N_("the total on line %(line)s has no amount", line=line))
            return
        if len(self._totals) < _MOST_TOTALS:
            self._totals.append((line, " ".join(text.split())[:80], amount))

    def _count_amounts(self) -> None:
        for amounts in self._amounts.values():
            if amounts.count and amounts.kind is not None:
                money = amounts.money
                self._summary.add(
                    amounts.kind,
                    amounts.count,
                    money.currency if money else None,
                    money.amount if money else Decimal(0),
                    amounts.fee,
                )
        self._amounts.clear()

    def _finish(self) -> None:
        self._count_amounts()
        self._summary.check_totals(self._totals)
        for total in self._table.totals:
            cell = "0" if shown(total.cell).strip() in ("-", "–", "—") else total.cell
            try:
                amount = read_amount(cell, self._mark)
            except CellError:
                self._summary.note(N_("the total on line %(line)s has no amount", line=total.line))
                continue
            self._summary.check_total(total.line, total.text, amount, total.kind, of_fees=total.of_fees)
        if self._times.unsure:
            self._summary.note(
                N_(
                    "lines in an hour that occurred twice because clocks were set back, "
                    "read as the first one: %(n)s",
                    n=self._times.unsure,
                )
            )
        if self._times.days_alone:
            self._summary.note(
                N_(
                    "lines with a day but no time, which only match by number: %(n)s",
                    n=self._times.days_alone,
                )
            )


def _width(row: Sequence[Cell], width: int) -> str:
    return N_("the line has %(n)s cells and the header has %(width)s", n=len(row), width=width)
