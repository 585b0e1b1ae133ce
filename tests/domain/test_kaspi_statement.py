"""Lines of Kaspi's statement and the payments that they are about."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.kaspi_statement import SLACK, Candidate, How, Unmatched, Verdict, decide, match
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.statement import LineKind, StatementLine

NOON = datetime(2026, 10, 1, 7, 0, tzinfo=UTC)
FEE = Money(Decimal(24000), Currency.KZT)


def line(number: int = 1, **changes: Any) -> StatementLine:
    made = StatementLine(number, LineKind.PAYMENT, f"9{number}", NOON + timedelta(minutes=1), FEE)
    return replace(made, **changes)


def payment(name: str = "a", **changes: Any) -> Candidate:
    return replace(Candidate(name, FEE, NOON, NOON + timedelta(minutes=5)), **changes)


def verdicts(lines: list[StatementLine], candidates: list[Candidate]) -> list[Verdict]:
    return match(lines, dict.fromkeys(range(len(lines)), candidates))


@pytest.mark.parametrize(
    ("candidate", "how"),
    [
        (payment(operations=frozenset({"91"}), charged=Money(Decimal(1), Currency.KZT)), How.OPERATION),
        (payment(qr_payment_id="91", since=NOON - timedelta(days=9)), How.PAYMENT_ID),
        (payment(), How.AMOUNT_AND_TIME),
        (payment(qr_payment_id="55"), How.AMOUNT_AND_TIME),
        (payment(operations=frozenset({"77"})), None),
        (payment(charged=Money(Decimal("24000.01"), Currency.KZT)), None),
        (payment(charged=Money(Decimal(24000), Currency.RUB)), None),
        (payment(since=NOON + timedelta(minutes=1) + SLACK), How.AMOUNT_AND_TIME),
        (payment(since=NOON + timedelta(minutes=1, seconds=1) + SLACK), None),
        (payment(until=NOON + timedelta(minutes=1) - SLACK), How.AMOUNT_AND_TIME),
        (payment(until=NOON + timedelta(seconds=59) - SLACK), None),
    ],
)
def test_what_ties_a_line_to_a_payment(candidate: Candidate, how: How | None) -> None:
    verdict = decide(line(), [candidate])
    assert verdict.how is how
    assert verdict.payment_id == ("a" if how else None)
    assert verdicts([line()], [candidate]) == [verdict]


def test_a_number_beats_amount_and_time() -> None:
    known = payment("b", operations=frozenset({"91"}))
    assert decide(line(), [payment("a"), known]).payment_id == "b"
    by_id = payment("c", qr_payment_id="123")
    assert decide(line(payment_ref="123"), [payment("a"), by_id]).payment_id == "c"


def test_another_payments_id_rules_amount_out() -> None:
    assert decide(line(payment_ref="123"), [payment(qr_payment_id="124")]).why is Unmatched.NONE_FITS


def test_two_candidates_are_named_and_none_is_taken() -> None:
    verdict = decide(line(), [payment("b"), payment("a")])
    assert (verdict.payment_id, verdict.why, verdict.rivals) == (None, Unmatched.AMBIGUOUS, ("a", "b"))


def test_two_lines_for_one_payment_are_named_and_none_has_it() -> None:
    first, second = verdicts([line(1), line(2)], [payment()])
    for verdict in (first, second):
        assert (verdict.payment_id, verdict.why) == (None, Unmatched.AMBIGUOUS)
        assert (verdict.rivals, verdict.rival_lines) == (("a",), (1, 2))


def test_a_payment_that_a_number_has_is_none_for_another_line() -> None:
    known = payment("a", operations=frozenset({"91"}))
    first, second = verdicts([line(1), line(2)], [known, payment("b")])
    assert (first.payment_id, second.payment_id) == ("a", "b")
    by_id = payment("a", qr_payment_id="91")
    first, second = verdicts([line(1), line(2)], [by_id])
    assert (first.payment_id, second.why) == ("a", Unmatched.NONE_FITS)


def test_two_operations_for_one_kaspi_payment_are_for_a_person() -> None:
    known = payment("a", qr_payment_id="5", operations=frozenset({"91"}))
    settled, other = verdicts([line(1), line(2, payment_ref="5")], [known])
    assert settled.payment_id == "a"
    assert (other.why, other.rivals) == (Unmatched.AMBIGUOUS, ("a",))
    twice = verdicts([line(1, payment_ref="5"), line(2, payment_ref="5")], [payment(qr_payment_id="5")])
    assert {each.why for each in twice} == {Unmatched.AMBIGUOUS}


def test_a_line_whose_number_two_payments_bear_is_not_settled_by_amount() -> None:
    both = [payment(name, operations=frozenset({"91"})) for name in "ab"]
    assert verdicts([line()], [*both, payment("c")])[0].rivals == ("a", "b")


def test_refunds_are_matched_by_numbers_alone() -> None:
    back = line(kind=LineKind.REFUND)
    assert decide(back, [payment()]).why is Unmatched.NONE_FITS
    assert decide(back, [payment(refunds=frozenset({"91"}))]).how is How.REFUND
    purchase = replace(back, payment_ref="77")
    assert decide(purchase, [payment(operations=frozenset({"77"}))]).payment_id == "a"
    # several refunds of one payment do not contest it
    two = [replace(purchase, number=n, ref=f"9{n}") for n in (1, 2)]
    assert [each.payment_id for each in verdicts(two, [payment(qr_payment_id="77")])] == ["a", "a"]


def test_other_lines_match_nothing() -> None:
    fee = line(kind=LineKind.OTHER)
    assert decide(fee, [payment(qr_payment_id="91")]).why is Unmatched.NOT_A_PAYMENT


_small = st.integers(0, 3)
_lines = st.lists(
    st.builds(
        lambda minute, ref, paid, amount, kind: line(
            ref=f"r{ref}" if ref else "",
            payment_ref=f"q{paid}" if paid else None,
            at=NOON + timedelta(minutes=minute),
            money=Money(Decimal(amount + 1), Currency.KZT),
            kind=kind,
        ),
        st.integers(0, 20), _small, _small, st.integers(0, 1),
        st.sampled_from([*[LineKind.PAYMENT] * 3, LineKind.REFUND, LineKind.OTHER]),
    ),
    max_size=6,
)  # fmt: skip
_payments = st.lists(
    st.builds(
        lambda name, minute, qr, operations, amount: Candidate(
            f"p{name}",
            Money(Decimal(amount + 1), Currency.KZT),
            NOON + timedelta(minutes=minute),
            NOON + timedelta(minutes=minute + 5),
            f"q{qr}" if qr else None,
            frozenset(f"r{each}" for each in operations),
        ),
        st.integers(0, 9), st.integers(0, 20), _small, st.sets(st.integers(1, 3), max_size=1),
        st.integers(0, 1),
    ),
    max_size=6,
    unique_by=lambda each: each.payment_id,
)  # fmt: skip


@given(lines=_lines, payments=_payments, chance=st.randoms(use_true_random=False))
def test_one_line_one_payment_whatever_the_order(
    lines: list[StatementLine], payments: list[Candidate], chance: Any
) -> None:
    lines = [replace(each, number=n) for n, each in enumerate(lines, 1)]
    found = verdicts(lines, payments)
    assert [each.line for each in found] == lines
    paid = [each.payment_id for each in found if each.line.kind is LineKind.PAYMENT and each.payment_id]
    assert len(paid) == len(set(paid))
    for each in found:
        assert (each.payment_id is None) == (each.how is None) == (each.why is not None)
        if each.how is How.AMOUNT_AND_TIME:
            candidate = next(c for c in payments if c.payment_id == each.payment_id)
            assert candidate.charged == each.line.money
            assert candidate.lived_at(each.line.at)
            others = [c for c in payments if c is not candidate and decide(each.line, [c]).is_matched]
            assert not {c.payment_id for c in others} - set(paid)
    mixed = lines[:]
    chance.shuffle(mixed)
    chance.shuffle(payments)
    again = {each.line.number: each for each in verdicts(mixed, payments)}
    assert [again[each.line.number] for each in found] == found
