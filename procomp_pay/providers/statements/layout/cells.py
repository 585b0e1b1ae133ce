"""Read amounts and operation numbers from cells: exactly or not at all."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal

from procomp_pay.domain.text import N_
from procomp_pay.providers.tabular.cells import Cell, Unusable, shown

#: Excel keeps fifteen digits of a number and loses the rest.
EXACT_DIGITS = 15
#: How far a cell's binary number may be from the hundredth that is meant.
_NOISE = Decimal("0.000001")
_CENT = Decimal("0.01")


class CellError(Exception):
    """A cell that cannot be read for certain. The message is the reason."""


_SPACES = re.compile(r"[\s'\u2019\u02bc\u2018]+")
_TENGE = re.compile(r"^(?:₸|kzt)|(?:₸|тг\.?|тенге|теңге|т|kzt)$", re.I)
_MINUS = "-\N{MINUS SIGN}\N{EN DASH}\N{NON-BREAKING HYPHEN}\N{FIGURE DASH}"
#: Most amounts have this form, which has only one reading.
_PLAIN = re.compile(r"-?\d{1,12}(?:[.,]\d{1,2})?", re.A)
#: ``_`` stands for a space or an apostrophe between thousands.
_NUMBER = re.compile(r"(\d{1,3}(?:([_.,])\d{3})(?:\2\d{3})*|\d+)(?:([.,])(\d+))?", re.A)


@dataclass(frozen=True, slots=True)
class _Written:
    """A number as it is written.

    :param whole: the digits before the decimal mark, with the marks between thousands.
    :param groups: the mark between thousands; ``_`` for a space or an apostrophe.
    :param point: the decimal mark.
    :param part: the digits after it.
    """

    negative: bool
    whole: str
    groups: str | None
    point: str | None
    part: str

    @property
    def is_unsure(self) -> bool:
        """Return whether it has two readings: ``24,000`` is 24 thousand, or 24 with three decimals."""
        if self.groups not in (".", ","):
            return False
        return self.point is None and self.whole.count(self.groups) == 1

    def value(self, whole: str, part: str) -> Decimal:
        digits = re.sub(r"[_.,]", "", whole)
        number = Decimal(f"{digits}.{part}" if part else digits)
        return -number if self.negative else number


def _written(text: str) -> _Written:
    bare = _TENGE.sub("", text.strip()).strip()
    negative = False
    if bare.startswith("(") and bare.endswith(")"):
        bare, negative = bare[1:-1].strip(), True
    elif bare[:1] and bare[0] in _MINUS:
        bare, negative = bare[1:].strip(), True
    elif bare[-1:] and bare[-1] in _MINUS:
        bare, negative = bare[:-1].strip(), True
    elif bare.startswith("+"):
        bare = bare[1:].strip()
    match = _NUMBER.fullmatch(_SPACES.sub("_", bare))
    if match is None or len(bare) > 40:
        if text.lstrip().startswith(("=", "@")):
            raise CellError(N_("“%(value)s” is a formula", value=shown(text)))
        raise CellError(_not_an_amount(text))
    whole, groups, point, part = match.groups()
    if groups is not None and groups == point:
        raise CellError(
            N_("“%(value)s” has the same mark between thousands and before decimals", value=shown(text))
        )
    if groups is not None and whole.startswith("0"):
        if point is not None or whole.count(groups) > 1 or whole[1] != groups or groups == "_":
            raise CellError(_not_an_amount(text))
        return _Written(negative, "0", None, groups, whole[2:])  # 0,500 has no thousands
    return _Written(negative, whole, groups, point, part or "")


def decimal_mark(text: str) -> str | None:
    """Return the decimal mark that an amount proves; ``None`` if it proves none."""
    try:
        number = _written(text)
    except CellError:
        return None
    if number.point is not None:
        return number.point
    if number.groups in (".", ",") and not number.is_unsure:
        return "," if number.groups == "." else "."
    return None


def read_amount(cell: Cell, mark: str | None) -> Decimal:
    """Return an amount with its sign and two decimals.

    :param mark: the file's decimal mark, if known: it decides between the readings of ``24,000``.
    :raises CellError: not an amount, more than two decimals, or two possible readings.
    """
    if isinstance(cell, str) and _PLAIN.fullmatch(cell):
        return Decimal(cell.replace(",", ".")).quantize(_CENT)
    if isinstance(cell, Decimal):
        return _cents(cell, cell)
    if not isinstance(cell, str):
        raise CellError(cell.why if isinstance(cell, Unusable) else _not_an_amount(cell))
    number = _written(cell)
    if number.is_unsure:
        if mark is None:
            raise CellError(
                N_(
                    '“%(value)s” could be thousands or decimals; set decimal = "," or "." in a mapping file',
                    value=shown(cell),
                )
            )
        if number.groups == mark:
            whole, part = number.whole.split(mark)
            return _cents(number.value(whole, part), cell)
    return _cents(number.value(number.whole, number.part), cell)


def _not_an_amount(cell: Cell) -> str:
    return N_("“%(value)s” is not an amount", value=shown(cell))


def _cents(value: Decimal, cell: Cell) -> Decimal:
    if not value.is_finite() or abs(value) >= Decimal(10) ** 15:
        raise CellError(_not_an_amount(cell))
    exact = value.quantize(_CENT)
    # a workbook's amounts are binary numbers: 23760.000000000004
    if abs(exact - value) > (_NOISE if isinstance(cell, Decimal) else 0):
        raise CellError(N_("“%(value)s”: more than two decimals", value=shown(cell)))
    return exact


_QUOTED = re.compile(r'="([^"]*)"')
_SCIENTIFIC = re.compile(r"[\d.,]+E\+?\d+", re.I)
_PREFIX = re.compile(r"(?:QR|№|N|#)\s*(?=\d)", re.I)
_ID = re.compile(r"[0-9A-Za-z][\w./:-]{0,63}", re.A)
_WHOLE = re.compile(r"(\d{1,15})[.,]0+", re.A)


def read_number(cell: Cell) -> str:
    """Return an operation's number or id as exact text, ``""`` if the cell is empty.

    :raises CellError: digits were lost, or it is not an operation number.
    """
    if isinstance(cell, Decimal):
        return _exact_number(cell)
    if not isinstance(cell, str):
        raise CellError(cell.why if isinstance(cell, Unusable) else _not_a_number(cell))
    text = cell.strip()
    quoted = _QUOTED.fullmatch(text)
    text = (quoted[1] if quoted else text.removeprefix("'")).strip()
    if not text:
        return ""
    if _SCIENTIFIC.fullmatch(text):
        raise CellError(
            N_("“%(value)s” lost its last digits in a spreadsheet; export the file again", value=shown(text))
        )
    text = _PREFIX.sub("", re.sub(r"\s", "", text), count=1)
    whole = _WHOLE.fullmatch(text)
    text = whole[1] if whole else text
    if not _ID.fullmatch(text):
        raise CellError(_not_a_number(cell))
    return text


def _not_a_number(cell: Cell) -> str:
    return N_("“%(value)s” is not an operation number", value=shown(cell))


def _exact_number(cell: Decimal) -> str:
    if cell != cell.to_integral_value() or cell < 0:
        raise CellError(_not_a_number(cell))
    text = str(cell.to_integral_value())
    if "E" in text or len(text) > EXACT_DIGITS:
        raise CellError(
            N_(
                "“%(value)s” has more than %(most)s digits, and a workbook does not keep them: make the "
                "column Text and export the file again",
                value=shown(cell),
                most=EXACT_DIGITS,
            )
        )
    return text
