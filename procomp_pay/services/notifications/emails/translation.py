"""Texts, amounts and dates in the language of an e-mail.

The catalogues are shipped as ``.po`` files and compiled in memory at first use, so no build step is needed.
"""

from __future__ import annotations

import gettext
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from zoneinfo import ZoneInfo

from babel.dates import format_date, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal

from procomp_pay.domain.money import Currency, Money

#: The language of the texts in the code.
SOURCE = "en"
_ALMATY = ZoneInfo("Asia/Almaty")
_SIGNS = {Currency.KZT: "₸", Currency.USD: "$", Currency.EUR: "€", Currency.RUB: "₽"}
_NO_BREAK = "\N{NO-BREAK SPACE}"


class Translation:
    """One language: ``en``, ``ru`` or ``kk``."""

    def __init__(self, language: str) -> None:
        self.language = language
        self._words = _catalogue(language)

    def text(self, message: str, **values: object) -> str:
        """Return a translated text with its values filled in."""
        return self._words.gettext(message) % values if values else self._words.gettext(message)

    def counted(self, one: str, many: str, count: int) -> str:
        """Return a translated text with ``%(n)d`` in it, in the plural form for the number."""
        return self._words.ngettext(one, many, count) % {"n": count}

    def money(self, money: Money) -> str:
        """Return an amount in the notation of the language, with no-break spaces: ``24 000,00 ₸``."""
        number = format_decimal(money.amount, format="#,##0.00", locale=self.language)
        unit = money.currency.value if self.language == SOURCE else _SIGNS[money.currency]
        return f"{number}{_NO_BREAK}{unit}".replace(" ", _NO_BREAK)

    def moment(self, at: datetime) -> str:
        """Return date and time in Almaty."""
        local = at.astimezone(_ALMATY)
        day = format_date(local, "long", locale=self.language)
        return f"{day}, {format_time(local, 'HH:mm', locale=self.language)}"


@lru_cache
def _catalogue(language: str) -> gettext.NullTranslations:
    if language == SOURCE:
        return gettext.NullTranslations()
    source = (
        files("procomp_pay.services.notifications.emails")
        / "locale"
        / language
        / "LC_MESSAGES"
        / "letters.po"
    )
    compiled = BytesIO()
    with source.open("rb") as text:
        write_mo(compiled, read_po(text, locale=language, abort_invalid=True))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
