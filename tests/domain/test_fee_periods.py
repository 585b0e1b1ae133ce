"""Fees that hold on some days: whole local days, and no two at once."""

from __future__ import annotations

from datetime import date, datetime
from zoneinfo import ZoneInfo

import pytest

from procomp_pay.domain.entry_fees import EntryFees, FeeKind, FeePeriod, FeeSchedule, check_period
from procomp_pay.domain.errors import InvalidAmount, Refused
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.period import Period

ALMATY, BERLIN = ZoneInfo("Asia/Almaty"), ZoneInfo("Europe/Berlin")
KZT, USD = Money.parse("24000", "KZT"), Money.parse("50", "USD")
BASE = EntryFees("t1", KZT, {Currency.USD: USD})
FIRST, LAST = date(2026, 3, 1), date(2026, 3, 31)


def early(zone: ZoneInfo = ALMATY, **changes: object) -> FeePeriod:
    values = {"since": FIRST, "until": LAST} | changes
    return FeePeriod(FeeKind.EARLY, Money.parse("20000", "KZT"), Period(zone, **values))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("zone", "at", "fee"),
    [
        (ALMATY, "2026-02-28T18:59:59.999999+00:00", "24000"),
        (ALMATY, "2026-02-28T19:00:00+00:00", "20000"),  # 00:00 at UTC+5
        (ALMATY, "2026-03-31T18:59:59.999999+00:00", "20000"),
        (ALMATY, "2026-03-31T19:00:00+00:00", "24000"),
        (BERLIN, "2026-02-28T22:59:59+00:00", "24000"),
        (BERLIN, "2026-02-28T23:00:00+00:00", "20000"),  # UTC+1
        (BERLIN, "2026-03-31T21:59:59+00:00", "20000"),
        (BERLIN, "2026-03-31T22:00:00+00:00", "24000"),  # UTC+2: clocks were put forward on the 29th
    ],
)
def test_a_fee_holds_from_local_midnight_to_local_midnight(zone: ZoneInfo, at: str, fee: str) -> None:
    now = FeeSchedule(BASE, [early(zone)]).at(datetime.fromisoformat(at))
    assert now.main == Money.parse(fee, "KZT")
    assert now.in_currency(Currency.USD) == USD


def test_an_open_end_holds_for_ever_and_a_currency_without_a_fee_has_none() -> None:
    moment = datetime(2026, 6, 1, tzinfo=ALMATY)
    assert FeeSchedule(BASE, [early(until=None)]).at(moment).main.amount == 20000
    assert FeeSchedule(BASE, [early(since=None)]).at(moment).main == KZT
    euros = FeePeriod(FeeKind.LATE, Money.parse("60", "EUR"), Period(ALMATY))
    assert FeeSchedule(BASE, [euros]).at(moment) == BASE
    dollars = FeePeriod(FeeKind.LATE, Money.parse("60", "USD"), Period(ALMATY))
    assert FeeSchedule(BASE, [dollars]).at(moment).others == {Currency.USD: dollars.fee}


@pytest.mark.parametrize(
    ("since", "until", "fits"),
    [
        (date(2026, 4, 1), None, True),  # the day after
        (LAST, None, False),
        (None, FIRST, False),
        (None, date(2026, 2, 28), True),
        (date(2026, 3, 10), date(2026, 3, 11), False),
        (None, None, False),
    ],
)
def test_two_fees_of_a_currency_do_not_hold_at_once(since: date, until: date, fits: bool) -> None:
    late = FeePeriod(FeeKind.LATE, Money.parse("30000", "KZT"), Period(ALMATY, since, until))
    schedule = FeeSchedule(BASE, [early()])
    if fits:
        check_period(late, schedule)
    else:
        with pytest.raises(Refused, match="late fee and the early fee"):
            check_period(late, schedule)
    # in another currency, or in place of itself, it does
    check_period(FeePeriod(FeeKind.LATE, USD, late.days), schedule)
    check_period(FeePeriod(FeeKind.EARLY, KZT, late.days), schedule)


@pytest.mark.parametrize(("amount", "currency"), [("0", "KZT"), ("-1", "KZT"), ("100.50", "KZT")])
def test_a_fee_that_nobody_can_pay_is_refused(amount: str, currency: str) -> None:
    with pytest.raises(InvalidAmount):
        check_period(
            FeePeriod(FeeKind.LATE, Money.parse(amount, currency), Period(ALMATY)), FeeSchedule(BASE)
        )


def test_a_currency_without_a_fee_and_days_that_end_before_they_begin_are_refused() -> None:
    with pytest.raises(Refused, match="no entry fee in EUR"):
        check_period(FeePeriod(FeeKind.LATE, Money.parse("60", "EUR"), Period(ALMATY)), FeeSchedule(BASE))
    with pytest.raises(Refused, match="is before"):
        Period(ALMATY, LAST, FIRST)
