"""Read a line's kind and amounts from the cells that determine them; equal cells are read once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.reconciliation.statement_line import ForeignMoney, LineKind
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.layout.cells import CellError, read_amount
from procomp_pay.providers.statements.layout.headers import ColumnRole
from procomp_pay.providers.statements.layout.line_kinds import (
    currency_code,
    is_done,
    is_only_recorded,
    kind_of,
)
from procomp_pay.providers.statements.layout.model import STRIPE, Layout
from procomp_pay.providers.tabular.cells import Cell, is_blank, shown

#: The columns that determine a line's kind and amounts.
DECIDING = (
    ColumnRole.TYPE,
    ColumnRole.METHOD,
    ColumnRole.CHANNEL,
    ColumnRole.STATUS,
    ColumnRole.CURRENCY,
    ColumnRole.AMOUNT,
    ColumnRole.FEE,
    ColumnRole.NET,
    ColumnRole.CUSTOMER_AMOUNT,
    ColumnRole.CUSTOMER_CURRENCY,
)
_IN = (LineKind.PAYMENT, LineKind.REFUND_FAILED, LineKind.DISPUTE_REVERSED)
_CURRENCY = re.compile(r"[A-Z]{3}", re.A)
#: The database keeps ten digits before the decimal mark.
_LARGEST = Decimal(10) ** 10
_OUT = (LineKind.REFUND, LineKind.DISPUTE)


@dataclass(slots=True)
class LineAmounts:
    """The kind and amounts of lines with certain cells.

    :param kind: ``None`` if the type is not known.
    :param money: gross and positive, as the customer was charged; ``None`` if its currency or size is not
        accepted.
    :param fee, net, settlement_currency: as in :class:`StatementLine`.
    :param problem: why lines with these cells cannot be used.
    :param column: the column at fault.
    :param word: the type as the file writes it.
    :param count: lines with these cells so far.
    """

    kind: LineKind | None = None
    money: Money | ForeignMoney | None = None
    fee: Decimal | None = None
    net: Decimal | None = None
    settlement_currency: str | None = None
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
    """Read the cells of the deciding columns.

    :param mark: the file's decimal mark, if known.
    """

    def __init__(self, layout: Layout, mark: str | None) -> None:
        self._layout = layout
        self._mark = mark
        self.used = tuple(role for role in DECIDING if role in layout.columns)

    def read(self, cells: tuple[Cell, ...]) -> LineAmounts:
        """Return the kind and amounts that the cells give.

        :param cells: those of the columns :attr:`used`, in their order.
        """
        given = dict(zip(self.used, cells, strict=True))
        try:
            return self._read(given)
        except _ProblemError as problem:
            return LineAmounts(problem=problem.reason, column=problem.column)

    def _read(self, given: dict[ColumnRole, Cell]) -> LineAmounts:
        gross = self._amount(given, ColumnRole.AMOUNT)
        if gross is None:
            raise _ProblemError(N_("there is no amount"), ColumnRole.AMOUNT)
        word = _text(given, ColumnRole.TYPE)
        kind = self._kind(given, word, gross)
        if _status(given) is False or self._is_only_recorded(given, word):
            kind = LineKind.OTHER  # no money moved, or none through the provider
        _check_sign(kind, gross, strict=self._layout.provider == STRIPE)
        if kind in _OUT:
            gross = -abs(gross)
        fee, net = self._fee_and_net(given, gross, kind)
        money, settlement_currency = self._money(given, gross, kind)
        return LineAmounts(kind, money, fee, net, settlement_currency, word=word)

    def _kind(self, given: dict[ColumnRole, Cell], word: str, gross: Decimal) -> LineKind | None:
        if self._layout.only_kind is not None:
            return self._layout.only_kind
        if ColumnRole.TYPE not in given:
            # without a type column the sign decides, as in any account statement
            return LineKind.REFUND if gross < 0 else LineKind.PAYMENT
        return kind_of(word, self._layout.words)

    def _is_only_recorded(self, given: dict[ColumnRole, Cell], word: str) -> bool:
        if self._layout.provider == STRIPE:
            return False
        cells = (given.get(role, "") for role in (ColumnRole.METHOD, ColumnRole.CHANNEL))
        return is_only_recorded(word, *(cell for cell in cells if isinstance(cell, str)))

    def _amount(self, given: dict[ColumnRole, Cell], role: ColumnRole) -> Decimal | None:
        cell = given.get(role, "")
        if is_blank(cell):
            return None
        try:
            return read_amount(cell, self._mark)
        except CellError as error:
            raise _ProblemError(error.args[0], role) from None

    def _money(
        self, given: dict[ColumnRole, Cell], gross: Decimal, kind: LineKind | None
    ) -> tuple[Money | ForeignMoney | None, str | None]:
        """Return what the customer was charged, and the settlement currency where it has to be kept."""
        settled_in = currency_code(_text(given, ColumnRole.CURRENCY))
        charged_in = currency_code(_text(given, ColumnRole.CUSTOMER_CURRENCY))
        if charged_in not in ("", settled_in):
            charged = self._amount(given, ColumnRole.CUSTOMER_AMOUNT)
            if charged is None:
                raise _ProblemError(N_("there is no amount"), ColumnRole.CUSTOMER_AMOUNT)
            roles = (ColumnRole.CUSTOMER_AMOUNT, ColumnRole.CUSTOMER_CURRENCY)
            return _read_money(charged, charged_in, kind, roles), settled_in
        code = settled_in if ColumnRole.CURRENCY in given else str(self._layout.currency or "")
        money = _read_money(gross, code, kind, (ColumnRole.AMOUNT, ColumnRole.CURRENCY))
        # editions that name the customer's amount of charges alone say nothing of a refund's
        is_unsaid = ColumnRole.CUSTOMER_CURRENCY in given and not charged_in and kind is not LineKind.PAYMENT
        return money, (code if is_unsaid else None)

    def _fee_and_net(
        self, given: dict[ColumnRole, Cell], gross: Decimal, kind: LineKind | None
    ) -> tuple[Decimal | None, Decimal | None]:
        """Return fee and net. The fee is gross less net; the fee column counts only without a net amount."""
        fee, net = self._amount(given, ColumnRole.FEE), self._amount(given, ColumnRole.NET)
        if self._layout.provider == STRIPE:
            if fee is not None and net is not None and gross - fee != net:
                raise _ProblemError(
                    N_("%(gross)s less the fee of %(fee)s is not %(net)s", gross=gross, fee=fee, net=net),
                    ColumnRole.NET,
                )
            return fee, net
        if net is None:
            # a refund returns the fee of its purchase
            return (None if fee is None else -abs(fee) if kind in _OUT else abs(fee)), None
        signed = -abs(net) if kind in _OUT else net
        return gross - signed, signed


def _text(given: dict[ColumnRole, Cell], role: ColumnRole) -> str:
    cell = given.get(role, "")
    if not isinstance(cell, str):
        raise _ProblemError(N_("“%(value)s” is not text", value=shown(cell)), role)
    return cell.strip()


def _status(given: dict[ColumnRole, Cell]) -> bool:
    word = _text(given, ColumnRole.STATUS)
    done = is_done(word)
    if done is None:
        raise _ProblemError(N_("the status “%(word)s” is not known", word=word[:40]), ColumnRole.STATUS)
    return done


def _check_sign(kind: LineKind | None, gross: Decimal, *, strict: bool) -> None:
    """Check that the sign of an amount fits the kind of its line.

    :param strict: the provider always writes outgoing money with a minus.
    """
    if kind in _IN and gross < 0:
        raise _ProblemError(
            N_("%(amount)s is negative, but by its type money came in", amount=gross), ColumnRole.AMOUNT
        )
    if strict and kind in _OUT and gross > 0:
        raise _ProblemError(
            N_("%(amount)s is positive, but by its type money went out", amount=gross), ColumnRole.AMOUNT
        )


def _read_money(
    amount: Decimal, code: str, kind: LineKind | None, roles: tuple[ColumnRole, ColumnRole]
) -> Money | ForeignMoney | None:
    """Return positive money, also in a currency that we do not accept.

    :param roles: the columns of the amount and of the currency.
    """
    try:
        return Money(abs(amount), Currency(code))
    except InvalidAmount as error:
        reason, column = error.message, roles[0]
    except ValueError:
        reason, column = N_("“%(code)s” is not a currency that we accept", code=code), roles[1]
        if _CURRENCY.fullmatch(code) and abs(amount) < _LARGEST and kind is not LineKind.OTHER:
            return ForeignMoney(abs(amount), code)
    if kind is LineKind.OTHER:
        return None  # it belongs to no payment of ours, so any currency and size will do
    raise _ProblemError(reason, column)
