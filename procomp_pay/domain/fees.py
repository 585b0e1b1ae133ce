"""Decide the charge: the entry fee of the tournament, in a currency that the payment method accepts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from procomp_pay.domain.errors import ErrorCode, InvalidAmount, Refused
from procomp_pay.domain.money import AnyCurrency, Currency, Money
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
