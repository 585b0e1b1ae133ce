"""Rebuild payments that Stripe has and our books have lost, as after the restore of an older backup.

Stripe's metadata holds the ids of our payment and of its participant. The row is written as it was when the
payment was started, and Stripe is asked for its status: money and refunds go through settlement like any
other event. A payment whose participant is gone as well stays a discrepancy.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from procomp_pay.domain.errors import NotFound
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.records import ProviderRecord, ProviderState
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.states import Channel, CreateState, PaymentMethod, PaymentStatus
from procomp_pay.providers.stripe.listing import Origin, StripeBooks
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.polling import poll_payment
from procomp_pay.services.reconciliation.our_records import STRIPE_LIFE
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.payments import PaymentDetail
from procomp_pay.storage.models.platform import Participant, Payment
from procomp_pay.storage.payments import lookup
from procomp_pay.storage.registrations import lookup as registrations

log = logging.getLogger(__name__)

#: The longest life of a hosted page: https://docs.stripe.com/api/checkout/sessions/create (``expires_at``).
_PAGE_LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RecoveredPayment:
    """A payment that was rebuilt, or would be in a dry run.

    :param reference: Stripe's PaymentIntent or Checkout Session.
    """

    payment_id: str
    participant_id: str
    full_name: str
    money: Money
    reference: str

    def full(self) -> dict[str, Any]:
        """Return the JSON document."""
        return {
            "payment_id": self.payment_id,
            "participant_id": self.participant_id,
            "full_name": self.full_name,
            "amount": self.money.amount,
            "currency": self.money.currency.value,
            "ref": self.reference,
        }


async def find_lost(ctx: AppContext, page: Iterable[ProviderRecord], *, open_too: bool) -> list[str]:
    """Return the PaymentIntents of a page that were created for payments which our books do not have, and for
    participants whom they have.

    :param open_too: also those that are not paid yet, but still can be.
    """
    states = {ProviderState.PAID, ProviderState.OPEN} if open_too else {ProviderState.PAID}
    named = {
        record.hint: record
        for record in page
        if record.kind is LineKind.PAYMENT and record.hint and record.stand in states
    }
    if not named:
        return []
    async with ctx.db.reading() as session:
        known = await lookup.existing_ids(session, list(named))
        lost = [record for payment_id, record in named.items() if payment_id not in known]
        # another installation may share the account: Stripe is not asked about each of its payments
        people = {record.participant_id for record in lost if record.participant_id}
        ours = await registrations.existing_ids(session, people) if people else set()
    return [record.ref for record in lost if record.participant_id in ours]


async def recover(
    ctx: AppContext, books: StripeBooks, intents: list[str], actor: Actor, *, open_too: bool, dry_run: bool
) -> list[RecoveredPayment]:
    """Rebuild lost payments, and settle what Stripe reports of each.

    :param intents: their PaymentIntents, from :func:`find_lost`.
    :param open_too: also rebuild payments whose hosted page is open and has no intent yet.
    :param dry_run: return what would be rebuilt; write nothing.
    :raises Unavailable, ConfigurationError: Stripe or the database does not answer; what was rebuilt is kept.
    """
    origins = [await books.origin(intent) for intent in intents]
    if open_too:
        origins += await books.open_pages_since(ctx.clock() - _PAGE_LIFE)
    recovered = []
    for origin in origins:
        payment = await _rebuild(ctx, origin, actor, dry_run=dry_run) if origin else None
        if payment is None:
            continue
        recovered.append(payment)
        if not dry_run:
            await poll_payment(ctx, payment.payment_id, actor)
    return recovered


async def _rebuild(
    ctx: AppContext, origin: Origin, actor: Actor, *, dry_run: bool
) -> RecoveredPayment | None:
    async with ctx.db.reading() if dry_run else ctx.db.writing() as session:
        return await rebuild_in(session, ctx, origin, actor, dry_run=dry_run)


async def rebuild_in(
    session: AsyncSession, ctx: AppContext, origin: Origin, actor: Actor, *, dry_run: bool = False
) -> RecoveredPayment | None:
    """Write the rows of a lost payment in the caller's transaction; it is PENDING until its event is applied.

    :returns: ``None`` if the payment is known, or its participant is not.
    """
    try:
        # the lock serialises this with a payment that is being started for the participant
        participant = await registrations.participant(session, origin.participant_id, lock=not dry_run)
    except NotFound:
        return None
    if await session.get(Payment, origin.payment_id) is not None:
        return None
    recovered = RecoveredPayment(
        origin.payment_id,
        participant.id,
        participant.full_name,
        origin.money,
        origin.payment_intent or origin.checkout_session or "",
    )
    if not dry_run:
        await _insert(session, ctx, origin, participant, actor)
        log.warning("payment %s was lost and is rebuilt from %s", origin.payment_id, recovered.reference)
    return recovered


async def _insert(
    session: AsyncSession, ctx: AppContext, origin: Origin, participant: Participant, actor: Actor
) -> None:
    now = ctx.clock()
    payment = Payment(
        id=origin.payment_id,
        amount=origin.money.amount,
        currency=origin.money.known_currency,
        status=PaymentStatus.PENDING,  # settlement alone goes on from here
        # Stripe does not keep the button that was chosen; a card is taken by the same page as Apple Pay
        method=PaymentMethod.GOOGLE_PAY if origin.wallet == "google_pay" else PaymentMethod.APPLE_PAY,
        meta={"participantId": participant.id},
        stripe_payment_id=origin.payment_intent,
        stripe_session_id=origin.checkout_session,
        user_id=participant.user_id,
        tournament_id=participant.tournament_id,
        created_at=origin.created_at,
        updated_at=now,
    )
    session.add(payment)
    await session.flush()
    channel = Channel.STRIPE_CHECKOUT if origin.checkout_session else Channel.STRIPE_INTENT
    detail = PaymentDetail(
        payment_id=payment.id,
        participant_id=participant.id,
        channel=channel,
        create_state=CreateState.OPEN,
        provider_open=True,
        provider_ref=origin.checkout_session or origin.payment_intent,
        short_code=await lookup.free_code(session, payment.id),
        requested_amount=origin.money.amount,
        requested_currency=origin.money.known_currency,
        charged_amount=origin.money.amount,
        charged_currency=origin.money.known_currency,
        expires_at=origin.expires_at or origin.created_at + STRIPE_LIFE,
        next_poll_at=now,
        started_by=actor.name,
        created_at=origin.created_at,
        updated_at=now,
    )
    session.add(detail)
    record = actor.record(
        "recovered",
        after={
            "status": payment.status.value,
            "method": payment.method.value if payment.method else None,
            "channel": channel.value,
            "amount": origin.money.amount,
            "currency": origin.money.currency.value,
            "participant_id": participant.id,
            "provider_ref": detail.provider_ref,
        },
    )
    await audit.append(session, payment.id, record, now)
