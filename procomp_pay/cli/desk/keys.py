"""Keys and scanned texts, whatever keyboard layout is active.

A barcode scanner types as a keyboard does: in the Russian or Kazakh layout its text arrives in other letters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from procomp_pay.domain import operation_number, payment_code
from procomp_pay.domain.errors import PaymentError

#: The keys of three layouts, position by position: letters and signs, then the row of digits.
_LATIN = "qwertyuiop[]asdfghjkl;'zxcvbnm,./QWERTYUIOP{}ASDFGHJKL:\"ZXCVBNM<>?"
_CYRILLIC = "йцукенгшщзхъфывапролджэячсмитьбю.ЙЦУКЕНГШЩЗХЪФЫВАПРОЛДЖЭЯЧСМИТЬБЮ,"
_LATIN_ROW, _KAZAKH_ROW = "1234567890-=", '"әіңғ,.үұқөһ'
_FROM_RUSSIAN = str.maketrans(_CYRILLIC, _LATIN)
_FROM_KAZAKH = str.maketrans(_CYRILLIC[:-1] + _KAZAKH_ROW, _LATIN[:-1] + _LATIN_ROW)

#: A payment's page, as its QR holds it.
_PAGE = re.compile(r"/p/([0-9A-Za-z]{8})\b")
_ROW = re.compile(r"(.*\D)(\d{1,2})")


#: The letters of yes (y, да, иә) and no (no, нет, жоқ), not those of the same key: н is the key of y.
YES, NO = "y,Y,д,Д,и,И", "n,N,н,Н,ж,Ж"


def key(letter: str) -> str:
    """Return the names of a key for a binding: its Latin and its Cyrillic letter, small and capital."""
    letters = [letter, _CYRILLIC[_LATIN.index(letter)]]
    return ",".join(form for each in letters for form in (each, each.upper()))


@dataclass(frozen=True, slots=True)
class Scan:
    """What was scanned or typed: a payment's code, or the operation number of a receipt."""

    code: str | None = None
    receipt: str | None = None


def read_scan(text: str) -> Scan | None:
    """Return what a text means besides a name: a payment's code, a payment's page, a receipt's number.

    :returns: ``None`` if it is neither; a name of eight letters may look like a code, so look it up.
    """
    for reading in _readings(text.strip()):
        page = _PAGE.search(reading)
        if (code := _code(page[1] if page else reading)) is not None:
            return Scan(code=code)
        if (receipt := _receipt(reading)) is not None:
            return Scan(receipt=receipt)
    return None


def mistyped_code(text: str) -> str | None:
    """Return the code in a text that :func:`read_scan` does not read; ``None`` if it may be a name: without
    a digit as it was typed, since the letters of Нұрланов are digits in another layout."""
    codes = [payment_code.folded(each) for each in _readings(text) if payment_code.looks_like_one(each)]
    return codes[0] if codes and payment_code.has_digit(text) else None


def row_number(text: str) -> tuple[str, int | None]:
    """Return a text without the number of a row at its end, and that number: ``нур2`` is the second Нур…"""
    match = _ROW.fullmatch(text)
    return (match[1], int(match[2])) if match else (text, None)


def _readings(text: str) -> Iterator[str]:
    """Yield a text as it is, and as the keys would give it in the Latin layout."""
    yield text
    for table in (_FROM_RUSSIAN, _FROM_KAZAKH):
        if (reading := text.translate(table)) != text:
            yield reading


def _code(text: str) -> str | None:
    try:
        return payment_code.read(text)
    except PaymentError:
        return None


def _receipt(text: str) -> str | None:
    """Return the operation number in a text: the text itself, or the only long number in a link."""
    try:
        return operation_number.read(text)
    except PaymentError:
        numbers = re.findall(r"(?<!\d)\d{8,18}(?!\d)", text) if "/" in text else []
        return operation_number.read(numbers[0]) if len(numbers) == 1 else None
