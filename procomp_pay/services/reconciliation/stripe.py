"""Read a window of Stripe's API page by page, stage it for the comparison, and store the fees."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, cast

from procomp_pay.domain.errors import PaymentError, Unavailable
from procomp_pay.domain.payouts import BalanceLine
from procomp_pay.domain.reconciliation.records import ProviderRecord
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.states import Channel
from procomp_pay.domain.text import N_
from procomp_pay.providers.stripe import listing as stripe_window
from procomp_pay.providers.stripe.listing import Movement, StripeBooks
from procomp_pay.providers.stripe.payouts import costs_among
from procomp_pay.services.context import AppContext
from procomp_pay.services.payouts.fetch import keep_costs
from procomp_pay.services.reconciliation.recover import find_lost
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.storage.reconciliation import provider_movements
from procomp_pay.storage.reconciliation.staging import Staging
from procomp_pay.storage.reconciliation.staging_rows import StagedRow

#: How far beyond the window Stripe's objects are read. An object can be older than the window and change in
#: it (an intent is valid for a day, a page creates its intent when it is paid), or be created after our
#: payment.
BEFORE, AFTER = timedelta(days=2), timedelta(days=2)
MOVEMENTS = "balance transactions"

#: Pages of what moved that wait in memory, about 50 kB each.
_AHEAD = 100

Progress = Callable[[str, int], None]
_Moved = tuple[list[Movement], list[BalanceLine]]


def books_of(ctx: AppContext) -> StripeBooks:
    """Return Stripe's lists.

    :raises ConfigurationError: Stripe is not configured.
    """
    return cast(StripeBooks, ctx.providers.of(Channel.STRIPE_INTENT))


async def read_window(
    ctx: AppContext, staging: Staging, report: Report, on_progress: Progress, *, open_too: bool
) -> list[str]:
    """Stage Stripe's window. If Stripe stops answering, ``report.cut`` says how far
    it got, and what was read is kept.

    :returns: the PaymentIntents of payments that our books have lost; with ``open_too`` also unpaid ones.
    """
    lost: list[str] = []
    since, until = report.since - BEFORE, report.until + AFTER
    books = books_of(ctx)
    for part, word in stripe_window.PARTS.items():
        pages = 0
        try:
            async for page in stripe_window.read(books, part, since, until):
                await staging.load([_row(record) for record in page])
                lost += await find_lost(ctx, page, open_too=open_too)
                pages += 1
                report.read[word] += len(page)
                on_progress(word, report.read[word])
        except Unavailable as error:
            report.cut = _how_far(error, word, pages, report.read[word])
            break
    return lost


@asynccontextmanager
async def movements_ahead(ctx: AppContext, report: Report) -> AsyncIterator[AsyncIterator[_Moved]]:
    """Begin to read what moved in the window, for :func:`keep_movements`, while the caller reads and compares
    the rest: each list has to be read page after page, but two can be read at a time."""
    queue: asyncio.Queue[_Moved | Exception | None] = asyncio.Queue(_AHEAD)

    async def fetch() -> None:
        end = None
        try:
            balance = stripe_window.balance(books_of(ctx), report.since - BEFORE, report.until)
            async with aclosing(balance):
                async for entries in balance:
                    await queue.put((stripe_window.movements(entries), costs_among(entries)))
        except Exception as error:
            end = error
        await queue.put(end)

    async def pages() -> AsyncIterator[_Moved]:
        while (page := await queue.get()) is not None:
            if isinstance(page, Exception):
                raise page
            yield page

    fetching = asyncio.create_task(fetch())
    try:
        yield pages()
    finally:
        fetching.cancel()
        await asyncio.gather(fetching, return_exceptions=True)


async def keep_movements(
    ctx: AppContext, moved: AsyncIterator[_Moved], report: Report, on_progress: Progress
) -> None:
    """Keep fees and nets of what moved in the window, and the account's own costs; as :func:`read_window`
    when Stripe stops answering."""
    pages = 0
    try:
        async for page, costs in moved:
            pages += 1
            report.read[MOVEMENTS] += len(page)
            report.settlements += await _store(ctx, page, dry_run=report.dry_run)
            if not report.dry_run:
                await keep_costs(ctx, costs)
            on_progress(MOVEMENTS, report.read[MOVEMENTS])
    except Unavailable as error:
        report.cut = report.cut or _how_far(error, MOVEMENTS, pages, report.read[MOVEMENTS])


def _how_far(error: PaymentError, word: str, pages: int, count: int) -> str:
    return N_(
        "%(error)s, after %(pages)s pages (%(n)s %(what)s)",
        error=error.message,
        pages=pages,
        n=f"{count:,}",
        what=word,
    )


def _row(record: ProviderRecord) -> StagedRow:
    return StagedRow(
        record.kind.value, record.ref, record.key, record.stand.value, record.at,
        record.amount, record.currency, None, None, record.hint, 0,
        record.dispute.value if record.dispute else None,
    )  # fmt: skip


async def _store(ctx: AppContext, page: list[Movement], *, dry_run: bool) -> int:
    movements = [movement for movement in page if movement.kind is not LineKind.OTHER]
    references = {movement.payment_ref for movement in movements if movement.payment_ref}
    if dry_run or not references:
        return 0
    async with ctx.db.writing() as session:
        ids = await provider_movements.payment_ids_by_reference(session, "stripe", references)
        rows = [
            _movement(ctx, movement, ids[movement.payment_ref])
            for movement in movements
            if movement.payment_ref in ids
        ]
        await provider_movements.record(session, rows)
    return len(rows)


def _movement(ctx: AppContext, movement: Movement, payment_id: str) -> dict[str, Any]:
    return {
        "id": ctx.new_id(),
        "provider": "stripe",
        "payment_id": payment_id,
        "kind": movement.kind,
        "ref": movement.ref,
        "balance_transaction_id": movement.txn,
        "amount": movement.amount,
        "fee": movement.fee,
        "net": movement.net,
        "currency": movement.currency,
        "at": movement.at,
        "source": "stripe_api",
        "recorded_at": ctx.clock(),
    }


def default_since(first: datetime | None, last_end: datetime | None, now: datetime) -> datetime:
    """Return the default start of a window: a week ago, or earlier if the last run ended before that."""
    week = now - timedelta(days=7)
    if last_end is not None:
        return min(week, last_end - timedelta(days=1))
    return min(week, first) if first is not None else week
