"""Read a window of Stripe's API page by page, stage it beside our books, and keep the fees."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast

from procomp_pay.domain.errors import PaymentError, Unavailable
from procomp_pay.domain.reconciliation.records import ProviderRecord
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.states import Channel
from procomp_pay.providers.stripe import listing as stripe_window
from procomp_pay.providers.stripe.listing import Movement, StripeBooks
from procomp_pay.services.context import AppContext
from procomp_pay.services.reconciliation.report import Report
from procomp_pay.storage.reconciliation import settlements
from procomp_pay.storage.reconciliation.staging import Staging
from procomp_pay.storage.reconciliation.staging_rows import StagedRow

#: An object at Stripe may be older than the window and change in it (an intent lives a day, a page made its
#: intent when it was paid), or be made a little after our payment.
BEFORE, AFTER = timedelta(days=2), timedelta(days=2)
MOVEMENTS = "balance transactions"

Seen = Callable[[str, int], None]


def books_of(ctx: AppContext) -> StripeBooks:
    """
    :raises ConfigurationError: Stripe is not configured.
    """
    return cast(StripeBooks, ctx.providers.of(Channel.STRIPE_INTENT))


async def read_window(ctx: AppContext, staging: Staging, report: Report, seen: Seen) -> None:
    """Stage Stripe's window. If Stripe stops answering, ``report.cut`` says how far
    it got, and what was read is kept."""
    since, until = report.since - BEFORE, report.until + AFTER
    books = books_of(ctx)
    for part, word in stripe_window.PARTS.items():
        pages = 0
        try:
            async for page in stripe_window.read(books, part, since, until):
                await staging.load([_row(each) for each in page])
                pages += 1
                report.read[word] += len(page)
                seen(word, report.read[word])
        except Unavailable as error:
            report.cut = _how_far(error, word, pages, report.read[word])
            return


async def keep_movements(ctx: AppContext, report: Report, seen: Seen) -> None:
    """Keep fees and nets of what moved in the window; as :func:`read_window` when Stripe stops answering."""
    pages = 0
    try:
        async for page in stripe_window.movements(books_of(ctx), report.since - BEFORE, report.until):
            pages += 1
            report.read[MOVEMENTS] += len(page)
            report.settlements += await _keep(ctx, page, dry_run=report.dry_run)
            seen(MOVEMENTS, report.read[MOVEMENTS])
    except Unavailable as error:
        report.cut = report.cut or _how_far(error, MOVEMENTS, pages, report.read[MOVEMENTS])


def _how_far(error: PaymentError, word: str, pages: int, count: int) -> str:
    return f"{error.message}, after {pages} pages ({count:,} {word})".replace(",", "\N{NO-BREAK SPACE}", 0)


def _row(theirs: ProviderRecord) -> StagedRow:
    return StagedRow(
        theirs.kind.value, theirs.ref, theirs.key, theirs.stand.value, theirs.at,
        theirs.amount, theirs.currency, None, None, theirs.hint, 0,
        theirs.dispute.value if theirs.dispute else None,
    )  # fmt: skip


async def _keep(ctx: AppContext, page: list[Movement], *, dry_run: bool) -> int:
    wanted = [each for each in page if each.kind is not LineKind.OTHER and each.payment_ref]
    names = {each.payment_ref for each in wanted if each.payment_ref}
    async with ctx.db.reading() as session:
        ours = await settlements.payment_ids_by_reference(session, "stripe", names)
    rows = [_settlement(ctx, each, ours[each.payment_ref]) for each in wanted if each.payment_ref in ours]
    if dry_run or not rows:
        return 0
    async with ctx.db.writing() as session:
        await settlements.record(session, rows)
    return len(rows)


def _settlement(ctx: AppContext, moved: Movement, payment_id: str) -> dict[str, Any]:
    return {
        "id": ctx.new_id(),
        "provider": "stripe",
        "payment_id": payment_id,
        "kind": moved.kind,
        "ref": moved.ref,
        "balance_transaction_id": moved.txn,
        "amount": moved.amount,
        "fee": moved.fee,
        "net": moved.net,
        "currency": moved.currency,
        "at": moved.at,
        "source": "stripe_api",
        "recorded_at": ctx.clock(),
    }


def default_since(first: datetime | None, last_end: datetime | None, now: datetime) -> datetime:
    """Return the default start of a window: a week ago, or earlier if the last run ended before that."""
    week = now - timedelta(days=7)
    if last_end is not None:
        return min(week, last_end - timedelta(days=1))
    return min(week, first) if first is not None else week
