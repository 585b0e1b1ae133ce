"""What follows from a fact: pure, total, and the same for every order of arrival that providers allow.

The door asks :func:`decide_transition` under the payment's row lock and writes exactly what the verdict says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from procomp_pay.domain.events import EventType, PaymentEvent
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import PAID_STATUSES, ParticipantStatus, PaymentStatus, may_move


class Topic(StrEnum):
    """What an outbox row tells; a person gets the first ones, the desk's owners the alerts."""

    PAYMENT_RECEIVED = "payment.received"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_EXPIRED = "payment.expired"
    PAYMENT_REFUNDED = "payment.refunded"
    ALERT_LATE = "alert.late_payment"
    ALERT_DUPLICATE = "alert.duplicate_payment"
    ALERT_AMOUNT = "alert.amount_mismatch"
    ALERT_PARTICIPANT = "alert.participant_mismatch"
    ALERT_REFUND = "alert.refund_failed"
    ALERT_DISPUTE = "alert.dispute"
    ALERT_STUCK = "alert.stuck"
    ALERT_DEAD_LETTER = "alert.dead_letter"
    ALERT_DISCREPANCY = "alert.discrepancy"
    ALERT_CIRCUIT = "alert.circuit_open"
    ALERT_CERTIFICATE = "alert.certificate_ends"
    ALERT_STALLED = "alert.stalled"
    ALERT_STATUS = "alert.status_mismatch"
    ALERT_UNAPPLIED = "alert.unapplied_money"


class DiscrepancyKind(StrEnum):
    """How our books and a provider's can differ (SPEC 8)."""

    MISSING_LOCALLY = "MISSING_LOCALLY"
    MISSING_AT_PROVIDER = "MISSING_AT_PROVIDER"
    STATUS_MISMATCH = "STATUS_MISMATCH"
    AMOUNT_MISMATCH = "AMOUNT_MISMATCH"
    CURRENCY_MISMATCH = "CURRENCY_MISMATCH"
    REFUND_MISMATCH = "REFUND_MISMATCH"
    DUPLICATE_PAYMENT = "DUPLICATE_PAYMENT"
    LATE_PAYMENT = "LATE_PAYMENT"
    STUCK = "STUCK"
    PARTICIPANT_MISMATCH = "PARTICIPANT_MISMATCH"


class Outcome(StrEnum):
    """What the door did with a fact."""

    MOVED = "moved"  # the status changed
    NOTED = "noted"  # something about the payment was learned, its status stays
    ALREADY = "already"  # known before; nothing was written
    STALE = "stale"  # older than what is known, or not an allowed move; nothing was written
    MISMATCH = "mismatch"  # the money differs: kept for a person, the payment is not settled by it


@dataclass(frozen=True, slots=True)
class PaymentSnapshot:
    """What the rules need to know of a payment, read under its lock.

    :param settled_by: the payment that settles the participant, if any.
    :param participant_status: ``None`` when the participant is gone.
    :param provider_payment: the PaymentIntent's or Kaspi purchase's id that we know of.
    :param moved_away: the participant is registered for another tournament than was paid for.
    :param cancel_requested: somebody asked for the end: a session that closes is then cancelled, not expired.
    :param news_at: time of the newest provider news that was applied.
    """

    payment_id: str
    status: PaymentStatus
    charged: Money
    participant_status: ParticipantStatus | None
    settled_by: str | None
    provider_open: bool
    provider_payment: str | None = None
    cancel_requested: bool = False
    moved_away: bool = False
    news_at: datetime | None = None
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Transition:
    """What to write. ``status`` is ``None`` where it stays."""

    outcome: Outcome
    status: PaymentStatus | None = None
    failure_reason: str | None = None
    activates: bool = False
    late: bool = False
    duplicate: bool = False
    provider_open: bool | None = None
    topics: tuple[Topic, ...] = ()
    discrepancies: tuple[DiscrepancyKind, ...] = ()


# Two pieces of news of one second (Stripe counts in seconds): the further one wins.
_RANK = {
    EventType.RETRIABLE: 0,
    EventType.PROCESSING: 1,
    EventType.FAILED: 2,
    PaymentStatus.PENDING: 0,
    PaymentStatus.PROCESSING: 1,
    PaymentStatus.FAILED: 2,
}


