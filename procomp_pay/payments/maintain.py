"""Background work: one pass of everything, for ``serve``'s loops and for ``maintain`` from cron."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial

from procomp_pay.domain.errors import PaymentError
from procomp_pay.payments.desk import Desk
from procomp_pay.payments.inbox import handle_next
from procomp_pay.payments.refund_send import follow_up
from procomp_pay.payments.settle import Settled
from procomp_pay.payments.tend import tend
from procomp_pay.payments.watch import LEASE_S, look_after, look_again_at
from procomp_pay.providers.budget import unhurried
from procomp_pay.storage import payments, refunds
from procomp_pay.storage.row_states import EventState

log = logging.getLogger(__name__)

#: Rows that one pass claims at a time; small, so that several processes share the work.
BATCH = 10
#: How long a claimed refund is left alone by other processes, in seconds: longer than two calls with retries.
REFUND_LEASE_S = 120
#: The most rows of one kind that a pass handles: a pass ends, whatever comes in meanwhile.
_MOST = 10_000


@dataclass(slots=True)
class Pass:
    """What one pass did."""

    events: int = 0
    events_failed: int = 0
    looked_at: int = 0
    moved: int = 0
    failures: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        text = f"{self.events} events handled, {self.looked_at} payments looked at, {self.moved} moved"
        problems = self.events_failed + len(self.failures)
        return f"{text}, {problems} problems" if problems else text


async def work_inbox(desk: Desk, done: Pass, *, most: int = _MOST) -> None:
    """Handle every event that is due."""
    for _ in range(most):
        handled = await handle_next(desk)
        if handled is None:
            return
        if handled.state in (EventState.PENDING, EventState.DEAD):
            done.events_failed += 1
        else:
            done.events += 1


async def work_watch(desk: Desk, done: Pass, *, most: int = _MOST) -> None:
    """Look after every payment that is due, oldest deadline first."""
    while done.looked_at < most:
        async with desk.db.writing() as session:
            claimed = await payments.claim_due(session, desk.clock(), lease_s=LEASE_S, limit=BATCH)
        if not claimed:
            return
        # side by side: one slow answer must not hold up the others' polls
        await asyncio.gather(*(_look_after(desk, payment_id, done) for payment_id in claimed))


async def _look_after(desk: Desk, payment_id: str, done: Pass) -> None:
    settled: list[Settled | None] = []

    async def look() -> None:
        with unhurried():
            settled.append(await look_after(desk, payment_id))

    if not await _alone(look, f"payment {payment_id}", done):
        await look_again_at(desk, payment_id)
    elif settled[0] is not None and settled[0].status is not settled[0].before:
        done.moved += 1


async def work_refunds(desk: Desk, done: Pass, *, most: int = _MOST) -> None:
    """Follow up every refund that is due: send it, find out what became of it.

    One at a time: a claim must outlast the calls made under it, or two processes would send the same one.
    """
    for _ in range(most):
        async with desk.db.writing() as session:
            claimed = await refunds.claim_due(session, desk.clock(), lease_s=REFUND_LEASE_S, limit=1)
        if not claimed:
            return
        await _alone(partial(follow_up, desk, claimed[0]), f"refund {claimed[0]}", done)


async def _alone(work: Callable[[], Awaitable[None]], name: str, done: Pass) -> bool:
    """Do one piece of work; its trouble must not keep the others waiting. False where it failed."""
    done.looked_at += 1
    try:
        await work()
    except PaymentError as error:
        log.warning("%s: %s", name, error.message)
        done.failures.append(f"{name}: {error.message}")
    except Exception as error:
        log.exception("%s cannot be looked after", name)
        done.failures.append(f"{name}: {type(error).__name__}")
    else:
        return True
    return False


async def one_pass(desk: Desk) -> Pass:
    """Everything once: the inbox, then every payment that is due."""
    done = Pass()
    await work_inbox(desk, done)
    await work_watch(desk, done)
    await work_refunds(desk, done)
    await tend(desk)
    return done
