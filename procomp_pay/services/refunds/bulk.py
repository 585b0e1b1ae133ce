"""Give back the rest of every paid payment of a tournament: page by page, a few at once, resumable.

Only the refunds themselves are stored. A run that was killed is started again: refunded payments are
REFUNDED and skipped, requested refunds are PENDING and followed up, the rest is requested.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
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
from procomp_pay.domain.refunds import RefundState
from procomp_pay.domain.states import PaymentStatus
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

#: Refunds in hand at once, and begun in a second: far below Stripe's limit of 100, which others share.
AT_ONCE = 8
PER_SECOND = 20
#: Payments of one page.
PAGE = 100
#: So many unknown outcomes one after the other mean that the provider is down.
GIVE_UP_AFTER = 8
_DISPUTED = "a dispute is {state}: the money could go back twice"


@dataclass(frozen=True, slots=True)
class BulkRefundRequest:
    """What is asked for."""

    tournament_id: str
    reason: str

    def __post_init__(self) -> None:
        use.check_reason(self.reason)


async def survey(ctx: AppContext, order: BulkRefundRequest) -> Report:
    """Return what a run would do, without writing anything.

    :raises ConfigurationError: a provider that has to give money back is not configured.
    """
    report = await _begun(ctx, order)
    async for view in _paid(ctx, order.tournament_id):
        report.add(_course(ctx, view))
    return report


async def run(
    ctx: AppContext,
    order: BulkRefundRequest,
    actor: Actor,
    *,
    on_progress: Callable[[Line], None] = lambda _: None,
    stop: Callable[[], bool] = lambda: False,
) -> Report:
    """Refund every payment that can be refunded.

    :param seen: called with each payment as it ends.
    :param stop: asked before each payment; the refunds in hand are finished.
    :raises ConfigurationError, DatabaseUnavailable: it cannot go on; what was begun is kept.
    """
    report = await _begun(ctx, order)
    work = _Run(ctx, order, actor, report, on_progress, stop)
    await work.go()
    return report


async def _begun(ctx: AppContext, order: BulkRefundRequest) -> Report:
    async with ctx.db.reading() as session:
        counts = await listing.count_by_status(session, order.tournament_id)
    still_open = counts.get(PaymentStatus.PENDING, 0) + counts.get(PaymentStatus.PROCESSING, 0)
    return Report(refunded_before=counts.get(PaymentStatus.REFUNDED, 0), still_open=still_open)


async def _paid(ctx: AppContext, tournament_id: str) -> AsyncIterator[PaymentView]:
    """Every COMPLETED payment. That they change while they are read moves none to another page."""
    wanted = Filter(tournament_id=tournament_id, status=PaymentStatus.COMPLETED)
    cursor = None
    while True:
        page, cursor = await views.many(ctx, wanted, limit=PAGE, cursor=cursor)
        for view in page:
            yield view
        if cursor is None:
            return


def _pending(view: PaymentView) -> list[RefundView]:
    return [each for each in view.refunds if each.state is RefundState.PENDING]


def _course(ctx: AppContext, view: PaymentView) -> Line:
    """Return whether a payment is to be refunded (TO_DO), or else why not."""
    if view.dispute is not None and view.dispute.holds_refunds_back:
        return Line(view, Ending.DISPUTED, view.rest, _DISPUTED.format(state=view.dispute.state))
    try:
        ctx.providers.of(view.channel).ready_to_refund()
    except Refused as error:
        return Line(view, Ending.BY_HAND, view.rest, f"{error.message}: {error.next_step}")
    asked = sum((each.money.amount for each in _pending(view)), Decimal(0))
    return Line(view, Ending.TO_DO, Money(view.rest.amount + asked, view.charged.currency))


class _Run:
    """One run: a reader of pages, and workers that give back what it hands them."""

    def __init__(
        self,
        ctx: AppContext,
        order: BulkRefundRequest,
        actor: Actor,
        report: Report,
        on_progress: Callable[[Line], None],
        stop: Callable[[], bool],
    ) -> None:
        self._desk, self._order, self._actor = ctx, order, actor
        self._report, self._on_progress, self._stop = report, on_progress, stop
        self._silent = 0
        self._fatal: Exception | None = None
        self._next = 0.0

    async def go(self) -> None:
        queue: asyncio.Queue[PaymentView | None] = asyncio.Queue(maxsize=1)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._work(queue))
            try:
                await self._hand_out(queue)
            except Exception as error:
                self._fatal = self._fatal or error
            for _ in range(AT_ONCE):
                await queue.put(None)
        if self._fatal is not None:
            raise self._fatal

    async def _hand_out(self, queue: asyncio.Queue[PaymentView | None]) -> None:
        async for view in _paid(self._desk, self._order.tournament_id):
            if self._is_over():
                return
            course = _course(self._desk, view)
            if course.ending is Ending.TO_DO:
                await queue.put(view)
            else:
                self._ended(course)

    def _is_over(self) -> bool:
        report = self._report
        report.stopped = report.stopped or self._stop()
        report.gave_up = report.gave_up or self._silent >= GIVE_UP_AFTER
        return report.stopped or report.gave_up or self._fatal is not None

    async def _work(self, queue: asyncio.Queue[PaymentView | None]) -> None:
        while (view := await queue.get()) is not None:
            if self._is_over():
                continue
            await self._pace()
            try:
                self._ended(await self._give_back(view))
            except Exception as error:
                self._fatal = self._fatal or error

    async def _pace(self) -> None:
        now = asyncio.get_running_loop().time()
        begin = max(now, self._next)
        self._next = begin + 1 / PER_SECOND
        await asyncio.sleep(begin - now)

    def _ended(self, line: Line) -> None:
        self._silent = self._silent + 1 if line.ending is Ending.UNKNOWN else 0
        self._report.add(line)
        self._on_progress(line)

    async def _give_back(self, view: PaymentView) -> Line:
        money = _course(self._desk, view).money
        try:
            return await self._settled(view, money)
        except ConfigurationError:
            raise
        except Unavailable as error:
            if type(error) is DatabaseUnavailable:
                raise
            return Line(view, Ending.UNKNOWN, money, error.message)
        except PaymentError as error:
            return await self._refused(view, money, error)

    async def _settled(self, view: PaymentView, money: Money) -> Line:
        before = _pending(view)
        for each in before:
            await self._take_up(view, each)
        if before:
            view = await views.one(self._desk, view.payment_id)
        again = {each.refund_id for each in before}
        failed = [e for e in view.refunds if e.refund_id in again and e.state is RefundState.FAILED]
        if not failed and view.status is PaymentStatus.COMPLETED and view.rest.amount > 0:
            await use.refund(self._desk, RefundCommand(view.payment_id, self._order.reason), self._actor)
            view = await views.one(self._desk, view.payment_id)
        return _ending(view, money, failed)

    async def _take_up(self, view: PaymentView, row: RefundView) -> None:
        """Follow up a refund of an earlier run. Kaspi has no idempotency: there only when it is due."""
        early = not view.channel.is_kaspi
        async with self._desk.db.writing() as session:
            ours = await refund_repository.claim(
                session, row.refund_id, self._desk.clock(), lease_s=REFUND_LEASE_S, early=early
            )
        if ours:
            await follow_up(self._desk, row.refund_id)

    async def _refused(self, view: PaymentView, money: Money, error: PaymentError) -> Line:
        """Return how a refused refund ends: it is no failure if another process refunded the payment
        first.
        """
        now = await views.one(self._desk, view.payment_id)
        if now.status is PaymentStatus.REFUNDED or _pending(now):
            return _ending(now, money, [])
        log.warning("payment %s does not go back: %s", view.payment_id, error.message)
        return Line(view, Ending.FAILED, money, error.message)


def _ending(view: PaymentView, money: Money, failed: list[RefundView]) -> Line:
    if failed:
        return Line(view, Ending.FAILED, money, failed[-1].failure_reason or "the refund failed")
    pending = _pending(view)
    if any(each.is_unknown for each in pending):
        return Line(view, Ending.UNKNOWN, money, "asked for a moment ago; it is followed up")
    if pending:
        return Line(view, Ending.ON_ITS_WAY, money)
    if view.status is PaymentStatus.REFUNDED:
        return Line(view, Ending.BACK, money)
    last = view.refunds[-1] if view.refunds else None
    why = last.failure_reason if last is not None else None
    return Line(view, Ending.FAILED, money, why or f"the payment is {view.status}")
