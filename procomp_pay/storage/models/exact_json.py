"""JSON without floats: ``50.00`` is read as a Decimal and written as the number ``50.00``."""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from simplejson import JSONDecoder, JSONEncoder


def dumps(value: Any, *, canonical: bool = False) -> str:
    """Write JSON; a Decimal becomes an exact JSON number.

    :param canonical: sort the keys, so that equal documents give equal text (for fingerprints and hashes).
    :raises TypeError: a float anywhere inside, or a value that JSON does not know.
    :raises ValueError: a Decimal that is not finite.
    """
    _refuse_floats(value)
    return _encoder(canonical).encode(value)


def loads(text: str | bytes, *, unique_keys: bool = False) -> Any:
    """Read JSON: whole numbers as int, every other number as Decimal, never a float.

    :param unique_keys: reject an object with a repeated key, because either value could be meant.
    :raises ValueError: not JSON, nested too deep, or a number beyond Decimal's range.
    """
    try:
        document = text if isinstance(text, str) else str(text, "utf-8")
        return _decoder(unique_keys).decode(document)
    except (ArithmeticError, RecursionError) as error:
        raise ValueError(f"the JSON cannot be represented: {type(error).__name__}") from None


def is_plain(text: str) -> bool:
    """Return whether a text between quotes is its JSON."""
    return text.isascii() and text.isprintable() and '"' not in text and "\\" not in text


@cache
def _encoder(canonical: bool) -> JSONEncoder:
    from simplejson import JSONEncoder

    return JSONEncoder(
        use_decimal=True, allow_nan=False, ensure_ascii=False, sort_keys=canonical, separators=(",", ":")
    )


@cache
def _decoder(unique_keys: bool) -> JSONDecoder:
    from simplejson import JSONDecoder

    pairs = _unique if unique_keys else None
    return JSONDecoder(parse_float=Decimal, parse_int=_parse_int, object_pairs_hook=pairs)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("an object has the same key twice")
    return document


def _parse_int(digits: str) -> int:
    # int("9" * 5000) is refused by Python; going through Decimal is exact and has no such limit
    return int(digits) if len(digits) < 4000 else int(Decimal(digits))


def _refuse_floats(value: Any) -> None:
    """Reject a float when it is written, because it has already lost digits."""
    if isinstance(value, float):
        raise TypeError(f"JSON of money is Decimal or int, never the float {value!r}")
    inners = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    for inner in inners:
        if type(inner) not in _HARMLESS:
            _refuse_floats(inner)


#: The types of most values in a document.
_HARMLESS = frozenset({str, int, bool, type(None), Decimal})
