"""Show the outbox, replay dead deliveries, and test every channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from procomp_pay.domain.destinations import Destination
from procomp_pay.domain.errors import Conflict, NotFound, Refused
from procomp_pay.domain.notifications import DeliveryOutcome, DeliveryResponse
from procomp_pay.providers.notifications.senders import NEEDS
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.timestamps import instant
from procomp_pay.storage.database.chunks import chunks
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.notifications import Delivery, OutboxMessage
from procomp_pay.storage.models.states import OutboxState
from procomp_pay.storage.notifications import listing as outbox_read
from procomp_pay.storage.notifications.listing import CLOSED_UNDELIVERED, Told

#: The most messages of one list.
MOST = 500


def as_document(notification: Told) -> dict[str, Any]:
    """Return a message with its deliveries, for ``--json``."""
    message, deliveries = notification
    return {
        "message_id": message.id,
        "topic": message.topic,
        "payment_id": message.payment_id,
        "state": message.state.value,
        "note": message.skipped,
        "created_at": instant(message.created_at),
        "routed_at": instant(message.routed_at),
        "payload": message.payload,
        "deliveries": [_delivery(delivery) for delivery in deliveries],
    }


def _delivery(row: Delivery) -> dict[str, Any]:
    waiting = row.state == "waiting"
    return {
        "delivery_id": row.id,
        "destination": row.destination.value,
        "recipient": row.recipient or None,
        "state": row.state.value,
        "attempts": row.attempts,
        "next_attempt_at": instant(row.next_attempt_at) if waiting else None,
        "finished_at": instant(row.finished_at),
        "last_error": row.last_error,
    }


async def newest(ctx: AppContext, *, limit: int, **wanted: str | None) -> list[Told]:
    """Return messages, newest first, filtered by ``state``, ``topic`` and ``payment_id``.

    :raises Refused: the limit is not between 1 and 500.
    """
    if not 1 <= limit <= MOST:
        raise Refused(f"limit is 1 to {MOST}, not {limit}")
    async with ctx.db.reading() as session:
        return await outbox_read.newest(session, limit=limit, **wanted)


async def one(ctx: AppContext, some_id: str) -> Told:
    """Return a message by its id or by the id of one of its deliveries.

    :raises NotFound: there is none.
    """
    async with ctx.db.reading() as session:
        message = await outbox_read.find(session, some_id)
    if message is None:
        raise NotFound(f"There is no message {some_id[:64]!r}", next_step="procomp-pay outbox list")
    return message


async def replay_one(ctx: AppContext, some_id: str, *, dry_run: bool) -> int:
    """Send the undelivered deliveries of a message (or one delivery) again; return how many.

    :raises NotFound: there is none.
    :raises Conflict: it was delivered everywhere, is being delivered, or was held back.
    """
    message, deliveries = await one(ctx, some_id)
    chosen = [delivery for delivery in deliveries if some_id in (delivery.id, message.id)]
    ids = [delivery.id for delivery in chosen if delivery.state in CLOSED_UNDELIVERED]
    reroute = (
        some_id == message.id and _has_missed(message) and any(map(ctx.senders.recipients, _configured(ctx)))
    )
    if not ids and not reroute:
        raise Conflict(
            f"Nothing of {some_id[:64]} can be sent again: it is {_states(message, chosen)}",
            next_step=f"procomp-pay outbox show {message.id}",
        )
    if not dry_run:
        async with ctx.db.writing() as session:
            await outbox_read.bring_back(session, ids, ctx.clock())
            if reroute:
                await outbox_read.route_again(session, message.id, ctx.clock())
    return len(ids) or 1


def _has_missed(message: OutboxMessage) -> bool:
    """Return whether the message skipped a destination that was not configured."""
    return message.skipped is not None and message.state in (OutboxState.ROUTED, OutboxState.SKIPPED)


def _configured(ctx: AppContext) -> list[Destination]:
    return [destination for destination in Destination if destination not in ctx.senders.unconfigured()]


def _states(message: OutboxMessage, deliveries: list[Delivery]) -> str:
    return ", ".join(sorted({delivery.state.value for delivery in deliveries})) or message.state.value


async def replay_dead(ctx: AppContext, destination: Destination | None, *, dry_run: bool) -> int:
    """Send every dead delivery again, or those of one destination; return how many."""
    async with ctx.db.reading() as session:
        ids = await outbox_read.dead_ids(session, destination)
    if dry_run:
        return len(ids)
    replayed = 0
    for some in chunks(ids, MOST):
        async with ctx.db.writing() as session:
            replayed += await outbox_read.bring_back(session, some, ctx.clock())
    return replayed


@dataclass(frozen=True, slots=True)
class Trial:
    """The result of one test message."""

    destination: Destination
    recipient: str
    answer: DeliveryResponse

    def full(self) -> dict[str, Any]:
        return {
            "destination": self.destination.value,
            "recipient": self.recipient or None,
            "result": self.answer.outcome.value,
            "said": self.answer.text or None,
        }


async def try_out(ctx: AppContext, to: str | None) -> list[Trial]:
    """Send a test message through every channel, directly and once, without the outbox.

    :param to: the address for a test e-mail to a participant.
    """
    trials = [await _try(ctx, destination, to) for destination in Destination if not destination.is_alert]
    for destination in (Destination.ALERT_WEBHOOK, Destination.ALERT_MAIL):
        for recipient in ctx.senders.recipients(destination) or (None,):
            trials.append(await _try(ctx, destination, recipient))
    return trials


async def _try(ctx: AppContext, destination: Destination, recipient: str | None) -> Trial:
    now, key = ctx.clock(), ctx.new_id()
    if not ctx.senders.recipients(destination):
        return Trial(
            destination, "", DeliveryResponse(DeliveryOutcome.SKIPPED, f"{NEEDS[destination]} is not set")
        )
    if destination is Destination.PLATFORM_WEBHOOK:
        body = exact_json.dumps({"type": "test", "timestamp": instant(now), "data": {}})
        return Trial(destination, "", await ctx.senders.platform().send(key, body, now))
    text = "This is a test of procomp-pay. Nothing has happened; there is nothing to do."
    if destination is Destination.ALERT_WEBHOOK:
        return Trial(destination, "", await ctx.senders.chat().send(text, now))
    if recipient is None:
        return Trial(destination, "", DeliveryResponse(DeliveryOutcome.SKIPPED, "give an address with --to"))
    from procomp_pay.providers.notifications.smtp import Email

    email = Email(key, recipient, "Test of procomp-pay", text + "\n", None, "en", now)
    return Trial(destination, recipient, await ctx.senders.mailer().send(email))
