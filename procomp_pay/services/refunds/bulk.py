"""Refund every paid payment of a tournament in full: page by page, a few at a time, resumable.

Only the refunds themselves are stored. A run that was killed is simply started again: refunded payments are
REFUNDED and skipped, requested refunds are PENDING and followed up, the others are requested.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal

from procomp_pay.domain.errors import (
    ConfigurationError,
    DatabaseUnavailable,
    PaymentError,
    Refused,
    Unavailable,
)
from procomp_pay.domain.money import Money
from procomp_pay.domain.operators import Right, needs_second_person, require
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.refunds import create as use
from procomp_pay.services.refunds.bulk_report import Ending, Line, Report
from procomp_pay.services.refunds.create import RefundCommand
from procomp_pay.services.refunds.send import REFUND_LEASE_S, follow_up
from procomp_pay.services.views import payment as views
from procomp_pay.services.views.payment import PaymentView
from procomp_pay.services.views.refund import RefundView
from procomp_pay.storage.payments import listing
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.listing import Filter

log = logging.getLogger(__name__)

#: Refunds in progress at a time, and started per second: far below Stripe's limit of 100, which is shared.
AT_ONCE = 8
PER_SECOND = 20
#: Payments per page.
PAGE = 100
#: Unknown outcomes in a row after which the provider counts as down.
GIVE_UP_AFTER = 8
_NOT_APPROVED = N_("it was paid after the others were shown: type the command again")
_DISPUTED = "a dispute is {state}: the money could be returned twice"


@dataclass(frozen=True, slots=True)
class BulkRefundRequest:
    """A tournament whose payments are refunded, and the reason."""

    tournament_id: str
    reason: str

    def __post_init__(self) -> None:
        use.check_reason(self.reason)


async def preview(ctx: AppContext, command: BulkRefundRequest) -> Report:
    """Return what a run would do, without writing anything.

    :raises ConfigurationError: the provider of one of the payments is not configured.
    """
    report = await _new_report(ctx, command)
    async for view in _completed_payments(ctx, command.tournament_id):
        report.add(_assess(ctx, view))
    return report


async def run(
    ctx: AppContext,
    command: BulkRefundRequest,
    actor: Actor,
    *,
    only: Mapping[str, Decimal] | None = None,
    on_progress: Callable[[Line], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Refund every payment that can be refunded.

    :param only: the payments that a second operator approved, with at most these amounts; ``None`` where
        there are no operators.
    :param on_progress: called with each payment as it ends.
    :param stop: called before each payment; True ends the run after the refunds in progress.
    :raises ConfigurationError, DatabaseUnavailable: it cannot continue; refunds already made are kept.
    """
    require(ctx.operator, Right.FINANCE, command.tournament_id)
    needs_second_person(ctx.operator, actor.approved_by)
    report = await _new_report(ctx, command)
    work = _Run(ctx, command, actor, report, only, on_progress, stop)
    await work.go()
    return report


async def _new_report(ctx: AppContext, command: BulkRefundRequest) -> Report:
    async with ctx.db.reading() as session:
        counts = await listing.count_by_status(session, command.tournament_id)
    still_open = counts.get(PaymentStatus.PENDING, 0) + counts.get(PaymentStatus.PROCESSING, 0)
    return Report(refunded_before=counts.get(PaymentStatus.REFUNDED, 0), still_open=still_open)


async def _completed_payments(ctx: AppContext, tournament_id: str) -> AsyncIterator[PaymentView]:
    """Yield every COMPLETED payment. The cursor stays valid while they are refunded."""
    wanted = Filter(tournament_id=tournament_id, status=PaymentStatus.COMPLETED)
    cursor = None
    while True:
        page, cursor = await views.many(ctx, wanted, limit=PAGE, cursor=cursor)
        for view in page:
            yield view
        if cursor is None:
            return


def _pending(view: PaymentView) -> list[RefundView]:
    return [refund for refund in view.refunds if refund.state is RefundState.PENDING]


def _assess(ctx: AppContext, view: PaymentView) -> Line:
    """Return whether a payment is to be refunded (TO_DO), or why not."""
    if view.dispute is not None and view.dispute.holds_refunds_back:
        return Line(view, Ending.DISPUTED, view.rest, _DISPUTED.format(state=view.dispute.state))
    try:
        ctx.providers.of(view.channel).ready_to_refund(view.payment_id)
    except Refused as error:
        return Line(
            view,
            Ending.BY_HAND,
            view.rest,
            N_("%(error)s: %(step)s", error=error.message, step=error.next_step),
        )
    pending = sum((refund.money.amount for refund in _pending(view)), Decimal(0))
    return Line(view, Ending.TO_DO, Money(view.rest.amount + pending, view.charged.currency))


