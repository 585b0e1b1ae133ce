"""From rows of cells to statement lines: the second pass, and the quick one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from operator import itemgetter

from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.reconciliation.statement_line import LineKind, StatementLine
from procomp_pay.providers.statements.amounts import AmountsReader, LineAmounts
from procomp_pay.providers.statements.duplicates import SeenLines
from procomp_pay.providers.statements.first_pass import STEP, FirstPassResult, LineKeys, is_repeated_header
from procomp_pay.providers.statements.layout.cells import CellError, read_amount, read_number
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.line_kinds import STRIPE_PAYMENT_IDS, is_total
from procomp_pay.providers.statements.layout.model import STRIPE
from procomp_pay.providers.statements.layout.timestamps import TimestampReader
from procomp_pay.providers.statements.summary import StatementSummary
from procomp_pay.providers.statements.table import Rows
from procomp_pay.providers.tabular.cells import Cell, is_blank, shown

_MOST_FIGURES = 20_000
_MOST_TOTALS = 20
LONGEST_NUMBER = 32
_LONGEST_DESCRIPTION = 200


class LineReader:
    """One iteration over a statement's lines; ``tally`` is filled on the way."""

    def __init__(
        self, table: Rows, known: FirstPassResult, tally: StatementSummary, step: Callable[[], None]
    ) -> None:
        self._table = table
        self._layout = layout = table.layout
        self._mark = known.mark
        self._suspects = known.suspects
        self._unsure_line = known.unsure_line
        self._tally = tally
        self._step = step
        self._keys = LineKeys(layout)
        self._repeats = SeenLines()
        self._moments = TimestampReader(layout.zone, layout.date_form)
        self._reader = AmountsReader(layout, known.mark)
        self._figures: dict[tuple[Cell, ...], LineAmounts] = {}
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

    def _lines(self) -> Iterator[StatementLine]:  # noqa: C901 - a call for each step would cost a third more
        """The hot loop: what is the same in most lines was worked out before and is looked up."""
        columns, tally = self._layout.columns, self._tally
        width = len(self._layout.headers)
        day_at, time_at = columns[ColumnRole.DATE], columns.get(ColumnRole.TIME)
        number_at, payment_at = columns.get(ColumnRole.OPERATION), columns.get(ColumnRole.PAYMENT)
        words_at = columns.get(ColumnRole.DESCRIPTION)
        known, deciding, moment = self._figures, self._deciding, self._moments.read
        number, paid, unsure = "", "", self._unsure_line
        first: datetime | None = None
        last: datetime | None = None
        for line, cells in self._table.rows(tally.skip):
            if not line % STEP:
                self._step()
            row = cells if len(cells) == width and line != unsure else self._fitted(line, cells, width)
            if row is None:
                continue
            figures = known.get(deciding(row)) or self._new_figures(deciding(row))
            try:
                at = moment(row[day_at], None if time_at is None else row[time_at])
                if number_at is not None:
                    number = self._number(row[number_at])
                if payment_at is not None:
                    paid = self._number(row[payment_at])
            except CellError as error:
                self._pass_over(line, row, str(error), self._at_fault(row))
                continue
            ref = number
            if figures.kind is None or not ref or self._suspects:
                found = self._look_closer(line, row, figures, ref, at)
                if found is None:
                    continue
                figures, ref = found
            figures.count += 1
            if first is None or at < first:
                first = tally.first_at = at
            if last is None or at > last:
                last = tally.last_at = at
            if figures.money is None:
                continue
            said = row[words_at] if words_at is not None else ""
            yield StatementLine(
                line,
                figures.kind or LineKind.OTHER,
                ref,
                at,
                figures.money,
                paid or (self._purchase(row, ref) if figures.kind is LineKind.REFUND else None),
                figures.fee,
                figures.net,
                said[:_LONGEST_DESCRIPTION] if isinstance(said, str) else "",
            )

    def _number(self, cell: Cell) -> str:
        """An operation's number or id; most need no reading."""
        if (
            type(cell) is str
            and self._is_plain(cell)
            and cell.isascii()
            and len(cell) <= LONGEST_NUMBER
            and cell[:1] != "0"
        ):
            return cell
        return self._kept(read_number(cell))

    def _kept(self, number: str) -> str:
        """Kaspi's numbers as we keep them: one that is padded with zeros is the same number."""
        return number if self._is_stripe else canonical(number)

    def _new_figures(self, cells: tuple[Cell, ...]) -> LineAmounts:
        if len(self._figures) >= _MOST_FIGURES:
            self._count_figures()
        figures = self._reader.read(cells[:1] if self._one_place else cells)
        self._figures[cells] = figures
        return figures

    def _look_closer(
        self, line: int, row: Sequence[Cell], figures: LineAmounts, ref: str, at: datetime
    ) -> tuple[LineAmounts, str] | None:
        """The lines that are not as most are; ``None`` where one is not handed out."""
        if figures.problem is not None:
            column = self._layout.header(figures.column) if figures.column else None
            self._pass_over(line, row, figures.problem, column)
            return None
        if not ref and self._is_other_row(line, row):
            return None
        if self._is_stripe and not ref:
            own = row[self._layout.columns[ColumnRole.ID]]
            ref = own.strip() if isinstance(own, str) else ""
        if figures.kind is None:
            known = self._by_source(figures, ref, row)
            if known is None:
                word = figures.word[:40]
                reason = f"the type “{word}” is not known" if word else "there is no type"
                self._pass_over(line, row, reason, self._layout.header(ColumnRole.TYPE))
                return None
            figures = known
        return (figures, ref) if self._is_first(line, row, figures, ref, at) else None

    def _by_source(self, figures: LineAmounts, ref: str, row: Sequence[Cell]) -> LineAmounts | None:
        """Stripe adds categories: one that is about no payment does no harm, one that is needs a person."""
        if not self._is_stripe:
            return None
        kind = LineKind.OTHER
        payment_at = self._layout.columns.get(ColumnRole.PAYMENT)
        pays = row[payment_at] if payment_at is not None else ""
        if figures.word.casefold() == "adjustment" and ref.startswith(("dp_", "du_")):
            out = figures.net is not None and figures.net < 0
            kind = LineKind.DISPUTE if out else LineKind.DISPUTE_REVERSED
        elif pays or ref.startswith(STRIPE_PAYMENT_IDS):
            return None
        cells = (kind.value, ref[:3], figures.word, figures.money, figures.fee, figures.net)
        made = LineAmounts(kind, figures.money, figures.fee, figures.net)
        return self._figures.setdefault(cells, made)  # type: ignore[arg-type]

    def _is_first(self, line: int, row: Sequence[Cell], figures: LineAmounts, ref: str, at: datetime) -> bool:
        """Whether the line did not stand in the file before; if it did, that is told."""
        if not self._suspects or self._keys.hashed(row) not in self._suspects:
            return True
        own_at = self._layout.columns.get(ColumnRole.ID)
        purchase_at = self._layout.columns.get(ColumnRole.PURCHASE)
        purchase = row[purchase_at] if purchase_at is not None else ""
        own = row[own_at] if own_at is not None else ref
        content = (at, figures.money, figures.fee, figures.net, purchase)
        # a purchase can be paid back in parts, each under the purchase's number
        parts = content if figures.kind is LineKind.REFUND and own_at is None else None
        before = self._repeats.before((figures.kind, own, parts), line, (figures.kind, *content))
        if before is None:
            return True
        first_line, is_same = before
        if is_same:
            self._tally.repeat(line, first_line, str(own))
        else:
            self._tally.skip(line, f"{shown(own)} stands on line {first_line} already, with other content")
        return False

    def _at_fault(self, row: Sequence[Cell]) -> str | None:
        """The header of the first cell that cannot be read."""
        columns = self._layout.columns
        time_at = columns.get(ColumnRole.TIME)
        try:
            self._moments.read(row[columns[ColumnRole.DATE]], None if time_at is None else row[time_at])
        except CellError:
            return self._layout.header(ColumnRole.DATE)
        return self._layout.header(ColumnRole.OPERATION)

    def _purchase(self, row: Sequence[Cell], ref: str) -> str | None:
        """The number of the purchase that a refund pays back; its own number says nothing."""
        place = self._layout.columns.get(ColumnRole.PURCHASE)
        if place is None:
            return None
        try:
            number = self._kept(read_number(row[place]))
        except CellError:
            return None
        return number if number not in ("", ref) else None

    def _fitted(self, line: int, row: Sequence[Cell], width: int) -> Sequence[Cell] | None:
        """A row as wide as the header; ``None`` where its cells cannot be told apart."""
        if line == self._unsure_line:
            self._pass_over(
                line, row, "the file ends here without a line end, so that the last cell may be cut"
            )
            return None
        if len(row) > width:
            if all(is_blank(cell) for cell in row[width:]):
                return row[:width]
            self._pass_over(line, row, f"the line has {len(row)} cells and the header has {width}")
            return None
        padded = [*row, *[""] * (width - len(row))]
        # a workbook leaves empty cells out; a text line without all of its cells may be cut
        if self._table.kind.startswith("CSV") and len(row) < self._used_until:
            self._pass_over(line, padded, f"the line has {len(row)} cells and the header has {width}")
            return None
        return padded

    def _pass_over(self, line: int, row: Sequence[Cell], reason: str, column: str | None = None) -> None:
        """Not a line that can be taken: another sort of row, or one for a person."""
        if not self._is_other_row(line, row):
            self._tally.skip(line, reason, column)

    def _is_other_row(self, line: int, row: Sequence[Cell]) -> bool:
        """Whether it is a total, the header once more, or words alone; each is told in its place."""
        filled = [(place, cell) for place, cell in enumerate(row) if not is_blank(cell)]
        if not filled:
            return True
        texts = [cell if isinstance(cell, str) else "" for cell in row]
        if is_repeated_header(texts, self._layout):
            self._tally.note(f"the header stands again on line {line}")
            return True
        columns = self._layout.columns
        if any(is_total(text) for text in texts[: columns[ColumnRole.AMOUNT] + 1]):
            self._keep_total(line, row, next(text for text in texts if text.strip()))
            return True
        money = {
            columns[each]
            for each in (ColumnRole.AMOUNT, ColumnRole.DATE, ColumnRole.OPERATION)
            if each in columns
        }
        row_at = columns.get(ColumnRole.ROW)
        is_numbered = row_at is not None and row_at < len(row) and shown(row[row_at]).strip().isdigit()
        if is_numbered or any(place in money and row_at != place for place, _ in filled[1:]):
            return False
        if len(filled) <= 2 and isinstance(filled[0][1], str) and not filled[0][1].strip()[:1].isdigit():
            self._tally.remarks += 1
            return True
        return False

    def _keep_total(self, line: int, row: Sequence[Cell], text: str) -> None:
        try:
            amount = read_amount(row[self._layout.columns[ColumnRole.AMOUNT]], self._mark)
        except (CellError, IndexError):
            self._tally.note(f"the total on line {line} has no amount")
            return
        if len(self._totals) < _MOST_TOTALS:
            self._totals.append((line, " ".join(text.split())[:80], amount))

    def _count_figures(self) -> None:
        for figures in self._figures.values():
            if figures.count and figures.kind is not None:
                money = figures.money
                self._tally.add(
                    figures.kind,
                    figures.count,
                    money.currency if money else None,
                    money.amount if money else Decimal(0),
                )
        self._figures.clear()

    def _finish(self) -> None:
        self._count_figures()
        self._tally.check_totals(self._totals)
        if self._moments.unsure:
            self._tally.note(
                f"{self._moments.unsure} lines stand in an hour that came twice, as the clocks were put "
                "back: they are read as the first"
            )
        if self._moments.days_alone:
            self._tally.note(
                f"{self._moments.days_alone} lines have a day and no time of day: only their numbers can "
                "match"
            )
