"""Test the comparison of two sides: planted mismatches are found, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from procomp_pay.domain.discrepancies import DiscrepancyKind as K
from procomp_pay.domain.money import Currency, Money
from procomp_pay.domain.reconciliation.compare import match
from procomp_pay.domain.reconciliation.records import (
    LocalRecord,
    LocalRefund,
    Mismatch,
    ProviderRecord,
    ProviderState,
    RegistrationState,
    RepairAction,
)
from procomp_pay.domain.reconciliation.statement_line import LineKind
from procomp_pay.domain.refunds import DisputeState, RefundState
from procomp_pay.domain.states import PaymentStatus

NOW = datetime(2026, 5, 1, tzinfo=UTC)
Books = tuple[list[LocalRecord], list[ProviderRecord]]


def ours(number: int = 1, **more: object) -> LocalRecord:
    fields: dict[str, object] = {
        "key": f"pay{number:05}",
        "payment_id": f"pay{number:05}",
        "ref": f"pi_{number}",
        "status": PaymentStatus.COMPLETED,
        "money": Money(Decimal("50.00"), Currency.USD),
    }
    return LocalRecord(**{**fields, **more})  # type: ignore[arg-type]


def theirs(number: int = 1, **more: object) -> ProviderRecord:
    fields: dict[str, object] = {
        "key": f"pay{number:05}",
        "ref": f"pi_{number}",
        "kind": LineKind.PAYMENT,
        "stand": ProviderState.PAID,
        "at": NOW,
        "amount": Decimal("50.00"),
        "currency": "USD",
    }
    return ProviderRecord(**{**fields, **more})  # type: ignore[arg-type]


def refunded(number: int = 1, ref: str = "re_1", **more: object) -> ProviderRecord:
    fields: dict[str, object] = {"kind": LineKind.REFUND, "ref": ref, "payment_ref": f"pi_{number}"}
    return theirs(number, **{**fields, **more})


def our_refund(ref: str | None = "re_1", state: RefundState = RefundState.SUCCEEDED) -> LocalRefund:
    return LocalRefund("r1", ref, Decimal("50.00"), state)


def back(number: int = 1, **more: object) -> LocalRecord:
    """Return a payment that is fully refunded in our books."""
    fields: dict[str, object] = {
        "status": PaymentStatus.REFUNDED,
        "place": RegistrationState.FREE,
        "refunds": (our_refund(),),
    }
    return ours(number, **{**fields, **more})


def mismatches(mine: list[LocalRecord], records: list[ProviderRecord]) -> list[Mismatch]:
    return list(match(mine, records))


P = PaymentStatus
FREE = RegistrationState.FREE
STATE = ProviderState
REPAIR = RepairAction
_PENDING = {"status": P.PENDING, "place": RegistrationState.FREE}
CASES: list[tuple[str, list[LocalRecord], list[ProviderRecord], list[tuple[K, RepairAction | None]]]] = [
    ("agrees", [ours()], [theirs()], []),
    ("refunded agrees", [back()], [theirs(), refunded()], []),
    ("open agrees", [ours(**_PENDING)], [theirs(stand=STATE.OPEN)], []),
    ("never opened", [ours(**_PENDING)], [], []),
    ("failed, may be tried again", [ours(status=P.FAILED, place=FREE)], [theirs(stand=STATE.OPEN)], []),
    ("over on both sides", [ours(status=P.EXPIRED, place=FREE)], [theirs(stand=STATE.ENDED)], []),
    ("outside what was read", [ours(expected=False)], [], []),
    ("moving", [ours(changed_since_read=True)], [], []),
    ("told twice by two files", [ours()], [theirs(), theirs()], []),
    ("amount not told", [ours()], [theirs(amount=None, currency=None)], []),
    ("not ours, never paid", [], [theirs(stand=STATE.OPEN)], []),
    ("a payout", [], [theirs(kind=LineKind.OTHER)], []),
    ("not ours", [], [theirs()], [(K.MISSING_LOCALLY, None)]),
    ("not ours, and back again", [], [theirs(), refunded()], [(K.MISSING_LOCALLY, None)]),
    ("not at the provider", [ours()], [], [(K.MISSING_AT_PROVIDER, None)]),
    ("paid there, open here", [ours(**_PENDING)], [theirs()], [(K.STATUS_MISMATCH, REPAIR.ASK)]),
    ("paid here, open there", [ours()], [theirs(stand=STATE.OPEN)], [(K.STATUS_MISMATCH, None)]),
    ("over there, open here", [ours(**_PENDING)], [theirs(stand=STATE.ENDED)],
     [(K.STATUS_MISMATCH, REPAIR.ASK)]),
    ("another amount", [ours()], [theirs(amount=Decimal("49.99"))], [(K.AMOUNT_MISMATCH, None)]),
    ("another amount, open here", [ours(**_PENDING)], [theirs(amount=Decimal("5"))],
     [(K.AMOUNT_MISMATCH, None)]),
    ("one operation told with two amounts", [ours()], [theirs(), theirs(amount=Decimal(1))],
     [(K.AMOUNT_MISMATCH, None)]),
    ("another currency", [ours()], [theirs(currency="EUR")], [(K.CURRENCY_MISMATCH, None)]),
    ("a currency that is none of ours", [ours()], [theirs(currency="JPY")], [(K.CURRENCY_MISMATCH, None)]),
    ("paid twice there", [ours()], [theirs(), theirs(ref="pi_x")], [(K.DUPLICATE_PAYMENT, None)]),
    ("duplicate in our books", [ours(duplicate=True, place=RegistrationState.OTHER)], [theirs()],
     [(K.DUPLICATE_PAYMENT, None)]),
    ("late", [ours(late=True)], [theirs()], [(K.LATE_PAYMENT, None)]),
    ("stuck", [ours(overdue=True, **_PENDING)], [theirs(stand=STATE.OPEN)], [(K.STUCK, REPAIR.ASK)]),
    ("stuck, and nothing there", [ours(overdue=True, **_PENDING)], [], [(K.STUCK, REPAIR.ASK)]),
    ("not activated", [ours(place=FREE)], [theirs()], [(K.PARTICIPANT_MISMATCH, REPAIR.PLACE)]),
    ("participant gone", [ours(place=RegistrationState.GONE)], [theirs()], [(K.PARTICIPANT_MISMATCH, None)]),
    ("a place without money", [ours(status=P.EXPIRED)], [theirs(stand=STATE.ENDED)],
     [(K.PARTICIPANT_MISMATCH, None)]),
    ("refund not told of", [ours()], [theirs(), refunded()], [(K.REFUND_MISMATCH, REPAIR.REFUNDS)]),
    ("refund not there", [back()], [theirs()], [(K.REFUND_MISMATCH, None)]),
    ("refund outside what was read", [back(refunds=(replace(our_refund(), expected=False),))], [theirs()],
     []),
    ("refund of another amount", [back()], [theirs(), refunded(amount=Decimal(1))],
     [(K.REFUND_MISMATCH, None)]),
    ("refund failed there", [back()], [theirs(), refunded(stand=STATE.ENDED)],
     [(K.REFUND_MISMATCH, REPAIR.REFUNDS)]),
    ("refund came back, by statement", [back()],
     [theirs(), refunded(), refunded(kind=LineKind.REFUND_FAILED)], [(K.REFUND_MISMATCH, REPAIR.REFUNDS)]),
    ("lost answer of a refund", [ours(refunds=(our_refund(None, RefundState.PENDING),))],
     [theirs(), refunded()], [(K.REFUND_MISMATCH, REPAIR.REFUNDS)]),
    ("a refund that never was", [ours()], [theirs(), refunded(stand=STATE.ENDED)], []),
    ("Kaspi's sum agrees", [back()], [theirs(), refunded(total=True)], []),
    ("more back by Kaspi's sum", [ours()], [theirs(), refunded(total=True)],
     [(K.REFUND_MISMATCH, REPAIR.REFUNDS)]),
    ("less back by Kaspi's sum", [back()], [theirs(), refunded(total=True, amount=Decimal(0))],
     [(K.REFUND_MISMATCH, None)]),
    ("a sum while a refund is unknown", [ours(refunds=(our_refund(None, RefundState.PENDING),))],
     [theirs(), refunded(total=True)], []),
    ("disputed", [ours()], [theirs(), theirs(kind=LineKind.DISPUTE, ref="du_1", dispute=DisputeState.OPEN)],
     [(K.STATUS_MISMATCH, REPAIR.DISPUTE)]),
    ("dispute lost meanwhile", [ours(dispute=("du_1", DisputeState.OPEN))],
     [theirs(), theirs(kind=LineKind.DISPUTE, ref="du_1", dispute=DisputeState.LOST)],
     [(K.STATUS_MISMATCH, REPAIR.DISPUTE)]),
    ("another dispute is open", [ours(dispute=("du_1", DisputeState.WON))],
     [theirs(), theirs(kind=LineKind.DISPUTE, ref="du_1", dispute=DisputeState.WON),
      theirs(kind=LineKind.DISPUTE, ref="du_2", dispute=DisputeState.OPEN)],
     [(K.STATUS_MISMATCH, REPAIR.DISPUTE)]),
    ("another dispute is over", [ours(dispute=("du_2", DisputeState.OPEN))],
     [theirs(), theirs(kind=LineKind.DISPUTE, ref="du_1", dispute=DisputeState.WON),
      theirs(kind=LineKind.DISPUTE, ref="du_2", dispute=DisputeState.OPEN)], []),
    ("dispute known", [ours(dispute=("du_1", DisputeState.WITHDRAWN))],
     [theirs(), theirs(kind=LineKind.DISPUTE, ref="du_1", dispute=DisputeState.OPEN)], []),
]  # fmt: skip


@pytest.mark.parametrize(("mine", "records", "expected"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_one_payment(
    mine: list[LocalRecord], records: list[ProviderRecord], expected: list[tuple[K, RepairAction | None]]
) -> None:
    assert [(row.kind, row.repair) for row in mismatches(mine, records)] == expected


@pytest.mark.parametrize("order", [1, -1])
def test_a_refund_is_not_taken_for_another_of_its_amount(order: int) -> None:
    part = Decimal("20.00")
    mine = ours(refunds=(LocalRefund("r1", "kaspi:14001", part, RefundState.SUCCEEDED),))
    lines = [refunded(ref=number, amount=part) for number in ("14001", "14002")][::order]
    [second] = mismatches([mine], [theirs(), *lines])
    assert (second.kind, second.reference) == (K.REFUND_MISMATCH, "14002")


def test_the_fingerprint_equals_that_of_settlement() -> None:
    [late] = mismatches([ours(late=True)], [theirs()])
    assert late.fingerprint == "LATE_PAYMENT:pay00001:pi_1"
    [unknown] = mismatches([], [theirs(ref="ch_9", payment_ref="pi_9")])
    assert unknown.fingerprint == "MISSING_LOCALLY:-:pi_9"


def test_a_stream_out_of_order_is_rejected() -> None:
    with pytest.raises(ValueError, match="out of order"):
        mismatches([ours(2), ours(1)], [])
    with pytest.raises(ValueError, match="out of order"):
        mismatches([ours(1), ours(1)], [])
    with pytest.raises(ValueError, match="out of order"):
        mismatches([], [theirs(2), theirs(1)])


# -- whole books with faults planted at random


def _clean(number: int, kind: int) -> Books:
    """Return a payment on which both sides agree."""
    pairs: list[Books] = [
        ([ours(number)], [theirs(number)]),
        ([back(number)], [theirs(number), refunded(number)]),
        ([ours(number, **_PENDING)], [theirs(number, stand=ProviderState.OPEN)]),
        ([ours(number, **_PENDING)], []),
        (
            [ours(number, status=P.EXPIRED, place=RegistrationState.FREE)],
            [theirs(number, stand=ProviderState.ENDED)],
        ),
        ([], [theirs(number, stand=ProviderState.OPEN)]),
    ]
    return pairs[kind]


FAULTS = [case for case in CASES if len(case[3]) == 1]


@given(st.lists(st.tuples(st.integers(0, 5), st.none() | st.integers(0, len(FAULTS) - 1)), max_size=30))
@settings(max_examples=150)
def test_planted_mismatches_are_found_and_nothing_else(plan: list[tuple[int, int | None]]) -> None:
    mine: list[LocalRecord] = []
    records: list[ProviderRecord] = []
    expected: list[tuple[str, K]] = []
    for number, (clean, fault) in enumerate(plan):
        key = f"pay{number:05}"
        if fault is None:
            left, right = _clean(number, clean)
        else:
            _, left, right, [(kind, _)] = FAULTS[fault]
            expected.append((key, kind))
        mine += [replace(item, key=key, payment_id=key) for item in left]
        records += [replace(item, key=key) for item in right]
    got = [((row.ours or row.theirs).key, row.kind) for row in mismatches(mine, records)]  # type: ignore[union-attr]
    assert got == expected


def test_streams_are_read_one_payment_at_a_time() -> None:
    """Check that neither stream is read ahead by more than one payment."""
    ahead = {"ours": 0, "theirs": 0}

    def count(name: str, entries: list[object]) -> object:
        for entry in entries:
            ahead[name] += 1
            yield entry

    numbers = range(1, 1001)
    late = [ours(n, late=n % 100 == 0) for n in numbers]
    seen = match(count("ours", late), count("theirs", [theirs(n) for n in numbers]))  # type: ignore[arg-type]
    first = next(seen)
    assert first.ours is not None
    assert first.ours.payment_id == "pay00100"
    assert ahead["ours"] <= 101
    assert ahead["theirs"] <= 102
