"""Translate texts, and write amounts and times, in the language of the person who reads them.

The English texts stand in the code; ``locale/`` holds the others. Babel is imported when the first text is
translated, so that commands which show none start quickly.
"""

from __future__ import annotations

import gettext
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from zoneinfo import ZoneInfo

from procomp_pay.domain.language import Language
from procomp_pay.domain.money import Currency, Money

#: The language of the texts in the code.
SOURCE = Language.ENGLISH
_ALMATY = ZoneInfo("Asia/Almaty")
_CURRENCY_SIGNS = {Currency.KZT: "₸", Currency.USD: "$", Currency.EUR: "€", Currency.RUB: "₽"}
_NO_BREAK = "\N{NO-BREAK SPACE}"


class Translation:
    """One language: ``en``, ``ru`` or ``kk``."""

    def __init__(self, language: str) -> None:
        self.language = Language(language)
        self._catalogue = _catalogue(self.language)

    def text(self, message: str, **values: object) -> str:
        """Return a translated text with its values filled in."""
        return self._catalogue.gettext(message) % values if values else self._catalogue.gettext(message)

    def counted(self, one: str, many: str, count: int) -> str:
        """Return a translated text with ``%(n)d`` in it, in the plural form for the number."""
        return self._catalogue.ngettext(one, many, count) % {"n": count}

    def money(self, money: Money) -> str:
        """Return an amount in the notation of the language, with no-break spaces: ``24 000,00 ₸``."""
        from babel.numbers import format_decimal

        number = format_decimal(money.amount, format="#,##0.00", locale=self.language)
        unit = money.currency.value if self.language == SOURCE else _CURRENCY_SIGNS[money.known_currency]
        return f"{number}{_NO_BREAK}{unit}".replace(" ", _NO_BREAK)

    def moment(self, at: datetime) -> str:
        """Return date and time in Almaty."""
        from babel.dates import format_date, format_time

        local = at.astimezone(_ALMATY)
        day = format_date(local, "long", locale=self.language)
        return f"{day}, {format_time(local, 'HH:mm', locale=self.language)}"


def preferred_language(environ: Mapping[str, str]) -> Language:
    """Return the language of a terminal: ``PROCOMP_LANGUAGE``, else its locale, else English.

    A language that has no catalogue gives English.
    """
    names = ("PROCOMP_LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")
    name = next(filter(None, (environ.get(name, "").strip() for name in names)), "")
    code = name.lower().replace("-", "_").partition(".")[0].partition("_")[0]
    return next((language for language in Language if language == code), SOURCE)


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
