"""JSON without floats: ``50.00`` is read as a Decimal and written as the number ``50.00``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any


def dumps(value: Any, *, canonical: bool = False) -> str:
    """Write JSON; a Decimal becomes an exact JSON number.

    :param canonical: sort the keys, so that equal documents give equal text (for fingerprints and hashes).
    :raises TypeError: a float anywhere inside, or a value that JSON does not know.
    :raises ValueError: a Decimal that is not finite.
    """
    import simplejson

    _refuse_floats(value)
    return simplejson.dumps(
        value,
        use_decimal=True,
        allow_nan=False,
        ensure_ascii=False,
        sort_keys=canonical,
        separators=(",", ":"),
    )


def loads(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """Read JSON: whole numbers as int, every other number as Decimal, never a float.

    :param unique_keys: refuse an object that names a key twice (which of the two was meant is a guess).
    :raises ValueError: not JSON, nested too deep, or a number beyond what Decimal can hold.
    """
    import simplejson

    pairs = _unique if unique_keys else None
    try:
        return simplejson.loads(text, use_decimal=True, parse_int=_parse_int, object_pairs_hook=pairs)
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"the JSON cannot be held: {type(error).__name__}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _parse_int(digits: str) -> int:
    # int("9" * 5000) is refused by Python; going through Decimal is exact and has no such limit
    return int(digits) if len(digits) < 4000 else int(Decimal(digits))


def _refuse_floats(value: Any) -> None:
    """A float has lost its digits already: refuse it where it is written, not where it is read."""
    if isinstance(value, float):
        raise TypeError(f"JSON of money is Decimal or int, never the float {value!r}")
    inners = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for inner in inners:
        if type(inner) not in _HARMLESS:
            _refuse_floats(inner)


#: What a document mostly consists of.
_HARMLESS = frozenset({str, int, bool, type(None), Decimal})
