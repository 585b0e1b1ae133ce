"""Split values into parts: a query takes only so many, and a transaction should be short."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def chunks(values: Iterable[T], size: int = 5000) -> Iterator[list[T]]:
    """Yield the values in lists of at most ``size``; in one IN (…), both databases take more than 5000."""
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk
