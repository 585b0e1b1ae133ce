"""The door's part for money that goes back: refunds and disputes. Called by :mod:`settle` alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlmodel.ext.asyncio.session import AsyncSession

from procomp_pay.domain.errors import RetryLater
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.money import Money
from procomp_pay.domain.refunds import (
    HOLDING,
    DisputeEvent,
    DisputeState,
    RefundEvent,
    RefundState,
    has_a_name,
    is_of_a_sum,
    may_become,
    reserved_amount,
    status_after,
    total_refunded,
)
from procomp_pay.domain.states import PAID_STATUSES, ParticipantStatus, PaymentStatus
from procomp_pay.domain.transitions import DiscrepancyKind, Outcome, Topic
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.storage.models.payments import Refund
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment

#: Between two looks at a refund that the provider is still working on, in seconds; banks take days.
PENDING_LOOK_S = 3600

#: The further word wins, whatever order the words arrive in.
_RANK = {DisputeState.OPEN: 0, DisputeState.WITHDRAWN: 1, DisputeState.WON: 2, DisputeState.LOST: 2}


async def apply_refund_event(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent
) -> Outcome:
    """Apply what a refund or a dispute became, under the payment's lock.

    :raises RetryLater: it is about money that our books do not have yet; the same fact works later.
    """
    if locked.payment.status not in PAID_STATUSES:
        raise RetryLater(f"Payment {locked.payment.id} is not settled in our books yet")
    if event.event_type is EventType.DISPUTE and event.dispute is not None:
        return await _dispute(session, ctx, locked, event, event.dispute)
    if event.refund is None:
        raise ValueError("a fact about a refund says which")
    return await _refund(session, ctx, locked, event, event.refund)


async def _refund(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent, news: RefundEvent
) -> Outcome:
    rows = await refund_repository.of_payment(session, locked.payment.id)
    row = refund_repository.match(rows, news)
    if await _is_of_another(session, ctx, locked, news):
        if row is None:
            return Outcome.MISMATCH
        news = replace(news, provider_refund_id=None)  # ours went back all the same
    if row is not None and not may_become(row.state, news.state):
        await _learn_name(session, ctx, locked, event, row, news)
        return Outcome.ALREADY if row.state is news.state else Outcome.STALE
    before, now = side_effects.audit_snapshot(locked), ctx.clock()
    if row is None or row.amount != news.money.amount or news.money.currency is not locked.charged.currency:
        wrong = await _record_refund_mismatch(session, ctx, locked, news, rows, row)
        if wrong:
            return Outcome.MISMATCH
    if row is None:
        row = _made_elsewhere(ctx, locked, event, news)
        session.add(row)
    row.state = news.state
    row.provider_refund_id = row.provider_refund_id or news.provider_refund_id
    row.failure_reason = news.failure_reason or row.failure_reason
    row.updated_at = now
    waits = news.state is RefundState.PENDING
    row.next_look_at = (row.next_look_at or now + timedelta(seconds=PENDING_LOOK_S)) if waits else None
    await session.flush()
    rows = await refund_repository.of_payment(session, locked.payment.id)
    moved = _move(locked, total_refunded(refund_repository.amounts(rows)), now)
    await side_effects.append_audit_entry(session, locked, event, f"refund_{news.state.lower()}", before, now)
    await _tell(session, ctx, locked, row, moved)
    return Outcome.MOVED if moved else Outcome.NOTED


async def _learn_name(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    event: PaymentEvent,
    row: Refund,
    news: RefundEvent,
) -> None:
    """Known before, but perhaps without its number at the provider: Kaspi's sum tells none."""
    name = news.provider_refund_id
    if name is None or is_of_a_sum(name) or has_a_name(row.provider_refund_id):
        return
    now = ctx.clock()
    row.provider_refund_id, row.updated_at = name, now
    same = side_effects.audit_snapshot(locked)
    await side_effects.append_audit_entry(session, locked, event, "refund_number:noted", same, now)


async def _is_of_another(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, news: RefundEvent
) -> bool:
    """Whether the refund's number was written down for another payment: one of the two is a slip, and a
    person finds out which."""
    name = news.provider_refund_id
    other = None if name is None else await refund_repository.by_provider_id(session, name)
    if name is None or other is None or other.payment_id == locked.payment.id:
        return False
    found = {
        "refund": name,
        "went_back": side_effects.as_document(news.money),
        "written_down_for": other.payment_id,
        "by": other.requested_by,
    }
    await _disagree(session, ctx, locked, news, found)
    return True


