"""Input that is nearly valid: JSON with wrong values, bytes and lines that were changed, cut or repeated.

``PROCOMP_HOSTILE=20000`` tries so many examples in each test.
"""

from __future__ import annotations

import copy
import os
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

EXAMPLES = int(os.environ.get("PROCOMP_HOSTILE", "50"))
#: For tests of functions alone, and for those whose examples are requests or transactions.
many = settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck), print_blob=True)
some = settings(many, max_examples=max(10, EXAMPLES // 20))

_TEXTS = (
    "", " ", "0", "-1", "null", "NaN", "Infinity", "1e400", "-0.00", "1,5", "²", "٣", "1" * 400, "9" * 19,
    "\0", "\x1b[2J", "\ud800", "\ufeff", "\u202e", "\u2028", "\N{PILE OF POO}", "e\u0301" * 50, "İ", "ß",
    "p1", "../../etc/passwd", "%00", "%s", "{0}", "'; DROP TABLE x; --", "=1+1", "--help", "<a>",
    "31.02.2026", "0000-00-00", "9999-12-31T23:59:59Z", "2026-03-29T02:30:00+99:99", "x" * 5000,
)  # fmt: skip
texts = st.one_of(st.sampled_from(_TEXTS), st.text(max_size=40))
_numbers = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([10**25, -(10**400), 2**31, 2**63, 253402300800]),
    st.floats(),
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), _numbers, texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=6,
)


@st.composite
def altered(draw: st.DrawFn, sample: Any) -> Any:
    """Return the JSON document with some of its values replaced, removed or added."""
    document = {"root": copy.deepcopy(sample)}
    for _ in range(draw(st.integers(1, 4))):
        places = [(holder, key) for holder in _holders(document) for key in _keys(holder)]
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        match draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"])):
            case "replace":
                holder[key] = draw(values)
            case "remove" if holder is not document:
                del holder[key]
            case "add" if isinstance(holder, dict) and holder is not document:
                holder[draw(texts)] = draw(values)
    return document["root"]


def _holders(value: Any) -> list[Any]:
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(holder for each in inner for holder in _holders(each))]


def _keys(holder: Any) -> list[Any]:
    return list(holder) if isinstance(holder, dict) else list(range(len(holder)))


@st.composite
def damaged(draw: st.DrawFn, sample: bytes, encoding: str = "utf-8") -> bytes:
    """Return the bytes with some of them replaced, removed, repeated or moved, or with their end cut off."""
    content = sample
    for _ in range(draw(st.integers(1, 5))):
        size = len(content)
        start = draw(st.integers(0, size))
        end = min(size, start + draw(st.one_of(st.integers(0, 12), st.integers(0, 200))))
        piece = content[start:end]
        new = draw(
            st.one_of(
                st.just(b""),
                st.just(piece * 2),
                st.binary(max_size=6),
                texts.map(lambda text: text.encode(encoding, "replace")),
                st.sampled_from(
                    [b"\n", b"\r", b"\t", b";", b",", b'"', b"=", b"\0", b"\xff\xfe", b"\xef\xbb\xbf"]
                ),
            )
        )
        content = content[:start] + new + content[end:]
        if draw(st.integers(0, 9)) == 0:
            content = content[: draw(st.integers(0, len(content)))]
    return content


@st.composite
def with_cells(draw: st.DrawFn, sample: list[list[str]]) -> list[list[str]]:
    """Return the table with some of its cells replaced or removed, and some rows moved or repeated."""
    rows = [list(row) for row in sample]
    for _ in range(draw(st.integers(1, 5))):
        row = draw(st.integers(0, len(rows) - 1))
        if not rows[row]:
            continue
        cell = draw(st.integers(0, len(rows[row]) - 1))
        match draw(st.sampled_from(["cell", "cell", "cell", "cut", "repeat"])):
            case "cell":
                rows[row][cell] = draw(texts)
            case "cut":
                del rows[row][cell:]
            case _:
                rows.insert(draw(st.integers(0, len(rows))), list(rows[row]))
    return rows


def drawn(strategy: st.SearchStrategy[Any]) -> list[Any]:
    """Return examples, for tests that await: Hypothesis calls no coroutines."""
    examples: list[Any] = []

    @some
    @given(strategy)
    def draw(example: Any) -> None:
        examples.append(example)

    draw()
    return examples
