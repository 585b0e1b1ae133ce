"""A document's canonical JSON is that of its parsed content, however its text is written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from procomp_pay.domain.merkle import leaf_hash
from procomp_pay.storage.audit import document, seals
from procomp_pay.storage.audit.chain import hash_of_texts
from procomp_pay.storage.models import exact_json

#: Values as somebody may write them with SQL: canonical or not, or no JSON at all.
NUMBERS = "0 -0 +1 00 01 -00.1 1 -1 0.0 -0.0 -0.00 1. .5 1e2 1E2 1e-7 0.00001 0.0000001 50.00 50.0 1e400"
WORDS = "null true false True NaN -NaN Infinity 123456789 1234567890123456789 [] {} [1.50] , '"
STRINGS = r"""a|a b|a,b|a\"b|\u0041|\/|%s|é|\u2028|а|a","b":"c|"""
TEXTS = st.one_of(
    st.sampled_from([*NUMBERS.split(), *WORDS.split(), '"a":1', '"\x7f"', '"\t"', '"\u2028"']),
    st.sampled_from(STRINGS.split("|")).map(lambda text: f'"{text}"'),
    st.decimals(allow_nan=False, allow_infinity=False).map(str),
    st.integers().map(str),
    st.text(max_size=9).map(exact_json.dumps),
    st.text(max_size=9).map(lambda text: f'"{text}"'),
)
KEYS = st.sampled_from(["a", "b", "c", "status", "late_2", "B", "a-b", "ы", '\\"', "\\u0061", ""])
COMMA, COLON = st.sampled_from([",", ", ", " ,", ",,", ",\n"]), st.sampled_from([":", ": ", " :", ":  "])


@st.composite
def pairs(draw: st.DrawFn) -> list[str]:
    """Return two objects with the same keys, so that the second may have the shape of the first."""
    keys = draw(st.lists(KEYS, max_size=4))
    return [
        "{" + draw(COMMA).join(f'"{key}"{draw(COLON)}{draw(TEXTS)}' for key in keys) + "}" for _ in range(2)
    ]


def parsed(text: str) -> Any:
    """Return what the parser makes of a text, with the types of all values; ``None`` if it is no JSON."""
    try:
        content = exact_json.loads(text)
        return repr(content), exact_json.dumps(content, canonical=True)
    except ValueError:
        return None


def as_read(text: str) -> Any:
    try:
        content, canonical = document.read(text)
    except ValueError:
        return None
    return repr(content), canonical


@given(pairs())
@example(['{"a":1}', '{"a":-0}'])
@example(['{"a":1}', '{"a":0.0000001}'])
@example(['{"a":1}', '{"a":00.5}'])
@example(['{"a":2}', '{"a":1,"a":2}'])
@example(['{"a":1,"b":2}', '{"b":2,"a":1}'])
@example(['{"a":"A"}', '{"a":"\\u0041"}'])
@example(['{"a":1.50}', '{"a":1.5}'])
def test_a_text_is_read_as_the_parser_reads_it(texts: list[str]) -> None:
    for text in (*texts, texts[0], texts[1] + "\n", texts[1].replace("}", "")):
        document.read.cache_clear()  # a shape that one of them has left is used for the others
        assert as_read(text) == parsed(text)


def test_the_shape_of_a_document_is_learnt() -> None:
    text = '{"status": "PAID", "refunded": 0.00, "late": false, "charge": null, "attempts": -3}'
    document.read(text)
    content, canonical = document.read(other := text.replace("PAID", "PENDING"))
    assert repr(content) == repr(exact_json.loads(other))
    assert canonical == '{"attempts":-3,"charge":null,"late":false,"refunded":0.00,"status":"PENDING"}'
    assert any(shape.match(other) for shape in document._shapes)


def test_a_wide_or_deep_document() -> None:
    wide = exact_json.dumps({f"k{number}": number for number in range(1000)})
    assert as_read(wide) == parsed(wide)
    with pytest.raises(ValueError, match="RecursionError"):
        document.read("[" * 100_000)


@pytest.mark.parametrize("payment_id", ["pay1", 'a","b', "a\\", "Әсел", "\x7f", "\u2028", ""])
def test_the_leaf_of_a_chain(payment_id: str) -> None:
    expected = leaf_hash(exact_json.dumps([payment_id, 3, "ab"]).encode())
    assert seals.head_leaf(payment_id, 3, "ab") == expected


@pytest.mark.parametrize("value", [b"", b"app", 1, 1.5])
def test_a_value_that_is_no_text_has_no_hash(value: Any) -> None:
    with pytest.raises(TypeError):
        hash_of_texts(["a", value, *["b"] * 6], 1, datetime(2026, 1, 1, tzinfo=UTC), "{}", "{}")