def decide_transition(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    """What follows from ``fact`` for the payment as it stands. Never raises for any pair.

    Refunds and disputes have rules of their own (:mod:`procomp_pay.domain.refunds`): not for this function.
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
    """A provider's object that is closed stops being waited for, whatever else the fact brings."""
    if not (event.final_at_provider and snapshot.provider_open):
        return transition
    outcome = Outcome.NOTED if transition.outcome in (Outcome.ALREADY, Outcome.STALE) else transition.outcome
    return replace(transition, outcome=outcome, provider_open=False)


def _is_of_another_object(snapshot: PaymentSnapshot, event: PaymentEvent) -> bool:
    theirs = event.ids.payment_intent or event.ids.kaspi_payment
    return theirs is not None and snapshot.provider_payment not in (None, theirs)


def _from_another_object(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:
    """News of a second object at the provider that names our payment. Only its money matters."""
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
    # Learned after our own end (a lost answer, recovered): still watched, since money can come through it.
    return Transition(Outcome.NOTED, provider_open=not event.final_at_provider)


def _is_old(snapshot: PaymentSnapshot, event: PaymentEvent) -> bool:
    """Older than what is known: providers deliver late and out of order. A provider's final word is never
    old: two clocks that differ must not keep a payment open for ever."""
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
    # REFUNDED goes back only when the provider says that the refund failed: a `succeeded` that
    # arrives once more must not undo a refund.
    if snapshot.status in PAID_STATUSES:
        return Transition(Outcome.ALREADY)
    kind = _amount_discrepancy(snapshot, event)
    if kind is not None and not _is_accepted(event, kind):
        return Transition(Outcome.MISMATCH, topics=(Topic.ALERT_AMOUNT,), discrepancies=(kind,))
    # A person's word, or a guess, closes nothing: what the provider says of its own object is waited for.
    still = None if event.source.is_person or event.is_guess else False
    transition = Transition(
        Outcome.MOVED, PaymentStatus.COMPLETED, topics=(Topic.PAYMENT_RECEIVED,), provider_open=still
    )
    if snapshot.status in (PaymentStatus.EXPIRED, PaymentStatus.CANCELLED):
        transition = _add(transition, Topic.ALERT_LATE, DiscrepancyKind.LATE_PAYMENT, late=True)
    return _settle_participant(transition, snapshot)


def _amount_discrepancy(snapshot: PaymentSnapshot, event: PaymentEvent) -> DiscrepancyKind | None:
    """How the money differs from what was charged."""
    if event.money_unreadable is None and event.money in (None, snapshot.charged):
        return None
    same_currency = event.money is None or event.money.currency is snapshot.charged.currency
    return DiscrepancyKind.AMOUNT_MISMATCH if same_currency else DiscrepancyKind.CURRENCY_MISMATCH


def _is_accepted(event: PaymentEvent, kind: DiscrepancyKind) -> bool:
    """Whether a person took it as it is. Never in another currency: an amount is relabelled by nobody."""
    return event.amount_accepted and event.money is not None and kind is DiscrepancyKind.AMOUNT_MISMATCH


def _settle_participant(transition: Transition, snapshot: PaymentSnapshot) -> Transition:
    if snapshot.settled_by not in (None, snapshot.payment_id):
        return _add(transition, Topic.ALERT_DUPLICATE, DiscrepancyKind.DUPLICATE_PAYMENT, duplicate=True)
    if snapshot.moved_away or snapshot.participant_status in (None, ParticipantStatus.CANCELLED):
        # Money for a registration that is gone, or that is another one now, takes no place; a person decides.
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


def _unplaced(snapshot: PaymentSnapshot, event: PaymentEvent) -> Transition:  # noqa: ARG001 - a rule like the others
    """The books are compared: a settled payment whose participant nobody activated."""
    who = (snapshot.participant_status, snapshot.settled_by)
    free = snapshot.settled_by in (None, snapshot.payment_id) and snapshot.participant_status in (
        ParticipantStatus.REGISTERED,
        ParticipantStatus.PAID,
    )
    is_placed = who == (ParticipantStatus.PAID, snapshot.payment_id)
    if snapshot.status is not PaymentStatus.COMPLETED or snapshot.moved_away or is_placed or not free:
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
