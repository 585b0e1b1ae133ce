"""What goes back by the day: steps by date or before the start, shares, and sums that are kept."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.errors import InvalidAmount, Refused
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.refund_policy import (
    RefundPolicy,
    RefundStep,
    amount_back,
    checked_steps,
    read_step,
)

ALMATY = ZoneInfo("Asia/Almaty")
START = datetime(2026, 5, 15, 9, tzinfo=ALMATY)
STEPS = [read_step(text, Currency.KZT) for text in ("14d:100", "2026-05-12:50:2000")]
FEE = Money.parse("24000", "KZT")
NOTHING = Decimal(0)


def test_steps_are_read_as_they_are_typed() -> None:
    assert list(STEPS) == [
        RefundStep(100, days_before=14),
        RefundStep(50, Money.parse("2000", "KZT"), date(2026, 5, 12)),
    ]
    assert read_step(" 3d : 0 % ", Currency.USD) == RefundStep(0, days_before=3)
    for wrong in ("", "14d", "14d:101", "d:5", "2026-02-30:50", "5:50", "9999d:1", "-1d:50", "14d:50:"):
        with pytest.raises(Refused, match="step of a refund policy"):
            read_step(wrong, Currency.KZT)
    for wrong in ("3d:50:x", "3d:50:0", "3d:50:-5"):
        with pytest.raises(InvalidAmount):
            read_step(wrong, Currency.KZT)


@pytest.mark.parametrize(
    ("at", "back"),
    [
        ("2026-05-01T18:59:59+00:00", "24000"),  # the last second of May 1 in Almaty
        ("2026-05-01T19:00:00+00:00", "10000"),
        ("2026-05-12T18:59:59+00:00", "10000"),
        ("2026-05-12T19:00:00+00:00", "0"),
    ],
)
def test_a_step_holds_until_local_midnight(at: str, back: str) -> None:
    rule = RefundPolicy(STEPS, ALMATY).rule(START, datetime.fromisoformat(at))
    assert rule is not None
    assert amount_back(rule[0], FEE, NOTHING) == Money(Decimal(back), Currency.KZT)


def test_amounts_are_whole_tenge_less_what_went_back_and_never_below_zero() -> None:
    half = STEPS[1]
    assert amount_back(half, FEE, Decimal(4000)).amount == 6000
    assert amount_back(half, FEE, Decimal(20000)).amount == 0
    assert amount_back(half, Money.parse("1000", "KZT"), NOTHING).amount == 0
    assert amount_back(RefundStep(33), Money.parse("2501", "KZT"), NOTHING).amount == 825
    assert amount_back(RefundStep(33), Money.parse("50.05", "USD"), NOTHING).amount == Decimal("16.52")
    # a sum in tenge is not kept of dollars
    assert amount_back(half, Money.parse("50", "USD"), NOTHING).amount == 25


def test_a_start_that_is_unknown_makes_no_rule() -> None:
    policy = RefundPolicy(STEPS, ALMATY)
    assert policy.rule(None, START) is None
    assert RefundPolicy(STEPS[1:], ALMATY).rule(None, START) == (None, date(2026, 5, 12))
    with pytest.raises(Refused, match="start is unknown"):
        checked_steps(STEPS, None)


def test_two_steps_of_one_day_are_refused_and_the_others_sorted() -> None:
    start = START.date()
    assert checked_steps(STEPS[::-1], start) == STEPS
    with pytest.raises(Refused, match="end on one day"):
        checked_steps([RefundStep(50, days_before=3), RefundStep(20, until=date(2026, 5, 12))], start)
