"""Compile each SQL statement once in a run, not once for each test's engine, which is a fifth of the time.

SQLAlchemy keeps compiled statements for each engine, under keys that begin with its dialect. Here all engines
of a process have one cache, in which dialects that compile alike are equal.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.engine import Engine
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.util import LRUCache

_PLAIN = (bool, int, str, tuple, type(None))
_JSON = ("_json_serializer", "_json_deserializer")
_KIND = "_kind_in_tests"
#: What a dialect has only once it has compiled something.
_MEMOIZED = "_bind_typing_render_casts"
_kinds: dict[tuple[type, frozenset[Any]], int] = {}
_statements: LRUCache[Any, Any] = LRUCache(4000)


def share() -> None:
    """Give one cache to every engine of this process."""
    Engine._compiled_cache = property(lambda _: _statements, lambda *_: None)
    DefaultDialect.__hash__ = lambda self: hash(type(self))
    DefaultDialect.__eq__ = lambda self, other: self is other or _kind(self) == _kind(other)


def _kind(dialect: Any) -> int:
    """Return a number for what a dialect compiles by: class, options, server version, ways to write JSON.

    It is asked for at the first statement, when the dialect has learned all this from its server, and kept.
    """
    known = vars(dialect)
    if _KIND not in known:
        plain = frozenset(
            (name, value)
            for name, value in known.items()
            if name != _MEMOIZED and (isinstance(value, _PLAIN) or name in _JSON)
        )
        known[_KIND] = _kinds.setdefault((type(dialect), plain), len(_kinds))
    return int(known[_KIND])
