"""Run background work in passes: for the loops of ``serve``, and for ``maintain`` from cron."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from functools import partial

from procomp_pay.domain.errors import PaymentError, Unavailable, fault_of
from procomp_pay.domain.states import KASPI_CHANNELS, STRIPE_CHANNELS, Channel
from procomp_pay.providers.resilience.rate_limit import background_priority
from procomp_pay.services.context import AppContext
from procomp_pay.services.lifecycle.polling import LEASE_S, poll_payment, schedule_next_poll
from procomp_pay.services.maintenance.health_alerts import check_provider_health
from procomp_pay.services.maintenance.retention import prune
from procomp_pay.services.notifications.deliver import deliver_due
from procomp_pay.services.refunds.send import REFUND_LEASE_S, follow_up
from procomp_pay.services.registrations.search_keys import catch_up
from procomp_pay.services.settlement.apply import AppliedEvent
from procomp_pay.services.webhooks.backfill import fetch_missed
from procomp_pay.services.webhooks.batch import handle_due
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.payments import refunds
from procomp_pay.storage.payments import repository as payments

log = logging.getLogger(__name__)

#: Each provider's payments and refunds are worked on by themselves: one that hangs delays nobody else's.
PROVIDER_CHANNELS = (KASPI_CHANNELS, STRIPE_CHANNELS)
#: Rows claimed at a time; few, so that several processes share the work.
BATCH = 10
#: The most rows of one kind per pass, so that a pass ends however much comes in meanwhile.
_MOST = 10_000


@dataclass(slots=True)
class Pass:
    """The counters of one pass."""

    fetched: int = 0
    events: int = 0
    events_failed: int = 0
    looked_at: int = 0
    moved: int = 0
    delivered: int = 0
    not_delivered: int = 0
    pruned: int = 0
    failures: list[str] = field(default_factory=list)
    #: Seconds from each event's arrival until it was handled.
    lags: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        parts = [f"{_several(self.events, 'event')} handled"]
        parts += [f"{_several(self.fetched, 'missed event')} fetched"] if self.fetched else []
        parts += [f"{_several(self.looked_at, 'payment')} looked at", f"{self.moved} moved"]
        problems = self.events_failed + len(self.failures)
        parts += [f"{_several(self.delivered, 'message')} delivered"]
        parts += [f"{self.not_delivered} to be tried again"] if self.not_delivered else []
        parts += [f"{_several(self.pruned, 'old row')} pruned"] if self.pruned else []
        return ", ".join([*parts, *([_several(problems, "problem")] if problems else [])])


def _several(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


async def work_missed(ctx: AppContext, done: Pass, *, on_progress: Callable[[], None] = lambda: None) -> None:
    """Fetch the events that did not reach the webhook; after a failure the next pass continues.

    :param on_progress: called after each page of events: there may be those of a month.
    """
    try:
        done.fetched += await fetch_missed(ctx, on_progress) or 0
    except Unavailable as error:
        log.warning("missed events: %s", error.message, extra=fault_of(error))
        done.failures.append(f"missed events: {error.message}")


async def work_inbox(ctx: AppContext, done: Pass, *, most: int = _MOST) -> None:
    """Process every event that is due."""
    for _ in range(most):
        events = await handle_due(ctx)
        if not events:
            return
        finished = [event for event in events if event.state not in (EventState.PENDING, EventState.DEAD)]
        done.events_failed += sum(not event.waits for event in events) - len(finished)
        done.events += len(finished)
        done.lags += [event.lag_s for event in finished]


async def work_watch(
    ctx: AppContext, done: Pass, channels: Collection[Channel], *, most: int = _MOST
) -> None:
    """Poll every payment of these channels that is due, oldest deadline first."""
    while done.looked_at < most:
        async with ctx.db.writing() as session:
            claimed = await payments.claim_due(session, ctx.clock(), channels, lease_s=LEASE_S, limit=BATCH)
        if not claimed:
            return
        # concurrently: one slow answer must not delay the other polls
        await asyncio.gather(*(_poll(ctx, payment_id, done) for payment_id in claimed))


async def _poll(ctx: AppContext, payment_id: str, done: Pass) -> None:
    results: list[AppliedEvent | None] = []

    async def poll() -> None:
        with background_priority():
            results.append(await poll_payment(ctx, payment_id))

    if not await _isolated(poll, f"payment {payment_id}", done, payment_id=payment_id):
        await schedule_next_poll(ctx, payment_id)
    elif results[0] is not None and results[0].status is not results[0].before:
        done.moved += 1


async def work_refunds(
    ctx: AppContext, done: Pass, channels: Collection[Channel], *, most: int = _MOST
) -> None:
    """Follow up every refund through these channels that is due: send it, or find out its outcome.

    One at a time: a claim must outlast the calls made under it, or two processes would send the same refund.
    """
    for _ in range(most):
        async with ctx.db.writing() as session:
            claimed = await refunds.claim_due(session, ctx.clock(), channels, lease_s=REFUND_LEASE_S, limit=1)
        if not claimed:
            return
        work = partial(follow_up, ctx, claimed[0])
        await _isolated(work, f"refund {claimed[0]}", done, refund_id=claimed[0])


async def work_outbox(ctx: AppContext, done: Pass, *, most: int = _MOST) -> None:
    """Deliver messages to participants, the platform and the operators."""
    deliveries = await deliver_due(ctx, most=most)
    done.delivered += deliveries.delivered
    done.not_delivered += deliveries.put_off
    done.failures += deliveries.dead


async def work_retention(
    ctx: AppContext, done: Pass, *, on_progress: Callable[[], None] = lambda: None
) -> None:
    """Prune what is older than its time; after a failure the next pass continues."""
    try:
        done.pruned += await prune(ctx, on_progress) or 0
    except PaymentError as error:  # such as a role that may not delete
        log.warning("pruning: %s", error.message, extra=fault_of(error))
        done.failures.append(f"pruning: {error.message}")


async def work_search_keys(
    ctx: AppContext, done: Pass, *, on_progress: Callable[[], None] = lambda: None
) -> None:
    """Make search keys of participants whom the platform added or renamed; after a failure the next pass
    continues."""
    try:
        await catch_up(ctx, on_progress)
    except PaymentError as error:
        log.warning("search keys: %s", error.message, extra=fault_of(error))
        done.failures.append(f"search keys: {error.message}")


async def _isolated(work: Callable[[], Awaitable[None]], name: str, done: Pass, **fields: str) -> bool:
    """Do one piece of work, and record its failure without stopping the others; return False if it failed.

    :param fields: further fields of the log line.
    """
    done.looked_at += 1
    try:
        await work()
    except PaymentError as error:
        log.warning("%s: %s", name, error.message, extra=fields | fault_of(error))
        done.failures.append(f"{name}: {error.message}")
    except Exception as error:
        log.exception("%s failed unexpectedly", name, extra=fields)
        done.failures.append(f"{name}: {type(error).__name__}")
    else:
        return True
    return False


async def _work_provider(ctx: AppContext, done: Pass, channels: Collection[Channel]) -> None:
    await work_watch(ctx, done, channels)
    await work_refunds(ctx, done, channels)


async def one_pass(ctx: AppContext, *, backfill: bool = True) -> Pass:
    """Run all background work once: the inbox, every payment and refund that is due, then deliveries.

    :param backfill: first fetch the events that did not reach the webhook.
    """
    done = Pass()
    if backfill:
        await work_missed(ctx, done)
    await work_inbox(ctx, done)
    await asyncio.gather(*(_work_provider(ctx, done, channels) for channels in PROVIDER_CHANNELS))
    await check_provider_health(ctx)
    await work_outbox(ctx, done)
    await work_retention(ctx, done)
    await work_search_keys(ctx, done)
    return done
