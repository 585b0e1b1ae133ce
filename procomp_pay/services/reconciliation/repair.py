"""Ask a provider about one payment, and repair through settlement what needs no manual review."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime

from procomp_pay.domain.errors import InvalidAmount, NotFound, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.records import Mismatch, ProviderRecord, ProviderState, RepairAction
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundEvent, RefundState, kaspi_refund_id, number_by_purchase
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.domain.text import N_
from procomp_pay.providers.protocol import ProviderRef, ProviderStatus
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.polling import apply_provider_status, ask_about_dispute, poll_payment
from procomp_pay.services.refunds.send import sync_refunds
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.services.settlement.provider_ref import UNOPENED, provider_ref_of
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment

log = logging.getLogger(__name__)

_PAYMENT_STATES = {
    EventType.SUCCEEDED: ProviderState.PAID,
    EventType.CANCELLED: ProviderState.ENDED,
    EventType.EXPIRED: ProviderState.ENDED,
}
_REFUND_STATES = {
    RefundState.PENDING: ProviderState.OPEN,
    RefundState.SUCCEEDED: ProviderState.PAID,
    RefundState.FAILED: ProviderState.ENDED,
    RefundState.CANCELLED: ProviderState.ENDED,
}


def reconciler(actor: Actor) -> Actor:
    """Return the actor for the audit: the operator who ran the reconciliation."""
    return replace(actor, source=Source.RECONCILE)


async def ask(ctx: AppContext, locked: OrmLockedPayment) -> list[ProviderRecord] | None:
    """Return the provider's records of one payment now, refunds included; ``None`` if nothing was opened
    there, or it cannot be asked. An empty list: the provider does not know it.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: it does not answer.
    """
    detail = locked.detail
    if detail.create_state is not CreateState.OPEN or detail.provider_ref is None:
        return None
    provider, ref = ctx.providers.of(detail.channel), provider_ref_of(locked)
    try:
        status = await provider.fetch(ref)
    except (NotFound, InvalidAmount) as error:
        # a currency that no payment of ours has: the list's record is what there is to compare
        log.warning("no answer about payment %s can be used: %s", locked.payment.id, error.message)
        return [] if isinstance(error, NotFound) else None
    if not status.authoritative:
        return None
    records = [_payment(locked, status, ctx.clock())]
    if records[0].stand is not ProviderState.PAID or status.refunded is False:
        return records
    intent = ref.payment_intent or status.ids.payment_intent
    try:
        refunds = await provider.list_refunds(replace(ref, payment_intent=intent))
    except (NotFound, Refused) as error:
        # Kaspi answers only the trade point that took the payment; the run continues without it
        log.warning("the refunds of payment %s are not known: %s", locked.payment.id, error.message)
        return [replace(records[0], hides_refunds=True)]
    if detail.channel.is_kaspi and refunds.total is None:  # scheme basic
        records[0] = replace(records[0], hides_refunds=not refunds.refunds)
    records += [_refund(locked, refund, ctx.clock()) for refund in refunds.refunds]
    if refunds.total is not None:
        records.append(_sum(locked, refunds.total, ctx.clock()))
    return records


def _payment(locked: OrmLockedPayment, status: ProviderStatus, now: datetime) -> ProviderRecord:
    stand = (
        _PAYMENT_STATES.get(status.event_type, ProviderState.OPEN)
        if status.event_type
        else ProviderState.OPEN
    )
    if status.event_type is EventType.FAILED and status.final:
        stand = ProviderState.ENDED
    reference = status.ids.payment_intent or status.ids.kaspi_payment or str(locked.detail.provider_ref)
    money = status.money
    return ProviderRecord(
        key=locked.payment.id,
        ref=reference,
        kind=LineKind.PAYMENT,
        stand=stand,
        at=status.at or now,
        amount=money.amount if money else None,
        currency=money.currency.value if money else None,
    )


def _refund(locked: OrmLockedPayment, event: RefundEvent, now: datetime) -> ProviderRecord:
    return ProviderRecord(
        key=locked.payment.id,
        ref=event.provider_refund_id or event.refund_id or "refund",
        kind=LineKind.REFUND,
        stand=_REFUND_STATES[event.state],
        at=now,
        amount=event.money.amount,
        currency=event.money.currency.value,
        hint=event.refund_id,
    )


def _sum(locked: OrmLockedPayment, total: Money, now: datetime) -> ProviderRecord:
    return ProviderRecord(
        key=locked.payment.id,
        ref="sum",
        kind=LineKind.REFUND,
        stand=ProviderState.PAID,
        at=now,
        amount=total.amount,
        currency=total.currency.value,
        total=True,
    )


async def repair_by_asking(ctx: AppContext, mismatch: Mismatch, actor: Actor) -> None:
    """Repair a difference with the provider's present answer.

    :raises PaymentError: it cannot be repaired now, or not automatically.
    """
    if mismatch.ours is None:
        return
    payment_id = mismatch.ours.payment_id
    if mismatch.repair is RepairAction.PLACE:
        await _mark_paid(ctx, payment_id, actor)
        return
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    if mismatch.repair is RepairAction.ASK:
        await _catch_up(ctx, locked, mismatch, actor)
    elif mismatch.repair is RepairAction.REFUNDS:
        await sync_refunds(ctx, locked, actor)
    elif mismatch.repair is RepairAction.DISPUTE and mismatch.theirs is not None:
        await ask_about_dispute(ctx, payment_id, mismatch.theirs.ref, actor)


async def _catch_up(ctx: AppContext, locked: OrmLockedPayment, mismatch: Mismatch, actor: Actor) -> None:
    detail = locked.detail
    theirs = mismatch.theirs
    if theirs is not None and theirs.stand is ProviderState.PAID and theirs.reference.startswith("pi_"):
        # the paid object: our row may not have it yet, or only its Checkout page
        ref = ProviderRef(Channel.STRIPE_INTENT, theirs.reference, theirs.reference)
    elif detail.provider_open or detail.create_state in UNOPENED:
        await poll_payment(ctx, locked.payment.id, actor)
        return
    else:
        ref = provider_ref_of(locked)
    status = await ctx.providers.of(detail.channel).fetch(ref)
    await apply_provider_status(ctx, locked.payment.id, status, actor)


async def _mark_paid(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    await apply_event(ctx, _event(ctx, payment_id, EventType.UNPLACED, actor))


def _event(
    ctx: AppContext, payment_id: str, event_type: EventType, actor: Actor, at: datetime | None = None
) -> PaymentEvent:
    return PaymentEvent(
        payment_id=payment_id,
        event_type=event_type,
        at=at or ctx.clock(),
        source=Source.RECONCILE,
        actor=actor.name,
        request_id=actor.request_id,
    )


async def repair_from_line(ctx: AppContext, mismatch: Mismatch, actor: Actor, source_id: str) -> None:
    """Repair a difference with a statement's line: the provider's own proof that the money moved.

    :param source_id: the file and line, for the audit.
    :raises PaymentError: it cannot be repaired, or not automatically.
    """
    ours, line = mismatch.ours, mismatch.theirs
    if ours is None:
        return
    if mismatch.repair is RepairAction.PLACE:
        await _mark_paid(ctx, ours.payment_id, actor)
        return
    if line is None or line.amount is None or line.currency != ours.money.currency:
        return
    money = Money.parse(line.amount, line.currency)
    event_type = EventType.SUCCEEDED if mismatch.repair is RepairAction.ASK else EventType.REFUND
    event = replace(_event(ctx, ours.payment_id, event_type, actor, line.at), source_id=source_id)
    if mismatch.repair is RepairAction.ASK and line.stand is ProviderState.PAID:
        # matched by amount and time, not by its own number: its QR is still polled
        is_guess = ours.ref is not None and ours.ref.isdigit() and line.reference != ours.ref
        ids = _ids(line)
        await apply_event(
            ctx, replace(event, money=money, ids=ids, final_at_provider=not is_guess, is_guess=is_guess)
        )
    elif mismatch.repair is RepairAction.REFUNDS:
        await apply_event(ctx, replace(event, refund=_refund_event(mismatch, line, money), at=ctx.clock()))


def _ids(line: ProviderRecord) -> ProviderIds:
    if line.reference.startswith("pi_"):
        return ProviderIds(
            payment_intent=line.reference, charge=line.ref if line.ref.startswith("ch_") else None
        )
    if line.ref.startswith(("ch_", "txn_", "py_")):
        return ProviderIds(charge=line.ref)
    return ProviderIds(kaspi_operation=line.ref)


def _refund_event(mismatch: Mismatch, line: ProviderRecord, money: Money) -> RefundEvent:
    local = mismatch.refund
    is_stripe = line.ref.startswith(("re_", "pyr_"))
    # a refund without its own number is listed under the purchase's number, as a second one would be
    number = line.ref if line.payment_ref else number_by_purchase(line.ref, line.at)
    return RefundEvent(
        state=RefundState.SUCCEEDED if line.stand is ProviderState.PAID else RefundState.FAILED,
        money=money,
        refund_id=local.refund_id if local else None,
        provider_refund_id=line.ref if is_stripe else kaspi_refund_id(number),
        reason=N_("told by the provider's statement"),
        made_at=line.at,
    )
