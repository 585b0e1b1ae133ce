"""What follows from a fact: pure, total, and the same for every order of arrival that providers allow.

The door asks :func:`decide` under the payment's row lock and writes exactly what the verdict says.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from procomp_pay.domain.events import Fact, News
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
class Standing:
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
class Verdict:
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
    News.RETRIABLE: 0,
    News.PROCESSING: 1,
    News.FAILED: 2,
    PaymentStatus.PENDING: 0,
    PaymentStatus.PROCESSING: 1,
    PaymentStatus.FAILED: 2,
}


def decide(standing: Standing, fact: Fact) -> Verdict:
    """What follows from ``fact`` for the payment as it stands. Never raises for any pair.

    Refunds and disputes have rules of their own (:mod:`procomp_pay.domain.refunds`): not for this function.
    """
    if _is_of_another_object(standing, fact):
        return _from_another_object(standing, fact)
    rule = _RULES.get(fact.news)
    if rule is None:
        return Verdict(Outcome.STALE)
    verdict = rule(standing, fact)
    if verdict.status is not None and not may_move(standing.status, verdict.status):
        verdict = Verdict(Outcome.STALE)
    return _with_provider_end(verdict, standing, fact)


def _with_provider_end(verdict: Verdict, standing: Standing, fact: Fact) -> Verdict:
    """A provider's object that is closed stops being waited for, whatever else the fact brings."""
    if not (fact.final_at_provider and standing.provider_open):
        return verdict
    outcome = Outcome.NOTED if verdict.outcome in (Outcome.ALREADY, Outcome.STALE) else verdict.outcome
    return replace(verdict, outcome=outcome, provider_open=False)


def _is_of_another_object(standing: Standing, fact: Fact) -> bool:
    theirs = fact.ids.payment_intent or fact.ids.kaspi_payment
    return theirs is not None and standing.provider_payment not in (None, theirs)


def _from_another_object(standing: Standing, fact: Fact) -> Verdict:
    """News of a second object at the provider that names our payment. Only its money matters."""
    if fact.news is not News.SUCCEEDED:
        return Verdict(Outcome.STALE)
    if standing.status in PAID_STATUSES:
        return Verdict(
            Outcome.MISMATCH,
            topics=(Topic.ALERT_DUPLICATE,),
            discrepancies=(DiscrepancyKind.DUPLICATE_PAYMENT,),
        )
    return _succeeded(standing, fact)


def _opened(standing: Standing, fact: Fact) -> Verdict:
    if standing.provider_open or standing.status in PAID_STATUSES:
        return Verdict(Outcome.NOTED)
    # Learned after our own end (a lost answer, recovered): still watched, since money can come through it.
    return Verdict(Outcome.NOTED, provider_open=not fact.final_at_provider)


def _is_old(standing: Standing, fact: Fact) -> bool:
    """Older than what is known: providers deliver late and out of order. A provider's final word is never
    old: two clocks that differ must not keep a payment open for ever."""
    if fact.final_at_provider or standing.news_at is None or fact.at > standing.news_at:
        return False
    return fact.at < standing.news_at or _RANK[fact.news] < _RANK.get(standing.status, 0)


def _retriable(standing: Standing, fact: Fact) -> Verdict:
    if standing.status is not PaymentStatus.FAILED:
        return Verdict(Outcome.ALREADY if standing.status is PaymentStatus.PENDING else Outcome.STALE)
    return (
        Verdict(Outcome.STALE) if _is_old(standing, fact) else Verdict(Outcome.MOVED, PaymentStatus.PENDING)
    )


def _processing(standing: Standing, fact: Fact) -> Verdict:
    if standing.status is PaymentStatus.PROCESSING:
        return Verdict(Outcome.ALREADY)
    return (
        Verdict(Outcome.STALE)
        if _is_old(standing, fact)
        else Verdict(Outcome.MOVED, PaymentStatus.PROCESSING)
    )


def _failed(standing: Standing, fact: Fact) -> Verdict:
    if _is_old(standing, fact):
        return Verdict(Outcome.STALE)
    reason = fact.reason or "The provider gave no reason"
    if standing.status is PaymentStatus.FAILED:
        same = reason == standing.failure_reason
        return Verdict(Outcome.ALREADY) if same else Verdict(Outcome.NOTED, failure_reason=reason)
    return Verdict(Outcome.MOVED, PaymentStatus.FAILED, failure_reason=reason, topics=(Topic.PAYMENT_FAILED,))


def _cancelled(standing: Standing, fact: Fact) -> Verdict:
    if standing.status is PaymentStatus.CANCELLED:
        return Verdict(Outcome.ALREADY)
    return Verdict(Outcome.MOVED, PaymentStatus.CANCELLED, failure_reason=fact.reason)


def _expired(standing: Standing, fact: Fact) -> Verdict:
    if standing.cancel_requested:
        return _cancelled(standing, fact)
    if standing.status is PaymentStatus.EXPIRED:
        return Verdict(Outcome.ALREADY)
    return Verdict(
        Outcome.MOVED, PaymentStatus.EXPIRED, failure_reason=fact.reason, topics=(Topic.PAYMENT_EXPIRED,)
    )


def _succeeded(standing: Standing, fact: Fact) -> Verdict:
    # REFUNDED goes back only when the provider says that the refund failed: a `succeeded` that
    # arrives once more must not undo a refund.
    if standing.status in PAID_STATUSES:
        return Verdict(Outcome.ALREADY)
    kind = _misfit(standing, fact)
    if kind is not None and not _is_accepted(fact, kind):
        return Verdict(Outcome.MISMATCH, topics=(Topic.ALERT_AMOUNT,), discrepancies=(kind,))
    # A person's word, or a guess, closes nothing: what the provider says of its own object is waited for.
    still = None if fact.source.is_person or fact.is_guess else False
    verdict = Verdict(
        Outcome.MOVED, PaymentStatus.COMPLETED, topics=(Topic.PAYMENT_RECEIVED,), provider_open=still
    )
    if standing.status in (PaymentStatus.EXPIRED, PaymentStatus.CANCELLED):
        verdict = _add(verdict, Topic.ALERT_LATE, DiscrepancyKind.LATE_PAYMENT, late=True)
    return _settle_participant(verdict, standing)


def _misfit(standing: Standing, fact: Fact) -> DiscrepancyKind | None:
    """How the money differs from what was charged."""
    if fact.money_unreadable is None and fact.money in (None, standing.charged):
        return None
    same_currency = fact.money is None or fact.money.currency is standing.charged.currency
    return DiscrepancyKind.AMOUNT_MISMATCH if same_currency else DiscrepancyKind.CURRENCY_MISMATCH


def _is_accepted(fact: Fact, kind: DiscrepancyKind) -> bool:
    """Whether a person took it as it is. Never in another currency: an amount is relabelled by nobody."""
    return fact.amount_accepted and fact.money is not None and kind is DiscrepancyKind.AMOUNT_MISMATCH


def _settle_participant(verdict: Verdict, standing: Standing) -> Verdict:
    if standing.settled_by not in (None, standing.payment_id):
        return _add(verdict, Topic.ALERT_DUPLICATE, DiscrepancyKind.DUPLICATE_PAYMENT, duplicate=True)
    if standing.moved_away or standing.participant_status in (None, ParticipantStatus.CANCELLED):
        # Money for a registration that is gone, or that is another one now, takes no place; a person decides.
        return _add(verdict, Topic.ALERT_PARTICIPANT, DiscrepancyKind.PARTICIPANT_MISMATCH)
    return replace(verdict, activates=True)


def _add(
    verdict: Verdict, topic: Topic, kind: DiscrepancyKind, *, late: bool = False, duplicate: bool = False
) -> Verdict:
    return replace(
        verdict,
        topics=(*verdict.topics, topic),
        discrepancies=(*verdict.discrepancies, kind),
        late=verdict.late or late,
        duplicate=verdict.duplicate or duplicate,
    )


def _unplaced(standing: Standing, fact: Fact) -> Verdict:  # noqa: ARG001 - a rule like the others
    """The books are compared: a settled payment whose participant nobody activated."""
    who = (standing.participant_status, standing.settled_by)
    free = standing.settled_by in (None, standing.payment_id) and standing.participant_status in (
        ParticipantStatus.REGISTERED,
        ParticipantStatus.PAID,
    )
    is_placed = who == (ParticipantStatus.PAID, standing.payment_id)
    if standing.status is not PaymentStatus.COMPLETED or standing.moved_away or is_placed or not free:
        return Verdict(Outcome.ALREADY)
    return Verdict(Outcome.NOTED, activates=True)


_RULES: dict[News, Callable[[Standing, Fact], Verdict]] = {
    News.OPENED: _opened,
    News.RETRIABLE: _retriable,
    News.PROCESSING: _processing,
    News.SUCCEEDED: _succeeded,
    News.FAILED: _failed,
    News.CANCELLED: _cancelled,
    News.EXPIRED: _expired,
    News.UNPLACED: _unplaced,
}
