"""Ask a provider about one payment, and repair through settlement what needs no manual review."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import cast

from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.records import Mismatch, ProviderRecord, ProviderState, RepairAction
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundEvent, RefundState
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.providers.protocol import ProviderRef, ProviderStatus
from procomp_pay.providers.stripe.listing import StripeBooks
from procomp_pay.services.context import Actor, AppContext
from procomp_pay.services.lifecycle.polling import apply_provider_status, poll_payment
from procomp_pay.services.refunds.send import sync_refunds
from procomp_pay.services.settlement.apply import apply_event
from procomp_pay.services.settlement.provider_handle import UNOPENED, provider_ref_of
from procomp_pay.storage.payments.refunds import kaspi_name
from procomp_pay.storage.payments.repository import OrmLockedPayment, load_payment

log = logging.getLogger(__name__)

_STANDS = {
    EventType.SUCCEEDED: ProviderState.PAID,
    EventType.CANCELLED: ProviderState.ENDED,
    EventType.EXPIRED: ProviderState.ENDED,
}
_REFUND_STANDS = {
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
    provider, handle = ctx.providers.of(detail.channel), provider_ref_of(locked)
    try:
        seen = await provider.fetch(handle)
    except NotFound:
        return []
    if not seen.authoritative:
        return None
    found = [_payment(locked, seen, ctx.clock())]
    if found[0].stand is not ProviderState.PAID or seen.refunded is False:
        return found
    intent = handle.payment_intent or seen.ids.payment_intent
    try:
        returned = await provider.list_refunds(replace(handle, payment_intent=intent))
    except (NotFound, Refused) as error:
        # Kaspi answers only the trade point that took the payment; the rest of the run goes on without it
        log.warning("what went back of payment %s is not told: %s", locked.payment.id, error.message)
        return found
    found += [_refund(locked, each, ctx.clock()) for each in returned.refunds]
    if returned.total is not None:
        found.append(_sum(locked, returned.total, ctx.clock()))
    return found


def _payment(locked: OrmLockedPayment, seen: ProviderStatus, now: datetime) -> ProviderRecord:
    stand = _STANDS.get(seen.event_type, ProviderState.OPEN) if seen.event_type else ProviderState.OPEN
    if seen.event_type is EventType.FAILED and seen.final:
        stand = ProviderState.ENDED
    ref = seen.ids.payment_intent or seen.ids.kaspi_payment or str(locked.detail.provider_ref)
    money = seen.money
    return ProviderRecord(
        key=locked.payment.id,
        ref=ref,
        kind=LineKind.PAYMENT,
        stand=stand,
        at=seen.at or now,
        amount=money.amount if money else None,
        currency=money.currency.value if money else None,
    )


def _refund(locked: OrmLockedPayment, news: RefundEvent, now: datetime) -> ProviderRecord:
    return ProviderRecord(
        key=locked.payment.id,
        ref=news.provider_refund_id or news.refund_id or "refund",
        kind=LineKind.REFUND,
        stand=_REFUND_STANDS[news.state],
        at=now,
        amount=news.money.amount,
        currency=news.money.currency.value,
        hint=news.refund_id,
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


async def repair_by_asking(ctx: AppContext, finding: Mismatch, actor: Actor) -> None:
    """Repair a difference with the provider's present answer.

    :raises PaymentError: it cannot be repaired now, or not automatically.
    """
    if finding.ours is None:
        return
    payment_id = finding.ours.payment_id
    if finding.repair is RepairAction.PLACE:
        await _place(ctx, payment_id, actor)
        return
    async with ctx.db.reading() as session:
        locked = await load_payment(session, payment_id)
    if finding.repair is RepairAction.ASK:
        await _catch_up(ctx, locked, finding, actor)
    elif finding.repair is RepairAction.REFUNDS:
        await sync_refunds(ctx, locked, actor)
    elif finding.repair is RepairAction.DISPUTE and finding.theirs is not None:
        books = cast(StripeBooks, ctx.providers.of(locked.detail.channel))
        news = await books.dispute(finding.theirs.ref)
        event = _fact(ctx, payment_id, EventType.DISPUTE, actor)
        await apply_event(ctx, replace(event, dispute=news))


async def _catch_up(ctx: AppContext, locked: OrmLockedPayment, finding: Mismatch, actor: Actor) -> None:
    detail = locked.detail
    theirs = finding.theirs
    if theirs is not None and theirs.stand is ProviderState.PAID and theirs.reference.startswith("pi_"):
        # the object that was paid: our row may not know it yet, or may name its Checkout page alone
        handle = ProviderRef(Channel.STRIPE_INTENT, theirs.reference, theirs.reference)
    elif detail.provider_open or detail.create_state in UNOPENED:
        await poll_payment(ctx, locked.payment.id, actor)
        return
    else:
        handle = provider_ref_of(locked)
    seen = await ctx.providers.of(detail.channel).fetch(handle)
    await apply_provider_status(ctx, locked.payment.id, seen, actor)


async def _place(ctx: AppContext, payment_id: str, actor: Actor) -> None:
    await apply_event(ctx, _fact(ctx, payment_id, EventType.UNPLACED, actor))


def _fact(
    ctx: AppContext, payment_id: str, news: EventType, actor: Actor, at: datetime | None = None
) -> PaymentEvent:
    return PaymentEvent(
        payment_id=payment_id,
        event_type=news,
        at=at or ctx.clock(),
        source=Source.RECONCILE,
        actor=actor.name,
        request_id=actor.request_id,
    )


async def repair_from_line(ctx: AppContext, finding: Mismatch, actor: Actor, source_id: str) -> None:
    """Repair a difference with a statement's line: the provider's own proof that the money moved.

    :param source_id: which file and line, for the audit.
    :raises PaymentError: it cannot be repaired, or not automatically.
    """
    ours, line = finding.ours, finding.theirs
    if ours is None:
        return
    if finding.repair is RepairAction.PLACE:
        await _place(ctx, ours.payment_id, actor)
        return
    if line is None or line.amount is None or line.currency is None:
        return
    money = Money.parse(line.amount, line.currency)
    news = EventType.SUCCEEDED if finding.repair is RepairAction.ASK else EventType.REFUND
    event = replace(_fact(ctx, ours.payment_id, news, actor, line.at), source_id=source_id)
    if finding.repair is RepairAction.ASK and line.stand is ProviderState.PAID:
        # matched by amount and time, not by its own number: its QR is still polled
        guess = ours.ref is not None and ours.ref.isdigit() and line.reference != ours.ref
        ids = _ids(line)
        await apply_event(
            ctx, replace(event, money=money, ids=ids, final_at_provider=not guess, is_guess=guess)
        )
    elif finding.repair is RepairAction.REFUNDS:
        await apply_event(ctx, replace(event, refund=_refund_news(finding, line, money), at=ctx.clock()))


def _ids(line: ProviderRecord) -> ProviderIds:
    if line.reference.startswith("pi_"):
        return ProviderIds(
            payment_intent=line.reference, charge=line.ref if line.ref.startswith("ch_") else None
        )
    if line.ref.startswith(("ch_", "txn_", "py_")):
        return ProviderIds(charge=line.ref)
    return ProviderIds(kaspi_operation=line.ref)


def _refund_news(finding: Mismatch, line: ProviderRecord, money: Money) -> RefundEvent:
    ours = finding.refund
    stripes = line.ref.startswith(("re_", "pyr_"))
    # without a number of its own it is listed under its purchase's, as the next part will be
    number = line.ref if line.payment_ref else f"{line.ref}@{int(line.at.timestamp())}"
    return RefundEvent(
        state=RefundState.SUCCEEDED if line.stand is ProviderState.PAID else RefundState.FAILED,
        money=money,
        refund_id=ours.refund_id if ours else None,
        provider_refund_id=line.ref if stripes else kaspi_name(number),
        reason="told by the provider's statement",
    )
