"""Record refunds and disputes, for :mod:`procomp_pay.services.settlement.apply` alone.

:func:`apply_refund_event` writes the refund or the dispute and returns the status that follows; ``apply``
writes the status; :func:`finish` then moves the participant and writes the audit entry and the messages.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.errors import RetryLater
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Money
from procomp_pay.domain.reconciliation.records import ProviderState
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import (
    HOLDING,
    DisputeEvent,
    DisputeState,
    RefundEvent,
    RefundState,
    is_id_of_refunded_total,
    is_providers_own_id,
    may_become,
    reserved_amount,
    status_after,
    total_refunded,
)
from procomp_pay.domain.states import PAID_STATUSES, ParticipantStatus, PaymentStatus
from procomp_pay.domain.text import N_
from procomp_pay.domain.topics import Topic
from procomp_pay.domain.transitions import Outcome
from procomp_pay.services.context import AppContext
from procomp_pay.services.settlement import side_effects
from procomp_pay.storage.database.session import AsyncSession
from procomp_pay.storage.models.reconciliation import Discrepancy
from procomp_pay.storage.models.refunds import Refund
from procomp_pay.storage.payments import refunds as refund_repository
from procomp_pay.storage.payments.repository import OrmLockedPayment
from procomp_pay.storage.reconciliation import discrepancies

#: Seconds between two checks of a refund that the provider is still processing; banks take days.
PENDING_LOOK_S = 3600

#: The more advanced state wins, in whatever order the events arrive.
_RANK = {DisputeState.OPEN: 0, DisputeState.WITHDRAWN: 1, DisputeState.WON: 2, DisputeState.LOST: 2}


@dataclass(frozen=True, slots=True)
class Recorded:
    """The result of recording a refund or a dispute.

    :param refund: the refund that was written; ``None`` if nothing is left to do.
    :param before: the audit snapshot of the payment before the change.
    :param status: the new status of the payment; ``None`` if it is unchanged.
    """

    outcome: Outcome
    refund: Refund | None = None
    before: dict[str, Any] = field(default_factory=dict)
    status: PaymentStatus | None = None


async def apply_refund_event(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent
) -> Recorded:
    """Write the new state of a refund or a dispute, under the lock of the payment.

    The status of the payment is left to the caller.

    :raises RetryLater: the payment is not COMPLETED yet; the same event can be applied later.
    """
    kept_by_platform = (
        isinstance(locked.payment.status, UnknownLabel) and locked.detail.completed_at is not None
    )
    if locked.payment.status not in PAID_STATUSES and not kept_by_platform:
        raise RetryLater(f"Payment {locked.payment.id} is not completed yet")
    if event.event_type is EventType.DISPUTE and event.dispute is not None:
        return Recorded(await _dispute(session, ctx, locked, event, event.dispute))
    if event.refund is None:
        raise ValueError("a refund event needs a refund")
    return await _refund(session, ctx, locked, event, event.refund)


async def _refund(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent, change: RefundEvent
) -> Recorded:
    rows = await refund_repository.of_payment(session, locked.payment.id)
    row = refund_repository.match(rows, change)
    if await _belongs_to_another_payment(session, ctx, locked, change):
        if row is None:
            return Recorded(Outcome.MISMATCH)
        change = replace(change, provider_refund_id=None)  # our refund was made all the same
    if row is not None and not may_become(row.state, change.state):
        await _store_provider_id(session, ctx, locked, event, row, change)
        return Recorded(Outcome.ALREADY if row.state is change.state else Outcome.STALE)
    before, now = side_effects.audit_snapshot(locked), ctx.clock()
    known = row is not None and row.amount == change.money.amount
    matches = known and change.money.currency is locked.charged.currency
    if not matches and await _record_refund_mismatch(session, ctx, locked, change, rows, row):
        return Recorded(Outcome.MISMATCH)
    if row is None:
        row = _external_refund(ctx, locked, event, change)
        session.add(row)
    row.state = change.state
    row.provider_refund_id = row.provider_refund_id or change.provider_refund_id
    row.failure_reason = change.failure_reason or row.failure_reason
    row.updated_at = now
    pending = change.state is RefundState.PENDING
    row.next_look_at = (row.next_look_at or now + timedelta(seconds=PENDING_LOOK_S)) if pending else None
    await session.flush()
    rows = await refund_repository.of_payment(session, locked.payment.id)
    total = Money(total_refunded(refund_repository.amounts(rows)), locked.charged.currency).amount
    locked.detail.refunded_amount = total
    locked.payment.updated_at = locked.detail.updated_at = now
    status = status_after(locked.payment.status, locked.charged, total)
    return Recorded(Outcome.MOVED if status else Outcome.NOTED, row, before, status)


async def finish(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent, recorded: Recorded
) -> None:
    """Update the participant after a refund, and write its audit entry and messages."""
    now, refund = ctx.clock(), recorded.refund
    if refund is None:
        return
    if recorded.status is PaymentStatus.REFUNDED:
        side_effects.release_participant(locked, now)
    elif recorded.status is not None:
        _mark_participant_paid_again(locked, now)
    await side_effects.append_audit_entry(
        session, locked, event, f"refund_{refund.state.lower()}", recorded.before, now
    )
    await _announce(session, ctx, locked, refund, recorded.status is not None)


async def _store_provider_id(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    event: PaymentEvent,
    row: Refund,
    change: RefundEvent,
) -> None:
    """Store the provider's id of a known refund, if it was missing: Kaspi's refunded total has no ids.

    ``updated_at`` stays: it is the day on which the books have the refund, which may be exported and closed.
    """
    provider_id = change.provider_refund_id
    if (
        provider_id is None
        or is_id_of_refunded_total(provider_id)
        or is_providers_own_id(row.provider_refund_id)
    ):
        return
    row.provider_refund_id = provider_id
    snapshot = side_effects.audit_snapshot(locked)
    await side_effects.append_audit_entry(
        session, locked, event, "refund_number:noted", snapshot, ctx.clock()
    )


async def _belongs_to_another_payment(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, change: RefundEvent
) -> bool:
    """Return True, and open a discrepancy, if the refund's id is already recorded for another payment."""
    provider_id = change.provider_refund_id
    other = None if provider_id is None else await refund_repository.by_provider_id(session, provider_id)
    if provider_id is None or other is None or other.payment_id == locked.payment.id:
        return False
    detail = {
        "refund": provider_id,
        "went_back": side_effects.as_document(change.money),
        "written_down_for": other.payment_id,
        "by": other.requested_by,
    }
    await _open_discrepancy(session, ctx, locked, change, detail)
    return True


