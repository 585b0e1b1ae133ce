"""Matching payouts with bank lines: what is certain is matched, what is not stays open and is named."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from procomp_pay.domain.payouts import (
    BankFileRead,
    Credit,
    Expected,
    PayoutState,
    days_of,
    is_covered,
    match,
    state_of,
)


def day(number: int) -> date:
    return date(2026, 5, number)


def payout(key: str, on: int, amount: str, *words: str, provider: str = "kaspi") -> Expected:
    return Expected(key, provider, "KZT", Decimal(amount), day(on), words)


def line(key: str, on: int, amount: str, text: str = "Kaspi Pay") -> Credit:
    return Credit(key, day(on), "KZT", Decimal(amount), text)


def found(payouts: list[Expected], lines: list[Credit]) -> dict[str, tuple[str, ...]]:
    matches, _ = match(payouts, lines)
    return {each.line_id: each.payout_ids for each in matches}


def test_the_only_line_of_the_sum_is_the_payouts() -> None:
    assert found([payout("a", 1, "99.99")], [line("x", 2, "99.99"), line("y", 2, "100.00")]) == {"x": ("a",)}


@pytest.mark.parametrize(
    "wrong",
    [
        line("x", 2, "99.98"),
        line("x", 9, "99.99"),  # too late
        Credit("x", date(2026, 4, 30), "KZT", Decimal("99.99")),  # before it was made
        line("x", 2, "99.99", "STRIPE PAYMENTS"),
        Credit("x", day(2), "USD", Decimal("99.99")),
        line("x", 2, "-99.99"),
    ],
)
def test_what_does_not_fit_is_not_matched(wrong: Credit) -> None:
    assert match([payout("a", 1, "99.99")], [wrong]) == ([], [])


def test_two_payouts_of_one_sum_and_one_line_stay_open_and_are_named() -> None:
    matches, questions = match([payout("a", 1, "50.00"), payout("b", 2, "50.00")], [line("x", 3, "50.00")])
    assert matches == []
    assert [(q.payout_ids, q.line_ids) for q in questions] == [(("a", "b"), ("x",))]


def test_two_payouts_of_one_sum_are_told_apart_by_their_days() -> None:
    payouts = [payout("a", 1, "50.00"), payout("b", 2, "50.00")]
    assert found(payouts, [line("y", 2, "50.00"), line("x", 1, "50.00")]) == {"x": ("a",), "y": ("b",)}
    # a day late, the same days would tell the wrong ones
    assert found(payouts, [line("x", 2, "50.00"), line("y", 3, "50.00")]) == {}


def test_a_reference_decides_between_equal_sums() -> None:
    payouts = [payout("a", 1, "50.00", *days_of(day(1))), payout("b", 2, "50.00", *days_of(day(2)))]
    assert found(payouts, [line("x", 3, "50.00", "Kaspi Pay за 02.05.2026")]) == {"x": ("b",)}
    # the day of the line's own document is no reference
    assert found(payouts, [line("x", 2, "50.00", "Kaspi Pay от 02.05.2026")]) == {}
    both = [line("x", 4, "50.00", "Kaspi Pay за 02.05.2026"), line("y", 4, "50.00")]
    assert found(payouts, both) == {"x": ("b",), "y": ("a",)}


def test_a_named_payout_of_another_sum_is_a_question() -> None:
    matches, questions = match(
        [payout("a", 1, "50.00", "po_1", provider="stripe")], [line("x", 3, "49.50", "STRIPE po_1")]
    )
    assert (matches, questions[0].why) == ([], "the bank's sum differs by -0.50")


@pytest.mark.parametrize("text", ["STRIPE po_B", "STRIPE PAYOUT PO_BCD"])
def test_a_line_that_names_another_payout_is_not_matched_by_its_sum(text: str) -> None:
    payouts = [payout("a", 1, "50.00", "po_A", provider="stripe")]
    assert match(payouts, [line("x", 3, "50.00", text)]) == ([], [])
    assert found(payouts, [line("x", 3, "50.00", "STRIPE")]) == {"x": ("a",)}
    two = [*payouts, payout("c", 2, "20.00", "po_C", provider="stripe")]
    assert match(two, [line("x", 3, "70.00", text)]) == ([], [])


def test_a_line_of_another_day_is_not_matched_by_its_sum() -> None:
    payouts = [payout("a", 1, "50.00", *days_of(day(1)))]
    for text in ("Kaspi Pay за 02.05.2026", "Kaspi Pay за 02.05.26", "Kaspi Pay 2026-05-02"):
        assert match(payouts, [line("x", 3, "50.00", text)]) == ([], [])
    for text in ("Kaspi Pay за 01.05.2026", "Kaspi Pay от 03.05.2026", "Kaspi Pay по договору от 12.01.2024"):
        assert found(payouts, [line("x", 3, "50.00", text)]) == {"x": ("a",)}


@pytest.mark.parametrize("text", ["Иванов Иван Возврат займа", "Иванов Иван за 01.05.2026"])
def test_a_strangers_line_of_the_sum_is_a_question(text: str) -> None:
    matches, questions = match([payout("a", 1, "50.00", *days_of(day(1)))], [line("x", 3, "50.00", text)])
    assert matches == []
    assert [(q.payout_ids, q.line_ids) for q in questions] == [(("a",), ("x",))]
    assert questions[0].why == "the sum fits, but the line does not name the provider"


def test_one_line_may_bring_several_payouts_in_a_row() -> None:
    payouts = [payout("a", 1, "10.01"), payout("b", 2, "-3.00"), payout("c", 3, "20.00")]
    assert found(payouts, [line("x", 4, "27.01")]) == {"x": ("a", "b", "c")}
    assert found(payouts, [line("x", 4, "27.01", "Rent")]) == {}  # it names no provider
    assert found(payouts, [line("x", 4, "30.01")]) == {}  # a and c alone are not in a row


def test_several_sums_that_fit_one_line_stay_open() -> None:
    payouts = [payout(key, on, "10.00") for key, on in (("a", 1), ("b", 2), ("c", 3))]
    matches, questions = match(payouts, [line("x", 4, "20.00")])
    assert (matches, [q.why for q in questions]) == ([], ["several sums of payouts fit"])


@pytest.mark.parametrize(
    ("status", "today", "arrived", "state"),
    [
        ("paid", 4, None, PayoutState.ON_THE_WAY),
        ("paid", 7, None, PayoutState.MISSING),
        ("failed", 4, None, PayoutState.FAILED),
        ("paid", 4, "5.00", PayoutState.ARRIVED),
        ("failed", 4, "5.00", PayoutState.RETURNED),
        ("paid", 4, "4.00", PayoutState.DIFFERS),
    ],
)
def test_where_the_money_is(status: str, today: int, arrived: str | None, state: PayoutState) -> None:
    five = Decimal("5.00")
    by_bank = None if arrived is None else Decimal(arrived)
    given: dict[str, Any] = {"arrived": by_bank, "due": five}
    assert state_of(status, five, day(1), day(today), **given, covered=True) is state
    unknown = PayoutState.NO_BANK_LINES if state is PayoutState.MISSING else state
    assert state_of(status, five, day(1), day(today), **given, covered=False) is unknown


@pytest.mark.parametrize(
    ("files", "covered"),
    [
        ([], False),
        ([(None, None)], False),
        ([(1, 6)], True),
        ([(1, 5)], False),
        ([(2, 30)], False),
        ([(4, 9), (1, 3)], True),
        ([(1, 2), (4, 9)], False),  # a day between two files
    ],
)
def test_the_banks_files_cover_the_days_of_a_payout(files: list[tuple[Any, Any]], covered: bool) -> None:
    read = [
        BankFileRead(datetime.now(UTC), *(number and day(number) for number in numbers)) for numbers in files
    ]
    assert is_covered(day(1), read) is covered
