"""Translate texts, and write amounts and times, in the language of the person who reads them.

The English texts stand in the code; ``locale/`` holds the others. Babel is imported when the first text is
translated, so that commands which show none start quickly.
"""

from __future__ import annotations

import gettext
import re
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from zoneinfo import ZoneInfo

from procomp_pay.domain.language import Language
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.text import Text

#: The language of the texts in the code.
SOURCE = Language.ENGLISH
_ALMATY = ZoneInfo("Asia/Almaty")
_CURRENCY_SIGNS: dict[str, str] = {Currency.KZT: "₸", Currency.USD: "$", Currency.EUR: "€", Currency.RUB: "₽"}
_NO_BREAK = "\N{NO-BREAK SPACE}"


class Translation:
    """One language: ``en``, ``ru`` or ``kk``."""

    def __init__(self, language: str) -> None:
        self.language = Language(language)
        self._catalogue = _catalogue(self.language)

    def text(self, message: str, **values: object) -> str:
        """Return a translated text with its values filled in; the empty one stays empty."""
        if not message:
            return ""
        return self._catalogue.gettext(message) % values if values else self._catalogue.gettext(message)

    def counted(self, one: str, many: str, count: int) -> str:
        """Return a translated text with ``%(n)d`` in it, in the plural form for the number."""
        return self._catalogue.ngettext(one, many, count) % {"n": count}

    def shown(self, text: str) -> str:
        """Return a text marked with ``N_`` in this language, its values too: amounts, states, other texts."""
        if self.language == SOURCE or not isinstance(text, Text):
            return str(text)
        return self.text(text.template, **{name: self._value(value) for name, value in text.values.items()})

    def _value(self, value: object) -> object:
        if isinstance(value, Text):
            return self.shown(value)
        if isinstance(value, Money):
            return self.short_money(value)
        return self._catalogue.gettext(value) if isinstance(value, StrEnum) else value

    def money(self, money: Money) -> str:
        """Return an amount in the notation of the language, with no-break spaces: ``24 000,00 ₸``."""
        number = f"{money.amount:,.2f}"
        if self.language == SOURCE:
            return f"{number}{_NO_BREAK}{money.currency}"
        sign = _CURRENCY_SIGNS.get(money.currency, money.currency)
        return f"{number.replace(',', _NO_BREAK).replace('.', ',')}{_NO_BREAK}{sign}"

    def short_money(self, money: Money) -> str:
        """Return an amount without empty decimals: ``24 000 ₸``."""
        return re.sub(r"[.,]00\b", "", self.money(money))

    def moment(self, at: datetime) -> str:
        """Return date and time in Almaty."""
        from babel.dates import format_date, format_time

        local = at.astimezone(_ALMATY)
        day = format_date(local, "long", locale=self.language)
        return f"{day}, {format_time(local, 'HH:mm', locale=self.language)}"


@lru_cache
def _catalogue(language: Language) -> gettext.NullTranslations:
    if language == SOURCE:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo
    from babel.messages.pofile import read_po

    source = files("procomp_pay.translations") / "locale" / language / "LC_MESSAGES" / "procomp_pay.po"
    compiled = BytesIO()
    with source.open("rb") as text:
        write_mo(compiled, read_po(text, locale=language, abort_invalid=True))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
