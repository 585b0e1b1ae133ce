"""Read a mapping file: a small TOML file that gives the columns of an unknown statement their roles.

docs/statements.md has an example. Every mistake is an error: a mapping that is half understood would misread
money.
"""

from __future__ import annotations

import json
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
from procomp_pay.domain.text import N_
from procomp_pay.providers.statements.layout.headers import ColumnRole, header_key
from procomp_pay.providers.statements.layout.line_kinds import KASPI_WORDS, STRIPE_WORDS
from procomp_pay.providers.statements.layout.model import KASPI, PROVIDERS, Layout
from procomp_pay.providers.tabular.file_type import cannot_open

#: The encodings that a mapping may name. All but UTF-16 are supersets of ASCII.
ENCODINGS = ("utf-8", "utf-16", "cp1251", "kz1048", "cp866", "koi8-r")
_MOST_BYTES = 65_536
_TEXTS = ("provider", "zone", "date", "decimal", "encoding", "delimiter", "sheet", "currency", "every_line")
_NEEDED = (ColumnRole.DATE, ColumnRole.AMOUNT)


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The content of a mapping file.

    :param columns: the header of the column with each role, as the statement writes it.
    :param types: the line kind for each word of the type column; empty for the provider's usual words.
    :param every_line: the kind of every line, if no column tells it.
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
        """Return the layout with this row of headers; ``None`` if a column of the mapping is not in it.

        :param row: the 1-based line of the row.
        :raises InvalidStatement: one of the mapping's headers appears twice.
        """
        keys = [header_key(header) for header in headers]
        columns: dict[ColumnRole, int] = {}
        for role, header in self.columns.items():
            exact = [place for place, other in enumerate(headers) if other == header]
            places = exact or [place for place, key in enumerate(keys) if key == header_key(header)]
            if not places:
                return None
            if len(places) > 1:
                raise InvalidStatement(
                    N_(
                        "The header “%(header)s” of the mapping appears %(n)s times",
                        header=header[:40],
                        n=len(places),
                    ),
                    next_step=N_("rename one of these columns in the statement"),
                    line=row,
                )
            columns[role] = places[0]
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

    :raises InvalidFile: it cannot be opened.
    :raises InvalidStatement: it has settings that are unknown or contradict each other.
    """
    document = _parse(path)
    _check_names(document, (*_TEXTS, "columns", "types"), N_("there is no setting “%(name)s”"))
    texts = {name: _text(document, name) for name in _TEXTS}
    provider = _one_of("provider", texts["provider"], PROVIDERS) or KASPI
    columns = _read_columns(document)
    every_line = _one_of("every_line", texts["every_line"], tuple(LineKind))
    if every_line is None and not columns.keys() & {ColumnRole.TYPE, ColumnRole.OPERATION}:
        raise _wrong(
            N_(
                "it names neither a type nor an operation column, so payments cannot be told from other lines"
            ),
            N_('name one of them under [columns], or set every_line = "payment"'),
        )
    currency = _one_of("currency", texts["currency"] and texts["currency"].upper(), tuple(Currency))
    if provider != KASPI and currency is None and ColumnRole.CURRENCY not in columns:
        raise _wrong(
            N_("it names no currency column"), N_('name it under [columns], or set currency = "USD"')
        )
    return ColumnMapping(
        name=path.name,
        provider=provider,
        columns=columns,
        types=_read_types(document),
        every_line=LineKind(every_line) if every_line else None,
        zone=_zone(texts["zone"] or ("Asia/Almaty" if provider == KASPI else "UTC")),
        date=_date_form(texts["date"]),
        decimal=_one_of("decimal", texts["decimal"], (",", ".")),
        encoding=_one_of("encoding", texts["encoding"], ENCODINGS),
        delimiter=_one_of("delimiter", texts["delimiter"], (",", ";", "\t", "|")),
        sheet=texts["sheet"],
        currency=Currency(currency) if currency else None,
    )


def _parse(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise cannot_open(path, error) from None
    if len(content) > _MOST_BYTES:
        raise _wrong(N_("it is larger than 64 kB; is it a mapping file?"))
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise _wrong(N_("it is not UTF-8 text")) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _wrong(N_("it is not valid TOML: %(why)s", why=str(error)[:120])) from None


def _wrong(
    why: str, next_step: str = N_("compare it with the example in docs/statements.md")
) -> InvalidStatement:
    return InvalidStatement(N_("The mapping cannot be used: %(why)s", why=why), next_step=next_step)


def _check_names(table: Mapping[str, Any], known: tuple[str, ...], unknown: str) -> None:
    for name in table:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            meant = (
                N_("did you mean “%(name)s”?", name=near[0])
                if near
                else N_("use one of %(names)s", names=", ".join(known))
            )
            raise _wrong(N_(unknown, name=name[:40]), meant)


def _text(table: Mapping[str, Any], name: str) -> str | None:
    value = table.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or not value or len(value) > 200:
        raise _wrong(N_("%(name)s must be text in quotes, at most 200 characters", name=name))
    return value


def _table(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = document.get(name, {})
    if not isinstance(value, dict):
        raise _wrong(N_("%(name)s must be a table: write [%(name)s] on its own line", name=name))
    return value


def _read_columns(document: Mapping[str, Any]) -> dict[ColumnRole, str]:
    table = _table(document, "columns")
    _check_names(table, tuple(ColumnRole), N_("there is no column role “%(name)s”"))
    columns = {ColumnRole(name): " ".join((_text(table, name) or "").split()) for name in table}
    for role in _NEEDED:
        if not columns.get(role):
            raise _wrong(
                N_("the %(role)s column is missing", role=role),
                N_('add under [columns]: %(role)s = "its header"', role=role),
            )
    if len(set(columns.values())) < len(columns):
        raise _wrong(N_("one header is named for two roles under [columns]"))
    return columns


def _read_types(document: Mapping[str, Any]) -> dict[str, LineKind]:
    table = _table(document, "types")
    _check_names(table, tuple(LineKind), N_("there is no line kind “%(name)s”"))
    types: dict[str, LineKind] = {}
    for name, words in table.items():
        kind = LineKind(name)
        if not isinstance(words, list) or not all(isinstance(word, str) and word.strip() for word in words):
            raise _wrong(N_('%(name)s must be a list of words: %(name)s = ["Покупка"]', name=name))
        for word in words:
            if types.setdefault(header_key(word), kind) is not kind:
                raise _wrong(N_("“%(word)s” is listed under two kinds in [types]", word=word[:40]))
    return types


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise _wrong(
            N_("%(key)s is not a time zone", key=name[:40]), N_("write it as Asia/Almaty or UTC")
        ) from None


def _date_form(form: str | None) -> str | None:
    if form is None:
        return None
    if "%d" not in form or "%m" not in form or not ("%Y" in form or "%y" in form):
        raise _wrong(
            N_("date must have a day, month and year"),
            N_("write it as %(example)s", example='date = "%d.%m.%Y %H:%M"'),
        )
    return form


def _one_of(name: str, value: str | None, allowed: tuple[str, ...]) -> str | None:
    if value is not None and value not in allowed:
        known = ", ".join(json.dumps(choice) for choice in allowed)
        raise _wrong(N_("%(option)s must be one of %(known)s", option=name, known=known))
    return value
