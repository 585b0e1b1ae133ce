"""Read the documents of audit entries, with the canonical JSON that is hashed, in half of a parser's time.

Most documents are snapshots of a payment: flat, with the same keys in the same order, and values whose JSON
text is already canonical. One regular expression per list of keys takes such a text apart. It matches only
what a parser reads as exactly those keys and values, each once; whatever else there is goes to the parser.
"""

from __future__ import annotations

import re
from collections import deque
from functools import lru_cache
from operator import itemgetter
from typing import Any

from procomp_pay.storage.models import exact_json

#: A value that canonical JSON writes as it stands. Not "-0", which is read as 0; no number with more digits
#: than a Decimal writes without an exponent; no text with an escape, or with a letter that may be escaped.
_VALUE = r'(null|true|false|"[ !#-\[\]-~]*"|0|-?[1-9][0-9]{0,8}|-?(?:0|[1-9][0-9]{0,8})\.[0-9]{1,4})'
_KEY = re.compile(r"\w+", re.A)
#: More keys have no snapshot of ours.
_MOST_KEYS = 50


class _Values(dict[str, Any]):
    """The value of each JSON text that :data:`_VALUE` matches."""

    def __missing__(self, text: str) -> Any:
        return text[1:-1] if text[0] == '"' else _number(text)


@lru_cache(maxsize=256)
def _number(text: str) -> Any:
    return exact_json.loads(text)


_VALUES = _Values({"null": None, "true": True, "false": False})


class _Shape:
    """Flat documents with the same keys in the same order."""

    def __init__(self, keys: tuple[str, ...]) -> None:
        self.keys = keys
        members = ", ?".join(f'"{key}": ?{_VALUE}' for key in keys)
        self.match = re.compile(rf"\{{{members}\}}").fullmatch
        order = sorted(range(len(keys)), key=keys.__getitem__)
        self.canonical = "{" + ",".join(f'"{keys[index]}":%s' for index in order) + "}"
        self.ordered = itemgetter(*order)


#: The shapes that were met last.
_shapes: deque[_Shape] = deque(maxlen=16)


@lru_cache(maxsize=64)
def read(text: str | None) -> tuple[Any, str]:
    """Return a document, which is only read, and its canonical JSON. One entry's ``after`` is mostly the next
    one's ``before``.

    :raises ValueError: not JSON, or a number beyond Decimal's range.
    """
    if text is None:
        return None, "null"
    for shape in _shapes:
        if (match := shape.match(text)) is not None:
            values = match.groups()
            document = dict(zip(shape.keys, map(_VALUES.__getitem__, values), strict=True))
            return document, shape.canonical % shape.ordered(values)
    document = exact_json.loads(text)
    _note_shape(document)
    return document, exact_json.dumps(document, canonical=True)


def _note_shape(document: Any) -> None:
    if not isinstance(document, dict) or not 0 < len(document) <= _MOST_KEYS:
        return
    keys = tuple(document)
    if all(map(_KEY.fullmatch, keys)) and all(shape.keys != keys for shape in _shapes):
        _shapes.appendleft(_Shape(keys))
