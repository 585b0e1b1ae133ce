"""Receive Stripe's webhook events, and apply each to its payment.

An event that names no payment of ours waits for it, is the proof of one that an older backup lost, or is
marked foreign.
"""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import BadSignature, InvalidRequest, RetryLater
from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.stripe import webhook_signature
from procomp_pay.providers.stripe.listing import origin_of
from procomp_pay.providers.stripe.webhook_events import ParsedWebhookEvent, is_foreign, read_event
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.reconciliation.recover import rebuild_in
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments import lookup
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.webhooks.intake import IncomingEvent

log = logging.getLogger(__name__)

PROVIDER = "stripe"
#: The longest event (bytes) whose content is kept in memory until it is processed.
_LONGEST_KEPT = 8192
#: Attempts at a refund or dispute of an unknown payment before it is marked foreign: about half an hour, in
#: which a payment whose events were lost is polled three times.
_PATIENT_FOR = 10
#: Seconds to wait for the refund's own event before the provider is asked about a refunded total.
_HINT_S = 30


async def receive_stripe(ctx: AppContext, body: bytes, header: str | None, secrets: list[str]) -> bool:
    """Check the signature and store the event durably before returning.

    :returns: False if the event is already in the inbox.
    :raises BadSignature: nothing is stored. :raises InvalidRequest: the body is signed, but is not an event.
    :raises DatabaseUnavailable: the event may not be stored; Stripe has to send it again.
    """
    if not header or not secrets:
        raise BadSignature("The webhook has no signature" if secrets else "No webhook secret is configured")
    now = ctx.clock()
    webhook_signature.check(body, header, secrets, now)
    return await ctx.intake.store(arrival(ctx, body), now)


def arrival(ctx: AppContext, body: bytes) -> IncomingEvent:
    """Return a Stripe event as the inbox stores it. Only the envelope is read; amounts are read later.

    :raises InvalidRequest: the body is not an event.
    """
    try:
        content, event = _parsed(body)
        occurred_at = _created(event["created"])
        return IncomingEvent(
            id=ctx.new_id(),
            provider=PROVIDER,
            event_id=_word(event["id"]),
            type=_word(event["type"]),
            payload_enc=ctx.keyring.seal(body),
            occurred_at=occurred_at,
            content=content if len(body) <= _LONGEST_KEPT else None,
        )
    except (ValueError, KeyError, TypeError, OverflowError, OSError, RecursionError):
        raise InvalidRequest("The body is not a Stripe event") from None


def _parsed(body: bytes) -> tuple[Any, Any]:
    """Return an event as it is processed, and for its envelope. An event with a number that we cannot
    represent is stored as well, and fails when it is processed: then it is seen.

    :raises ValueError, RecursionError: the body is no JSON.
    """
    try:
        content = exact_json.loads(body)
    except ValueError:
        return None, json.loads(str(body, "utf-8"))
    return content, content


