"""Translate texts, and write amounts and times, in the language of the person who reads them.

The English texts stand in the code; ``locale/`` holds the others. Babel is imported when the first text is
translated, so that commands which show none start quickly.
"""

from __future__ import annotations

import gettext
import re
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from io import BytesIO
from typing import TYPE_CHECKING

from procomp_pay.domain.almaty import ALMATY
from procomp_pay.domain.language import Language
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.text import Text

if TYPE_CHECKING:
    from babel.messages.catalog import Catalog

#: The language of the texts in the code.
SOURCE = Language.ENGLISH
_CURRENCY_SIGNS: dict[str, str] = {Currency.KZT: "₸", Currency.USD: "$", Currency.EUR: "€", Currency.RUB: "₽"}
_NO_BREAK = "\N{NO-BREAK SPACE}"
#: An amount in a stored sentence.
_MONEY = re.compile(rf"(\d{{1,8}}\.\d\d) ({'|'.join(Currency)})")
#: A state in one.
_STATE = re.compile(r"[A-Z]+(_[A-Z]+)*")
_VALUE = re.compile(r"%\((\w+)\)s")
#: Letters that a template has beside its values, at least, to be told from others by them.
_LEAST_LETTERS = 8
#: What the values of these names look like in it.
_FORMS = {"n": r"[\d\s.,]*?", "money": rf"\d{{1,8}}\.\d\d (?:{'|'.join(Currency)})"}


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
        """Return a text that was marked with ``N_`` in this language, its values too: amounts, states, other
        texts; also one that was read from the database, where only its English is. Any other stays as it is.
        """
        if self.language == SOURCE:
            return str(text)
        if not isinstance(text, Text):
            return self._recorded(text)[0]
        return self.text(text.template, **{name: self._value(value) for name, value in text.values.items()})

    def _value(self, value: object) -> object:
        if isinstance(value, Money):
            return self.short_money(value)
        if isinstance(value, StrEnum):
            return self._word(value)
        return self.shown(value) if isinstance(value, str) else value

    def _word(self, state: str) -> str:
        """Return a state such as ``AMOUNT_MISMATCH`` in words; as it is where there are none."""
        names = (state, state.lower().replace("_", " "))
        return next((word for name in names if (word := self._catalogue.gettext(name)) != name), state)

    def _recorded(self, text: str) -> tuple[str, int]:
        """Return a sentence that was stored as English, by the template that made it, and how many of its
        letters no template explains. Of several templates that fit, the one that leaves the fewest is taken.

        A single word stays: it may be a name.
        """
        if money := _MONEY.fullmatch(text):
            return self.short_money(Money(Decimal(money[1]), Currency(money[2]))), 0
        left = sum(map(str.isalpha, text))
        if " " not in text:
            return text, left
        if (same := self._catalogue.gettext(text)) != text:
            return same, 0
        best, template, values = left, None, {}
        for each in _templates(self.language):
            if (found := each.read(text)) is None:
                continue
            read = {name: self._read(value) for name, value in found.items()}
            if (rest := sum(letters for _, letters in read.values())) < best:
                best, template, values = rest, each, read
        if template is None:
            return text, left
        return self.text(template.text, **{name: shown for name, (shown, _) in values.items()}), best

    def _read(self, value: str) -> tuple[str, int]:
        """Return a value of a stored sentence, which may be a state such as ``AMOUNT_MISMATCH``, and how many
        of its letters nothing explains."""
        if _STATE.fullmatch(value) and (word := self._word(value)) != value:
            return word, 0
        return self._recorded(value)

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

        local = at.astimezone(ALMATY)
        day = format_date(local, "long", locale=self.language)
        return f"{day}, {format_time(local, 'HH:mm', locale=self.language)}"


class _Template:
    """A text with values, and how to find them again in a sentence that was made from it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._parts = [part.replace("%%", "%") for part in _VALUE.split(text)[::2]]
        self._names = _VALUE.findall(text)

    @property
    def letters(self) -> int:
        return sum(letter.isalpha() for part in self._parts for letter in part)

    def read(self, text: str) -> dict[str, str] | None:
        """Return the values of a sentence; ``None`` if it was made from another template."""
        if not (text.startswith(self._parts[0]) and text.endswith(self._parts[-1])):
            return None
        if not all(part in text for part in self._parts):  # much faster than the pattern
            return None
        found = re.fullmatch(self._pattern(), text, re.DOTALL)
        return None if found is None else dict(zip(self._names, found.groups(), strict=True))

    def _pattern(self) -> str:
        first, *others = map(re.escape, self._parts)
        values = (f"({_FORMS.get(name, '.*?')})" for name in self._names)
        return first + "".join(value + part for value, part in zip(values, others, strict=True))


@lru_cache
def _templates(language: Language) -> list[_Template]:
    """Return the catalogue's texts with values that can be told by their own letters."""
    texts = [message.id for message in _source(language) if isinstance(message.id, str)]
    known = [_Template(text) for text in texts if _VALUE.search(text)]
    return [each for each in known if each.letters >= _LEAST_LETTERS]


@lru_cache
def _source(language: Language) -> Catalog:
    from babel.messages.pofile import read_po

    source = files("procomp_pay.translations") / "locale" / language / "LC_MESSAGES" / "procomp_pay.po"
    with source.open("rb") as text:
        return read_po(text, locale=language, abort_invalid=True)


@lru_cache
def _catalogue(language: Language) -> gettext.NullTranslations:
    if language == SOURCE:
        return gettext.NullTranslations()
    from babel.messages.mofile import write_mo

    compiled = BytesIO()
    write_mo(compiled, _source(language))
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)
