"""Define SQL that differs between the databases: whole seconds, and the local day.

The time zone's rules come from Python as offsets (:mod:`procomp_pay.domain.period`): SQLite has no time
zones, and PostgreSQL those of the year in which it was built.
"""

# ruff: noqa: N801 - named like SQL functions

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import BigInteger, case
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.expression import FunctionElement

from procomp_pay.domain.period import Offset

_DAY_S = 86_400


class epoch(FunctionElement[int]):
    """Whole seconds since 1970 of a time in one of our tables, rounded down."""

    inherit_cache = True
    type = BigInteger()


class seconds_between(FunctionElement[int]):
    """Whole seconds from one time to another, rounded down; 0 if the second is earlier."""

    inherit_cache = True
    type = BigInteger()


def day_number(at: Any, offsets: Sequence[Offset]) -> Any:
    """Return the local day of an instant, as days since 1970-01-01."""
    ahead: Any = offsets[0].seconds
    if len(offsets) > 1:
        pieces = [(at < later.since, earlier.seconds) for earlier, later in pairwise(offsets)]
        ahead = case(*pieces, else_=offsets[-1].seconds)
    return (epoch(at) + ahead) // _DAY_S


@compiles(epoch, "postgresql")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _epoch_postgresql(element: epoch, compiler: SQLCompiler, **more: Any) -> str:
    return f"CAST(floor(extract(epoch FROM {_first(element, compiler, more)})) AS BIGINT)"


@compiles(epoch)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _epoch(element: epoch, compiler: SQLCompiler, **more: Any) -> str:
    return _whole_seconds(_first(element, compiler, more))


@compiles(seconds_between, "postgresql")  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _between_postgresql(element: seconds_between, compiler: SQLCompiler, **more: Any) -> str:
    begun, ended = (compiler.process(clause, **more) for clause in element.clauses)
    return f"CAST(floor(greatest(extract(epoch FROM ({ended} - {begun})), 0)) AS BIGINT)"


@compiles(seconds_between)  # type: ignore[no-untyped-call, untyped-decorator, unused-ignore]
def _between(element: seconds_between, compiler: SQLCompiler, **more: Any) -> str:
    begun, ended = (compiler.process(clause, **more) for clause in element.clauses)
    seconds = f"({_whole_seconds(ended)} - {_whole_seconds(begun)})"
    return f"(max(0, {seconds} * 1000000 + {_micros(ended)} - {_micros(begun)}) / 1000000)"


def _first(element: epoch, compiler: SQLCompiler, more: dict[str, Any]) -> str:
    return compiler.process(next(iter(element.clauses)), **more)


def _whole_seconds(text: str) -> str:
    # without the fraction, which strftime() would round to milliseconds, possibly into the next day
    return f"CAST(strftime('%s', substr({text}, 1, 19)) AS INTEGER)"


def _micros(text: str) -> str:
    return f"CAST(substr({text}, 21, 6) AS INTEGER)"