async def _record_refund_mismatch(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    change: RefundEvent,
    rows: list[Refund],
    row: Refund | None,
) -> bool:
    """Return True, and open a discrepancy, if a refund cannot belong to the payment.

    :raises RetryLater: it could belong to it if one of our refunds, whose outcome is unknown, was not made.
    """
    charged = locked.charged
    fits = change.money.currency is charged.currency and row is None
    if fits and change.state in HOLDING:
        fits = reserved_amount(refund_repository.amounts(rows)) + change.money.amount <= charged.amount
        if not fits and any(refund.state is RefundState.PENDING for refund in rows):
            raise RetryLater(
                f"Another refund of payment {locked.payment.id} is in progress; this one has to wait for it"
            )
    if fits:
        return False
    detail = {
        "refund": change.provider_refund_id or change.refund_id or "refund",
        "went_back": side_effects.as_document(change.money),
        "charged": side_effects.as_document(charged),
    }
    await _open_discrepancy(session, ctx, locked, change, detail)
    return True


async def _open_discrepancy(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    change: RefundEvent,
    detail: dict[str, Any],
) -> None:
    key = (change.provider_refund_id or change.refund_id or "refund").removeprefix(
        "kaspi:"
    )  # as in reconciliation
    await side_effects.open_discrepancy(session, ctx, locked, DiscrepancyKind.REFUND_MISMATCH, detail, key)
    await side_effects.enqueue_message(session, ctx, locked, Topic.ALERT_REFUND, change.money, once=key)


def _external_refund(
    ctx: AppContext, locked: OrmLockedPayment, event: PaymentEvent, change: RefundEvent
) -> Refund:
    """Return a new row for a refund made in Stripe's dashboard or in the Kaspi Pay app."""
    now = ctx.clock()
    return Refund(
        id=ctx.new_id(),
        payment_id=locked.payment.id,
        amount=change.money.amount,
        currency=change.money.known_currency,
        reason=change.reason or N_("made at the provider"),
        state=change.state,
        requested_by=event.actor,
        sent_at=change.made_at,
        created_at=now,
        updated_at=now,
    )


def _mark_participant_paid_again(locked: OrmLockedPayment, now: datetime) -> None:
    """Mark the participant as paid after a refund failed, unless the fee is settled otherwise now, or the
    registration is for another tournament than the one paid for: its fee may be higher."""
    participant = locked.participant
    if participant is None or participant.tournament_id != locked.payment.tournament_id:
        return
    if locked.settled_by is None and participant.status is ParticipantStatus.REGISTERED:
        side_effects.mark_participant_paid(locked, now)
    elif locked.is_settled_otherwise:
        locked.detail.is_duplicate = True


async def _announce(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, row: Refund, status_changed: bool
) -> None:
    money = Money(row.amount, row.currency)
    if row.state is RefundState.SUCCEEDED:
        extra = {"refund_id": row.id, "refunded_in_full": locked.payment.status is PaymentStatus.REFUNDED}
        await side_effects.enqueue_message(
            session, ctx, locked, Topic.PAYMENT_REFUNDED, money, once=row.id, **extra
        )
    elif row.state is RefundState.FAILED:
        failure = {"refund_id": row.id, "why": row.failure_reason}
        await side_effects.enqueue_message(
            session, ctx, locked, Topic.ALERT_REFUND, money, once=row.id, **failure
        )
        if status_changed and locked.detail.is_duplicate:
            detail = {"charged": side_effects.as_document(locked.charged), "refund": row.id}
            await side_effects.open_discrepancy(
                session, ctx, locked, DiscrepancyKind.DUPLICATE_PAYMENT, detail, row.id
            )


