"""A line's kind and money, from the cells that say them; equal cells are worked out once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.statements.layout.cells import CellError, read_amount
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.line_kinds import currency_code, is_done, kind_of
from procomp_pay.providers.statements.layout.model import STRIPE, Layout
from procomp_pay.providers.tabular.cells import Cell, is_blank, shown

#: The cells that decide a line's kind and money.
DECIDING = (
    ColumnRole.TYPE,
    ColumnRole.STATUS,
    ColumnRole.CURRENCY,
    ColumnRole.AMOUNT,
    ColumnRole.FEE,
    ColumnRole.NET,
)
_IN = (LineKind.PAYMENT, LineKind.REFUND_FAILED, LineKind.DISPUTE_REVERSED)
_OUT = (LineKind.REFUND, LineKind.DISPUTE)


@dataclass(slots=True)
class LineAmounts:
    """What the deciding cells of a line say.

    :param kind: ``None`` where the type is not known.
    :param money: gross and positive; ``None`` where it is in a currency, or of a size, that we do not keep.
    :param problem: why lines with these cells cannot be taken, and the column at fault.
    :param count: lines with these cells so far.
    """

    kind: LineKind | None = None
    money: Money | None = None
    fee: Decimal | None = None
    net: Decimal | None = None
    problem: str | None = None
    column: ColumnRole | None = None
    word: str = ""
    count: int = 0


class _ProblemError(Exception):
    def __init__(self, reason: str, column: ColumnRole | None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.column = column


class AmountsReader:
    """Reads the deciding cells under one layout.

    :param mark: the file's decimal mark, where it is known.
    """

    def __init__(self, layout: Layout, mark: str | None) -> None:
        self._layout = layout
        self._mark = mark
        self.used = tuple(meaning for meaning in DECIDING if meaning in layout.columns)

    def read(self, cells: tuple[Cell, ...]) -> LineAmounts:
        """
        :param cells: those of :attr:`used`, in their order.
        """
        given = dict(zip(self.used, cells, strict=True))
        try:
            return self._read(given)
        except _ProblemError as problem:
            return LineAmounts(problem=problem.reason, column=problem.column)

    def _read(self, given: dict[ColumnRole, Cell]) -> LineAmounts:
        gross = self._amount(given, ColumnRole.AMOUNT)
        if gross is None:
            raise _ProblemError("there is no amount", ColumnRole.AMOUNT)
        word = _text(given, ColumnRole.TYPE)
        kind = self._kind(given, word, gross)
        if _status(given) is False:
            kind = LineKind.OTHER  # it was tried and no money moved
        _check_sign(kind, gross, strict=self._layout.provider == STRIPE)
        if kind in _OUT:
            gross = -abs(gross)
        fee, net = self._fee_and_net(given, gross, kind)
        return LineAmounts(kind, self._money(given, gross, kind), fee, net, word=word)

    def _kind(self, given: dict[ColumnRole, Cell], word: str, gross: Decimal) -> LineKind | None:
        if self._layout.only_kind is not None:
            return self._layout.only_kind
        if ColumnRole.TYPE not in given:
            # no column says it: the sign does, as in every account's statement
            return LineKind.REFUND if gross < 0 else LineKind.PAYMENT
        return kind_of(word, self._layout.words)

    def _amount(self, given: dict[ColumnRole, Cell], meaning: ColumnRole) -> Decimal | None:
        cell = given.get(meaning, "")
        if is_blank(cell):
            return None
        try:
            return read_amount(cell, self._mark)
        except CellError as error:
            raise _ProblemError(str(error), meaning) from None

    def _money(self, given: dict[ColumnRole, Cell], gross: Decimal, kind: LineKind | None) -> Money | None:
        code = currency_code(_text(given, ColumnRole.CURRENCY)) if ColumnRole.CURRENCY in given else None
        currency = self._layout.currency if code is None else _known_currency(code)
        try:
            if currency is not None:
                return Money(abs(gross), currency)
            reason = f"“{code or ''}” is not a currency we take"
        except InvalidAmount as error:
            reason = error.message
        if kind is LineKind.OTHER:
            return None  # of no payment of ours: it need not fit
        raise _ProblemError(reason, ColumnRole.CURRENCY if currency is None else ColumnRole.AMOUNT)

    def _fee_and_net(
        self, given: dict[ColumnRole, Cell], gross: Decimal, kind: LineKind | None
    ) -> tuple[Decimal | None, Decimal | None]:
        """The fee is what lies between gross and net; a column of its own is asked where net is silent."""
        fee, net = self._amount(given, ColumnRole.FEE), self._amount(given, ColumnRole.NET)
        if self._layout.provider == STRIPE:
            if fee is not None and net is not None and gross - fee != net:
                raise _ProblemError(f"{gross} less the fee of {fee} is not {net}", ColumnRole.NET)
            return fee, net
        if net is None:
            return (None if fee is None else abs(fee)), None
        signed = -abs(net) if kind in _OUT else net
        return gross - signed, signed


def _text(given: dict[ColumnRole, Cell], meaning: ColumnRole) -> str:
    cell = given.get(meaning, "")
    if not isinstance(cell, str):
        raise _ProblemError(f"“{shown(cell)}” is no word", meaning)
    return cell.strip()


def _status(given: dict[ColumnRole, Cell]) -> bool:
    word = _text(given, ColumnRole.STATUS)
    done = is_done(word)
    if done is None:
        raise _ProblemError(f"the status “{word[:40]}” is not known", ColumnRole.STATUS)
    return done


def _check_sign(kind: LineKind | None, gross: Decimal, *, strict: bool) -> None:
    """
    :param strict: the provider writes money that leaves with a minus, without fail.
    """
    if kind in _IN and gross < 0:
        raise _ProblemError(f"{gross} is less than nothing, and the line is a {kind}", ColumnRole.AMOUNT)
    if strict and kind in _OUT and gross > 0:
        raise _ProblemError(f"{gross} comes in, and the line is a {kind}", ColumnRole.AMOUNT)


def _known_currency(code: str) -> Currency | None:
    try:
        return Currency(code)
    except ValueError:
        return None
