"""Suggest a first ``PLATFORM_MAP`` from the catalog: names that are alike but for case, underscores and
plural, or that are common words for the same. A person reads it before it is used, and ``db map`` checks it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from sqlalchemy import Enum, inspect
from sqlalchemy.engine import Connection
from sqlalchemy.engine.reflection import Inspector

from procomp_pay.config.platform_map import COLUMNS, ENUMS, FULL_NAME, LABELLED
from procomp_pay.domain.errors import NotFound

#: Other common words for our names.
_WORDS = {
    "user": ("account", "appuser", "profile", "member"),
    "tournament": ("event", "competition", "championship"),
    "participant": ("registration", "entry", "athlete", "competitor", "entrant"),
    "payment": ("transaction", "charge"),
    "email": ("mail", "emailaddress", "login"),
    "fullname": ("name", "participantname", "athletename"),
    "entryfee": ("fee", "price", "cost", "amount"),
    "startsat": ("startat", "startdate", "startsdate", "date", "start", "startedat"),
    "amount": ("total", "sum", "price"),
    "status": ("state", "paymentstatus", "participantstatus", "registrationstatus"),
    "method": ("paymentmethod", "provider"),
    "metadata": ("meta", "data", "extra"),
    "createdat": ("created", "insertedat", "createdon"),
    "updatedat": ("updated", "modifiedat", "updatedon"),
    "stripepaymentid": ("stripepaymentintentid", "stripeintentid"),
    "kaspitransactionid": ("kaspioperationid", "kaspipaymentid"),
    "failurereason": ("failreason", "error", "errormessage"),
    "completed": ("paid", "succeeded", "success"),
    "cancelled": ("canceled",),
    "registered": ("pending", "new"),
}
_NAMES_OF_TWO = (("firstname", "lastname"), ("givenname", "familyname"), ("lastname", "firstname"))


class _Table(NamedTuple):
    schema: str
    name: str
    columns: dict[str, Any]


def suggest(connection: Connection) -> str:
    """Return a map as TOML, with a comment for each thing of ours that nothing is like.

    :raises NotFound: no table is like any of ours.
    """
    inspector = inspect(connection)
    tables = list(_tables(inspector))
    chosen = {name: table for name in COLUMNS if (table := _most_like(name, tables)) is not None}
    if not chosen:
        raise NotFound(
            "No table is like one of the platform's in docs/platform/schema.prisma",
            next_step="check DATABASE_URL: the platform's database",
        )
    lines, sections = list(_places(inspector, chosen)), []
    for name, table in chosen.items():
        sections.append((f"columns.{name}", list(_columns(name, table))))
    sections += _enums(chosen)
    for title, rows in sections:
        if rows:
            lines += ["", f"[{title}]", *rows]
    return "\n".join(lines) + "\n"


def _tables(inspector: Inspector) -> Iterator[_Table]:
    for schema in inspector.get_schema_names():
        if schema == "information_schema" or schema.startswith("pg_"):
            continue
        for name in inspector.get_table_names(schema):
            if not name.startswith(("pay_", "_")):
                columns = {column["name"]: column["type"] for column in inspector.get_columns(name, schema)}
                yield _Table(schema, name, columns)


def _most_like(name: str, tables: Iterable[_Table]) -> _Table | None:
    """Return the table that has the name or a common word for it, and the most columns like ours."""

    def columns(table: _Table) -> int:
        return sum(_like(column, table.columns) is not None for column in COLUMNS[name])

    like = [(table.name == name, columns(table), table) for table in tables if _like(name, [table.name])]
    return max(like, key=lambda one: one[:2])[2] if like else None


def _places(inspector: Inspector, chosen: dict[str, _Table]) -> Iterator[str]:
    schemas = {table.schema for table in chosen.values()}
    yield "# The platform's names, as its catalog suggests. Check each, and set PLATFORM_MAP to this file."
    if len(schemas) > 1:
        yield f"# the tables are in several schemas, which a map cannot say: {', '.join(sorted(schemas))}"
    elif schemas != {inspector.default_schema_name}:
        yield f"schema = {json.dumps(schemas.pop(), ensure_ascii=False)}"
    yield ""
    yield "[tables]"
    for name in COLUMNS:
        if name not in chosen:
            yield f"# {name} = nothing is like it"
        elif chosen[name].name != name:
            yield _row(name, chosen[name].name)


def _found(name: str, table: _Table) -> dict[str, str]:
    """Return the table's column for each of ours that one is like."""
    found = {column: column for column in COLUMNS[name] if column in table.columns}
    for column in COLUMNS[name]:
        like = _like(column, [other for other in table.columns if other not in found.values()])
        if column not in found and like is not None:
            found[column] = like
    return found


def _columns(name: str, table: _Table) -> Iterator[str]:
    found = _found(name, table)
    for column in COLUMNS[name]:
        plain = {_plain(other): other for other in table.columns}
        two = next((pair for pair in _NAMES_OF_TWO if plain.keys() >= set(pair)), None)
        if column in found:
            if found[column] != column:
                yield _row(column, found[column])
        elif (name, column) == FULL_NAME and two is not None:
            yield _row(column, [plain[part] for part in two])
        else:
            left = ", ".join(other for other in table.columns if other not in found.values())
            yield f"# {column} = nothing is like it (left: {left or 'none'})"


def _enums(chosen: dict[str, _Table]) -> Iterator[tuple[str, list[str]]]:
    names: dict[str, str] = {}
    labels: dict[str, list[str]] = {}
    for (table, column), enum in LABELLED.items():
        place = chosen.get(table)
        kind = place and place.columns.get(_found(table, place).get(column, ""))
        if not isinstance(kind, Enum) or not kind.name or enum in labels:
            continue
        names[enum], free = kind.name, list(kind.enums)
        rows = labels[enum] = []
        for label in (member.value for member in ENUMS[enum]):
            others = [other for other in free if other not in list(ENUMS[enum])]
            like = label if label in free else _like(label, others)
            if like is None:
                rows.append(f"# {label} = nothing is like it (there are: {', '.join(kind.enums)})")
            elif like != label:
                rows.append(_row(label, like))
    yield "enums", [_row(enum, name) for enum, name in names.items() if name != enum]
    for enum, rows in labels.items():
        yield f"labels.{enum}", rows


def _row(ours: str, theirs: str | list[str]) -> str:
    return f"{ours} = {json.dumps(theirs, ensure_ascii=False)}"


def _like(name: str, others: Iterable[str]) -> str | None:
    """Return the one of the others that is most like a name; ``None`` if none is."""
    plain = {_plain(other): other for other in others}
    wanted = (name, *_WORDS.get(name.casefold(), ()))
    return next((plain[word] for word in map(_plain, wanted) if word in plain), None)


def _plain(name: str) -> str:
    """Return a name without case, underscores, spaces and the s of a plural: ``app_users`` is ``appuser``."""
    return "".join(sign for sign in name.casefold() if sign.isalnum()).removesuffix("s")
