"""Compare with Kaspi's API, which has no list: ask about each open or recent payment, at a limited rate."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

from procomp_pay.config import KaspiScheme
from procomp_pay.domain.errors import NotFound, Unavailable
from procomp_pay.domain.reconciliation.records import ProviderRecord, ProviderState
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.domain.text import N_
from procomp_pay.providers.kaspi.service import KaspiPaymentService
from procomp_pay.services.reconciliation.compare import compare_page
from procomp_pay.services.reconciliation.context import ReconciliationContext, record_page
from procomp_pay.services.reconciliation.repair import ask
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.reconciliation.local_records import ids_started_in, open_ids, payments_by_id
from procomp_pay.storage.reconciliation.staging_rows import Candidate

#: Requests at a time, and payments of a page.
AT_ONCE = 4
PAGE = 100
WORD = N_("payments asked for")

_NONE = Decimal("0.00")

Progress = Callable[[str, int], None]


async def ask_each(context: ReconciliationContext, on_progress: Progress) -> None:
    """Compare every payment that was started in the window, and every open one of any age. If Kaspi stops
    answering, ``report.cut`` says how far it got; finished comparisons are kept.

    :raises ConfigurationError: Kaspi is not configured, or rejects our credentials.
    """
    ctx, report = context.ctx, context.report
    try:
        await _window(context, on_progress)
        await _open_ones(context, on_progress)
    except Unavailable as error:
        report.cut = N_("%(error)s, after %(n)s payments asked for", error=error.message, n=report.read[WORD])
    provider = ctx.providers.of(Channel.KASPI_QR)
    if isinstance(provider, KaspiPaymentService) and provider.scheme is KaspiScheme.BASIC:
        report.notes.append(
            N_(
                "Kaspi's basic scheme reports neither amounts nor refunds: compare those with the Kaspi Pay "
                "statement (--statement FILE)"
            )
        )


async def _window(context: ReconciliationContext, on_progress: Progress) -> None:
    report, after = context.report, ""
    while True:
        async with context.ctx.db.reading() as session:
            ids = await ids_started_in(session, "kaspi", report.since, report.until, after=after, limit=PAGE)
        if not ids:
            return
        await _compare_payments(context, ids, on_progress)
        after = ids[-1]


async def _open_ones(context: ReconciliationContext, on_progress: Progress) -> None:
    report, after = context.report, ""
    while True:
        async with context.ctx.db.reading() as session:
            ids = await open_ids(session, "kaspi", after=after, limit=PAGE)
            payments = await payments_by_id(session, ids)
        if not ids:
            return
        older = [
            payment_id
            for payment_id in ids
            if payment_id in payments and payments[payment_id].detail.created_at < report.since
        ]
        if older:
            await _compare_payments(context, older, on_progress)
        after = ids[-1]


async def _compare_payments(context: ReconciliationContext, ids: list[str], on_progress: Progress) -> None:
    async with context.ctx.db.reading() as session:
        payments = await payments_by_id(session, ids)
    gate = asyncio.Semaphore(AT_ONCE)

    async def records_of(payment: OrmLockedPayment) -> list[ProviderRecord] | None:
        async with gate:
            if context.pace is not None:
                await context.pace()
            try:
                return await ask(context.ctx, payment)
            except NotFound:
                return []

    # a request that fails cancels the others, because the provider is unavailable
    tasks: dict[str, asyncio.Task[list[ProviderRecord] | None]] = {}
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(records_of(payments[name]))
                for name in ids
                if _is_at_provider(payments.get(name))
            }
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    theirs = [record for task in tasks.values() for record in task.result() or []]
    for name, task in tasks.items():
        if (sums := _sums(task.result() or [])) is not None:
            context.report.told[name] = sums
    context.report.read[WORD] += len(tasks)
    context.report.compared += len(ids)
    on_progress(WORD, context.report.read[WORD])
    untold = {name for name, task in tasks.items() if task.result() is None}
    candidates = [Candidate(name, name) for name in ids if name not in untold]
    await record_page(
        context, await compare_page(context, candidates, sorted(theirs, key=lambda record: record.key))
    )
    # where the gateway cannot be asked, nothing is expected there: only our own books are checked
    alone = replace(context, coverage=replace(context.coverage, whole=False))
    await record_page(
        context, await compare_page(alone, [Candidate(name, name) for name in ids if name in untold], [])
    )


def _sums(records: list[ProviderRecord]) -> tuple[Decimal, Decimal] | None:
    """Return what was paid and what was refunded of one payment; ``None`` if Kaspi does not report both."""
    paid = [record for record in records if record.kind is LineKind.PAYMENT and record.amount is not None]
    if not paid or paid[0].hides_refunds or paid[0].stand is not ProviderState.PAID:
        return None
    back = [record for record in records if record.kind is LineKind.REFUND and record.amount is not None]
    return paid[0].amount or _NONE, max((record.amount or _NONE for record in back), default=_NONE)


def _is_at_provider(payment: OrmLockedPayment | None) -> bool:
    return payment is not None and payment.detail.create_state is CreateState.OPEN
