"""Decide how an event changes a payment, also late money, a second payment and another amount.

The rules are pure and total, and give the same result for every order in which providers may deliver events.
:mod:`procomp_pay.services.settlement.apply` calls :func:`decide_transition` under the row lock of the payment
and writes exactly the transition that it returns.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.labels import UnknownLabel
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import (
    PAID_STATUSES,
    AnyParticipantStatus,
    AnyStatus,
    ParticipantStatus,
    PaymentStatus,
    may_move,
)
from procomp_pay.domain.topics import Topic


class Outcome(StrEnum):
    """The effect of an event on a payment."""

    MOVED = "moved"  # the status changed
    NOTED = "noted"  # something was recorded, the status is unchanged
    ALREADY = "already"  # already known; nothing was written
    STALE = "stale"  # outdated, or not an allowed transition; nothing was written
    MISMATCH = "mismatch"  # the money differs: the payment is not settled; for manual review


@dataclass(frozen=True, slots=True)
class PaymentSnapshot:
    """The state of a payment that the rules depend on, read under its lock.

    :param settled_by: the payment that settles the participant's fee, if any.
    :param participant_status: ``None`` if the participant was deleted.
    :param was_paid: it was COMPLETED before, whatever the platform made of it since.
    :param provider_payment: the id of the PaymentIntent or Kaspi purchase, if known.
    :param is_duplicate: it completed, and the fee had been settled before.
    :param moved_away: the participant is now registered for another tournament than the one paid for.
    :param cancel_requested: cancellation was requested, so a session that closes is CANCELLED, not EXPIRED.
    :param news_at: time of the latest provider event that was applied.
    """

    payment_id: str
    status: AnyStatus
    charged: Money
    participant_status: AnyParticipantStatus | None
    settled_by: str | None
    provider_open: bool
    was_paid: bool = False
    provider_payment: str | None = None
    cancel_requested: bool = False
    is_duplicate: bool = False
    moved_away: bool = False
    news_at: datetime | None = None
    failure_reason: str | None = None

    @property
    def is_marked_paid(self) -> bool:
        """True if the platform took the fee without a payment, such as in cash."""
        return self.settled_by is None and self.participant_status is ParticipantStatus.PAID


@dataclass(frozen=True, slots=True)
class Transition:
    """The changes to write. ``None`` leaves a field unchanged."""

    outcome: Outcome
    status: PaymentStatus | None = None
    failure_reason: str | None = None
    activates: bool = False
    late: bool = False
    duplicate: bool = False
    provider_open: bool | None = None
    topics: tuple[Topic, ...] = ()
    discrepancies: tuple[DiscrepancyKind, ...] = ()


# Of two events in the same second (Stripe has a resolution of one second) the more advanced one wins.
_RANK: dict[str, int] = {
    EventType.RETRIABLE: 0,
    EventType.PROCESSING: 1,
    EventType.FAILED: 2,
    PaymentStatus.PENDING: 0,
    PaymentStatus.PROCESSING: 1,
    PaymentStatus.FAILED: 2,
}


def decide_transition(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    """Return the transition that ``event`` causes. Never raises, whatever the combination.

    Refunds and disputes are not handled here: see :mod:`procomp_pay.domain.refunds`.
    """
    if _is_of_another_object(snapshot, event):
        return _from_another_object(snapshot, event)
    rule = _RULES.get(event.event_type)
    if rule is None:
        return Transition(Outcome.STALE)
    transition = rule(snapshot, event)
    if transition.status is not None and not may_move(snapshot.status, transition.status):
        transition = Transition(Outcome.STALE)
    return _with_provider_end(transition, snapshot, event)


def _with_provider_end(transition: Transition, snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    """Stop polling once the provider's object is closed, whatever else the event reports."""
    if not (event.final_at_provider and snapshot.provider_open):
        return transition
    outcome = Outcome.NOTED if transition.outcome in (Outcome.ALREADY, Outcome.STALE) else transition.outcome
    return replace(transition, outcome=outcome, provider_open=False)


def _is_of_another_object(snapshot: PaymentSnapshot, event: PaymentEvent) -> bool:
    object_id = event.ids.payment_intent or event.ids.kaspi_payment
    return object_id is not None and snapshot.provider_payment not in (None, object_id)


