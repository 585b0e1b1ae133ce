"""The transition rules, for every pair of statuses and every type of event."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.discrepancies import DiscrepancyKind
from procomp_pay.domain.events import EventType, PaymentEvent, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import MOVES, ParticipantStatus, PaymentStatus, may_move
from procomp_pay.domain.topics import Topic
from procomp_pay.domain.transitions import Outcome, PaymentSnapshot, decide_transition

S, N = PaymentStatus, EventType
T0 = datetime(2026, 5, 1, 9, 0, tzinfo=UTC)
FEE = Money.parse("50", "USD")

ALLOWED = {
    (S.PENDING, S.PROCESSING), (S.PENDING, S.COMPLETED), (S.PENDING, S.FAILED), (S.PENDING, S.CANCELLED),
    (S.PENDING, S.EXPIRED), (S.PROCESSING, S.COMPLETED), (S.PROCESSING, S.FAILED),
    (S.PROCESSING, S.CANCELLED),
    (S.PROCESSING, S.EXPIRED), (S.FAILED, S.PENDING), (S.FAILED, S.PROCESSING), (S.FAILED, S.COMPLETED),
    (S.FAILED, S.CANCELLED), (S.EXPIRED, S.COMPLETED), (S.CANCELLED, S.COMPLETED), (S.COMPLETED, S.REFUNDED),
    (S.REFUNDED, S.COMPLETED),
}  # fmt: skip


@pytest.mark.parametrize(("before", "after"), list(product(S, S)))
def test_every_pair_of_statuses(before: S, after: S) -> None:
    assert may_move(before, after) is ((before, after) in ALLOWED)


def test_every_status_is_in_the_table() -> None:
    assert set(MOVES) == set(S)


def snapshot(status: S = S.PENDING, **changes: object) -> PaymentSnapshot:
    values = {
        "payment_id": "p1",
        "status": status,
        "charged": FEE,
        "participant_status": ParticipantStatus.REGISTERED,
        "settled_by": None,
        "provider_open": True,
    }
    return PaymentSnapshot(**(values | changes))  # type: ignore[arg-type]


def event(event_type: N, at: datetime = T0, **changes: object) -> PaymentEvent:
    values = {
        "payment_id": "p1",
        "event_type": event_type,
        "at": at,
        "source": Source.STRIPE_WEBHOOK,
        "actor": "stripe",
    }
    return PaymentEvent(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "event_type"), list(product(S, N)))
def test_no_event_causes_a_forbidden_transition(status: S, event_type: N) -> None:
    transition = decide_transition(snapshot(status), event(event_type, money=FEE))
    assert transition.status is None or (status, transition.status) in ALLOWED


@pytest.mark.parametrize("status", [S.PENDING, S.PROCESSING, S.FAILED])
def test_received_money_completes_and_marks_the_participant(status: S) -> None:
    transition = decide_transition(snapshot(status), event(N.SUCCEEDED, money=FEE))
    assert (transition.status, transition.activates, transition.late) == (S.COMPLETED, True, False)
    assert transition.topics == (Topic.PAYMENT_RECEIVED,)


@pytest.mark.parametrize("status", [S.EXPIRED, S.CANCELLED])
def test_money_after_the_end_is_accepted_and_flagged_late(status: S) -> None:
    transition = decide_transition(snapshot(status, provider_open=False), event(N.SUCCEEDED, money=FEE))
    assert (transition.status, transition.activates, transition.late) == (S.COMPLETED, True, True)
    assert Topic.ALERT_LATE in transition.topics
    assert transition.discrepancies == (DiscrepancyKind.LATE_PAYMENT,)


def test_a_second_payment_is_completed_as_a_duplicate() -> None:
    transition = decide_transition(
        snapshot(settled_by="p0", participant_status=ParticipantStatus.PAID), event(N.SUCCEEDED)
    )
    assert (transition.status, transition.duplicate, transition.activates) == (S.COMPLETED, True, False)
    assert Topic.ALERT_DUPLICATE in transition.topics
    assert transition.discrepancies == (DiscrepancyKind.DUPLICATE_PAYMENT,)


@pytest.mark.parametrize(("moved", "kind"), [(False, "DUPLICATE_PAYMENT"), (True, "PARTICIPANT_MISMATCH")])
def test_money_for_a_fee_that_the_platform_took(*, moved: bool, kind: str) -> None:
    marked = snapshot(participant_status=ParticipantStatus.PAID, moved_away=moved)
    transition = decide_transition(marked, event(N.SUCCEEDED))
    assert (transition.status, transition.activates) == (S.COMPLETED, False)
    assert transition.discrepancies == (kind,)
    done = snapshot(S.COMPLETED, participant_status=ParticipantStatus.PAID, is_duplicate=True)
    assert decide_transition(done, event(N.UNPLACED)).outcome is Outcome.ALREADY


@pytest.mark.parametrize("gone", [None, ParticipantStatus.CANCELLED])
def test_money_for_a_deleted_or_cancelled_registration(gone: ParticipantStatus | None) -> None:
    transition = decide_transition(snapshot(participant_status=gone), event(N.SUCCEEDED))
    assert (transition.status, transition.activates) == (S.COMPLETED, False)
    assert transition.discrepancies == (DiscrepancyKind.PARTICIPANT_MISMATCH,)


@pytest.mark.parametrize(
    ("paid", "kind"),
    [
        (Money.parse("49.99", "USD"), DiscrepancyKind.AMOUNT_MISMATCH),
        (Money.parse("50", "KZT"), DiscrepancyKind.CURRENCY_MISMATCH),
    ],
)
def test_a_different_amount_or_currency_settles_nothing(paid: Money, kind: DiscrepancyKind) -> None:
    transition = decide_transition(snapshot(), event(N.SUCCEEDED, money=paid))
    assert (transition.outcome, transition.status, transition.activates) == (Outcome.MISMATCH, None, False)
    assert transition.discrepancies == (kind,)


@pytest.mark.parametrize("status", [S.COMPLETED, S.REFUNDED])
@pytest.mark.parametrize("event_type", list(N))
def test_a_paid_payment_keeps_its_status(status: S, event_type: N) -> None:
    """Late and repeated events never change it back; a late `succeeded` does not undo a refund."""
    assert (
        decide_transition(
            snapshot(status, provider_open=False), event(event_type, T0 + timedelta(hours=1))
        ).status
        is None
    )


def test_an_outdated_failure_does_not_undo_a_newer_attempt() -> None:
    now = snapshot(S.PROCESSING, news_at=T0)
    assert decide_transition(now, event(N.FAILED, T0 - timedelta(seconds=1))).outcome is Outcome.STALE
    assert decide_transition(now, event(N.FAILED, T0)).status is S.FAILED
    assert decide_transition(snapshot(S.FAILED, news_at=T0), event(N.PROCESSING, T0)).outcome is Outcome.STALE


def test_a_closed_session_is_cancelled_if_requested() -> None:
    assert decide_transition(snapshot(), event(N.EXPIRED, final_at_provider=True)).status is S.EXPIRED
    asked = decide_transition(snapshot(cancel_requested=True), event(N.EXPIRED, final_at_provider=True))
    assert (asked.status, asked.provider_open) == (S.CANCELLED, False)


def test_a_failed_payment_is_not_polled_after_its_session_closed() -> None:
    transition = decide_transition(snapshot(S.FAILED), event(N.EXPIRED, final_at_provider=True))
    assert (transition.outcome, transition.status, transition.provider_open) == (Outcome.NOTED, None, False)


def test_a_second_object_counts_only_if_it_received_money() -> None:
    other = ProviderIds(payment_intent="pi_2")
    known = snapshot(provider_payment="pi_1")
    assert (
        decide_transition(known, event(N.CANCELLED, ids=other, final_at_provider=True)).outcome
        is Outcome.STALE
    )
    assert decide_transition(known, event(N.SUCCEEDED, ids=other, money=FEE)).status is S.COMPLETED
    done = decide_transition(
        snapshot(S.COMPLETED, provider_payment="pi_1"), event(N.SUCCEEDED, ids=other, money=FEE)
    )
    assert done.outcome is Outcome.MISMATCH
    assert done.discrepancies == (DiscrepancyKind.DUPLICATE_PAYMENT,)


def test_an_object_found_after_a_lost_response_is_polled() -> None:
    transition = decide_transition(snapshot(S.EXPIRED, provider_open=False), event(N.OPENED))
    assert (transition.status, transition.provider_open) == (None, True)


@given(st.permutations([N.PROCESSING, N.FAILED, N.RETRIABLE, N.SUCCEEDED, N.SUCCEEDED, N.PROCESSING]))
def test_money_wins_in_every_order(order: list[N]) -> None:
    times = {N.FAILED: 1, N.RETRIABLE: 2, N.PROCESSING: 3, N.SUCCEEDED: 4}
    now, activations = snapshot(), 0
    for event_type in order:
        transition = decide_transition(
            now, event(event_type, T0 + timedelta(seconds=times[event_type]), money=FEE)
        )
        activations += transition.activates
        newest = max(now.news_at or T0, T0 + timedelta(seconds=times[event_type]))
        now = snapshot(transition.status or now.status, news_at=newest)
    assert (now.status, activations) == (S.COMPLETED, 1)


def test_an_event_needs_a_time_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        event(N.FAILED, datetime(2026, 5, 1))  # noqa: DTZ001
