"""Money: a decimal amount with its currency, never a float.

The only module that converts to and from the minor units of providers.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum

from procomp_pay.domain.errors import InvalidAmount
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.text import N_


class Currency(StrEnum):
    """The currencies an entry fee may have (the platform's native enum ``"Currency"``)."""

    USD = "USD"
    KZT = "KZT"
    EUR = "EUR"
    RUB = "RUB"


#: The currency of a tournament of the platform may be one that we do not know, which nobody is charged in.
AnyCurrency = Currency | UnknownLabel

#: Decimal digits of the provider's minor unit. Stripe counts tenge in tiyn.
#: Source: Stripe's list of zero-decimal currencies, which has none of these.
MINOR_DIGITS: dict[Currency, int] = {
    Currency.USD: 2,
    Currency.KZT: 2,
    Currency.EUR: 2,
    Currency.RUB: 2,
}

#: The largest amount that DECIMAL(10,2) holds.
LARGEST = Decimal("99999999.99")

_CENT = Decimal("0.01")
#: An amount as people write it: the thousands apart or not, and a comma or point before one or two decimals.
_AS_WRITTEN = re.compile(r"([0-9]{1,3}(\s[0-9]{3})+|[0-9]+)([,.][0-9]{1,2})?")
#: The power of ten of the largest amount's first digit.
_MOST_DIGITS = LARGEST.adjusted()

#: Decimal places beyond which a number is not worked with at all.
_FEWEST_DIGITS = 20


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in one currency, with two decimals.

    Adding or subtracting different currencies raises :class:`InvalidAmount`.
    """

    amount: Decimal
    currency: AnyCurrency

    def __post_init__(self) -> None:
        amount = self.amount
        if not isinstance(amount, Decimal):
            raise TypeError(f"an amount must be a Decimal, not {type(amount).__name__}")
        if not amount.is_finite():
            raise InvalidAmount(N_("%(amount)s is not an amount of money", amount=amount))
        if amount:  # before any arithmetic, which fails for exponents beyond the context's bounds
            size = amount.adjusted()
            if size > _MOST_DIGITS:
                raise InvalidAmount(
                    N_(
                        "%(amount)s is more than the largest amount, %(most)s",
                        amount=f"{amount:.2e}",
                        most=LARGEST,
                    )
                )
            if size < -_FEWEST_DIGITS:
                raise InvalidAmount(N_("%(amount)s has more than two decimals", amount=f"{amount:.2e}"))
        if abs(amount) > LARGEST:
            raise InvalidAmount(
                N_("%(amount)s is more than the largest amount, %(most)s", amount=amount, most=LARGEST)
            )
        exact = amount.quantize(_CENT)
        if amount != exact:
            raise InvalidAmount(N_("%(amount)s has more than two decimals", amount=amount))
        object.__setattr__(self, "amount", exact)

    @classmethod
    def parse(cls, amount: str | int | Decimal, currency: str | Currency) -> Money:
        """Parse a positive amount from external input.

        :raises InvalidAmount: not a number, not finite, zero, negative, over 99 999 999.99,
            more than two decimals, or an unsupported currency.
        """
        try:
            known = Currency(str(currency).upper())
        except ValueError:
            raise InvalidAmount(
                N_("%(currency)s is not a currency we take", currency=repr(str(currency)[:12])),
                next_step=N_("use one of %(names)s", names=", ".join(Currency)),
            ) from None
        if isinstance(amount, bool) or not isinstance(amount, str | int | Decimal):
            raise InvalidAmount(N_("an amount is a decimal number, not %(name)s", name=type(amount).__name__))
        try:
            number = Decimal(amount.strip() if isinstance(amount, str) else amount)
        except InvalidOperation:
            raise _no_amount(str(amount)) from None
        money = cls(number, known)
        if money.amount <= 0:
            raise InvalidAmount(
                N_("an amount must be more than zero, not %(amount)s", amount=str(amount)[:24])
            )
        return money

    @classmethod
    def typed(cls, amount: str, currency: str | Currency) -> Money:
        """Parse a positive amount as a person types it: also as it is shown, ``24 000`` or ``10 000,50``.

        :raises InvalidAmount: as :meth:`parse`; also what people do not write (``1e3``), and ``24,000`` and
            ``24.000``, which could be thousands or decimals.
        """
        if _AS_WRITTEN.fullmatch(amount.strip()):
            return cls.parse("".join(amount.split()).replace(",", "."), currency)
        cls.parse(amount, currency)  # tells what else is wrong
        raise _no_amount(amount.strip())

    @classmethod
    def from_minor_units(cls, units: int, currency: str | Currency) -> Money:
        """Convert minor units of a provider (cents, tiyn); ``currency`` in upper or lower case.

        :raises InvalidAmount: an unsupported currency, or more than the largest amount.
        """
        try:
            known = Currency(str(currency).upper())
        except ValueError:
            raise InvalidAmount(
                N_("%(currency)s is not a currency we take", currency=repr(str(currency)[:12]))
            ) from None
        if abs(units) > LARGEST.scaleb(MINOR_DIGITS[known]):
            raise InvalidAmount(N_("an amount is more than the largest amount, %(most)s", most=LARGEST))
        return cls(Decimal(units).scaleb(-MINOR_DIGITS[known]), known)

    @property
    def known_currency(self) -> Currency:
        """The currency as one of ours.

        :raises InvalidAmount: the platform added it: nothing can be charged in it.
        """
        if isinstance(self.currency, UnknownLabel):
            raise InvalidAmount(
                N_("%(currency)s is not a currency we take", currency=self.currency),
                next_step=N_("use one of %(names)s", names=", ".join(Currency)),
            )
        return self.currency

    @property
    def minor_units(self) -> int:
        """The amount in minor units: cents, tiyn, kopecks.

        :raises InvalidAmount: see :attr:`known_currency`.
        """
        return int(self.amount.scaleb(MINOR_DIGITS[self.known_currency]))

    def __add__(self, other: Money) -> Money:
        return Money(self.amount + self._same(other).amount, self.currency)

    def __sub__(self, other: Money) -> Money:
        return Money(self.amount - self._same(other).amount, self.currency)

    def _same(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise InvalidAmount(
                N_(
                    "%(currency)s and %(other)s cannot be added up",
                    currency=self.currency,
                    other=other.currency,
                )
            )
        return other

    def __str__(self) -> str:
        """Format as ``24 000.00 KZT``, with no-break spaces so that an amount stays on one line."""
        return f"{self.amount:,.2f} {self.currency}".replace(",", "\u00a0").replace(" ", "\u00a0")


def _no_amount(text: str) -> InvalidAmount:
    return InvalidAmount(
        N_("%(amount)s is not an amount of money", amount=repr(text[:24])), next_step=N_("write it as 50.00")
    )
