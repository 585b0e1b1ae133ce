"""Test matching Kaspi lines without a known number by amount and time."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from procomp_pay.domain.kaspi_schedule import MARGIN, schedule_for
from procomp_pay.domain.reconciliation.amount_time_match import SLACK, PossibleMatch, match_certain
from procomp_pay.domain.states import Channel

NOON = datetime(2026, 10, 1, 7, 0, tzinfo=UTC)


def life(created_at: datetime, channel: Channel = Channel.KASPI_QR, **more: Any) -> Any:
    known = {"expires_at": None, "scanned_at": None, "scan_timeout_s": 180, "confirm_timeout_s": 65}
    return schedule_for(channel, created_at, **{**known, **more})


def fit(line: str = "91", payment: str = "a", after: float = 60, **changes: Any) -> PossibleMatch:
    """Return a pair of a payment and a line so many seconds after its start."""
    return replace(PossibleMatch(line, NOON + timedelta(seconds=after), payment, NOON, life(NOON)), **changes)


END = (180 + 65) + MARGIN.total_seconds()


@pytest.mark.parametrize(
    ("pair", "fits"),
    [
        (fit(), True),
        (fit(after=-SLACK.total_seconds()), True),
        (fit(after=-SLACK.total_seconds() - 1), False),
        (fit(after=END + SLACK.total_seconds()), True),
        (fit(after=END + SLACK.total_seconds() + 1), False),
        # an invoice is open for a day: its end says so
        (fit(after=20 * 3600, life=life(NOON, Channel.KASPI_REMOTE)), True),
        (fit(after=25 * 3600, life=life(NOON, Channel.KASPI_REMOTE)), False),
    ],
)
def test_a_line_must_lie_within_the_validity_window(pair: PossibleMatch, fits: bool) -> None:
    assert match_certain([pair]) == ({"91": "a"} if fits else {}, {})


def test_a_line_that_fits_two_payments_is_not_matched() -> None:
    assert match_certain([fit(payment="b"), fit(payment="a")]) == ({}, {"91": ("a", "b")})


def test_a_payment_that_fits_two_lines_is_not_matched() -> None:
    assert match_certain([fit("91"), fit("92")]) == ({}, {"91": ("a",), "92": ("a",)})


def test_a_payment_unpaid_at_kaspi_is_neither_matched_nor_blocks_a_match() -> None:
    dead = fit(payment="dead", can_be_paid=False)
    assert match_certain([dead]) == ({}, {"91": ("dead",)})
    assert match_certain([dead, fit()]) == ({"91": "a"}, {})


_fits = st.lists(
    st.builds(
        lambda line, payment, minute, can_be_paid: fit(
            f"r{line}", f"p{payment}", 60 * minute, can_be_paid=can_be_paid
        ),
        st.integers(0, 3), st.integers(0, 3), st.integers(-5, 15), st.booleans(),
    ),
    max_size=8,
    unique_by=lambda each: (each.line, each.payment_id),
)  # fmt: skip


@given(pairs=_fits, chance=st.randoms(use_true_random=False))
def test_the_result_does_not_depend_on_the_order(pairs: list[PossibleMatch], chance: Any) -> None:
    certain, doubtful = match_certain(pairs)
    assert len(set(certain.values())) == len(certain)
    assert certain.keys() | doubtful.keys() == {pair.line for pair in pairs if pair.is_within_window}
    assert not certain.keys() & doubtful.keys()
    for line, payment_id in certain.items():
        rivals = [e for e in pairs if e.is_within_window and (e.line == line) != (e.payment_id == payment_id)]
        assert not [e for e in rivals if e.can_be_paid or e.payment_id == payment_id]
    mixed = pairs[:]
    chance.shuffle(mixed)
    assert match_certain(mixed) == (certain, doubtful)
