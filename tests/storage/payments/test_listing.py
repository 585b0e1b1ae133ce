"""Lists page by page: each payment once, newest first, whichever index finds it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from procomp_pay.domain.states import PaymentStatus
from procomp_pay.storage.database.service import PaymentDatabaseService
from procomp_pay.storage.payments import listing
from procomp_pay.storage.payments.listing import Filter
from tests.support.report_books import ALMATY, Books, random_books

_DAY = datetime(2024, 3, 1, tzinfo=ALMATY)


async def _pages(db: PaymentDatabaseService, wanted: Filter, limit: int) -> list[str]:
    ids: list[str] = []
    cursor = None
    async with db.reading() as session:
        while True:
            rows, cursor = await listing.page(session, wanted, limit=limit, cursor=cursor)
            ids += [row[0].id for row in rows]
            if cursor is None:
                return ids


def _wanted(books: Books, wanted: Filter) -> set[str]:
    def fits(p: Any) -> bool:
        d = books.details[p.id]
        return (
            wanted.status in (None, p.status)
            and wanted.tournament_id in (None, p.tournament_id)
            and (wanted.disputed is None or wanted.disputed is (d.dispute_state is not None))
            and (wanted.since is None or d.created_at >= wanted.since)
            and (wanted.until is None or d.created_at < wanted.until)
        )

    return {p.id for p in books.payments if fits(p)}


@pytest.mark.parametrize("limit", [1, 7])
async def test_every_page_of_every_filter(db: PaymentDatabaseService, limit: int) -> None:
    books = random_books(11, 60)
    for number, p in enumerate(books.payments):
        if number % 3 == 0:  # several in one millisecond, several at one moment
            moment = _DAY + timedelta(microseconds=number % 9)
            p.created_at = books.details[p.id].created_at = moment
    await books.write(db)
    for wanted in (
        Filter(),
        Filter(status=PaymentStatus.COMPLETED),
        Filter(tournament_id="t2"),
        Filter(disputed=True),
        Filter(disputed=False, status=PaymentStatus.REFUNDED),
        Filter(since=_DAY),
        Filter(tournament_id="t1", since=_DAY + timedelta(microseconds=3)),
        Filter(status=PaymentStatus.COMPLETED, until=_DAY + timedelta(microseconds=6)),
    ):
        ids = await _pages(db, wanted, limit)
        assert len(ids) == len(set(ids))
        assert set(ids) == _wanted(books, wanted)
        to_the_ms = [books.details[key].created_at.replace(microsecond=0) for key in ids]
        assert to_the_ms == sorted(to_the_ms, reverse=True)