async def _record_refund_mismatch(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    news: RefundEvent,
    rows: list[Refund],
    row: Refund | None,
) -> bool:
    """Whether a refund does not fit our books: then it is kept for a person.

    :raises RetryLater: it would fit if one of ours, whose outcome is unknown, turned out not to have
    been made.
    """
    charged = locked.charged
    fits = news.money.currency is charged.currency and row is None
    if fits and news.state in HOLDING:
        fits = reserved_amount(refund_repository.amounts(rows)) + news.money.amount <= charged.amount
        if not fits and any(each.state is RefundState.PENDING for each in rows):
            raise RetryLater(
                f"A refund of payment {locked.payment.id} is being asked for; this one waits for it"
            )
    if fits:
        return False
    found = {
        "refund": news.provider_refund_id or news.refund_id or "refund",
        "went_back": side_effects.as_document(news.money),
        "charged": side_effects.as_document(charged),
    }
    await _disagree(session, ctx, locked, news, found)
    return True


async def _disagree(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, news: RefundEvent, found: dict[str, Any]
) -> None:
    key = (news.provider_refund_id or news.refund_id or "refund").removeprefix("kaspi:")  # as reconcile
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.REFUND_MISMATCH, found, key)
    await side_effects.enqueue_message(session, ctx, locked, Topic.ALERT_REFUND, news.money, once=key)


def _made_elsewhere(
    ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent, news: RefundEvent
) -> Refund:
    """A refund that somebody made in Stripe's dashboard or in the Kaspi Pay app."""
    now = ctx.clock()
    return Refund(
        id=ctx.new_id(),
        payment_id=locked.payment.id,
        amount=news.money.amount,
        currency=news.money.currency,
        reason=news.reason or "made at the provider",
        state=news.state,
        requested_by=event.actor,
        created_at=now,
        updated_at=now,
    )


def _move(locked: OrmLockedPayment, gone: Decimal, now: datetime) -> bool:
    """Write what has gone back, and move payment and participant with it."""
    payment, detail = locked.payment, locked.detail
    total = Money(gone, locked.charged.currency).amount
    detail.refunded_amount = total
    payment.updated_at = detail.updated_at = now
    after = status_after(payment.status, locked.charged, total)
    if after is None:
        return False
    payment.status = after
    if after is PaymentStatus.REFUNDED:
        side_effects.release_participant(locked, now)
    elif locked.participant is not None:
        _take_place_again(locked, now)
    return True


def _take_place_again(locked: OrmLockedPayment, now: datetime) -> None:
    """A refund that came back: the fee is paid after all, unless another payment took the place."""
    who = locked.participant
    if who is not None and who.payment_id is None and who.status is ParticipantStatus.REGISTERED:
        side_effects.mark_participant_paid(locked, now)
    elif who is not None and who.payment_id not in (None, locked.payment.id):
        locked.detail.is_duplicate = True


async def _tell(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, row: Refund, moved: bool
) -> None:
    money = Money(row.amount, row.currency)
    if row.state is RefundState.SUCCEEDED:
        more = {"refund_id": row.id, "refunded_in_full": locked.payment.status is PaymentStatus.REFUNDED}
        await side_effects.enqueue_message(
            session, ctx, locked, Topic.PAYMENT_REFUNDED, money, once=row.id, **more
        )
    elif row.state is RefundState.FAILED:
        why = {"refund_id": row.id, "why": row.failure_reason}
        await side_effects.enqueue_message(
            session, ctx, locked, Topic.ALERT_REFUND, money, once=row.id, **why
        )
        if moved and locked.detail.is_duplicate:
            found = {"charged": side_effects.as_document(locked.charged), "refund": row.id}
            await side_effects.open_discrepancy(
                session, ctx, locked, DiscrepancyKind.DUPLICATE_PAYMENT, found, row.id
            )


async def _dispute(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent, news: DisputeEvent
) -> Outcome:
    detail = locked.detail
    same = detail.dispute_id == news.dispute_id
    if same and detail.dispute_state is not None and _RANK[news.state] <= _RANK[detail.dispute_state]:
        return Outcome.ALREADY if news.state is detail.dispute_state else Outcome.STALE
    before, now = side_effects.audit_snapshot(locked), ctx.clock()
    detail.dispute_id = news.dispute_id
    detail.dispute_state = news.state
    detail.dispute_amount = news.money.amount
    detail.dispute_reason = news.reason
    detail.dispute_due_at = datetime.fromtimestamp(news.due_at, UTC) if news.due_at else None
    detail.updated_at = now
    await side_effects.append_audit_entry(session, locked, event, f"dispute_{news.state}", before, now)
    due = detail.dispute_due_at.isoformat() if detail.dispute_due_at else None
    more = {"dispute": news.dispute_id, "state": news.state.value, "evidence_until": due}
    once = f"{news.dispute_id}:{news.state}"
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_DISPUTE, news.money, once=once, **more
    )
    return Outcome.NOTED
