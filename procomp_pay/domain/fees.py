"""What a participant is charged: the tournament's entry fee, in a currency that the method takes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from procomp_pay.domain.errors import InvalidAmount, Refused
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.states import PaymentMethod


@dataclass(frozen=True, slots=True)
class EntryFees:
    """A tournament's fees: the main one and further ones, one for each currency."""

    tournament_id: str
    main: Money
    others: Mapping[Currency, Money]

    def in_currency(self, currency: Currency) -> Money | None:
        return self.main if self.main.currency is currency else self.others.get(currency)

    @property
    def currencies(self) -> list[Currency]:
        return [self.main.currency, *(c for c in self.others if c is not self.main.currency)]


@dataclass(frozen=True, slots=True)
class Charge:
    """What was asked for and what the provider takes. They differ only where Kaspi takes the tenge fee."""

    requested: Money
    charged: Money


def checked_fee(money: Money) -> Money:
    """A fee as it may stand in the price list.

    :raises InvalidAmount: tenge with tiyn; Kaspi takes whole tenge, so such a fee could never be paid there.
    """
    if money.currency is Currency.KZT and money.amount != money.amount.quantize(Decimal(1)):
        raise InvalidAmount(f"{money}: a fee in tenge is whole tenge, since Kaspi takes no tiyn")
    return money


def charge_for(fees: EntryFees, method: PaymentMethod, requested: Money | None) -> Charge:
    """What to charge for this method (SPEC 4).

    :param requested: the amount that the caller says; ``None`` takes the fee as it stands.
    :raises Refused: the amount is not the fee of that currency, there is no fee in it, or Kaspi is
        asked for and the tournament has no fee in tenge.
    """
    if requested is not None:
        fee = fees.in_currency(requested.currency)
        if fee is None:
            known = ", ".join(fees.currencies)
            raise Refused(
                f"The tournament has no entry fee in {requested.currency}, only in {known}",
                next_step=_add_fee(fees, requested.currency),
            )
        if fee != requested:
            raise Refused(
                "Payment amount must match tournament entry fee",
                next_step=f"the fee is {fee}; leave the amount out to take it as it stands",
            )
    if not method.is_kaspi:
        asked = requested or fees.main
        return Charge(asked, asked)
    tenge = fees.in_currency(Currency.KZT)
    if tenge is None:
        raise Refused(
            "Kaspi takes tenge alone, and the tournament has no entry fee in KZT",
            next_step=_add_fee(fees, Currency.KZT),
        )
    return Charge(requested or tenge, tenge)


def _add_fee(fees: EntryFees, currency: Currency) -> str:
    return f"procomp-pay tournament fee {fees.tournament_id} AMOUNT {currency}"
