"""A mapping: a small TOML file that says what the columns of an unknown statement mean.

The README has an example. Every mistake in it is named: a mapping half understood would misread money.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from procomp_pay.domain.errors import InvalidStatement
from procomp_pay.domain.money import Currency
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.providers.statements.layout.headers import ColumnRole, header_key
from procomp_pay.providers.statements.layout.line_kinds import KASPI_WORDS, STRIPE_WORDS
from procomp_pay.providers.statements.layout.model import KASPI, PROVIDERS, Layout

#: The encodings that a mapping may name; all but UTF-16 hold ASCII as it is.
ENCODINGS = ("utf-8", "utf-16", "cp1251", "kz1048", "cp866", "koi8-r")
_MOST_BYTES = 65_536
_TEXTS = ("provider", "zone", "date", "decimal", "encoding", "delimiter", "sheet", "currency", "every_line")
_NEEDED = (ColumnRole.DATE, ColumnRole.AMOUNT)


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """What a mapping file says.

    :param columns: the header of the column for each meaning, as the file writes it.
    :param types: what the type column's words mean; empty for the provider's own words.
    :param every_line: the kind of every line, where no column says it.
    """

    name: str
    provider: str
    columns: Mapping[ColumnRole, str]
    types: Mapping[str, LineKind]
    every_line: LineKind | None
    zone: ZoneInfo
    date: str | None
    decimal: str | None
    encoding: str | None
    delimiter: str | None
    sheet: str | None
    currency: Currency | None

    def layout(self, headers: tuple[str, ...], row: int) -> Layout | None:
        """The layout of a row of headers, ``None`` where not all of the mapping's columns stand in it.

        :raises InvalidStatement: one of its headers stands there twice.
        """
        keys = [header_key(header) for header in headers]
        columns: dict[ColumnRole, int] = {}
        for meaning, header in self.columns.items():
            exact = [place for place, each in enumerate(headers) if each == header]
            places = exact or [place for place, key in enumerate(keys) if key == header_key(header)]
            if not places:
                return None
            if len(places) > 1:
                raise InvalidStatement(
                    f"The header “{header[:40]}” of the mapping stands {len(places)} times",
                    next_step="rename one of the columns in the file",
                    line=row,
                )
            columns[meaning] = places[0]
        words = self.types or (KASPI_WORDS if self.provider == KASPI else STRIPE_WORDS)
        own = Currency.KZT if self.provider == KASPI else None
        currency = None if ColumnRole.CURRENCY in columns else self.currency or own
        return Layout(
            provider=self.provider,
            name=f"mapping {self.name}",
            row=row,
            headers=headers,
            columns=columns,
            words=words,
            currency=currency,
            zone=self.zone,
            only_kind=self.every_line,
            date_form=self.date,
            decimal=self.decimal,
        )


def read_mapping(path: Path) -> ColumnMapping:
    """Read a mapping file.

    :raises InvalidStatement: it cannot be read, or says something that is not known or does not fit together.
    """
    said = _parse(path)
    _only(said, (*_TEXTS, "columns", "types"), "setting")
    texts = {name: _text(said, name) for name in _TEXTS}
    provider = texts["provider"] or KASPI
    if provider not in PROVIDERS:
        raise _wrong(f"provider is kaspi or stripe, not “{provider[:20]}”")
    columns = _read_columns(said)
    every_line = _kind(texts["every_line"]) if texts["every_line"] else None
    if every_line is None and not columns.keys() & {ColumnRole.TYPE, ColumnRole.OPERATION}:
        raise _wrong(
            "neither a type nor an operation column is named, so that a payment cannot be told from the rest",
            'name one of them under [columns], or say every_line = "payment"',
        )
    currency = _currency(texts["currency"])
    if provider != KASPI and currency is None and ColumnRole.CURRENCY not in columns:
        raise _wrong("there is no currency column", 'name it under [columns], or say currency = "USD"')
    return ColumnMapping(
        name=path.name,
        provider=provider,
        columns=columns,
        types=_read_types(said),
        every_line=every_line,
        zone=_zone(texts["zone"] or ("Asia/Almaty" if provider == KASPI else "UTC")),
        date=_date_form(texts["date"]),
        decimal=_one_of("decimal", texts["decimal"], (",", ".")),
        encoding=_one_of("encoding", texts["encoding"], ENCODINGS),
        delimiter=_one_of("delimiter", texts["delimiter"], (",", ";", "\t", "|")),
        sheet=texts["sheet"],
        currency=currency,
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise _wrong(f"it cannot be read: {error.strerror}") from None
    if len(content) > _MOST_BYTES:
        raise _wrong("it is larger than 64 kB; is it a mapping?")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _wrong("it is no UTF-8 text") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _wrong(f"it is no TOML: {str(error)[:120]}") from None


def _wrong(why: str, next_step: str = "compare it with the example in the README") -> InvalidStatement:
    return InvalidStatement(f"The mapping cannot be used: {why}", next_step=next_step)


def _only(table: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = f"did you mean “{near[0]}”?" if near else f"known are {', '.join(known)}"
            raise _wrong(f"there is no {what} “{name[:40]}”", meant)


def _text(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > 200:
        raise _wrong(f"{name} is a text in quotes")
    return value


def _table(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = said.get(name, {})
    if not isinstance(value, dict):
        raise _wrong(f"{name} is a table: write [{name}] on a line of its own")
    return value


def _read_columns(said: Mapping[str, Any]) -> dict[ColumnRole, str]:
    table = _table(said, "columns")
    _only(table, tuple(ColumnRole), "meaning of a column")
    columns = {ColumnRole(name): " ".join((_text(table, name) or "").split()) for name in table}
    for meaning in _NEEDED:
        if not columns.get(meaning):
            raise _wrong(f"the {meaning} column is missing", f'add under [columns]: {meaning} = "its header"')
    if len(set(columns.values())) < len(columns):
        raise _wrong("one header stands for two used under [columns]")
    return columns


def _read_types(said: Mapping[str, Any]) -> dict[str, LineKind]:
    table = _table(said, "types")
    kinds = {kind: _kind(kind) for kind in table}
    found: dict[str, LineKind] = {}
    for name, kind in kinds.items():
        words = table[name]
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise _wrong(f'{name} is a list of words: {name} = ["Покупка"]')
        for word in words:
            if found.setdefault(header_key(word), kind) is not kind:
                raise _wrong(f"“{word[:40]}” stands under two kinds of [types]")
    return found


def _kind(name: str) -> LineKind:
    try:
        return LineKind(name)
    except ValueError:
        raise _wrong(f"there is no kind “{name[:20]}”", f"known are {', '.join(LineKind)}") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise _wrong(f"there is no zone “{name[:40]}”", "write it as Asia/Almaty or UTC") from None


def _currency(name: str | None) -> Currency | None:
    if name is None:
        return None
    try:
        return Currency(name.upper())
    except ValueError:
        raise _wrong(f"“{name[:12]}” is not a currency we take", f"one of {', '.join(Currency)}") from None


def _date_form(form: str | None) -> str | None:
    if form is None:
        return None
    if "%d" not in form or "%m" not in form or not ("%Y" in form or "%y" in form):
        raise _wrong("date has no day, month and year", 'write it as date = "%d.%m.%Y %H:%M"')
    return form


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        raise _wrong(f"{name} is one of {', '.join(repr(each) for each in allowed)}")
    return value