def _created(value: object) -> int:
    """Return the time of an event in Unix seconds: thin events (``v2.core.event``) have ISO 8601
    text, in UTC where it names no zone.

    :raises ValueError, TypeError, OverflowError, OSError: it is no time.
    """
    if isinstance(value, str) and not value.isdecimal():
        at = datetime.fromisoformat(value)
        return int((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp())
    seconds: int = int(value)  # type: ignore[call-overload]
    datetime.fromtimestamp(seconds, UTC)  # raises for a time that no calendar has
    return seconds


def _word(value: object) -> str:
    """Return an id or a type that every database can store.

    :raises ValueError: it is not printable text of 1 to 255 characters.
    """
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= 255:
        raise ValueError("not an id")
    return value


def read_sealed(ctx: AppContext, payload_enc: str) -> tuple[dict[str, Any], ParsedWebhookEvent | EventState]:
    """Return a stored event and its parsed content, or its final state if it concerns no payment of ours.

    :raises Exception: the event lacks what its type promises, or cannot be decrypted.
    """
    return read_content(ctx, exact_json.loads(ctx.keyring.unseal(payload_enc)))


def read_content(
    ctx: AppContext, event: dict[str, Any]
) -> tuple[dict[str, Any], ParsedWebhookEvent | EventState]:
    """Return an event as :func:`read_sealed` does.

    :raises Exception: the event lacks what its type promises.
    """
    if is_foreign(event, ctx.providers.stripe_mode):
        log.warning("event %s is of another account or not of the key's mode", event["id"])
        return event, EventState.FOREIGN
    return event, read_event(event) or EventState.IGNORED


async def apply_stored(
    session: AsyncSession, ctx: AppContext, row: WebhookEvent
) -> tuple[str | None, EventState]:
    """Apply a stored event; return its payment and the state of its row.

    :raises RetryLater: it fits no payment yet.
    """
    event, parsed = read_sealed(ctx, row.payload_enc)
    if isinstance(parsed, EventState):
        return None, parsed
    payment_id = await _find_payment(session, parsed)
    if payment_id is None:
        if (parsed.refund or parsed.dispute or parsed.unreadable) and row.attempts < _PATIENT_FOR:
            # the PaymentIntent of a hosted page is learned from the payment's own event, which may come later
            raise RetryLater("No payment of ours has this PaymentIntent yet")
        payment_id = await _rebuild_lost(session, ctx, parsed, event)
    if payment_id is None:
        return None, EventState.FOREIGN
    await _apply_to_payment(session, ctx, payment_id, parsed, event)
    return payment_id, EventState.DONE


def may_be_lost(parsed: ParsedWebhookEvent, event: dict[str, Any]) -> bool:
    """Return whether an event that fits no payment may be about one that an older backup lost: money came,
    and the metadata names a payment and a participant as we write them.
    """
    metadata = event["data"]["object"].get("metadata") or {}
    status = parsed.provider_status
    paid = status.event_type is EventType.SUCCEEDED and status.money is not None
    return paid and "participant_id" in metadata


async def _rebuild_lost(
    session: AsyncSession, ctx: AppContext, parsed: ParsedWebhookEvent, event: dict[str, Any]
) -> str | None:
    """Rebuild the payment of an event, if it is lost and its participant is known; return its id."""
    if not may_be_lost(parsed, event):
        return None
    thing = event["data"]["object"]
    is_intent = thing["object"] == "payment_intent"
    origin = origin_of(thing, None) if is_intent else origin_of(None, thing)
    actor = Actor("stripe", Source.STRIPE_WEBHOOK, event["id"])
    if origin is None or await rebuild_in(session, ctx, origin, actor) is None:
        return None
    await session.flush()
    return origin.payment_id


async def _apply_to_payment(
    session: AsyncSession, ctx: AppContext, payment_id: str, parsed: ParsedWebhookEvent, event: dict[str, Any]
) -> None:
    if parsed.refunded_total is not None:
        # a total only: the refund's own event identifies the refund; polling finds one whose event was lost
        locked = await payments.lock_payment(session, payment_id)
        if parsed.refunded_total.amount > locked.detail.refunded_amount:
            locked.detail.next_poll_at = ctx.clock() + timedelta(seconds=_HINT_S)
    if parsed.unreadable is not None:
        await _flag_unreadable(session, ctx, payment_id, parsed.unreadable, event)
    payment_event = payment_event_of(payment_id, parsed, event)
    if payment_event is not None:
        await apply_event_in(session, ctx, payment_event)


async def _flag_unreadable(
    session: AsyncSession, ctx: AppContext, payment_id: str, unreadable: str, event: dict[str, Any]
) -> None:
    """Open a discrepancy for a refund or a dispute whose amount cannot be read: staff has to look at it."""
    locked = await payments.lock_payment(session, payment_id)
    key = str(event["data"]["object"]["id"])
    detail = {"refund": key, "event": event["type"], "said": unreadable}
    kind = DiscrepancyKind.REFUND_MISMATCH
    await side_effects.open_discrepancy(session, ctx, locked, kind, detail, key)
    await side_effects.enqueue_message(session, ctx, locked, Topic.ALERT_REFUND, locked.charged, once=key)


async def _find_payment(session: AsyncSession, parsed: ParsedWebhookEvent) -> str | None:
    if parsed.payment_id is not None and await lookup.exists(session, parsed.payment_id):
        return parsed.payment_id
    return await lookup.find_id(session, parsed.provider_status.ids)


def payment_event_of(
    payment_id: str, parsed: ParsedWebhookEvent, event: dict[str, Any]
) -> PaymentEvent | None:
    """Return the payment event for settlement; ``None`` if there is nothing new."""
    status = parsed.provider_status
    refund_or_dispute = EventType.REFUND if parsed.refund else EventType.DISPUTE if parsed.dispute else None
    event_type = refund_or_dispute or status.event_type
    if event_type is None:
        return None
    return PaymentEvent(
        payment_id=payment_id,
        event_type=event_type,
        at=parsed.at,
        source=Source.STRIPE_WEBHOOK,
        actor="stripe",
        source_id=event["id"],
        money=status.money,
        money_unreadable=status.money_unreadable,
        currency_unknown=status.currency_unknown,
        ids=status.ids,
        reason=status.reason or (parsed.refund.failure_reason if parsed.refund else None),
        final_at_provider=status.final,
        refund=parsed.refund,
        dispute=parsed.dispute,
    )