def _from_another_object(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    """Decide about a second provider object that refers to the payment: only money received by it counts."""
    if event.event_type is not EventType.SUCCEEDED:
        return Transition(Outcome.STALE)
    if snapshot.status in PAID_STATUSES:
        return Transition(
            Outcome.MISMATCH,
            topics=(Topic.ALERT_DUPLICATE,),
            discrepancies=(DiscrepancyKind.DUPLICATE_PAYMENT,),
        )
    return _succeeded(snapshot, event)


def _opened(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    if snapshot.provider_open or snapshot.status in PAID_STATUSES:
        return Transition(Outcome.NOTED)
    # Found after the payment ended on our side (a recovered response): money can still come through it.
    return Transition(Outcome.NOTED, provider_open=not event.final_at_provider)


def _is_old(snapshot: PaymentSnapshot, event: PaymentEvent) -> bool:
    """Return True for an outdated event, since providers deliver late and out of order.

    A final event is never outdated: clocks that differ must not keep a payment open for ever.
    """
    if event.final_at_provider or snapshot.news_at is None or event.at > snapshot.news_at:
        return False
    return event.at < snapshot.news_at or _RANK[event.event_type] < _RANK.get(snapshot.status, 0)


def _retriable(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    if snapshot.status is not PaymentStatus.FAILED:
        return Transition(Outcome.ALREADY if snapshot.status is PaymentStatus.PENDING else Outcome.STALE)
    return (
        Transition(Outcome.STALE)
        if _is_old(snapshot, event)
        else Transition(Outcome.MOVED, PaymentStatus.PENDING)
    )


def _processing(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    if snapshot.status is PaymentStatus.PROCESSING:
        return Transition(Outcome.ALREADY)
    return (
        Transition(Outcome.STALE)
        if _is_old(snapshot, event)
        else Transition(Outcome.MOVED, PaymentStatus.PROCESSING)
    )


def _failed(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    if _is_old(snapshot, event):
        return Transition(Outcome.STALE)
    reason = event.reason or "The provider gave no reason"
    if snapshot.status is PaymentStatus.FAILED:
        same = reason == snapshot.failure_reason
        return Transition(Outcome.ALREADY) if same else Transition(Outcome.NOTED, failure_reason=reason)
    return Transition(
        Outcome.MOVED, PaymentStatus.FAILED, failure_reason=reason, topics=(Topic.PAYMENT_FAILED,)
    )


def _cancelled(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    if snapshot.status is PaymentStatus.CANCELLED:
        return Transition(Outcome.ALREADY)
    return Transition(Outcome.MOVED, PaymentStatus.CANCELLED, failure_reason=event.reason)


def _expired(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    if snapshot.cancel_requested:
        return _cancelled(snapshot, event)
    if snapshot.status is PaymentStatus.EXPIRED:
        return Transition(Outcome.ALREADY)
    return Transition(
        Outcome.MOVED, PaymentStatus.EXPIRED, failure_reason=event.reason, topics=(Topic.PAYMENT_EXPIRED,)
    )


def _succeeded(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    # Only a failed refund moves REFUNDED back to COMPLETED: a repeated `succeeded` must not undo a refund.
    if snapshot.status in PAID_STATUSES:
        return Transition(Outcome.ALREADY)
    if isinstance(snapshot.status, UnknownLabel):
        # a status that only the platform knows is not overwritten: the money is for manual review
        if snapshot.was_paid:
            return Transition(Outcome.ALREADY)
        return Transition(Outcome.MISMATCH, discrepancies=(DiscrepancyKind.STATUS_MISMATCH,))
    kind = _amount_discrepancy(snapshot, event)
    if kind is not None and not _is_accepted(event, kind):
        return Transition(Outcome.MISMATCH, topics=(Topic.ALERT_AMOUNT,), discrepancies=(kind,))
    # A manual verification or a guess does not close the provider's object: its own status is still polled.
    provider_open = None if event.source.is_person or event.is_guess else False
    transition = Transition(
        Outcome.MOVED,
        PaymentStatus.COMPLETED,
        topics=(Topic.PAYMENT_RECEIVED,),
        provider_open=provider_open,
    )
    if _is_late(snapshot, event):
        transition = _add(transition, Topic.ALERT_LATE, DiscrepancyKind.LATE_PAYMENT, late=True)
    return _settle_participant(transition, snapshot)


def _is_late(snapshot: PaymentSnapshot, event: PaymentEvent) -> bool:
    """Return True for money after the end.

    A QR whose answer was lost is cancelled at once: what an operator verifies for it afterwards is not late.
    """
    given_up = snapshot.status is PaymentStatus.CANCELLED and not snapshot.cancel_requested
    if given_up and snapshot.provider_payment is None and event.source.is_person:
        return False
    return snapshot.status in (PaymentStatus.EXPIRED, PaymentStatus.CANCELLED)


def _amount_discrepancy(snapshot: PaymentSnapshot, event: PaymentEvent) -> DiscrepancyKind | None:
    """Return how the received money differs from the charge; ``None`` if it does not."""
    if event.money_unreadable is None and event.money in (None, snapshot.charged):
        return None
    currency = event.money.currency if event.money else snapshot.charged.currency
    same_currency = currency is snapshot.charged.currency and not event.currency_unknown
    return DiscrepancyKind.AMOUNT_MISMATCH if same_currency else DiscrepancyKind.CURRENCY_MISMATCH


def _is_accepted(event: PaymentEvent, kind: DiscrepancyKind) -> bool:
    """Return True if an operator accepted the amount. A different currency cannot be accepted."""
    return event.amount_accepted and event.money is not None and kind is DiscrepancyKind.AMOUNT_MISMATCH


def _settle_participant(transition: Transition, snapshot: PaymentSnapshot) -> Transition:
    is_in_cash = snapshot.is_marked_paid and not snapshot.moved_away
    if snapshot.settled_by not in (None, snapshot.payment_id) or is_in_cash:
        return _add(transition, Topic.ALERT_DUPLICATE, DiscrepancyKind.DUPLICATE_PAYMENT, duplicate=True)
    unknown = isinstance(snapshot.participant_status, UnknownLabel)
    if unknown and snapshot.settled_by == snapshot.payment_id:
        return transition  # linked already, under a status of the platform's own
    if snapshot.moved_away or unknown or snapshot.participant_status in (None, ParticipantStatus.CANCELLED):
        # The registration was cancelled, deleted, moved, or has a status that we do not know: left for manual
        # review, not marked as paid.
        return _add(transition, Topic.ALERT_PARTICIPANT, DiscrepancyKind.PARTICIPANT_MISMATCH)
    return replace(transition, activates=True)


def _add(
    transition: Transition,
    topic: Topic,
    kind: DiscrepancyKind,
    *,
    late: bool = False,
    duplicate: bool = False,
) -> Transition:
    return replace(
        transition,
        topics=(*transition.topics, topic),
        discrepancies=(*transition.discrepancies, kind),
        late=transition.late or late,
        duplicate=transition.duplicate or duplicate,
    )


def _unplaced(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:  # noqa: ARG001 - has the signature of a rule
    """Mark the participant of a COMPLETED payment as paid, after reconciliation found that it was not."""
    free = snapshot.settled_by in (None, snapshot.payment_id) and snapshot.participant_status in (
        ParticipantStatus.REGISTERED,
        ParticipantStatus.PAID,
    )
    is_marked = (snapshot.participant_status, snapshot.settled_by) == (
        ParticipantStatus.PAID,
        snapshot.payment_id,
    )
    if snapshot.is_marked_paid and snapshot.is_duplicate:
        return Transition(Outcome.ALREADY)
    if snapshot.status is not PaymentStatus.COMPLETED or snapshot.moved_away or is_marked or not free:
        return Transition(Outcome.ALREADY)
    return Transition(Outcome.NOTED, activates=True)


_RULES: dict[EventType, Callable[[PaymentSnapshot, PaymentEvent], Transition]] = {
    EventType.OPENED: _opened,
    EventType.RETRIABLE: _retriable,
    EventType.PROCESSING: _processing,
    EventType.SUCCEEDED: _succeeded,
    EventType.FAILED: _failed,
    EventType.CANCELLED: _cancelled,
    EventType.EXPIRED: _expired,
    EventType.UNPLACED: _unplaced,
}