def _follows(
    stored: DisputeState | None, stored_at: datetime | None, state: DisputeState, at: datetime
) -> bool:
    """Return whether a dispute's new state replaces the stored one.

    The bank may reverse a final state: of two final ones the later event wins.
    """
    if stored is None or _RANK[state] > _RANK[stored]:
        return True
    both_final = _RANK[state] == _RANK[stored] == _RANK[DisputeState.WON]
    return both_final and state is not stored and (stored_at is None or at > stored_at)


async def _dispute(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    event: PaymentEvent,
    change: DisputeEvent,
) -> Outcome:
    detail, shown = locked.detail, _shown_dispute(locked)
    ids = {change.dispute_id} | ({shown.dispute_id} if shown else set())
    rows = await discrepancies.of_disputes(session, locked.payment.id, ids)
    row, same = rows.get(change.dispute_id), shown is not None and shown.dispute_id == change.dispute_id
    stored, stored_at = (detail.dispute_state, detail.dispute_at) if same else discrepancies.dispute_in(row)
    is_news, at = _follows(stored, stored_at, change.state, event.at), event.at
    if not is_news:
        if change.state is not stored:
            return Outcome.STALE
        at = stored_at or at
    other = None if same or shown is None or not shown.state.holds_refunds_back else shown
    is_beside = other is not None and change.state.weight <= other.state.weight
    await _keep_in_row(session, ctx, locked, change, at, row, is_beside=is_beside, by=event.actor)
    if same and not is_news:
        return Outcome.ALREADY
    if is_beside:
        await _announce_dispute(session, ctx, locked, change)  # the other one still holds refunds back
        return Outcome.NOTED
    if other is not None:
        row = rows.get(other.dispute_id)
        await _keep_in_row(
            session, ctx, locked, other, detail.dispute_at, row, is_beside=True, by=event.actor
        )
    before, now = side_effects.audit_snapshot(locked), ctx.clock()
    detail.dispute_id = change.dispute_id
    detail.dispute_state = change.state
    detail.dispute_at = event.at
    detail.dispute_amount = change.money.amount
    detail.dispute_reason = change.reason
    detail.dispute_due_at = datetime.fromtimestamp(change.due_at, UTC) if change.due_at else None
    detail.updated_at = now
    await side_effects.append_audit_entry(session, locked, event, f"dispute_{change.state}", before, now)
    await _announce_dispute(session, ctx, locked, change)
    return Outcome.NOTED


def _shown_dispute(locked: OrmLockedPayment) -> DisputeEvent | None:
    """Return the dispute that the payment's row keeps."""
    detail = locked.detail
    if detail.dispute_id is None or detail.dispute_state is None:
        return None
    money = Money(detail.dispute_amount or detail.charged_amount, detail.charged_currency)
    return DisputeEvent(detail.dispute_id, detail.dispute_state, money)


async def _keep_in_row(
    session: AsyncSession,
    ctx: AppContext,
    locked: OrmLockedPayment,
    dispute: DisputeEvent,
    at: datetime | None,
    row: Discrepancy | None,
    *,
    is_beside: bool,
    by: str,
) -> None:
    """Write a dispute into its discrepancy, if it has one. One beside that which the payment's row keeps gets
    one, so that it holds refunds back until it is won, too.

    :param at: when its state was told, if that is known.
    """
    is_kept = is_beside and dispute.state.holds_refunds_back
    detail = {
        "what": N_("there is another dispute over this payment"),
        **discrepancies.dispute_detail(dispute.state, at),
        "theirs": {"kind": LineKind.DISPUTE.value, "stand": _stand(dispute.state), "ref": dispute.dispute_id}
        | side_effects.as_document(dispute.money),
    }
    if row is None:
        if not is_kept:
            return
        await side_effects.open_discrepancy(
            session, ctx, locked, DiscrepancyKind.STATUS_MISMATCH, detail, dispute.dispute_id
        )
        # a reconciliation may have opened it at the same time
        rows = await discrepancies.of_disputes(session, locked.payment.id, [dispute.dispute_id])
        row = rows[dispute.dispute_id]
    over = N_("The payment shows this dispute now.")
    if not dispute.state.holds_refunds_back:
        over = N_("The dispute was won.")
    discrepancies.write_dispute(row, detail, over=None if is_kept else over, by=by, now=ctx.clock())


def _stand(state: DisputeState) -> str:
    if state.is_open:
        return ProviderState.OPEN.value
    return (ProviderState.PAID if state is DisputeState.LOST else ProviderState.ENDED).value


async def _announce_dispute(
    session: AsyncSession, ctx: AppContext, locked: OrmLockedPayment, change: DisputeEvent
) -> None:
    due = datetime.fromtimestamp(change.due_at, UTC).isoformat() if change.due_at else None
    extra = {"dispute": change.dispute_id, "state": change.state.value, "evidence_until": due}
    once = f"{change.dispute_id}:{change.state}"
    await side_effects.enqueue_message(
        session, ctx, locked, Topic.ALERT_DISPUTE, change.money, once=once, **extra
    )
