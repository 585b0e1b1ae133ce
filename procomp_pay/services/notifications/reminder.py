"""The letter that reminds of an unpaid entry fee: it is written when it is sent, from the state of then."""

from __future__ import annotations

from procomp_pay.config import ProviderMode
from procomp_pay.domain.almaty import almaty_day
from procomp_pay.domain.money import Currency
from procomp_pay.domain.names import is_placeholder
from procomp_pay.domain.notifications import DeliveryOutcome, DeliveryResponse
from procomp_pay.domain.states import OPEN_STATUSES, Channel, ParticipantStatus
from procomp_pay.services.context import AppContext
from procomp_pay.services.views.page_link import public_page_url, reminders_url
from procomp_pay.services.views.payment import many
from procomp_pay.storage.notifications import outbox
from procomp_pay.storage.notifications.outbox import ClaimedDelivery
from procomp_pay.storage.payments.listing import Filter
from procomp_pay.storage.reconciliation.discrepancies import unknown_money_after_restore
from procomp_pay.storage.registrations import participants
from procomp_pay.storage.registrations.terms import fee_schedule


async def send_reminder(ctx: AppContext, claim: ClaimedDelivery) -> DeliveryResponse:
    """Send a reminder, unless the fee is no longer due or a payment is on its way."""
    participant_id = str(claim.message.payload["participant_id"])
    async with ctx.db.reading() as session:
        row = (await participants.registrations(session, [participant_id])).get(participant_id)
        schedule = await fee_schedule(session, row[2]) if row else None
        fees = schedule.at(ctx.clock()) if schedule else None
        at_kaspi = schedule.ever(Currency.KZT) if schedule else []
        has_unknown_money = await unknown_money_after_restore(session, at_kaspi) is not None
        is_over = bool(row and await participants.archived_ids(session, [row[2].id]))
    if row is None or fees is None:
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "the registration was deleted")
    participant, user, tournament, detail, _, is_paid = row
    if detail is not None and detail.no_reminders:
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "they asked for no reminders")
    payments, _ = await many(ctx, Filter(participant_id=participant_id))
    is_on_its_way = has_unknown_money or any(
        view.other_amount or view.status == "PROCESSING" for view in payments
    )
    if is_over or is_paid or is_on_its_way or participant.status is not ParticipantStatus.REGISTERED:
        return DeliveryResponse(
            DeliveryOutcome.SKIPPED, "outdated: the fee is no longer due, or money has come"
        )
    if almaty_day(claim.message.created_at) != almaty_day(ctx.clock()):
        return DeliveryResponse(DeliveryOutcome.SKIPPED, "outdated: it was to be sent on another day")
    if user is None or not user.email or is_placeholder(user.email):
        return DeliveryResponse(DeliveryOutcome.NO_ADDRESS, "the participant has no address")
    language = None
    if payments:
        async with ctx.db.reading() as session:
            language = (await outbox.addressee(session, payments[0].payment_id)).language
    payable = [
        view
        for view in payments
        if view.status in OPEN_STATUSES and view.provider_open and view.channel is not Channel.STRIPE_INTENT
    ]
    from procomp_pay.services.notifications.emails.email import Reminder, render_reminder

    all_fees = (fees.main, *fees.others.values())
    amounts = [fee for fee in all_fees if fee.amount and isinstance(fee.currency, Currency)]
    return await ctx.senders.mailer().send(
        render_reminder(
            Reminder(
                participant.full_name,
                tournament.name,
                participant.category,
                tuple(amounts),
                public_page_url(ctx, payable[0]) if payable else None,
                reminders_url(ctx, participant_id),
            ),
            to=user.email,
            key=claim.delivery.id,
            language=language or ctx.senders.language,
            at=claim.message.created_at,
            prefix=_prefix(ctx),
        )
    )


def _prefix(ctx: AppContext) -> str:
    """Return the prefix of the subject while no provider takes real money."""
    modes = {ctx.senders.mode(kaspi=True), ctx.senders.mode(kaspi=False)}
    is_test = bool(modes & {ProviderMode.SANDBOX, ProviderMode.TEST}) and ProviderMode.LIVE not in modes
    return "[TEST] " if is_test else ""