class _Run:
    """One run: a reader of pages, and workers that refund the payments it queues."""

    def __init__(
        self,
        ctx: AppContext,
        command: BulkRefundRequest,
        actor: Actor,
        report: Report,
        only: Mapping[str, Decimal] | None,
        on_progress: Callable[[Line], None],
        stop: Callable[[], bool],
    ) -> None:
        self._ctx, self._command, self._actor = ctx, command, actor
        self._report, self._on_progress, self._stop = report, on_progress, stop
        self._only = only
        self._unknown_in_a_row = 0
        self._fatal: Exception | None = None
        self._next_start = 0.0

    async def go(self) -> None:
        queue: asyncio.Queue[PaymentView | None] = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work(queue))
            try:
                await self._queue_payments(queue)
            except Exception as error:
                self._fatal = self._fatal or error
            for _ in range(AT_ONCE):
                await queue.put(None)
        if self._fatal is not None:
            raise self._fatal

    async def _queue_payments(self, queue: asyncio.Queue[PaymentView | None]) -> None:
        async for view in _completed_payments(self._ctx, self._command.tournament_id):
            if self._is_over():
                return
            line = _assess(self._ctx, view)
            if line.ending is Ending.TO_DO and not self._is_approved(line):
                self._report_line(Line(view, Ending.FAILED, line.money, _NOT_APPROVED))
            elif line.ending is Ending.TO_DO:
                await queue.put(view)
            else:
                self._report_line(line)

    def _is_approved(self, line: Line) -> bool:
        if self._only is None:
            return self._ctx.operator is None
        most = self._only.get(line.view.payment_id)
        return most is not None and line.money.amount <= most

    def _is_over(self) -> bool:
        report = self._report
        report.stopped = report.stopped or self._stop()
        report.gave_up = report.gave_up or self._unknown_in_a_row >= GIVE_UP_AFTER
        return report.stopped or report.gave_up or self._fatal is not None

    async def _work(self, queue: asyncio.Queue[PaymentView | None]) -> None:
        while (view := await queue.get()) is not None:
            if self._is_over():
                continue
            await self._pace()
            try:
                self._report_line(await self._refund(view))
            except Exception as error:
                self._fatal = self._fatal or error

    async def _pace(self) -> None:
        now = asyncio.get_running_loop().time()
        start = max(now, self._next_start)
        self._next_start = start + 1 / PER_SECOND
        await asyncio.sleep(start - now)

    def _report_line(self, line: Line) -> None:
        self._unknown_in_a_row = self._unknown_in_a_row + 1 if line.ending is Ending.UNKNOWN else 0
        self._report.add(line)
        self._on_progress(line)

    async def _refund(self, view: PaymentView) -> Line:
        """Refund one payment and return how it ended.

        :raises ConfigurationError, DatabaseUnavailable: the run cannot continue.
        """
        money = _assess(self._ctx, view).money
        try:
            return await self._refund_rest(view, money)
        except ConfigurationError:
            raise
        except Unavailable as error:
            if type(error) is DatabaseUnavailable:
                raise
            return Line(view, Ending.UNKNOWN, money, error.message)
        except PaymentError as error:
            return await self._line_for_error(view, money, error)

    async def _refund_rest(self, view: PaymentView, money: Money) -> Line:
        """Follow up the pending refunds of a payment, then refund what is left."""
        earlier = _pending(view)
        for refund in earlier:
            await self._follow_up(view, refund)
        if earlier:
            view = await views.one(self._ctx, view.payment_id)
        earlier_ids = {refund.refund_id for refund in earlier}
        failed = [
            refund
            for refund in view.refunds
            if refund.refund_id in earlier_ids and refund.state is RefundState.FAILED
        ]
        if not failed and view.status is PaymentStatus.COMPLETED and view.rest.amount > 0:
            await use.refund(self._ctx, RefundCommand(view.payment_id, self._command.reason), self._actor)
            view = await views.one(self._ctx, view.payment_id)
        return _ending(view, money, failed)

    async def _follow_up(self, view: PaymentView, refund: RefundView) -> None:
        """Follow up a refund of an earlier run; at Kaspi, which has no idempotency, only when it is due."""
        early = not view.channel.is_kaspi
        async with self._ctx.db.writing() as session:
            claimed = await refund_repository.claim(
                session, refund.refund_id, self._ctx.clock(), lease_s=REFUND_LEASE_S, early=early
            )
        if claimed:
            await follow_up(self._ctx, refund.refund_id)

    async def _line_for_error(self, view: PaymentView, money: Money, error: PaymentError) -> Line:
        """Return the outcome of a rejected refund: no failure if another process was first."""
        now = await views.one(self._ctx, view.payment_id)
        if now.status is PaymentStatus.REFUNDED or _pending(now):
            return _ending(now, money, [])
        log.warning("payment %s is not refunded: %s", view.payment_id, error.message)
        return Line(view, Ending.FAILED, money, error.message)


def _ending(view: PaymentView, money: Money, failed: list[RefundView]) -> Line:
    if failed:
        return Line(view, Ending.FAILED, money, failed[-1].failure_reason or N_("the refund failed"))
    pending = _pending(view)
    if any(refund.is_unknown for refund in pending):
        return Line(view, Ending.UNKNOWN, money, N_("requested a moment ago; it is followed up"))
    if pending:
        return Line(view, Ending.ON_ITS_WAY, money)
    if view.status is PaymentStatus.REFUNDED:
        return Line(view, Ending.BACK, money)
    last = view.refunds[-1] if view.refunds else None
    why = last.failure_reason if last is not None else None
    return Line(view, Ending.FAILED, money, why or N_("the payment is %(status)s", status=view.status))
