"""Money: a decimal amount with its currency, never a float.

Provider minor units are made here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from procomp_pay.domain.errors import InvalidAmount


class Currency(StrEnum):
    """The currencies an entry fee may have (the platform's native enum ``"Currency"``)."""

    USD = "USD"
    KZT = "KZT"
    EUR = "EUR"
    RUB = "RUB"


#: Digits after the decimal point in the provider's minor unit. Stripe counts tenge in tiyn too.
#: Source: Stripe's currency documentation (zero-decimal currencies); none of ours is zero-decimal.
MINOR_DIGITS: dict[Currency, int] = {
    Currency.USD: 2,
    Currency.KZT: 2,
    Currency.EUR: 2,
    Currency.RUB: 2,
}

#: The largest amount that DECIMAL(10,2) holds.
LARGEST = Decimal("99999999.99")

_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Money:
    """An amount of one currency, with two decimals.

    Sums and differences of two currencies raise :class:`InvalidAmount`: an amount is never
    relabelled from one currency to another.
    """

    amount: Decimal
    currency: Currency

    def __post_init__(self) -> None:
        if not isinstance(self.amount, Decimal):
            raise TypeError(f"money is Decimal, not {type(self.amount).__name__}")
        if not self.amount.is_finite():
            raise InvalidAmount(f"{self.amount} is not an amount of money")
        if abs(self.amount) > LARGEST:
            raise InvalidAmount(f"{self.amount} is more than the largest amount, {LARGEST}")
        if self.amount != self.amount.quantize(_CENT):
            raise InvalidAmount(f"{self.amount} has more than two decimals")
        object.__setattr__(self, "amount", self.amount.quantize(_CENT))

    @classmethod
    def parse(cls, amount: str | int | Decimal, currency: str | Currency) -> Money:
        """Read a positive amount from outside.

        :raises InvalidAmount: not a number, not finite, zero, negative, over 99 999 999.99,
            more than two decimals, or a currency that is not ours.
        """
        try:
            known = Currency(str(currency).upper())
        except ValueError:
            raise InvalidAmount(
                f"{str(currency)[:12]!r} is not a currency we take",
                next_step=f"use one of {', '.join(Currency)}",
            ) from None
        if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
            raise InvalidAmount(f"an amount is a decimal number, not {type(amount).__name__}")
        try:
            # str(): the exponent of a Decimal such as 1E+9 is judged as it was written
            number = Decimal(amount.strip() if isinstance(amount, str) else amount)
        except InvalidOperation:
            raise InvalidAmount(
                f"{str(amount)[:24]!r} is not an amount of money", next_step="write it as 50.00"
            ) from None
        money = cls(number, known)
        if money.amount <= 0:
            raise InvalidAmount(f"an amount must be more than zero, not {str(amount)[:24]}")
        return money

    @classmethod
    def from_minor_units(cls, units: int, currency: str | Currency) -> Money:
        """Money from a provider's minor units (cents, tiyn); ``currency`` in any case.

        :raises InvalidAmount: a currency that is not ours, or more than the largest amount.
        """
        try:
            known = Currency(str(currency).upper())
        except ValueError:
            raise InvalidAmount(f"{str(currency)[:12]!r} is not a currency we take") from None
        return cls(Decimal(units).scaleb(-MINOR_DIGITS[known]), known)

    @property
    def minor_units(self) -> int:
        """The integer that Stripe counts in: cents, tiyn, kopecks."""
        return int(self.amount.scaleb(MINOR_DIGITS[self.currency]))

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other).amount, self.currency)

    def _same(self, other: Money) -> Money:
        if other.currency is not self.currency:
            raise InvalidAmount(f"{self.currency} and {other.currency} cannot be added up")
        return other

    def __str__(self) -> str:
        """For people: ``24 000.00 KZT``, with no-break spaces so that a line never splits an amount."""
        return f"{self.amount:,.2f} {self.currency}".replace(",", "\u00a0").replace(" ", "\u00a0")
