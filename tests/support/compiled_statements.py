"""Compile each SQL statement once in a run, not once for each test's engine, which is a fifth of the time.

SQLAlchemy keeps compiled statements for each engine, under keys that begin with its dialect. Here all engines
of a process have one cache, in which dialects that compile alike are equal.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

_PLAIN = (bool, int, str, tuple, type(None), FunctionType)
_statements: LRUCache[Any, Any] = LRUCache(4000)


def share() -> None:
    """Give one cache to every engine of this process."""
    Engine._compiled_cache = property(lambda _: _statements, lambda *_: None)
    DefaultDialect.__hash__ = lambda self: hash(type(self))
    DefaultDialect.__eq__ = lambda self, other: self is other or _kind(self) == _kind(other)


def _kind(dialect: Any) -> tuple[type, dict[str, Any]]:
    """Return what a dialect compiles by: its class, options, server's version and ways to write JSON."""
    return type(dialect), {name: value for name, value in vars(dialect).items() if isinstance(value, _PLAIN)}
