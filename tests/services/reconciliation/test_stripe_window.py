"""What moved at Stripe is read ahead: bounded, closed at the end, and with its error at the missing page."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from procomp_pay.domain.errors import ProviderUnavailable
from procomp_pay.services.reconciliation import stripe
from procomp_pay.services.reconciliation.report import Report

REPORT = Report("stripe", "api", datetime(2026, 5, 1, tzinfo=UTC), datetime(2026, 5, 8, tzinfo=UTC), False)


class Books:
    """A list without end, or one that fails after some pages."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.fails_after = fails_after
        self.read, self.is_closed = 0, False

    async def pages(self, kind: str, params: dict[str, Any]) -> AsyncGenerator[list[Any], None]:
        try:
            while self.fails_after is None or self.read < self.fails_after:
                self.read += 1
                yield []
            raise ProviderUnavailable("away")
        finally:
            self.is_closed = True


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Books], Books]:
    def used(books: Books) -> Books:
        monkeypatch.setattr(stripe, "books_of", lambda _: books)
        monkeypatch.setattr(stripe, "_AHEAD", 3)
        return books

    return used


async def test_pages_are_read_before_they_are_asked_for_but_not_all(use: Callable[[Books], Books]) -> None:
    books = use(Books())
    async with stripe.movements_ahead(None, REPORT) as moved:  # type: ignore[arg-type]
        for _ in range(20):
            await asyncio.sleep(0)
        assert books.read == 4  # three wait, and one is in the hand
        assert await anext(moved) == ([], [])
        assert not books.is_closed
    assert books.is_closed


async def test_the_list_is_closed_if_nobody_asks_for_it(use: Callable[[Books], Books]) -> None:
    books = use(Books())
    with suppress(RuntimeError):
        async with stripe.movements_ahead(None, REPORT):  # type: ignore[arg-type]
            await asyncio.sleep(0)
            raise RuntimeError
    assert books.is_closed


async def test_an_error_comes_after_the_pages_before_it(use: Callable[[Books], Books]) -> None:
    use(Books(fails_after=2))
    async with stripe.movements_ahead(None, REPORT) as moved:  # type: ignore[arg-type]
        assert [await anext(moved), await anext(moved)] == [([], [])] * 2
        with pytest.raises(ProviderUnavailable):
            await anext(moved)
