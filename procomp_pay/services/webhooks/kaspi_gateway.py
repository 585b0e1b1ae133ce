"""Receive the callbacks of a Kaspi gateway.

The signature covers the raw body. A callback is stored before it is acknowledged, and processed once from the
inbox.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import InvalidRequest, RetryLater
from procomp_pay.domain.events import EventType, PaymentEvent, Source
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import PAID_STATUSES
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.providers.kaspi import gateway_signature
from procomp_pay.providers.kaspi.gateway_callback import ParsedCallback, read_callback, type_of
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.services.settlement.apply import apply_event_in
from procomp_pay.services.settlement.side_effects import keep_unapplied
from procomp_pay.services.webhooks.decided_money import was_decided_before
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models import exact_json
from procomp_pay.storage.models.states import EventState
from procomp_pay.storage.models.webhooks import WebhookEvent
from procomp_pay.storage.payments import kaspi_operations as numbers
from procomp_pay.storage.payments import lookup
from procomp_pay.storage.payments import repository as payments
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.webhooks.intake import IncomingEvent, insert_events

log = logging.getLogger(__name__)

PROVIDER = "kaspi"
#: Attempts at a callback of an unknown payment before it is kept for manual review: about half an hour, in
#: which a payment whose creation had no answer is recovered.
_PATIENT_FOR = 10


async def receive_callback(
    ctx: AppContext, body: bytes, signatures: Sequence[str], times: Sequence[str], secret: str | None
) -> bool:
    """Check the signature and store the callback durably before returning.

    The hash of the body is its id: the same body a day later is the same event, and has no effect.

    :returns: False if the callback is already in the inbox.
    :raises BadSignature: nothing is stored.
    :raises InvalidRequest: the body is signed, but is not a JSON object.
    """
    gateway_signature.check(body, signatures, times, secret, ctx.clock())
    try:
        document = exact_json.loads(body.decode("utf-8"))
    except ValueError:
        raise InvalidRequest("The callback is not JSON in UTF-8") from None
    if not isinstance(document, dict):
        raise InvalidRequest("The callback is not a JSON object")
    callback = read_callback(document)
    arrival = IncomingEvent(
        id=ctx.new_id(),
        provider=PROVIDER,
        event_id=hashlib.sha256(body).hexdigest(),
        type=type_of(document),
        payload_enc=ctx.keyring.encrypt(body.decode("utf-8")),
        occurred_at=int(((callback.at if callback else None) or ctx.clock()).timestamp()),
    )
    async with ctx.db.writing() as session:
        return bool(await insert_events(await session.connection(), [arrival], ctx.clock()))


async def apply_callback(
    session: AsyncSession, ctx: AppContext, row: WebhookEvent
) -> tuple[str | None, EventState]:
    """Apply one callback from the inbox in the caller's transaction; return its payment's id and new state.

    :raises RetryLater: its payment is not known yet; the callback is tried again.
    """
    callback = read_callback(exact_json.loads(ctx.keyring.decrypt(row.payload_enc)))
    if callback is None or (callback.event_type is None and not callback.refunded):
        return None, EventState.IGNORED
    locked = await _find_payment(session, callback)
    if locked is None or not locked.detail.channel.is_kaspi:
        if locked is None and row.attempts < _PATIENT_FOR:
            raise RetryLater("No payment of ours has this id at the gateway yet")
        if callback.event_type is EventType.SUCCEEDED or callback.refunded:
            await keep_unapplied(session, ctx, PROVIDER, row.event_id, _details(callback))
        return None, EventState.FOREIGN
    if callback.event_type is EventType.SUCCEEDED:
        number = canonical(callback.ids.kaspi_operation) if callback.ids.kaspi_operation else None
        # more money of a paid payment would be told as a duplicate, and given back a second time
        is_known = (
            await numbers.used_by(session, number) if number else locked.payment.status in PAID_STATUSES
        )
        if not is_known and await was_decided_before(session, ctx, row, number, _details(callback)):
            return None, EventState.FOREIGN
    if callback.refunded:
        await _flag_refund(session, ctx, locked, callback, row)
    else:
        await apply_event_in(session, ctx, _payment_event(ctx, locked, callback, row), locked)
    return locked.payment.id, EventState.DONE


async def _find_payment(session: AsyncSession, callback: ParsedCallback) -> OrmLockedPayment | None:
    """Return the payment of a callback, locked; ``None`` if it names none of ours, or two."""
    payment_id = callback.ours if callback.ours and await lookup.exists(session, callback.ours) else None
    if payment_id is None:
        payment_id = await lookup.find_id(session, callback.ids)
    elif callback.ids.kaspi_payment is not None:
        at_gateway = await numbers.qr_of(session, callback.ids.kaspi_payment)
        if at_gateway not in (None, payment_id):
            log.error("a callback names two payments: %s and %s", payment_id, at_gateway)
            return None
    return None if payment_id is None else await payments.lock_payment(session, payment_id)


def _payment_event(
    ctx: AppContext, locked: OrmLockedPayment, callback: ParsedCallback, row: WebhookEvent
) -> PaymentEvent:
    return PaymentEvent(
        payment_id=locked.payment.id,
        event_type=callback.event_type or EventType.PROCESSING,
        at=min(row.occurred_at, ctx.clock()),
        source=Source.KASPI_CALLBACK,
        actor="gateway",
        source_id=row.event_id,
        money=callback.money,
        money_unreadable=callback.money_unreadable,
        ids=callback.ids,
        reason=None
        if callback.event_type is EventType.SUCCEEDED
        else N_("The gateway says: %(status)s", status=callback.status)[:200],
        final_at_provider=callback.is_final,
    )


async def _flag_refund(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    callback: ParsedCallback,
    row: WebhookEvent,
) -> None:
    """Open a discrepancy for a refund made at the gateway, whose amount an operator has to record."""
    key = f"{PROVIDER}:{row.event_id}"
    kind = DiscrepancyKind.REFUND_MISMATCH
    await side_effects.open_discrepancy(session, ctx, locked, kind, dict(_details(callback)), key)
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_REFUND, callback.money or locked.charged, once=key
    )


def _details(callback: ParsedCallback) -> dict[str, str | None]:
    amount = str(callback.money.amount) if callback.money else callback.money_unreadable
    return {
        "payment": callback.ours,
        "at_gateway": callback.ids.kaspi_payment,
        "operation": callback.ids.kaspi_operation,
        "status": callback.status,
        "went_back" if callback.refunded else "paid": amount,
    }
