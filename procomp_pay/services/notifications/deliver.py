"""Deliver the outbox: at least once, each message to each destination separately.

A delivery is claimed in one transaction, sent outside of any, and marked in another one. If the process dies
in between, another one sends it again under the same id, by which the receiver recognises the repetition.
"""

from __future__ import annotations

import asyncio
import logging
import random
from dataclasses import dataclass, field
from datetime import timedelta

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.errors import ConfigurationError
from procomp_pay.domain.notifications import ATTEMPTS, DeliveryOutcome, DeliveryResponse, may_alert, wait_s
from procomp_pay.domain.topics import Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.notifications.routing import route
from procomp_pay.services.notifications.send import send_delivery
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.states import DeliveryState
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.notifications import outbox as outbox_store
from procomp_pay.storage.notifications.outbox import ClaimedDelivery

log = logging.getLogger(__name__)

#: Seconds for which a claimed delivery is left to its process: longer than any attempt may take.
LEASE_S = 120
#: Concurrent deliveries to one destination.
BATCH = 4
#: The most deliveries to one destination in a round.
MOST = 10_000

_CLOSED = {
    DeliveryOutcome.DELIVERED: DeliveryState.DELIVERED,
    DeliveryOutcome.NO_ADDRESS: DeliveryState.UNDELIVERABLE,
    DeliveryOutcome.SKIPPED: DeliveryState.SKIPPED,
    DeliveryOutcome.REFUSED: DeliveryState.DEAD,
}


@dataclass(slots=True)
class Delivered:
    """The result of a delivery round.

    :param dead: one sentence for each delivery that was given up.
    """

    routed: int = 0
    delivered: int = 0
    put_off: int = 0
    closed: int = 0  # undeliverable or skipped
    dead: list[str] = field(default_factory=list)

    @property
    def attempts(self) -> int:
        return self.delivered + self.put_off + self.closed + len(self.dead)


async def deliver_due(ctx: AppContext, *, most: int = MOST) -> Delivered:
    """Route what waits and attempt every delivery that is due.

    :param most: the most messages to route, and deliveries to one destination to attempt.
    :raises DatabaseUnavailable: what was not marked is delivered again.
    """
    done = Delivered()
    async with ctx.db.reading() as session:
        if not await outbox.is_due(session, ctx.clock()):
            return done
    while done.routed < most and (count := await route(ctx)):
        done.routed += count
    unconfigured = ctx.senders.unconfigured()
    async with ctx.db.writing() as session:
        await outbox.skip_unconfigured(session, unconfigured, ctx.clock())
    # concurrently: a destination that hangs must not delay the others
    configured = [destination for destination in Destination if destination not in unconfigured]
    await asyncio.gather(*(_work_destination(ctx, destination, done, most) for destination in configured))
    return done


async def _work_destination(ctx: AppContext, destination: Destination, done: Delivered, most: int) -> None:
    attempted = 0
    while attempted < most:
        async with ctx.db.writing() as session:
            claims = await outbox.claim_deliveries(
                session, destination, ctx.clock(), lease_s=LEASE_S, limit=BATCH
            )
        if not claims:
            return
        attempted += len(claims)
        outcomes = await asyncio.gather(*(_deliver(ctx, claim, done) for claim in claims))
        if all(outcome is DeliveryOutcome.AGAIN for outcome in outcomes):
            return  # the destination is down: the other deliveries wait


async def _deliver(ctx: AppContext, claim: ClaimedDelivery, done: Delivered) -> DeliveryOutcome:
    answer = await _attempt(ctx, claim)
    async with ctx.db.writing() as session:
        await _record_outcome(session, ctx, claim, answer, done)
    return answer.outcome


async def _attempt(ctx: AppContext, claim: ClaimedDelivery) -> DeliveryResponse:
    """Send a delivery outside of any transaction, and return every failure as a response."""
    if claim.delivery.attempts > ATTEMPTS:
        return DeliveryResponse(DeliveryOutcome.REFUSED, "the process ended during every attempt")
    try:
        return await send_delivery(ctx, claim)
    except ConfigurationError as error:
        return DeliveryResponse(DeliveryOutcome.SKIPPED, error.message)
    except Exception as error:
        log.exception("delivery %s failed unexpectedly", claim.delivery.id)
        return DeliveryResponse(DeliveryOutcome.AGAIN, f"unexpected error: {type(error).__name__}")


async def _record_outcome(
    session: AsyncSession, ctx: AppContext, claim: ClaimedDelivery, answer: DeliveryResponse, done: Delivered
) -> None:
    delivery, now = claim.delivery, ctx.clock()
    if answer.outcome is DeliveryOutcome.AGAIN and delivery.attempts < ATTEMPTS:
        wait = wait_s(delivery.attempts, jitter=random.random(), asked_s=answer.retry_after_s)  # noqa: S311
        await outbox.put_off(session, claim, now + timedelta(seconds=wait), answer.text)
        done.put_off += 1
        log.warning("%s; again in %.0f s", _named(claim, answer), wait)
        return
    state = _CLOSED.get(answer.outcome, DeliveryState.DEAD)
    if state is DeliveryState.UNDELIVERABLE and delivery.destination.is_alert:
        # a participant may have mistyped an address; a wrong address of ours must raise an alert
        state = DeliveryState.DEAD
    ours = await outbox.finish(session, claim, state, now=now, error=answer.text or None)
    if state is DeliveryState.DELIVERED:
        done.delivered += 1
    elif state is not DeliveryState.DEAD:
        done.closed += 1
    elif ours:
        done.dead.append(_named(claim, answer))
        log.error("%s; given up after %d attempts", _named(claim, answer), delivery.attempts)
        await _leave_alert(session, ctx, claim, answer)


def _named(claim: ClaimedDelivery, answer: DeliveryResponse) -> str:
    delivery = claim.delivery
    return f"delivery {delivery.id} of {claim.message.topic} by {delivery.destination}: {answer.text}"


async def _leave_alert(
    session: AsyncSession, ctx: AppContext, claim: ClaimedDelivery, answer: DeliveryResponse
) -> None:
    """Enqueue an alert about a dead delivery, through the other channels; none about a dead alert of this
    kind.
    """
    delivery, message = claim.delivery, claim.message
    if not may_alert(message.topic, message.payload):
        return
    payload = {
        "destination": delivery.destination.value,
        "delivery_id": delivery.id,
        "topic": message.topic,
        "error": answer.text,
        "not_by": delivery.destination.value if delivery.destination.is_alert else None,
    }
    await outbox_store.enqueue(
        session,
        Topic.ALERT_DEAD_LETTER,
        payload,
        row_id=ctx.new_id(),
        now=ctx.clock(),
        payment_id=message.payment_id,
        dedup_key=f"{Topic.ALERT_DEAD_LETTER}:{delivery.id}:{ctx.clock().isoformat()}",
    )
