"""Ask a provider about one payment, and mend by the one door what needs no person."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import cast

from procomp_pay.domain.errors import NotFound, Refused
from procomp_pay.domain.events import Fact, News, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.records import Finding, Repair, Stand, Theirs
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import RefundNews, RefundState
from procomp_pay.domain.states import Channel, CreateState
from procomp_pay.providers.protocol import Handle, Seen
from procomp_pay.providers.stripe.listing import StripeBooks
from procomp_pay.services.context import Actor, Desk
from procomp_pay.services.lifecycle.polling import apply_seen, look_after
from procomp_pay.services.refunds.send import compare
from procomp_pay.services.settlement.apply import settle
from procomp_pay.services.settlement.provider_handle import UNOPENED, handle_of
from procomp_pay.storage.payments.refunds import kaspi_name
from procomp_pay.storage.payments.repository import Held, hold

log = logging.getLogger(__name__)

_STANDS = {
    News.SUCCEEDED: Stand.PAID,
    News.CANCELLED: Stand.ENDED,
    News.EXPIRED: Stand.ENDED,
}
_REFUND_STANDS = {
    RefundState.PENDING: Stand.OPEN,
    RefundState.SUCCEEDED: Stand.PAID,
    RefundState.FAILED: Stand.ENDED,
    RefundState.CANCELLED: Stand.ENDED,
}


def reconciler(actor: Actor) -> Actor:
    """Who acts in the audit: the person who ran it, by reconcile."""
    return replace(actor, source=Source.RECONCILE)


async def ask(desk: Desk, held: Held) -> list[Theirs] | None:
    """What the provider says of one payment now, refunds included; ``None`` where nothing was opened there,
    or it cannot be asked. An empty list: the provider does not know it.

    :raises ProviderUnavailable, OutcomeUnknown, ConfigurationError: it does not answer.
    """
    detail = held.detail
    if detail.create_state is not CreateState.OPEN or detail.provider_ref is None:
        return None
    provider, handle = desk.providers.of(detail.channel), handle_of(held)
    try:
        seen = await provider.fetch(handle)
    except NotFound:
        return []
    if not seen.told:
        return None
    found = [_payment(held, seen, desk.clock())]
    if found[0].stand is not Stand.PAID or seen.went_back is False:
        return found
    intent = handle.payment_intent or seen.ids.payment_intent
    try:
        returned = await provider.returned(replace(handle, payment_intent=intent))
    except (NotFound, Refused) as error:
        # Kaspi tells it to the trade point that took it alone; the rest of the night goes on without
        log.warning("what went back of payment %s is not told: %s", held.payment.id, error.message)
        return found
    found += [_refund(held, each, desk.clock()) for each in returned.refunds]
    if returned.total is not None:
        found.append(_sum(held, returned.total, desk.clock()))
    return found


def _payment(held: Held, seen: Seen, now: datetime) -> Theirs:
    stand = _STANDS.get(seen.news, Stand.OPEN) if seen.news else Stand.OPEN
    if seen.news is News.FAILED and seen.final:
        stand = Stand.ENDED
    ref = seen.ids.payment_intent or seen.ids.kaspi_payment or str(held.detail.provider_ref)
    money = seen.money
    return Theirs(
        key=held.payment.id,
        ref=ref,
        kind=LineKind.PAYMENT,
        stand=stand,
        at=seen.at or now,
        amount=money.amount if money else None,
        currency=money.currency.value if money else None,
    )


def _refund(held: Held, news: RefundNews, now: datetime) -> Theirs:
    return Theirs(
        key=held.payment.id,
        ref=news.provider_refund_id or news.refund_id or "refund",
        kind=LineKind.REFUND,
        stand=_REFUND_STANDS[news.state],
        at=now,
        amount=news.money.amount,
        currency=news.money.currency.value,
        hint=news.refund_id,
    )


def _sum(held: Held, total: Money, now: datetime) -> Theirs:
    return Theirs(
        key=held.payment.id,
        ref="sum",
        kind=LineKind.REFUND,
        stand=Stand.PAID,
        at=now,
        amount=total.amount,
        currency=total.currency.value,
        total=True,
    )


async def mend_by_asking(desk: Desk, finding: Finding, actor: Actor) -> None:
    """Mend with what the provider says now.

    :raises PaymentError: it cannot be mended now, or not by itself.
    """
    if finding.ours is None:
        return
    payment_id = finding.ours.payment_id
    if finding.repair is Repair.PLACE:
        await _place(desk, payment_id, actor)
        return
    async with desk.db.reading() as session:
        held = await hold(session, payment_id, lock=False)
    if finding.repair is Repair.ASK:
        await _catch_up(desk, held, finding, actor)
    elif finding.repair is Repair.REFUNDS:
        await compare(desk, held, actor)
    elif finding.repair is Repair.DISPUTE and finding.theirs is not None:
        books = cast(StripeBooks, desk.providers.of(held.detail.channel))
        news = await books.dispute(finding.theirs.ref)
        fact = _fact(desk, payment_id, News.DISPUTE, actor)
        await settle(desk, replace(fact, dispute=news))


async def _catch_up(desk: Desk, held: Held, finding: Finding, actor: Actor) -> None:
    detail = held.detail
    theirs = finding.theirs
    if theirs is not None and theirs.stand is Stand.PAID and theirs.mark.startswith("pi_"):
        # the very object that was paid: ours may not know it yet, or may name its page alone
        handle = Handle(Channel.STRIPE_INTENT, theirs.mark, theirs.mark)
    elif detail.provider_open or detail.create_state in UNOPENED:
        await look_after(desk, held.payment.id, actor)
        return
    else:
        handle = handle_of(held)
    seen = await desk.providers.of(detail.channel).fetch(handle)
    await apply_seen(desk, held.payment.id, seen, actor)


async def _place(desk: Desk, payment_id: str, actor: Actor) -> None:
    await settle(desk, _fact(desk, payment_id, News.UNPLACED, actor))


def _fact(desk: Desk, payment_id: str, news: News, actor: Actor, at: datetime | None = None) -> Fact:
    return Fact(
        payment_id=payment_id,
        news=news,
        at=at or desk.clock(),
        source=Source.RECONCILE,
        actor=actor.name,
        request_id=actor.request_id,
    )


async def mend_by_line(desk: Desk, finding: Finding, actor: Actor, source_id: str) -> None:
    """Mend with what a statement's line says: it is the provider's own proof that the money moved.

    :param source_id: which file and line, for the audit.
    :raises PaymentError: it cannot be mended, or not by itself.
    """
    ours, line = finding.ours, finding.theirs
    if ours is None:
        return
    if finding.repair is Repair.PLACE:
        await _place(desk, ours.payment_id, actor)
        return
    if line is None or line.amount is None or line.currency is None:
        return
    money = Money.parse(line.amount, line.currency)
    news = News.SUCCEEDED if finding.repair is Repair.ASK else News.REFUND
    fact = replace(_fact(desk, ours.payment_id, news, actor, line.at), source_id=source_id)
    if finding.repair is Repair.ASK and line.stand is Stand.PAID:
        # by another number than its own: it only fits, so its QR stays watched
        guess = ours.ref is not None and ours.ref.isdigit() and line.mark != ours.ref
        ids = _ids(line)
        await settle(desk, replace(fact, money=money, ids=ids, final_at_provider=not guess, is_guess=guess))
    elif finding.repair is Repair.REFUNDS:
        await settle(desk, replace(fact, refund=_refund_news(finding, line, money), at=desk.clock()))


def _ids(line: Theirs) -> ProviderIds:
    if line.mark.startswith("pi_"):
        return ProviderIds(payment_intent=line.mark, charge=line.ref if line.ref.startswith("ch_") else None)
    if line.ref.startswith(("ch_", "txn_", "py_")):
        return ProviderIds(charge=line.ref)
    return ProviderIds(kaspi_operation=line.ref)


def _refund_news(finding: Finding, line: Theirs, money: Money) -> RefundNews:
    ours = finding.refund
    stripes = line.ref.startswith(("re_", "pyr_"))
    # without a number of its own it stands under its purchase's, as the next part will
    number = line.ref if line.payment_ref else f"{line.ref}@{int(line.at.timestamp())}"
    return RefundNews(
        state=RefundState.SUCCEEDED if line.stand is Stand.PAID else RefundState.FAILED,
        money=money,
        refund_id=ours.refund_id if ours else None,
        provider_refund_id=line.ref if stripes else kaspi_name(number),
        reason="told by the provider's statement",
    )
