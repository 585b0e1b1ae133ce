"""The rules, over every pair of states and every kind of news."""

from datetime import UTC, datetime, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.events import Fact, News, ProviderIds, Source
from procomp_pay.domain.money import Money
from procomp_pay.domain.states import MOVES, ParticipantStatus, PaymentStatus, may_move
from procomp_pay.domain.transitions import DiscrepancyKind, Outcome, Standing, Topic, decide

S, N = PaymentStatus, News
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
def test_every_pair_of_states(before: S, after: S) -> None:
    assert may_move(before, after) is ((before, after) in ALLOWED)


def test_every_state_is_in_the_table() -> None:
    assert set(MOVES) == set(S)


def standing(status: S = S.PENDING, **changes: object) -> Standing:
    values = {
        "payment_id": "p1",
        "status": status,
        "charged": FEE,
        "participant_status": ParticipantStatus.REGISTERED,
        "settled_by": None,
        "provider_open": True,
    }
    return Standing(**(values | changes))  # type: ignore[arg-type]


def fact(news: N, at: datetime = T0, **changes: object) -> Fact:
    values = {"payment_id": "p1", "news": news, "at": at, "source": Source.STRIPE_WEBHOOK, "actor": "stripe"}
    return Fact(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(("status", "news"), list(product(S, N)))
def test_no_pair_leaves_the_table(status: S, news: N) -> None:
    verdict = decide(standing(status), fact(news, money=FEE))
    assert verdict.status is None or (status, verdict.status) in ALLOWED


@pytest.mark.parametrize("status", [S.PENDING, S.PROCESSING, S.FAILED])
def test_money_completes_and_activates(status: S) -> None:
    verdict = decide(standing(status), fact(N.SUCCEEDED, money=FEE))
    assert (verdict.status, verdict.activates, verdict.late) == (S.COMPLETED, True, False)
    assert verdict.topics == (Topic.PAYMENT_RECEIVED,)


@pytest.mark.parametrize("status", [S.EXPIRED, S.CANCELLED])
def test_money_after_the_end_is_taken_and_flagged_late(status: S) -> None:
    verdict = decide(standing(status, provider_open=False), fact(N.SUCCEEDED, money=FEE))
    assert (verdict.status, verdict.activates, verdict.late) == (S.COMPLETED, True, True)
    assert Topic.ALERT_LATE in verdict.topics
    assert verdict.discrepancies == (DiscrepancyKind.LATE_PAYMENT,)


def test_a_second_payment_is_kept_and_takes_no_place() -> None:
    verdict = decide(standing(settled_by="p0", participant_status=ParticipantStatus.PAID), fact(N.SUCCEEDED))
    assert (verdict.status, verdict.duplicate, verdict.activates) == (S.COMPLETED, True, False)
    assert Topic.ALERT_DUPLICATE in verdict.topics
    assert verdict.discrepancies == (DiscrepancyKind.DUPLICATE_PAYMENT,)


@pytest.mark.parametrize("gone", [None, ParticipantStatus.CANCELLED])
def test_money_for_a_registration_that_is_gone(gone: ParticipantStatus | None) -> None:
    verdict = decide(standing(participant_status=gone), fact(N.SUCCEEDED))
    assert (verdict.status, verdict.activates) == (S.COMPLETED, False)
    assert verdict.discrepancies == (DiscrepancyKind.PARTICIPANT_MISMATCH,)


@pytest.mark.parametrize(
    ("paid", "kind"),
    [
        (Money.parse("49.99", "USD"), DiscrepancyKind.AMOUNT_MISMATCH),
        (Money.parse("50", "KZT"), DiscrepancyKind.CURRENCY_MISMATCH),
    ],
)
def test_other_money_settles_nothing(paid: Money, kind: DiscrepancyKind) -> None:
    verdict = decide(standing(), fact(N.SUCCEEDED, money=paid))
    assert (verdict.outcome, verdict.status, verdict.activates) == (Outcome.MISMATCH, None, False)
    assert verdict.discrepancies == (kind,)


@pytest.mark.parametrize("status", [S.COMPLETED, S.REFUNDED])
@pytest.mark.parametrize("news", list(N))
def test_what_is_settled_stays(status: S, news: N) -> None:
    """Late and repeated events never move a payment backwards; a late `succeeded` undoes no refund."""
    assert decide(standing(status, provider_open=False), fact(news, T0 + timedelta(hours=1))).status is None


def test_an_older_failure_does_not_undo_a_newer_try() -> None:
    now = standing(S.PROCESSING, news_at=T0)
    assert decide(now, fact(N.FAILED, T0 - timedelta(seconds=1))).outcome is Outcome.STALE
    assert decide(now, fact(N.FAILED, T0)).status is S.FAILED
    assert decide(standing(S.FAILED, news_at=T0), fact(N.PROCESSING, T0)).outcome is Outcome.STALE


def test_a_closed_session_is_cancelled_where_somebody_asked() -> None:
    assert decide(standing(), fact(N.EXPIRED, final_at_provider=True)).status is S.EXPIRED
    asked = decide(standing(cancel_requested=True), fact(N.EXPIRED, final_at_provider=True))
    assert (asked.status, asked.provider_open) == (S.CANCELLED, False)


def test_a_failed_payment_whose_session_closes_is_waited_for_no_more() -> None:
    verdict = decide(standing(S.FAILED), fact(N.EXPIRED, final_at_provider=True))
    assert (verdict.outcome, verdict.status, verdict.provider_open) == (Outcome.NOTED, None, False)


def test_a_second_object_brings_news_only_by_its_money() -> None:
    other = ProviderIds(payment_intent="pi_2")
    known = standing(provider_payment="pi_1")
    assert decide(known, fact(N.CANCELLED, ids=other, final_at_provider=True)).outcome is Outcome.STALE
    assert decide(known, fact(N.SUCCEEDED, ids=other, money=FEE)).status is S.COMPLETED
    done = decide(standing(S.COMPLETED, provider_payment="pi_1"), fact(N.SUCCEEDED, ids=other, money=FEE))
    assert done.outcome is Outcome.MISMATCH
    assert done.discrepancies == (DiscrepancyKind.DUPLICATE_PAYMENT,)


def test_a_lost_answer_that_is_found_again_is_watched() -> None:
    verdict = decide(standing(S.EXPIRED, provider_open=False), fact(N.OPENED))
    assert (verdict.status, verdict.provider_open) == (None, True)


@given(st.permutations([N.PROCESSING, N.FAILED, N.RETRIABLE, N.SUCCEEDED, N.SUCCEEDED, N.PROCESSING]))
def test_money_wins_in_every_order(order: list[N]) -> None:
    times = {N.FAILED: 1, N.RETRIABLE: 2, N.PROCESSING: 3, N.SUCCEEDED: 4}
    now, activations = standing(), 0
    for news in order:
        verdict = decide(now, fact(news, T0 + timedelta(seconds=times[news]), money=FEE))
        activations += verdict.activates
        newest = max(now.news_at or T0, T0 + timedelta(seconds=times[news]))
        now = standing(verdict.status or now.status, news_at=newest)
    assert (now.status, activations) == (S.COMPLETED, 1)


def test_a_fact_has_a_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        fact(N.FAILED, datetime(2026, 5, 1))  # noqa: DTZ001
