"""Decide what is charged for an entry: the tournament's fee, in a currency that the method accepts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from procomp_pay.domain.errors import ErrorCode, InvalidAmount, Refused
from procomp_pay.domain.money import AnyCurrency, Currency, Money
from procomp_pay.domain.period import Period
from procomp_pay.domain.states import PaymentMethod
from procomp_pay.domain.text import N_


@dataclass(frozen=True, slots=True)
class EntryFees:
    """The entry fees of a tournament: the main fee, and one for each further currency."""

    tournament_id: str
    main: Money
    others: Mapping[Currency, Money]

    def in_currency(self, currency: AnyCurrency) -> Money | None:
        if self.main.currency == currency:
            return self.main
        return self.others.get(currency) if isinstance(currency, Currency) else None

    @property
    def currencies(self) -> list[AnyCurrency]:
        return [self.main.currency, *(c for c in self.others if c is not self.main.currency)]


class FeeKind(StrEnum):
    """The name of a fee that holds on some days only."""

    EARLY = "early"
    NORMAL = "normal"
    LATE = "late"
    ON_SITE = "on-site"


#: The kinds in words.
KIND_NAMES = {
    FeeKind.EARLY: N_("early fee"),
    FeeKind.NORMAL: N_("normal fee"),
    FeeKind.LATE: N_("late fee"),
    FeeKind.ON_SITE: N_("on-site fee"),
}


@dataclass(frozen=True, slots=True)
class FeePeriod:
    """A fee that holds on whole days of a time zone."""

    kind: FeeKind
    fee: Money
    days: Period

    def holds(self, at: datetime) -> bool:
        begins, ends = self.days.begins, self.days.ends
        return (begins is None or begins <= at) and (ends is None or at < ends)

    def overlaps(self, other: FeePeriod) -> bool:
        """Return whether there is an instant at which both hold."""
        return _is_before(self.days.begins, other.days.ends) and _is_before(other.days.begins, self.days.ends)


def _is_before(begins: datetime | None, ends: datetime | None) -> bool:
    return begins is None or ends is None or begins < ends


@dataclass(frozen=True, slots=True)
class FeeSchedule:
    """The fees of a tournament, and those that replace them on some days."""

    base: EntryFees
    periods: Sequence[FeePeriod] = ()

    def at(self, moment: datetime) -> EntryFees:
        """Return the fees that hold at an instant. A period in a currency without a fee has no effect."""
        base = self.base
        now = {
            period.fee.currency: period.fee
            for period in self.periods
            if period.holds(moment) and base.in_currency(period.fee.currency) is not None
        }
        main = now.get(base.main.currency, base.main)
        return EntryFees(base.tournament_id, main, {c: now.get(c, fee) for c, fee in base.others.items()})

    def ever(self, currency: Currency) -> list[Money]:
        """Return every fee in a currency that holds on some day."""
        base = self.base.in_currency(currency)
        if base is None:
            return []
        return [base, *(period.fee for period in self.periods if period.fee.currency is currency)]


def check_period(period: FeePeriod, schedule: FeeSchedule) -> None:
    """Check that a period can be added to a schedule; it replaces the one of its kind and currency.

    :raises InvalidAmount: the fee is not more than zero, or in tenge with tiyn.
    :raises Refused: the tournament has no fee in its currency, or it overlaps another period.
    """
    fee = checked_fee(Money.parse(period.fee.amount, period.fee.currency))
    base = schedule.base
    if base.in_currency(fee.currency) is None:
        raise Refused(
            N_(
                "The tournament has no entry fee in %(currency)s, only in %(known)s",
                currency=fee.currency,
                known=", ".join(base.currencies),
            ),
            next_step=_add_fee(base, fee.currency),
            code=ErrorCode.FEE_MISSING,
        )
    for other in schedule.periods:
        if other.fee.currency == fee.currency and other.kind is not period.kind and other.overlaps(period):
            raise Refused(
                N_(
                    "The %(kind)s and the %(other)s of %(fee)s would hold on the same days",
                    kind=KIND_NAMES[period.kind],
                    other=KIND_NAMES[other.kind],
                    fee=other.fee,
                ),
                next_step=N_(
                    "see its days: procomp-pay tournament fees %(tournament)s", tournament=base.tournament_id
                ),
            )


@dataclass(frozen=True, slots=True)
class Charge:
    """The requested and the charged amount. They differ only if Kaspi charges the fee in tenge instead."""

    requested: Money
    charged: Money


def checked_fee(money: Money) -> Money:
    """Return the fee if it is valid.

    :raises InvalidAmount: not a whole number of tenge; Kaspi accepts no tiyn, so the fee could not be paid.
    """
    if money.currency is Currency.KZT and money.amount != money.amount.quantize(Decimal(1)):
        raise InvalidAmount(
            N_("%(money)s: a fee in tenge must be whole tenge, because Kaspi accepts no tiyn", money=money)
        )
    return money


def charge_for(fees: EntryFees, method: PaymentMethod, requested: Money | None) -> Charge:
    """Return the amount to charge with this method (SPEC 4).

    :param requested: the amount that the caller expects; ``None`` accepts the current fee.
    :raises Refused: the amount is not the fee in that currency, there is no fee in it or it is zero, or the
        method is Kaspi and the tournament has no fee in whole tenge.
    """
    if requested is not None:
        fee = fees.in_currency(requested.currency)
        if fee is None:
            known = ", ".join(fees.currencies)
            raise Refused(
                N_(
                    "The tournament has no entry fee in %(currency)s, only in %(known)s",
                    currency=requested.currency,
                    known=known,
                ),
                next_step=_add_fee(fees, requested.currency),
                code=ErrorCode.FEE_MISSING,
            )
        if fee != requested:
            raise Refused(
                N_("Payment amount must match tournament entry fee"),
                next_step=N_("the fee is %(fee)s; leave the amount out to charge the fee", fee=fee),
                code=ErrorCode.AMOUNT_MISMATCH,
            )
    if not method.is_kaspi:
        charged = _payable(fees, requested or fees.main)
        return Charge(charged, charged)
    tenge = fees.in_currency(Currency.KZT)
    if tenge is None:
        raise Refused(
            N_("Kaspi accepts tenge only, and the tournament has no entry fee in KZT"),
            next_step=_add_fee(fees, Currency.KZT),
            code=ErrorCode.FEE_MISSING,
        )
    try:
        checked_fee(_payable(fees, tenge))
    except InvalidAmount as error:
        error.next_step = _add_fee(fees, Currency.KZT)
        raise
    return Charge(requested or tenge, tenge)


def _payable(fees: EntryFees, fee: Money) -> Money:
    """Return the fee if it can be charged; the platform may have written any.

    :raises Refused: it is zero or less, or in a currency that only the platform knows.
    """
    if not isinstance(fee.currency, Currency):
        raise Refused(
            N_(
                "The tournament's entry fee is in %(currency)s, a currency that procomp-pay does not take",
                currency=fee.currency,
            ),
            next_step=_add_fee(fees, Currency.KZT),
            code=ErrorCode.FEE_MISSING,
        )
    if fee.amount <= 0:
        raise Refused(
            N_("The tournament has no entry fee to charge: it is %(fee)s", fee=fee),
            next_step=_add_fee(fees, fee.currency),
        )
    return fee


def _add_fee(fees: EntryFees, currency: AnyCurrency) -> str:
    return f"procomp-pay tournament fee {fees.tournament_id} AMOUNT {currency}"
