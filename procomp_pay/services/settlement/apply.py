"""The door: the one place where news about money becomes a payment's state.

Webhooks, polling, a person and the clock hand a fact to :func:`settle` (or to :func:`settle_in`, inside
their own transaction). It locks the payment, asks the pure rules what follows, and writes payment,
participant, audit entry, outbox rows and discrepancies together. No other code changes a status.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.events import Fact, News, ProviderIds
from procomp_pay.domain.operation_number import canonical
from procomp_pay.domain.states import PaymentMethod, PaymentStatus
from procomp_pay.domain.transitions import Outcome, Topic, Verdict, decide
from procomp_pay.services.context import Desk
from procomp_pay.services.settlement import side_effects as ledger
from procomp_pay.services.settlement.operation_numbers import doubt, use_up
from procomp_pay.services.settlement.refunds_and_disputes import finish, settle_back
from procomp_pay.storage.audit import chain as audit
from procomp_pay.storage.payments.locked_payment import Holding
from procomp_pay.storage.payments.repository import Held, heir_of, hold


@dataclass(frozen=True, slots=True)
class Settled:
    """What the door did with a fact."""

    payment_id: str
    outcome: Outcome
    before: PaymentStatus
    status: PaymentStatus
    late: bool = False
    duplicate: bool = False


async def settle(desk: Desk, fact: Fact) -> Settled:
    """Apply a fact in a transaction of its own.

    :raises NotFound: no such payment. :raises DatabaseUnavailable: nothing was written.
    """
    async with desk.db.writing() as session:
        return await settle_in(session, desk, fact)


async def settle_in(session: AsyncSession, desk: Desk, fact: Fact, held: Holding | None = None) -> Settled:
    """Apply a fact within the caller's transaction, which must be a writing one.

    :param held: the payment, where the caller has locked it in this transaction already; one of many takes no
        refunds and no disputes, which have rows of their own.
    """
    held = held or await hold(session, fact.payment_id)
    before = held.payment.status
    if fact.news in (News.REFUND, News.DISPUTE):
        outcome = await _apply_refund_or_dispute(session, desk, _one(held), fact)
        return _settled(held, outcome, before)
    verdict = decide(held.standing(), fact)
    if verdict.outcome not in (Outcome.ALREADY, Outcome.STALE):
        await _write(session, desk, held, fact, verdict)
    elif verdict.outcome is Outcome.ALREADY:
        await _learn_more(session, desk, held, fact)
    return _settled(held, verdict.outcome, before)


async def _apply_refund_or_dispute(session: AsyncSession, desk: Desk, held: Held, fact: Fact) -> Outcome:
    recorded = await settle_back(session, desk, held, fact)
    if recorded.status is not None:
        held.payment.status = recorded.status
    await finish(session, desk, held, fact, recorded)
    if recorded.status is PaymentStatus.REFUNDED:
        await _hand_the_place_on(session, desk, held, fact)
    return recorded.outcome


def _one(held: Holding) -> Held:
    """What goes back, and what a person decides, is settled one by one."""
    if not isinstance(held, Held):
        raise AssertionError(f"payment {held.payment.id} is one of many")  # noqa: TRY004 - a bug, no bad input
    return held


async def _hand_the_place_on(session: AsyncSession, desk: Desk, held: Held, fact: Fact) -> None:
    """Of two payments for one fee the first may be the one that goes back: then the other one settles it."""
    heir = await heir_of(session, held)
    if heir is not None:
        found = Fact(heir.payment.id, News.UNPLACED, desk.clock(), fact.source, fact.actor, fact.source_id)
        await settle_in(session, desk, replace(found, request_id=fact.request_id), heir)


async def _learn_more(session: AsyncSession, desk: Desk, held: Holding, fact: Fact) -> None:
    """Known before, but perhaps without the charge, the wallet or the operation number."""
    before = ledger.picture(held)
    _learn_ids(held, fact.ids)
    if _names_its_number(held, fact) and await use_up(session, desk, held, fact):
        await ledger.note(session, held, fact, "number:noted", before, desk.clock())


def _names_its_number(held: Holding, fact: Fact) -> bool:
    paid = held.payment.status is PaymentStatus.COMPLETED and fact.news is News.SUCCEEDED
    return paid and bool(fact.ids.kaspi_operation)


def _settled(held: Holding, outcome: Outcome, before: PaymentStatus) -> Settled:
    detail = held.detail
    return Settled(held.payment.id, outcome, before, held.payment.status, detail.is_late, detail.is_duplicate)


async def _write(session: AsyncSession, desk: Desk, held: Holding, fact: Fact, verdict: Verdict) -> None:
    now = desk.clock()
    before = ledger.picture(held)
    if verdict.outcome is not Outcome.MISMATCH:
        _learn_ids(held, fact.ids)
    _move(held, fact, verdict, now)
    if verdict.status is PaymentStatus.COMPLETED and fact.amount_accepted:
        await book_received(session, _one(held), fact, now)
    if verdict.outcome is not Outcome.MISMATCH and _names_its_number(held, fact):
        await use_up(session, desk, held, fact)
    await doubt(session, desk, held, fact)
    if verdict.activates:
        ledger.activate(held, now)
        # the other ways to pay are closed now, not at their next look
        await held.hurry_others(session, now)
    await ledger.note(session, held, fact, f"{fact.news}:{verdict.outcome}", before, now)
    await _tell(session, desk, held, fact, verdict)


async def book_received(session: AsyncSession, held: Held, fact: Fact, now: datetime) -> None:
    """Charge what was received, where a person accepted another amount than was asked for.

    What was asked for stays in the audit trail and in the open discrepancy. Reports, the closing sheet, the
    limit of a refund and the comparison with the provider count what came.
    """
    paid, asked = fact.money, held.charged
    if paid is None or paid == asked or not fact.amount_accepted:
        return
    held.payment.amount = held.detail.charged_amount = paid.amount
    deed = audit.Deed(
        actor=fact.actor,
        source=fact.source,
        source_id=fact.source_id,
        request_id=fact.request_id,
        action="amount_accepted",
        before={"charged": asked.amount},
        after={"charged": paid.amount},
        note=fact.reason,
    )
    await audit.append(session, held.payment.id, deed, now)


def _move(held: Holding, fact: Fact, verdict: Verdict, now: datetime) -> None:
    payment, detail = held.payment, held.detail
    if verdict.status is not None:
        payment.status = verdict.status
        # a retry that works out leaves no old reason behind
        payment.failure_reason = verdict.failure_reason
    elif verdict.failure_reason is not None:
        payment.failure_reason = verdict.failure_reason
    if verdict.status is PaymentStatus.COMPLETED:
        detail.completed_at = now
    if verdict.status is PaymentStatus.PROCESSING and detail.scanned_at is None:
        detail.scanned_at = now
    if verdict.provider_open is not None:
        detail.provider_open = verdict.provider_open
    if not detail.provider_open:
        detail.next_poll_at = None
    if fact.news not in (News.OPENED, News.UNPLACED) and verdict.outcome is not Outcome.MISMATCH:
        detail.news_at = max(fact.at, detail.news_at) if detail.news_at else fact.at
    detail.is_late = detail.is_late or verdict.late
    detail.is_duplicate = detail.is_duplicate or verdict.duplicate
    payment.updated_at = now
    detail.updated_at = now


def _learn_ids(held: Holding, ids: ProviderIds) -> None:
    """Keep what the source knows; an id that it does not name stays as it is."""
    payment, detail = held.payment, held.detail
    payment.stripe_payment_id = ids.payment_intent or payment.stripe_payment_id
    payment.stripe_session_id = ids.checkout_session or payment.stripe_session_id
    payment.kaspi_qr_code = ids.kaspi_payment or payment.kaspi_qr_code
    if ids.kaspi_operation is not None:
        payment.kaspi_transaction_id = canonical(ids.kaspi_operation)
    detail.charge_id = ids.charge or detail.charge_id
    detail.wallet = ids.wallet or detail.wallet
    if payment.method is PaymentMethod.APPLE_PAY:
        payment.apple_pay_id = ids.charge or payment.apple_pay_id
    elif payment.method is PaymentMethod.GOOGLE_PAY:
        payment.google_pay_id = ids.charge or payment.google_pay_id


async def _tell(session: AsyncSession, desk: Desk, held: Holding, fact: Fact, verdict: Verdict) -> None:
    paid = fact.money or held.charged
    ids = fact.ids
    key = ids.payment_intent or ids.kaspi_payment or ids.kaspi_operation or "payment"
    about = _about(fact, verdict)
    for kind in verdict.discrepancies:
        found = {
            "charged": ledger.as_document(held.charged),
            "paid": ledger.as_document(paid),
            "source": fact.source.value,
            "provider": key,
        } | ({"said": fact.money_unreadable} if fact.money_unreadable else {})
        await ledger.disagree(session, desk, held, kind, found, about)
    for topic in verdict.topics:
        # what is asked for now: it may be another amount when the message is read
        more = {"asked": str(held.charged)} if topic is Topic.ALERT_AMOUNT else {}
        await ledger.tell(session, desk, held, topic, paid, once=_once(topic, fact, key), **more)


def _about(fact: Fact, verdict: Verdict) -> str | None:
    """What a difference is about: the provider's object that brought the news. A number that only settles a
    payment names nothing of its own; that of money which settles nothing does."""
    ids = fact.ids
    apart = ids.kaspi_operation if verdict.outcome is Outcome.MISMATCH else None
    return ids.payment_intent or ids.kaspi_payment or apart


def _once(topic: Topic, fact: Fact, key: str) -> str:
    """One message for one happening: a declined card may fail again, money is received once."""
    if topic is Topic.PAYMENT_FAILED:
        return fact.at.isoformat()
    return key if topic is Topic.ALERT_AMOUNT else ""
